"""Pull requests: they come in, are served and end."""

from libc.stdint cimport uint8_t, uint32_t, uint64_t

from shardbroker.jetstream.consumer cimport Delivery
from shardbroker.workers.consumer_sends cimport ConsumerSends
from shardbroker.workers.hosted_consumer cimport HostedConsumer

cdef class ConsumerPulls(ConsumerSends):
    cdef list refusals  # (account, reply, block) that are sent at the end of the turn

    cdef void take_request(
        self, HostedConsumer one, const uint8_t *reply, uint32_t reply_size, const uint8_t *headers,
        uint32_t header_size, const uint8_t *body, uint32_t size, uint64_t wall_ns,
    ) noexcept
    cdef object take_slowly(
        self, HostedConsumer one, bytes reply, bytes headers, bytes body, uint64_t wall_ns
    )
    cdef void refuse(self, HostedConsumer one, const uint8_t *reply, uint32_t reply_size, int answer) noexcept
    cdef uint64_t sendable(self, HostedConsumer one) noexcept
    cdef bint serve(self, HostedConsumer one, uint64_t wall_ns) noexcept
    cdef void tell_ended(self, HostedConsumer one) noexcept
    cdef void drop_unheard(self, HostedConsumer one) noexcept
    cdef bint waits_for_time(
        self, HostedConsumer one, const Delivery *delivery, uint64_t time_ns, uint64_t wall_ns
    ) noexcept
