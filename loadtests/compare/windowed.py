"""Sends records while keeping a window of unanswered ones full, and counts answers.

This decides whether a figure is throughput or latency. The socket never blocks: as long as the window has
room, the sender sends, and looks for answers in between without waiting for them; it sleeps only when the
window is full, or the server takes no more bytes. The window is refilled by an eighth, so that small answers
do not become as many small sends.

Answers have no fixed length (a sequence grows), so they are counted by a mark that each has exactly once. A
mark that two reads cut in two is found as well, and none is counted twice.
"""

import select
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass

from loadtests.compare import wire
from loadtests.compare.wire import LoadError

answer_read_size = 1 << 18
silence_s_max = 30.0  # without any progress the sample has failed
refills_a_window = 8
chunk_size = wire.chunk_size

Log = list[tuple[int, float]]  # (records so far, time in seconds), growing


class Occurrences:
    """Counts a mark in a stream of bytes that comes in pieces of any size."""

    def __init__(self, mark: bytes):
        self._mark = mark
        self._overlap = len(mark) - 1
        self._tail = b""

    def __call__(self, data: bytes) -> int:
        # The tail is shorter than the mark, so what has been counted before cannot be in it.
        border = self._tail + data[: self._overlap]
        found = data.count(self._mark) + border.count(self._mark)
        self._tail = (self._tail + data[-self._overlap :])[-self._overlap :] if self._overlap else b""
        return found


class Answers:
    """Counts answers by their mark; an answer with the mark of an error ends the sample."""

    def __init__(self, good: bytes, bad: bytes):
        self._good = Occurrences(good)
        self._bad = Occurrences(bad)

    def __call__(self, data: bytes) -> int:
        if self._bad(data):
            raise LoadError(f"an error answer in {data[:300]!r}")
        return self._good(data)


puback_good, puback_bad = b'"seq":', b'"error":'


def pubacks() -> Answers:
    """Of publishes to a stream."""
    return Answers(puback_good, puback_bad)


@dataclass
class Pumped:
    """When it began, when the last answer came, and the logs of both directions."""

    start_s: float
    end_s: float
    sent: Log
    answered: Log


class Ring:
    """Records of one size, sent lap by lap; `next_lap(bytes, lap)` may change them before a further lap."""

    def __init__(
        self, data: bytes, record_size: int, next_lap: Callable[[bytearray, int], None] | None = None
    ):
        assert data and len(data) % record_size == 0
        self.data = bytearray(data)
        self.record_size = record_size
        self.next_lap = next_lap


def pump(
    connection: socket.socket, ring: Ring, count: int, window: int, answers: Callable[[bytes], int]
) -> Pumped:
    """Send `count` records of the ring, at most `window` of them unanswered; return when all are answered."""
    connection.setblocking(False)
    poll = select.poll()
    poll.register(connection, select.POLLIN)
    view, lap_size, record_size = memoryview(ring.data), len(ring.data), ring.record_size
    buffer = bytearray(answer_read_size)
    received = memoryview(buffer)
    total_size = count * record_size
    refill_size = max(1, window // refills_a_window) * record_size
    sent_size = allowed_size = answered = 0
    sent_log: Log = []
    answered_log: Log = []
    start = time.monotonic()
    while answered < count:
        possible_size = min((answered + window) * record_size, total_size)
        if possible_size - allowed_size >= refill_size or possible_size == total_size:
            allowed_size = possible_size
        sent = _send(connection, view, sent_size % lap_size, min(allowed_size - sent_size, chunk_size))
        if sent:
            sent_size += sent
            sent_log.append((sent_size // record_size, time.monotonic()))
            if ring.next_lap and sent_size % lap_size == 0:
                ring.next_lap(ring.data, sent_size // lap_size)
        try:
            size = connection.recv_into(buffer)
        except BlockingIOError:
            if not sent:
                _wait(poll, connection, sent_size < allowed_size, answered, count)
            continue
        if not size:
            raise LoadError(f"closed after {answered} of {count} answers")
        came = answers(bytes(received[:size]))
        if came:
            answered += came
            answered_log.append((answered, time.monotonic()))
    if answered > count:
        raise LoadError(f"{answered} answers to {count} records")
    end = answered_log[-1][1] if answered_log else start
    connection.settimeout(wire.answer_timeout_s)
    return Pumped(start, end, sent_log, answered_log)


def _send(connection: socket.socket, view: memoryview, position: int, size: int) -> int:
    """Bytes that the kernel took; up to the end of the lap."""
    if size <= 0:
        return 0
    try:
        return connection.send(view[position : position + size])
    except BlockingIOError:
        return 0


def _wait(poll, connection: socket.socket, wants_to_send: bool, answered: int, count: int) -> None:
    poll.modify(connection, select.POLLIN | (select.POLLOUT if wants_to_send else 0))
    if not poll.poll(silence_s_max * 1e3):
        raise LoadError(f"silence after {answered} of {count} answers")
