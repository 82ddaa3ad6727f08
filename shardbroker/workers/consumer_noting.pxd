"""What is written down of consumers."""

from libc.stdint cimport uint32_t

from shardbroker.workers.consumer_pushes cimport ConsumerPushes
from shardbroker.workers.hosted cimport Hosted
from shardbroker.workers.hosted_consumer cimport HostedConsumer

cdef class ConsumerNoting(ConsumerPushes):
    cdef list noting  # Hosted whose consumers may have something to write down
    cdef list told  # (HostedConsumer, what, stream sequence, consumer sequence, deliveries, more): events
    cdef list dying  # HostedConsumer with dead letters to look at
    cdef object keeper  # consumer_keeping.ConsumerKeeper

    cdef void note_due(self, Hosted hosted) noexcept
    cdef void owe(self, Hosted hosted, uint32_t account, const unsigned char *reply, uint32_t size) noexcept
    cdef int settle(self) except -1
    cdef int write_notes(self, Hosted hosted) except -1
    cdef bytes deltas(self, Hosted hosted)
    cdef bint has_changed(self, HostedConsumer one) noexcept
    cdef int stage_removals(self, Hosted hosted) except -1
