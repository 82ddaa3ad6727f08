"""One worker's table of interest entries: the writer's side, and why no reader is ever fooled by it.

One process writes a table and any process reads it, without locks and without waiting: a writer that is
stopped between two stores blocks nobody. Layout and reading: interest_table.pxd. What the keys mean:
interest_directory.pyx.

What readers meet while the table changes:

- Nothing moves in place. A removal stores count 0 and keeps the key: a search never stops too early.
  (Moving later entries up would hide keys that are there from a reader just passing by.)
- A dead entry may be reused for another key. The new key is stored before the new value, so a reader that
  saw the old key and the new value sees the new key when it looks again, which it does. Against the old key
  coming back in between, the descriptor's generation is raised before each such reuse.
- Growth copies the live entries of one partition to fresh space and swaps the descriptor. The old array may
  be zeroed for another partition, or its memory returned, while a slow reader still probes it: it would miss
  keys that are there. So a reader loads the descriptor again after probing and repeats if it changed.

Space is given memory (fallocate) before it is touched, so that a full /dev/shm is an error of one SUB and
not a SIGBUS of the worker.
"""

cimport cython
from libc.stdlib cimport calloc, free

from shardbroker import limits
from shardbroker.arrays cimport reserve
from shardbroker.shm.atomics cimport (
    fence_seq_cst,
    fetch_and_u64,
    fetch_or_u64,
    monotonic_ns,
    store_relaxed_u64,
    store_release_u64,
)

cdef extern from "fcntl.h" nogil:
    int fallocate(int fd, int mode, long long offset, long long length)
    const int FALLOC_FL_KEEP_SIZE
    const int FALLOC_FL_PUNCH_HOLE

cdef extern from "errno.h" nogil:
    int errno
    const int EINTR

cdef enum:
    SEGMENT_LAYOUT_VERSION = 1
    HEADER_VERSION = 8
    HEADER_WORKER = 12
    HEADER_LIVE = 16
    HEADER_DEAD = 24
    HEADER_BACKED = 32
    CLASS_MIN = 4  # 16 entries: one unit
    CLASS_SHRINK = 9  # arrays of 512 entries and more are given up when nearly empty
    CLASS_PAGE = 8  # arrays of 256 entries fill a page: from here on trim() can return memory
    PAGE = 4096
    BACKING_STEP = 65536  # bytes given memory at a time while arrays are small
    GENERATION_SHIFT = 37

cdef uint64_t RETURN_AFTER_NS = 2_000_000_000
cdef uint64_t SEGMENT_MAGIC = 0x747372746E696273  # b"sbintrst", little-endian

assert sizeof(Entry) == 16
assert limits.filter_words_count == FILTER_WORDS
assert limits.interest_partitions_count == INTEREST_PARTITIONS


cdef inline uint64_t descriptor_of(uint64_t old, uint64_t place, uint32_t size_class) noexcept nogil:
    """The descriptor after ``old``: its generation is one higher (and may wrap)."""
    return ((old >> GENERATION_SHIFT) + 1) << GENERATION_SHIFT | <uint64_t>size_class << 32 | place


cdef inline uint32_t class_for(uint64_t live) noexcept nogil:
    """log2 of the array for that many entries: filled to 3/8 at most, so that 1/8 is free for the next."""
    cdef uint32_t size_class = CLASS_MIN
    while live * 8 > (<uint64_t>3 << size_class):
        size_class += 1
    return size_class


cdef enum:
    GROUPS_MAX = 4096  # queue groups of one pattern in one worker


