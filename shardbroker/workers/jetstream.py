"""JetStream in a worker: its copy of the catalog, the streams it owns, its talk with the acceptor.

Everything about *one* stream is decided by its owner, the worker that holds the stream's slot; what concerns
several (names, subjects, limits) by the acceptor's catalog. This file keeps the two in step.
"""

import os
import time
from collections.abc import Callable

import orjson

from shardbroker import limits
from shardbroker.config.options import Options
from shardbroker.control import messages
from shardbroker.errors import StorageError
from shardbroker.jetstream.api_error import ApiError
from shardbroker.jetstream.go_encoding import encode
from shardbroker.jetstream.special_publish import OpenBatches
from shardbroker.jetstream.stream_config import StreamConfig
from shardbroker.routing.gap import Gap
from shardbroker.shm import layout
from shardbroker.shm.append_lane import LANE_RELEASE, LaneProducer
from shardbroker.shm.mapping import Mapping
from shardbroker.shm.ring import RingMap
from shardbroker.shm.slot_table import SlotTable, stream_slot
from shardbroker.shm.worker_table import STATISTIC, WorkerRow
from shardbroker.storage.segment_window import free_spares
from shardbroker.workers import consumer_views
from shardbroker.workers.consumer_host import ConsumerHost
from shardbroker.workers.consumer_keeping import ConsumerKeeper
from shardbroker.workers.dead_letters import DeadLetters
from shardbroker.workers.flow_infos import FlowInfos
from shardbroker.workers.hosted import SERVICE_API, SERVICE_DIRECT, SERVICE_STREAM
from shardbroker.workers.log_cleaning import LogCleaning
from shardbroker.workers.random_names import new_event_id
from shardbroker.workers.restores import remove_abandoned
from shardbroker.workers.stream_api import StreamApi
from shardbroker.workers.stream_extras import attach_extras
from shardbroker.workers.stream_feed import FeedDesk
from shardbroker.workers.stream_host import StreamHost
from shardbroker.workers.stream_opening import StreamEntry, open_memory, open_new, open_stored

GLOBAL_ACCOUNT = "$G"
#: What every worker listens to. Direct gets are no part of it: only streams that allow them answer, and where
#: there is none the client is to hear that nobody responds. Pull requests go to their consumers likewise.
_API_SUBJECTS = (
    b"$JS.API.*",
    b"$JS.API.STREAM.>",
    b"$JS.API.CONSUMER.*",
    b"$JS.API.CONSUMER.CREATE.>",
    b"$JS.API.CONSUMER.DURABLE.CREATE.>",
    b"$JS.API.CONSUMER.NAMES.>",
    b"$JS.API.CONSUMER.LIST.>",
    b"$JS.API.CONSUMER.INFO.>",
    b"$JS.API.CONSUMER.DELETE.>",
    b"$JS.API.CONSUMER.PAUSE.>",
    b"$JS.API.CONSUMER.UNPIN.>",
    b"$JS.API.CONSUMER.RESET.>",
    b"$JS.API.CONSUMER.LEADER.>",
    b"$JS.API.CONSUMER.PEER.>",
    b"$JS.API.ACCOUNT.>",
    b"$JS.API.META.>",
    b"$JS.API.SERVER.>",
    b"$SHARDBROKER.CONSUMER.EXPLAIN.*.*",
)
#: Clients whose descriptions are kept for advisories.
_CLIENTS_MAX = 1000
#: Clients may not join it.
_DIRECT_QUEUE = b"_sys_"
#: So long publishers wait for the successor of a dead owner; then they hear what nats-server would say.
_GAP_NS_MAX = 5_000_000_000


