"""The writer's places on the board: its sleep, its signs of life, and whom it wakes."""

cimport cython
from libc.stdint cimport uint8_t, uint64_t

from shardbroker.shm.offsets cimport WORKERS_MAX

@cython.final
cdef class Bells:
    cdef uint8_t *board
    cdef uint64_t *sleeping  # odd while the writer may block
    cdef uint64_t rung[WORKERS_MAX]  # the sleeping epoch each worker was last rung in
    cdef int doorbells[WORKERS_MAX]  # eventfd of each worker, -1: none

    cdef void announce_sleep(self) noexcept
    cdef void ring(self, int worker) noexcept
    cdef void beat(self) noexcept
    cdef void count(self, uint64_t syncs, uint64_t frames, uint64_t size) noexcept
    cpdef void wake(self) noexcept
