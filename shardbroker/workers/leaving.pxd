"""UNSUBs of a queue group's last member here that wait until no other worker can still choose it."""

from libc.stdint cimport uint8_t, uint64_t

from shardbroker.routing.delivery_target cimport Subscription
from shardbroker.shm.offsets cimport WORKERS_MAX
from shardbroker.workers.client cimport Client

cdef struct Leave:
    Leave *next
    Client *client  # NULL: its connection closed meanwhile and the subscription is gone
    Subscription *subscription
    uint64_t waiting  # bit per worker whose busy counter was odd and has not changed since
    uint64_t busy[WORKERS_MAX]

cdef class Leaving:
    cdef Leave *first
    cdef readonly int count
    cdef uint8_t *board
    cdef int worker_index
    cdef int worker_count

    cdef bint begin(self, Client *client, Subscription *subscription) noexcept
    cdef Leave *take_ready(self) noexcept
    cdef Subscription *forget_client(self, Client *client) noexcept
    cdef void look(self) noexcept
