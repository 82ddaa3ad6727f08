"""A NATS client for tests: a blocking socket, no threads, a deadline on everything.

Real clients hide what tests want to see: exact bytes, the order of PONG and messages, what is sent in one
write. This one sends what it is told and reads one operation at a time. It never reconnects. PINGs of the
server are answered while reading, unless ``answers_pings`` is False.
"""

import json
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass

timeout_s_default = 10.0  # generous: a loaded CI machine is slow, a hang is for ever


class ClosedError(ConnectionError):
    """The server has closed the connection; ``args[0]`` holds what was read and not consumed."""


@dataclass(frozen=True, slots=True)
class Message:
    """One MSG or HMSG. ``headers`` is the block as it came, b"" for MSG."""

    subject: bytes
    sid: bytes
    reply: bytes
    headers: bytes
    payload: bytes

    @property
    def status(self) -> bytes:
        """The status code of the header block, b"" if it has none."""
        words = self.headers.split(b"\r\n", 1)[0].split(b" ")
        return words[1] if len(words) > 1 else b""


class RawClient:
    """One connection. ``info`` is the server's first INFO; ``errors`` the -ERR texts seen so far."""

    def __init__(
        self,
        port: int,
        host: str = "127.0.0.1",
        *,
        timeout_s: float = timeout_s_default,
        receive_buffer_size: int = 0,
        answers_pings: bool = True,
        connects: bool = True,
        **options: object,
    ) -> None:
        """Connect, read INFO, send CONNECT with ``options`` (not verbose, headers on) and wait for PONG.

        ``receive_buffer_size`` sets SO_RCVBUF, for clients that are to be slow. ``connects`` False stops
        after INFO.
        """
        self.timeout_s = timeout_s
        self.answers_pings = answers_pings
        self.errors: list[bytes] = []
        self.messages: list[Message] = []  # read while something else was waited for
        self.pongs_count = 0
        self.infos: list[dict] = []
        self._buffer = bytearray()
        self._offset = 0
        self.socket = socket.socket()
        self.socket.settimeout(timeout_s)
        if receive_buffer_size:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer_size)
        self.socket.connect((host, port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            self._wait(lambda: bool(self.infos), "INFO", timeout_s)
            if connects:
                self.connect(**options)
        except BaseException:
            self.socket.close()
            raise

    @property
    def info(self) -> dict:
        return self.infos[0]

    @property
    def cid(self) -> int:
        return self.info["client_id"]

    # --- sending ----------------------------------------------------------------------------------------

    def connect(self, **options: object) -> None:
        """CONNECT and a flush. A SUB of an inbox comes with it: the connection then stays in its worker.

        (A connection whose first SUB or PUB names a literal subject may move to that subject's home; tests
        that want two clients on two workers must not let them meet there.)
        """
        given = {"verbose": False, "headers": True, "no_responders": True, "protocol": 1, "lang": "raw"}
        text = json.dumps({**given, **options}).encode()
        settle = b"SUB _INBOX.settle.> settle\r\nUNSUB settle\r\n"
        self.send(b"CONNECT " + text + b"\r\n" + settle)
        self.flush()

    def send(self, data: bytes, timeout_s: float | None = None) -> None:
        """Send all of it; TimeoutError when the server does not take it in time."""
        self.socket.settimeout(timeout_s or self.timeout_s)
        self.socket.sendall(data)

    def publish(self, subject: str, payload: bytes = b"", reply: str = "") -> None:
        self.send(publication(subject, payload, reply))

    def subscribe(self, subject: str, sid: object, queue: str = "") -> None:
        self.send(f"SUB {subject} {queue} {sid}\r\n".encode())

    def unsubscribe(self, sid: object, count_max: int = 0) -> None:
        """``count_max`` 0: now; else after so many messages in total."""
        self.send(f"UNSUB {sid} {count_max or ''}\r\n".encode())

    def flush(self, timeout_s: float | None = None) -> None:
        """PING, and read until its PONG. Messages before it are kept in ``messages``."""
        self.send(b"PING\r\n", timeout_s)
        self.wait_pong(timeout_s)

    def wait_pong(self, timeout_s: float | None = None) -> None:
        """Read until one more PONG."""
        self._wait(lambda: self.pongs_count > 0, "PONG", timeout_s)
        self.pongs_count -= 1

    # --- reading ----------------------------------------------------------------------------------------

    def read_messages(self, count: int, timeout_s: float | None = None) -> list[Message]:
        """The next ``count`` messages, those kept by ``flush`` first. TimeoutError tells how many came."""
        self._wait(lambda: len(self.messages) >= count, f"{count} messages", timeout_s)
        taken, self.messages = self.messages[:count], self.messages[count:]
        return taken

    def take_messages(self) -> list[Message]:
        """All messages read so far, without reading more."""
        taken, self.messages = self.messages, []
        return taken

    def read_available(self, timeout_s: float = 0.0) -> list[Message]:
        """What is there now, or comes within ``timeout_s``; ClosedError only if nothing is left to give."""
        deadline = time.monotonic() + timeout_s
        try:
            while self._receive(max(0.0, deadline - time.monotonic())):
                pass
        except ClosedError:
            if not self.messages:
                raise
        return self.take_messages()

    def expect(self, data: bytes, timeout_s: float | None = None) -> None:
        """The very next bytes of the stream are these."""
        deadline = time.monotonic() + (timeout_s or self.timeout_s)
        while len(self._buffer) - self._offset < len(data):
            if not self._read_bytes(max(0.0, deadline - time.monotonic())):
                raise TimeoutError(f"waiting for {data!r}, got {bytes(self._buffer[self._offset :])!r}")
        got = bytes(self._buffer[self._offset : self._offset + len(data)])
        assert got == data, f"expected {data!r}, got {got!r}"
        self._offset += len(data)

    def wait_error(self, text: str, timeout_s: float | None = None) -> None:
        """Read until an -ERR with this text (without quotes) has come."""
        self._wait(lambda: text.encode() in self.errors, f"-ERR '{text}'", timeout_s)

    def wait_info(self, wanted: Callable[[dict], object], timeout_s: float | None = None) -> None:
        """Read until an INFO for which ``wanted`` is true has come."""
        self._wait(lambda: any(wanted(info) for info in self.infos), "an INFO", timeout_s)

    def wait_closed(self, timeout_s: float | None = None) -> None:
        """Read, and keep what comes, until the server closes."""
        try:
            self._wait(lambda: False, "the end of the connection", timeout_s)
        except ClosedError:
            return

    def is_closed(self) -> bool:
        """Whether the server has closed the connection (by now)."""
        try:
            while self._receive(0.0):
                pass
        except ClosedError:
            return True
        return False

    def close(self) -> None:
        self.socket.close()

    def __enter__(self) -> "RawClient":
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    # --- the stream -------------------------------------------------------------------------------------

    def _wait(self, condition: Callable[[], bool], what: str, timeout_s: float | None) -> None:
        deadline = time.monotonic() + (self.timeout_s if timeout_s is None else timeout_s)
        while self._take_operation():
            pass
        while not condition():
            left_s = deadline - time.monotonic()
            if left_s <= 0 or not self._receive(left_s):
                raise TimeoutError(
                    f"waited for {what}; have {len(self.messages)} messages, errors {self.errors},"
                    f" {len(self._buffer) - self._offset} bytes unread"
                )

    def _receive(self, timeout_s: float) -> bool:
        """Read once and take apart what is whole; False when nothing came."""
        if not self._read_bytes(timeout_s):
            return False
        while self._take_operation():
            pass
        return True

    def _read_bytes(self, timeout_s: float) -> bool:
        self.socket.settimeout(timeout_s)
        try:
            data = self.socket.recv(1 << 18)
        except (BlockingIOError, TimeoutError):
            return False
        except OSError as error:
            raise ClosedError(bytes(self._buffer[self._offset :])) from error
        if not data:
            raise ClosedError(bytes(self._buffer[self._offset :]))
        if self._offset:
            del self._buffer[: self._offset]
            self._offset = 0
        self._buffer += data
        return True

    def _take_operation(self) -> bool:
        """Consume one whole operation from the buffer; False when there is none."""
        buffer = self._buffer
        end = buffer.find(b"\r\n", self._offset)
        if end < 0:
            return False
        line = bytes(buffer[self._offset : end])
        after = end + 2
        verb = line[:4]
        if verb in (b"MSG ", b"HMSG"):
            words = line.split()
            size = int(words[-1])
            if len(buffer) < after + size + 2:
                return False
            headers_size = int(words[-2]) if verb == b"HMSG" else 0
            reply_at = len(words) - (3 if verb == b"HMSG" else 2)
            body = bytes(buffer[after : after + size])
            assert buffer[after + size : after + size + 2] == b"\r\n", "a message does not end where it says"
            reply = words[3] if reply_at == 3 else b""
            self.messages.append(Message(words[1], words[2], reply, body[:headers_size], body[headers_size:]))
            after += size + 2
        elif line == b"PONG":
            self.pongs_count += 1
        elif line == b"PING":
            if self.answers_pings:
                self.send(b"PONG\r\n")
        elif verb == b"INFO":
            self.infos.append(json.loads(line[5:]))
        elif verb == b"-ERR":
            self.errors.append(line[6:-1])
        else:
            assert line == b"+OK", f"the server sent {line!r}"
        self._offset = after
        return True


def publication(subject: str, payload: bytes = b"", reply: str = "") -> bytes:
    """The bytes of one PUB, for writes of many at once."""
    return f"PUB {subject} {reply} {len(payload)}\r\n".encode() + payload + b"\r\n"
