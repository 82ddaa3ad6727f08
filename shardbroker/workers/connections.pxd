"""All client connections of a worker: adopting, writing, closing, and their rows in the connection table."""

cimport cython
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t

from shardbroker.routing.delivery_target cimport ConnectionRow
from shardbroker.routing.router cimport Router
from shardbroker.workers.client cimport Client
from shardbroker.workers.loop_port cimport LoopPort
from shardbroker.workers.session cimport Session

@cython.final
cdef class Connections:
    cdef LoopPort loop
    cdef Router router
    cdef Session session
    cdef object log
    cdef int epoll_fd
    cdef Client *open_first  # chain of all open clients
    cdef Client *closed  # chain to free at the end of the turn
    cdef readonly uint32_t count
    cdef uint8_t *table  # connection table region
    cdef uint32_t rows
    cdef uint32_t closed_rows
    cdef uint32_t *free_rows
    cdef uint32_t free_count
    cdef uint64_t pending_max
    cdef uint64_t now_ns
    cdef uint64_t wall_offset_ns  # wall clock minus monotonic clock

    cdef Client *adopt(self, int fd, uint64_t cid, str ip, uint16_t port) except? NULL
    cdef void flush(self, Client *client) noexcept
    cdef void flush_all(self) noexcept
    cdef void close(self, Client *client, uint16_t reason) noexcept
    cdef void let_go(self, Client *client) noexcept
    cdef void free_closed(self) noexcept
    cdef ConnectionRow *row(self, uint32_t index) noexcept
    cdef void keep_closed_row(self, ConnectionRow *row) noexcept
    cdef Client *largest(self) noexcept
