"""Throughput between two workers: a publisher on one, a subscriber on another.

Which worker a connection lives on is the broker's choice (fewest connections; a connection that talks on a
literal subject may also move to that subject's home). So this opens the subscriber with a wildcard, then
publishers on different subjects until /connz shows one on another worker. A server whose /connz names no
worker is one process: the same traffic is measured and `cross_worker` is 0.
"""

import json
import time
import urllib.request

from loadtests.compare import wire
from loadtests.compare.traffic import Traffic, measure
from loadtests.servers import RunningServer

candidates_max = 16
worker_keys = ("worker", "shard")  # what a connection's entry of /connz may call it


def measure_across(server: RunningServer, traffic: Traffic, seconds: float) -> dict[str, float]:
    """One publisher to one subscriber on different workers, as `traffic.measure`."""
    subscriber = wire.connect(server.port, "across-subscriber")
    subscriber.sendall(traffic.subscribe_lines())
    wire.flush(subscriber)
    home = worker_of(server, "across-subscriber")
    publisher, across = None, False
    rejected = []
    for number in range(candidates_max):
        name = f"across-publisher-{number}"
        publisher = wire.connect(server.port, name)
        # The first PUB is executed, so that the connection is where it will stay.
        publisher.sendall(wire.publish_record(b"settle.%d" % number, b""))
        wire.flush(publisher)
        across = worker_of(server, name) not in (home, None)
        if across or home is None:
            break
        rejected.append(publisher)
    for connection in rejected:
        connection.close()
    figures = measure(server, traffic, seconds, connections=([publisher], [subscriber]))
    figures["cross_worker"] = float(across)
    return figures


def worker_of(server: RunningServer, name: str) -> int | str | None:
    """The worker of the connection with this name, or None if /connz does not tell."""
    deadline = time.monotonic() + 2.0
    while time.monotonic() < deadline:
        url = f"http://{server.host}:{server.monitor_port}/connz?limit=1024"
        with urllib.request.urlopen(url, timeout=5) as answer:
            entries = json.load(answer).get("connections") or []
        for entry in entries:
            if entry.get("name") == name:
                return next((entry[key] for key in worker_keys if key in entry), None)
        time.sleep(0.1)
    return None
