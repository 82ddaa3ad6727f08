"""/varz: the server as a whole. Key order and spelling are nats-server's; monitoring tools parse them."""

import os
import platform
import time

from shardbroker.acceptor.monitor.page import json_page, number, timestamp, uptime
from shardbroker.acceptor.monitor.processes import ProcessUsage
from shardbroker.shm.worker_table import STATISTIC
from shardbroker.version import NATS_VERSION, __version__

#: The switches nats-server lists; none of them means anything here.
_FEATURE_FLAGS = ("js_ack_fc_v2", "js_api_reply_v2", "js_raft_delete_range", "js_snapshot_sources")
_KINDS = ("clients", "routes", "gateways", "leafs")
PROTOCOL_VERSION = 1


def memory_size(usage: list[ProcessUsage]) -> int:
    """Bytes of all processes together, what they share counted once (near enough)."""
    shared = max((process.shared for process in usage), default=0)
    return shared + sum(process.rss - process.shared for process in usage)


def varz(monitor, request, respond) -> None:
    broker = monitor.broker
    options = broker.options
    figures = broker.fabric.totals()
    usage = monitor.processes.sample()
    now_ns = time.time_ns()
    start = timestamp(broker.fabric.start_ns)

    def figure(name: str) -> int:
        return figures[STATISTIC[name]]

    page = {
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
        "cluster": {},
        "gateway": {},
        "leaf": {},
        "mqtt": {},
        "websocket": {},
        "jetstream": {},
        "tls_timeout": 2,
        "write_deadline": int(options.write_deadline_s * 1e9),
        "start": start,
        "now": timestamp(now_ns),
        "uptime": uptime(now_ns - broker.fabric.start_ns),
        "mem": memory_size(usage),
        "cores": os.cpu_count() or 1,
        "gomaxprocs": broker.fabric.worker_count,
        "cpu": number(round(sum(process.cpu_percent for process in usage), 1)),
        "connections": figure("connections"),
        "total_connections": broker.handoff.accepted,
        "routes": 0,
        "remotes": 0,
        "leafnodes": 0,
        "in_msgs": figure("in_msgs"),
        "in_bytes": figure("in_bytes"),
        "in_client_msgs": figure("in_msgs"),
        "in_client_bytes": figure("in_bytes"),
        "out_msgs": figure("out_msgs"),
        "out_bytes": figure("out_bytes"),
        "out_client_msgs": figure("out_msgs"),
        "out_client_bytes": figure("out_bytes"),
        "slow_consumers": figure("slow_consumers"),
        "stale_connections": figure("stale_connections"),
        "stalled_clients": figure("stalled_clients"),
        "subscriptions": figure("subscriptions"),
        "http_req_stats": dict(sorted(monitor.requests.items())),
        "config_load_time": start,
        "config_digest": "",
        "feature_flags": dict.fromkeys(_FEATURE_FLAGS, False),
        "system_account": "$SYS",
        "slow_consumer_stats": {**dict.fromkeys(_KINDS, 0), "clients": figure("slow_consumers")},
        "stale_connection_stats": {**dict.fromkeys(_KINDS, 0), "clients": figure("stale_connections")},
        "disk_io_wait_stats": {"waiters": 0, "waits": 0, "wait_time": 0, "max_wait_time": 0},
    }
    respond(json_page(page))
