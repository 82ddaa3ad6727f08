"""Which subjects a consumer wants, and where the next message on one of them is."""

cimport cython
from libc.stdint cimport uint8_t, uint32_t, uint64_t

from shardbroker.jetstream.stream_state cimport StreamState
from shardbroker.jetstream.subject_table cimport SubjectEntry

cdef enum:
    MEMO_SIZE = 64

cdef struct FilterPattern:
    const uint8_t *text  # points into one of ConsumerFilter.texts
    uint32_t size
    bint literal
    uint64_t hash  # of a literal one, as the subject table has it
    uint64_t seen  # of a literal one: a message on it that was found before

@cython.final
cdef class ConsumerFilter:
    cdef readonly tuple texts  # bytes; empty: every subject
    cdef FilterPattern *patterns
    cdef uint32_t count
    cdef bint literal_only  # few literal ones: each message is found by the links of its subject
    cdef uint64_t memo[MEMO_SIZE]  # hash of a subject, lowest bit: whether it matches; 0: free

    cdef bint matches(self, const SubjectEntry *subject) noexcept
    cdef bint matches_one(self, const SubjectEntry *subject) noexcept
    # The first message from `at[0]` on that matches; 0: none among the `most` that were looked at. `at` then
    # says where to go on; behind the last sequence: there is none.
    cdef uint64_t search(self, StreamState state, uint64_t *at, uint32_t most) noexcept
    cdef uint64_t search_literal(
        self, StreamState state, FilterPattern *pattern, uint64_t start, uint64_t *stop, uint32_t most
    ) noexcept
