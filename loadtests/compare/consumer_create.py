"""Creating consumers: many on a stream with many messages, and filtered ones on a stream with many subjects.

- **Many**: 64 requests in flight; each answer must tell all messages of the stream as pending.
- **Filtered**: one request at a time; the answer must tell exactly how many messages match, however the
  filter cuts through the subjects. Other clients send PING by timetable meanwhile, on several connections, so
  that each worker of the server has some; their p99 tells whether counting holds up others.
"""

import ctypes
import itertools
import json
import statistics
import time
from dataclasses import dataclass
from typing import Any

from loadtests.compare import ratios, wire
from loadtests.compare.consuming import Figures, consumer_name, create_consumer, delete_consumer, stream
from loadtests.compare.roles import fork, run_roles
from loadtests.compare.stream_api import StreamApi, create_streams, open_publisher
from loadtests.compare.stream_fill import fill
from loadtests.compare.stream_publish import window_default
from loadtests.compare.timetable import ping_all
from loadtests.compare.windowed import Answers, Ring, puback_bad, pubacks, pump
from loadtests.compare.wire import LoadError
from loadtests.servers import RunningServer

create_in_flight = 64
small_payload = b"0123456789abcdef"
warm_up = 20  # consumers created and deleted before
groups = 100  # second last token of the subjects of the filtered case
a_group = 42
rounds = 5  # of all filters
ping_interval_s = 0.002
pinger_connections = 8
fill_slice = 50_000


# -- many


def measure_creates(server: RunningServer, consumers: int, messages: int) -> Figures:
    """One sample: durable consumers created a second, CPU of each."""
    fill(server, messages, payload_size=len(small_payload))
    with StreamApi(server) as api:
        api.check_messages(messages)
        for number in range(warm_up):
            create_consumer(api, stream, consumer_name(number), durable_name=consumer_name(number))
            delete_consumer(api, stream, consumer_name(number))
    sample = run_roles(server.pid, [(_create, (server.port, consumers, messages))])
    (result,) = sample.results
    with StreamApi(server) as api:
        count = api.request(f"STREAM.INFO.{stream}")["state"]["consumer_count"]
        if count != consumers:
            raise LoadError(f"{consumers} consumers created, {count} there")
    return {"creates_per_s": consumers / result["wall_s"], "cpu_ns": sample.meter.used_ns / consumers}


def _create(gate, port: int, consumers: int, messages: int) -> dict:
    connection, inbox = open_publisher(port)
    records = []
    for number in range(consumers):
        name = consumer_name(number)
        config = {"durable_name": name, "ack_policy": "explicit", "deliver_policy": "all"}
        body = json.dumps({"stream_name": stream, "config": config}).encode()
        subject = f"$JS.API.CONSUMER.CREATE.{stream}.{name}".encode()
        records.append(wire.publish_record(subject, body, reply=inbox + b".%05d" % number))
    ring = Ring(b"".join(records), len(records[0]))
    answers = Answers(b'"num_pending":%d,' % messages, puback_bad)
    gate()
    pumped = pump(connection, ring, consumers, create_in_flight, answers)
    return {"wall_s": pumped.end_s - pumped.start_s}


# -- filtered


@dataclass(frozen=True)
class Filter:
    """One way to cut through the subjects `load.00000.GROUP.KEY`, and how many messages it must find."""

    figure: str
    config: dict[str, Any]
    matching: int


def filters(messages: int, subjects: int) -> list[Filter]:
    """Message i (from 0) has key i modulo `subjects`, in group key modulo `groups`."""
    keys = range(a_group, subjects, groups)
    middle = messages // 2
    whole = {"filter_subject": f"load.00000.{a_group:03d}.>"}
    one = {"filter_subject": f"load.00000.*.{a_group:07d}"}
    later = {"deliver_policy": "by_start_sequence", "opt_start_seq": middle + 1}
    return [
        Filter("group_ms", whole, messages_of(keys, messages, subjects)),
        Filter("one_ms", one, messages_of([a_group], messages, subjects)),
        Filter("every_ms", {"filter_subject": "load.00000.*.*"}, messages),
        Filter(
            "later_ms",
            whole | later,
            messages_of(keys, messages, subjects) - messages_of(keys, middle, subjects),
        ),
    ]


def messages_of(keys, messages: int, subjects: int) -> int:
    """How many of the first `messages` have one of the keys."""
    laps, rest = divmod(messages, subjects)
    return laps * len(keys) + sum(key < rest for key in keys)


def measure_filtered(server: RunningServer, messages: int, subjects: int) -> Figures:
    """One sample: milliseconds until the answer for each filter, p99 of pings of others meanwhile."""
    create_streams(server, 1)
    _fill_groups(server, messages, subjects)
    with StreamApi(server) as api:
        api.check_messages(messages)
    ended = fork.RawValue(ctypes.c_int, 0)
    chosen = filters(messages, subjects)
    sample = run_roles(
        server.pid, [(_create_filtered, (server, chosen, ended)), (_ping, (server.port, ended))]
    )
    created, pinged = sample.results
    return created | pinged | {"cpu_ns": sample.meter.used_ns / (rounds * len(chosen))}


def _fill_groups(server: RunningServer, messages: int, subjects: int) -> None:
    keys = itertools.cycle(range(subjects))
    connection, inbox = open_publisher(server.port)
    with connection:
        for first in range(0, messages, fill_slice):
            count = min(fill_slice, messages - first)
            records = [
                wire.publish_record(
                    b"load.00000.%03d.%07d" % (key % groups, key), small_payload, reply=inbox + b".0"
                )
                for key in itertools.islice(keys, count)
            ]
            ring = Ring(b"".join(records), len(records[0]))
            pump(connection, ring, count, window_default, pubacks())


def _create_filtered(gate, server: RunningServer, chosen: list[Filter], ended) -> dict:
    times: dict[str, list[float]] = {each.figure: [] for each in chosen}
    try:
        with StreamApi(server) as api:
            gate()
            for number in range(rounds * len(chosen)):
                each = chosen[number % len(chosen)]
                name = consumer_name(number)
                start = time.monotonic()
                answer = create_consumer(api, stream, name, ack_policy="explicit", **each.config)
                times[each.figure].append(time.monotonic() - start)
                if answer["num_pending"] != each.matching:
                    pending = answer["num_pending"]
                    raise LoadError(f"{each.config}: {pending} pending instead of {each.matching}")
                delete_consumer(api, stream, name)
    finally:
        ended.value = 1
    return {figure: statistics.median(each) * 1e3 for figure, each in times.items()}


def _ping(gate, port: int, ended) -> dict:
    """Open loop: the time of a ping runs from its place in the timetable."""
    crowd = [wire.connect(port, "pinger") for _ in range(pinger_connections)]
    gate()
    times = ping_all(crowd, ping_interval_s, lambda: not ended.value)
    (p99,) = ratios.weighted_percentiles(times, [0.99])
    return {"ping_p99_us": p99 * 1e6}
