"""Deadlines of clients: first PING, ping interval, stale connections, write deadline, authentication."""

from libc.stdint cimport uint16_t, uint64_t

from shardbroker.workers.client cimport Client
from shardbroker.workers.connections cimport Connections

cdef enum:
    WHEEL_SLOTS = 128

cdef class Keepalive:
    cdef Connections connections
    cdef Client *slots[WHEEL_SLOTS]
    cdef uint64_t position  # ticks done since the start
    cdef uint64_t started_ns
    cdef uint64_t ping_interval_ns
    cdef uint64_t first_ping_ns
    cdef uint64_t write_deadline_ns
    cdef uint64_t ticks_max  # farthest look ahead
    cdef int pings_max

    cdef void welcome(self, Client *client, uint64_t now_ns) noexcept
    cdef void connected(self, Client *client, uint64_t now_ns) noexcept
    cdef void forget(self, Client *client) noexcept
    cdef void tick(self, uint64_t now_ns) noexcept
    cdef void schedule(self, Client *client, uint64_t due_ns, uint64_t now_ns) noexcept
    cdef void check(self, Client *client, uint64_t now_ns) noexcept
