"""/varz: the server as a whole. Key order and spelling are nats-server's; monitoring tools parse them."""

import os
import platform
import time

from shardbroker.acceptor.monitor import jsz
from shardbroker.acceptor.monitor.page import json_page, number, timestamp, uptime
from shardbroker.acceptor.monitor.processes import ProcessUsage
from shardbroker.shm.worker_table import STATISTIC
from shardbroker.version import NATS_VERSION, __version__

#: The switches nats-server lists; none of them means anything here.
_FEATURE_FLAGS = ("js_ack_fc_v2", "js_api_reply_v2", "js_raft_delete_range", "js_snapshot_sources")
PROTOCOL_VERSION = 1


def varz(monitor, request, respond) -> None:
    broker = monitor.broker
    figures = broker.fabric.totals()
    usage = monitor.processes.sample()
    now_ns = time.time_ns()
    page = _configuration(monitor)
    page |= {
        "start": timestamp(broker.fabric.start_ns),
        "now": timestamp(now_ns),
        "uptime": uptime(now_ns - broker.fabric.start_ns),
        "mem": memory_size(usage),
        "cores": os.cpu_count() or 1,
        "gomaxprocs": broker.fabric.worker_count,
        "cpu": number(round(sum(process.cpu_percent for process in usage), 1)),
    }
    page |= _traffic({name: figures[index] for name, index in STATISTIC.items()}, broker.handoff.accepted)
    page |= {
        "http_req_stats": dict(sorted(monitor.requests.items())),
        "config_load_time": timestamp(broker.fabric.start_ns),
        "config_digest": "",
        "feature_flags": dict.fromkeys(_FEATURE_FLAGS, False),
        "system_account": "$SYS",
        "slow_consumer_stats": _by_kind(figures[STATISTIC["slow_consumers"]]),
        "stale_connection_stats": _by_kind(figures[STATISTIC["stale_connections"]]),
        "disk_io_wait_stats": {"waiters": 0, "waits": 0, "wait_time": 0, "max_wait_time": 0},
    }
    respond(json_page(page))


def memory_size(usage: list[ProcessUsage]) -> int:
    """Bytes of all processes together, what they share counted once (near enough)."""
    shared = max((process.shared for process in usage), default=0)
    return shared + sum(process.rss - process.shared for process in usage)


def _configuration(monitor) -> dict:
    """Who the server is and what it was told."""
    broker = monitor.broker
    options = broker.options
    return {
        "server_id": broker.server_id,
        "server_name": broker.server_name,
        "version": NATS_VERSION,
        "proto": PROTOCOL_VERSION,
        "git_commit": f"shardbroker-{__version__}",
        "go": f"python{platform.python_version()}",
        "host": broker.host,
        "port": broker.port,
        "max_connections": options.max_connections,
        **({"max_subscriptions": options.max_subscriptions} if options.max_subscriptions else {}),
        "ping_interval": int(options.ping_interval_s * 1e9),
        "ping_max": options.ping_max,
        "http_host": options.http_host or options.host,
        "http_port": monitor.port,
        "http_base_path": "",
        "https_port": 0,
        "auth_timeout": number(options.auth_timeout_s),
        "max_control_line": options.max_control_line,
        "max_payload": options.max_payload,
        "max_pending": options.max_pending,
        **{kind: {} for kind in ("cluster", "gateway", "leaf", "mqtt", "websocket")},
        "jetstream": _jetstream(broker) if broker.jetstream is not None else {},
        "tls_timeout": 2,
        "write_deadline": int(options.write_deadline_s * 1e9),
    }


def _jetstream(broker) -> dict:
    return {
        "config": jsz.configuration(broker),
        "stats": jsz.usage(broker),
        "limits": jsz.server_limits(),
    }


def _traffic(figures: dict[str, int], accepted: int) -> dict:
    """Connections and messages; all traffic here is clients' traffic."""
    page = {"connections": figures["connections"], "total_connections": accepted}
    page |= dict.fromkeys(("routes", "remotes", "leafnodes"), 0)
    for direction in ("in", "out"):
        for kind in ("", "client_"):
            page[f"{direction}_{kind}msgs"] = figures[f"{direction}_msgs"]
            page[f"{direction}_{kind}bytes"] = figures[f"{direction}_bytes"]
    for name in ("slow_consumers", "stale_connections", "stalled_clients", "subscriptions"):
        page[name] = figures[name]
    return page


def _by_kind(clients: int) -> dict[str, int]:
    return {"clients": clients, "routes": 0, "gateways": 0, "leafs": 0}
