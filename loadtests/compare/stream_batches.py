"""Publishing in batches: atomic ones (all or nothing, one answer) and fast ones (answers now and then).

Several atomic batches are in flight, one after the other on one connection; a batch is one record of the
window. A fast batch is one long batch per run with `fast_outstanding` answers' worth of messages in flight.
"""

import re

from loadtests.compare import wire
from loadtests.compare.latency import match_logs
from loadtests.compare.roles import run_roles
from loadtests.compare.stream_api import StreamApi, open_publisher, stream_subject
from loadtests.compare.stream_publish import figures_of, trial_growth, trial_s_min
from loadtests.compare.windowed import Answers, Ring, puback_bad, pump
from loadtests.compare.wire import LoadError
from loadtests.servers import RunningServer

batch_size = 500  # messages of an atomic batch, and between two answers of a fast one
atomic_in_flight = 8  # batches: 4,000 messages, as the window of single ones
atomic_ring = 64  # batches with different ids; an id is free again when its batch is committed
fast_outstanding = 2
payload = b"0123456789abcdef" * 8
fast_count_max = 400_000  # all records of a run are made before

START, APPEND, COMMIT = 0, 1, 2  # operations of a fast batch, told in the reply subject


def measure_atomic(server: RunningServer, seconds: float) -> dict[str, float]:
    """One sample of atomic batches: messages a second, latency of a batch."""
    return _measure(server, seconds, _publish_atomic, {"allow_atomic": True}, batch_size * 1_000_000)


def measure_fast(server: RunningServer, seconds: float) -> dict[str, float]:
    """One sample of fast batches."""
    return _measure(server, seconds, _publish_fast, {"allow_batched": True}, fast_count_max)


def _measure(
    server: RunningServer, seconds: float, role, options: dict[str, bool], count_max: int
) -> dict[str, float]:
    count, stored = batch_size * atomic_in_flight, 0
    with StreamApi(server) as api:
        api.create(**options)
        while True:
            figures = figures_of(run_roles(server.pid, [(role, (server.port, count))]), count)
            stored += count
            if figures["wall_s"] >= min(trial_s_min, seconds) or count * trial_growth > count_max:
                break
            count *= trial_growth
        batches = max(atomic_in_flight, int(figures["messages_per_s"] * seconds) // batch_size)
        count = min(count_max, batches * batch_size)
        figures = figures_of(run_roles(server.pid, [(role, (server.port, count))]), count)
        api.check_messages(stored + count)
    return figures


def _publish_atomic(gate, port: int, count: int) -> dict:
    connection, inbox = open_publisher(port)
    batches = count // batch_size
    records = [atomic_batch(inbox, number) for number in range(min(batches, atomic_ring))]
    ring = Ring(b"".join(records), len(records[0]))
    answers = Answers(b'"count":%d' % batch_size, puback_bad)
    gate()
    pumped = pump(connection, ring, batches, atomic_in_flight, answers)
    return {"wall_s": pumped.end_s - pumped.start_s, "times": match_logs(pumped.sent, pumped.answered)}


def atomic_batch(inbox: bytes, number: int) -> bytes:
    """All records of one batch; the first asks whether the batch is accepted, the last commits."""
    batch_id = b"%s-%06d" % (inbox.rpartition(b".")[2], number)
    records = []
    for sequence in range(1, batch_size + 1):
        headers = b"NATS/1.0\r\nNats-Batch-Id: %s\r\nNats-Batch-Sequence: %d\r\n" % (batch_id, sequence)
        reply = b""
        if sequence == 1:
            reply = inbox + b".first"
        if sequence == batch_size:
            headers += b"Nats-Batch-Commit: 1\r\n"
            reply = inbox + b".commit"
        records.append(wire.publish_record(stream_subject(), payload, headers + b"\r\n", reply))
    return b"".join(records)


def _publish_fast(gate, port: int, count: int) -> dict:
    connection, inbox = open_publisher(port)
    ring = fast_batch(inbox, count)
    gate()
    pumped = pump(connection, ring, count, fast_outstanding * batch_size, FastAnswers(count))
    return {"wall_s": pumped.end_s - pumped.start_s, "times": match_logs(pumped.sent, pumped.answered)}


def fast_batch(inbox: bytes, count: int) -> Ring:
    """All records of one batch of `count` messages: flow, sequence and operation are in the reply subject."""
    operations = [START, *[APPEND] * (count - 2), COMMIT]
    records = [
        wire.publish_record(
            stream_subject(),
            payload,
            reply=b"%s.fast.%d.fail.%08d.%d.$FI" % (inbox, batch_size, sequence, operation),
        )
        for sequence, operation in enumerate(operations, 1)
    ]
    return Ring(b"".join(records), len(records[0]))


class FastAnswers:
    """Messages that answers newly tell to be stored; the last one only by the answer to the commit."""

    _ack = re.compile(rb'"type":"ack","seq":(\d+),')
    _longest_answer = 300

    def __init__(self, count: int):
        self._count = count
        self._stored = 0
        self._tail = b""

    def __call__(self, data: bytes) -> int:
        data = self._tail + data
        self._tail = data[-self._longest_answer :]
        if any(mark in data for mark in (b'"type":"err"', b'"type":"gap"', puback_bad)):
            raise LoadError(f"fast batch: {data[:300]!r}")
        before = self._stored
        for found in self._ack.finditer(data):
            self._stored = max(self._stored, min(int(found[1]), self._count - 1))
        if b'"count":%d}' % self._count in data:
            self._stored = self._count
        return self._stored - before
