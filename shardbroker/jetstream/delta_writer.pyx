"""The bytes of snapshots and deltas of a consumer.

Numbers are groups of seven bits, the lowest first, the top bit says that more follow. Sequences and times are
written as the difference to the one before, sign in the lowest bit: a run of deliveries costs three bytes
each. The bytes come back from a disk: the reader stops at their end, and says whether it ever had to.
"""

from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t
from libc.stdlib cimport free
from libc.string cimport memcpy

from shardbroker.arrays cimport reserve

cdef enum:
    NUMBER_SIZE_MAX = 10  # bytes of a number


cdef class DeltaWriter:
    """Empty at first."""

    def __dealloc__(self):
        free(self.bytes)

    cdef void clear(self) noexcept:
        self.size = 0
        self.sequence = self.time_ns = 0
        self.failed = False

    cdef void put_byte(self, uint8_t value) noexcept:
        self.put_number(value & 127)

    cdef void put_number(self, uint64_t value) noexcept:
        cdef void *grown
        if self.size + NUMBER_SIZE_MAX > self.capacity:
            grown = reserve(self.bytes, self.size, NUMBER_SIZE_MAX, &self.capacity, 1)
            if grown == NULL:
                self.failed = True
                return
            self.bytes = <uint8_t *> grown
        while value >= 128:
            self.bytes[self.size] = <uint8_t> (value | 128)
            self.size += 1
            value >>= 7
        self.bytes[self.size] = <uint8_t> value
        self.size += 1

    cdef void put_sequence(self, uint64_t sequence) noexcept:
        cdef int64_t step = <int64_t> (sequence - self.sequence)
        self.sequence = sequence
        self.put_number((<uint64_t> step << 1) ^ <uint64_t> (step >> 63))

    cdef void put_time(self, uint64_t time_ns) noexcept:
        cdef int64_t step = <int64_t> (time_ns - self.time_ns)
        self.time_ns = time_ns
        self.put_number((<uint64_t> step << 1) ^ <uint64_t> (step >> 63))

    cdef void put(self, DeltaKind kind, uint64_t sequence) noexcept:
        self.put_byte(<uint8_t> kind)
        self.put_sequence(sequence)

    cdef void put_timed(self, DeltaKind kind, uint64_t sequence, uint64_t time_ns) noexcept:
        self.put_byte(<uint8_t> kind)
        self.put_sequence(sequence)
        self.put_time(time_ns)

    cdef void put_text(self, const uint8_t *text, uint32_t size) noexcept:
        cdef void *grown
        self.put_number(size)
        if self.size + size > self.capacity:
            grown = reserve(self.bytes, self.size, size, &self.capacity, 1)
            if grown == NULL:
                self.failed = True
                return
            self.bytes = <uint8_t *> grown
        memcpy(self.bytes + self.size, text, size)
        self.size += size


cdef class DeltaReader:
    """Reads what a DeltaWriter wrote."""

    def __cinit__(self, bytes source):
        self.owner = source
        self.at = source
        self.end = self.at + len(source)

    cdef bint more(self) noexcept:
        """Whether there is something left, and nothing was wrong so far."""
        return self.at < self.end and not self.failed

    cdef uint64_t take_number(self) noexcept:
        """0 after a failure."""
        cdef uint64_t value = 0
        cdef uint32_t shift = 0
        while self.at < self.end and shift < 64:
            value |= <uint64_t> (self.at[0] & 127) << shift
            self.at += 1
            if (self.at - 1)[0] < 128:
                return value
            shift += 7
        self.failed = True
        self.at = self.end
        return 0

    cdef uint64_t take_sequence(self) noexcept:
        cdef uint64_t step = self.take_number()
        self.sequence += (step >> 1) ^ (0 - (step & 1))
        return self.sequence

    cdef uint64_t take_time(self) noexcept:
        cdef uint64_t step = self.take_number()
        self.time_ns += (step >> 1) ^ (0 - (step & 1))
        return self.time_ns

    cdef bytes take_text(self, uint64_t size_max):
        """b"" after a failure."""
        cdef uint64_t size = self.take_number()
        if size > size_max or size > <uint64_t> (self.end - self.at):
            self.failed = True
            return b""
        self.at += size
        return (self.at - size)[:size]
