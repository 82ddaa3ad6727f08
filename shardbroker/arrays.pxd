"""Arrays of C structs that grow: the one place where their capacity is worked out."""

from libc.stdint cimport uint32_t, uint64_t
from libc.stdlib cimport realloc


cdef inline void *reserve(
    void *array, uint32_t count, uint32_t extra, uint32_t *capacity, size_t width
) noexcept nogil:
    """The array with room for ``extra`` elements behind the first ``count``; NULL when out of memory.

    The array may move; after NULL the old one is still there. ``capacity`` is in elements of ``width`` bytes.
    """
    cdef uint64_t needed = <uint64_t>count + extra
    cdef uint64_t grown = capacity[0]
    cdef void *larger
    if array != NULL and needed <= grown:
        return array
    grown = grown * 2 if grown >= 8 else 8
    if grown < needed:
        grown = needed
    if grown > 0xFFFFFFFFu:
        return NULL
    larger = realloc(array, grown * width)
    if larger != NULL:
        capacity[0] = <uint32_t>grown
    return larger
