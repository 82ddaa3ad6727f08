"""Main of a worker process.

Steps: die with the parent, take the acceptor's Attach message, map the shared memory, build the parts, say
Ready, turn the event loop until Stop or until the acceptor is gone. The acceptor's messages are handled here,
in Python; client traffic never passes through this file.
"""

import contextlib
import os
import select
import signal

import orjson

from shardbroker import limits
from shardbroker.config.options import Options
from shardbroker.control import messages
from shardbroker.control.channel import Channel
from shardbroker.control.parent_death import die_with_parent
from shardbroker.errors import ProtocolError
from shardbroker.log import Log
from shardbroker.routing.overflow import Overflow
from shardbroker.routing.route_cache import RouteCache
from shardbroker.routing.router import Router
from shardbroker.shm import layout
from shardbroker.shm.interest_directory import InterestDirectory
from shardbroker.shm.mapping import Mapping
from shardbroker.shm.ring import Inbound, Outbound, RingMap
from shardbroker.workers.event_loop import EventLoop, new_epoll
from shardbroker.workers.handshake import Greeter
from shardbroker.workers.leaving import Leaving
from shardbroker.workers.listing import list_subscriptions
from shardbroker.workers.moving import Moving
from shardbroker.workers.session import Session
from shardbroker.workers.trace import Tracer

_SERVER_SHUTDOWN = layout.CLOSE_REASONS.index("Server Shutdown")
_CONNECTIONS_EXCEEDED = layout.CLOSE_REASONS.index("Maximum Connections Exceeded")

#: Messages of the acceptor handled in one turn, so that a storm of connections does not starve the others.
_CONTROL_BUDGET = 64


def main(channel_socket, worker_index: int, options: Options) -> None:
    """Run worker ``worker_index`` until it is told to stop. The target of the forkserver."""
    die_with_parent(os.getppid())
    # The acceptor alone decides on signals; a Ctrl-C reaches the whole process group.
    for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGUSR1", "SIGUSR2"):
        signal.signal(getattr(signal, name), signal.SIG_IGN)
    log = Log(
        path=options.log_file,
        debug=options.debug,
        trace=options.trace,
        logtime=options.logtime,
        utc=options.logtime_utc,
    )
    try:
        worker = Worker(Channel(channel_socket), options, log)
        assert worker.worker_index == worker_index
        worker.run()
    except EOFError:
        # The acceptor is gone: nobody is left to serve for.
        os._exit(0)
    except BaseException as error:
        log.error(f"worker {worker_index} ends for a fault of its own: {type(error).__name__}: {error}")
        raise


