"""A NATS client on gevent sockets, and the locust user class that all scenarios share.

Why not nats-py: locust runs its users as greenlets, and asyncio's event loop cannot live between them. The
text protocol is small, so this file speaks it directly. It must stay free of asyncio and uvloop.

What it promises to a scenario:

- `NatsConnection.publish`, `subscribe`, `flush` and `request` work from any greenlet of the process. One
  greenlet per connection reads; it calls the handler of a subscription for each message, so a handler must
  not block. INFO may come at any time (nats-server 2.15 sends a second one after the first PONG) and is
  remembered, PING is answered, -ERR and a lost connection are handed to every waiting greenlet.
- Names are unique without talking to anyone: they come from os.urandom *after* `locust --processes N` has
  forked, because each user asks when it is created. `id()` and counters repeat in forked processes.
- Latency is taken with the monotonic clock, and clock readings travel inside the payload only between
  connections of the same user, so runs over several machines stay honest as well. What the reading greenlet
  waits for its turn counts as latency: keep the generator's CPU below about 80 % (locust warns), or add
  `--processes`.
"""

import itertools
import json
import os
import time
from collections.abc import Callable
from urllib.parse import urlsplit

import gevent
from gevent import socket
from gevent.event import AsyncResult
from gevent.lock import RLock
from locust import User, events

port_default = 4222
timeout_s_default = 5.0
read_size = 65536


class NatsError(Exception):
    """The server said -ERR, closed the connection, or did not answer in time."""


class Message:
    """One received message; `headers` is the raw header block or b""."""

    __slots__ = ("headers", "payload", "reply", "sid", "subject")

    def __init__(self, subject: str, sid: int, reply: str, headers: bytes, payload: bytes):
        self.subject = subject
        self.sid = sid
        self.reply = reply
        self.headers = headers
        self.payload = payload

    @property
    def is_no_responders(self) -> bool:
        return self.headers.startswith(b"NATS/1.0 503")


Handler = Callable[[Message], None]


def unique_name() -> str:
    """12 characters fit for a subject token, different in every process, forked or not."""
    return os.urandom(6).hex()


class NatsConnection:
    """One client connection. Closed by `close`; unusable after a NatsError that tells of its loss."""

    def __init__(self, host: str, port: int, name: str, timeout_s: float = timeout_s_default):
        self.timeout_s = timeout_s
        self.info: dict = {}
        self.info_count = 0
        self._handlers: dict[int, Handler] = {}
        self._sids = itertools.count(1)
        self._pongs: list[AsyncResult] = []
        self._waiting: dict[str, AsyncResult] = {}
        self._inbox = ""
        self._failure: NatsError | None = None
        self._buffer = bytearray()
        self._send_lock = RLock()
        self._socket = socket.create_connection((host, port), timeout=timeout_s)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            self._shake_hands(name)
        except BaseException:
            self._socket.close()
            raise
        self._socket.settimeout(None)
        self._reader = gevent.spawn(self._read_loop)
        self.flush()

    # -- what scenarios call

    def publish(self, subject: str, payload: bytes, reply: str = "") -> None:
        reply_part = f" {reply}" if reply else ""
        self._send(b"PUB %s%s %d\r\n%s\r\n" % (subject.encode(), reply_part.encode(), len(payload), payload))

    def subscribe(self, subject: str, handler: Handler, queue: str = "") -> int:
        sid = next(self._sids)
        self._handlers[sid] = handler
        queue_part = f" {queue}" if queue else ""
        self._send(f"SUB {subject}{queue_part} {sid}\r\n".encode())
        return sid

    def unsubscribe(self, sid: int) -> None:
        """The handler stays until `flush` returned, for what the server had already sent."""
        self._send(b"UNSUB %d\r\n" % sid)

    def flush(self) -> None:
        """Return when the server has executed all that was sent before (PING, PONG)."""
        pong = AsyncResult()
        self._pongs.append(pong)
        self._send(b"PING\r\n")
        self._wait(pong, "PONG")

    def request(self, subject: str, payload: bytes) -> Message:
        """Publish with a fresh reply subject and return the first answer."""
        if not self._inbox:
            self._inbox = f"_INBOX.{unique_name()}"
            self.subscribe(f"{self._inbox}.*", self._on_reply)
            self._tokens = itertools.count(1)
        token = f"{self._inbox}.{next(self._tokens)}"
        answer = self._waiting[token] = AsyncResult()
        try:
            self.publish(subject, payload, reply=token)
            return self._wait(answer, f"answer on {subject}")
        finally:
            del self._waiting[token]

    def close(self) -> None:
        if self._failure is None:
            self._failure = NatsError("closed by this client")
        self._reader.kill(block=False)
        self._socket.close()

    # -- sending and waiting

    def _send(self, data: bytes) -> None:
        if self._failure is not None:
            raise self._failure
        # sendall may switch greenlets in the middle of a large message: nobody may write in between.
        with self._send_lock:
            try:
                self._socket.sendall(data)
            except OSError as error:
                raise NatsError(f"send failed: {error}") from error

    def _wait(self, result: AsyncResult, what: str):
        try:
            return result.get(timeout=self.timeout_s)
        except gevent.Timeout:
            raise NatsError(f"no {what} within {self.timeout_s:g} s") from None

    def _on_reply(self, message: Message) -> None:
        answer = self._waiting.get(message.subject)
        if answer is not None:
            answer.set(message)

    # -- receiving

    def _shake_hands(self, name: str) -> None:
        verb, _, body = self._read_line().partition(b" ")
        if verb != b"INFO":
            raise NatsError(f"expected INFO, got {verb[:40]!r}")
        self._remember_info(body)
        options = {
            "verbose": False,
            "pedantic": False,
            "lang": "locust",
            "version": "1",
            "protocol": 1,
            "headers": True,
            "no_responders": True,
            "name": name,
        }
        self._socket.sendall(b"CONNECT " + json.dumps(options).encode() + b"\r\n")

    def _remember_info(self, body: bytes) -> None:
        self.info = json.loads(body)
        self.info_count += 1

    def _read_loop(self) -> None:
        try:
            while True:
                self._dispatch(self._read_line())
        except (OSError, NatsError, ValueError) as error:
            self._fail(error if isinstance(error, NatsError) else NatsError(f"connection lost: {error}"))

    def _dispatch(self, line: bytes) -> None:
        verb, _, rest = line.partition(b" ")
        if verb == b"MSG":
            self._on_message(rest.split(), has_headers=False)
        elif verb == b"HMSG":
            self._on_message(rest.split(), has_headers=True)
        elif verb == b"PONG":
            if self._pongs:
                self._pongs.pop(0).set(None)
        elif verb == b"PING":
            self._send(b"PONG\r\n")
        elif verb == b"INFO":
            self._remember_info(rest)
        elif verb == b"-ERR":
            raise NatsError(f"server said {line.decode(errors='replace')}")
        elif verb != b"+OK":
            raise NatsError(f"unknown line from the server: {line[:80]!r}")

    def _on_message(self, fields: list[bytes], has_headers: bool) -> None:
        total_size = int(fields.pop())
        headers_size = int(fields.pop()) if has_headers else 0
        subject, sid = fields[0].decode(), int(fields[1])
        reply = fields[2].decode() if len(fields) > 2 else ""
        block = self._read_exactly(total_size + 2)
        if block[-2:] != b"\r\n":
            raise NatsError(f"message on {subject} does not end with CRLF")
        handler = self._handlers.get(sid)
        if handler is not None:
            handler(Message(subject, sid, reply, block[:headers_size], block[headers_size:-2]))

    def _read_line(self) -> bytes:
        searched = 0
        while (end := self._buffer.find(b"\r\n", searched)) < 0:
            searched = max(0, len(self._buffer) - 1)
            self._fill()
        line = bytes(self._buffer[:end])
        del self._buffer[: end + 2]
        return line

    def _read_exactly(self, size: int) -> bytes:
        while len(self._buffer) < size:
            self._fill()
        block = bytes(self._buffer[:size])
        del self._buffer[:size]
        return block

    def _fill(self) -> None:
        data = self._socket.recv(read_size)
        if not data:
            raise NatsError("the server closed the connection")
        self._buffer += data

    def _fail(self, error: NatsError) -> None:
        self._failure = error
        for result in [*self._pongs, *self._waiting.values()]:
            result.set_exception(error)
        self._socket.close()


