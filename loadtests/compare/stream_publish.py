"""Publishing into streams with acknowledgement: throughput with a full window, and one by one.

One sample, on a server and a store that are new:

1. trials that grow until one lasts long enough to tell the rate; they warm the server up as well;
2. the measurement, sized by that rate to last the wanted time.

An error answer ends the sample. At the end the streams must hold exactly the messages that were acknowledged.
`cpu_ns` is CPU of all processes of the server for a message, `syncs_per_1000` what our writer says about its
fdatasyncs, `disk_percent` the payload a second in percent of what the same disk takes in synced sequential
writes right after.
"""

import random
import select
import time
from dataclasses import dataclass

from loadtests.compare import disk, ratios, wire
from loadtests.compare.latency import match_logs
from loadtests.compare.roles import Sample, run_roles
from loadtests.compare.stream_api import StreamApi, create_streams, open_publisher, stream_subject, sync_count
from loadtests.compare.windowed import Ring, puback_bad, puback_good, pubacks, pump
from loadtests.compare.wire import LoadError
from loadtests.servers import RunningServer

window_default = 4000
trial_s_min = 0.15
trial_growth = 4
trial_synchronous = 100  # messages of one publisher that waits for each answer
trial_windowed = 2000
ring_size_max = 16_000_000  # bytes; a lap of all subjects may be longer
ring_records_max = 16_384
lap_digits = 5
answer_timeout_s = 30.0


