"""A small HTTP/1.1 server for the monitoring port: GET and HEAD, keep-alive, everything bounded.

httptools parses; this file turns requests into calls and responses into bytes, in the acceptor's event
loop. A handler may answer later (pages that ask the workers), but answers leave in the order of their
requests. Bounds: connections (the one idle longest makes room), bytes of a request, requests read ahead,
and time without a request. Nothing here knows what the pages mean.
"""

import socket
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from urllib.parse import parse_qs, unquote

import httptools

from shardbroker import limits
from shardbroker.acceptor.event_loop import EventLoop

_REASONS = {200: "OK", 400: "Bad Request", 404: "Not Found", 500: "Internal Server Error",
            503: "Service Unavailable"}  # fmt: skip
_DATE = "%a, %d %b %Y %H:%M:%S GMT"
_READ_SIZE = 64 << 10
_SWEEP_INTERVAL_S = 5.0


@dataclass(slots=True)
class Request:
    """One request. ``query`` has the first value of each argument, as Go's ``Query().Get``."""

    path: str = ""
    query: dict[str, str] = field(default_factory=dict)
    method: str = ""
    accept: str = ""
    version: str = "1.1"
    keep_alive: bool = True


@dataclass(frozen=True, slots=True)
class Response:
    """What a handler answers; ``headers`` are those besides Content-Type, Content-Length and Date."""

    status: int
    content_type: str
    body: bytes
    headers: tuple[tuple[str, str], ...] = ()


Respond = Callable[[Response], None]
Handler = Callable[[Request, Respond], None]

NOT_FOUND = Response(
    404, "text/plain; charset=utf-8", b"404 page not found\n", (("X-Content-Type-Options", "nosniff"),)
)
_BROKEN = Response(400, "text/plain; charset=utf-8", b"400 Bad Request")
_FAILED = Response(500, "text/plain; charset=utf-8", b"500 Internal Server Error")


class HttpServer:
    """Serves ``listener`` (bound, listening, not blocking) by ``handle``; ``on_error`` hears of its bugs."""

    def __init__(
        self,
        loop: EventLoop,
        listener: socket.socket,
        handle: Handler,
        on_error: Callable[[Exception], None],
    ):
        self.loop = loop
        self.handle = handle
        self.on_error = on_error
        self._listener = listener
        self._connections: set[_Connection] = set()
        loop.add_reader(listener.fileno(), self._accept)
        loop.call_later(_SWEEP_INTERVAL_S, self._sweep)

    def forget(self, connection: "_Connection") -> None:
        self._connections.discard(connection)

    def _accept(self) -> None:
        try:
            sock, _ = self._listener.accept()
        except OSError:
            # Out of descriptors, or gone already: not at once again, clients of the broker come first.
            self.loop.remove_reader(self._listener.fileno())
            self.loop.call_later(
                limits.accept_pause_s_max,
                lambda: self.loop.add_reader(self._listener.fileno(), self._accept),
            )
            return
        if len(self._connections) >= limits.http_connections_max:
            min(self._connections, key=lambda connection: connection.active_at).close()
        self._connections.add(_Connection(self, sock))

    def _sweep(self) -> None:
        self.loop.call_later(_SWEEP_INTERVAL_S, self._sweep)
        longest = time.monotonic() - limits.http_idle_s_max
        for connection in [each for each in self._connections if each.active_at < longest]:
            connection.close()


