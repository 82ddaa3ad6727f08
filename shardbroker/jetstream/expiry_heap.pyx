"""A binary heap by time. Messages that go earlier stay in it: whoever pops one looks whether it is there."""

from libc.stdint cimport uint32_t, uint64_t
from libc.stdlib cimport free

from shardbroker.arrays cimport reserve


cdef class ExpiryHeap:
    def __dealloc__(self):
        free(self.items)

    def __len__(self):
        return self.count

    cdef int push(self, uint64_t time_ns, uint64_t sequence) noexcept:
        """-1 when memory is exhausted."""
        cdef void *items = reserve(self.items, self.count, 1, &self.capacity, sizeof(Expiry))
        cdef uint32_t at = self.count, parent
        if items == NULL:
            return -1
        self.items = <Expiry *> items
        while at:
            parent = (at - 1) >> 1
            if self.items[parent].time_ns <= time_ns:
                break
            self.items[at] = self.items[parent]
            at = parent
        self.items[at].time_ns = time_ns
        self.items[at].sequence = sequence
        self.count += 1
        return 0

    cdef Expiry *top(self) noexcept:
        """The earliest, or NULL."""
        return self.items if self.count else NULL

    cdef void pop(self) noexcept:
        """Take the earliest out."""
        cdef Expiry last
        cdef uint32_t at = 0, child
        self.count -= 1
        last = self.items[self.count]
        while True:
            child = 2 * at + 1
            if child >= self.count:
                break
            if child + 1 < self.count and self.items[child + 1].time_ns < self.items[child].time_ns:
                child += 1
            if self.items[child].time_ns >= last.time_ns:
                break
            self.items[at] = self.items[child]
            at = child
        self.items[at] = last

    cdef void clear(self) noexcept:
        self.count = 0

    # --- for tests --------------------------------------------------------------------------------------

    def add(self, uint64_t time_ns, uint64_t sequence):
        if self.push(time_ns, sequence) < 0:
            raise MemoryError("no memory for an expiry")

    def take(self):
        """(time, sequence) of the earliest, taken out."""
        cdef Expiry first = self.items[0]
        self.pop()
        return first.time_ns, first.sequence
