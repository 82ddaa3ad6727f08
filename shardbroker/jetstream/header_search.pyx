"""Finding one header in a block: a dozen times a message where batches, counters or schedules are at work."""

from libc.stdint cimport uint8_t

cdef extern from "<string.h>" nogil:
    void *memmem(const void *haystack, size_t size, const void *needle, size_t needle_size)


cdef Py_ssize_t find_line(
    const uint8_t *block, Py_ssize_t size, const uint8_t *name, Py_ssize_t name_size
) noexcept nogil:
    cdef const uint8_t *at = block
    cdef const uint8_t *end = block + size
    while True:
        at = <const uint8_t *> memmem(at, end - at, name, name_size)
        if at == NULL:
            return -1
        # Keys are compared as they are written, and count only behind CR LF and in front of a colon.
        if at - block >= 2 and at + name_size < end and at[name_size] == 58:
            if (at - 1)[0] == 10 and (at - 2)[0] == 13:
                return at - block
        at += 1


def find(bytes block not None, bytes name not None):
    """Where the first line with this name begins, or -1. The first line of a block is never it."""
    return find_line(block, len(block), name, len(name))


def get(bytes block not None, bytes name not None):
    """The value of the first line with this name, without blanks in front; None if there is none."""
    cdef const uint8_t *text = block
    cdef Py_ssize_t size = len(block), start = find_line(text, size, name, len(name)), end
    if start < 0:
        return None
    start += len(name) + 1
    while start < size and text[start] == 32:
        start += 1
    end = start
    while end < size and not (text[end] == 13 and end + 1 < size and text[end + 1] == 10):
        end += 1
    return text[start:end]
