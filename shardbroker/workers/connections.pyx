"""All client connections of a worker, see connections.pxd.

A client's counters live in its row of the connection table, in shared memory, so that /connz is answered by
the acceptor without asking anybody. When it closes, the row is copied into the ring of closed rows.

Writing: `flush` writes what the socket takes and leaves the rest; the socket is registered edge-triggered
for both directions once, so a full socket costs no further system call until it is writable again.
"""

from libc.errno cimport EAGAIN, EINTR, errno
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memcpy, memset
from posix.uio cimport iovec, writev
from posix.unistd cimport close as close_fd

from shardbroker.routing.delivery_target cimport ConnectionRow
from shardbroker.routing.outbox cimport outbox_clear, outbox_consume, outbox_gather
from shardbroker.routing.router cimport Router
from shardbroker.shm.offsets cimport (
    CONNECTION_ROW_SIZE,
    CONNECTIONS_CLOSED_COUNT,
    CONNECTIONS_NEXT_CLOSED,
    CONNECTIONS_ROW_COUNT,
    CONNECTIONS_ROWS,
)
from shardbroker.workers.client cimport CLOSING_NOW, Client, client_free, client_new
from shardbroker.workers.session cimport Session, client_label, copy_text

from shardbroker.shm.layout import CLOSE_REASONS


cdef extern from "<sys/epoll.h>" nogil:
    ctypedef union epoll_data_t:
        void *ptr
    struct epoll_event:
        unsigned int events
        epoll_data_t data
    int epoll_ctl(int epfd, int op, int fd, epoll_event *event)
    enum:
        EPOLLIN
        EPOLLOUT
        EPOLLRDHUP
        EPOLL_CTL_ADD
        EPOLL_CTL_DEL
    unsigned int EPOLLET


cdef extern from "<sys/socket.h>" nogil:
    ssize_t send(int fd, const void *data, size_t size, int flags)
    int MSG_DONTWAIT
    int MSG_NOSIGNAL


cdef enum:
    VECTORS = 64
    # Publishers are paused when a subscriber has this much pending: enough to keep its socket busy for
    # some milliseconds, little enough to bound what a burst can pile up.
    CONGESTED_DEFAULT = 4 << 20

cdef uint16_t REASON_SLOW = CLOSE_REASONS.index("Slow Consumer (Pending Bytes)")
cdef uint16_t REASON_WRITE_ERROR = CLOSE_REASONS.index("Write Error")