class NatsUser(User):
    """Base of all scenarios: addresses, unique names, opening and closing, and the report to locust."""

    abstract = True
    host = f"nats://127.0.0.1:{port_default}"

    def __init__(self, environment):
        super().__init__(environment)
        self.name = unique_name()
        self.connections: list[NatsConnection] = []
        options = environment.parsed_options
        self.payload_size = options.payload_size
        self.prefix = options.subject_prefix

    def wait_time(self) -> float:
        return self.environment.parsed_options.pause

    def connect(self, role: str) -> NatsConnection:
        """Open one more connection of this user; the CONNECT row of the report shows how long it took."""
        address = urlsplit(self.host if "//" in self.host else f"nats://{self.host}")
        start = time.perf_counter()
        try:
            connection = NatsConnection(
                address.hostname or "127.0.0.1", address.port or port_default, f"locust-{role}-{self.name}"
            )
        except (OSError, NatsError) as error:
            self.report("CONNECT", role, start, exception=error)
            raise
        self.report("CONNECT", role, start)
        self.connections.append(connection)
        return connection

    def on_stop(self) -> None:
        for connection in self.connections:
            connection.close()
        self.connections.clear()

    def report(
        self, kind: str, name: str, start: float, size: int = 0, exception: Exception | None = None
    ) -> None:
        """One line of locust's statistics: `start` is a time.perf_counter() reading, `size` in bytes."""
        self.environment.events.request.fire(
            request_type=kind,
            name=name,
            response_time=(time.perf_counter() - start) * 1e3,
            response_length=size,
            exception=exception,
            context={},
        )

    def payload(self, sequence: int) -> bytes:
        """`payload_size` bytes that say whose they are and which: checked whole on arrival."""
        stamp = b"%s %d " % (self.name.encode(), sequence)
        filler = bytes((sequence + 1 & 0x7F,))
        return stamp + filler * max(0, self.payload_size - len(stamp))


@events.init_command_line_parser.add_listener
def add_arguments(parser) -> None:
    group = parser.add_argument_group("NATS scenarios")
    group.add_argument("--payload-size", type=int, default=128, help="bytes a message (default 128)")
    group.add_argument("--burst", type=int, default=8, help="messages in flight of one user (default 8)")
    group.add_argument("--fan", type=int, default=8, help="subscribers of one fan-out user (default 8)")
    group.add_argument("--pause", type=float, default=0.0, help="seconds between two tasks of a user (0)")
    group.add_argument("--subject-prefix", default="load", help="first token of all subjects (load)")
