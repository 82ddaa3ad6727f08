"""STREAM.RESTORE: makes a stream from a backup that a client uploads, chunk by chunk.

    granted by the catalog ─► log made, marked as half ─► chunks: decode, stage, acknowledge ─► upload ends
        ─► everything durable ─► the mark goes ─► live: the catalog tells, subscriptions, answer

The stream is nobody's business before that: it has no subscriptions, the API does not find it, and a broker
or worker that dies meanwhile leaves a log whose metadata say "restoring", which is removed
(acceptor/catalog.py). Frames of the archive are ordinary frames; gaps between sequences are deleted messages,
and a checkpoint at the end says where the stream begins and ends. Limits, expiry and republish begin when the
stream is live.

A chunk is acknowledged when it is staged, and it is only staged while the append lane is less than half full:
so the disk paces the client. Like nats-server, which looks into the archive only when it has all of it,
errors are told with the end of the upload: what was stored by then is removed at once and the rest is passed
over. Unlike there, name and subjects are taken while the upload goes on, so that it cannot be for nothing.

Source: spec page 03 (section 12), page 06; docs/internals/backup_archive.md; compared with nats-server by
tests/system/test_snapshots.py.
"""

import os
import struct
import time
from collections import deque
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import orjson

from shardbroker.jetstream import api_errors, api_requests, api_types, header_block
from shardbroker.jetstream.archive import ArchiveReader
from shardbroker.jetstream.archive_events import (
    ArchiveError,
    ArchiveEvent,
    ArchiveMessage,
    ArchiveRange,
    ArchiveRemoved,
    ArchiveState,
)
from shardbroker.jetstream.durations import NEVER, parse_message_ttl
from shardbroker.jetstream.go_encoding import encode
from shardbroker.jetstream.go_time import format_time
from shardbroker.jetstream.stored_stream import stored_stream
from shardbroker.shm.append_lane import LANE_CREATE, LANE_METADATA, LANE_REMOVE
from shardbroker.storage import codec
from shardbroker.workers.hosted import JOB_PRESSES, JOB_WAITS, SERVICE_CALL
from shardbroker.workers.random_names import new_event_id
from shardbroker.workers.stream_extras import attach_extras
from shardbroker.workers.stream_opening import StreamEntry, open_new
from shardbroker.workers.stream_views import info_of

if TYPE_CHECKING:
    from shardbroker.workers.jetstream import JetStream
    from shardbroker.workers.stream_api import Request

_RUN = struct.Struct("<QQ")
_CHECKPOINT_BODY = struct.Struct("<QQQ")
_RECORD_HAS_TTL, _RECORD_MARKER, _RECORD_SCHEDULE = 1, 4, 8
_TTL_NEVER = 0xFFFFFFFF
_MARKER_REASON, _SCHEDULE = b"Nats-Marker-Reason", b"Nats-Schedule"
_SUBJECT_OVERLAP = 10065
SLICE_NS = 1_000_000  # of one turn: others' messages wait no longer than that
STAGE_STEP = 256 << 10  # bytes staged between looks at the lane
STALLED_S = 5.0  # nats-server's: so long an upload may be silent
WAITING_SIZE_MAX = 32 << 20  # bytes of chunks that a client may send without waiting for acknowledgements
SPAN_MAX = 1 << 32  # sequences between the first message and the last: the table has 8 bytes for each 256
SEQUENCE_MAX = (1 << 63) - 1  # no stream comes that far by itself
NS = 1_000_000_000


def restore(request: "Request") -> None:
    """STREAM.RESTORE: the catalog grants the stream, as for one that is made new."""
    wish = api_requests.read_restore(request.payload)
    # Nothing is checked yet: what was not given shows as "", which is no value for a choice of words.
    config = {name: value for name, value in wish.config.to_json_dict().items() if value != ""}
    body = {
        "account": request.account_name,
        "name": request.stream,
        "body": orjson.dumps(config).decode("latin-1"),
        "restore": True,
    }

    def granted(told: dict, fds: list[int]) -> None:
        from shardbroker.workers.jetstream import api_error_of, entry_of

        error = api_error_of(told)
        upload = Restore(request, wish.state)
        if error is None:
            upload.make(entry_of(told), told["stored"].encode(), fds[0] if fds else -1)
        elif error.err_code == _SUBJECT_OVERLAP:
            upload.fail(f"error adding stream: {error.description} ({error.err_code})")
            upload.begin()
        else:
            raise error

    request.api.js.ask("create", body, request.later(granted))


def remove_abandoned(js: "JetStream", entry: StreamEntry) -> None:
    """A predecessor of this worker died while it restored this stream: remove what there is of it."""
    _remove_log(js, entry, lambda: None)