class Worker:
    """The parts of one worker, and what it does with the acceptor's messages."""

    def __init__(self, channel: Channel, options: Options, log: Log):
        self._channel = channel
        self._log = log
        attach, fds = self._first_message()
        self.worker_index = attach.worker_index
        self._ring_size = attach.ring_size
        self._interest_size = attach.interest_size
        self._board = Mapping(fds[0], layout.BOARD_SIZE)
        self._seed = _seed_of(fds[0])
        own = 1 + 3 * attach.worker_index
        ring = RingMap(fds[own], attach.ring_size)
        self._own_interest = Mapping(fds[own + 1], attach.interest_size)
        self._interest_fd = os.dup(fds[own + 1])
        self._doorbell = os.dup(fds[own + 2])
        table_size = layout.connection_table_size(attach.connection_rows, attach.closed_rows)
        self._table = Mapping(fds[-1], table_size)
        board = self._board.address

        self._directory = InterestDirectory(
            attach.worker_index, board, self._own_interest.address, self._interest_fd, attach.interest_size
        )
        self._outbound = Outbound(ring, board, attach.worker_index)
        self._inbound = Inbound(board, attach.worker_index, attach.generation, self._outbound)
        self._routes = RouteCache(self._directory, self._seed)
        statistics = board + layout.worker_row(attach.worker_index) + layout.WORKER_STATISTICS
        # The largest messages are the broker's own: in answers of the API payloads are written in base64.
        message_size_max = 2 * options.max_payload + limits.own_message_slack_size
        overflow = Overflow(self._outbound, message_size_max)
        router = Router(
            self._routes,
            self._outbound,
            overflow,
            statistics,
            board + layout.BOARD_PRESSURE,
            self._seed,
            attach.worker_index,
            message_size_max,
            not options.no_fast_producer_stall,
        )
        leaving = Leaving(board, attach.worker_index, attach.worker_count)
        self._greeter = Greeter(attach, options)
        moving = Moving(board, self._seed, attach.worker_index, attach.worker_count)
        tracer = Tracer(log) if options.trace else None
        session = Session(router, leaving, moving, self._greeter, tracer, self._seed, options)
        self._loop = EventLoop(
            session,
            self._inbound,
            board,
            attach.worker_index,
            attach.worker_count,
            self._doorbell,
            new_epoll(),
            self,
            log,
            self._table.address,
            attach.connection_rows,
            attach.closed_rows,
            options,
        )
        self._joined = False
        self._jetstream = self._new_jetstream(session, attach, fds[0], options) if options.jetstream else None
        self._peers: dict[int, tuple[int, Mapping, int]] = {}  # worker -> generation, interest, doorbell
        for worker in range(attach.worker_count):
            first = 1 + 3 * worker
            if worker != attach.worker_index and attach.generations[worker]:
                self._attach_peer(worker, attach.generations[worker], fds[first : first + 3])
        for fd in fds:
            os.close(fd)

    def _new_jetstream(self, session: Session, attach: messages.Attach, board_fd: int, options: Options):
        # Imported here: workers without JetStream start sooner and are smaller.
        from shardbroker.workers.jetstream import JetStream

        jetstream = JetStream(
            session,
            self._board.address,
            _map_board(board_fd),
            attach.worker_index,
            attach.worker_count,
            options,
            self._log,
            self._send,
            attach.server_name,
            attach.server_id,
        )
        jetstream.on_ready = self._maybe_ready
        return jetstream

    def run(self) -> None:
        """Serve until Stop."""
        self._loop.run()

    def fileno(self) -> int:
        """The channel's descriptor, watched by the event loop."""
        return self._channel.fileno()

    def on_joined(self) -> None:
        """All peers count this worker: what they publish from now on reaches it, so it may take clients."""
        self._joined = True
        self._maybe_ready()

    def _maybe_ready(self) -> None:
        """With JetStream also the streams of this worker must be there, or their publishers hear nothing."""
        if not self._joined:
            return
        if self._jetstream is not None:
            if not self._jetstream.ready:
                return
            self._jetstream.host.answer_predecessor()
        self._send(messages.Ready(self.worker_index))

    def on_distrusted(self, worker: int, pid: int) -> None:
        """A peer's ring holds garbage: end the peer, the acceptor starts another in its place."""
        self._log.error(f"The ring of worker {worker} (pid {pid}) holds garbage: ending that worker")
        if pid > 1:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def on_control(self, loop: EventLoop) -> bool:
        """Handle what the acceptor sent; True when there may be more. Raises EOFError when it is gone."""
        for _ in range(_CONTROL_BUDGET):
            try:
                received = self._channel.receive()
            except ProtocolError as error:
                # No free descriptor: the kernel dropped the one that came, and with it the connection.
                self._log.error(f"A message of the acceptor could not be taken: {error}")
                continue
            if received is None:
                return False
            self._handle(*received)
        return True

    def _first_message(self) -> tuple[messages.Attach, list[int]]:
        while True:
            select.select([self._channel], [], [])
            received = self._channel.receive()
            if received is not None:
                assert isinstance(received[0], messages.Attach)
                return received

    def _send(self, message) -> None:
        """Send now; the channel is drained by the acceptor at all times, so waiting is short."""
        while not self._channel.send(message):
            select.select([], [self._channel], [], 0.1)

    def _handle(self, message, fds: list[int]) -> None:
        match message:
            case messages.TakeSocket():
                self._take_socket(message, fds[0])
            case messages.PeerDown():
                self._peer_down(message)
            case messages.PeerUp():
                self._attach_peer(message.worker, message.generation, fds)
                for fd in fds:
                    os.close(fd)
            case messages.LameDuck():
                self._lame_duck(message)
            case messages.Stop():
                if self._jetstream is not None:
                    self._jetstream.stop()
                    self._loop.round()  # what the others have told our clients
                self._loop.close_some(1 << 30, _SERVER_SHUTDOWN)
                self._loop.stop()
            case messages.ReopenLog():
                self._log.reopen()
            case messages.StreamNews():
                self._jetstream.news(message, fds)
            case messages.StreamReply():
                self._jetstream.reply(message, fds)
            case messages.StreamAttach():
                self._jetstream.attach(message, fds)
            case messages.Query():
                self._send(messages.Answer(message.request, self._answer(message)))

    # --- connections ------------------------------------------------------------------------------------

    def _take_socket(self, message: messages.TakeSocket, fd: int) -> None:
        os.set_blocking(fd, False)
        greeting = self._greeter.info(message.cid, message.ip)
        try:
            if message.state:
                size = int.from_bytes(message.state[:4], "little")
                state = orjson.loads(message.state[4 : 4 + size])
                self._greeter.remember(message.cid, state["connect"])
                pending = message.state[4 + size :]
                self._loop.adopt_moved(fd, message.cid, message.ip, message.port, state, pending)
            elif message.flags & messages.REJECT:
                text = b"maximum connections exceeded"
                self._loop.reject(
                    fd, message.cid, message.ip, message.port, greeting, text, _CONNECTIONS_EXCEEDED
                )
            else:
                self._loop.adopt(fd, message.cid, message.ip, message.port, greeting)
        except (OSError, MemoryError) as error:
            self._log.error(f"cid:{message.cid} cannot be served: {error}")
            os.close(fd)

    def on_move(
        self, fd: int, cid: int, worker: int, ip: str, port: int, state: dict, pending: bytes
    ) -> bool:
        """Send a connection to another worker, by way of the acceptor; False when that cannot be done now."""
        state["connect"] = self._greeter.remembered(cid)
        head = orjson.dumps(state)
        packed = len(head).to_bytes(4, "little") + head + pending
        return self._channel.send(messages.MoveSocket(cid, worker, port, ip, packed), (fd,))

    def _lame_duck(self, message: messages.LameDuck) -> None:
        if message.phase == messages.LAME_DUCK_ANNOUNCE:
            self._greeter.lame_duck = True
            self._loop.announce(self._greeter.info)
        else:
            self._loop.close_some(message.count, _SERVER_SHUTDOWN)

    # --- peers ------------------------------------------------------------------------------------------

    def _attach_peer(self, worker: int, generation: int, fds: list[int]) -> None:
        """Read a peer's ring, be read by it, ask its interest, ring its doorbell."""
        interest = Mapping(fds[1], self._interest_size)
        doorbell = os.dup(fds[2])
        self._outbound.invite(worker, doorbell, generation)
        self._inbound.attach(worker, RingMap(fds[0], self._ring_size))
        self._directory.set_peer(worker, interest.address, self._interest_size)
        self._loop.forget_producer(worker)
        self._peers[worker] = (generation, interest, doorbell)

    def _peer_down(self, message: messages.PeerDown) -> None:
        """The peer is dead for certain: deliver what it published, then let go of everything of it."""
        if self._jetstream is not None:
            self._jetstream.owner_down(message.worker)
        peer = self._peers.get(message.worker)
        if peer is not None and peer[0] <= message.generation:
            del self._peers[message.worker]
            self._loop.round()
            self._inbound.detach(message.worker)
            self._outbound.detach(message.worker)
            self._directory.clear_peer(message.worker)
            self._loop.forget_producer(message.worker)
            peer[1].close()
            os.close(peer[2])
        self._send(messages.PeerDownDone(message.worker, message.generation))

    # --- monitoring -------------------------------------------------------------------------------------

    def _answer(self, query: messages.Query) -> bytes:
        if query.kind == messages.QUERY_FAREWELL:
            if self._jetstream is not None:
                self._jetstream.stop()
                self._loop.close_some(0, _SERVER_SHUTDOWN)  # nobody yet: it publishes first
            return b"{}"
        arguments = query.arguments
        if query.kind == messages.QUERY_CONSUMERS:
            return self._jetstream.describe_consumers(arguments)
        cids = arguments.get("cids")
        test = arguments.get("test")
        total, rows = list_subscriptions(
            self._loop.connections,
            None if cids is None else frozenset(cids),
            arguments.get("account"),
            b"" if test is None else test.encode(),
            int(arguments.get("limit", 1024)),
        )
        return orjson.dumps({"total": total, "subscriptions": rows})


def _map_board(board_fd: int) -> memoryview:
    """A view of the whole board, for tables that are read in Python."""
    import mmap

    return memoryview(mmap.mmap(board_fd, layout.BOARD_SIZE))


def _seed_of(board_fd: int) -> int:
    """The broker's hash seed, from the board's header."""
    import mmap
    import struct

    with mmap.mmap(board_fd, 4096, mmap.MAP_SHARED, mmap.PROT_READ) as header:
        return struct.unpack_from("<Q", header, layout.BOARD_SEED)[0]