cdef class Connections:
    """`table_address` is the worker's connection table, `rows` and `closed_rows` its sizes."""

    def __cinit__(
        self,
        Session session,
        int epoll_fd,
        uint64_t table_address,
        uint32_t rows,
        uint32_t closed_rows,
        uint64_t pending_max,
        log,
    ):
        cdef uint32_t i
        self.session = session
        self.router = session.router
        self.epoll_fd = epoll_fd
        self.table = <uint8_t *> table_address
        self.rows = rows
        self.closed_rows = closed_rows
        self.pending_max = pending_max
        self.log = log
        (<uint32_t *> (self.table + CONNECTIONS_ROW_COUNT))[0] = rows
        (<uint32_t *> (self.table + CONNECTIONS_CLOSED_COUNT))[0] = closed_rows
        self.free_rows = <uint32_t *> calloc(rows + 1, sizeof(uint32_t))
        if self.free_rows == NULL:
            raise MemoryError("no memory for the connection table")
        # The lowest row is taken first: readers stop at the highest row ever used, pages stay few.
        for i in range(rows):
            self.free_rows[i] = rows - 1 - i
        self.free_count = rows

    def __dealloc__(self):
        free(self.free_rows)

    cdef ConnectionRow *row(self, uint32_t index) noexcept:
        return <ConnectionRow *> (self.table + CONNECTIONS_ROWS + <uint64_t> index * CONNECTION_ROW_SIZE)

    cdef Client *adopt(self, int fd, uint64_t cid, str ip, uint16_t port) except? NULL:
        """Take over a connected socket (non-blocking); NULL with an exception when that is impossible."""
        cdef Client *client = client_new(fd, cid)
        cdef ConnectionRow *row
        cdef epoll_event event
        if client == NULL:
            raise MemoryError("no memory for a connection")
        if self.free_count:
            self.free_count -= 1
            client.row_index = <int> self.free_rows[self.free_count]
            row = self.row(client.row_index)
        else:
            row = <ConnectionRow *> calloc(1, sizeof(ConnectionRow))
            if row == NULL:
                client_free(client)
                raise MemoryError("no memory for a connection")
        memset(row, 0, sizeof(ConnectionRow))
        row.cid = cid
        row.port = port
        copy_text(row.ip, 48, ip)
        row.start_ns = row.last_activity_ns = self.now_ns + self.wall_offset_ns
        row.state = 1
        client.target.row = row
        client.target.pool = &self.router.pool
        client.target.pending_max = self.pending_max
        client.target.congested_above = min(self.pending_max >> 2, <uint64_t> CONGESTED_DEFAULT)
        client.target.may_stall = 1
        client.start_ns = client.last_input_ns = self.now_ns
        event.events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET
        event.data.ptr = client
        if epoll_ctl(self.epoll_fd, EPOLL_CTL_ADD, fd, &event) < 0:
            row.state = 0
            if client.row_index >= 0:
                self.free_rows[self.free_count] = client.row_index
                self.free_count += 1
            else:
                free(row)
            client_free(client)
            raise OSError(errno, "cannot watch a client socket")
        if self.log.debug_enabled:
            self.log.debug(f"{client_label(client)} - Client connection created")
        client.next_open = self.open_first
        if self.open_first != NULL:
            self.open_first.previous_open = client
        self.open_first = client
        self.count += 1
        self.router.statistics.connections += 1
        return client

    # --- writing ----------------------------------------------------------------------------------------

    cdef void flush(self, Client *client) noexcept:
        """Write what the socket takes. The caller has published everything that these bytes tell of."""
        cdef iovec[VECTORS] vectors
        cdef int count, i
        cdef ssize_t written
        cdef uint64_t listed
        while client.writable and client.target.outbox.size:
            count = outbox_gather(&client.target.outbox, vectors, VECTORS)
            listed = 0
            for i in range(count):
                listed += vectors[i].iov_len
            if count == 1:
                written = send(client.fd, vectors[0].iov_base, listed, MSG_DONTWAIT | MSG_NOSIGNAL)
            else:
                written = writev(client.fd, vectors, count)
            self.router.statistics.writes += 1
            if written < 0:
                if errno == EINTR:
                    continue
                if errno != EAGAIN:
                    outbox_clear(&client.target.outbox, client.target.pool)
                    if client.closing == 0:
                        client.reason = REASON_WRITE_ERROR
                    client.closing = CLOSING_NOW
                    return
                written = 0
            outbox_consume(&client.target.outbox, client.target.pool, written)
            client.target.sent_size += written
            if <uint64_t> written < listed:
                # The kernel's buffer is full (a short write sets its "no space" mark too): wait for the edge.
                client.writable = 0
            if written:
                client.blocked_since_ns = 0
        if client.target.outbox.size and client.blocked_since_ns == 0:
            client.blocked_since_ns = self.now_ns
        client.target.row.pending_bytes = client.target.outbox.size

    cdef void flush_all(self) noexcept:
        """Flush every client that got output, and close those that must be closed."""
        cdef Client *client
        while self.router.dirty != NULL:
            client = <Client *> self.router.dirty
            self.router.dirty = client.target.next_dirty
            client.target.dirty = 0
            client.target.next_dirty = NULL
            if client.target.closed:
                continue
            self.flush(client)
            if client.target.overflowed or client.target.outbox.size > client.target.pending_max:
                self.router.statistics.slow_consumers += 1
                self.log.info(
                    f"{client_label(client)} - Slow Consumer Detected: "
                    f"MaxPending of {client.target.pending_max} Exceeded"
                )
                self.close(client, REASON_SLOW)
            elif client.closing:
                self.close(client, client.reason)

    # --- closing ----------------------------------------------------------------------------------------

    cdef void close(self, Client *client, uint16_t reason) noexcept:
        """Close the connection now. Its memory stays until free_closed, so that lists may still name it."""
        if client.target.closed:
            return
        if self.log.debug_enabled:
            self.log.debug(f"{client_label(client)} - Client connection closed: {CLOSE_REASONS[reason]}")
        client.target.row.stop_ns = self.now_ns + self.wall_offset_ns
        client.target.row.reason = reason
        client.target.row.pending_bytes = 0
        self.keep_closed_row(client.target.row)
        self.let_go(client)

    cdef void let_go(self, Client *client) noexcept:
        """Forget an open connection and close our descriptor: it ended, or it lives in another worker now."""
        cdef epoll_event event
        client.target.closed = 1
        self.loop.on_closing(client)
        self.session.drop_all(client)
        self.session.greeter.forget(client.target.cid)
        outbox_clear(&client.target.outbox, client.target.pool)
        # Closing alone would not do: the acceptor may still hold its copy of the descriptor, or a message
        # with it may be under way, and epoll would go on naming this client.
        epoll_ctl(self.epoll_fd, EPOLL_CTL_DEL, client.fd, &event)
        close_fd(client.fd)
        client.target.row.state = 0
        if client.next_open != NULL:
            client.next_open.previous_open = client.previous_open
        if client.previous_open != NULL:
            client.previous_open.next_open = client.next_open
        else:
            self.open_first = client.next_open
        self.count -= 1
        self.router.statistics.connections -= 1
        client.next_closed = self.closed
        self.closed = client

    cdef void keep_closed_row(self, ConnectionRow *row) noexcept:
        """Copy the row into the ring of closed connections; the state last, readers look at it first."""
        cdef uint64_t *next_closed = <uint64_t *> (self.table + CONNECTIONS_NEXT_CLOSED)
        cdef ConnectionRow *kept
        if self.closed_rows:
            kept = self.row(self.rows + <uint32_t> (next_closed[0] % self.closed_rows))
            kept.state = 0
            memcpy(<uint8_t *> kept + 4, <uint8_t *> row + 4, sizeof(ConnectionRow) - 4)
            kept.state = 2
            next_closed[0] += 1

    cdef void free_closed(self) noexcept:
        """Free the clients closed this turn; not yet those that still stand in the dirty chain."""
        cdef Client *client = self.closed
        cdef Client *following
        self.closed = NULL
        while client != NULL:
            following = client.next_closed
            if client.target.dirty:
                client.next_closed = self.closed
                self.closed = client
            else:
                if client.row_index >= 0:
                    self.free_rows[self.free_count] = client.row_index
                    self.free_count += 1
                else:
                    free(client.target.row)
                client_free(client)
            client = following

    cdef Client *largest(self) noexcept:
        """The client with the most pending output, or NULL."""
        cdef Client *client = self.open_first
        cdef Client *found = NULL
        cdef uint64_t size = 0
        while client != NULL:
            if client.target.outbox.size > size:
                size = client.target.outbox.size
                found = client
            client = client.next_open
        return found
