"""Runs the consumers of this worker's streams."""

from libc.stdint cimport uint32_t, uint64_t

from shardbroker.jetstream.ack_tokens cimport AckPlace, AckWord
from shardbroker.jetstream.consumer cimport AckOutcome
from shardbroker.routing.router cimport PublishView
from shardbroker.workers.consumer_pushes cimport ConsumerPushes
from shardbroker.workers.hosted cimport Hosted
from shardbroker.workers.hosted_consumer cimport HostedConsumer

cdef class ConsumerHost(ConsumerPushes):
    cdef readonly list consumers  # HostedConsumer or None, by index
    cdef list ready  # HostedConsumer that may have something to send
    cdef list streams  # Hosted whose consumers are to look
    cdef list noting  # Hosted whose consumers may have something to write down
    cdef list gone  # consumers that ended in this tick: routes in use may still point at their targets
    cdef list told  # (HostedConsumer, what, stream sequence, consumer sequence, deliveries, more): events
    cdef list dying  # HostedConsumer with dead letters to look at
    cdef object keeper  # consumer_keeping.ConsumerKeeper
    cdef uint64_t next_look_ns
    cdef uint64_t next_fire_ns  # consumers are not looked through before, unless it is time for a tick

    cdef void activate(self, HostedConsumer one) noexcept
    cdef void note_due(self, Hosted hosted) noexcept
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
    cdef void owe(self, Hosted hosted, uint32_t account, const unsigned char *reply, uint32_t size) noexcept
    cdef int settle(self) except -1
    cdef int write_notes(self, Hosted hosted) except -1
    cdef bytes deltas(self, Hosted hosted)
    cdef bint has_changed(self, HostedConsumer one) noexcept
    cdef int stage_removals(self, Hosted hosted) except -1
    cdef void reckon(self, HostedConsumer one) noexcept
    cdef int fire_one(self, HostedConsumer one, uint64_t wall_ns) except -1
