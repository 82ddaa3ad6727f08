"""The interest directory: which workers have subscribers for a published subject.

Each worker is the only writer of its own table (interest_table.pyx), and any worker reads any table, without
locks and without waiting. Here is what the keys mean, in which order things change, and the walk.

**Keys.** A pattern's key is the sum of an account term and one term per token, position mixed in, finalised
by a bijection. A sum lets a reader step from a prefix to its children by one addition. All terms carry the
broker's secret seed. A wildcard pattern also counts an entry for each of its proper prefixes, so that a
reader can walk down from the account, over the literal token and `*` at each level, and stop where no worker
has a pattern. A prefix key differs from the key of the literal pattern of the same tokens (PREFIX_TERM).

**Filter words.** The four questions that a walk asks about a prefix P are answered by one cache line, the one
to which P's key leads: does P exist (ROLE_PREFIX; for a P that ends in `*` this is asked at its parent,
ROLE_STAR_PREFIX), `P.>`, `P.*` as a pattern, `P.*` as a prefix. So what a subject usually finds at a prefix,
nothing, costs one load.

**Order of a change.** Table, filter bit, version; the caller then answers PONG. A reader takes the versions
first and probes afterwards. So either it sees the change, or its stamp is out of date. That is why
lookup() fills the stamp, and why nobody else may.

A collision of keys or of filter words costs a useless frame. It never costs a delivery, and never makes a
wrong one: who receives is decided by the receiver's own sublist.
"""

cimport cython
from libc.stdlib cimport free, qsort
from libc.string cimport memchr, memset

from shardbroker import limits
from shardbroker.arrays cimport reserve
from shardbroker.hashing cimport HASH_A, HASH_B, HASH_C, hash_bytes, mix_u64
from shardbroker.shm.atomics cimport fetch_add_u64
from shardbroker.shm.interest_table cimport (
    ARRAYS,
    COUNT_BITS,
    COUNT_MAX,
    NO_ROOM,
    UNIT,
    InterestTable,
    TableView,
    filter_index,
    table_view,
    view_changed,
)
from shardbroker.shm.offsets cimport BOARD_FILTER, BOARD_SEED, BOARD_VERSIONS

cdef extern from *:
    """
    #define shardbroker_lowest_bit(word) ((uint32_t)__builtin_ctzll(word))
    """
    uint32_t lowest_bit "shardbroker_lowest_bit"(uint64_t word) noexcept nogil

cdef enum:
    VERSION_SLOTS = 4096  # of literal subjects; as many of wildcard prefixes follow
    # A lookup may visit this many prefixes by the filter alone. A full filter lets too much through, and the
    # walk doubles at each token; from here on every prefix is confirmed in the tables, so that the walk
    # visits only prefixes that exist.
    VISITS_UNCONFIRMED = 32
    ROLE_PREFIX = 0  # the prefix itself, if it ends in a literal token or is the account's root
    ROLE_REST = 1  # the pattern of the prefix and `>`
    ROLE_STAR = 2  # the pattern of the prefix and `*`
    ROLE_STAR_PREFIX = 3  # the prefix of the prefix and `*`
    REPEATS_MAX = 1000  # a peer whose descriptor changes that often during one probe is broken

cdef uint64_t PREFIX_TERM = 0x9B05688C2B3E6C1F
cdef uint64_t PREFIX_SLOT_TERM = 0x1F83D9ABFB41BD6B

assert limits.versions_count == 2 * VERSION_SLOTS and limits.workers_max == WORKERS_MAX


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


cdef inline uint64_t prefix_key(uint64_t sum) noexcept nogil:
    return final_key(sum + PREFIX_TERM)


cdef inline uint32_t literal_slot(uint64_t key) noexcept nogil:
    return <uint32_t>(key >> 20) & (VERSION_SLOTS - 1)


