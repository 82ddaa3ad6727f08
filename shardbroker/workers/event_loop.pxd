"""The duty cycle of a worker."""

from libc.stdint cimport uint8_t, uint32_t, uint64_t

from shardbroker.protocol.parser cimport Parser
from shardbroker.routing.overflow cimport Overflow
from shardbroker.routing.route_cache cimport RouteCache
from shardbroker.routing.router cimport Router
from shardbroker.shm.ring cimport Inbound, Outbound
from shardbroker.workers.budget cimport Budget
from shardbroker.workers.client cimport Client
from shardbroker.workers.connections cimport Connections
from shardbroker.workers.keepalive cimport Keepalive
from shardbroker.workers.leaving cimport Leaving
from shardbroker.workers.loop_port cimport LoopPort
from shardbroker.workers.session cimport Session

cdef class EventLoop(LoopPort):
    cdef Router router
    cdef RouteCache routes
    cdef Session session
    cdef readonly Connections connections
    cdef Keepalive keepalive
    cdef Leaving leaving
    cdef Outbound outbound
    cdef Overflow overflow
    cdef Inbound inbound
    cdef Parser parser
    cdef int parser_start  # its state between operations
    cdef object control  # workers/process.py: handles the acceptor's messages
    cdef int epoll_fd
    cdef int doorbell_fd
    cdef uint8_t *board
    cdef uint8_t *row  # the worker's row on the board
    cdef uint64_t busy
    cdef uint64_t sleeping
    cdef uint64_t now_ns
    cdef uint64_t next_tick_ns
    cdef uint64_t ticks
    cdef uint64_t reported  # bit per worker whose distrusted ring was reported
    cdef uint64_t leave_since_ns
    cdef Budget budget
    cdef int worker_index
    cdef int worker_count
    cdef uint8_t *buffer  # one receive buffer for all clients
    cdef uint64_t buffer_size
    cdef Client *ready_first
    cdef Client *ready_last
    cdef uint32_t ready_count
    cdef Client **parked  # clients whose input waits for something
    cdef uint32_t parked_count
    cdef uint32_t parked_capacity
    cdef uint64_t parked_input_size  # bytes
    cdef uint64_t bytes_since_flush
    cdef bint control_ready
    cdef bint joined  # all peers count us; Ready was sent
    cdef bint stopping
    cdef public object failure  # an exception out of a callback: the worker ends with it

    cdef int turn(self) except -1
    cdef int wait(self) noexcept
    cdef void begin_busy(self) noexcept
    cdef void end_busy(self) noexcept
    cdef int timeout_ms(self) noexcept
    cdef bint parked_for_space(self) noexcept
    cdef void become_ready(self, Client *client) noexcept
    cdef void leave_ready(self, Client *client) noexcept
    cdef void park(self, Client *client) noexcept
    cdef void unpark(self) noexcept
    cdef bint is_paused(self, Client *client) noexcept
    cdef void serve(self, Client *client) noexcept
    cdef void receive(self, Client *client) noexcept
    cdef void parse(self, Client *client, const uint8_t *data, uint64_t size) noexcept
    cdef void publish_and_flush(self) noexcept
    cdef bint move(self, Client *client) except -1
    cdef void end_client(self, Client *client) noexcept
    cdef void tick(self) noexcept
    cdef void report_distrusted(self) noexcept