@dataclass(frozen=True, kw_only=True)
class Publishing:
    """The shape of one case. With `window` 1 each of the publishers waits for each answer."""

    payload_size: int = 128
    window: int = window_default
    publishers: int = 1
    subject_count: int = 1
    stream_count: int = 1
    message_ids: bool = False
    storage: str = "file"

    def __post_init__(self):
        assert self.publishers == 1 or self.window == 1
        assert self.stream_count == 1 or self.subject_count == 1

    @property
    def payload(self) -> bytes:
        return (b"0123456789abcdef" * (self.payload_size // 16 + 1))[: self.payload_size]

    def subjects(self) -> list[bytes]:
        """All subjects of all streams, in the order of sending."""
        found = [
            stream_subject(stream, key)
            for stream in range(self.stream_count)
            for key in range(self.subject_count)
        ]
        random.Random(1).shuffle(found)
        return found

    def ring(self, count: int, inbox: bytes, run: int = 0) -> Ring:
        """Records for `count` messages. With message ids, `run` makes those of one run different."""
        subjects = self.subjects()
        record = self._record(subjects[0], inbox, run, 0)
        records = max(1, min(ring_records_max, count, ring_size_max // len(record)))
        records = -(-records // len(subjects)) * len(subjects)  # whole laps over all subjects
        data = b"".join(
            self._record(subjects[index % len(subjects)], inbox, run, index) for index in range(records)
        )
        if not self.message_ids:
            return Ring(data, len(record))
        return Ring(data, len(record), LapDigits(record.index(b"~") + 1, len(record)))

    def _record(self, subject: bytes, inbox: bytes, run: int, index: int) -> bytes:
        headers = b""
        if self.message_ids:
            lap = b"0" * lap_digits
            headers = b"NATS/1.0\r\nNats-Msg-Id: %02d.%08d~%s\r\n\r\n" % (run, index, lap)
        return wire.publish_record(subject, self.payload, headers, inbox + b".%08d" % index)


class LapDigits:
    """Writes the number of the lap into all records, so that each message id is there once."""

    def __init__(self, place: int, record_size: int):
        self._place = place
        self._record_size = record_size
        self._written = b"0" * lap_digits

    def __call__(self, data: bytearray, lap: int) -> None:
        digits = b"%0*d" % (lap_digits, lap)
        for offset, (old, new) in enumerate(zip(self._written, digits, strict=True)):
            if old != new:
                records = len(data) // self._record_size
                data[self._place + offset :: self._record_size] = bytes((new,)) * records
        self._written = digits


def measure_publishing(server: RunningServer, shape: Publishing, seconds: float) -> dict[str, float]:
    """One sample; see above."""
    create_streams(server, shape.stream_count, storage=shape.storage)
    count = (trial_synchronous if shape.window == 1 else trial_windowed) * shape.publishers
    stored = run = 0
    while True:
        figures, _ = _pass(server, shape, count, run)
        stored += count
        run += 1
        wall_s = count / figures["messages_per_s"]
        if wall_s >= min(trial_s_min, seconds):
            break
        count *= trial_growth
    each = int(figures["messages_per_s"] * seconds) // shape.publishers
    count = max(shape.window, each) * shape.publishers
    syncs_before = sync_count(server)
    figures, _ = _pass(server, shape, count, run)
    syncs = sync_count(server)
    # None at all for messages on disk cannot be: then /jsz did not count those of this way to store.
    if syncs is not None and syncs_before is not None and syncs > syncs_before:
        figures["syncs_per_1000"] = (syncs - syncs_before) * 1000 / count
    with StreamApi(server) as api:
        api.check_messages(stored + count)
    if shape.storage == "file" and server.store:
        disk_rate = disk.synced_write_rate(server.store.path.parent)
        figures["disk_percent"] = figures["messages_per_s"] * shape.payload_size / disk_rate * 100
    return figures


def _pass(server: RunningServer, shape: Publishing, count: int, run: int) -> tuple[dict[str, float], Sample]:
    role = _publish_one_by_one if shape.window == 1 else _publish_windowed
    sample = run_roles(server.pid, [(role, (server.port, shape, count, run))])
    return figures_of(sample, count), sample


def figures_of(sample: Sample, count: int) -> dict[str, float]:
    """Rate, CPU and latency of a sample with one role that returns `wall_s` and `times`."""
    (result,) = sample.results
    figures = {
        "messages_per_s": count / result["wall_s"],
        "cpu_ns": sample.meter.used_ns / count,
        "server_cores": sample.meter.cores,
        "wall_s": result["wall_s"],
    }
    if result.get("times"):
        p50, p99 = ratios.weighted_percentiles(result["times"], [0.5, 0.99])
        figures |= {"p50_us": p50 * 1e6, "p99_us": p99 * 1e6}
    return figures


def _publish_windowed(gate, port: int, shape: Publishing, count: int, run: int) -> dict:
    connection, inbox = open_publisher(port)
    ring = shape.ring(count, inbox, run)
    gate()
    pumped = pump(connection, ring, count, shape.window, pubacks())
    return {"wall_s": pumped.end_s - pumped.start_s, "times": match_logs(pumped.sent, pumped.answered)}


class _OneByOne:
    """One of the publishers that wait for each answer: all live in one process, which is cheaper."""

    def __init__(self, port: int, shape: Publishing, count: int, index: int):
        self.connection, inbox = open_publisher(port)
        self.record = wire.publish_record(stream_subject(0, index), shape.payload, reply=inbox + b".0")
        self.left = count
        self._answer = b""
        self._sent_s = 0.0

    def send(self) -> None:
        self._sent_s = time.monotonic()
        self.connection.sendall(self.record)

    def receive(self) -> float | None:
        """Seconds that the answer took, when it is there as a whole."""
        data = self.connection.recv(4096)
        now = time.monotonic()
        if not data:
            raise LoadError("a publisher was disconnected")
        self._answer = (self._answer + data).replace(wire.ping, b"")
        if not self._answer.endswith(b"}\r\n"):
            return None
        if puback_bad in self._answer or self._answer.count(puback_good) != 1:
            raise LoadError(f"instead of one answer: {self._answer[:300]!r}")
        self._answer = b""
        self.left -= 1
        return now - self._sent_s


def _publish_one_by_one(gate, port: int, shape: Publishing, count: int, run: int) -> dict:
    crowd = [_OneByOne(port, shape, count // shape.publishers, index) for index in range(shape.publishers)]
    poll = select.epoll()
    by_descriptor = {publisher.connection.fileno(): publisher for publisher in crowd}
    for descriptor in by_descriptor:
        poll.register(descriptor, select.EPOLLIN)
    times: list[tuple[float, int]] = []
    gate()
    start = time.monotonic()
    for publisher in crowd:
        publisher.send()
    busy = len(crowd)
    while busy:
        events = poll.poll(answer_timeout_s)
        if not events:
            raise LoadError(f"silence after {len(times)} of {count} answers")
        for descriptor, _ in events:
            publisher = by_descriptor[descriptor]
            took_s = publisher.receive()
            if took_s is None:
                continue
            times.append((took_s, 1))
            if publisher.left:
                publisher.send()
            else:
                busy -= 1
    return {"wall_s": time.monotonic() - start, "times": times}
