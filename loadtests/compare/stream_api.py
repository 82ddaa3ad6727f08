"""A plain connection for requests to the JetStream API and for /jsz; never in the measured path."""

import json
import os
import socket
import time
import urllib.error
import urllib.request
from typing import Any

from loadtests.compare import wire
from loadtests.compare.windowed import Answers, Ring, puback_bad, pump
from loadtests.compare.wire import LoadError
from loadtests.servers import RunningServer

list_page = 256  # streams in one answer of STREAM.LIST
create_window = 64  # requests to create a stream in flight


def stream_name(index: int = 0) -> str:
    """Of fixed width, as all that a ring of records contains."""
    return f"LOAD{index:05d}"


def stream_subject(index: int = 0, key: int = 0) -> bytes:
    """One subject of the stream with that index."""
    return b"load.%05d.%07d" % (index, key)


class StreamApi:
    """One request at a time. Raises LoadError for an answer that tells of an error."""

    def __init__(self, server: RunningServer):
        self._connection = wire.connect(server.port, "control")
        self._buffer = b""
        self._asked = 0
        self._inbox = f"_INBOX.control.{os.getpid()}.{time.monotonic_ns()}"
        self._connection.sendall(f"SUB {self._inbox}.* 1\r\n".encode())
        wire.flush(self._connection)

    def __enter__(self) -> "StreamApi":
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.close()

    def request(self, subject: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        """The JSON answer on $JS.API.`subject`."""
        headers, payload = self.raw_request(f"$JS.API.{subject}", json.dumps(body).encode() if body else b"")
        if headers:
            raise LoadError(f"{subject}: {headers!r}")
        answer = json.loads(payload)
        if "error" in answer:
            raise LoadError(f"{subject}: {answer['error']}")
        return answer

    def raw_request(self, subject: str, payload: bytes) -> tuple[bytes, bytes]:
        """Header block and payload of the answer."""
        self._asked += 1
        reply = f"{self._inbox}.{self._asked}".encode()
        self._connection.sendall(wire.publish_record(subject.encode(), payload, reply=reply))
        while True:
            words = self._line().split()
            if words[0] in (b"MSG", b"HMSG"):
                headers_size = int(words[-2]) if words[0] == b"HMSG" else 0
                block = self._take(int(words[-1]) + 2)[:-2]
                if words[1] == reply:
                    return block[:headers_size], block[headers_size:]
            elif words[0] == b"PING":
                self._connection.sendall(wire.pong)
            elif words[0] == b"-ERR":
                raise LoadError(f"the server said {words!r}")

    def create(self, index: int = 0, **options: Any) -> None:
        """The stream with that index, for all its subjects."""
        name = stream_name(index)
        self.request(f"STREAM.CREATE.{name}", stream_config(index, **options))

    def messages(self) -> int:
        """In all streams together."""
        total, offset = 0, 0
        while True:
            page = self.request("STREAM.LIST", {"offset": offset})
            streams = page.get("streams") or []
            total += sum(stream["state"]["messages"] for stream in streams)
            offset += len(streams)
            if not streams or offset >= page["total"]:
                return total

    def check_messages(self, expected: int) -> None:
        """What was acknowledged must be there, and nothing else."""
        stored = self.messages()
        if stored != expected:
            raise LoadError(f"{expected} messages acknowledged, {stored} in the streams")

    def _line(self) -> bytes:
        while b"\r\n" not in self._buffer:
            self._fill()
        line, self._buffer = self._buffer.split(b"\r\n", 1)
        return line

    def _take(self, size: int) -> bytes:
        while len(self._buffer) < size:
            self._fill()
        taken, self._buffer = self._buffer[:size], self._buffer[size:]
        return taken

    def _fill(self) -> None:
        data = self._connection.recv(1 << 20)
        if not data:
            raise LoadError("the control connection was closed")
        self._buffer += data


def stream_config(index: int, **options: Any) -> dict[str, Any]:
    """Limits retention without limits; `options` are keys of the configuration."""
    return {
        "name": stream_name(index),
        "subjects": [f"load.{index:05d}.>"],
        "retention": "limits",
        "storage": "file",
        "num_replicas": 1,
        "allow_direct": True,
        **options,
    }


def create_streams(server: RunningServer, count: int, **options: Any) -> float:
    """Create streams 0..count-1, many requests in flight; returns the seconds it took."""
    connection, inbox = open_publisher(server.port)
    records = []
    for index in range(count):
        body = json.dumps(stream_config(index, **options)).encode()
        subject = f"$JS.API.STREAM.CREATE.{stream_name(index)}".encode()
        records.append(wire.publish_record(subject, body, reply=inbox + b".%05d" % index))
    answers = Answers(b'"did_create":', puback_bad)
    with connection:
        pumped = pump(connection, Ring(b"".join(records), len(records[0])), count, create_window, answers)
    return pumped.end_s - pumped.start_s


def open_publisher(port: int) -> tuple[socket.socket, bytes]:
    """A connection that hears all below its inbox, and that inbox, of fixed width."""
    connection = wire.connect(port, "stream-publisher")
    inbox = b"_INBOX.%s" % os.urandom(6).hex().encode()
    connection.sendall(b"SUB %s.> 1\r\n" % inbox)
    wire.flush(connection)
    return connection, inbox


def page(server: RunningServer, path: str) -> dict[str, Any]:
    """A monitoring page; {} when the server has no such page, or was started without."""
    if not server.monitor_port:
        return {}
    url = f"http://{server.host}:{server.monitor_port}/{path}"
    try:
        with urllib.request.urlopen(url, timeout=30) as answer:
            return json.load(answer)
    except (urllib.error.HTTPError, json.JSONDecodeError):
        return {}


def sync_count(server: RunningServer) -> int | None:
    """fdatasyncs for the streams there are, so far; None for a server that does not tell."""
    return page(server, "jsz").get("writer", {}).get("syncs")
