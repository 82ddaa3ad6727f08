"""How long a message takes from its publisher through the stream to a consumer that waits for it.

Open loop: the publisher has a timetable, and a latency runs from the place of the message in it to the moment
at which the consumer's read returned (see latency.py). The publisher hears the answers of the stream as well.
A push consumer is an ordered one. For a pull consumer one request waits that is large enough for all
messages, and each message is acknowledged.
"""

import contextlib
import itertools
import time

from loadtests.compare import wire
from loadtests.compare.consumer_pull import next_request
from loadtests.compare.consumer_push import await_created, ordered, subscribe_deliveries
from loadtests.compare.consuming import (
    Figures,
    check_consumer,
    consumer_name,
    create_consumer,
    shape,
    stream,
)
from loadtests.compare.deliveries import Deliveries, Reader
from loadtests.compare.latency import match_logs, percentiles_us, tick_s
from loadtests.compare.roles import run_roles
from loadtests.compare.stream_api import StreamApi, create_streams, open_publisher
from loadtests.compare.timetable import Timetable
from loadtests.compare.windowed import pubacks
from loadtests.compare.wire import LoadError
from loadtests.servers import RunningServer

seconds_least = 2.0
name = consumer_name(0)


def measure_latency(server: RunningServer, storage: str, pull: bool, seconds: float) -> Figures:
    """One sample: percentiles of 2,000 messages a second, CPU of the server for each."""
    count = round(max(seconds_least, seconds) / tick_s)
    create_streams(server, 1, storage=storage)
    with StreamApi(server) as api:
        if pull:
            create_consumer(
                api, stream, name, durable_name=name, ack_policy="explicit", max_ack_pending=2 * count
            )
        sample = run_roles(
            server.pid,
            [(_consume, (server.port, pull, count)), (_publish_timetable, (server.port, count))],
        )
        check_consumer(api, stream, name, count)
        api.check_messages(count)
    consumed, published = sample.results
    intended = [(number + 1, published["start"] + number * tick_s) for number in range(count)]
    # The first tenth warms up connections and caches.
    figures = percentiles_us(match_logs(intended, consumed["log"], count // 10))
    return figures | {
        "cpu_ns": sample.meter.used_ns / count,
        "late_us_max": published["late_s_max"] * 1e6,
    }


def _publish_timetable(gate, port: int, count: int) -> dict:
    connection, inbox = open_publisher(port)
    ring = shape.ring(1, inbox)
    record = bytes(ring.data)
    answers, answered = pubacks(), 0
    buffer = bytearray(wire.read_size)
    view = memoryview(buffer)
    timetable = Timetable(tick_s)
    gate()
    start = time.monotonic() + tick_s
    for number, _ in enumerate(itertools.islice(timetable.places(start), count)):
        connection.sendall(record)
        if number % 16 == 0:
            connection.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                answered += answers(bytes(view[: connection.recv_into(buffer)]))
            connection.settimeout(wire.answer_timeout_s)
    while answered < count:
        size = connection.recv_into(buffer)
        if not size:
            raise LoadError(f"closed after {answered} of {count} answers")
        answered += answers(bytes(view[:size]))
    return {"start": start, "late_s_max": timetable.late_s_max}


def _consume(gate, port: int, pull: bool, count: int) -> dict:
    if pull:
        connection, inbox = open_publisher(port)
        connection.sendall(next_request(name, inbox, count))
        wire.flush(connection)
    else:
        connection, _, create = subscribe_deliveries(port, name, stream, ordered)
        await_created(connection, create)
    deliveries = Deliveries(stream, name, acknowledges=pull)
    reader = Reader(connection)
    log = []
    gate()
    while deliveries.count < count:
        before = deliveries.count
        data = reader()
        now = time.monotonic()
        answer = deliveries(data)
        if deliveries.count > before:
            log.append((deliveries.count, now))
        if answer:
            connection.sendall(answer)
        reader.progress(deliveries.count - before, deliveries.count, count)
    wire.flush(connection)
    return {"log": log}
