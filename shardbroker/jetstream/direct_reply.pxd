"""The headers of a direct get's answer (spec 03 section 5), written without Python objects."""

from libc.stdint cimport uint8_t, uint32_t, uint64_t

from shardbroker.storage.frame cimport RecordHead

cdef enum:
    DIRECT_HEAD_EXTRA = 160  # bytes beyond stream name, subject and stored headers

cdef uint32_t write_time(uint8_t *place, uint64_t time_ns) noexcept nogil
cdef uint32_t write_direct_head(
    uint8_t *place, const uint8_t *name, uint32_t name_size, const RecordHead *record
) noexcept nogil
