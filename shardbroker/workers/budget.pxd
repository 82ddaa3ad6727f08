"""All outboxes of all workers together stay within one budget."""

from libc.stdint cimport uint8_t, uint64_t

from shardbroker.workers.connections cimport Connections

cdef class Budget:
    cdef Connections connections
    cdef uint8_t *board
    cdef uint64_t limit  # bytes
    cdef uint64_t next_look_ns
    cdef int worker_index
    cdef int worker_count

    cdef void keep(self, uint64_t now_ns) noexcept
