"""Watching a bucket: how fast a new watcher has the last value of all keys, and updates to many watchers.

- **Initial**: watchers come one after the other, each with a consumer of its own, as many as fit into the
  time. The time of one runs from the request that creates its consumer to the last key.
- **Live**: watchers that want new values only, each with a connection, eight of them in a process; one client
  puts with a full window, into a bucket whose history is so long that no watcher can miss a value. The time
  runs from the first put to the last update at the last watcher.
"""

import select
import time
from typing import Any

from loadtests.compare.consumer_push import await_created, ordered, subscribe_deliveries
from loadtests.compare.consuming import Figures, consumer_name, delete_consumer, rates_of
from loadtests.compare.deliveries import Deliveries, Reader, check_deliveries, receive_all
from loadtests.compare.key_value import (
    bucket,
    check_bucket,
    create_bucket,
    fill_bucket,
    payload,
    put,
    put_keys,
    stream,
)
from loadtests.compare.roles import run_roles
from loadtests.compare.stream_api import StreamApi
from loadtests.compare.stream_publish import trial_growth, trial_s_min, window_default
from loadtests.servers import RunningServer

watchers_a_process = 8
live_trial = 2000
history_max = 64  # the most a bucket may keep: what a slow watcher has not seen yet must not be overwritten
live_count_max = put_keys * history_max * 3 // 4
initial_passes_max = 50
all_keys: dict[str, Any] = {**ordered, "filter_subject": f"$KV.{bucket}.>"}
initial: dict[str, Any] = {**all_keys, "deliver_policy": "last_per_subject"}
updates: dict[str, Any] = {**all_keys, "deliver_policy": "new"}


# -- initial


def measure_initial(server: RunningServer, keys: int, seconds: float) -> Figures:
    """One sample: keys a second, CPU a key."""
    fill_bucket(server, keys)
    sample = run_roles(server.pid, [(_watch_initial, (server.port, keys, 0, 1, True))])
    check_deliveries([sample.results[0]["kept"]], range(1, keys + 1), payload)
    figures = rates_of(sample, keys)
    passes = max(1, min(initial_passes_max, int(seconds / figures["wall_s"])))
    sample = run_roles(server.pid, [(_watch_initial, (server.port, keys, 1, passes, False))])
    return rates_of(sample, keys * passes)


def _watch_initial(gate, port: int, keys: int, run: int, passes: int, keep: bool) -> dict:
    names = [consumer_name(run + number) for number in range(passes)]
    watchers = [subscribe_deliveries(port, name, stream, initial) for name in names]
    gate()
    kept = b""
    start = end = time.monotonic()
    for name, (connection, _, create) in zip(names, watchers, strict=True):
        reader = Reader(connection, keep=keep)
        connection.sendall(create)
        end = receive_all(connection, Deliveries(stream, name, acknowledges=False), reader, keys)
        kept += reader.kept()
        connection.close()
    return {"start": start, "end": end, "kept": kept}


# -- live


def measure_live(server: RunningServer, watchers: int, seconds: float) -> Figures:
    """One sample: updates a second at all watchers together, CPU of each."""
    create_bucket(server, history_max)
    count, run, revision = live_trial, 0, 0
    while True:
        figures = _live_pass(server, watchers, run, revision, count)
        revision += count
        run += 1
        if figures["wall_s"] >= min(trial_s_min, seconds):
            break
        count *= trial_growth
    trial = count
    count = min(live_count_max, max(live_trial, int(figures["messages_per_s"] * seconds)))
    figures = _live_pass(server, watchers, run, revision, count)
    # Each pass begins with the same key.
    check_bucket(server, revision + count, min(put_keys, max(trial, count)))
    return figures


def _live_pass(server: RunningServer, watchers: int, run: int, revision: int, count: int) -> Figures:
    names = [consumer_name(run * watchers + number) for number in range(watchers)]
    groups = [names[first : first + watchers_a_process] for first in range(0, watchers, watchers_a_process)]
    roles = [(_watch_live, (server.port, group, count, run == 0)) for group in groups]
    sample = run_roles(server.pid, [(put, (server.port, count, window_default)), *roles])
    with StreamApi(server) as api:
        for name in names:
            delete_consumer(api, stream, name)
    if run == 0:
        for result in sample.results[1:]:
            for kept in result["kept"]:
                check_deliveries([kept], range(revision + 1, revision + count + 1), payload)
    return rates_of(sample, count, watchers)


def _watch_live(gate, port: int, names: list[str], count: int, keep: bool) -> dict:
    crowd = {}
    poll = select.epoll()
    for name in names:
        connection, _, create = subscribe_deliveries(port, name, stream, updates)
        await_created(connection, create)
        crowd[connection.fileno()] = (
            connection,
            Reader(connection, keep=keep),
            Deliveries(stream, name, acknowledges=False),
        )
        poll.register(connection, select.EPOLLIN)
    gate()
    start = time.monotonic()
    done = 0
    while done < len(crowd):
        events = poll.poll(1.0)
        for descriptor, _ in events:
            connection, reader, deliveries = crowd[descriptor]
            before = deliveries.count
            answer = deliveries(reader())
            if answer:
                connection.sendall(answer)
            reader.progress(deliveries.count - before, deliveries.count, count)
            done += before < count == deliveries.count
        if not events:
            for _, reader, deliveries in crowd.values():
                if deliveries.count < count:
                    reader.progress(0, deliveries.count, count)
    end = time.monotonic()
    kept = [reader.kept() for _, reader, _ in crowd.values()]
    for connection, _, _ in crowd.values():
        connection.close()
    return {"start": start, "end": end, "kept": kept}
