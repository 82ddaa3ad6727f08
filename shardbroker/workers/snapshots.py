"""STREAM.SNAPSHOT: sends a backup of a stream, in slices of a millisecond a turn, for as long as it is taken.

    answer ─► wait for interest ─► read, encode, send chunks ─► empty message with status 204
                                       ▲        │ no more than the window
                                       └─ acks ─┘

The backup is the stream as it is when the request is answered: sequences up to the last one of that moment.
Messages that are removed while it runs are passed over, for the archive's gaps are deleted messages. Nothing
is held up by it: the stream goes on, and what is read was committed long ago.

Whoever stops acknowledging is told so after five seconds, and a backup that nobody listens to ends after two.
Chunks go out as soon as anybody listens, also through a wildcard; nats-server waits two seconds for an exact
subscription then.

Source: spec page 03 (section 12), page 06; docs/internals/backup_archive.md; compared with nats-server by
tests/system/test_snapshots.py.
"""

import time
from collections import deque
from typing import TYPE_CHECKING

from shardbroker.errors import StorageError
from shardbroker.jetstream import api_errors, api_requests, api_types
from shardbroker.jetstream.api_requests import SnapshotRequest
from shardbroker.jetstream.archive import ArchiveWriter
from shardbroker.jetstream.archive_events import ArchiveState
from shardbroker.jetstream.go_time import format_time
from shardbroker.workers.hosted import JOB_PRESSES, JOB_WAITS, SERVICE_CALL
from shardbroker.workers.random_names import new_event_id
from shardbroker.workers.stream_views import state_of

if TYPE_CHECKING:
    from shardbroker.workers.stream_api import Request
    from shardbroker.workers.stream_opening import StreamEntry

SLICE_NS = 1_000_000  # of one turn: others' messages wait no longer than that
INTEREST_WAIT_S = 2.0  # nats-server's
FLOW_WAIT_S = 5.0  # nats-server's
START_AFTER_S = 0.03  # the nats CLI loses chunks that come before it has looked at the answer
_OK = b"NATS/1.0 204\r\n\r\n"
_NO_INTEREST = b"NATS/1.0 408 No Interest\r\n\r\n"
_NO_FLOW = b"NATS/1.0 408 No Flow Response\r\n\r\n"


def snapshot(request: "Request") -> None:
    """STREAM.SNAPSHOT. An empty body is refused before the stream is looked for, a wrong one afterwards."""
    api_requests.require_body(request.payload)
    entry = request.entry()
    wish = api_requests.read_snapshot(request.payload)
    host = request.api.js.host

    def start(_errno: int) -> None:
        if wish.jsck:
            host.run_later(Check(request, entry, wish).run)
        else:
            Snapshot(request, entry, wish).begin()

    host.when_applied(entry.hosted, request.later(start))


class Check:
    """Reads every message once before a backup that asks for it (``jsck``)."""

    def __init__(self, request: "Request", entry: "StreamEntry", wish: SnapshotRequest):
        self._request = request
        self._entry = entry
        self._wish = wish
        self._hosted = entry.hosted
        self._next = self._last = 0
        self._bad = 0
        if len(self._hosted.stream.state.messages):
            self._next = self._hosted.stream.state.messages.first
            self._last = self._hosted.stream.state.messages.last

    def run(self) -> int | None:
        """One slice."""
        host = self._request.api.js.host
        until = time.monotonic_ns() + SLICE_NS
        messages = self._hosted.stream.state.messages
        while self._next <= self._last and time.monotonic_ns() < until:
            if self._hosted.stream.closing:
                break
            self._next = messages.following(self._next)
            if self._next > self._last:
                break
            try:
                host.message(self._hosted, self._next)
            except StorageError:
                self._bad += 1
            self._next += 1
        if self._next <= self._last and not self._hosted.stream.closing:
            return JOB_PRESSES
        self._request.later(self._finish)()
        return None

    def _finish(self) -> None:
        if self._bad:
            text = f"snapshot check detected {self._bad} bad messages"
            raise api_errors.STREAM_SNAPSHOT(err=text)
        if self._hosted.stream.closing:
            raise api_errors.STREAM_NOT_FOUND.fresh()
        Snapshot(self._request, self._entry, self._wish).begin()


