"""Consumers that send to a subject of their own."""

from libc.stdint cimport uint64_t

from shardbroker.workers.consumer_pulls cimport ConsumerPulls
from shardbroker.workers.hosted_consumer cimport HostedConsumer

cdef class ConsumerPushes(ConsumerPulls):
    cdef bint push(self, HostedConsumer one, uint64_t wall_ns) noexcept
    cdef bint is_pressed(self) noexcept
    cdef bint is_over_rate(self, HostedConsumer one, uint64_t size, uint64_t wall_ns) noexcept
    cdef void ask_flow(self, HostedConsumer one) noexcept
    cpdef bint is_listened(self, HostedConsumer one) noexcept
    cdef bint has_come(self, HostedConsumer one, uint64_t wall_ns) noexcept
    cdef void beat(self, HostedConsumer one, uint64_t wall_ns) noexcept
