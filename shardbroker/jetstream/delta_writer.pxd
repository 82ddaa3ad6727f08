"""Numbers as bytes, and back: what consumers write down about themselves."""

cimport cython
from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t

cdef enum DeltaKind:
    # Numbers are on disk: only append. What follows each, as numbers:
    DELTA_NEW = 1  # sequence, time: the next new message was delivered
    DELTA_AGAIN = 2  # sequence, time: one was delivered again
    DELTA_DONE = 3  # sequence: it is not pending any more
    DELTA_ALL = 4  # sequence, consumer sequence: everything up to it was acknowledged
    DELTA_WAIT = 5  # sequence, time: its deadline
    DELTA_QUEUE = 6  # sequence: it is due again
    DELTA_EXHAUSTED = 7  # sequence: max_deliver is reached
    DELTA_PARDONED = 8  # sequence: it was exhausted and is acknowledged or gone
    DELTA_PLACE = 9  # position, next consumer sequence, both ack floors, delivered stream sequence
    DELTA_RESET = 10  # sequence
    DELTA_UNSENT = 11  # sequence: the last delivery did not happen
    DELTA_CLEARED = 12  # position: all messages of the stream are gone
    DELTA_BURIED = 13  # sequence, time, whether by term, bytes of the reason, reason: it is a dead letter

@cython.final
cdef class DeltaWriter:
    cdef uint8_t *bytes
    cdef uint32_t size
    cdef uint32_t capacity
    cdef uint64_t sequence  # the last one written: the next one is written as its difference
    cdef uint64_t time_ns
    cdef bint failed  # memory was exhausted: something is missing

    cdef void clear(self) noexcept
    cdef void put_byte(self, uint8_t value) noexcept
    cdef void put_number(self, uint64_t value) noexcept
    cdef void put_sequence(self, uint64_t sequence) noexcept
    cdef void put_time(self, uint64_t time_ns) noexcept
    cdef void put(self, DeltaKind kind, uint64_t sequence) noexcept
    cdef void put_timed(self, DeltaKind kind, uint64_t sequence, uint64_t time_ns) noexcept
    cdef void put_text(self, const uint8_t *text, uint32_t size) noexcept  # its size, and it

@cython.final
cdef class DeltaReader:
    cdef object owner  # the bytes
    cdef const uint8_t *at
    cdef const uint8_t *end
    cdef uint64_t sequence
    cdef uint64_t time_ns
    cdef readonly bint failed  # the bytes end too early or make no number

    cdef bint more(self) noexcept
    cdef uint64_t take_number(self) noexcept
    cdef uint64_t take_sequence(self) noexcept
    cdef uint64_t take_time(self) noexcept
    cdef bytes take_text(self, uint64_t size_max)
