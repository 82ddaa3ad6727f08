"""A deliberately plain NATS connection: a blocking socket, and a splitter of what a server answers.

It knows just enough of the protocol to find the end of each answer (a payload may contain the text
``PONG``), and checks nothing: judging the answers is the business of the tests. It is independent of the
broker's own parser on purpose, so that one mistake cannot hide another.
"""

import itertools
import socket
import time
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Answer:
    """One thing a server sent: a line, and for MSG and HMSG the bytes behind it (CR LF not included)."""

    kind: str  # INFO, +OK, -ERR, PING, PONG, MSG, HMSG; "JUNK" for bytes which are no whole answer
    line: bytes  # without CR LF
    body: bytes = b""

    def __str__(self) -> str:
        text = self.line.decode("latin-1")
        return f"{text} {self.body!r}" if self.kind in ("MSG", "HMSG") else text


class NoAnswerError(AssertionError):
    """The server neither answered nor closed in time."""


class Wire:
    """One connection. ``answers`` holds everything received so far, in order; ``closed`` is set at EOF."""

    def __init__(self, port: int, *, host: str = "127.0.0.1", timeout_s: float = 10.0) -> None:
        self.socket = socket.create_connection((host, port), timeout=timeout_s)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.timeout_s = timeout_s
        self.answers: list[Answer] = []
        self.closed = False
        self.pong_count = 0
        self._rest = bytearray()

    def send(self, data: bytes, *, pause_s: float = 0.0, pieces: list[int] | None = None) -> None:
        """Send ``data``, cut at the offsets in ``pieces``, resting ``pause_s`` between the cuts.

        A server that has closed makes this stop quietly: what it said before closing is what counts.
        """
        cuts = [0, *(pieces or []), len(data)]
        try:
            for start, end in itertools.pairwise(cuts):
                if start < end:
                    self.socket.sendall(data[start:end])
                if pause_s and end < len(data):
                    time.sleep(pause_s)
        except (BrokenPipeError, ConnectionResetError):
            pass

    def read_until(self, done, what: str, timeout_s: float | None = None) -> None:
        """Read until ``done()`` or the server closes; raise NoAnswerError after ``timeout_s``."""
        limit_s = self.timeout_s if timeout_s is None else timeout_s
        deadline = time.monotonic() + limit_s
        while not self.closed and not done():
            left = deadline - time.monotonic()
            if left <= 0 or not self._read_once(left):
                raise NoAnswerError(f"no {what} within {limit_s} s; got {[str(a) for a in self.answers]}")

    def read_pongs(self, count: int, timeout_s: float | None = None) -> None:
        """Read until ``count`` PONGs arrived in total since the connection was made."""
        self.read_until(lambda: self.pong_count >= count, f"PONG number {count}", timeout_s)

    def read_answers(self, count: int, timeout_s: float | None = None) -> None:
        """Read until ``count`` answers arrived in total."""
        self.read_until(lambda: len(self.answers) >= count, f"answer number {count}", timeout_s)

    def read_to_close(self, timeout_s: float | None = None) -> None:
        """Read until the server closes."""
        self.read_until(lambda: False, "close", timeout_s)

    def read_for(self, seconds: float) -> None:
        """Read whatever comes within ``seconds``; for answers which nothing can be sent to mark."""
        deadline = time.monotonic() + seconds
        while not self.closed and (left := deadline - time.monotonic()) > 0:
            self._read_once(left)

    def close(self) -> None:
        """Close our side; what the server sends from now on is not seen."""
        self.socket.close()

    def _read_once(self, timeout_s: float) -> bool:
        """One receive; False if nothing came in time."""
        self.socket.settimeout(max(timeout_s, 0.001))
        try:
            data = self.socket.recv(1 << 18)
        except TimeoutError:
            return False
        except ConnectionResetError:
            data = b""
        if data:
            self._rest += data
            self._split()
        else:
            self.closed = True
            if self._rest:
                self.answers.append(Answer("JUNK", bytes(self._rest)))
                self._rest.clear()
        return True

    def _split(self) -> None:
        """Move whole answers from the bytes received into ``answers``."""
        start = 0
        while (line_end := self._rest.find(b"\r\n", start)) >= 0:
            line = bytes(self._rest[start:line_end])
            words = line.split()
            kind = words[0].decode("latin-1") if words else "JUNK"
            next_start, body = line_end + 2, b""
            if kind in ("MSG", "HMSG"):
                size = int(words[-1])
                if len(self._rest) < next_start + size + 2:
                    break
                body = bytes(self._rest[next_start : next_start + size])
                assert self._rest[next_start + size : next_start + size + 2] == b"\r\n", line
                next_start += size + 2
            elif kind == "PONG":
                self.pong_count += 1
            self.answers.append(Answer(kind, line, body))
            start = next_start
        del self._rest[:start]
