"""Where a stream's messages lie: sequence -> position in the log, size, subject, next on that subject."""

cimport cython
from libc.stdint cimport uint32_t, uint64_t

cdef enum:
    BLOCK_ENTRIES = 256
    NO_LINK = 0xFFFFFFFF  # next_delta: too far away, or none

cdef struct MessageEntry:
    uint64_t position  # log position of the record; 0: no message under this sequence
    uint32_t size  # bytes as nats-server accounts for them (state.bytes)
    uint32_t subject_id
    uint32_t next_delta  # next message on the same subject: this sequence + next_delta; 0: it is the last one
    uint32_t age_ms  # time in milliseconds after the block's first message (saturates)

cdef struct MessageBlock:
    uint64_t time_ns  # of the message that was appended first
    uint32_t live  # entries with a message
    uint32_t reserved
    MessageEntry entries[BLOCK_ENTRIES]

@cython.final
cdef class MessageTable:
    cdef MessageBlock **blocks  # block of sequence s: blocks[(s >> 8) - first_block]
    cdef uint64_t first_block
    cdef uint64_t block_count
    cdef uint64_t block_capacity
    cdef readonly uint64_t first  # lowest sequence with a message; last + 1 when there is none
    cdef readonly uint64_t last  # highest sequence ever given
    cdef readonly uint64_t count  # messages

    cdef MessageEntry *get(self, uint64_t sequence) noexcept
    cdef uint64_t time_of(self, uint64_t sequence) noexcept
    cdef MessageEntry *append(self, uint64_t sequence, uint64_t time_ns) noexcept
    cdef MessageEntry *insert(self, uint64_t sequence, uint64_t time_ns) noexcept
    cdef bint make_front(self, uint64_t number) noexcept
    cdef void remove(self, uint64_t sequence) noexcept
    cdef void skip_to(self, uint64_t last) noexcept
    cdef uint64_t next_live(self, uint64_t sequence) noexcept
    cdef uint64_t previous_live(self, uint64_t sequence) noexcept
    cdef uint64_t first_since(self, uint64_t time_ns) noexcept
    cdef void clear(self, uint64_t next_sequence) noexcept
    cdef void drop_dead_blocks(self) noexcept
