"""A server that does no work: shows what the load generator and the kernel could carry at most.

    python -m loadtests.compare --cases alone_16,1to1_16,1to1_128,1to1_1024 --pairs 3 \
        --server ceiling="python -m loadtests.ceiling"

A comparison says something about the servers only while the generator is much faster than both. This program
takes the server's place: it looks at the *first* record of a publisher, takes for granted that all others
have the same size and subject, and answers every N bytes read with N / size ready-made MSG records to each
subscriber. So it costs two system calls a chunk, and next to nothing a message. It serves publish/subscribe
cases of one subject without headers; it is no broker.
"""

import argparse
import selectors
import socket

from loadtests.compare import wire

info_line = b'INFO {"server_id":"CEILING","version":"0","proto":1,"headers":true,"max_payload":1048576}\r\n'


class Ceiling:
    """Accepts, and moves chunks; `records` becomes known with the first PUB."""

    def __init__(self, host: str, port: int):
        self._selector = selectors.DefaultSelector()
        self._subscribers: dict[socket.socket, bytes] = {}  # -> subscription id
        self._publish_size = 0  # bytes of one PUB record
        self._published: dict[socket.socket, int] = {}  # bytes of records read, per publisher
        self._ring = b""
        self._message_size = 0
        self._buffer = bytearray(wire.read_size)
        listener = socket.create_server((host, port), backlog=64)
        self._selector.register(listener, selectors.EVENT_READ, self._accept)

    def run(self) -> None:
        while True:
            for key, _ in self._selector.select():
                key.data(key.fileobj)

    def _accept(self, listener: socket.socket) -> None:
        connection, _ = listener.accept()
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.sendall(info_line)
        self._selector.register(connection, selectors.EVENT_READ, self._read)

    def _read(self, connection: socket.socket) -> None:
        try:
            size = connection.recv_into(self._buffer)
        except ConnectionError:
            size = 0
        if not size:
            self._forget(connection)
            return
        # Control lines come alone in a read, because the generator waits for each PONG; only the last
        # PING may hang on to records.
        if self._buffer.startswith((b"CONNECT", b"SUB", b"PING\r\n")):
            self._control(connection, bytes(self._buffer[:size]))
            return
        ends_with_ping = self._buffer[size - 6 : size] == wire.ping
        if connection not in self._published:
            self._learn(connection, size)
        self._relay(connection, size - 6 if ends_with_ping else size)
        if ends_with_ping:
            connection.sendall(wire.pong)
            self._published[connection] = 0

    def _control(self, connection: socket.socket, data: bytes) -> None:
        for line in data.split(b"\r\n"):
            if line.startswith(b"SUB"):
                self._subscribers[connection] = line.split()[-1]
            elif line == b"PING":
                connection.sendall(wire.pong)

    def _learn(self, connection: socket.socket, size: int) -> None:
        line, _, rest = bytes(self._buffer[:size]).partition(b"\r\n")
        _, subject, payload_size = line.split()
        payload = rest[: int(payload_size)]
        self._publish_size = len(line) + len(payload) + 4
        record = wire.message_record(subject, wire.subscription_id_first, payload)
        self._message_size = len(record)
        self._ring = record * (wire.read_size // self._publish_size + 2)
        self._published[connection] = 0

    def _relay(self, connection: socket.socket, size: int) -> None:
        before = self._published[connection] // self._publish_size
        self._published[connection] += size
        count = self._published[connection] // self._publish_size - before
        for subscriber in self._subscribers:
            subscriber.sendall(memoryview(self._ring)[: count * self._message_size])

    def _forget(self, connection: socket.socket) -> None:
        self._selector.unregister(connection)
        self._subscribers.pop(connection, None)
        self._published.pop(connection, None)
        connection.close()


def main() -> None:
    parser = argparse.ArgumentParser(description="A server that does no work: the generator's limit.")
    parser.add_argument("-a", dest="host", default="127.0.0.1")
    parser.add_argument("-p", dest="port", type=int, default=4222)
    parser.add_argument("--version", action="version", version="ceiling")
    options = parser.parse_args()
    Ceiling(options.host, options.port).run()


if __name__ == "__main__":
    main()
