"""Frames that could not go into the own ring at once.

Two things may not wait for ring space: what is produced while inbound rings are drained (or two workers
could wait for each other), and the later pieces of a message larger than the ring, whose first pieces are
out already. They wait here, in order. While anything waits, no new message is parsed (the input stays in the
connections) and no byte leaves for a client (publish before bytes), so the list is short-lived; `limit`
bounds it all the same.
"""

from libc.stdint cimport uint64_t
from libc.stdlib cimport free, malloc
from libc.string cimport memcpy

from shardbroker.shm.frame cimport FrameHeader
from shardbroker.shm.ring cimport Outbound


cdef class Overflow:
    """The waiting list of one Outbound ring; `limit` in bytes."""

    def __cinit__(self, Outbound outbound, uint64_t limit):
        self.outbound = outbound
        self.limit = limit

    def __dealloc__(self):
        cdef Waiting *waiting
        while self.first != NULL:
            waiting = self.first
            self.first = waiting.next
            free(waiting)

    cdef FrameHeader *claim(self, uint64_t size, uint64_t mask) noexcept:
        """Room for a frame of `size` bytes at the end of the list; NULL beyond the limit."""
        cdef Waiting *waiting
        if self.size + size > self.limit:
            return NULL
        waiting = <Waiting *> malloc(sizeof(Waiting) + size)
        if waiting == NULL:
            return NULL
        waiting.next = NULL
        waiting.size = size
        waiting.mask = mask
        if self.last == NULL:
            self.first = waiting
        else:
            self.last.next = waiting
        self.last = waiting
        self.size += size
        return <FrameHeader *> (waiting + 1)

    cdef bint drain(self) noexcept:
        """Move what fits into the ring and publish it; True when nothing waits any more."""
        cdef Waiting *waiting
        cdef FrameHeader *frame
        while self.first != NULL:
            waiting = self.first
            frame = self.outbound.claim(waiting.size)
            if frame == NULL:
                return False
            memcpy(frame, waiting + 1, waiting.size)
            self.outbound.commit(waiting.size, waiting.mask)
            self.first = waiting.next
            if self.first == NULL:
                self.last = NULL
            self.size -= waiting.size
            free(waiting)
        self.outbound.publish()
        return True
