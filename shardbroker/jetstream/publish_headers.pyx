"""Reads the headers of spec 03 section 3 out of a header block.

Names are compared exactly, the first of equal names counts, blanks before the value are skipped:
nats-server's getHeader does the same. Nothing is copied: values are ranges of the block.
"""

from libc.stdint cimport uint8_t, uint32_t
from libc.string cimport memchr, memcmp, memset

cdef struct KnownName:
    const char *name  # behind "Nats-"
    uint32_t size
    int index

cdef KnownName[23] NAMES


cdef void add_name(int at, const char *name, uint32_t size, int index) noexcept:
    NAMES[at].name = name
    NAMES[at].size = size
    NAMES[at].index = index


add_name(0, b"Msg-Id", 6, MSG_ID)
add_name(1, b"Expected-Stream", 15, EXPECTED_STREAM)
add_name(2, b"Expected-Last-Sequence", 22, EXPECTED_LAST_SEQUENCE)
add_name(3, b"Expected-Last-Subject-Sequence", 30, EXPECTED_LAST_SUBJECT_SEQUENCE)
add_name(4, b"Expected-Last-Subject-Sequence-Subject", 38, EXPECTED_LAST_SUBJECT_SEQUENCE_SUBJECT)
add_name(5, b"Expected-Last-Msg-Id", 20, EXPECTED_LAST_MSG_ID)
add_name(6, b"Rollup", 6, ROLLUP)
add_name(7, b"TTL", 3, TTL)
add_name(8, b"Incr", 4, INCR)
add_name(9, b"Batch-Id", 8, BATCH_ID)
add_name(10, b"Batch-Sequence", 14, BATCH_SEQUENCE)
add_name(11, b"Batch-Commit", 12, BATCH_COMMIT)
add_name(12, b"Schedule", 8, SCHEDULE)
add_name(13, b"Schedule-Target", 15, SCHEDULE_TARGET)
add_name(14, b"Schedule-Source", 15, SCHEDULE_SOURCE)
add_name(15, b"Schedule-TTL", 12, SCHEDULE_TTL)
add_name(16, b"Schedule-Time-Zone", 18, SCHEDULE_TIME_ZONE)
add_name(17, b"Schedule-Rollup", 15, SCHEDULE_ROLLUP)
add_name(18, b"Scheduler", 9, SCHEDULER)
add_name(19, b"Schedule-Next", 13, SCHEDULE_NEXT)
add_name(20, b"Required-Api-Level", 18, REQUIRED_API_LEVEL)
add_name(21, b"Stream-Source", 13, STREAM_SOURCE)
add_name(22, b"Request-Info", 12, REQUEST_INFO)


cdef void read_publish_headers(const uint8_t *block, uint32_t size, PublishHeaders *headers) noexcept nogil:
    """Fill `headers` from a block that begins with `NATS/1.0` and ends with an empty line."""
    cdef const uint8_t *at = block
    cdef const uint8_t *end = block + size
    cdef const uint8_t *line_end
    cdef const uint8_t *colon
    cdef uint32_t name_size
    cdef int i
    headers.present = 0
    while at < end:
        line_end = <const uint8_t *> memchr(at, 10, end - at)
        if line_end == NULL:
            return
        if line_end - at > 6 and memcmp(at, b"Nats-", 5) == 0:
            colon = <const uint8_t *> memchr(at, 58, line_end - at)
            if colon != NULL:
                name_size = <uint32_t> (colon - at) - 5
                for i in range(23):
                    if NAMES[i].size == name_size and memcmp(at + 5, NAMES[i].name, name_size) == 0:
                        if not headers.present >> NAMES[i].index & 1:
                            set_value(&headers.values[NAMES[i].index], colon + 1, line_end)
                            headers.present |= <uint32_t> 1 << NAMES[i].index
                        break
        at = line_end + 1


cdef void set_value(HeaderValue *value, const uint8_t *start, const uint8_t *line_end) noexcept nogil:
    """The text between the colon and the line's end, without leading blanks and the CR."""
    cdef const uint8_t *end = line_end
    while start < end and start[0] == 32:
        start += 1
    if end > start and (end - 1)[0] == 13:
        end -= 1
    value.text = start
    value.size = <uint32_t> (end - start)


cdef bint parse_sequence(HeaderValue *value, unsigned long long *number) noexcept nogil:
    """A decimal number without sign, as sequence headers have; False when it is none."""
    cdef uint32_t i
    cdef unsigned long long result = 0
    if value.size == 0 or value.size > 19:
        return False
    for i in range(value.size):
        if value.text[i] < 48 or value.text[i] > 57:
            return False
        result = result * 10 + (value.text[i] - 48)
    number[0] = result
    return True
