"""/accountz and /accstatz: the one account everybody is in ($G), and the name of the system account."""

import time

from shardbroker.acceptor.monitor.connz import GLOBAL_ACCOUNT, SYSTEM_ACCOUNT
from shardbroker.acceptor.monitor.page import bool_argument, json_page, text_page, timestamp
from shardbroker.acceptor.monitor.subsz import sublist_statistics
from shardbroker.shm.worker_table import STATISTIC


def accountz(monitor, request, respond) -> None:
    account = request.query.get("acc", "")
    page = {
        "server_id": monitor.broker.server_id,
        "now": timestamp(time.time_ns()),
        "system_account": SYSTEM_ACCOUNT,
    }
    if not account:
        respond(json_page({**page, "accounts": [GLOBAL_ACCOUNT, SYSTEM_ACCOUNT]}))
    elif account in (GLOBAL_ACCOUNT, SYSTEM_ACCOUNT):
        respond(json_page({**page, "account_detail": _detail(monitor.broker, account)}))
    else:
        respond(text_page(f"Account {account} does not exist", 400))


def accstatz(monitor, request, respond) -> None:
    unused = bool_argument(request, "unused")
    figures = monitor.broker.fabric.totals()
    page = {"server_id": monitor.broker.server_id, "now": timestamp(time.time_ns()), "account_statz": []}
    if unused or figures[STATISTIC["connections"]]:
        page["account_statz"].append(_statistics(GLOBAL_ACCOUNT, figures))
    if unused:
        page["account_statz"].append(_statistics(SYSTEM_ACCOUNT, [0] * len(figures)))
    respond(json_page(page))


def _detail(broker, account: str) -> dict:
    is_global = account == GLOBAL_ACCOUNT
    figures = broker.fabric.totals()
    detail = {"account_name": account, "update_time": timestamp(broker.fabric.start_ns)}
    if not is_global:
        detail["is_system"] = True
    return detail | {
        "expired": False,
        "complete": True,
        "jetstream_enabled": is_global and broker.jetstream is not None,
        "leafnode_connections": 0,
        "client_connections": figures[STATISTIC["connections"]] if is_global else 0,
        "subscriptions": figures[STATISTIC["subscriptions"]] if is_global else 0,
        "name_tag": account,
        "sublist_stats": sublist_statistics(figures if is_global else None),
    }


def _statistics(account: str, figures: list[int]) -> dict:
    return {
        "acc": account,
        "name": account,
        "conns": figures[STATISTIC["connections"]],
        "leafnodes": 0,
        "total_conns": figures[STATISTIC["connections"]],
        "num_subscriptions": figures[STATISTIC["subscriptions"]],
        "sent": _traffic(figures[STATISTIC["out_msgs"]], figures[STATISTIC["out_bytes"]]),
        "received": _traffic(figures[STATISTIC["in_msgs"]], figures[STATISTIC["in_bytes"]]),
        "slow_consumers": figures[STATISTIC["slow_consumers"]],
    }


def _traffic(messages: int, size: int) -> dict:
    none = {"msgs": 0, "bytes": 0}
    return {"msgs": messages, "bytes": size, "gateways": none, "routes": none, "leafs": none}
