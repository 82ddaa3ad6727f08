"""Builds `NATS/1.0`, the stored headers, then stream, subject, sequence and time of the message."""

from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.stdio cimport snprintf
from libc.string cimport memcpy

from shardbroker.storage.frame cimport RECORD_HEAD_SIZE, RecordHead


cdef uint32_t write_time(uint8_t *place, uint64_t time_ns) noexcept nogil:
    """RFC 3339 with nanoseconds, trailing zeros cut, UTC; at most 30 bytes."""
    # Days to civil date: Howard Hinnant, "chrono-compatible low-level date algorithms", civil_from_days.
    cdef uint64_t seconds = time_ns // 1_000_000_000, fraction = time_ns % 1_000_000_000
    cdef uint64_t day = seconds // 86400 + 719468, second = seconds % 86400
    cdef uint64_t era = day // 146097, of_era = day % 146097
    cdef uint64_t year_of_era = (of_era - of_era // 1460 + of_era // 36524 - of_era // 146096) // 365
    cdef uint64_t of_year = of_era - (365 * year_of_era + year_of_era // 4 - year_of_era // 100)
    cdef uint64_t shifted = (5 * of_year + 2) // 153
    cdef uint64_t month = shifted + 3 if shifted < 10 else shifted - 9
    cdef uint64_t year = year_of_era + era * 400 + (1 if month <= 2 else 0)
    cdef int size = snprintf(
        <char *> place, 32, b"%04u-%02u-%02uT%02u:%02u:%02u",
        <unsigned int> year, <unsigned int> month, <unsigned int> (of_year - (153 * shifted + 2) // 5 + 1),
        <unsigned int> (second // 3600), <unsigned int> (second % 3600 // 60), <unsigned int> (second % 60),
    )
    if fraction:
        size += snprintf(<char *> place + size, 12, b".%09u", <unsigned int> fraction)
        while place[size - 1] == 48:
            size -= 1
    place[size] = 90
    return <uint32_t> size + 1


cdef uint32_t write_direct_head(
    uint8_t *place, const uint8_t *name, uint32_t name_size, const RecordHead *record
) noexcept nogil:
    """The header block; its size. `place` has DIRECT_HEAD_EXTRA bytes beyond all that is copied."""
    cdef uint8_t *at = place
    cdef const uint8_t *subject = <const uint8_t *> record + RECORD_HEAD_SIZE
    if record.header_size > 2:
        # A stored block ends with an empty line, which goes to the end.
        memcpy(at, subject + record.subject_size, record.header_size - 2)
        at += record.header_size - 2
    else:
        memcpy(at, b"NATS/1.0\r\n", 10)
        at += 10
    memcpy(at, b"Nats-Stream: ", 13)
    memcpy(at + 13, name, name_size)
    at += 13 + name_size
    memcpy(at, b"\r\nNats-Subject: ", 16)
    memcpy(at + 16, subject, record.subject_size)
    at += 16 + record.subject_size
    at += snprintf(<char *> at, 48, b"\r\nNats-Sequence: %llu\r\n", <unsigned long long> record.sequence)
    memcpy(at, b"Nats-Time-Stamp: ", 17)
    at += 17
    at += write_time(at, record.time_ns)
    memcpy(at, b"\r\n\r\n", 4)
    return <uint32_t> (at + 4 - place)


def format_time(uint64_t time_ns):
    """write_time() for tests."""
    cdef uint8_t[40] text
    cdef uint32_t size = write_time(text, time_ns)
    return text[:size].decode()
