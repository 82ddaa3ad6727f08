"""The subjects of a stream: how many messages each has, the first and the last of them."""

cimport cython
from libc.stdint cimport uint8_t, uint32_t, uint64_t

cdef enum:
    SUBJECT_PARTITIONS = 64

cdef struct SubjectEntry:
    uint64_t hash
    uint8_t *name  # NULL: a free entry
    uint64_t first  # sequence of the oldest message
    uint64_t last  # sequence of the newest message that is applied
    uint64_t pending_last  # sequence of the newest message given out, committed or not; 0: as `last`
    uint32_t count  # messages applied
    uint32_t size  # bytes of name; of a free entry: the next free id
    uint32_t pending_count  # messages given out and not applied yet
    uint32_t leaving_count  # oldest messages, of both kinds, that go once what is in flight is applied

cdef struct SubjectSlots:
    uint32_t *ids  # id + 1; 0: free
    uint32_t capacity  # a power of two, or 0
    uint32_t used

@cython.final
cdef class SubjectTable:
    cdef SubjectEntry *entries
    cdef uint32_t entry_count  # entries ever used
    cdef uint32_t entry_capacity
    cdef uint32_t free_first  # chain of free entries; 0xFFFFFFFF: none
    cdef readonly uint32_t count  # subjects with at least one applied message
    cdef uint64_t leaving_count  # of all subjects
    cdef uint64_t seed
    cdef SubjectSlots slots[SUBJECT_PARTITIONS]

    cdef SubjectEntry *find(self, const uint8_t *name, uint32_t size) noexcept
    cdef SubjectEntry *find_or_add(self, const uint8_t *name, uint32_t size) noexcept
    cdef uint32_t id_of(self, SubjectEntry *entry) noexcept
    cdef void release(self, SubjectEntry *entry) noexcept
    cdef void reset_pending(self) noexcept
    cdef void clear(self) noexcept
    cdef bint grow(self, SubjectSlots *slots) noexcept
    cdef uint32_t next_match(self, uint32_t start, const uint8_t *filter, uint32_t size) noexcept
