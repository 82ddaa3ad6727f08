"""What a consumer's connection brings, read without parsing: deliveries, acknowledgements, flow control.

A delivery is told by its reply subject, `$JS.ACK.STREAM.CONSUMER.COUNT.STREAM_SEQUENCE.SEQUENCE.TIME.PENDING`
which is also where its acknowledgement goes. So one search over all bytes of a read finds what came, and one
join makes all acknowledgements. To read message by message would cost more than the server's work.

Payloads, subjects and names of the load have no `F` and no `/`, so what is rare (flow control, statuses) is
looked for by one such byte first.
"""

import re
import socket
import time
from collections.abc import Iterable

from loadtests.compare import wire
from loadtests.compare.windowed import Occurrences
from loadtests.compare.wire import LoadError

ack_start, flow_start = b"$JS.ACK.", b"$JS.FC."
ack_payload = b"+ACK"
silence_s_max = 30.0  # without a delivery the sample has failed; heartbeats are none
read_size = 1 << 20

_between_acks = b" %d\r\n%s\r\nPUB " % (len(ack_payload), ack_payload)
_after_acks = _between_acks.removesuffix(b"PUB ")
_whole_delivery = re.compile(
    rb"MSG (\S+) \d+ \$JS\.ACK\.[^. ]+\.[^. ]+\.(\d+)\.(\d+)\.(\d+)\.\d+\.(\d+) (\d+)\r\n"
)


class Words:
    """Words that start so, and end with a space or a line, in a stream of bytes that is cut anywhere."""

    def __init__(self, start: bytes, rare: bytes):
        self._start = start
        self._rare = rare  # a byte of the start: without it there is no word
        self._pattern = re.compile(re.escape(start) + rb"[^ \r]+")
        self._tail = b""

    def __call__(self, data: bytes) -> list[bytes]:
        if self._rare not in data and self._rare not in self._tail:
            self._tail = (self._tail + data[-len(self._start) :])[-len(self._start) :]
            return []
        data = self._tail + data
        found = self._pattern.findall(data)
        if found and data.endswith(found[-1]):
            self._tail = found.pop()  # it may go on
        else:
            self._tail = data[-len(self._start) :]
        return found


def acknowledgements(subjects: list[bytes]) -> bytes:
    """A PUB for each of the reply subjects."""
    return b"PUB " + _between_acks.join(subjects) + _after_acks if subjects else b""


class Deliveries:
    """Counts first deliveries to one consumer; called with what was read, it returns what is to be sent.

    With `acknowledges`, that is an acknowledgement for each. A flow control request is answered once, also
    when a heartbeat repeats it. A status that ends a pull is a LoadError: nobody here asks for too much.
    """

    def __init__(self, stream: str, consumer: str, *, acknowledges: bool):
        self.count = 0
        self.flow_controls = 0
        self.last_ack = b""
        self._acks = Words(ack_start, b"$") if acknowledges else None
        self._marks = Occurrences(b" %s%s.%s.1." % (ack_start, stream.encode(), consumer.encode()))
        self._flows = Words(flow_start, b"F")
        self._last_flow = b""

    def __call__(self, data: bytes) -> bytes:
        answer = b""
        if self._acks is None:
            self.count += self._marks(data)
        elif subjects := self._acks(data):
            self.count += len(subjects)
            self.last_ack = subjects[-1]
            answer = acknowledgements(subjects)
        for flow in self._flows(data):
            if flow != self._last_flow:
                self._last_flow = flow
                self.flow_controls += 1
                answer += wire.publish_record(flow, b"")
        if b"/" in data and b"NATS/1.0 4" in data:
            raise LoadError(f"a status: {data[data.index(b'NATS/1.0 4') :][:200]!r}")
        return answer


class Reader:
    """Reads from a connection into one buffer; keeps all of it when the deliveries are to be verified."""

    def __init__(self, connection: socket.socket, *, keep: bool = False):
        self._connection = connection
        self._buffer = bytearray(read_size)
        self._view = memoryview(self._buffer)
        self._kept: list[bytes] | None = [] if keep else None
        self._last = b""
        self._progress_s = time.monotonic()

    def __call__(self) -> bytes:
        """The next bytes; b"" when the timeout of the connection is over."""
        try:
            size = self._connection.recv_into(self._buffer)
        except (TimeoutError, BlockingIOError):
            return b""
        if not size:
            raise LoadError(f"a consumer was disconnected after {self._last[-200:]!r}")
        data = self._last = bytes(self._view[:size])
        if self._kept is not None:
            self._kept.append(data)
        return data

    def progress(self, new: int, count: int, total: int) -> None:
        """LoadError when nothing `new` came for too long, or more came than there is."""
        now = time.monotonic()
        if count > total:
            raise LoadError(f"{count} deliveries of {total} messages")
        if new:
            self._progress_s = now
        elif now - self._progress_s > silence_s_max:
            raise LoadError(f"silence after {count} of {total} deliveries")

    def kept(self) -> bytes:
        """All bytes so far, with those of a last message that was read in part; b"" if nothing is kept."""
        if self._kept is None:
            return b""
        self._connection.settimeout(silence_s_max)
        self._kept.append(wire.flush(self._connection))
        return b"".join(self._kept)


def receive_all(connection: socket.socket, deliveries: Deliveries, reader: Reader, total: int) -> float:
    """Read and answer until `total` deliveries are there; returns when the last came."""
    connection.settimeout(silence_s_max)
    while deliveries.count < total:
        before = deliveries.count
        data = reader()
        answer = deliveries(data)
        if answer:
            connection.sendall(answer)
        reader.progress(deliveries.count - before, deliveries.count, total)
    return time.monotonic()


def confirm(connection: socket.socket, inbox: bytes, ack: bytes) -> None:
    """Return when the server has taken all acknowledgements of this connection.

    The last one is repeated with a reply subject, which the server answers (spec: consumers, 4). `inbox` is
    where this connection hears; what else comes meanwhile (heartbeats) is passed over.
    """
    reply = inbox + b".confirmed"
    connection.settimeout(silence_s_max)
    connection.sendall(wire.publish_record(ack, ack_payload, reply=reply))
    wire.read_until(connection, reply + b" ")


def check_deliveries(received: Iterable[bytes], sequences: Iterable[int], payload: bytes) -> None:
    """All bytes of one or more connections must hold each stream sequence once, with its payload.

    LoadError tells what is missing, doubled or altered.
    """
    seen: dict[int, int] = {}
    for data in received:
        for head in _whole_delivery.finditer(data):
            size = int(head[6])
            if head[2] != b"1" or data[head.end() : head.end() + size] != payload:
                raise LoadError(f"not the first delivery, or another payload: {head[0]!r}")
            sequence = int(head[3])
            seen[sequence] = seen.get(sequence, 0) + 1
    wanted = set(sequences)
    doubled = [sequence for sequence, times in seen.items() if times > 1]
    missing, foreign = wanted - seen.keys(), seen.keys() - wanted
    if doubled or missing or foreign:
        found = {"doubled": doubled, "missing": sorted(missing), "foreign": sorted(foreign)}
        told = ", ".join(f"{name} {len(list_)} from {min(list_)}" for name, list_ in found.items() if list_)
        raise LoadError(f"deliveries: {told}")
