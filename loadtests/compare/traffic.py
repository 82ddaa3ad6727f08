"""Publish/subscribe throughput: how many messages a second pass when publishers send as fast as they can.

One sample has two parts on fresh connections to the same server:

1. a trial of some 10 MB that warms the server up, tells the rate, and in which subscribers compare *every
   byte* with what they must receive;
2. the measurement, sized by that rate to last the wanted time, in which subscribers only count bytes. At the
   end the count must fit exactly: the expected records, the PINGs of the server, and our own PONG.

The clock runs from the first send of the first publisher to the last byte at the last subscriber (with no
subscribers: to the PONG behind the last message). Messages a second are published ones; deliveries a second
count each copy.
"""

import ctypes
import random
import time
from collections.abc import Callable
from dataclasses import dataclass

from loadtests.compare import wire
from loadtests.compare.roles import Role, fork, run_roles
from loadtests.compare.wire import LoadError
from loadtests.servers import RunningServer

trial_size = 10_000_000  # bytes delivered in the trial
trial_s_min = 0.15  # a shorter trial tells no rate: an unchecked second one of this length follows
idle_poll_s = 0.02  # members of a queue group look this often whether all is done
silence_s_max = 20.0  # without progress the sample has failed


@dataclass(frozen=True, kw_only=True)
class Traffic:
    """The shape of one case. Every subscriber gets every message, except in a queue group."""

    publishers: int = 1
    subscribers: int = 1
    payload_size: int = 128
    headers_size: int = 0
    subject_count: int = 1
    wildcard: bool = False  # one subscription to `bench.>` instead of one for each subject
    queue: bool = False  # all subscribers are one queue group

    def __post_init__(self):
        # The order in which subjects arrive is known only with one publisher and no sharing.
        assert self.subject_count == 1 or (self.publishers == 1 and not self.queue)

    @property
    def payload(self) -> bytes:
        return (b"0123456789abcdef" * (self.payload_size // 16 + 1))[: self.payload_size]

    @property
    def copies(self) -> int:
        """Deliveries of one published message."""
        return min(1, self.subscribers) if self.queue else self.subscribers

    def subjects_shuffled(self) -> list[int]:
        order = list(range(self.subject_count))
        random.Random(1).shuffle(order)
        return order

    def publish_ring(self) -> bytes:
        """All records in the order of sending, once."""
        headers = wire.header_block(self.headers_size)
        return b"".join(
            wire.publish_record(subject(index), self.payload, headers) for index in self.subjects_shuffled()
        )

    def receive_ring(self) -> bytes:
        """The same messages as a subscriber gets them."""
        headers = wire.header_block(self.headers_size)
        first = wire.subscription_id_first
        step = 0 if self.wildcard else 1
        return b"".join(
            wire.message_record(subject(index), first + step * index, self.payload, headers)
            for index in self.subjects_shuffled()
        )

    def subscribe_lines(self) -> bytes:
        group = b" group" if self.queue else b""
        first = wire.subscription_id_first
        if self.wildcard:
            return b"SUB bench.>%s %d\r\n" % (group, first)
        return b"".join(
            b"SUB %s%s %d\r\n" % (subject(index), group, first + index) for index in range(self.subject_count)
        )


def subject(index: int) -> bytes:
    """12 characters for each of up to a million subjects."""
    return b"bench.%06d" % index


Finished = Callable[[], bool]
Beside = Callable[[RunningServer, Finished], list[Role]]  # roles that run until `finished()`


def measure(
    server: RunningServer,
    traffic: Traffic,
    seconds: float,
    beside: Beside | None = None,
    connections: tuple[list, list] | None = None,
) -> dict[str, float]:
    """One sample: rates a second and CPU of the server in nanoseconds a delivery (or message, undelivered).

    `beside` gives roles that disturb until the traffic is over; they see the measurement only, not the trial,
    and what they return is added to the sample. `connections` are (publishers', subscribers')
    sockets opened before, with subscriptions made: for cases that care where a connection lives.
    """
    record_size = len(traffic.publish_ring()) // traffic.subject_count
    # Fan-out multiplies the work of the server: a shorter trial is as good.
    trial_count = trial_size // (record_size * max(1, traffic.copies))
    trial = _pass(server, traffic, trial_count, check=True, connections=connections)
    if trial["wall_s"] < trial_s_min:
        count = int(trial["messages_per_s"] * trial_s_min)
        trial = _pass(server, traffic, count, check=False, connections=connections)
    count = int(trial["messages_per_s"] * seconds)
    return _pass(server, traffic, count, check=False, connections=connections, beside=beside)


def _pass(
    server: RunningServer,
    traffic: Traffic,
    message_count: int,
    *,
    check: bool,
    connections: tuple[list, list] | None,
    beside: Beside | None = None,
) -> dict[str, float]:
    laps = max(1, message_count // (traffic.publishers * traffic.subject_count))
    each = laps * traffic.subject_count  # messages of one publisher
    total = each * traffic.publishers
    expected_size = total * len(traffic.receive_ring()) // traffic.subject_count
    taken = fork.RawArray(ctypes.c_longlong, max(1, traffic.subscribers))
    ended = fork.Value(ctypes.c_int, 0)
    publishers, subscribers = connections or ([None] * traffic.publishers, [None] * traffic.subscribers)
    receive = _share if traffic.queue else _subscribe
    roles: list[Role] = [
        (receive, (server.port, traffic, expected_size, check, taken, index, subscribers[index]))
        for index in range(traffic.subscribers)
    ]
    roles += [
        (_publish, (server.port, traffic, each, publishers[index])) for index in range(traffic.publishers)
    ]
    work_count = len(roles)
    disturbers = beside(server, lambda: ended.value >= work_count) if beside else []
    roles = [(_counted, (ended, function, *arguments)) for function, arguments in roles]
    sample = run_roles(server.pid, roles + disturbers)
    results = sample.results[:work_count]
    start = min(result["start"] for result in results if "sent" in result)
    wall_s = max(result["end"] for result in results) - start
    deliveries = total * traffic.copies
    figures = {
        "messages_per_s": total / wall_s,
        "deliveries_per_s": deliveries / wall_s,
        "megabytes_per_s": max(deliveries, total) * traffic.payload_size / wall_s / 1e6,
        "cpu_ns": sample.meter.used_ns / max(deliveries, total),
        "server_cores": sample.meter.cores,
        "wall_s": wall_s,
    }
    for result in sample.results[work_count:]:
        figures.update(result)
    if traffic.queue:
        figures["share_min"] = min(taken) / sum(taken)
        figures["share_max"] = max(taken) / sum(taken)
    return figures


def _counted(gate, ended, function: Callable[..., dict], *arguments) -> dict:
    """Run a role and count it when it has ended, so that disturbers know when to stop."""
    result = function(gate, *arguments)
    with ended.get_lock():
        ended.value += 1
    return result


def _publish(gate, port: int, traffic: Traffic, count: int, connection) -> dict:
    connection = connection or wire.connect(port, "publisher")
    ring = traffic.publish_ring()
    record_size = len(ring) // traffic.subject_count
    lap_size = len(ring)
    # Short rings are repeated, so that one send carries a whole chunk.
    ring *= max(1, wire.chunk_size // lap_size)
    view = memoryview(ring)
    step = max(record_size, wire.chunk_size // record_size * record_size)
    left, position = count * record_size, 0
    gate()
    start = time.monotonic()
    while left:
        size = min(step, left, len(ring) - position)
        connection.sendall(view[position : position + size])
        left -= size
        position = (position + size) % len(ring)
    sent = time.monotonic()
    wire.flush(connection)
    return {"start": start, "sent": sent, "end": time.monotonic()}


def _subscribe(
    gate, port: int, traffic: Traffic, expected_size: int, check: bool, taken, index: int, connection
) -> dict:
    if connection is None:
        connection = wire.connect(port, "subscriber")
        connection.sendall(traffic.subscribe_lines())
        wire.flush(connection)
    buffer = bytearray(wire.read_size)
    view = memoryview(buffer)
    compare = Comparison(traffic.receive_ring()) if check else None
    received = 0
    gate()
    while received < expected_size:
        size = connection.recv_into(buffer)
        if not size:
            raise LoadError(f"closed after {received} of {expected_size} bytes (slow consumer?)")
        if compare:
            size = compare(bytes(view[:size]))
        received += size
    end = time.monotonic()
    taken[index] = received
    if not check:
        _check_surplus(received + len(wire.flush(connection)) - expected_size)
    return {"start": end, "end": end}


def _check_surplus(size: int) -> None:
    """Beside the messages there may be our PONG and some PINGs, six bytes each; all else is an error."""
    if size < 6 or size % 6 or size > 60:
        raise LoadError(f"{size} bytes more than the messages and one PONG: lost or doubled messages?")


def _share(
    gate, port: int, traffic: Traffic, expected_size: int, check: bool, taken, index: int, connection
) -> dict:
    """A member of a queue group: nobody knows its share before, so all count until the sum is there."""
    connection = connection or wire.connect(port, "member")
    connection.sendall(traffic.subscribe_lines())
    wire.flush(connection)
    connection.settimeout(idle_poll_s)
    buffer = bytearray(wire.read_size)
    view = memoryview(buffer)
    compare = Comparison(traffic.receive_ring()) if check else None
    gate()
    end = time.monotonic()
    while True:
        try:
            size = connection.recv_into(buffer)
        except TimeoutError:
            # Members see up to 6 bytes for each PING of the server as well: never more than a few.
            if sum(taken) >= expected_size:
                break
            if time.monotonic() - end > silence_s_max:
                raise LoadError(f"the group got {sum(taken)} of {expected_size} bytes") from None
            continue
        if not size:
            raise LoadError("a member of the queue group was disconnected")
        end = time.monotonic()
        taken[index] += compare(bytes(view[:size])) if compare else size
    surplus = sum(taken) - expected_size
    if surplus % 6 or surplus > 60:
        raise LoadError(f"the group got {surplus} bytes more than published")
    return {"start": end, "end": end}


class Comparison:
    """Compares a byte stream with a ring of records; called with each chunk, returns its bytes of messages.

    A PING of the server may stand between two records, cut anywhere by the chunk borders.
    """

    def __init__(self, ring: bytes):
        self._lap_size = len(ring)
        # Long enough to compare a whole chunk with one slice, wherever it starts.
        self._ring = ring * (wire.read_size // len(ring) + 2)
        self._position = 0
        self._cut_ping = b""

    def __call__(self, data: bytes) -> int:
        data, self._cut_ping = self._without_pings(self._cut_ping + data)
        if data != self._expected(0, len(data)):
            raise LoadError(f"unexpected bytes in {data[:120]!r}...")
        self._position = (self._position + len(data)) % self._lap_size
        return len(data)

    def _expected(self, start: int, end: int) -> bytes:
        return self._ring[self._position + start : self._position + end]

    def _without_pings(self, data: bytes) -> tuple[bytes, bytes]:
        """The data without PINGs, and the beginning of one that the chunk has cut."""
        data = data.replace(wire.ping, b"")
        for size in range(len(wire.ping) - 1, 0, -1):
            cut = wire.ping[:size]
            start = len(data) - size
            if data.endswith(cut) and self._expected(start, len(data)) != cut:
                return data[:start], cut
        return data, b""
