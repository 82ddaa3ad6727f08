"""The interest directory: who writes, who reads, and why no reader is ever fooled. Layout: the .pxd.

Each worker is the only writer of its own table, and any worker reads any table, without locks and without
waiting: a writer that is stopped between two stores blocks nobody's SUB and nobody's PUB.

**Keys.** A pattern's key is the sum of an account term and one term per token, position mixed in, finalised
by a bijection. A sum lets a reader step from a prefix to its children by one addition. All terms carry the
broker's secret seed. A wildcard pattern also counts an entry for each of its proper prefixes, so that a
reader can walk down from the account, over the literal token and `*` at each level, and stop where no worker
has a pattern. A prefix key differs from the key of the literal pattern of the same tokens (PREFIX_TERM).

**Order of a change.** Table, filter bit, version; the caller then answers PONG. A reader takes the versions
first and probes afterwards. So either it sees the change, or its stamp is out of date. That is why
lookup() fills the stamp, and why nobody else may.

**What readers meet in a table that changes:**

- Nothing moves in place. A removal stores count 0 and keeps the key: a search never stops too early.
- A dead entry may be reused for another key. The new key is stored before the new value, so a reader that
  saw the old key and the new value sees the new key when it looks again, which it does. Against the old key
  coming back in between, the descriptor's generation is raised before each such reuse.
- Growth copies the live entries of one partition to fresh space and swaps the descriptor. The old array may
  be zeroed for another partition, or its memory returned, while a slow reader still probes it: it would miss
  keys that are there. So a reader loads the descriptor again after probing and repeats if it changed.

A collision of keys or of filter words costs a useless frame. It never costs a delivery, and never makes a
wrong one: who receives is decided by the receiver's own sublist.
"""

cimport cython
from libc.stdlib cimport calloc, free, qsort
from libc.string cimport memchr, memset

from shardbroker import limits
from shardbroker.arrays cimport reserve
from shardbroker.hashing cimport HASH_A, HASH_B, HASH_C, hash_bytes, mix_u64
from shardbroker.shm.atomics cimport (
    fetch_add_u64,
    fetch_and_u64,
    fetch_or_u64,
    fence_seq_cst,
    monotonic_ns,
    store_relaxed_u64,
    store_release_u64,
)
from shardbroker.shm.layout cimport BOARD_FILTER, BOARD_SEED, BOARD_VERSIONS

cdef extern from "fcntl.h" nogil:
    int fallocate(int fd, int mode, long long offset, long long length)
    const int FALLOC_FL_KEEP_SIZE
    const int FALLOC_FL_PUNCH_HOLE

cdef extern from "errno.h" nogil:
    int errno
    const int EINTR

cdef extern from *:
    """
    #define shardbroker_lowest_bit(word) ((uint32_t)__builtin_ctzll(word))
    """
    uint32_t lowest_bit "shardbroker_lowest_bit"(uint64_t word) noexcept nogil

cdef struct Table:
    # A descriptor, taken apart and checked.
    Entry *entries  # NULL: no array yet
    uint64_t mask  # capacity - 1
    uint64_t descriptor

cdef enum:
    SEGMENT_LAYOUT_VERSION = 1
    HEADER_LIVE = 16
    HEADER_DEAD = 24
    HEADER_BACKED = 32
    DESCRIPTORS = 4096
    ARRAYS = 8192
    UNIT = 256  # bytes
    CLASS_MIN = 4  # 16 entries: one unit
    BACKING_STEP = 65536  # bytes given memory at a time while arrays are small
    CLASS_PAGE = 8  # arrays of 256 entries fill a page: from here on trim() can return memory
    PAGE = 4096
    COUNT_BITS = 24
    COUNT_MAX = 0xFFFFFF
    FILTER_WORDS = 1 << 20
    VERSION_SLOTS = 4096  # of literal subjects; as many of wildcard prefixes follow
    # A lookup may visit this many prefixes by the filter alone. A full filter lets too much through, and the
    # walk doubles at each token; from here on every prefix is confirmed in the tables, so that the walk
    # visits only prefixes that exist.
    VISITS_UNCONFIRMED = 32
    REPEATS_MAX = 1000  # a peer whose descriptor changes that often during one probe is broken

