"""Key-value buckets, as client libraries build them on streams: put, get, and watch.

A bucket is a stream that keeps the last message of each key; a put is an acknowledged publish, a get a direct
get of the last message of a subject, a watch an ordered push consumer that begins with the last of each key.
"""

import random
from collections.abc import Iterable

from loadtests.compare import wire
from loadtests.compare.consuming import Figures
from loadtests.compare.latency import match_logs
from loadtests.compare.roles import run_roles
from loadtests.compare.stream_api import StreamApi, open_publisher
from loadtests.compare.stream_publish import figures_of, trial_growth, trial_s_min, window_default
from loadtests.compare.stream_reads import get_answers
from loadtests.compare.windowed import Ring, pubacks, pump
from loadtests.compare.wire import LoadError
from loadtests.servers import RunningServer

bucket = "LOAD"
stream = f"KV_{bucket}"
put_keys = 10_000  # of the put cases: each is written many times
in_flight = 64
trial_count = 2000
ring_records = 20_000
checked = 20  # gets that are compared as a whole
payload = b"0123456789abcdef" * 8
second_ns = 1_000_000_000
bucket_config = {
    "name": stream,
    "subjects": [f"$KV.{bucket}.>"],
    "retention": "limits",
    "storage": "file",
    "num_replicas": 1,
    "discard": "new",
    "allow_rollup_hdrs": True,
    "deny_delete": True,
    "allow_direct": True,
    "duplicate_window": 120 * second_ns,
}


def key_subject(key: int) -> bytes:
    """Of fixed width."""
    return b"$KV.%s.%07d" % (bucket.encode(), key)


def create_bucket(server: RunningServer, history: int = 1) -> None:
    """`history` is how many values of a key are kept."""
    with StreamApi(server) as api:
        api.request(f"STREAM.CREATE.{stream}", bucket_config | {"max_msgs_per_subject": history})


def check_bucket(server: RunningServer, revision: int, keys: int) -> None:
    """As many revisions as puts were acknowledged, and all keys."""
    with StreamApi(server) as api:
        state = api.request(f"STREAM.INFO.{stream}")["state"]
    if (state["last_seq"], state["num_subjects"]) != (revision, keys):
        raise LoadError(f"{revision} puts to {keys} keys: {state}")


def put_ring(inbox: bytes, keys: Iterable[int]) -> Ring:
    """A put of each of the keys."""
    records = [
        wire.publish_record(key_subject(key), payload, reply=inbox + b".%08d" % number)
        for number, key in enumerate(keys)
    ]
    return Ring(b"".join(records), len(records[0]))


def fill_bucket(server: RunningServer, keys: int) -> None:
    """A bucket with a value for each key, in a stirred order."""
    create_bucket(server)
    connection, inbox = open_publisher(server.port)
    order = list(range(keys))
    random.Random(1).shuffle(order)
    with connection:
        for first in range(0, keys, ring_records):
            part = order[first : first + ring_records]
            pump(connection, put_ring(inbox, part), len(part), window_default, pubacks())
    check_bucket(server, keys, keys)


# -- put


def measure_puts(server: RunningServer, seconds: float) -> Figures:
    """One sample: puts a second with 64 in flight, latency, CPU a put."""
    create_bucket(server)
    count, revision = put_keys, 0
    while True:
        figures = figures_of(run_roles(server.pid, [(put, (server.port, count, in_flight))]), count)
        revision += count
        if figures["wall_s"] >= min(trial_s_min, seconds):
            break
        count *= trial_growth
    count = max(in_flight, int(figures["messages_per_s"] * seconds))
    figures = figures_of(run_roles(server.pid, [(put, (server.port, count, in_flight))]), count)
    check_bucket(server, revision + count, put_keys)
    return figures


def put(gate, port: int, count: int, window: int) -> dict:
    """A role: `count` puts, lap by lap over the keys in a stirred order."""
    connection, inbox = open_publisher(port)
    order = list(range(put_keys))
    random.Random(1).shuffle(order)
    ring = put_ring(inbox, order)
    gate()
    pumped = pump(connection, ring, count, window, pubacks())
    return {
        "start": pumped.start_s,
        "end": pumped.end_s,
        "wall_s": pumped.end_s - pumped.start_s,
        "times": match_logs(pumped.sent, pumped.answered),
    }


# -- get


def measure_gets(server: RunningServer, keys: int, window: int, seconds: float) -> Figures:
    """One sample: gets a second of keys in a stirred order with `window` in flight, latency, CPU a get."""
    fill_bucket(server, keys)
    _check_gets(server, keys)
    count = max(trial_count // 10, trial_count * window // in_flight)
    while True:
        figures = _get_pass(server, keys, count, window)
        if figures["wall_s"] >= min(trial_s_min, seconds):
            break
        count *= trial_growth
    return _get_pass(server, keys, max(window, int(figures["requests_per_s"] * seconds)), window)


def _check_gets(server: RunningServer, keys: int) -> None:
    with StreamApi(server) as api:
        for key in random.Random(2).choices(range(keys), k=checked):
            headers, body = api.raw_request(_get_subject(key).decode(), b"")
            if body != payload or b"Nats-Subject: %s\r\n" % key_subject(key) not in headers:
                raise LoadError(f"instead of key {key}: {headers!r} {body[:100]!r}")


def _get_subject(key: int) -> bytes:
    return b"$JS.API.DIRECT.GET.%s.%s" % (stream.encode(), key_subject(key))


def _get_pass(server: RunningServer, keys: int, count: int, window: int) -> Figures:
    sample = run_roles(server.pid, [(_get, (server.port, keys, count, window))])
    figures = figures_of(sample, count)
    figures["requests_per_s"] = figures.pop("messages_per_s")
    return figures


def _get(gate, port: int, keys: int, count: int, window: int) -> dict:
    connection, inbox = open_publisher(port)
    chosen = random.Random(1).choices(range(keys), k=min(count, ring_records))
    records = [
        wire.publish_record(_get_subject(key), b"", reply=inbox + b".%06d" % number)
        for number, key in enumerate(chosen)
    ]
    ring = Ring(b"".join(records), len(records[0]))
    gate()
    pumped = pump(connection, ring, count, window, get_answers())
    return {"wall_s": pumped.end_s - pumped.start_s, "times": match_logs(pumped.sent, pumped.answered)}
