"""Decimal numbers as NATS has them everywhere: in sizes, sequences, reply subjects.

printf reads a format each time; a message carries five to ten numbers, so that was a tenth of its cost.
"""

from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.string cimport memcpy

cdef enum:
    DIGITS_MAX = 20  # of the largest number
    SIZE_LINE_MAX = 23  # bytes of the longest size line


cdef inline uint8_t *write_digits(uint8_t *place, uint64_t value) noexcept nogil:
    """Write a number; gives the byte behind it."""
    cdef uint8_t[DIGITS_MAX] digits
    cdef uint32_t first = DIGITS_MAX
    while value > 9:
        first -= 1
        digits[first] = <uint8_t> (48 + value % 10)
        value = value // 10
    first -= 1
    digits[first] = <uint8_t> (48 + value)
    memcpy(place, &digits[first], DIGITS_MAX - first)
    return place + (DIGITS_MAX - first)


cdef inline uint8_t *write_padded(uint8_t *place, uint64_t value, uint32_t width) noexcept nogil:
    """Write the last `width` digits, with zeros in front; gives the byte behind them."""
    cdef uint32_t left = width
    while left:
        left -= 1
        place[left] = <uint8_t> (48 + value % 10)
        value = value // 10
    return place + width


cdef inline uint8_t *write_size_line(uint8_t *place, uint32_t header_size, uint32_t total) noexcept nogil:
    """End the line of a MSG or, with headers, an HMSG: sizes and CRLF; gives the byte behind them."""
    if header_size:
        place = write_digits(place, header_size)
        place[0] = 32
        place += 1
    place = write_digits(place, total)
    place[0] = 13
    place[1] = 10
    return place + 2
