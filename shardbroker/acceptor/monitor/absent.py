"""Pages about what this server does not have (routes, gateways, leaf nodes, JetStream, Raft), in the shape
nats-server gives them when it has none either, so that exporters and dashboards go on working."""

import time

from shardbroker.acceptor.monitor.page import bool_argument, int_argument, json_page, text_page, timestamp
from shardbroker.acceptor.monitor.page import subscriptions_argument as _check_subscriptions

_JSZ_FLAGS_BEFORE = ("accounts", "streams", "consumers", "direct-consumers", "config")
_JSZ_FLAGS_AFTER = ("leader-only", "raft", "stream-leader-only")


def routez(monitor, request, respond) -> None:
    _check_subscriptions(request)
    broker = monitor.broker
    page = {
        "server_id": broker.server_id,
        "server_name": broker.server_name,
        "now": timestamp(time.time_ns()),
    }
    respond(json_page({**page, "num_routes": 0, "routes": []}))


def gatewayz(monitor, request, respond) -> None:
    _check_subscriptions(request)
    bool_argument(request, "accs")
    respond(json_page({**_head(monitor), "outbound_gateways": {}, "inbound_gateways": {}}))


def leafz(monitor, request, respond) -> None:
    bool_argument(request, "subs")
    respond(json_page({**_head(monitor), "leafnodes": 0, "leafs": []}))


def jsz(monitor, request, respond) -> None:
    for name in _JSZ_FLAGS_BEFORE:
        bool_argument(request, name)
    for name in ("offset", "limit"):
        int_argument(request, name)
    for name in _JSZ_FLAGS_AFTER:
        bool_argument(request, name)
    sizes = dict.fromkeys(
        ("memory", "storage", "reserved_memory", "reserved_storage", "accounts", "ha_assets"), 0
    )
    page = {
        **sizes,
        "api": {"level": 0, "total": 0, "errors": 0},
        **_head(monitor),
        "disabled": True,
        "config": {"max_memory": 0, "max_storage": 0},
        **dict.fromkeys(("streams", "consumers", "messages", "bytes", "total"), 0),
    }
    respond(json_page(page))


def ipqueuesz(monitor, request, respond) -> None:
    bool_argument(request, "all")
    respond(json_page({}))


def raftz(monitor, request, respond) -> None:
    respond(text_page("No Raft nodes registered", 404))


def _head(monitor) -> dict:
    return {"server_id": monitor.broker.server_id, "now": timestamp(time.time_ns())}
