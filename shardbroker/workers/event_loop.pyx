"""The duty cycle of a worker: wait, drain the rings, serve the sockets, publish, write.

One turn, and why in this order (docs/internals/interest_causality.md):

1. wait for sockets, the doorbell or the acceptor; before blocking, `sleeping` is made odd and every wake
   condition is looked at again;
2. `busy` becomes odd: from here on this worker may hold routes;
3. a ticket round: frames of other workers go into outboxes;
4. each ready client: read once, run a round, parse and execute;
5. publish the own batch, then `busy` becomes even, then write to sockets. No byte leaves for a client
   before what it may tell of is visible to all workers.

The loop is our own, over epoll, and not uvloop: a turn must publish before *any* write and run a round
between a read and its parsing, which libuv's callbacks hide; and a connection without transport objects costs
under a kilobyte here. Sockets are registered edge-triggered for both directions once. TLS fits in at
`receive` and `Connections.flush` as memory BIOs.
"""

from libc.errno cimport EAGAIN, EINTR, errno
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport free, malloc, realloc
from libc.string cimport memcpy
from posix.unistd cimport read

from shardbroker.protocol.parser cimport Parser
from shardbroker.routing.router cimport Router
from shardbroker.shm.atomics cimport (
    fence_seq_cst,
    load_relaxed_u64,
    monotonic_ns,
    store_release_u64,
    wall_clock_ns,
)
from shardbroker.shm.offsets cimport (
    BOARD_WORKERS,
    PRESSURE_CELLS,
    WORKER_BUSY,
    WORKER_HEARTBEAT,
    WORKER_PID,
    WORKER_ROW_SIZE,
    WORKER_SLEEPING,
)
from shardbroker.workers.budget cimport Budget
from shardbroker.workers.client cimport (
    CLOSING_FLUSH,
    CLOSING_NOW,
    PARKED_LEAVING,
    PARKED_RING_FULL,
    Client,
    client_keep_input,
)
from shardbroker.workers.connections cimport Connections
from shardbroker.workers.keepalive cimport Keepalive
from shardbroker.workers.loop_port cimport LoopPort
from shardbroker.workers.session cimport Session
from shardbroker.workers.transfer cimport restore_state, saved_state

from shardbroker.shm.layout import CLOSE_REASONS


cdef extern from "<sys/epoll.h>" nogil:
    ctypedef union epoll_data_t:
        void *ptr
    struct epoll_event:
        unsigned int events
        epoll_data_t data
    int epoll_create1(int flags)
    int epoll_ctl(int epfd, int op, int fd, epoll_event *event)
    int epoll_wait(int epfd, epoll_event *events, int maxevents, int timeout)
    enum:
        EPOLLIN
        EPOLLOUT
        EPOLLRDHUP
        EPOLLHUP
        EPOLLERR
        EPOLL_CTL_ADD
        EPOLL_CLOEXEC

cdef extern from "<malloc.h>" nogil:
    int malloc_trim(size_t pad)
    int mallopt(int parameter, int value)
    int M_MMAP_THRESHOLD

cdef extern from "<sys/socket.h>" nogil:
    ssize_t recv(int fd, void *buffer, size_t size, int flags)
    int MSG_DONTWAIT


cdef enum:
    EVENTS = 256
    # Large reads are what makes large messages cheap (RINGS.md: 334 ns a KiB with 256 KiB reads, 267 with
    # 1 MiB, 572 with 64 KiB); one buffer serves all clients, so that an idle connection needs none.
    READ_SIZE = 1 << 20
    # An incomplete operation is copied in front of the next read up to this size; beyond it the rest is
    # read into the client's own buffer, which is made as large as the operation needs.
    HEAD_SIZE = 64 << 10
    # Output is written at least once per this much input, so that one busy client does not delay others.
    FLUSH_EVERY = 256 << 10
    TICK_NS = 50_000_000
    LEAVE_SPIN_NS = 200_000
    TRIM_SIZE = 8 << 20
    PARKED_INPUT_MAX = 16 << 20  # bytes of unparsed input kept for clients that wait

cdef uint16_t REASON_CLIENT_CLOSED = CLOSE_REASONS.index("Client Closed")
cdef uint16_t REASON_READ_ERROR = CLOSE_REASONS.index("Read Error")