cdef uint64_t RETURN_AFTER_NS = 2_000_000_000
cdef uint64_t SEGMENT_MAGIC = 0x747372746E696273  # b"sbintrst", little-endian
cdef uint64_t PREFIX_TERM = 0x9B05688C2B3E6C1F
cdef uint64_t PREFIX_SLOT_TERM = 0x1F83D9ABFB41BD6B

assert sizeof(Entry) == 16
assert limits.filter_words_count == FILTER_WORDS and limits.versions_count == 2 * VERSION_SLOTS
assert limits.interest_partitions_count == INTEREST_PARTITIONS and limits.workers_max == WORKERS_MAX


# --- subjects -------------------------------------------------------------------------------------------
cdef inline uint32_t token_end(const uint8_t *subject, uint32_t size, uint32_t start) noexcept nogil:
    """Offset of the dot (46) that ends the token at ``start``, or ``size``."""
    cdef const uint8_t *dot = <const uint8_t *>memchr(subject + start, 46, size - start)
    return size if dot == NULL else <uint32_t>(dot - subject)


cdef inline bint is_star(const uint8_t *subject, uint32_t start, uint32_t end) noexcept nogil:
    return end - start == 1 and subject[start] == b"*"


cdef inline bint is_rest(const uint8_t *subject, uint32_t size, uint32_t start, uint32_t end) noexcept nogil:
    """`>` is a wildcard only at the end, as in subjects/sublist.pyx."""
    return end - start == 1 and end == size and subject[start] == b">"


# --- keys -----------------------------------------------------------------------------------------------
cdef inline uint64_t final_key(uint64_t sum) noexcept nogil:
    """The key of a sum of terms; 0 is kept for entries never used."""
    cdef uint64_t key = mix_u64(sum)
    return key if key != 0 else 1


cdef inline uint64_t descriptor_of(uint64_t old, uint64_t place, uint32_t size_class) noexcept nogil:
    """The descriptor after ``old``: its generation is one higher (and may wrap)."""
    return ((old >> 37) + 1) << 37 | <uint64_t>size_class << 32 | place


cdef inline uint32_t class_for(uint64_t live) noexcept nogil:
    """log2 of the array for that many entries: filled to 3/8 at most, so that 1/8 is free for the next."""
    cdef uint32_t size_class = CLASS_MIN
    while live * 8 > (<uint64_t>3 << size_class):
        size_class += 1
    return size_class


cdef inline uint64_t filter_index(uint64_t key) noexcept nogil:
    return (key >> 32) & (FILTER_WORDS - 1)


cdef inline uint32_t literal_slot(uint64_t key) noexcept nogil:
    return <uint32_t>(key >> 20) & (VERSION_SLOTS - 1)


cdef inline uint32_t prefix_slot(uint64_t sum) noexcept nogil:
    return VERSION_SLOTS + (<uint32_t>mix_u64(sum ^ PREFIX_SLOT_TERM) & (VERSION_SLOTS - 1))


# --- reading a table ------------------------------------------------------------------------------------
cdef inline Table table_of(uint8_t *segment, uint64_t size, uint64_t key) noexcept nogil:
    """The array that holds a key, as of now. A descriptor that points outside counts as no array."""
    cdef Table table
    cdef uint64_t place, capacity
    table.descriptor = load_acquire_u64(<uint64_t *>(segment + DESCRIPTORS) + (key >> 56))
    place = <uint64_t><uint32_t>table.descriptor * UNIT
    capacity = <uint64_t>1 << ((table.descriptor >> 32) & 31)
    table.mask = capacity - 1
    table.entries = <Entry *>(segment + place)
    if place < ARRAYS or place + capacity * sizeof(Entry) > size:
        table.entries = NULL
    return table


cdef inline bint table_changed(uint8_t *segment, const Table *table, uint64_t key) noexcept nogil:
    return load_acquire_u64(<uint64_t *>(segment + DESCRIPTORS) + (key >> 56)) != table.descriptor


cdef int by_queue_and_worker(const void *left, const void *right) noexcept nogil:
    cdef const InterestHit *one = <const InterestHit *>left
    cdef const InterestHit *two = <const InterestHit *>right
    if one.queue >> 1 != two.queue >> 1:
        return 1 if one.queue > two.queue else -1
    return <int>one.worker - <int>two.worker


