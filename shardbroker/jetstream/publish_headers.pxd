"""The headers of a publish that the stream understands, found in one pass over the header block."""

from libc.stdint cimport uint8_t, uint32_t

cdef enum:
    # Index into PublishHeaders.values.
    MSG_ID = 0
    EXPECTED_STREAM
    EXPECTED_LAST_SEQUENCE
    EXPECTED_LAST_SUBJECT_SEQUENCE
    EXPECTED_LAST_SUBJECT_SEQUENCE_SUBJECT
    EXPECTED_LAST_MSG_ID
    ROLLUP
    TTL
    INCR
    BATCH_ID
    BATCH_SEQUENCE
    BATCH_COMMIT
    SCHEDULE
    SCHEDULE_TARGET
    SCHEDULE_SOURCE
    SCHEDULE_TTL
    SCHEDULE_TIME_ZONE
    SCHEDULE_ROLLUP
    SCHEDULER
    SCHEDULE_NEXT
    REQUIRED_API_LEVEL
    STREAM_SOURCE
    REQUEST_INFO
    HEADER_COUNT

cdef struct HeaderValue:
    const uint8_t *text  # NULL: the header is not there
    uint32_t size  # bytes

cdef struct PublishHeaders:
    uint32_t present  # bit per index
    HeaderValue values[HEADER_COUNT]

cdef void read_publish_headers(const uint8_t *block, uint32_t size, PublishHeaders *headers) noexcept nogil
cdef bint parse_sequence(HeaderValue *value, unsigned long long *number) noexcept nogil