cdef inline uint32_t prefix_slot(uint64_t sum) noexcept nogil:
    return VERSION_SLOTS + (<uint32_t>mix_u64(sum ^ PREFIX_SLOT_TERM) & (VERSION_SLOTS - 1))


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

    ``board`` and ``segment`` are addresses of mapped memory that outlive this object; the segment is fresh,
    all zero. ``segment_fd`` gives it memory; -1 (tests) when it needs none. The board's seed is set already.
    """

    def __cinit__(
        self, uint32_t worker_index, size_t board, size_t segment, int segment_fd, uint64_t segment_size
    ):
        assert worker_index < WORKERS_MAX and board % 4096 == 0
        self.worker_index = worker_index
        self.versions = <uint64_t *><void *>(board + BOARD_VERSIONS)
        self.filter = <uint64_t *><void *>(board + BOARD_FILTER)
        self.seed = (<uint64_t *><void *>(board + BOARD_SEED))[0]
        self.table = InterestTable(worker_index, board + BOARD_FILTER, segment, segment_fd, segment_size)
        # has_exactly() reads the own table like the others'; it is never `attached`.
        self.peers[worker_index] = <uint8_t *>segment
        self.peer_sizes[worker_index] = segment_size

    def __dealloc__(self):
        free(self.terms)

    cpdef int trim(self) except -1:
        """Return memory that the table needs no more; for the worker's slow timer (about once a second)."""
        return self.table.trim()

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

    # --- the contract (the .pxd) ------------------------------------------------------------------------
    cdef int change(
        self, uint32_t account, const uint8_t *subject, uint32_t size, uint64_t queue_hash, bint limited,
        int32_t delta,
    ) except -1:
        cdef uint64_t queue = (queue_hash | <uint64_t>limited) if queue_hash else 0
        cdef uint64_t sum = self.account_term(account)
        cdef uint64_t parent = sum  # all but the last token
        cdef uint64_t below = sum  # the literal tokens before the first wildcard, two at most
        cdef uint64_t key, word
        cdef bint wildcard = False
        cdef uint32_t role = ROLE_PREFIX  # of the last token
        cdef uint32_t start = 0
        cdef uint32_t index = 0
        cdef uint32_t end
        cdef int status
        assert delta != 0 and queue_hash & 1 == 0 and queue_hash >> 40 == 0
        while start <= size:
            end = token_end(subject, size, start)
            if not wildcard and index <= 2:
                below = sum
            parent = sum
            if is_rest(subject, size, start, end):
                sum += self.rest_term(index)
                role = ROLE_REST
            elif is_star(subject, start, end):
                sum += self.star_term(index)
                role = ROLE_STAR
            else:
                sum += self.token_term(subject + start, end - start, index)
                role = ROLE_PREFIX
            wildcard = wildcard or role != ROLE_PREFIX
            index += 1
            start = end + 1
        key = final_key(sum)
        word = filter_index(key) if role == ROLE_PREFIX else filter_index(prefix_key(parent)) ^ role
        # Prefixes count patterns, not subscriptions: they change when the entry begins or ends to live.
        status = self.table.change(key, word, queue, delta)
        if wildcard and status == 0 and self.prefixes_change(account, subject, size, 1) < 0:
            self.table.change(key, word, queue, -delta)
            status = NO_ROOM
        if wildcard and status > 0 and status + delta == 0:
            self.prefixes_change(account, subject, size, -1)
        if status == NO_ROOM:
            raise MemoryError("interest segment is full")
        assert status >= 0, "more interest removed than was added"
        self.table.publish_figures()
        fetch_add_u64(&self.versions[prefix_slot(below) if wildcard else literal_slot(key)], 1)
        return 0

    cdef int prefixes_change(
        self, uint32_t account, const uint8_t *subject, uint32_t size, int32_t delta
    ) noexcept nogil:
        """Count a pattern in (+1) or out (-1) of all its proper prefixes; -1, nothing changed, when full."""
        cdef uint64_t sum = self.account_term(account)
        cdef uint64_t word = filter_index(prefix_key(sum))
        cdef uint32_t start = 0
        cdef uint32_t index = 0
        cdef uint32_t end
        while start <= size:
            if self.table.change(prefix_key(sum), word, 0, delta) < 0:
                if start > 0:
                    # The prefixes done so far are those of the pattern that ends before this token.
                    self.prefixes_change(account, subject, start - 1, -delta)
                return -1
            end = token_end(subject, size, start)
            if is_star(subject, start, end):
                word = filter_index(prefix_key(sum)) ^ ROLE_STAR_PREFIX
                sum += self.star_term(index)
            else:
                sum += self.token_term(subject + start, end - start, index)
                word = filter_index(prefix_key(sum))
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
        self.literal_terminal(final_key(sum), self.attached, out)
        index = <uint32_t>filter_index(prefix_key(root))
        self.walk(0, root, self.attached & load_acquire_u64(&self.filter[index ^ ROLE_PREFIX]), False, out)
        if self.exhausted:
            return -1
        return group_hits(out)

    cdef bint has_exactly(
        self, uint32_t account, const uint8_t *subject, uint32_t size, uint64_t queue_hash
    ) noexcept nogil:
        cdef RemoteInterest found
        cdef uint64_t sum = self.account_term(account)
        cdef uint64_t everybody = self.attached | <uint64_t>1 << self.worker_index
        cdef uint32_t start = 0
        cdef uint32_t index = 0
        cdef uint32_t end
        cdef bint has
        while start <= size:
            end = token_end(subject, size, start)
            sum += self.token_term(subject + start, end - start, index)
            index += 1
            start = end + 1
        remote_interest_init(&found)
        self.exhausted = False
        self.literal_terminal(final_key(sum), everybody, &found)
        has = found.mask != 0 if queue_hash == 0 else self.exhausted  # without memory: assume the best
        if queue_hash != 0:
            for index in range(found.hit_count):
                has = has or found.hits[index].queue & ~<uint64_t>1 == queue_hash
        remote_interest_free(&found)
        return has

    cdef void walk(
        self, uint32_t depth, uint64_t sum, uint64_t mask, bint starred, RemoteInterest *out
    ) noexcept nogil:
        """Find the wildcard patterns of the workers in ``mask`` that begin with the prefix ``sum``.

        The prefix has ``depth`` tokens, ``starred`` if one of them is `*`; the filter has been asked for it.
        Recursion is as deep as there are `*` in the longest pattern, at most half a control line.
        """
        cdef const uint64_t *filter = self.filter
        cdef uint64_t key = prefix_key(sum)
        cdef uint64_t word = filter_index(key)
        cdef uint64_t found
        while True:
            self.visited += 1
            if self.visited > VISITS_UNCONFIRMED:
                mask = self.confirmed(key, mask)
            if mask == 0:
                return
            found = mask & load_acquire_u64(&filter[word ^ ROLE_REST])
            if found != 0:
                self.terminals(final_key(sum + self.rest_term(depth)), found, out)
            if depth + 1 == self.token_count:
                break
            found = mask & load_acquire_u64(&filter[word ^ ROLE_STAR_PREFIX])
            if found != 0:
                self.walk(depth + 1, sum + self.star_term(depth), found, True, out)
            sum += self.terms[depth]
            depth += 1
            key = prefix_key(sum)
            word = filter_index(key)
            mask &= load_acquire_u64(&filter[word ^ ROLE_PREFIX])
        found = mask & load_acquire_u64(&filter[word ^ ROLE_STAR])
        if found != 0:
            self.terminals(final_key(sum + self.star_term(depth)), found, out)
        if starred:
            # A pattern without any wildcard has been looked for already, and has no prefixes.
            self.literal_terminal(final_key(sum + self.terms[depth]), mask, out)

    cdef uint64_t confirmed(self, uint64_t key, uint64_t mask) noexcept nogil:
        """The workers of ``mask`` whose tables have that key."""
        cdef uint64_t left = mask
        cdef uint32_t worker
        while left != 0:
            worker = lowest_bit(left)
            left &= left - 1
            if not self.probe(worker, key, NULL):
                mask &= ~(<uint64_t>1 << worker)
        return mask

    cdef void literal_terminal(self, uint64_t key, uint64_t mask, RemoteInterest *out) noexcept nogil:
        """A pattern that ends in a literal token: its filter word is its own."""
        mask &= load_acquire_u64(&self.filter[filter_index(key)])
        if mask != 0:
            self.terminals(key, mask, out)

    cdef void terminals(self, uint64_t key, uint64_t mask, RemoteInterest *out) noexcept nogil:
        """Ask the workers that the filter names what they have under that key."""
        cdef uint32_t worker
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
        cdef TableView table
        while True:
            table = table_view(segment, self.peer_sizes[worker], key)
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
            if repeats >= REPEATS_MAX or not view_changed(segment, &table, key):
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

    def has_subscribers(self, uint32_t account, bytes subject, bytes queue=b"") -> bool:
        """has_exactly() for Python; the queue group by its name, b"": none."""
        cdef uint64_t queue_hash = self.queue_hash_of(queue, <uint32_t>len(queue)) if queue else 0
        return bool(self.has_exactly(account, subject, <uint32_t>len(subject), queue_hash))

    def is_current(self, bytes stamp) -> bool:
        """As current(), for a stamp of lookup_subject(). For tests and tools."""
        assert len(stamp) == sizeof(RouteStamp)
        return bool(self.current(<const RouteStamp *><const uint8_t *>stamp))
