"""/jsz: streams, from the catalog and the log table; their consumers are asked of the workers.

Keys, order and odd values are nats-server's. What it does not have stands behind its keys: ``sync`` (when a
publish is acknowledged, and how fast the disk is), ``writer`` (the process that writes), ``damaged`` (streams
that could not be read), ``faults`` (what keeps publishes from being acknowledged) and ``missing`` (consumers
that are not on the page); in a stream ``log``. Consumers of the kind that nats-server calls direct, which
read for mirrors and sources, do not exist here: what asks for them is read, and finds none.
"""

import os
import time

from shardbroker.acceptor.catalog import LIVE, Entry
from shardbroker.acceptor.monitor.consumer_details import ConsumerDetails, collect
from shardbroker.acceptor.monitor.page import bool_argument, int_argument, json_page, timestamp
from shardbroker.jetstream import api_types, js_limits
from shardbroker.shm.worker_table import STATISTIC

#: nats-server reads the arguments in this order, which decides about which bad one it complains.
_FLAGS_BEFORE = ("accounts", "streams", "consumers", "direct-consumers", "config")
_FLAGS_AFTER = ("leader-only", "raft", "stream-leader-only")
#: Accounts on a page.
_LIMIT_DEFAULT = 1024
#: An account without a limit reserves -1, which nats-server shows as an unsigned number.
_NO_RESERVATION = (1 << 64) - 1
_DEFAULT_MAX_CONSUMERS = 1000
_GLOBAL_ACCOUNT = "$G"


class _Wanted:
    """The arguments of a request. Raises BadArgument."""

    def __init__(self, request):
        flags = {name: bool_argument(request, name) for name in _FLAGS_BEFORE}
        self.offset = max(0, int_argument(request, "offset"))
        limit = int_argument(request, "limit")
        self.limit = limit if limit > 0 else _LIMIT_DEFAULT
        flags |= {name: bool_argument(request, name) for name in _FLAGS_AFTER}
        self.account = request.query.get("acc", "")
        self.consumers = flags["consumers"]
        self.streams = flags["streams"] or flags["consumers"]
        self.accounts = flags["accounts"] or self.streams
        self.config = flags["config"]
        self.raft = flags["raft"]


def jsz(monitor, request, respond) -> None:
    wanted = _Wanted(request)
    broker = monitor.broker
    head = {"server_id": broker.server_id, "now": timestamp(time.time_ns())}
    if broker.jetstream is None:
        respond(json_page(_disabled(head)))
        return
    owners = []
    if wanted.consumers:
        shown = _shown_accounts(broker, wanted)
        owners = [
            entry.owner
            for entry, figures in _streams(broker)
            if figures["consumers"] and entry.account in shown
        ]
    arguments = {"account": wanted.account, "config": wanted.config}

    def answered(details: ConsumerDetails) -> None:
        respond(json_page(_page(broker, head, wanted, details)))

    collect(broker, owners, arguments, answered)


def _shown_accounts(broker, wanted: _Wanted) -> list[str]:
    """Names of the accounts that the page describes."""
    names = _account_names(broker)
    if wanted.account:
        return [name for name in names if name == wanted.account]
    return names[wanted.offset : wanted.offset + wanted.limit] if wanted.accounts else []


def _disabled(head: dict) -> dict:
    sizes = ("memory", "storage", "reserved_memory", "reserved_storage", "accounts", "ha_assets")
    return {
        **dict.fromkeys(sizes, 0),
        "api": {"level": 0, "total": 0, "errors": 0},
        **head,
        "disabled": True,
        "config": {"max_memory": 0, "max_storage": 0},
        **dict.fromkeys(("streams", "consumers", "messages", "bytes", "total"), 0),
    }


def _page(broker, head: dict, wanted: _Wanted, details: ConsumerDetails) -> dict:
    streams = _streams(broker)
    page = {**usage(broker), **head, "config": configuration(broker), "limits": server_limits()}
    page["streams"] = len(streams)
    if wanted.raft and streams:
        page["streams_leader"] = len(streams)
    consumers = page["consumers"] = sum(figures["consumers"] for _, figures in streams)
    if wanted.raft and consumers:
        page["consumers_leader"] = consumers
    page["messages"] = sum(figures["messages"] for _, figures in streams)
    page["bytes"] = sum(figures["bytes"] for _, figures in streams)
    shown = _shown_accounts(broker, wanted)
    if shown:
        page["account_details"] = [_account(broker, name, streams, wanted, details) for name in shown]
    page["total"] = len(_account_names(broker))
    page |= _extensions(broker)
    if details.missing:
        page["missing"] = details.missing
    return page


def usage(broker) -> dict:
    """What is used and reserved, and the requests to the API: the first keys of /jsz, and of /varz too."""
    streams = _streams(broker)
    return {
        **_sizes(streams),
        "accounts": len(_account_names(broker)),
        "ha_assets": 0,
        "api": {"level": js_limits.api_level, **_api(broker)},
    }


