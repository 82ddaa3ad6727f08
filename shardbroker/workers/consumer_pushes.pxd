"""Consumers that send to a subject of their own."""

from libc.stdint cimport uint64_t

from shardbroker.workers.consumer_pulls cimport ConsumerPulls
from shardbroker.workers.hosted_consumer cimport HostedConsumer

cdef class ConsumerPushes(ConsumerPulls):
    cdef bint push(self, HostedConsumer one, uint64_t wall_ns) noexcept
    cdef bint is_pressed(self) noexcept
    cdef bint waits_for_time(
        self, HostedConsumer one, uint64_t time_ns, uint64_t deliveries, uint64_t wall_ns
    ) noexcept
    cdef void ask_flow(self, HostedConsumer one) noexcept
    cdef void tick_push(self, HostedConsumer one, uint64_t wall_ns, bint look) noexcept
