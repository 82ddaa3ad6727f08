"""The base of whoever runs consumers: without one there are none."""

from libc.stdint cimport uint64_t

from shardbroker.routing.delivery_target cimport DeliveryTarget
from shardbroker.routing.router cimport PublishView
from shardbroker.workers.hosted cimport Hosted


cdef class ConsumerService:
    """Does nothing."""

    cdef void take(self, DeliveryTarget *target, PublishView *view) noexcept:
        pass

    cdef void changed(self, Hosted hosted) noexcept:
        pass

    cdef bint deliver(self, uint64_t wall_ns) except -1:
        return False

    cdef void failed(self, Hosted hosted) noexcept:
        pass

    cdef bint releasable(self, Hosted hosted, uint64_t end) except -1:
        return True

    cdef int fire(self, uint64_t wall_ns) except -1:
        return 0

    cdef int tick(self, uint64_t wall_ns) except -1:
        return 0
