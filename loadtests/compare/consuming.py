"""What the cases of pull and push consumers share: stream, consumer, passes, the check of the outcome.

One sample, on a server and a store that are new:

1. the stream is filled and consumed by trials that grow until one lasts long enough to tell the rate. In the
   first, everything that comes is kept and compared: each message once, with its payload;
2. the stream is filled up to what fits into the wanted time, and a new consumer gets all of it.

Each pass takes all messages of the stream, neither more nor fewer, and afterwards CONSUMER.INFO must tell the
same: as many deliveries as messages, none pending, none unacknowledged, none delivered again.
"""

import time
from collections.abc import Callable
from typing import Any

from loadtests.compare.roles import Sample
from loadtests.compare.stream_api import StreamApi, create_streams, open_publisher, stream_name
from loadtests.compare.stream_publish import Publishing, trial_growth, trial_s_min, window_default
from loadtests.compare.windowed import pubacks, pump
from loadtests.compare.wire import LoadError
from loadtests.servers import RunningServer

trial_count = 2000
messages_max = 2_000_000  # in a stream, so that one case ends within the time of the others
settle_s_max = 10.0  # for what a server does behind its last answer
second_ns = 1_000_000_000
shape = Publishing()  # of the messages that are consumed
Figures = dict[str, float]


def consumer_name(run: int) -> str:
    """Of the consumer of pass `run`; of fixed width, without F."""
    return f"C{run:05d}"


def create_consumer(api: StreamApi, stream: str, name: str, **options: Any) -> dict[str, Any]:
    """The answer to the request; `options` are keys of the configuration."""
    config = {"name": name, "deliver_policy": "all", "replay_policy": "instant", **options}
    return api.request(f"CONSUMER.CREATE.{stream}.{name}", {"stream_name": stream, "config": config})


def check_consumer(api: StreamApi, stream: str, name: str, delivered: int) -> None:
    """All was delivered once and is acknowledged; LoadError with the figures if it is not so in time."""
    wanted = {"delivered": delivered, "num_ack_pending": 0, "num_redelivered": 0, "num_pending": 0}
    deadline = time.monotonic() + settle_s_max
    while True:
        info = api.request(f"CONSUMER.INFO.{stream}.{name}")
        found = {key: info[key] for key in wanted} | {"delivered": info["delivered"]["consumer_seq"]}
        if found == wanted:
            return
        if time.monotonic() > deadline:
            raise LoadError(f"consumer {name}: {found} instead of {wanted}")
        time.sleep(0.02)


def delete_consumer(api: StreamApi, stream: str, name: str) -> None:
    """So that it costs the following passes nothing."""
    api.request(f"CONSUMER.DELETE.{stream}.{name}")


def measure_consuming(
    server: RunningServer, seconds: float, one_pass: Callable[[int, int], Figures]
) -> Figures:
    """One sample; `one_pass(run, messages)` consumes all messages of the stream and returns the figures."""
    create_streams(server, 1)
    stored = run = 0
    count = trial_count
    while True:
        stored += _publish(server, count - stored)
        figures = one_pass(run, stored)
        run += 1
        if figures["wall_s"] >= min(trial_s_min, seconds) or count * trial_growth > messages_max:
            break
        count *= trial_growth
    count = min(messages_max, max(stored, int(stored / figures["wall_s"] * seconds)))
    stored += _publish(server, count - stored)
    figures = one_pass(run, stored)
    with StreamApi(server) as api:
        api.check_messages(stored)
    return figures


def _publish(server: RunningServer, count: int) -> int:
    if count > 0:
        connection, inbox = open_publisher(server.port)
        with connection:
            pump(connection, shape.ring(count, inbox), count, window_default, pubacks())
    return max(0, count)


def rates_of(sample: Sample, messages: int, copies: int = 1) -> Figures:
    """Of roles that tell `start` and `end`: the rate of all, CPU a delivery."""
    wall_s = max(result["end"] for result in sample.results) - min(each["start"] for each in sample.results)
    deliveries = messages * copies
    return {
        "messages_per_s": messages / wall_s,
        "deliveries_per_s": deliveries / wall_s,
        "cpu_ns": sample.meter.used_ns / deliveries,
        "server_cores": sample.meter.cores,
        "wall_s": wall_s,
    }


stream = stream_name()
