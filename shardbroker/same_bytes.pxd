"""Whether two short byte strings are equal, without a call: subjects are compared once a message."""

from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.string cimport memcpy


cdef inline bint same_bytes(const uint8_t *left, const uint8_t *right, uint32_t size) noexcept nogil:
    """Compare `size` bytes of both, in overlapping words. Reads nothing outside them."""
    cdef uint64_t first, second
    cdef uint32_t at = 0, half, other
    if size >= 8:
        while at + 8 < size:
            memcpy(&first, left + at, 8)
            memcpy(&second, right + at, 8)
            if first != second:
                return False
            at += 8
        memcpy(&first, left + size - 8, 8)
        memcpy(&second, right + size - 8, 8)
        return first == second
    if size >= 4:
        memcpy(&half, left, 4)
        memcpy(&other, right, 4)
        if half != other:
            return False
        memcpy(&half, left + size - 4, 4)
        memcpy(&other, right + size - 4, 4)
        return half == other
    while at < size:
        if left[at] != right[at]:
            return False
        at += 1
    return True
