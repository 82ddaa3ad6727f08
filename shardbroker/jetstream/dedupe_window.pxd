"""Message ids of a stream within its duplicate window."""

cimport cython
from libc.stdint cimport uint8_t, uint32_t, uint64_t

cdef struct DedupeId:
    uint64_t low  # 128-bit keyed hash of the id
    uint64_t high
    uint64_t sequence
    uint64_t time_ns

@cython.final
cdef class DedupeWindow:
    cdef DedupeId *ring  # ids in order of time, a circular array
    cdef uint64_t ring_capacity  # a power of two, or 0
    cdef uint64_t head  # number of the oldest id
    cdef uint64_t tail  # number of the next id
    cdef uint64_t *slots  # number + 1 of an id by its hash; 0: free
    cdef uint64_t slot_capacity
    cdef uint64_t seed
    cdef uint64_t other_seed
    cdef readonly uint64_t ids_max

    cdef void hash_id(self, const uint8_t *text, uint32_t size, DedupeId *id) noexcept
    cdef DedupeId *find(self, DedupeId *id) noexcept
    cdef int add(self, DedupeId *id) noexcept
    cdef void expire(self, uint64_t before_ns) noexcept
    cdef void forget_from(self, uint64_t sequence) noexcept
    cdef bint grow(self) noexcept
    cdef void unlink(self, uint64_t number) noexcept
