"""Requests that Python code answers, and jobs."""

from shardbroker.routing.delivery_target cimport DeliveryTarget
from shardbroker.routing.router cimport PublishView
from shardbroker.workers.service_subscriptions cimport ServiceSubscriptions

cdef class ServiceRequests(ServiceSubscriptions):
    cdef object requests  # deque of what came in
    cdef list jobs  # callables of run_later()
    cdef object api  # called with each request
    cdef object log
    cdef readonly list hosted  # Hosted or None, by index

    cdef void queue_request(self, DeliveryTarget *target, PublishView *view, DeliveryTarget *publisher) noexcept