def _remove_log(js: "JetStream", entry: StreamEntry, removed: Callable[[], None]) -> None:
    """Remove a log that nobody has heard of; ``removed()`` once the catalog has let it go, too."""

    def done(errno: int) -> None:
        if errno:
            # The mark in its metadata stays: the next start tries again.
            js.log.error(f"JetStream: the log of stream {entry.name} is not removed: {os.strerror(errno)}")
        js.ask("dropped", {"log_id": entry.log_id}, lambda *_: removed())

    if entry.config.storage == "memory":
        done(0)
    else:
        _lane(js, LANE_REMOVE, entry, b"", done)


def _lane(js: "JetStream", kind: int, entry: StreamEntry, body: bytes, done: Callable[[int], None]) -> None:
    """Send the writer a record, as soon as there is room for it."""

    def attempt() -> int | None:
        if js.host.lane_record(kind, entry.log_id, entry.row, body, done, term=js.term):
            return None
        return JOB_WAITS

    if attempt() is not None:
        js.host.run_later(attempt)


class Restore:
    """One upload. ``state`` is what the client says of the stream, for archives that do not say it."""

    def __init__(self, request: "Request", state: dict[str, object]):
        js = request.api.js
        self._js: JetStream = js
        self._request = request
        self._name = request.stream
        self._client = js.client_of(request.account_name, request.cid)
        self._started = time.time_ns()
        self._entry: StreamEntry | None = None
        self._hosted = None
        self._reader: ArchiveReader | None = None
        self._first = _sequence_in(state, "first_seq")
        self._last = _sequence_in(state, "last_seq")
        self._lowest = 0  # sequence of the first message; 0: none came yet
        self._schedules: list[int] = []
        self._queue: deque[tuple[bytes, bytes]] = deque()  # (chunk, reply subject)
        self._queue_size = 0  # bytes
        self._events: Iterator[ArchiveEvent] | None = None  # of the chunk that is being taken in
        self._ack = b""  # its reply subject; b"": it is acknowledged
        self._size = 0  # bytes received
        self._end_reply = b""  # of the empty chunk that ends the upload
        self._failure = ""
        self._cleared = True  # nothing of the stream is in this worker, the store or the catalog
        self._over = False
        self._heard_at = 0.0

    # --- begin ------------------------------------------------------------------------------------------

    def make(self, entry: StreamEntry, stored: bytes, memory_fd: int) -> None:
        """Have the log made, then ask for the chunks."""
        js = self._js
        self._entry = entry
        self._cleared = False

        def made(errno: int) -> None:
            if errno:
                js.ask("dropped", {"log_id": entry.log_id}, lambda *_: None)
                reason = os.strerror(errno).lower()
                raise api_errors.STREAM_RESTORE(err=f"the log could not be made: {reason}")
            self._open(memory_fd)
            self.begin()

        if entry.config.storage == "memory":
            made(0)
        else:
            _lane(js, LANE_CREATE, entry, stored, self._request.later(made))

    def _open(self, memory_fd: int) -> None:
        """The stream, without limits and extras: those are for what comes later."""
        js, config = self._js, self._entry.config
        self._hosted = open_new(self._entry, js.store_path, js.term, memory_fd, js.no_sync(config))
        self._hosted.stream.state.set_limits(-1, -1, -1, 0, config.duplicate_window, False)
        js.host.add(self._hosted)
        self._reader = ArchiveReader(js.options.max_payload, config.max_msg_size)

    def begin(self) -> None:
        """Tell the client where to send the chunks."""
        js, account = self._js, self._request.account
        deliver = f"$JS.SNAPSHOT.RESTORE.{self._name}.{new_event_id()}"
        self._heard_at = time.monotonic()
        self._target = js.host.new_call_target(account, self._take)
        self._number = js.host.subscribe(None, SERVICE_CALL, deliver.encode(), account, self._target)
        js.log.info(f"Starting restore for {self._shown()}")
        js.advise(
            f"$JS.EVENT.ADVISORY.STREAM.RESTORE_CREATE.{self._name}",
            "io.nats.jetstream.advisory.v1.restore_create",
            {"stream": self._name, "client": self._client},
            account,
        )
        self._request.answer(api_types.answer("STREAM.RESTORE", {"deliver_subject": deliver}))
        js.host.run_later(self._run)

    def _shown(self) -> str:
        return f"stream '{self._request.account_name} > {self._name}'"

    # --- chunks -----------------------------------------------------------------------------------------

    def _take(
        self, _account: int, _subject: bytes, reply: bytes, _block: bytes, payload: bytes, _cid: int
    ) -> None:
        """A chunk; an empty one is the end."""
        if self._end_reply or self._over:
            return
        self._heard_at = time.monotonic()
        if not reply:
            self.fail(f"restore for {self._shown()} requires reply subject for each chunk")
            self._finish()
        elif not payload:
            self._end_reply = reply
        elif self._queue_size + len(payload) > WAITING_SIZE_MAX:
            self.fail("chunks were sent without waiting for their acknowledgements")
        else:
            self._size += len(payload)
            self._queue.append((payload, reply))
            self._queue_size += len(payload)

    def _run(self) -> int | None:
        """One slice."""
        if self._over:
            return None
        until = time.monotonic_ns() + SLICE_NS
        staged = 0
        try:
            while time.monotonic_ns() < until:
                if self._failure:
                    return self._run_failed()
                if self._events is None and not self._next_chunk():
                    return self._run_dry()
                if staged <= 0:
                    self._settle()
                    if self._entry.config.storage == "file" and not self._js.host.staging_room():
                        return JOB_WAITS
                    staged = STAGE_STEP
                event = next(self._events, None)
                if event is None:
                    self._acknowledge()
                else:
                    staged -= self._apply(event)
        except ArchiveError as error:
            self.fail(str(error))
        except MemoryError:
            self.fail("no memory for the stream's messages")
        finally:
            self._settle()
        return JOB_PRESSES

    def _next_chunk(self) -> bool:
        if not self._queue:
            return False
        chunk, self._ack = self._queue.popleft()
        self._queue_size -= len(chunk)
        self._events = self._reader.feed(chunk)
        return True

    def _acknowledge(self) -> None:
        self._events = None
        self._heard_at = time.monotonic()
        self._js.host.send(self._request.account, self._ack, b"")
        self._ack = b""

    def _run_failed(self) -> int | None:
        """The upload goes on to its end, where the error is told; but nothing of it is kept."""
        if self._ack:
            self._acknowledge()
        while self._queue:
            _chunk, self._ack = self._queue.popleft()
            self._acknowledge()
        self._queue_size = 0
        if self._end_reply and self._cleared:
            self._finish()
            return None
        return None if self._stalled() else JOB_WAITS

    def _run_dry(self) -> int | None:
        """All chunks so far are staged."""
        if not self._end_reply:
            return None if self._stalled() else JOB_WAITS
        if not self._size:
            raise ArchiveError("EOF")  # nats-server's word
        self._reader.finish()
        self._stage_end()
        return None

    def _stalled(self) -> bool:
        """Whether the client has given up: then there is nobody to answer."""
        if self._end_reply or time.monotonic() - self._heard_at < STALLED_S:
            return False
        self._js.log.warn(f"restore for {self._shown()} is stalled")
        self._leave()
        self.fail("stalled")
        return True

    # --- into the stream --------------------------------------------------------------------------------

    def _apply(self, event: ArchiveEvent) -> int:
        """Stage what the archive says; bytes staged, about."""
        stream = self._hosted.stream
        if isinstance(event, ArchiveMessage):
            flags, ttl_s = self._flags_of(event)
            time_ns = max(event.time_ns, 0)
            self._lowest = self._lowest or event.sequence
            refusal = f"failed to store message sequence {event.sequence}"
            if event.sequence - self._lowest > SPAN_MAX or event.sequence > SEQUENCE_MAX:
                raise ArchiveError(f"{refusal}: too far from the first one")
            if not stream.stage_restored(
                event.sequence, time_ns, event.subject, event.headers, event.payload,
                self._js.host.wall_ns(), flags=flags, ttl_s=ttl_s,
            ):  # fmt: skip
                raise ArchiveError(f"{refusal}: expected sequence does not match store")
            return len(event.subject) + len(event.headers) + len(event.payload) + 64
        if isinstance(event, ArchiveRemoved):
            stream.stage_frame(codec.DELETE, _RUN.pack(event.sequence, 1))
            return 128
        if isinstance(event, ArchiveState | ArchiveRange):
            self._first, self._last = event.first_seq, event.last_seq
        return 0  # the rest is consumers, and the end mark, which the reader keeps in mind

    def _flags_of(self, message: ArchiveMessage) -> tuple[int, int]:
        """RecordHead.flags and ttl_s, from the headers."""
        block, config = message.headers, self._entry.config
        if b"Nats-" not in block:
            return 0, 0
        flags = ttl_s = 0
        ttl = header_block.get(block, header_block.MESSAGE_TTL)
        if ttl and config.allow_msg_ttl:
            try:
                ttl_ns = parse_message_ttl(ttl)
            except ValueError:
                ttl_ns = 0  # it was stored so: it has no effect
            ttl_s = _TTL_NEVER if ttl_ns == NEVER else min(ttl_ns // NS, _TTL_NEVER - 1)
            flags |= _RECORD_HAS_TTL if ttl_s else 0
        if header_block.get(block, _MARKER_REASON) is not None:
            flags |= _RECORD_MARKER
        if config.allow_msg_schedules and header_block.get(block, _SCHEDULE):
            flags |= _RECORD_SCHEDULE
            self._schedules.append(message.sequence)
        return flags, ttl_s

    def _settle(self) -> None:
        """What is staged leaves with this turn; a write that fails is heard of."""
        hosted = self._hosted
        if hosted is not None and not self._over and hosted.stream.has_staged():
            hosted.stream.stage_call(self._js.host.call_number(self._written))
            self._js.host.stage_done(hosted)

    def _written(self, errno: int) -> None:
        if errno:
            self.fail(f"the stream is not stored: {os.strerror(errno).lower()}")

    # --- the end ----------------------------------------------------------------------------------------

    def _stage_end(self) -> None:
        """Write down where the stream begins and ends, and wait until all of it is durable."""
        host, stream = self._js.host, self._hosted.stream
        last = max(self._last, stream.last_sequence)
        if last > SEQUENCE_MAX or self._first > last + 1:
            raise ArchiveError("invalid stream state: inconsistent message count or sequence range")
        if last:
            stream.begin_sequence(last + 1)
            body = _CHECKPOINT_BODY.pack(self._first, last, 0)
            stream.stage_frame(codec.CHECKPOINT, body, host.call_number(self._durable))
        else:
            stream.stage_call(host.call_number(self._durable))
        host.stage_done(self._hosted)

    def _durable(self, errno: int) -> None:
        """Everything is in the log: the stream is a whole one from now on, if the metadata say so."""
        self._written(errno)
        if self._failure:
            self._js.host.run_later(self._run)
            return
        entry, stream = self._entry, self._hosted.stream
        entry.reserved = stream.reserved = stream.wants_reserve() or entry.reserved

        def marked(errno: int) -> None:
            self._written(errno)
            if self._failure:
                self._js.host.run_later(self._run)
            else:
                self._go_live()

        if entry.config.storage == "memory":
            marked(0)
        else:
            _lane(self._js, LANE_METADATA, entry, orjson.dumps(stored_stream(entry)), marked)

    def _go_live(self) -> None:
        """Messages and requests from now on; everybody hears of it, then the client."""
        js, entry = self._js, self._entry
        self._hosted.stream.configure(entry.config)
        js.account(entry.account)[entry.name] = entry
        entry.hosted = self._hosted
        attach_extras(js, entry)
        entry.hosted.details.recovered(self._schedules)
        js.subscribe(entry)
        js.ask("created", {"log_id": entry.log_id, "reserved": entry.reserved}, lambda *_: self._finish())

    def fail(self, text: str) -> None:
        """Nothing comes of it: remove what there is. The client is told at the end of its upload."""
        if self._failure:
            return
        self._failure = text
        if self._hosted is not None:
            self._js.host.stage_done(self._hosted)  # the host takes off what it has been told of
            self._js.host.remove(self._hosted)
            self._hosted = None
        if not self._cleared:
            _remove_log(self._js, self._entry, self._clear)

    def _clear(self) -> None:
        self._cleared = True

    def _leave(self) -> None:
        """No more chunks."""
        if not self._over:
            self._over = True
            self._js.host.unsubscribe_number(self._number)
            self._js.host.end_call_target(self._target)
            self._queue.clear()

    def _finish(self) -> None:
        """Tell how it went."""
        js, account = self._js, self._request.account
        self._leave()
        now = time.time_ns()
        if self._failure:
            js.log.warn(f"Restore failed for {self._size} bytes for {self._shown()}: {self._failure}")
            body = api_types.refusal("STREAM.CREATE", api_errors.STREAM_RESTORE(err=self._failure))
        else:
            js.log.info(f"Completed restore of {self._size} bytes for {self._shown()}")
            body = api_types.answer("STREAM.CREATE", info_of(js, self._entry, with_version=True))
            js.advise(
                f"$JS.EVENT.ADVISORY.STREAM.CREATED.{self._name}",
                "io.nats.jetstream.advisory.v1.stream_action",
                {"stream": self._name, "action": "create"},
                account,
            )
        js.advise(
            f"$JS.EVENT.ADVISORY.STREAM.RESTORE_COMPLETE.{self._name}",
            "io.nats.jetstream.advisory.v1.restore_complete",
            {
                "stream": self._name,
                "start": format_time(self._started),
                "end": format_time(now),
                "bytes": self._size,
                "client": self._client,
            },
            account,
        )
        if self._end_reply:
            js.host.send(account, self._end_reply, encode(body))


def _sequence_in(state: dict[str, object], name: str) -> int:
    value = state.get(name)
    return value if isinstance(value, int) else 0


CALLS = {"STREAM.RESTORE": restore}
