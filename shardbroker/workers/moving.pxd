"""Whether a new connection should live in another worker: that of the subject it talks about."""

cimport cython
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t

from shardbroker.workers.client cimport Client

@cython.final
cdef class Moving:
    cdef uint8_t *board
    cdef uint16_t *slots
    cdef uint64_t seed
    cdef int worker_index
    cdef int worker_count

    cdef bint wants_to_move(self, Client *client, const uint8_t *subject, uint32_t size) noexcept
    cdef bint looks_ahead(self, Client *client, const uint8_t *data, const uint8_t *end) noexcept
    cdef bint is_welcome(self, int worker) noexcept
