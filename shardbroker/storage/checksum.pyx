"""CRC-32C for Python code; compiled code takes it from crc32c.pxd."""

from libc.stdint cimport uint8_t, uint32_t

from shardbroker.storage.crc32c cimport crc32c


def checksum(const uint8_t[::1] data not None, uint32_t seed=0):
    """CRC-32C of `data`; the result for what came before as `seed` continues it."""
    return crc32c(seed, &data[0] if data.shape[0] else NULL, data.shape[0])
