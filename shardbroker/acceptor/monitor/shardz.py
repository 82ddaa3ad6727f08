"""/shardz: the broker's inside, shard by shard. JSON for programs, a self-refreshing table for browsers.

A shard is a worker and what belongs to it: its process, ring, slots and figures, and with JetStream its
append lane and the streams that it owns.
"""

import os
import time
from collections import Counter

from shardbroker.acceptor.catalog import DAMAGED, LIVE
from shardbroker.acceptor.monitor import jsz
from shardbroker.acceptor.monitor.page import json_page, timestamp, uptime
from shardbroker.acceptor.monitor.processes import proportional_size
from shardbroker.acceptor.monitor.shardz_html import shardz_html
from shardbroker.shm import layout
from shardbroker.shm.region import SHARED_MEMORY_DIRECTORY
from shardbroker.shm.worker_table import STATE_NAMES, STATISTIC
from shardbroker.version import __version__


def shardz(monitor, request, respond) -> None:
    page = collect(monitor)
    wanted = request.query.get("format", "")
    if wanted == "html" or (not wanted and "text/html" in request.accept):
        respond(shardz_html(page))
    else:
        respond(json_page(page))


def collect(monitor) -> dict:
    """Everything the page shows, as plain values."""
    broker = monitor.broker
    fabric = broker.fabric
    now_ns = time.time_ns()
    usage = monitor.processes.sample()
    processes = [_process(each) for each in usage]
    if broker.jetstream is not None:
        for process in processes:
            if process["role"] == "stream-writer":
                process |= _writer(monitor)
    of_worker = {each.index: each for each in usage if each.role == "worker"}
    slots = fabric.slots.held(fabric.worker_count)
    shards = [
        _shard(broker, worker, slots[worker.index], of_worker.get(worker.index)) for worker in broker.workers
    ]
    if broker.jetstream is not None:
        _add_lanes(broker, shards)
    status = os.statvfs(SHARED_MEMORY_DIRECTORY)
    totals = fabric.totals()
    page = {
        "server_id": broker.server_id,
        "server_name": broker.server_name,
        "version": __version__,
        "now": timestamp(now_ns),
        "uptime": uptime(now_ns - fabric.start_ns),
        "workers": fabric.worker_count,
        "restarts": broker.supervisor.restarts_total,
        "lame_duck": broker.shutdown.lame_duck,
        "accepted": broker.handoff.accepted,
        "rejected": broker.handoff.rejected,
        "accept_queue": broker.handoff.waiting,
        "log_lines_dropped": broker.log.dropped,
        "shm_free": status.f_bavail * status.f_frsize,
        "cpu_percent": round(sum(each.cpu_percent for each in usage), 1),
        "rss": sum(each.rss for each in usage),
        "pss": sum(each["pss"] for each in processes),
        "processes": processes,
        "totals": {name: totals[index] for name, index in STATISTIC.items()},
        "shards": shards,
    }
    if broker.jetstream is not None:
        page["jetstream"] = _jetstream(broker)
    return page


def _jetstream(broker) -> dict:
    """The streams together; /jsz has them one by one."""
    used = jsz.usage(broker)
    states = Counter(entry.state for entry in broker.jetstream.catalog.entries())
    return {
        "streams": states[LIVE] - len(broker.jetstream.unreadable),
        "damaged": states[DAMAGED] + len(broker.jetstream.unreadable),
        "memory": used["memory"],
        "storage": used["storage"],
        "api": used["api"],
        "store": broker.jetstream.store_path,
        "sync": jsz.synchronization(broker),
        "writer": jsz.writer(broker),
        "faults": broker.jetstream.writer.faults,
    }


def _writer(monitor) -> dict:
    """What the stream-writer's row has beside what every process has."""
    rates = monitor.writer_rates.sample()
    return {
        **monitor.broker.fabric.writer_totals(),
        "syncs_per_second": rates["syncs"],
        "frames_per_second": rates["frames"],
        "bytes_per_second": rates["bytes"],
    }


def _add_lanes(broker, shards: list[dict]) -> None:
    """How full the append lanes are, and which shard owns how many streams."""
    owned = Counter(entry.owner for entry in broker.jetstream.catalog.entries())
    for shard in shards:
        head, processed, released = broker.fabric.lane(shard["worker"])
        shard["streams"] = owned[shard["worker"]]
        shard["lane_size"] = broker.fabric.lane_size
        shard["lane_fill"] = max(0, head - released)
        shard["lane_fill_percent"] = round(100 * shard["lane_fill"] / broker.fabric.lane_size, 1)
        shard["lane_unwritten"] = max(0, head - processed)


def _process(usage) -> dict:
    return {
        "role": usage.role if usage.index < 0 else f"{usage.role} {usage.index}",
        "pid": usage.pid,
        "cpu_percent": usage.cpu_percent,
        "cpu_seconds": usage.cpu_seconds,
        "rss": usage.rss,
        "pss": proportional_size(usage.pid),
        "threads": usage.threads,
        "fds": usage.fds,
        "switches_voluntary": usage.switches_voluntary,
        "switches_involuntary": usage.switches_involuntary,
    }


def _shard(broker, worker, slots: int, usage) -> dict:
    fabric = broker.fabric
    row, regions = fabric.rows[worker.index], fabric.regions[worker.index]
    fill = 0
    if row.state == layout.STATE_UP:
        peers = [peer.index for peer in broker.workers if peer is not worker and peer.alive]
        head = regions.head
        fill = max((head - regions.cursor(peer) for peer in peers), default=0)
    return {
        "worker": worker.index,
        "pid": row.pid,
        "state": STATE_NAMES[row.state],
        "generation": row.generation,
        "restarts": max(0, row.generation - 1),
        "slots": slots,
        "heartbeat_age_ms": max(0, time.monotonic_ns() - row.heartbeat_ns) // 1_000_000
        if row.heartbeat_ns
        else -1,
        "cpu_percent": usage.cpu_percent if usage else 0,
        "rss": usage.rss if usage else 0,
        "ring_size": broker.options.ring_size,
        "ring_fill": max(0, fill),
        "ring_fill_percent": round(100 * max(0, fill) / broker.options.ring_size, 1),
        "statistics": dict(zip(STATISTIC, row.statistics(), strict=True)),
    }
