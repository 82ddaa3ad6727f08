"""CRC-32C: the checksum of everything on disk."""

from libc.stdint cimport uint32_t

cdef extern from "crc32c.h" nogil:
    uint32_t crc32c(uint32_t seed, const void *data, size_t size) noexcept