class Snapshot:
    """One backup on its way to its receiver."""

    def __init__(self, request: "Request", entry: "StreamEntry", wish: SnapshotRequest):
        self._js = js = request.api.js
        self._request = request
        self._hosted = entry.hosted
        self._name = entry.name
        self._config = entry.config.to_json_dict()
        self._deliver = wish.deliver_subject.encode()
        self._chunk_size = wish.chunk_size_used()
        self._window_size = wish.window_size_used()
        self._state = {**state_of(js, entry), "consumer_count": 0}
        self._next = self._hosted.stream.state.messages.first
        self._last = self._hosted.stream.state.messages.last
        self._started = time.time_ns()
        self._client = js.client_of(request.account_name, request.cid)
        known = {key: self._state[key] for key in ArchiveState._fields if key in self._state}
        self._writer = ArchiveWriter(ArchiveState(**known), self._started, self._chunk_size)
        self._ready: deque[bytes] = deque()  # chunks
        self._finished = False  # the archive is complete, but not all of it may be sent
        self._in_flight: dict[bytes, int] = {}  # reply subject -> bytes
        self._in_flight_size = 0
        self._sent = 0  # chunks
        self._size = 0  # bytes
        self._moved_at = time.monotonic()  # something was sent or acknowledged
        self._heard = False  # somebody takes what is sent

    def begin(self) -> None:
        """Answer, then send."""
        js, account = self._js, self._request.account
        self._prefix = f"$JS.SNAPSHOT.ACK.{self._name}.{new_event_id()}"
        self._target = js.host.new_call_target(account, self._acknowledged)
        self._number = js.host.subscribe(
            None, SERVICE_CALL, f"{self._prefix}.*.*".encode(), account, self._target
        )
        self._request.answer(
            api_types.answer("STREAM.SNAPSHOT", {"config": self._config, "state": self._state})
        )
        self._answered_at = time.monotonic()
        js.log.info(f"Starting snapshot for stream '{self._request.account_name} > {self._name}'")
        js.advise(
            f"$JS.EVENT.ADVISORY.STREAM.SNAPSHOT_CREATE.{self._name}",
            "io.nats.jetstream.advisory.v1.snapshot_create",
            {"stream": self._name, "state": self._state, "client": self._client},
            account,
        )
        js.host.run_later(self._run)

    def _acknowledged(
        self, _account: int, subject: bytes, _reply: bytes, _block: bytes, _payload: bytes, _cid: int
    ) -> None:
        """The receiver has a chunk."""
        size = self._in_flight.pop(subject, 0)
        if size:
            self._in_flight_size -= size
            self._moved_at = time.monotonic()

    def _run(self) -> int | None:
        """One slice."""
        if time.monotonic() - self._answered_at < START_AFTER_S:
            return JOB_WAITS
        if not self._heard:
            if not self._js.host.has_interest(self._request.account, self._deliver):
                if time.monotonic() - self._moved_at < INTEREST_WAIT_S:
                    return JOB_WAITS
                return self._end(_NO_INTEREST)
            self._heard = True
            self._moved_at = time.monotonic()
        until = time.monotonic_ns() + SLICE_NS
        while time.monotonic_ns() < until:
            if self._ready:
                if not self._fits(self._ready[0]):
                    return self._wait()
                if not self._send(self._ready.popleft()):
                    return self._end(_NO_INTEREST)
            elif self._finished:
                return self._end(_OK)
            elif self._hosted.stream.closing:
                return self._end(b"NATS/1.0 500 stream closed\r\n\r\n")
            else:
                try:
                    self._read()
                except StorageError as error:
                    self._js.log.error(f"JetStream: snapshot of stream {self._name}: {error}")
                    text = str(error).replace("\r", " ").replace("\n", " ")
                    return self._end(f"NATS/1.0 500 {text}\r\n\r\n".encode())
        return JOB_PRESSES

    def _fits(self, chunk: bytes) -> bool:
        return not self._in_flight or self._in_flight_size + len(chunk) <= self._window_size

    def _wait(self) -> int | None:
        """The window is full."""
        if not self._js.host.has_interest(self._request.account, self._deliver):
            return self._end(_NO_INTEREST)
        if time.monotonic() - self._moved_at > FLOW_WAIT_S:
            return self._end(_NO_FLOW)
        return JOB_WAITS

    def _read(self) -> None:
        """Encode the next message, or the end."""
        self._next = self._hosted.stream.state.messages.following(self._next)
        if self._next > self._last:
            self._writer.finish()
            self._finished = True
        else:
            message = self._js.host.message(self._hosted, self._next)
            if message is not None:
                subject, block, payload, time_ns = message
                self._writer.message(self._next, time_ns, subject, block, payload)
            self._next += 1
        self._ready.extend(self._writer.chunks())

    def _send(self, chunk: bytes) -> bool:
        """Send a chunk. The last one, if it is shorter than the others, is not acknowledged."""
        reply = b""
        self._sent += 1
        self._size += len(chunk)
        if len(chunk) == self._chunk_size:
            reply = f"{self._prefix}.{len(chunk)}.{self._sent}".encode()
            self._in_flight[reply] = len(chunk)
            self._in_flight_size += len(chunk)
        self._moved_at = time.monotonic()
        return self._js.host.send(self._request.account, self._deliver, chunk, b"", reply)

    def _end(self, block: bytes) -> None:
        """The last message, which says how it went."""
        js, account = self._js, self._request.account
        js.host.unsubscribe_number(self._number)
        js.host.end_call_target(self._target)
        js.host.send(account, self._deliver, b"", block)
        name = f"stream '{self._request.account_name} > {self._name}'"
        if block == _OK:
            js.log.info(f"Completed snapshot of {self._size} bytes for {name}")
        else:
            js.log.warn(f"Snapshot for {name} ended after {self._size} bytes: {block[9:-4].decode()}")
        now = time.time_ns()
        js.advise(
            f"$JS.EVENT.ADVISORY.STREAM.SNAPSHOT_COMPLETE.{self._name}",
            "io.nats.jetstream.advisory.v1.snapshot_complete",
            {
                "stream": self._name,
                "start": format_time(self._started),
                "end": format_time(now),
                "client": self._client,
            },
            account,
        )


CALLS = {"STREAM.SNAPSHOT": snapshot}
