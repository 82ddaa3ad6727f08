"""Subjects whose stream has no owner just now."""

cimport cython
from libc.stdint cimport uint8_t, uint32_t, uint64_t

from shardbroker.subjects.match_result cimport MatchResult
from shardbroker.subjects.member_list cimport SublistItem
from shardbroker.subjects.sublist cimport Sublist

@cython.final
cdef class Gap:
    cdef Sublist patterns
    cdef SublistItem *items  # one for each pattern
    cdef uint32_t account
    cdef readonly uint64_t until_ns  # CLOCK_MONOTONIC; afterwards publishers wait no longer
    cdef MatchResult result

    cdef bint covers(self, uint32_t account, const uint8_t *subject, uint32_t size) noexcept