def configuration(broker) -> dict:
    """As nats-server shows its own. Its ``sync_always`` is what we do by default."""
    jetstream, options = broker.jetstream, broker.options
    page = {
        "max_memory": jetstream.memory_max,
        "max_storage": jetstream.file_max,
        "store_dir": jetstream.store_path,
        "sync_interval": int(options.sync_interval_s * 1e9),
    }
    if options.sync_commit:
        page["sync_always"] = True
    return page | {"strict": True}


def server_limits() -> dict:
    return {"default_max_consumers": _DEFAULT_MAX_CONSUMERS}


def _streams(broker) -> list[tuple[Entry, dict[str, int]]]:
    """Streams that serve, with their owners' figures."""
    unreadable = broker.jetstream.unreadable
    return [
        (entry, broker.fabric.log_row(entry.row))
        for entry in broker.jetstream.catalog.entries()
        if entry.state == LIVE and entry.log_id not in unreadable
    ]


def _account_names(broker) -> list[str]:
    return sorted({_GLOBAL_ACCOUNT, *broker.jetstream.catalog.accounts})


def _sizes(streams: list[tuple[Entry, dict[str, int]]]) -> dict[str, int]:
    sizes = dict.fromkeys(("memory", "storage", "reserved_memory", "reserved_storage"), 0)
    for entry, figures in streams:
        kind = "memory" if entry.config.storage == "memory" else "storage"
        sizes[kind] += figures["bytes"]
        sizes[f"reserved_{kind}"] += max(entry.config.max_bytes, 0)
    return sizes


def _api(broker) -> dict[str, int]:
    totals = broker.fabric.totals()
    return {"total": totals[STATISTIC["api_requests"]], "errors": totals[STATISTIC["api_errors"]]}


def _account(
    broker,
    name: str,
    streams: list[tuple[Entry, dict[str, int]]],
    wanted: _Wanted,
    details: ConsumerDetails,
) -> dict:
    mine = sorted((each for each in streams if each[0].account == name), key=lambda each: each[0].name)
    sizes = _sizes(mine)
    detail = {
        "name": name,
        "id": name,
        "memory": sizes["memory"],
        "storage": sizes["storage"],
        "reserved_memory": _NO_RESERVATION,
        "reserved_storage": _NO_RESERVATION,
        "accounts": 0,
        "ha_assets": 0,
        "api": {"level": 0, **_api(broker)},
    }
    if wanted.streams and mine:
        detail["stream_detail"] = [_stream(broker, *each, wanted, details) for each in mine]
    return detail


def _stream(broker, entry: Entry, figures: dict[str, int], wanted: _Wanted, details: ConsumerDetails) -> dict:
    detail = {
        "name": entry.name,
        "created": timestamp(entry.created),
        "cluster": {"leader": broker.server_name},
    }
    if wanted.config:
        detail["config"] = entry.config.to_json_dict()
    detail["state"] = api_types.stream_state(
        messages=figures["messages"],
        size=figures["bytes"],
        first_seq=figures["first_sequence"],
        first_time=figures["first_time_ns"] or None,
        last_seq=figures["last_sequence"],
        last_time=figures["last_time_ns"] or None,
        consumers=figures["consumers"],
        subjects_count=figures["subjects"],
        deleted_count=figures["deleted"],
    )
    consumers = details.by_stream.get((entry.account, entry.name))
    if consumers:
        detail["consumer_detail"] = consumers
    log = {"id": f"{entry.log_id:08x}", "worker": entry.owner}
    if entry.config.storage == "file":
        of_writer = broker.fabric.writer_row(entry.row)
        of_writer["error"] = _words(of_writer["error"])
        log |= {"size": figures["log_bytes"], "lost": figures["lost"], **of_writer}
    return detail | {"log": log}


# --- what nats-server does not have ---------------------------------------------------------------------


def _extensions(broker) -> dict:
    page = {"sync": synchronization(broker), "writer": writer(broker)}
    damaged = broker.jetstream.damaged()
    if damaged:
        page["damaged"] = [
            {
                "account": entry.account,
                "name": entry.name,
                "log": f"{entry.log_id:08x}",
                "reason": reason,
            }
            for entry, reason in damaged
        ]
    faults = broker.jetstream.writer.faults
    if faults:
        page["faults"] = faults
    return page


def synchronization(broker) -> dict:
    """When a publish is acknowledged, and what a sync costs here: measured at the start."""
    probe_us = broker.jetstream.probe_us
    return {
        "mode": "commit" if broker.options.sync_commit else "interval",
        "interval": int(broker.options.sync_interval_s * 1e9),
        "probe_us": probe_us,
        "syncs_per_second": 1_000_000 // max(1, probe_us),
    }


def writer(broker) -> dict:
    """The stream-writer, and what it did since the broker's start."""
    process = broker.jetstream.writer
    page = {
        "pid": process.pid,
        "alive": process.alive,
        "restarts": process.restarts_total,
        "term": process.term,
    }
    return page | broker.fabric.writer_totals()


def _words(error: int) -> str:
    return os.strerror(error) if error else ""
