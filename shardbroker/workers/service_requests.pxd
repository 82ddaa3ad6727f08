"""Requests that Python code answers, and jobs."""

from libc.stdint cimport uint64_t

from shardbroker.routing.delivery_target cimport DeliveryTarget
from shardbroker.routing.router cimport PublishView
from shardbroker.workers.service_subscriptions cimport ServiceSubscriptions

cdef class ServiceRequests(ServiceSubscriptions):
    cdef object requests  # deque of what came in
    cdef list cold  # requests that wait for the disk
    cdef uint64_t cold_since_ns
    cdef list jobs  # callables of run_later()
    cdef object api  # called with each request
    cdef object log
    cdef readonly list hosted  # Hosted or None, by index

    cdef void look_at_cold(self, uint64_t now_ns) noexcept
    cdef void queue_request(
        self, DeliveryTarget *target, PublishView *view, DeliveryTarget *publisher
    ) noexcept