class JetStream:
    """``send(message)`` goes to the acceptor; ``board`` is a writable view of the board."""

    def __init__(
        self, session, board_address: int, board: memoryview, worker_index: int,
        worker_count: int, options: Options, log, send,
        server_name: str, server_id: str,
    ):  # fmt: skip
        self.options = options
        self.log = log
        self.server_name = server_name
        self.server_id = server_id
        self.worker_index = worker_index
        self.entries: dict[str, dict[str, StreamEntry]] = {}
        self.ready = False
        self.term = 0
        self.store_path = ""
        self.on_ready: Callable[[], None] = lambda: None
        self._session = session
        self._board_address = board_address
        self._slots = SlotTable(board)
        self._rows = [WorkerRow(board, index) for index in range(worker_count)]
        self._clients: dict[int, dict] = {}  # what the acceptor told of clients, by cid
        self._send = send
        self.open_batches = OpenBatches()
        self._full = {"memory": False, "file": False}
        self._down: dict[int, int] = {}  # workers that are away, and until when their publishers wait
        self._pending: list[tuple[StreamEntry, int]] = []  # streams to be read back
        self._asked: dict[int, Callable[[dict, list[int]], None]] = {}
        self._next_request = 1
        self._progress_at = 0.0

    def attach(self, message: messages.StreamAttach, fds: list[int]) -> None:
        """Take the lane over and begin to serve the API."""
        lane = RingMap(fds[0], message.lane_size)
        self._log_table = Mapping(fds[1], message.rows * layout.LOG_ROW_SIZE)
        self._log_view = memoryview(_map_for_reading(fds[1], message.rows * layout.LOG_ROW_SIZE)).cast("Q")
        producer = LaneProducer(lane, self._board_address, os.dup(fds[2]))
        self.host = StreamHost(self._session, producer, self._log_table.address, self.log)
        self.desk = FeedDesk(self)
        self.flows = FlowInfos(self)
        self.api = StreamApi(self)
        self.host.set_api(self.api.handle)
        self.host.set_cleaning(LogCleaning(self.host))
        self.consumers = ConsumerHost(self.host, self.log)
        self.dead_letters = DeadLetters(self)
        self.keeper = ConsumerKeeper(self)
        self.consumers.set_keeper(self.keeper)
        self.host.set_consumers(self.consumers)
        self._session.set_services(self.host)
        for subject in _API_SUBJECTS:
            self.host.subscribe(None, SERVICE_API, subject)
        for fd in fds:
            os.close(fd)

    def stop(self) -> None:
        """The broker stops in order: whoever waits for messages is told."""
        if self.ready:
            self.keeper.stop()

    # --- the catalog ------------------------------------------------------------------------------------

    def account(self, name: str) -> dict[str, StreamEntry]:
        return self.entries.setdefault(name, {})

    def owner_of(self, account: str, name: str) -> int:
        """The worker that answers for a stream, whether it exists or not; for "" : for the account."""
        return self._slots.worker_of(stream_slot(account, name))

    def figures(self, row: int) -> dict[str, int]:
        """What a stream's owner says of it (layout.LOG_FIGURES)."""
        start = (row * layout.LOG_ROW_SIZE + layout.LOG_FIGURES_START) // 8
        values = self._log_view[start : start + len(layout.LOG_FIGURES)]
        return dict(zip(layout.LOG_FIGURES, values, strict=True))

    def news(self, message: messages.StreamNews, fds: list[int]) -> None:
        """The acceptor tells of the catalog."""
        if message.kind == "put":
            self._put(message.body, fds[0] if fds else -1)
        elif message.kind == "gone":
            self._gone(message.body)
        elif message.kind == "end":
            self._all_told(message.body)
        elif message.kind == "abandoned":
            remove_abandoned(self, entry_of(message.body))
        elif message.kind == "full":
            self._full = message.body
            for entry in self._own_entries():
                entry.hosted.stream.store_full = self._full[entry.config.storage]
        elif message.kind == "up":
            self.owner_up(message.body["worker"])

    def _put(self, body: dict, memory_fd: int) -> None:
        entry = entry_of(body)
        known = self.account(entry.account).get(entry.name)
        if known is not None and known.log_id == entry.log_id:
            known.config, known.reserved = entry.config, max(known.reserved, entry.reserved)
            return
        self.account(entry.account)[entry.name] = entry
        if entry.owner == self.worker_index and not entry.damaged and not self.ready:
            self._pending.append((entry, memory_fd))

    def _gone(self, body: dict) -> None:
        entry = self.account(body["account"]).pop(body["name"], None)
        if entry is not None and entry.hosted is not None:
            entry.hosted.details.stop()
            self.host.remove(entry.hosted)
            entry.hosted = None

    def _all_told(self, body: dict) -> None:
        """Everything that was there before us is told: read our own streams back."""
        self.term = body["term"]
        self.store_path = body["store"]
        started = self._progress_at = time.monotonic()
        for number, (entry, memory_fd) in enumerate(self._pending):
            self._open(entry, memory_fd, lambda done, number=number: self._tell_progress(number, done))
        if self._pending and time.monotonic() - started > limits.recovery_progress_s:
            took = time.monotonic() - started
            self._send(
                messages.Progress(self.worker_index, f"{len(self._pending)} streams read back in {took:.1f}s")
            )
        self._pending.clear()
        free_spares()
        self.ready = True
        self.on_ready()

    def _tell_progress(self, number: int, done: int) -> None:
        now = time.monotonic()
        if now - self._progress_at < limits.recovery_progress_s:
            return
        self._progress_at = now
        text = f"reading streams back: {number} of {len(self._pending)} done, {done >> 20} MiB of the next"
        self._send(messages.Progress(self.worker_index, text))

    # --- owners that are away ---------------------------------------------------------------------------

    def owner_down(self, worker: int) -> None:
        """A worker is dead: publishers to its streams wait for its successor."""
        self._down[worker] = time.monotonic_ns() + _GAP_NS_MAX
        self._set_gap()

    def owner_up(self, worker: int) -> None:
        """A worker has all its streams again."""
        if self._down.pop(worker, None) is not None:
            self._set_gap()

    def _set_gap(self) -> None:
        if not self._down:
            self._session.set_gap(None)
            return
        patterns = {b"$JS.API.>", b"$SHARDBROKER.>"}  # whoever asks for a stream of a dead worker waits, too
        for entry in self.account(GLOBAL_ACCOUNT).values():
            if entry.owner in self._down:
                patterns.update(subject.encode() for subject in entry.config.subjects or ())
        self._session.set_gap(Gap(0, sorted(patterns), max(self._down.values()), 0))

    # --- streams of this worker -------------------------------------------------------------------------

    def _open(self, entry: StreamEntry, memory_fd: int, progress) -> None:
        """Read a stream back and serve it. Damage of one stream never keeps the others from being served."""
        try:
            if entry.config.storage == "memory":
                start = self.figures(entry.row)["log_start"]
                opened = open_memory(entry, self.term, memory_fd, start, time.time_ns())
            else:
                opened = open_stored(
                    entry, self.store_path, self.term, time.time_ns(), self.no_sync(entry.config), progress
                )
        except (OSError, StorageError, MemoryError) as error:
            entry.damaged = f"its log cannot be read: {error}"
            self.log.error(f"JetStream: stream {entry.name} is damaged: {error}")
            found = {"log_id": entry.log_id, "reason": entry.damaged}
            self.ask("unreadable", found, lambda _body, _fds: None)
            return
        for note in opened.notes:
            self.log.warn(f"JetStream: stream {entry.name}: {note}")
        for first, last, reason in opened.losses:
            self.log.error(
                f"JetStream: stream {entry.name}: lost sequences {first} to {last or '?'}: {reason}"
            )
        self.serve(entry, opened.hosted)
        entry.hosted.details.lost = opened.losses
        for base in opened.leftovers:
            self.host.lane_record(
                LANE_RELEASE, entry.log_id, entry.row, b"", None, segment=base, term=self.term
            )
        entry.hosted.details.recovered(opened.schedules)
        self.keeper.recover(entry)

    def _own_entries(self) -> list[StreamEntry]:
        return [
            entry
            for streams in self.entries.values()
            for entry in streams.values()
            if entry.hosted is not None
        ]

    def no_sync(self, config: StreamConfig) -> bool:
        """Whether PubAcks of a stream come before the disk has the message."""
        return not self.options.sync_commit or config.persist_mode == "async"

    def make(self, entry: StreamEntry, memory_fd: int) -> None:
        """A new stream begins here; nothing of it is in the log."""
        hosted = open_new(entry, self.store_path, self.term, memory_fd, self.no_sync(entry.config))
        self.account(entry.account)[entry.name] = entry
        self.serve(entry, hosted)

    def serve(self, entry: StreamEntry, hosted) -> None:
        """Take a stream's messages and requests from now on."""
        entry.hosted = hosted
        hosted.stream.store_full = self._full[entry.config.storage]
        self.host.add(hosted)
        attach_extras(self, entry)
        self.subscribe(entry)

    def subscribe(self, entry: StreamEntry) -> None:
        """Bring the stream's subscriptions in line with its configuration."""
        hosted = entry.hosted
        wanted = {(SERVICE_STREAM, subject.encode()) for subject in entry.config.subjects or ()}
        if entry.config.allow_direct:
            prefix = b"$JS.API.DIRECT.GET." + entry.name.encode()
            wanted |= {(SERVICE_DIRECT, prefix), (SERVICE_DIRECT, prefix + b".>")}
        if entry.config.mirror_direct and hosted.details.sourcing.serves_origin():
            prefix = b"$JS.API.DIRECT.GET." + entry.config.mirror.name.encode()
            wanted |= {(SERVICE_DIRECT, prefix), (SERVICE_DIRECT, prefix + b".>")}
        for kind, subject in [key for key in hosted.subscriptions if key not in wanted]:
            self.host.unsubscribe(hosted, kind, subject)
        for kind, subject in wanted:
            if (kind, subject) not in hosted.subscriptions:
                # One of a stream and its mirrors answers a direct get.
                queue = _DIRECT_QUEUE if kind == SERVICE_DIRECT else b""
                self.host.subscribe(hosted, kind, subject, queue=queue)

    # --- talk with the acceptor -------------------------------------------------------------------------

    def ask(self, kind: str, body: dict, answered: Callable[[dict, list[int]], None]) -> None:
        """Ask the catalog; ``answered(body, descriptors)`` follows, in the order of the questions."""
        request = self._next_request
        self._next_request += 1
        self._asked[request] = answered
        self._send(messages.StreamAsk(request, kind, body))

    def reply(self, message: messages.StreamReply, fds: list[int]) -> None:
        """The catalog's answer. Whoever gets descriptors closes them."""
        answered = self._asked.pop(message.request, None)
        if answered is not None:
            answered(message.body, fds)

    def watch_special(self, details, wanted: bool) -> None:
        """Call ``details.tick`` every 50 ms, or no longer."""
        ticking = self.host.ticking
        if wanted and details.tick not in ticking:
            ticking.append(details.tick)
        elif not wanted and details.tick in ticking:
            ticking.remove(details.tick)

    def advise(self, subject: str, kind: str, fields: dict, account: int = 0) -> None:
        """Send an advisory if anybody listens (spec page 06)."""
        target = subject.encode()
        if not self.host.has_interest(account, target):
            return
        from shardbroker.jetstream.go_time import format_time

        body = {"type": kind, "id": new_event_id(), "timestamp": format_time(time.time_ns()), **fields}
        self.host.send(account, target, encode(body))

    def describe_consumers(self, arguments: dict) -> bytes:
        """The answer to the acceptor's QUERY_CONSUMERS."""
        return encode(consumer_views.answer_query(self, arguments))

    def api_totals(self) -> tuple[int, int]:
        """Requests and errors of the API in all workers."""
        totals = [0, 0]
        for row in self._rows:
            figures = row.statistics()
            totals[0] += figures[STATISTIC["api_requests"]]
            totals[1] += figures[STATISTIC["api_errors"]]
        return totals[0], totals[1]

    def describe_client(self, account: str, cid: int, then: Callable[[dict], None]) -> None:
        """``then(client)``: who sent a request, for advisories. The acceptor reads it where /connz does."""
        if cid in self._clients:
            then(self.client_of(account, cid))
            return

        def told(body: dict, _fds: list[int]) -> None:
            if len(self._clients) >= _CLIENTS_MAX:
                self._clients.clear()
            self._clients[cid] = body
            then(self.client_of(account, cid))

        self.ask("client", {"cid": cid}, told)

    def client_of(self, account: str, cid: int) -> dict:
        """The same with what is known here."""
        known = self._clients.get(cid, {})
        shown = {name: known[name] for name in ("start", "host") if name in known}
        shown |= {"id": cid, "acc": account}
        shown |= {name: known[name] for name in ("name", "lang", "ver", "rtt") if known.get(name)}
        return {**shown, "server": self.server_name, "kind": "Client", "client_type": "nats"}


def entry_of(body: dict) -> StreamEntry:
    """From what the acceptor tells."""
    return StreamEntry(
        body["account"],
        body["name"],
        StreamConfig.from_stored(orjson.dumps(body["config"])),
        body["log_id"],
        body["row"],
        body["owner"],
        body["created"],
        body["seed"],
        body["reserved"],
        body.get("damaged", ""),
    )


def api_error_of(body: dict) -> ApiError | None:
    """The error in an answer of the catalog."""
    error = body.get("error")
    return None if error is None else ApiError(*error)


def _map_for_reading(fd: int, size: int):
    import mmap

    return mmap.mmap(fd, size, mmap.MAP_SHARED, mmap.PROT_READ)
