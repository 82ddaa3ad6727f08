"""Pages about what this server does not have (routes, gateways, leaf nodes, Raft), in the shape
nats-server gives them when it has none either, so that exporters and dashboards go on working."""

import time

from shardbroker.acceptor.monitor.page import bool_argument, json_page, text_page, timestamp
from shardbroker.acceptor.monitor.page import subscriptions_argument as _check_subscriptions


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


def ipqueuesz(monitor, request, respond) -> None:
    bool_argument(request, "all")
    respond(json_page({}))


def raftz(monitor, request, respond) -> None:
    respond(text_page("No Raft nodes registered", 404))


def _head(monitor) -> dict:
    return {"server_id": monitor.broker.server_id, "now": timestamp(time.time_ns())}
