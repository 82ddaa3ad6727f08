"""Messages with a time of their own at which they expire."""

cimport cython
from libc.stdint cimport uint32_t, uint64_t

cdef struct Expiry:
    uint64_t time_ns  # wall clock
    uint64_t sequence

@cython.final
cdef class ExpiryHeap:
    cdef Expiry *items
    cdef uint32_t count
    cdef uint32_t capacity

    cdef int push(self, uint64_t time_ns, uint64_t sequence) noexcept
    cdef Expiry *top(self) noexcept
    cdef void pop(self) noexcept
    cdef void clear(self) noexcept
