"""Recognises a Nats-Msg-Id that came before, within the window (spec 03 section 3).

An id is a 128-bit keyed hash, 32 bytes and a slot: two ids meet by chance once in 2^64 pairs, and a client
that does not know the key cannot make them meet. Ids are never forgotten early: beyond `ids_max` publishes
with an id are refused.
"""

from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free, malloc

from shardbroker.hashing cimport hash_bytes, mix_u64

cdef enum:
    IDS_MAX = 16 << 20  # 768 MiB of ids in one stream


cdef class DedupeWindow:
    """`seed` is kept in the stream's metadata, for hashes that are written to the log."""

    def __cinit__(self, uint64_t seed):
        self.seed = seed
        self.other_seed = mix_u64(seed ^ <uint64_t> 0x5BD1E995)
        self.ids_max = IDS_MAX

    def __dealloc__(self):
        free(self.ring)
        free(self.slots)

    def __len__(self):
        return self.tail - self.head

    cdef void hash_id(self, const uint8_t *text, uint32_t size, DedupeId *id) noexcept:
        id.low = hash_bytes(text, size, self.seed)
        id.high = hash_bytes(text, size, self.other_seed)

    cdef DedupeId *find(self, DedupeId *id) noexcept:
        """The id with this hash if it is in the window, else NULL."""
        cdef uint64_t at, mask
        cdef DedupeId *known
        if self.head == self.tail:
            return NULL
        mask = self.slot_capacity - 1
        at = id.low & mask
        while self.slots[at]:
            known = &self.ring[(self.slots[at] - 1) & (self.ring_capacity - 1)]
            if known.low == id.low and known.high == id.high:
                return known
            at = (at + 1) & mask
        return NULL

    cdef int add(self, DedupeId *id) noexcept:
        """Remember an id that is not there; -1 when the window is full or memory exhausted."""
        cdef uint64_t at, mask
        if self.tail - self.head >= self.ids_max:
            return -1
        if self.tail - self.head == self.ring_capacity and not self.grow():
            return -1
        self.ring[self.tail & (self.ring_capacity - 1)] = id[0]
        mask = self.slot_capacity - 1
        at = id.low & mask
        while self.slots[at]:
            at = (at + 1) & mask
        self.tail += 1
        self.slots[at] = self.tail
        return 0

    cdef bint grow(self) noexcept:
        cdef uint64_t capacity = max(<uint64_t> 16, self.ring_capacity * 2), number, at
        cdef DedupeId *ring = <DedupeId *> malloc(capacity * sizeof(DedupeId))
        cdef uint64_t *slots = <uint64_t *> calloc(2 * capacity, sizeof(uint64_t))
        if ring == NULL or slots == NULL:
            free(ring)
            free(slots)
            return False
        for number in range(self.head, self.tail):
            ring[number & (capacity - 1)] = self.ring[number & (self.ring_capacity - 1)]
            at = ring[number & (capacity - 1)].low & (2 * capacity - 1)
            while slots[at]:
                at = (at + 1) & (2 * capacity - 1)
            slots[at] = number + 1
        free(self.ring)
        free(self.slots)
        self.ring = ring
        self.slots = slots
        self.ring_capacity = capacity
        self.slot_capacity = 2 * capacity
        return True

    cdef void unlink(self, uint64_t number) noexcept:
        """Take the slot of an id away, with backward shift."""
        cdef uint64_t mask = self.slot_capacity - 1, hole, at, home
        hole = self.ring[number & (self.ring_capacity - 1)].low & mask
        while self.slots[hole] != number + 1:
            hole = (hole + 1) & mask
        at = (hole + 1) & mask
        while self.slots[at]:
            home = self.ring[(self.slots[at] - 1) & (self.ring_capacity - 1)].low & mask
            if ((at - home) & mask) >= ((at - hole) & mask):
                self.slots[hole] = self.slots[at]
                hole = at
            at = (at + 1) & mask
        self.slots[hole] = 0

    cdef void expire(self, uint64_t before_ns) noexcept:
        """Forget ids older than this."""
        while self.head != self.tail and self.ring[self.head & (self.ring_capacity - 1)].time_ns < before_ns:
            self.unlink(self.head)
            self.head += 1

    cdef void forget_from(self, uint64_t sequence) noexcept:
        """Forget the ids of this sequence and later: their messages were never stored."""
        while self.head != self.tail:
            if self.ring[(self.tail - 1) & (self.ring_capacity - 1)].sequence < sequence:
                return
            self.unlink(self.tail - 1)
            self.tail -= 1

    # --- for tests --------------------------------------------------------------------------------------

    def remember(self, bytes text, uint64_t sequence, uint64_t time_ns):
        """The sequence an id has already, or None: then it has this one from now on."""
        cdef DedupeId id
        cdef DedupeId *known
        self.hash_id(text, len(text), &id)
        known = self.find(&id)
        if known != NULL:
            return known.sequence
        id.sequence = sequence
        id.time_ns = time_ns
        if self.add(&id) < 0:
            raise MemoryError("the duplicate window is full")
        return None

    def drop_before(self, uint64_t before_ns):
        """expire() for Python."""
        self.expire(before_ns)

    def drop_from(self, uint64_t sequence):
        """forget_from() for Python."""
        self.forget_from(sequence)
