"""NATS bytes for load processes: a blocking connection, and records whose length is known beforehand.

The load must cost less than the server. So nothing here parses messages: a publisher sends precomputed
records, and a subscriber knows exactly how many bytes it will receive, because subjects, subscription ids
and payloads have fixed widths.
"""

import json
import socket

chunk_size = 131072  # one send() of a publisher; larger gained nothing
read_size = 1 << 20
answer_timeout_s = 30.0

subscription_id_first = 1_000_000  # all ids of a run have seven digits
pong = b"PONG\r\n"
ping = b"PING\r\n"


class LoadError(Exception):
    """The server answered otherwise than the protocol or the count of messages demands."""


def connect(port: int, name: str = "load", source: str = "") -> socket.socket:
    """A connection that is ready and quiet: handshake done, the second INFO of nats-server 2.15 eaten."""
    connection = open_socket(port, source)
    read_until(connection, b"\r\n")
    connection.sendall(connect_line(name) + ping)
    read_until(connection, pong)
    flush(connection)  # The second INFO comes right after the first PONG, so before this one.
    return connection


def open_socket(port: int, source: str = "") -> socket.socket:
    """A TCP connection and nothing else. `source` spreads large crowds over several loopback addresses."""
    connection = socket.create_connection(
        ("127.0.0.1", port), timeout=answer_timeout_s, source_address=(source, 0) if source else None
    )
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return connection


def connect_line(name: str) -> bytes:
    options = {
        "verbose": False,
        "pedantic": False,
        "lang": "loadtest",
        "version": "1",
        "protocol": 1,
        "headers": True,
        "no_responders": True,
        "echo": True,
        "name": name,
    }
    return b"CONNECT " + json.dumps(options).encode() + b"\r\n"


def read_until(connection: socket.socket, mark: bytes) -> bytes:
    """Read up to `mark` and return all bytes read; whatever follows it in the same read is included."""
    received = b""
    while mark not in received:
        data = connection.recv(65536)
        if not data:
            raise LoadError(f"the server closed the connection; it said {received[-200:]!r}")
        received += data
    if b"-ERR" in received:
        raise LoadError(f"the server said {received[-200:]!r}")
    return received


def flush(connection: socket.socket) -> bytes:
    """PING and wait for PONG: the server has executed all that was sent before."""
    connection.sendall(ping)
    return read_until(connection, pong)


def abort(connection: socket.socket) -> None:
    """Close with RST: a crowd of thousands would otherwise leave as many ports in TIME_WAIT."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
    connection.close()


# -- records


def header_block(size: int) -> bytes:
    """A header block of exactly `size` bytes (0, or at least 21)."""
    frame = b"NATS/1.0\r\nLoad: %s\r\n\r\n"
    assert size == 0 or size > len(frame) - 2
    return frame % (b"h" * (size - len(frame) + 2)) if size else b""


def publish_record(subject: bytes, payload: bytes, headers: bytes = b"", reply: bytes = b"") -> bytes:
    """PUB or HPUB with its payload."""
    space = b" " if reply else b""
    if headers:
        sizes = (len(headers), len(headers) + len(payload))
        return b"HPUB %s%s%s %d %d\r\n%s%s\r\n" % (subject, space, reply, *sizes, headers, payload)
    return b"PUB %s%s%s %d\r\n%s\r\n" % (subject, space, reply, len(payload), payload)


def message_record(
    subject: bytes, subscription_id: int, payload: bytes, headers: bytes = b"", reply: bytes = b""
) -> bytes:
    """MSG or HMSG as a subscriber must receive it."""
    space = b" " if reply else b""
    if headers:
        sizes = (len(headers), len(headers) + len(payload))
        return b"HMSG %s %d%s%s %d %d\r\n%s%s\r\n" % (
            subject, subscription_id, space, reply, *sizes, headers, payload,
        )  # fmt: skip
    return b"MSG %s %d%s%s %d\r\n%s\r\n" % (subject, subscription_id, space, reply, len(payload), payload)
