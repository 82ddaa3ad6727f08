"""Builds `NATS/1.0`, the stored headers, then stream, subject, sequence and time of the message."""

from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.string cimport memcpy

from shardbroker.digits cimport write_digits, write_padded
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
    cdef uint8_t *at = write_padded(place, year, 4)
    at[0] = 45
    at = write_padded(at + 1, month, 2)
    at[0] = 45
    at = write_padded(at + 1, of_year - (153 * shifted + 2) // 5 + 1, 2)
    at[0] = 84
    at = write_padded(at + 1, second // 3600, 2)
    at[0] = 58
    at = write_padded(at + 1, second % 3600 // 60, 2)
    at[0] = 58
    at = write_padded(at + 1, second % 60, 2)
    if fraction:
        at[0] = 46
        at = write_padded(at + 1, fraction, 9)
        while (at - 1)[0] == 48:
            at -= 1
    at[0] = 90
    return <uint32_t> (at + 1 - place)


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
    memcpy(at, b"\r\nNats-Sequence: ", 17)
    at = write_digits(at + 17, record.sequence)
    memcpy(at, b"\r\nNats-Time-Stamp: ", 19)
    at += 19
    at += write_time(at, record.time_ns)
    memcpy(at, b"\r\n\r\n", 4)
    return <uint32_t> (at + 4 - place)


def format_time(uint64_t time_ns):
    """write_time() for tests."""
    cdef uint8_t[40] text
    cdef uint32_t size = write_time(text, time_ns)
    return text[:size].decode()
