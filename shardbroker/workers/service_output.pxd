"""What a worker's services send."""

from libc.stdint cimport uint8_t, uint32_t, uint64_t

from shardbroker.routing.router cimport Router
from shardbroker.workers.services cimport Services

cdef class ServiceOutput(Services):
    cdef Router router
    cdef uint8_t *scratch
    cdef uint64_t scratch_size  # bytes

    cdef void send_raw(
        self, uint32_t account, const uint8_t *subject, uint32_t subject_size,
        const uint8_t *block, uint32_t block_size, const uint8_t *payload, uint32_t payload_size,
    ) noexcept
    cdef uint8_t *room(self, uint64_t size) noexcept
