"""A set of sequences: bits, in blocks that exist where there is one."""

cimport cython
from libc.stdint cimport uint64_t

cdef enum:
    SET_BLOCK_WORDS = 64  # 4096 sequences

cdef struct SetBlock:
    uint64_t live  # bits that are set
    uint64_t words[SET_BLOCK_WORDS]

@cython.final
cdef class SequenceSet:
    cdef SetBlock **blocks  # of sequence s: blocks[(s >> 12) - first_block]
    cdef uint64_t first_block
    cdef uint64_t block_count
    cdef readonly uint64_t count  # members

    cdef bint has(self, uint64_t sequence) noexcept
    cdef int add(self, uint64_t sequence) noexcept  # -1 when memory is exhausted
    cdef bint remove(self, uint64_t sequence) noexcept  # False: it was not in
    cdef uint64_t next_from(self, uint64_t sequence) noexcept  # the first member from there on; 0: none
    cdef void clear(self) noexcept
    cdef int cover(self, uint64_t number) noexcept