@cython.final
cdef class InterestTable:
    """The table of this worker. ``filter`` and ``segment`` are addresses of memory that outlives it.

    The segment is fresh, all zero, and ours alone. ``descriptor_file`` is its file descriptor, which stays
    the caller's; -1 (tests) means that the mapping needs no memory given.
    """

    def __cinit__(
        self, uint32_t worker_index, size_t filter, size_t segment, int descriptor_file, uint64_t size
    ):
        assert segment % PAGE == 0
        assert size >= ARRAYS + BACKING_STEP and size <= <uint64_t>UNIT << 32
        self.worker_bit = <uint64_t>1 << worker_index
        self.filter = <uint64_t *><void *>filter
        self.segment = <uint8_t *>segment
        self.size = size
        self.descriptor_file = descriptor_file
        self.next_place = self.backed_end = ARRAYS
        self.filter_counts = <uint8_t *>calloc(FILTER_WORDS, 1)
        if self.filter_counts == NULL or self.back(0, ARRAYS) < 0:
            raise MemoryError("interest segment: no memory for its first pages")
        (<uint32_t *>(self.segment + HEADER_VERSION))[0] = SEGMENT_LAYOUT_VERSION
        (<uint32_t *>(self.segment + HEADER_WORKER))[0] = worker_index
        store_release_u64(<uint64_t *>self.segment, SEGMENT_MAGIC)

    def __dealloc__(self):
        cdef uint32_t size_class
        for size_class in range(SIZE_CLASSES):
            free(self.freed[size_class].arrays)
        free(self.filter_counts)

    cdef void publish_figures(self) noexcept nogil:
        """Show live, dead and backed in the segment's header."""
        store_relaxed_u64(<uint64_t *>(self.segment + HEADER_LIVE), self.live)
        store_relaxed_u64(<uint64_t *>(self.segment + HEADER_DEAD), self.dead)
        store_relaxed_u64(<uint64_t *>(self.segment + HEADER_BACKED), self.backed)

    # --- entries ----------------------------------------------------------------------------------------
    cdef void filter_add(self, uint64_t word) noexcept nogil:
        if self.filter_counts[word] == 0:
            fetch_or_u64(&self.filter[word], self.worker_bit)
        if self.filter_counts[word] < 255:
            self.filter_counts[word] += 1

    cdef void filter_drop(self, uint64_t word) noexcept nogil:
        if self.filter_counts[word] == 255:
            return  # how many there were is forgotten: the bit stays
        self.filter_counts[word] -= 1
        if self.filter_counts[word] == 0:
            fetch_and_u64(&self.filter[word], ~self.worker_bit)

    cdef int change(self, uint64_t key, uint64_t word, uint64_t queue, int32_t delta) noexcept nogil:
        """Add to the count of (key, queue), with its filter bit; the old count, NO_ROOM or BELOW_ZERO."""
        cdef OwnPartition *partition = &self.partitions[key >> 56]
        cdef TableView table = table_view(self.segment, self.size, key)
        cdef Entry *reusable = NULL
        cdef Entry *entry
        cdef uint64_t index, count, same_key = 0
        if table.entries != NULL:
            index = key & table.mask
            while True:
                entry = &table.entries[index]
                if entry.key == 0:
                    break
                count = entry.value & COUNT_MAX
                if entry.key == key and entry.value >> COUNT_BITS == queue and count:
                    return self.count_change(key, word, entry, count, delta)
                if count == 0 and reusable == NULL:
                    reusable = entry
                same_key += entry.key == key
                index = (index + 1) & table.mask
        if delta < 0:
            return BELOW_ZERO
        if delta > COUNT_MAX or same_key > GROUPS_MAX:
            # The groups of one pattern share a key: unbounded, each would cost a walk over all others.
            return NO_ROOM
        if reusable == NULL:
            if table.entries == NULL or (partition.used + 1) * 2 > table.mask + 1:
                if self.rebuild(<uint32_t>(key >> 56), class_for(partition.live + 1)) < 0:
                    return NO_ROOM
                table = table_view(self.segment, self.size, key)
            index = key & table.mask
            while table.entries[index].key != 0:
                index = (index + 1) & table.mask
            reusable = &table.entries[index]
            partition.used += 1
        else:
            self.dead -= 1
            if reusable.key != key:
                # A reader may sit between its two looks at this entry: make it start again.
                store_release_u64(
                    <uint64_t *>(self.segment + DESCRIPTORS) + (key >> 56),
                    table.descriptor + (<uint64_t>1 << GENERATION_SHIFT),
                )
        store_release_u64(&reusable.key, key)
        store_release_u64(&reusable.value, (queue << COUNT_BITS) | <uint64_t>delta)
        partition.live += 1
        self.live += 1
        self.filter_add(word)
        return 0

    cdef int count_change(
        self, uint64_t key, uint64_t word, Entry *entry, uint64_t count, int32_t delta
    ) noexcept nogil:
        """Change the count of a live entry, which may die of it; as change()."""
        cdef OwnPartition *partition = &self.partitions[key >> 56]
        cdef uint64_t capacity
        if <int64_t>count + delta > COUNT_MAX:
            return NO_ROOM
        if <int64_t>count + delta < 0:
            return BELOW_ZERO
        store_release_u64(&entry.value, entry.value + <uint64_t><int64_t>delta)
        if <int64_t>count + delta == 0:
            partition.live -= 1
            self.live -= 1
            self.dead += 1
            self.filter_drop(word)
            capacity = table_view(self.segment, self.size, key).mask + 1
            if capacity >= (<uint64_t>1 << CLASS_SHRINK) and partition.live * 16 < capacity:
                # Give memory back after a flood has gone. If there is no room to do so, it stays.
                self.rebuild(<uint32_t>(key >> 56), class_for(partition.live + 1))
        return <int>count

    cdef int rebuild(self, uint32_t index, uint32_t size_class) noexcept nogil:
        """Copy the live entries of a partition to an array of 2**size_class; -1 when the segment is full."""
        cdef uint64_t *cell = <uint64_t *>(self.segment + DESCRIPTORS) + index
        cdef uint64_t descriptor = cell[0]
        cdef TableView old = table_view(self.segment, self.size, <uint64_t>index << 56)
        cdef int64_t place = -1 if size_class >= SIZE_CLASSES else self.array_take(size_class)
        cdef uint64_t mask = (<uint64_t>1 << size_class) - 1
        cdef uint64_t source, target
        cdef Entry *entries
        if place < 0:
            return -1
        entries = <Entry *>(self.segment + <uint64_t>place * UNIT)
        if old.entries != NULL:
            for source in range(old.mask + 1):
                if old.entries[source].value & COUNT_MAX:
                    target = old.entries[source].key & mask
                    while entries[target].key != 0:
                        target = (target + 1) & mask
                    entries[target] = old.entries[source]
        store_release_u64(cell, descriptor_of(descriptor, <uint64_t>place, size_class))
        self.dead -= self.partitions[index].used - self.partitions[index].live
        self.partitions[index].used = self.partitions[index].live
        if old.entries != NULL:
            self.array_give(<uint32_t>descriptor, <uint32_t>(descriptor >> 32) & 31)
        return 0

    # --- memory -----------------------------------------------------------------------------------------
    cdef int back(self, uint64_t start, uint64_t end) noexcept nogil:
        """Give a range of the segment memory, now, so that touching it cannot fail; -1 when there is none."""
        if self.descriptor_file >= 0:
            while fallocate(self.descriptor_file, 0, start, end - start) < 0:
                if errno != EINTR:
                    return -1
        self.backed += end - start
        return 0

    cdef int64_t array_take(self, uint32_t size_class) noexcept nogil:
        """The place, in units, of a zeroed array of 2**size_class entries; -1 when the segment is full."""
        cdef uint64_t size = sizeof(Entry) << size_class
        cdef uint64_t alignment = size if size < PAGE else PAGE
        cdef uint64_t place, end, wanted
        if self.freed[size_class].count:
            return self.array_reuse(size_class)
        place = (self.next_place + alignment - 1) & ~(alignment - 1)
        end = place + size
        if end > self.size:
            return -1
        if end > self.backed_end:
            # Steps while arrays are small: one system call for many SUBs.
            wanted = self.backed_end + BACKING_STEP
            if wanted < end:
                wanted = (end + PAGE - 1) & ~(<uint64_t>PAGE - 1)
            if wanted > self.size:
                wanted = self.size
            if self.back(self.backed_end, wanted) < 0:
                return -1
            self.backed_end = wanted
        self.next_place = end
        return place // UNIT

    cdef int64_t array_reuse(self, uint32_t size_class) noexcept nogil:
        """Take the array of that size which was freed last; as array_take()."""
        cdef FreeList *freed = &self.freed[size_class]
        cdef FreedArray *array = &freed.arrays[freed.count - 1]
        cdef uint64_t size = sizeof(Entry) << size_class
        cdef uint64_t place = <uint64_t>array.place * UNIT
        cdef uint64_t index
        if array.freed_ns == 0:
            if self.back(place, place + size) < 0:
                return -1
        else:
            # A slow reader may still probe this array. It was freed after its descriptor was swapped, with a
            # fence in between: who sees one of these zeroes also sees the other descriptor.
            fence_seq_cst()
            for index in range(size // 8):
                store_relaxed_u64(<uint64_t *>(self.segment + place) + index, 0)
        freed.count -= 1
        return place // UNIT

    cdef void array_give(self, uint32_t place, uint32_t size_class) noexcept nogil:
        """Take back an array that no descriptor points to any more."""
        cdef FreeList *freed = &self.freed[size_class]
        cdef void *array = reserve(freed.arrays, freed.count, 1, &freed.capacity, sizeof(FreedArray))
        if array == NULL:
            return  # the space is lost, no more
        freed.arrays = <FreedArray *>array
        freed.arrays[freed.count] = FreedArray(monotonic_ns(), place)
        freed.count += 1

    cpdef int trim(self) except -1:
        """Return the memory of freed arrays to the system; how many arrays. For the worker's slow timer.

        Only what was freed more than RETURN_AFTER_NS ago: a reader that still probes such an array would
        give it a page again, or die of SIGBUS if /dev/shm is full. A reader that stands still for longer
        than this is killed by the acceptor anyway.
        """
        cdef uint64_t now = monotonic_ns()
        cdef uint64_t size
        cdef uint32_t size_class, index
        cdef FreedArray *array
        cdef int returned = 0
        for size_class in range(CLASS_PAGE, SIZE_CLASSES):
            size = sizeof(Entry) << size_class
            for index in range(self.freed[size_class].count):
                array = &self.freed[size_class].arrays[index]
                if array.freed_ns == 0 or now - array.freed_ns < RETURN_AFTER_NS or self.descriptor_file < 0:
                    continue
                if fallocate(
                    self.descriptor_file, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
                    <uint64_t>array.place * UNIT, size,
                ) == 0:
                    array.freed_ns = 0
                    self.backed -= size
                    returned += 1
        self.publish_figures()
        return returned
