"""Throughput between two workers: a publisher on one, a subscriber on another.

Which worker a connection lives on is the broker's choice (fewest connections; a connection that talks on a
literal subject may also move to that subject's home). So this opens the subscriber with a wildcard, and then
publishers on different subjects until the figures of /shardz show one on another worker: the subscription
raised `subscriptions` of one worker, a first PUB raised `in_msgs` of another.

The proof is taken during the measurement itself: `ring_share` is the share of the deliveries that came to
their worker through a ring. A server without /shardz is one process; there the share is 0.
"""

import json
import socket
import time
import urllib.error
import urllib.request

from loadtests.compare import wire
from loadtests.compare.traffic import Traffic, measure
from loadtests.compare.wire import LoadError
from loadtests.servers import RunningServer

candidates_max = 16
figures_timeout_s = 3.0  # workers write their figures now and then, not with each message


def measure_across(server: RunningServer, traffic: Traffic, seconds: float) -> dict[str, float]:
    """One publisher to one subscriber on different workers, as `traffic.measure`; adds `ring_share`."""
    before = worker_figures(server, "subscriptions")
    subscriber = wire.connect(server.port, "across-subscriber")
    subscriber.sendall(traffic.subscribe_lines())
    wire.flush(subscriber)
    home = _risen(server, "subscriptions", before)
    publisher, rejected = _publisher_elsewhere(server, home)
    for connection in rejected:
        connection.close()
    passed_before = sum(worker_figures(server, "ring_messages_in"))
    received_before = sum(worker_figures(server, "out_msgs"))
    figures = measure(server, traffic, seconds, connections=([publisher], [subscriber]))
    time.sleep(1.0)  # for the last figures to be written
    received = sum(worker_figures(server, "out_msgs")) - received_before
    passed = sum(worker_figures(server, "ring_messages_in")) - passed_before
    figures["ring_share"] = passed / received if received else 0.0
    return figures


def worker_figures(server: RunningServer, name: str) -> list[int]:
    """One figure of each worker, from /shardz; [] for a server that has no such page."""
    url = f"http://{server.host}:{server.monitor_port}/shardz"
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            return [shard["statistics"][name] for shard in json.load(answer)["shards"]]
    except (urllib.error.HTTPError, json.JSONDecodeError):
        return []


def _publisher_elsewhere(
    server: RunningServer, home: int | None
) -> tuple[socket.socket, list[socket.socket]]:
    """A publisher that does not live on worker `home` (any, if that is None), and those not taken."""
    rejected = []
    for number in range(candidates_max):
        publisher = wire.connect(server.port, "across-publisher")
        before = worker_figures(server, "in_msgs")
        # The first PUB may move the connection: after it, it is where it will stay.
        publisher.sendall(wire.publish_record(b"settle.%d" % number, b""))
        wire.flush(publisher)
        if home is None or _risen(server, "in_msgs", before) != home:
            return publisher, rejected
        rejected.append(publisher)
    raise LoadError(f"all of {candidates_max} publishers came to the subscriber's worker: only one worker?")


def _risen(server: RunningServer, name: str, before: list[int]) -> int | None:
    """The worker whose figure has grown; None for a server without workers."""
    deadline = time.monotonic() + figures_timeout_s
    while before and time.monotonic() < deadline:
        now = worker_figures(server, name)
        for worker, (old, new) in enumerate(zip(before, now, strict=True)):
            if new > old:
                return worker
        time.sleep(0.02)
    if before:
        raise LoadError(f"/shardz shows no change of {name}")
    return None
