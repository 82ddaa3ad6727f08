"""Runs the consumers of this worker's streams."""

from libc.stdint cimport uint64_t

from shardbroker.jetstream.ack_tokens cimport AckPlace, AckWord
from shardbroker.jetstream.consumer cimport AckOutcome
from shardbroker.routing.router cimport PublishView
from shardbroker.workers.consumer_noting cimport ConsumerNoting
from shardbroker.workers.hosted cimport Hosted
from shardbroker.workers.hosted_consumer cimport HostedConsumer

cdef class ConsumerHost(ConsumerNoting):
    cdef readonly list consumers  # HostedConsumer or None, by index
    cdef list ready  # HostedConsumer that may have something to send
    cdef list streams  # Hosted whose consumers are to look
    cdef list gone  # consumers that ended in this tick: routes in use may still point at their targets
    cdef uint64_t next_look_ns
    cdef uint64_t next_fire_ns  # consumers are not looked through before, unless it is time for a tick

    cdef void activate(self, HostedConsumer one) noexcept
    cdef void take_ack(self, HostedConsumer one, PublishView *view, uint64_t wall_ns) noexcept
    cdef void apply_ack(
        self,
        HostedConsumer one,
        const AckPlace *place,
        const AckWord *word,
        AckOutcome *outcome,
        uint64_t wall_ns,
    ) noexcept
    cdef void take_flow(self, HostedConsumer one, PublishView *view) noexcept
    cdef void owe_later(self, HostedConsumer one, uint64_t sequence, PublishView *view) noexcept
    cdef void reckon(self, HostedConsumer one) noexcept
    cdef int fire_one(self, HostedConsumer one, uint64_t wall_ns) except -1
