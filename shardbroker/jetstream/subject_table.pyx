"""The hash table of a stream's subjects.

Entries stand in one array and are named by their index, which message entries keep. The slots are split in
partitions that grow apart, so that no publish waits for a million subjects to be hashed anew.
"""

from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free, malloc, realloc
from libc.string cimport memcpy, memset

from shardbroker.hashing cimport hash_bytes
from shardbroker.same_bytes cimport same_bytes
from shardbroker.subjects.subject cimport is_literal, matches

cdef uint32_t NONE = 0xFFFFFFFF


cdef class SubjectTable:
    """`seed` is secret: clients choose the names."""

    def __cinit__(self, uint64_t seed):
        self.seed = seed
        self.free_first = NONE

    def __dealloc__(self):
        cdef uint32_t i
        for i in range(self.entry_count):
            free(self.entries[i].name)
        free(self.entries)
        for i in range(SUBJECT_PARTITIONS):
            free(self.slots[i].ids)

    def __len__(self):
        return self.count

    cdef uint32_t id_of(self, SubjectEntry *entry) noexcept:
        return <uint32_t> (entry - self.entries)

    cdef SubjectEntry *find(self, const uint8_t *name, uint32_t size) noexcept:
        """The entry of a subject, or NULL. It stays in place until the next find_or_add."""
        cdef uint64_t hash = hash_bytes(name, size, self.seed)
        cdef SubjectSlots *slots = &self.slots[hash >> 58]
        cdef SubjectEntry *entry
        cdef uint32_t at, mask
        if slots.capacity == 0:
            return NULL
        mask = slots.capacity - 1
        at = <uint32_t> hash & mask
        while slots.ids[at]:
            entry = &self.entries[slots.ids[at] - 1]
            if entry.hash == hash and entry.size == size and same_bytes(entry.name, name, size):
                return entry
            at = (at + 1) & mask
        return NULL

    cdef SubjectEntry *find_or_add(self, const uint8_t *name, uint32_t size) noexcept:
        """The entry of a subject, made if need be; NULL when memory is exhausted."""
        cdef uint64_t hash = hash_bytes(name, size, self.seed)
        cdef SubjectSlots *slots = &self.slots[hash >> 58]
        cdef SubjectEntry *entry
        cdef SubjectEntry *grown
        cdef uint32_t at, mask, index, capacity
        cdef uint8_t *copy
        if slots.used * 2 >= slots.capacity and not self.grow(slots):
            return NULL
        mask = slots.capacity - 1
        at = <uint32_t> hash & mask
        while slots.ids[at]:
            entry = &self.entries[slots.ids[at] - 1]
            if entry.hash == hash and entry.size == size and same_bytes(entry.name, name, size):
                return entry
            at = (at + 1) & mask
        copy = <uint8_t *> malloc(size if size else 1)
        if copy == NULL:
            return NULL
        memcpy(copy, name, size)
        if self.free_first != NONE:
            index = self.free_first
            self.free_first = self.entries[index].size
        else:
            if self.entry_count == self.entry_capacity:
                capacity = max(<uint32_t> 8, self.entry_capacity * 2)
                grown = <SubjectEntry *> realloc(self.entries, <size_t> capacity * sizeof(SubjectEntry))
                if grown == NULL:
                    free(copy)
                    return NULL
                self.entries = grown
                self.entry_capacity = capacity
            index = self.entry_count
            self.entry_count += 1
        entry = &self.entries[index]
        memset(entry, 0, sizeof(SubjectEntry))
        entry.hash = hash
        entry.name = copy
        entry.size = size
        slots.ids[at] = index + 1
        slots.used += 1
        return entry

    cdef bint grow(self, SubjectSlots *slots) noexcept:
        cdef uint32_t capacity = max(<uint32_t> 8, slots.capacity * 2), i, at
        cdef uint32_t *ids = <uint32_t *> calloc(capacity, sizeof(uint32_t))
        if ids == NULL:
            return False
        for i in range(slots.capacity):
            if slots.ids[i]:
                at = <uint32_t> self.entries[slots.ids[i] - 1].hash & (capacity - 1)
                while ids[at]:
                    at = (at + 1) & (capacity - 1)
                ids[at] = slots.ids[i]
        free(slots.ids)
        slots.ids = ids
        slots.capacity = capacity
        return True

    cdef void release(self, SubjectEntry *entry) noexcept:
        """Forget a subject without messages, applied or given out."""
        cdef SubjectSlots *slots = &self.slots[entry.hash >> 58]
        cdef uint32_t mask = slots.capacity - 1, hole, at, home, index = self.id_of(entry)
        hole = <uint32_t> entry.hash & mask
        while slots.ids[hole] != index + 1:
            hole = (hole + 1) & mask
        # Backward shift: no probe may end at a hole too early.
        at = (hole + 1) & mask
        while slots.ids[at]:
            home = <uint32_t> self.entries[slots.ids[at] - 1].hash & mask
            if ((at - home) & mask) >= ((at - hole) & mask):
                slots.ids[hole] = slots.ids[at]
                hole = at
            at = (at + 1) & mask
        slots.ids[hole] = 0
        slots.used -= 1
        free(entry.name)
        entry.name = NULL
        entry.size = self.free_first
        self.free_first = index

    cdef void reset_pending(self) noexcept:
        """What was given out and not applied has failed: forget it."""
        cdef uint32_t i
        cdef SubjectEntry *entry
        self.leaving_count = 0
        for i in range(self.entry_count):
            entry = &self.entries[i]
            entry.leaving_count = 0
            if entry.name != NULL and entry.pending_count:
                entry.pending_count = 0
                entry.pending_last = 0
                if entry.count == 0:
                    self.release(entry)

    cdef void clear(self) noexcept:
        """Forget all applied messages; subjects with pending ones stay."""
        cdef uint32_t i
        cdef SubjectEntry *entry
        self.count = 0
        for i in range(self.entry_count):
            entry = &self.entries[i]
            if entry.name != NULL:
                entry.count = 0
                entry.first = entry.last = 0
                self.leaving_count -= entry.leaving_count
                entry.leaving_count = 0
                if entry.pending_count == 0:
                    self.release(entry)

    cdef uint32_t next_match(self, uint32_t start, const uint8_t *filter, uint32_t size) noexcept:
        """Id, from `start` on, of a subject with messages that matches; entry_count when there is none.

        An empty filter matches all. A literal one is answered by find().
        """
        cdef uint32_t i
        cdef SubjectEntry *entry
        if size and is_literal(filter, size):
            entry = self.find(filter, size)
            if entry == NULL or entry.count == 0 or self.id_of(entry) < start:
                return self.entry_count
            return self.id_of(entry)
        for i in range(start, self.entry_count):
            entry = &self.entries[i]
            if entry.name != NULL and entry.count and (
                size == 0 or matches(filter, size, entry.name, entry.size)
            ):
                return i
        return self.entry_count

    # --- for the API, tests and tools -------------------------------------------------------------------

    def matching(self, bytes filter=b""):
        """[(subject, count, first sequence, last sequence)] of the subjects that match; b"" means all."""
        cdef uint32_t i = 0
        cdef SubjectEntry *entry
        found = []
        while True:
            i = self.next_match(i, filter, len(filter))
            if i >= self.entry_count:
                return found
            entry = &self.entries[i]
            found.append((entry.name[: entry.size], entry.count, entry.first, entry.last))
            i += 1
