"""/connz: open and closed connections, read from the workers' tables in shared memory.

Only the subscriptions of the connections shown are asked of the workers (``subs=1`` or ``subs=detail``);
closed connections have none left to show.

What needs numpy is imported when the first request comes: importing it takes longer than a whole start.
"""

import time

from shardbroker.acceptor.monitor.page import (
    BadArgument,
    bool_argument,
    go_duration,
    int_argument,
    json_page,
    subscriptions_argument,
    timestamp,
    uint64_argument,
    uptime,
)
from shardbroker.control.messages import QUERY_SUBSCRIPTIONS
from shardbroker.shm import layout
from shardbroker.shm.connection_table import ROW_OPEN

LIMIT_DEFAULT = 1024
GLOBAL_ACCOUNT, SYSTEM_ACCOUNT = "$G", "$SYS"


#: sort argument -> (field, or a function of all rows and the time that gives unsigned keys; descending)
_SORTS = {
    "": ("cid", False),
    "cid": ("cid", False),
    "start": ("cid", False),
    "subs": ("subscriptions", True),
    "pending": ("pending_bytes", True),
    "msgs_to": ("out_msgs", True),
    "msgs_from": ("in_msgs", True),
    "bytes_to": ("out_bytes", True),
    "bytes_from": ("in_bytes", True),
    "last": ("last_activity_ns", True),
    "idle": ("last_activity_ns", False),  # the longest silence first
    "uptime": (lambda rows, now_ns: _uptimes(rows, now_ns), False),
    "stop": ("stop_ns", True),
    "reason": (lambda rows, now_ns: _reason_ranks(rows, now_ns), False),
    "rtt": ("rtt_ns", True),
}


class _Wanted:
    """The arguments of a request. Raises BadArgument in the order nats-server looks at them."""

    def __init__(self, request):
        self.auth = bool_argument(request, "auth")
        self.subscriptions, self.detail = subscriptions_argument(request)
        self.offset = max(0, int_argument(request, "offset"))
        limit = int_argument(request, "limit")
        self.cid = uint64_argument(request, "cid")
        self.limit = 1 if self.cid else limit if limit > 0 else LIMIT_DEFAULT
        state = request.query.get("state", "")
        self.open = state.lower() in ("", "open", "any", "all")
        self.closed = state.lower() in ("closed", "any", "all")
        if not self.open and not self.closed:
            raise BadArgument(f"Error decoding state for {state}")
        self.sort = request.query.get("sort", "")
        if self.sort not in _SORTS:
            raise BadArgument(f"invalid sorting option: {self.sort}")
        if self.sort in ("stop", "reason") and (self.open or not self.closed):
            raise BadArgument(f"sort by {self.sort} only valid on closed connections")
        self.user = request.query.get("user", "")
        self.account = request.query.get("acc", "")
        self.mqtt_client = request.query.get("mqtt_client", "")


def connz(monitor, request, respond) -> None:
    wanted = _Wanted(request)
    now_ns = time.time_ns()
    page = {
        "server_id": monitor.broker.server_id,
        "now": timestamp(now_ns),
        "num_connections": 0,
        "total": 0,
        "offset": wanted.offset,
        "limit": wanted.limit,
        "connections": [],
    }
    if wanted.account not in ("", GLOBAL_ACCOUNT, SYSTEM_ACCOUNT):
        # nats-server's odd answer for an account it does not know.
        respond(json_page({**page, "server_id": "", "connections": None}))
        return
    total, shown = (
        (0, []) if wanted.account == SYSTEM_ACCOUNT else _find(monitor.broker.fabric, wanted, now_ns)
    )
    page["total"] = total
    page["connections"] = [_connection(row, now_ns) for row in shown]
    page["num_connections"] = len(shown)
    for connection in page["connections"] if wanted.auth else ():
        connection["name_tag"] = GLOBAL_ACCOUNT
    opened = [row["cid"] for row in shown if row["state"] == ROW_OPEN and row["subscriptions"]]
    if not opened or not (wanted.subscriptions or wanted.detail):
        respond(json_page(page))
        return

    def answered(answers: list[dict]) -> None:
        _add_subscriptions(page["connections"], answers, wanted)
        respond(json_page(page))

    monitor.broker.queries.ask(QUERY_SUBSCRIPTIONS, {"cids": opened}, answered)


