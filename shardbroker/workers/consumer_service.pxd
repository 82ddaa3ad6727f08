"""What the host of streams asks of whoever runs their consumers."""

from libc.stdint cimport uint64_t

from shardbroker.routing.delivery_target cimport DeliveryTarget
from shardbroker.routing.router cimport PublishView
from shardbroker.workers.hosted cimport Hosted

cdef class ConsumerService:
    cdef uint64_t due_ns  # wall clock: fire() has something to do then; 0: never
    # A pull request, an acknowledgement, or an answer to flow control.
    cdef void take(self, DeliveryTarget *target, PublishView *view) noexcept
    # Messages of a stream were applied or have gone.
    cdef void changed(self, Hosted hosted) noexcept
    # Send what can be sent, and stage what has changed. True: more is there for the next turn.
    cdef bint deliver(self, uint64_t wall_ns) except -1
    # What was staged for a stream is lost.
    cdef void failed(self, Hosted hosted) noexcept
    # Whether the segment of a log that ends there holds nothing a consumer needs.
    cdef bint releasable(self, Hosted hosted, uint64_t end) except -1
    # Times that have come: expiries, redeliveries, heartbeats.
    cdef int fire(self, uint64_t wall_ns) except -1
    # Every 50 ms: the same, and what has no time of its own.
    cdef int tick(self, uint64_t wall_ns) except -1
