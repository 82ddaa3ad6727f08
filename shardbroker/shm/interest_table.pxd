"""One worker's table of interest entries in shared memory: its layout, and how a peer reads it.

Segment of one worker (written by it alone, read by all; offsets from its start):

    0      header: magic u64, layout version u32, worker u32, live entries u64, dead entries u64,
           bytes with memory u64
    4096   descriptors u64[256]: generation 27 | log2 of capacity 5 | place 32, in units of 256 bytes
    8192   arrays of Entry, a power of two of them (16 at least), no more than half taken; one per partition

Entry, 16 bytes: key u64 (0: never used), value u64 = queue 40 | count 24. The value is read by one atomic
load. Entries with the same key and different queues stand side by side; count 0 is a dead entry.

On the board: filter u64[2^20], bit w of a word = worker w may have an entry whose key leads to that word.
"""

cimport cython
from libc.stdint cimport int32_t, int64_t, uint8_t, uint32_t, uint64_t

from shardbroker.shm.atomics cimport load_acquire_u64

cdef enum:
    DESCRIPTORS = 4096  # offset
    ARRAYS = 8192  # offset
    UNIT = 256  # bytes: what places count
    INTEREST_PARTITIONS = 256  # partition = key >> 56; growth moves one at a time
    SIZE_CLASSES = 28  # log2 of the largest array, in entries
    COUNT_BITS = 24
    COUNT_MAX = 0xFFFFFF
    FILTER_WORDS = 1 << 20

    NO_ROOM = -1  # answers of InterestTable.change
    BELOW_ZERO = -2

cdef struct Entry:
    uint64_t key
    uint64_t value

cdef struct TableView:
    # A descriptor, taken apart and checked.
    Entry *entries  # NULL: no array yet
    uint64_t mask  # capacity - 1
    uint64_t descriptor

cdef struct OwnPartition:
    # The writer's private knowledge of a partition.
    uint32_t used  # entries with a key
    uint32_t live  # entries with a count

cdef struct FreedArray:
    uint64_t freed_ns  # monotonic; 0: its memory has been returned
    uint32_t place  # in units

cdef struct FreeList:
    FreedArray *arrays  # of one size
    uint32_t count
    uint32_t capacity


cdef inline uint64_t filter_index(uint64_t key) noexcept nogil:
    """The filter word of a key. Words beside it (index ^ 1, 2, 3) are on the same cache line."""
    return (key >> 32) & (FILTER_WORDS - 1)


cdef inline TableView table_view(uint8_t *segment, uint64_t size, uint64_t key) noexcept nogil:
    """The array that holds a key, as of now. A descriptor that points outside counts as no array."""
    cdef TableView view
    cdef uint64_t place, capacity
    view.descriptor = load_acquire_u64(<uint64_t *>(segment + DESCRIPTORS) + (key >> 56))
    place = <uint64_t><uint32_t>view.descriptor * UNIT
    capacity = <uint64_t>1 << ((view.descriptor >> 32) & 31)
    view.mask = capacity - 1
    view.entries = <Entry *>(segment + place)
    if place < ARRAYS or place + capacity * sizeof(Entry) > size:
        view.entries = NULL
    return view


cdef inline bint view_changed(uint8_t *segment, const TableView *view, uint64_t key) noexcept nogil:
    """Whether what was read through the view must not be believed."""
    return load_acquire_u64(<uint64_t *>(segment + DESCRIPTORS) + (key >> 56)) != view.descriptor


@cython.final
cdef class InterestTable:
    cdef:
        readonly uint64_t live  # entries with a count
        readonly uint64_t dead  # entries that had one
        readonly uint64_t backed  # bytes of the segment that have memory
        uint64_t worker_bit
        uint64_t *filter
        uint8_t *filter_counts  # own entries per filter word; 255 stays 255
        uint8_t *segment
        uint64_t size  # bytes of the segment
        uint64_t next_place  # bytes; space behind it was never used
        uint64_t backed_end  # bytes; up to here space was given memory when it was new
        int descriptor_file  # of the segment, or -1
        OwnPartition partitions[INTEREST_PARTITIONS]
        FreeList freed[SIZE_CLASSES]

    # Adds to the count of (key, queue): table, then the bit in filter word `word`, the same for a key each
    # time. The old count, or NO_ROOM or BELOW_ZERO, with nothing changed.
    cdef int change(self, uint64_t key, uint64_t word, uint64_t queue, int32_t delta) noexcept nogil
    cdef void publish_figures(self) noexcept nogil
    cpdef int trim(self) except -1

    # Private.
    cdef int count_change(
        self, uint64_t key, uint64_t word, Entry *entry, uint64_t count, int32_t delta
    ) noexcept nogil
    cdef void filter_add(self, uint64_t word) noexcept nogil
    cdef void filter_drop(self, uint64_t word) noexcept nogil
    cdef int rebuild(self, uint32_t index, uint32_t size_class) noexcept nogil
    cdef int64_t array_take(self, uint32_t size_class) noexcept nogil
    cdef int64_t array_reuse(self, uint32_t size_class) noexcept nogil
    cdef void array_give(self, uint32_t place, uint32_t size_class) noexcept nogil
    cdef int back(self, uint64_t start, uint64_t end) noexcept nogil