cdef int group_hits(RemoteInterest *out) noexcept nogil:
    """Turn hits into groups with their members per worker; -1 when out of memory."""
    cdef uint32_t index
    cdef InterestHit *hit
    cdef InterestGroup *group = NULL
    cdef InterestMembers *members = NULL
    cdef void *array
    if out.hit_count == 0:
        return 0
    if out.hit_count > 1:
        qsort(out.hits, out.hit_count, sizeof(InterestHit), by_queue_and_worker)
    array = reserve(out.groups, 0, out.hit_count, &out.group_capacity, sizeof(InterestGroup))
    if array == NULL:
        return -1
    out.groups = <InterestGroup *>array
    array = reserve(out.members, 0, out.hit_count, &out.members_capacity, sizeof(InterestMembers))
    if array == NULL:
        return -1
    out.members = <InterestMembers *>array
    for index in range(out.hit_count):
        hit = &out.hits[index]
        if group == NULL or group.queue_hash != hit.queue & ~<uint64_t>1:
            group = &out.groups[out.group_count]
            group[0] = InterestGroup(hit.queue & ~<uint64_t>1, out.members_count, 0)
            out.group_count += 1
        if group.count == 0 or members.worker != hit.worker:
            members = &out.members[out.members_count]
            members[0] = InterestMembers(hit.worker, 0, 0)
            out.members_count += 1
            group.count += 1
        if hit.queue & 1:
            members.limited += hit.count
        else:
            members.unlimited += hit.count
    return 0


cdef void remote_interest_init(RemoteInterest *interest) noexcept nogil:
    """Make an empty result without arrays."""
    memset(interest, 0, sizeof(RemoteInterest))


cdef void remote_interest_free(RemoteInterest *interest) noexcept nogil:
    """Give the arrays back; the result is empty and usable afterwards."""
    free(interest.groups)
    free(interest.members)
    free(interest.hits)
    remote_interest_init(interest)