class _Connection:
    """One HTTP connection; also the sink of its httptools parser (the ``on_...`` methods)."""

    def __init__(self, server: HttpServer, sock: socket.socket):
        sock.setblocking(False)
        self.active_at = time.monotonic()
        self._server = server
        self._sock: socket.socket | None = sock
        self._parser = httptools.HttpRequestParser(self)
        self._request = Request()
        self._url = b""
        self._size = 0  # bytes of the request being read
        self._requests: deque[Request] = deque()  # read, not yet answered; the first one is being handled
        self._handling = False
        self._output = bytearray()
        self._close_after_output = False
        self._writing = False
        server.loop.add_reader(sock.fileno(), self._readable)

    def close(self) -> None:
        if self._sock is not None:
            self._server.loop.remove_reader(self._sock.fileno())
            self._server.loop.remove_writer(self._sock.fileno())
            self._sock.close()
            self._sock = None
            self._server.forget(self)

    # --- input -------------------------------------------------------------------------------------------

    def _readable(self) -> None:
        try:
            data = self._sock.recv(_READ_SIZE)
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            data = b""
        if not data:
            self.close()
            return
        self.active_at = time.monotonic()
        self._size += len(data)
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            self._refuse()
            return
        if self._size > limits.http_request_size_max or len(self._requests) > limits.http_pipelined_max:
            self._refuse()
            return
        self._next()

    def _refuse(self) -> None:
        """What follows cannot be understood: answer 400 and close."""
        if self._sock is not None and not self._close_after_output:
            self._server.loop.remove_reader(self._sock.fileno())
            self._requests.clear()
            self._handling = False
            self._request = Request(keep_alive=False)
            self._write(self._request, _BROKEN)

    def on_message_begin(self) -> None:
        self._request = Request()
        self._url = b""

    def on_url(self, url: bytes) -> None:
        self._url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        if name.lower() == b"accept":
            self._request.accept = value.decode("latin-1")

    def on_message_complete(self) -> None:
        request = self._request
        request.method = self._parser.get_method().decode()
        request.version = self._parser.get_http_version()
        request.keep_alive = self._parser.should_keep_alive()
        url = httptools.parse_url(self._url)
        request.path = unquote((url.path or b"/").decode("latin-1"))
        if url.query:
            values = parse_qs(url.query.decode("latin-1"), keep_blank_values=True, max_num_fields=100)
            request.query = {name: found[0] for name, found in values.items()}
        self._requests.append(request)
        self._size = 0

    # --- output ------------------------------------------------------------------------------------------

    def _next(self) -> None:
        """Handle the oldest request, unless one is being handled or its answer not yet written."""
        while self._requests and not self._handling and not self._output and self._sock is not None:
            self._handling = True
            request = self._requests[0]
            try:
                self._server.handle(
                    request, lambda response, request=request: self._answer(request, response)
                )
            except Exception as error:
                self._server.on_error(error)
                self._answer(request, _FAILED)

    def _answer(self, request: Request, response: Response) -> None:
        """The handler's answer, perhaps long after the request; once only, and the client may be gone."""
        if self._sock is None or not self._requests or self._requests[0] is not request:
            return
        self._requests.popleft()
        self._handling = False
        self._write(request, response)
        if not self._output:
            self._next()

    def _write(self, request: Request, response: Response) -> None:
        lines = [f"HTTP/1.1 {response.status} {_REASONS.get(response.status, '')}"]
        lines += [f"{name}: {value}" for name, value in response.headers]
        lines.append(f"Content-Type: {response.content_type}")
        lines.append(f"Date: {time.strftime(_DATE, time.gmtime())}")
        lines.append(f"Content-Length: {len(response.body)}")
        if not request.keep_alive:
            lines.append("Connection: close")
            self._close_after_output = True
        elif request.version == "1.0":
            lines.append("Connection: keep-alive")
        self._output += ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")
        if request.method != "HEAD":
            self._output += response.body
        self._flush()

    def _flush(self) -> None:
        while self._output:
            try:
                sent = self._sock.send(self._output)
            except (BlockingIOError, InterruptedError):
                if not self._writing:
                    self._writing = True
                    self._server.loop.add_writer(self._sock.fileno(), self._writable)
                return
            except OSError:
                self.close()
                return
            self.active_at = time.monotonic()
            del self._output[:sent]
        if self._writing:
            self._writing = False
            self._server.loop.remove_writer(self._sock.fileno())
        if self._close_after_output:
            self.close()

    def _writable(self) -> None:
        self._flush()
        if self._sock is not None and not self._output:
            self._next()