def _find(fabric, wanted: _Wanted, now_ns: int) -> tuple[int, list[dict]]:
    """How many connections there are in the states wanted, and the rows to show, in order."""
    from shardbroker.shm.connection_rows import ConnectionRows

    rows = ConnectionRows(
        [regions.connection_table for regions in fabric.regions],
        with_open=wanted.open,
        with_closed=wanted.closed,
        lost=fabric.lost_connections,
        closed_max=fabric.lost_connections.maxlen,
    )
    total = len(rows)
    if wanted.user or wanted.mqtt_client:
        return total, []  # nobody has a user name or an MQTT client here
    if wanted.cid:
        rows.keep(rows.column("cid") == wanted.cid)
    key, descending = _SORTS[wanted.sort]
    if key != "cid":  # that is the order they come in
        keys = rows.column(key) if isinstance(key, str) else key(rows, now_ns)
        rows.sort(keys, descending=descending)
    return total, rows.page(wanted.offset, wanted.limit)


def _uptimes(rows, now_ns: int):
    """How long each connection lasted, to now for open ones."""
    ends = rows.column("stop_ns")
    ends[ends == 0] = now_ns
    return ends - rows.column("start_ns")


def _reason_ranks(rows, now_ns: int):
    """The place of each row's reason among all reasons by alphabet."""
    import numpy as np

    ranks = np.argsort(np.argsort(np.array(layout.CLOSE_REASONS))).astype(np.uint32)
    return ranks[np.minimum(rows.column("reason"), len(ranks) - 1)]


def _connection(row: dict, now_ns: int) -> dict:
    """One entry, keys in nats-server's order; what it leaves out when empty is left out."""
    end_ns = row["stop_ns"] or now_ns
    rtt_ns = row["rtt_ns"]
    if 1000 < rtt_ns < 1_000_000:
        rtt_ns -= rtt_ns % 1000
    entry = {
        "cid": row["cid"],
        "kind": "Client",
        "type": "nats",
        "ip": row["ip"],
        "port": row["port"],
        "start": timestamp(row["start_ns"]),
        "last_activity": timestamp(row["last_activity_ns"]),
    }
    if row["stop_ns"]:
        entry["stop"] = timestamp(row["stop_ns"])
        entry["reason"] = _reason(row["reason"])
    entry |= {
        "rtt": go_duration(rtt_ns),
        "uptime": uptime(end_ns - row["start_ns"]),
        "idle": uptime(end_ns - row["last_activity_ns"]),
        "pending_bytes": row["pending_bytes"],
        "in_msgs": row["in_msgs"],
        "out_msgs": row["out_msgs"],
        "in_bytes": row["in_bytes"],
        "out_bytes": row["out_bytes"],
    }
    if row["stalls"]:
        entry["stalls"] = row["stalls"]
    entry["subscriptions"] = row["subscriptions"]
    for name in ("name", "lang", "version"):
        if row[name]:
            entry[name] = row[name]
    return entry


def _reason(index: int) -> str:
    return layout.CLOSE_REASONS[index] if index < len(layout.CLOSE_REASONS) else ""


def _add_subscriptions(connections: list[dict], answers: list[dict], wanted: _Wanted) -> None:
    found: dict[int, list] = {}
    for answer in answers:
        for subscription in answer["subscriptions"]:
            found.setdefault(subscription[0], []).append(subscription)
    for connection in connections:
        mine = found.get(connection["cid"])
        if not mine:
            continue
        if wanted.detail:
            connection["subscriptions_list_detail"] = [subscription_detail(each) for each in mine]
        else:
            connection["subscriptions_list"] = [each[2] for each in mine]
        if "name_tag" in connection:  # stands behind the list
            connection["name_tag"] = connection.pop("name_tag")


def subscription_detail(subscription: list) -> dict:
    """An entry of an Answer's ``subscriptions`` as nats-server shows it."""
    cid, _, subject, queue, sid, messages, maximum = subscription
    detail = {"subject": subject}
    if queue:
        detail["qgroup"] = queue
    detail |= {"sid": sid, "msgs": messages}
    if maximum:
        detail["max"] = maximum
    detail["cid"] = cid
    return detail
