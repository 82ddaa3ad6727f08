"""What a worker does beyond handing messages to clients: JetStream, when it is on."""

from libc.stdint cimport uint64_t

from shardbroker.routing.delivery_target cimport DeliveryTarget
from shardbroker.routing.router cimport PublishView


cdef class Services:
    cdef readonly bint pressing  # something waits that must not wait for the next socket event
    cdef readonly bint soon  # something waits that is worth a look in a millisecond
    cdef readonly uint64_t due_ns  # monotonic clock: turn() has something to do then; 0: nothing is known

    cdef bint take(self, DeliveryTarget *target, PublishView *view, DeliveryTarget *publisher) noexcept
    cdef bint has_news(self) noexcept
    cdef int turn(self, uint64_t now_ns) except -1
    cdef int commit(self) except -1
    cdef int tick(self, uint64_t now_ns) except -1