# What an epoll event that is no client points at.
cdef char DOORBELL_MARK
cdef char CONTROL_MARK


def new_epoll():
    """A new epoll descriptor, closed on exec."""
    cdef int fd = epoll_create1(EPOLL_CLOEXEC)
    if fd < 0:
        raise OSError(errno, "cannot make an epoll descriptor")
    return fd


cdef class EventLoop(LoopPort):
    """Runs one worker. `control` has fileno() and on_control(); it is called outside the busy section."""

    def __cinit__(
        self,
        Session session,
        Inbound inbound,
        uint64_t board_address,
        int worker_index,
        int worker_count,
        int doorbell_fd,
        int epoll_fd,
        control,
        log,
        uint64_t table_address,
        uint32_t rows,
        uint32_t closed_rows,
        options,
    ):
        self.session = session
        self.router = session.router
        self.routes = session.routes
        self.leaving = session.leaving
        self.outbound = self.router.outbound
        self.overflow = self.router.overflow
        self.inbound = inbound
        self.control = control
        self.board = <uint8_t *> board_address
        self.row = self.board + BOARD_WORKERS + worker_index * WORKER_ROW_SIZE
        self.worker_index = worker_index
        self.worker_count = worker_count
        self.doorbell_fd = doorbell_fd
        self.epoll_fd = epoll_fd
        # A predecessor in this slot may have left odd values; epochs only grow.
        self.busy = (load_relaxed_u64(<uint64_t *> (self.row + WORKER_BUSY)) | 1) + 1
        self.sleeping = (load_relaxed_u64(<uint64_t *> (self.row + WORKER_SLEEPING)) | 1) + 1
        store_release_u64(<uint64_t *> (self.row + WORKER_BUSY), self.busy)
        store_release_u64(<uint64_t *> (self.row + WORKER_SLEEPING), self.sleeping)
        # Large chunks and inputs are mapped and unmapped one by one; without this glibc raises its threshold
        # after the first free and keeps them in the heap for good.
        mallopt(M_MMAP_THRESHOLD, 128 << 10)
        self.buffer_size = HEAD_SIZE + READ_SIZE
        self.buffer = <uint8_t *> malloc(self.buffer_size)
        if self.buffer == NULL:
            raise MemoryError("no memory for the receive buffer")
        self.parser = Parser()
        self.parser_start = self.parser.state
        self.parser.control_line_size_max = options.max_control_line
        self.parser.payload_size_max = options.max_payload
        self.now_ns = self.next_tick_ns = monotonic_ns()
        self.connections = Connections(
            session, epoll_fd, table_address, rows, closed_rows, options.max_pending, log
        )
        self.connections.loop = self
        session.loop = self
        self.keepalive = Keepalive(self.connections, options, self.now_ns)
        self.budget = Budget(
            self.connections, board_address, worker_index, worker_count, options.outbound_budget
        )
        self.connections.now_ns = self.now_ns
        self.connections.wall_offset_ns = wall_clock_ns() - self.now_ns
        self.watch(doorbell_fd, <size_t> &DOORBELL_MARK)
        self.watch(control.fileno(), <size_t> &CONTROL_MARK)

    def __dealloc__(self):
        free(self.buffer)
        free(self.parked)

    def watch(self, int fd, size_t mark):
        """Watch a descriptor of our own, level-triggered."""
        cdef epoll_event event
        event.events = EPOLLIN
        event.data.ptr = <void *> mark
        if epoll_ctl(self.epoll_fd, EPOLL_CTL_ADD, fd, &event) < 0:
            raise OSError(errno, "cannot watch a descriptor")

    def run(self):
        """Turn until stop() is called. Raises what a callback raised: no worker goes on half-right."""
        while not self.stopping:
            self.turn()
            if self.failure is not None:
                raise self.failure
            if self.session.failure is not None:
                raise self.session.failure
        self.publish_and_flush()

    def stop(self):
        """End run() after this turn."""
        self.stopping = True

    # --- one turn ---------------------------------------------------------------------------------------

    cdef int turn(self) except -1:
        """One duty cycle; see the top of the file."""
        cdef Client *client
        cdef uint32_t left
        self.wait()
        self.router.statistics.loop_turns += 1
        self.router.now_ns = self.session.now_ns = self.connections.now_ns = self.now_ns
        self.begin_busy()
        if self.outbound.invited:
            self.outbound.admit()
        if self.leaving.first != NULL:
            self.leaving.look()
        self.inbound.round(self.router)
        self.session.services.turn(self.now_ns)
        while self.leaving.first != NULL:
            client = self.session.finish_leave()
            if client == NULL:
                break
            self.become_ready(client)
        if self.parked_count:
            self.unpark()
        # Each client that is ready now is served once; who becomes ready meanwhile waits for the next turn.
        left = self.ready_count
        while left and self.ready_first != NULL:
            left -= 1
            client = self.ready_first
            self.leave_ready(client)
            self.serve(client)
            if self.failure is not None or self.session.failure is not None:
                break
            if self.bytes_since_flush > FLUSH_EVERY:
                self.publish_and_flush()
        self.publish_and_flush()
        self.end_busy()
        if not self.joined and self.inbound.waiting == 0:
            self.joined = True
            self.control.on_joined()
        if self.control_ready:
            self.control_ready = self.control.on_control(self)
        if self.now_ns >= self.next_tick_ns:
            self.tick()
            self.session.services.tick(self.now_ns)
        if self.router.pool.allocated > 1 << 20 and self.now_ns >= self.budget.next_look_ns:
            self.budget.keep(self.now_ns)
        if self.router.dirty != NULL:
            self.publish_and_flush()
        self.session.free_removed()
        self.connections.free_closed()
        return 0

    cdef void begin_busy(self) noexcept:
        """From here on this worker may choose receivers: `busy` odd, before any version is loaded."""
        if self.busy & 1:
            return  # still: a frame of an earlier turn waits in the overflow list
        self.busy += 1
        store_release_u64(<uint64_t *> (self.row + WORKER_BUSY), self.busy)
        fence_seq_cst()
        # Routes checked in an earlier busy section must be checked again in this one.
        self.routes.next_epoch()

    cdef void end_busy(self) noexcept:
        """Everything chosen since begin_busy is published, or `busy` stays odd until it is."""
        if self.overflow.first == NULL:
            self.busy += 1
            store_release_u64(<uint64_t *> (self.row + WORKER_BUSY), self.busy)

    cdef int timeout_ms(self) noexcept:
        """How long this turn may block."""
        cdef uint64_t until
        if self.ready_first != NULL or self.control_ready or self.session.services.pressing:
            return 0
        if self.overflow.first != NULL:
            return 1
        if self.router.dirty != NULL:
            return 0
        if self.leaving.first != NULL:
            # The others' busy sections last microseconds: spin first, then look once a millisecond.
            if self.leave_since_ns == 0:
                self.leave_since_ns = self.now_ns
            return 0 if self.now_ns - self.leave_since_ns < LEAVE_SPIN_NS else 1
        self.leave_since_ns = 0
        if self.parked_count or self.session.services.soon:
            return 1
        until = self.next_tick_ns
        if self.session.services.due_ns:
            until = min(until, self.session.services.due_ns)
        if until <= self.now_ns:
            return 0
        if self.outbound.invited or self.inbound.waiting:
            return 1  # a peer boots: it may ask, or answer, without a doorbell
        return <int> ((until - self.now_ns) // 1_000_000 + 1)

    cdef int wait(self) noexcept:
        """Wait for something to do and note which clients it concerns."""
        cdef epoll_event[EVENTS] events
        cdef int count, i, timeout = self.timeout_ms()
        cdef uint64_t drained
        cdef Client *client
        cdef bint slept = False
        if timeout > 0:
            # Announce, fence, look again: either we see what a producer published, or it sees us sleep.
            slept = True
            self.sleeping += 1
            if self.outbound.position != self.outbound.batch_start:
                self.outbound.publish()
            if self.overflow.first != NULL or self.parked_count:
                self.outbound.ask_for_space(self.outbound.size >> 2)
            store_release_u64(<uint64_t *> (self.row + WORKER_SLEEPING), self.sleeping)
            fence_seq_cst()
            if self.inbound.pending() or self.session.services.has_news() or (
                (self.overflow.first != NULL or self.parked_count)
                and self.outbound.has_space(self.outbound.size >> 2)
                and self.parked_for_space()
            ):
                timeout = 0
        with nogil:
            count = epoll_wait(self.epoll_fd, events, EVENTS, timeout)
        if slept:
            self.sleeping += 1
            store_release_u64(<uint64_t *> (self.row + WORKER_SLEEPING), self.sleeping)
        self.now_ns = monotonic_ns()
        store_release_u64(<uint64_t *> (self.row + WORKER_HEARTBEAT), self.now_ns)
        for i in range(count):
            if events[i].data.ptr == &DOORBELL_MARK:
                self.router.statistics.doorbells_heard += 1
                read(self.doorbell_fd, &drained, 8)
            elif events[i].data.ptr == &CONTROL_MARK:
                self.control_ready = True
            else:
                client = <Client *> events[i].data.ptr
                if events[i].events & EPOLLOUT and not client.writable:
                    client.writable = 1
                    self.router.mark_dirty(&client.target)
                if events[i].events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR):
                    client.hung_up = 1
                if events[i].events & (EPOLLIN | EPOLLRDHUP | EPOLLHUP | EPOLLERR):
                    client.readable = 1
                    if not client.parked:
                        self.become_ready(client)
        return count

    cdef bint parked_for_space(self) noexcept:
        """Whether anything waits for space in the own ring (others wait for time)."""
        cdef uint32_t i
        if self.overflow.first != NULL:
            return True
        for i in range(self.parked_count):
            if self.parked[i].parked & PARKED_RING_FULL:
                return True
        return False

    # --- lists of clients -------------------------------------------------------------------------------

    cdef void become_ready(self, Client *client) noexcept:
        """Append to the clients to be served."""
        if client.in_ready or client.target.closed:
            return
        client.in_ready = 1
        client.next_ready = NULL
        client.previous_ready = self.ready_last
        if self.ready_last != NULL:
            self.ready_last.next_ready = client
        else:
            self.ready_first = client
        self.ready_last = client
        self.ready_count += 1

    cdef void leave_ready(self, Client *client) noexcept:
        if not client.in_ready:
            return
        client.in_ready = 0
        self.ready_count -= 1
        if client.previous_ready != NULL:
            client.previous_ready.next_ready = client.next_ready
        else:
            self.ready_first = client.next_ready
        if client.next_ready != NULL:
            client.next_ready.previous_ready = client.previous_ready
        else:
            self.ready_last = client.previous_ready

    cdef void on_closing(self, Client *client) noexcept:
        """The client ends: no list may name it after this turn."""
        cdef uint32_t i, kept = 0
        self.keepalive.forget(client)
        self.leave_ready(client)
        if client.paused:
            client.paused = 0
            for i in range(self.parked_count):
                if self.parked[i] != client:
                    self.parked[kept] = self.parked[i]
                    kept += 1
            self.parked_count = kept

    cdef void park(self, Client *client) noexcept:
        """Keep a client aside until unpark finds that it may go on."""
        cdef Client **grown
        if client.paused or client.target.closed:
            return
        if self.parked_count == self.parked_capacity:
            grown = <Client **> realloc(self.parked, (self.parked_capacity * 2 + 16) * sizeof(Client *))
            if grown == NULL:
                self.become_ready(client)  # no memory to wait aside: ask again next turn
                return
            self.parked = grown
            self.parked_capacity = self.parked_capacity * 2 + 16
        client.paused = 1
        self.parked_input_size += client.input_size
        self.parked[self.parked_count] = client
        self.parked_count += 1

    cdef void unpark(self) noexcept:
        """Make those ready again whose reason to wait is over, in the order they were parked."""
        cdef uint32_t i, kept = 0
        cdef Client *client
        cdef bint space = (self.overflow.first == NULL or self.overflow.drain()) and self.outbound.has_space(
            self.outbound.size >> 2
        )
        if space:
            self.outbound.stop_asking()
        for i in range(self.parked_count):
            client = self.parked[i]
            if space:
                client.parked &= ~PARKED_RING_FULL
            if client.parked or self.is_paused(client):
                self.parked[kept] = client
                kept += 1
            else:
                client.paused = 0
                self.become_ready(client)
        self.parked_count = kept
        self.parked_input_size = 0
        for i in range(kept):
            self.parked_input_size += self.parked[i].input_size

    cdef bint is_paused(self, Client *client) noexcept:
        """Whether a congested subscriber, here or on another worker, asked this publisher to wait."""
        cdef uint64_t *cell
        if client.target.pause_until_ns > self.now_ns:
            return True
        cell = self.router.pressure + self.worker_index * PRESSURE_CELLS
        cell += client.target.cid & (PRESSURE_CELLS - 1)
        return load_relaxed_u64(cell) > self.now_ns

    # --- one client -------------------------------------------------------------------------------------

    cdef void serve(self, Client *client) noexcept:
        """Execute what waits in the client's own buffer, or read once and execute that."""
        if client.target.closed:
            return
        if self.is_paused(client):
            client.target.row.stalls += 1
            self.router.statistics.stalled_clients += 1
            self.park(client)
            return
        if client.input_size and client.has_whole_input:
            client.has_whole_input = 0
            self.inbound.round(self.router)
            self.routes.next_epoch()
            if not client.target.closed:
                self.parse(client, client.input, client.input_size)
        elif client.readable:
            if self.parked_input_size > PARKED_INPUT_MAX:
                # Enough waits in our memory: what comes now waits in the kernel's.
                self.park(client)
                return
            self.receive(client)
        if client.target.closed:
            return
        if client.move_to and not client.closing:
            try:
                if self.move(client):
                    return
            except BaseException as error:
                self.failure = error
                return
        if client.closing:
            self.end_client(client)
        elif client.parked & PARKED_RING_FULL:
            self.park(client)
        elif client.parked == 0 and (client.readable or client.has_whole_input):
            self.become_ready(client)

    cdef void receive(self, Client *client) noexcept:
        """Read once from the socket, then act on it."""
        cdef uint8_t *place
        cdef uint8_t *data
        cdef uint64_t room
        cdef ssize_t size
        cdef uint64_t kept = client.input_size
        if kept > HEAD_SIZE or (
            kept and client.parser_need > HEAD_SIZE and client.input_capacity >= client.parser_need
        ):
            # A large operation: the rest of it goes straight behind what is there.
            if client.input_capacity == kept:
                if client_keep_input(client, client.input, kept, kept + HEAD_SIZE) < 0:
                    client.closing = CLOSING_NOW
                    client.reason = REASON_READ_ERROR
                    return
            data = client.input
            place = client.input + client.input_size
            room = client.input_capacity - client.input_size
        else:
            data = self.buffer + HEAD_SIZE - client.input_size
            place = self.buffer + HEAD_SIZE
            room = READ_SIZE
        size = recv(client.fd, place, room, MSG_DONTWAIT)
        self.router.statistics.reads += 1
        if size <= 0:
            client.readable = 0
            if size < 0 and errno == EINTR:
                client.readable = 1
            elif size == 0 or errno != EAGAIN:
                client.closing = CLOSING_FLUSH if size == 0 else CLOSING_NOW
                client.reason = REASON_CLIENT_CLOSED
            return
        # A short read has emptied the socket; new bytes are a new edge. An end of file behind them is
        # already signalled, so after a hang-up reading goes on until recv says so.
        client.readable = 1 if <uint64_t> size == room or client.hung_up else 0
        client.last_input_ns = self.now_ns
        client.target.row.last_activity_ns = self.now_ns + self.connections.wall_offset_ns
        if data != client.input and client.input_size:
            memcpy(data, client.input, client.input_size)
        self.bytes_since_flush += size
        # Everything that was published before these bytes were sent is delivered before they are executed.
        self.inbound.round(self.router)
        self.routes.next_epoch()
        if not client.target.closed:  # by a flush in a large round
            self.parse(client, data, client.input_size + size)

    cdef void parse(self, Client *client, const uint8_t *data, uint64_t size) noexcept:
        """Execute whole operations in data[0:size] and keep the rest."""
        cdef Parser parser = self.parser
        cdef Py_ssize_t consumed
        cdef uint64_t left, room
        cdef bint was_connected = client.connect_received
        self.session.client = client
        self.session.input_end = data + size
        self.session.begin_parse()
        parser.error = 0
        parser.state = client.parser_state
        parser.scanned = client.parser_scanned
        parser.need = client.parser_need
        parser.headers_supported = client.target.headers
        try:
            consumed = parser.feed(data, 0, size, self.session)
        except BaseException as error:  # a bug of ours: the loop ends with it
            self.failure = error
            client.closing = CLOSING_NOW
            return
        self.session.end_parse(client)
        if client.target.closed:
            return  # by a flush in the middle of the parse
        if parser.error:
            self.session.answer_parse_error(client, parser.error)
        if client.closing:
            return
        if client.connect_received and not was_connected:
            self.keepalive.connected(client, self.now_ns)
        client.parser_state = parser.state
        client.parser_scanned = parser.scanned
        client.parser_need = parser.need
        left = size - consumed
        room = left
        if client.parked or client.move_to or client.yielded:
            client.yielded = 0
            client.has_whole_input = 1 if left else 0
        elif parser.need > HEAD_SIZE:
            room = parser.need
        if client_keep_input(client, data + consumed, left, room) < 0:
            client.closing = CLOSING_NOW
            client.reason = REASON_READ_ERROR

    cdef bint move(self, Client *client) except -1:
        """Hand the connection to the worker it should live in; False when it stays after all."""
        cdef int worker = client.move_to - 1
        client.move_to = 0
        client.moved = 1
        # What is pending leaves from here: it must not travel, and not come after what the other sends.
        self.publish_and_flush()
        if client.target.closed or client.closing:
            return client.target.closed
        # An operation whose name is consumed already cannot begin anew elsewhere.
        if client.parser_state != self.parser_start:
            return False
        if client.target.outbox.size or not self.control.on_move(
            client.fd,
            client.target.cid,
            worker,
            (<bytes> client.target.row.ip).decode(),
            client.target.row.port,
            saved_state(client),
            client.input[: client.input_size],
        ):
            return False
        self.router.statistics.connections_moved += 1
        self.connections.let_go(client)
        return True

    def adopt_moved(self, int fd, uint64_t cid, str ip, uint16_t port, dict state, bytes pending):
        """Take over a connection from another worker, with what it said so far and its unparsed input."""
        cdef Client *client = self.connections.adopt(fd, cid, ip, port)
        client.parser_state = self.parser_start
        self.router.statistics.connections_total += 1
        restore_state(client, state)
        if client_keep_input(client, pending, len(pending), len(pending)) < 0:
            raise MemoryError("no memory for a moved connection's input")
        client.has_whole_input = 1 if len(pending) else 0
        client.readable = 1
        self.keepalive.welcome(client, self.now_ns)
        self.become_ready(client)

    cdef void end_client(self, Client *client) noexcept:
        """Write what is pending (an -ERR, answers to the last commands) and close."""
        if client.closing == CLOSING_FLUSH:
            self.publish_and_flush()
            if client.target.closed:
                return
            if self.overflow.first != NULL:
                # No byte may leave yet: flush_all closes it when it can write.
                self.router.mark_dirty(&client.target)
                return
            self.connections.flush(client)
        self.connections.close(client, client.reason)

    # --- output -----------------------------------------------------------------------------------------

    cdef void publish_and_flush(self) noexcept:
        """Make the own batch visible, then write to sockets: never the other way round."""
        self.bytes_since_flush = 0
        self.session.mark_output()
        self.beat()
        try:
            self.session.services.commit()
        except BaseException as error:  # a bug of ours: the loop ends with it
            self.failure = error
            return
        self.outbound.publish()
        if self.overflow.first != NULL and not self.overflow.drain():
            return  # a frame is still private: no byte may leave (publish before bytes)
        self.connections.flush_all()

    cdef void beat(self) noexcept:
        store_release_u64(<uint64_t *> (self.row + WORKER_HEARTBEAT), monotonic_ns())

    cdef void flush_now(self) noexcept:
        self.publish_and_flush()
        if self.router.pool.allocated > 16 << 20:
            self.budget.keep(self.now_ns)

    # --- time -------------------------------------------------------------------------------------------

    cdef void tick(self) noexcept:
        """Every 50 ms: deadlines of clients, gauges on the board."""
        self.next_tick_ns = self.now_ns + TICK_NS
        self.connections.wall_offset_ns = wall_clock_ns() - self.now_ns
        self.keepalive.tick(self.now_ns)
        self.router.statistics.ring_batches_out = self.outbound.batches
        self.router.statistics.ring_full = self.outbound.full_count
        self.router.statistics.doorbells_rung = self.outbound.doorbells_rung
        self.outbound.refresh_gating()
        self.router.statistics.ring_fill = self.outbound.head - self.outbound.gating
        self.router.statistics.route_hits = self.routes.hits
        self.router.statistics.route_misses = self.routes.misses
        self.router.statistics.outbound_size = self.router.pool.allocated
        self.reported &= self.inbound.distrusted
        if self.inbound.distrusted & ~self.reported:
            self.report_distrusted()
        self.router.statistics.input_parked = self.parked_input_size
        self.ticks += 1
        if self.ticks % 20 == 0:
            try:
                self.routes.directory.trim()
            except MemoryError:
                pass  # trimming gives memory back; it can try again in a second
            if self.router.pool.returned > TRIM_SIZE:
                # Output that piled up for slow readers is gone: the allocator keeps its pages unless asked.
                self.router.pool.returned = 0
                malloc_trim(0)
        if self.router.pool.allocated == 0:
            self.router.statistics.outbound_largest = 0

    cdef void report_distrusted(self) noexcept:
        """A peer wrote what cannot be into its ring: have it replaced. Fail-stop beats guessing."""
        cdef uint8_t *row
        cdef int worker
        for worker in range(self.worker_count):
            if (self.inbound.distrusted & ~self.reported) >> worker & 1:
                row = self.board + BOARD_WORKERS + worker * WORKER_ROW_SIZE
                self.control.on_distrusted(worker, (<uint32_t *> (row + WORKER_PID))[0])
        self.reported = self.inbound.distrusted

    # --- for workers/process.py -------------------------------------------------------------------------

    def adopt(self, int fd, uint64_t cid, str ip, uint16_t port, bytes greeting):
        """Take over a connected socket and send its INFO."""
        cdef Client *client = self.connections.adopt(fd, cid, ip, port)
        client.parser_state = self.parser_start
        self.router.statistics.connections_total += 1
        self.keepalive.welcome(client, self.now_ns)
        self.session.say(client, greeting)

    def reject(
        self, int fd, uint64_t cid, str ip, uint16_t port, bytes greeting, bytes text, uint16_t reason
    ):
        """Greet, say why not, close."""
        cdef Client *client = self.connections.adopt(fd, cid, ip, port)
        self.session.say(client, greeting)
        self.session.fail(client, text, reason)

    def announce(self, greeting):
        """Send `greeting(cid, ip)` (an INFO line) to every client that understands asynchronous INFO."""
        cdef Client *client = self.connections.open_first
        while client != NULL:
            if client.connect_received and client.protocol:
                self.session.say(client, greeting(client.target.cid, (<bytes> client.target.row.ip).decode()))
            client = client.next_open

    def close_some(self, uint32_t count, uint16_t reason):
        """Close `count` clients after writing what they have pending; returns how many there were."""
        cdef Client *client = self.connections.open_first
        cdef Client *following
        cdef uint32_t closed = 0
        self.publish_and_flush()
        while client != NULL and closed < count:
            following = client.next_open
            client.closing = CLOSING_FLUSH
            client.reason = reason
            self.end_client(client)
            closed += 1
            client = following
        return closed

    def round(self):
        """A ticket round outside the turn: what a dead peer published is delivered before it is detached."""
        self.begin_busy()
        batches = self.inbound.round(self.router)
        self.outbound.publish()
        self.end_busy()
        return batches

    def forget_producer(self, int worker):
        """A peer died: drop what it left half sent, and routes to it."""
        self.router.forget_producer(worker)
        self.routes.generation += 1
        self.routes.next_epoch()
