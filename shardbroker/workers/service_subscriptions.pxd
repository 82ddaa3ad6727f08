"""The subscriptions of a worker's services."""

from libc.stdint cimport uint64_t

from shardbroker.routing.delivery_target cimport DeliveryTarget
from shardbroker.workers.service_output cimport ServiceOutput
from shardbroker.workers.session cimport Session

cdef class ServiceSubscriptions(ServiceOutput):
    cdef Session session
    cdef dict numbered  # number -> address of a Subscription
    cdef dict targets  # index of SERVICE_CALL -> callable(account, subject, reply, headers, payload, cid)
    cdef dict call_targets  # index -> address of its DeliveryTarget
    cdef list ended_targets  # addresses of those that are gone since the last tick
    cdef list old_targets  # and since the one before
    cdef uint64_t next_number
    cdef DeliveryTarget *api_target

    cdef void free_ended_targets(self) noexcept