@cython.final
cdef class InterestDirectory:
    """This worker's table, and its view of the others'.

    ``board`` and ``segment`` are addresses of mapped memory that outlive this object. ``segment_fd`` is used
    to give the segment memory before it is touched, so that a full /dev/shm is an error of one SUB and not
    a SIGBUS; -1 (tests) means that the mapping needs none. A segment is fresh, all zero, and ours alone.
    """

    def __cinit__(
        self, uint32_t worker_index, size_t board, size_t segment, int segment_fd, uint64_t segment_size
    ):
        assert worker_index < WORKERS_MAX
        assert board % PAGE == 0 and segment % PAGE == 0
        assert segment_size >= ARRAYS + BACKING_STEP and segment_size <= <uint64_t>UNIT << 32
        self.worker_index = worker_index
        self.versions = <uint64_t *><void *>(board + BOARD_VERSIONS)
        self.filter = <uint64_t *><void *>(board + BOARD_FILTER)
        self.seed = (<uint64_t *><void *>(board + BOARD_SEED))[0]
        self.segment = <uint8_t *>segment
        self.segment_size = segment_size
        self.segment_fd = segment_fd
        self.next_place = self.backed_end = ARRAYS
        self.filter_counts = <uint8_t *>calloc(FILTER_WORDS, 1)
        if self.filter_counts == NULL or self.back(0, ARRAYS) < 0:
            raise MemoryError("interest segment: no memory for its first pages")
        (<uint32_t *>(self.segment + 8))[0] = SEGMENT_LAYOUT_VERSION
        (<uint32_t *>(self.segment + 12))[0] = worker_index
        store_release_u64(<uint64_t *>self.segment, SEGMENT_MAGIC)

    def __dealloc__(self):
        cdef uint32_t size_class
        for size_class in range(SIZE_CLASSES):
            free(self.freed[size_class].arrays)
        free(self.filter_counts)
        free(self.terms)

    # --- peers ------------------------------------------------------------------------------------------
    cpdef int set_peer(self, uint32_t worker, size_t address, uint64_t size) except -1:
        """Ask that worker's segment from now on. Its creator made it all zero; its worker may not run yet."""
        assert worker < WORKERS_MAX and worker != self.worker_index
        assert size >= ARRAYS and size <= <uint64_t>UNIT << 32
        self.peers[worker] = <uint8_t *>address
        self.peer_sizes[worker] = size
        self.attached |= <uint64_t>1 << worker
        self.peers_epoch += 1
        return 0

    cpdef int clear_peer(self, uint32_t worker) except -1:
        """Ask that worker no more: it is DOWN. Its memory is not touched again."""
        assert worker < WORKERS_MAX
        self.attached &= ~(<uint64_t>1 << worker)
        self.peers[worker] = NULL
        self.peers_epoch += 1
        return 0

    # --- keys -------------------------------------------------------------------------------------------
    cdef uint64_t account_term(self, uint32_t account) noexcept nogil:
        return mix_u64(self.seed + account * HASH_B)

    cdef uint64_t token_term(self, const uint8_t *token, uint32_t size, uint32_t index) noexcept nogil:
        return hash_bytes(token, size, self.seed + (index + 1) * HASH_A)

    cdef uint64_t star_term(self, uint32_t index) noexcept nogil:
        return mix_u64((self.seed ^ HASH_B) + (index + 1) * HASH_C)

    cdef uint64_t rest_term(self, uint32_t index) noexcept nogil:
        return mix_u64((self.seed ^ HASH_C) + (index + 1) * HASH_B)

    cdef uint64_t queue_hash_of(self, const uint8_t *name, uint32_t size) noexcept nogil:
        cdef uint64_t queue = (hash_bytes(name, size, self.seed ^ HASH_C) >> 25) << 1
        return queue if queue != 0 else 2

    def hash_queue(self, bytes name) -> int:
        """The number by which the broker knows a queue group: 40 bits, even, never 0."""
        return self.queue_hash_of(name, <uint32_t>len(name))

    # --- the own table: memory --------------------------------------------------------------------------
    cdef int back(self, uint64_t start, uint64_t end) noexcept nogil:
        """Give a range of the segment memory, now, so that touching it cannot fail; -1 when there is none."""
        if self.segment_fd >= 0:
            while fallocate(self.segment_fd, 0, start, end - start) < 0:
                if errno != EINTR:
                    return -1
        self.backed += end - start
        store_relaxed_u64(<uint64_t *>(self.segment + HEADER_BACKED), self.backed)
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
        if end > self.segment_size:
            return -1
        if end > self.backed_end:
            # Steps while arrays are small: one system call for many SUBs.
            wanted = self.backed_end + BACKING_STEP
            if wanted < end:
                wanted = (end + PAGE - 1) & ~(<uint64_t>PAGE - 1)
            if wanted > self.segment_size:
                wanted = self.segment_size
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
                if array.freed_ns == 0 or now - array.freed_ns < RETURN_AFTER_NS or self.segment_fd < 0:
                    continue
                if fallocate(
                    self.segment_fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, <uint64_t>array.place * UNIT, size
                ) == 0:
                    array.freed_ns = 0
                    self.backed -= size
                    returned += 1
        store_relaxed_u64(<uint64_t *>(self.segment + HEADER_BACKED), self.backed)
        return returned

    cdef int partition_rebuild(self, uint32_t index, uint32_t size_class) noexcept nogil:
        """Copy the live entries of a partition to an array of 2**size_class; -1 when the segment is full."""
        cdef uint64_t *cell = <uint64_t *>(self.segment + DESCRIPTORS) + index
        cdef uint64_t descriptor = cell[0]
        cdef Table old = table_of(self.segment, self.segment_size, <uint64_t>index << 56)
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

    # --- the own table: entries -------------------------------------------------------------------------
    cdef void filter_add(self, uint64_t key) noexcept nogil:
        cdef uint64_t index = filter_index(key)
        if self.filter_counts[index] == 0:
            fetch_or_u64(&self.filter[index], <uint64_t>1 << self.worker_index)
        if self.filter_counts[index] < 255:
            self.filter_counts[index] += 1

    cdef void filter_drop(self, uint64_t key) noexcept nogil:
        cdef uint64_t index = filter_index(key)
        if self.filter_counts[index] == 255:
            return  # how many there were is forgotten: the bit stays
        self.filter_counts[index] -= 1
        if self.filter_counts[index] == 0:
            fetch_and_u64(&self.filter[index], ~(<uint64_t>1 << self.worker_index))

    cdef int entry_change(self, uint64_t key, uint64_t queue, int32_t delta) noexcept nogil:
        """Add to the count of (key, queue), with its filter bit; the old count, or -1 when there is no room."""
        cdef OwnPartition *partition = &self.partitions[key >> 56]
        cdef Table table = table_of(self.segment, self.segment_size, key)
        cdef Entry *reusable = NULL
        cdef Entry *entry
        cdef uint64_t index, count
        if table.entries != NULL:
            index = key & table.mask
            while True:
                entry = &table.entries[index]
                if entry.key == 0:
                    break
                count = entry.value & COUNT_MAX
                if entry.key == key and entry.value >> COUNT_BITS == queue and count:
                    return self.count_change(key, entry, count, delta)
                if count == 0 and reusable == NULL:
                    reusable = entry
                index = (index + 1) & table.mask
        if delta < 0:
            return -2
        if delta > COUNT_MAX:
            return -1
        if reusable == NULL:
            if table.entries == NULL or (partition.used + 1) * 2 > table.mask + 1:
                if self.partition_rebuild(<uint32_t>(key >> 56), class_for(partition.live + 1)) < 0:
                    return -1
                table = table_of(self.segment, self.segment_size, key)
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
                    table.descriptor + (<uint64_t>1 << 37),
                )
        store_release_u64(&reusable.key, key)
        store_release_u64(&reusable.value, (queue << COUNT_BITS) | <uint64_t>delta)
        partition.live += 1
        self.live += 1
        self.filter_add(key)
        return 0

    cdef int count_change(self, uint64_t key, Entry *entry, uint64_t count, int32_t delta) noexcept nogil:
        """Change the count of a live entry, which may die of it; the old count, or -1 (full), -2 (below 0)."""
        cdef OwnPartition *partition = &self.partitions[key >> 56]
        cdef uint64_t capacity
        if <int64_t>count + delta > COUNT_MAX:
            return -1
        if <int64_t>count + delta < 0:
            return -2
        store_release_u64(&entry.value, entry.value + <uint64_t><int64_t>delta)
        if <int64_t>count + delta == 0:
            partition.live -= 1
            self.live -= 1
            self.dead += 1
            self.filter_drop(key)
            capacity = table_of(self.segment, self.segment_size, key).mask + 1
            if capacity > 256 and partition.live * 16 < capacity:
                # Give memory back after a flood has gone. If there is no room to do so, it stays.
                self.partition_rebuild(<uint32_t>(key >> 56), class_for(partition.live + 1))
        return <int>count

    # --- the contract (the .pxd) ------------------------------------------------------------------------
    cdef int change(
        self, uint32_t account, const uint8_t *subject, uint32_t size, uint64_t queue_hash, bint limited,
        int32_t delta,
    ) except -1:
        cdef uint64_t queue = (queue_hash | <uint64_t>limited) if queue_hash else 0
        cdef uint64_t sum = self.account_term(account)
        cdef uint64_t below = 0  # sum of the literal tokens before the first wildcard, two at most
        cdef bint wildcard = False
        cdef uint32_t start = 0
        cdef uint32_t index = 0
        cdef uint32_t end
        cdef int status
        assert delta != 0 and queue_hash & 1 == 0 and queue_hash >> 40 == 0
        while start <= size:
            end = token_end(subject, size, start)
            if not wildcard and index <= 2:
                below = sum
            if is_rest(subject, size, start, end):
                sum += self.rest_term(index)
                wildcard = True
            elif is_star(subject, start, end):
                sum += self.star_term(index)
                wildcard = True
            else:
                sum += self.token_term(subject + start, end - start, index)
            index += 1
            start = end + 1
        # Prefixes go first and leave last: they are there as long as a pattern needs them. They count
        # patterns, not subscriptions, so they change only when the entry begins or ends to live.
        status = self.entry_change(final_key(sum), queue, delta)
        if wildcard and status == 0 and self.prefixes_change(account, subject, size, 1) < 0:
            self.entry_change(final_key(sum), queue, -delta)
            status = -1
        if wildcard and status > 0 and status + delta == 0:
            self.prefixes_change(account, subject, size, -1)
        if status == -1:
            raise MemoryError("interest segment is full")
        assert status >= 0, "more interest removed than was added"
        store_relaxed_u64(<uint64_t *>(self.segment + HEADER_LIVE), self.live)
        store_relaxed_u64(<uint64_t *>(self.segment + HEADER_DEAD), self.dead)
        fetch_add_u64(&self.versions[prefix_slot(below) if wildcard else literal_slot(final_key(sum))], 1)
        return 0

    cdef int prefixes_change(
        self, uint32_t account, const uint8_t *subject, uint32_t size, int32_t delta
    ) noexcept nogil:
        """Count a wildcard pattern in (+1) or out (-1) of all its proper prefixes; -1 and no change if full."""
        cdef uint64_t sum = self.account_term(account)
        cdef uint32_t start = 0
        cdef uint32_t index = 0
        cdef uint32_t end
        while start <= size:
            if self.entry_change(final_key(sum + PREFIX_TERM), 0, delta) < 0:
                if start > 0:
                    # The prefixes done so far are those of the pattern that ends before this token.
                    self.prefixes_change(account, subject, start - 1, -delta)
                return -1
            end = token_end(subject, size, start)
            if is_star(subject, start, end):
                sum += self.star_term(index)
            else:
                sum += self.token_term(subject + start, end - start, index)
            index += 1
            start = end + 1
        return 0

    cdef bint current(self, const RouteStamp *stamp) noexcept nogil:
        return stamp.peers_epoch == self.peers_epoch and stamp_current(self.versions, stamp)

    cdef int lookup(
        self, uint32_t account, const uint8_t *subject, uint32_t size, RemoteInterest *out, RouteStamp *stamp
    ) noexcept nogil:
        cdef uint64_t sum = self.account_term(account)
        cdef uint64_t root = sum
        cdef uint32_t start = 0
        cdef uint32_t index, end
        cdef bint valid = True
        cdef void *terms
        out.mask = 0
        out.group_count = out.members_count = out.hit_count = 0
        self.token_count = self.visited = 0
        self.exhausted = False
        stamp.slots[1] = stamp.slots[2] = stamp.slots[3] = prefix_slot(sum)
        # Guide: terms of all tokens, and the slots they lead to.
        while start <= size:
            end = token_end(subject, size, start)
            valid = valid and end > start
            terms = reserve(self.terms, self.token_count, 1, &self.terms_capacity, sizeof(uint64_t))
            if terms == NULL:
                return -1
            self.terms = <uint64_t *>terms
            self.terms[self.token_count] = self.token_term(subject + start, end - start, self.token_count)
            sum += self.terms[self.token_count]
            self.token_count += 1
            if self.token_count <= 2:
                stamp.slots[1 + self.token_count] = prefix_slot(sum)
            start = end + 1
        stamp.slots[0] = literal_slot(final_key(sum))
        # Guide: versions before the first probe; acquire loads, so that no probe moves before them.
        stamp.peers_epoch = self.peers_epoch
        for index in range(STAMP_SLOTS):
            stamp.versions[index] = load_acquire_u64(&self.versions[stamp.slots[index]])
        # Guide: nobody subscribes to a subject with an empty token, but `>` must not be said to.
        if not valid or self.attached == 0:
            return 0
        self.terminals(final_key(sum), self.attached, out)
        self.walk(0, root, self.attached, False, out)
        if self.exhausted:
            return -1
        return group_hits(out)

    cdef void walk(self, uint32_t depth, uint64_t sum, uint64_t mask, bint starred, RemoteInterest *out) noexcept nogil:
        """Find the wildcard patterns that begin with the prefix ``sum`` of ``depth`` tokens, in ``mask``.

        Recursion is as deep as there are `*` in the longest pattern, at most half a control line.
        """
        cdef uint64_t key, candidates
        cdef uint32_t worker
        while True:
            key = final_key(sum + PREFIX_TERM)
            mask &= load_acquire_u64(&self.filter[filter_index(key)])
            self.visited += 1
            if self.visited > VISITS_UNCONFIRMED:
                candidates = mask
                while candidates != 0:
                    worker = lowest_bit(candidates)
                    candidates &= candidates - 1
                    if not self.probe(worker, key, NULL):
                        mask &= ~(<uint64_t>1 << worker)
            if mask == 0:
                return
            self.terminals(final_key(sum + self.rest_term(depth)), mask, out)
            if depth + 1 == self.token_count:
                self.terminals(final_key(sum + self.star_term(depth)), mask, out)
                # A pattern without any wildcard has been looked for already, and has no prefixes.
                if starred:
                    self.terminals(final_key(sum + self.terms[depth]), mask, out)
                return
            self.walk(depth + 1, sum + self.star_term(depth), mask, True, out)
            sum += self.terms[depth]
            depth += 1

    cdef void terminals(self, uint64_t key, uint64_t mask, RemoteInterest *out) noexcept nogil:
        """Ask the workers that the filter names whether they have patterns with that key."""
        cdef uint32_t worker
        mask &= load_acquire_u64(&self.filter[filter_index(key)])
        while mask != 0:
            worker = lowest_bit(mask)
            mask &= mask - 1
            self.probe(worker, key, out)

    cdef bint probe(self, uint32_t worker, uint64_t key, RemoteInterest *out) noexcept nogil:
        """Whether a worker's table has that key; what it counts goes to ``out`` unless that is NULL."""
        cdef uint8_t *segment = self.peers[worker]
        cdef uint32_t hits_before = out.hit_count if out != NULL else 0
        cdef uint32_t repeats = 0
        cdef uint64_t index, left, value, seen
        cdef bint plain, found
        cdef Table table
        while True:
            table = table_of(segment, self.peer_sizes[worker], key)
            plain = found = False
            if out != NULL:
                out.hit_count = hits_before
            if table.entries != NULL:
                index = key & table.mask
                # Bounded: the table of a broken process may have no end.
                for left in range(table.mask + 1):
                    seen = load_acquire_u64(&table.entries[index].key)
                    if seen == 0:
                        break
                    if seen == key:
                        value = load_acquire_u64(&table.entries[index].value)
                        if value & COUNT_MAX and load_acquire_u64(&table.entries[index].key) == key:
                            found = True
                            if value >> COUNT_BITS == 0:
                                plain = True
                            elif out != NULL:
                                self.note_hit(out, worker, value)
                    index = (index + 1) & table.mask
            repeats += 1
            if repeats >= REPEATS_MAX or not table_changed(segment, &table, key):
                break
        if plain and out != NULL:
            out.mask |= <uint64_t>1 << worker
        return found

    cdef void note_hit(self, RemoteInterest *out, uint32_t worker, uint64_t value) noexcept nogil:
        cdef void *hits = reserve(out.hits, out.hit_count, 1, &out.hit_capacity, sizeof(InterestHit))
        if hits == NULL:
            self.exhausted = True
            return
        out.hits = <InterestHit *>hits
        out.hits[out.hit_count] = InterestHit(value >> COUNT_BITS, worker, <uint32_t>(value & COUNT_MAX))
        out.hit_count += 1

    # --- for tests and tools ----------------------------------------------------------------------------
    def change_subject(
        self, uint32_t account, bytes subject, int32_t delta, uint64_t queue_hash=0, bint limited=False
    ) -> None:
        """As change(). For tests and tools."""
        self.change(account, subject, <uint32_t>len(subject), queue_hash, limited, delta)

    def lookup_subject(self, uint32_t account, bytes subject) -> tuple:
        """(mask, {queue hash: {worker: (unlimited, limited)}}, stamp). For tests and tools."""
        cdef RemoteInterest out
        cdef RouteStamp stamp
        cdef InterestGroup *group
        cdef InterestMembers *members
        cdef uint32_t index, member
        remote_interest_init(&out)
        if self.lookup(account, subject, <uint32_t>len(subject), &out, &stamp) < 0:
            remote_interest_free(&out)
            raise MemoryError("remote interest")
        groups = {}
        for index in range(out.group_count):
            group = &out.groups[index]
            assert group.queue_hash not in groups, "a group twice in one result"
            groups[group.queue_hash] = {}
            for member in range(group.start, group.start + group.count):
                members = &out.members[member]
                assert members.worker not in groups[group.queue_hash], "a worker twice in one group"
                groups[group.queue_hash][members.worker] = (members.unlimited, members.limited)
        mask = out.mask
        remote_interest_free(&out)
        return mask, groups, (<const uint8_t *>&stamp)[:sizeof(RouteStamp)]

    def is_current(self, bytes stamp) -> bool:
        """As current(), for a stamp of lookup_subject(). For tests and tools."""
        assert len(stamp) == sizeof(RouteStamp)
        return bool(self.current(<const RouteStamp *><const uint8_t *>stamp))
