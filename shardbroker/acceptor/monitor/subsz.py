"""/subsz: subscriptions and how well their matching works; the list itself is asked of the workers."""

import time

from shardbroker.acceptor.monitor.connz import GLOBAL_ACCOUNT, LIMIT_DEFAULT, subscription_detail
from shardbroker.acceptor.monitor.page import BadArgument, bool_argument, int_argument, json_page, timestamp
from shardbroker.control.messages import QUERY_SUBSCRIPTIONS
from shardbroker.shm.worker_table import STATISTIC


def subsz(monitor, request, respond) -> None:
    wants_list = bool_argument(request, "subs")
    offset = max(0, int_argument(request, "offset"))
    limit = int_argument(request, "limit")
    limit = limit if limit > 0 else LIMIT_DEFAULT
    test = request.query.get("test", "")
    if test and not _is_literal(test):
        raise BadArgument(f"invalid test subject, must be valid publish subject: {test}")
    account = request.query.get("acc", "")
    known = account in ("", GLOBAL_ACCOUNT)
    page = {"server_id": monitor.broker.server_id, "now": timestamp(time.time_ns())}
    page |= sublist_statistics(monitor.broker.fabric.totals() if known else None)
    page |= {"total": 0, "offset": offset, "limit": limit}
    if not wants_list or not known:
        respond(json_page(page))
        return

    def answered(answers: list[dict]) -> None:
        page["total"] = sum(answer["total"] for answer in answers)
        found = [each for answer in answers for each in answer["subscriptions"]]
        found.sort(key=lambda each: each[0])
        shown = found[offset : offset + limit]
        if shown:
            owner = {"account": GLOBAL_ACCOUNT, "account_tag": GLOBAL_ACCOUNT}
            page["subscriptions_list"] = [owner | subscription_detail(each) for each in shown]
        respond(json_page(page))

    arguments = {"limit": offset + limit} | ({"test": test} if test else {})
    monitor.broker.queries.ask(QUERY_SUBSCRIPTIONS, arguments, answered)


def sublist_statistics(figures: list[int] | None) -> dict:
    """nats-server's figures of its subscription lists; ours are those of the route caches.

    A lookup in a worker's route cache is what a match is there. How many subscriptions were ever made is
    not counted, so inserts are those that are there now.
    """

    def figure(name: str) -> int:
        return figures[STATISTIC[name]] if figures is not None else 0

    hits, misses = figure("route_hits"), figure("route_misses")
    return {
        "num_subscriptions": figure("subscriptions"),
        "num_cache": 0,
        "num_inserts": figure("subscriptions"),
        "num_removes": 0,
        "num_matches": hits + misses,
        "cache_hit_rate": hits / (hits + misses) if hits else 0,
        "max_fanout": 0,
        "avg_fanout": 0,
    }


def _is_literal(subject: str) -> bool:
    """A subject that may be published to."""
    tokens = subject.split(".")
    return all(token and token not in ("*", ">") and not set(token) & set(" \t\r\n\f") for token in tokens)
