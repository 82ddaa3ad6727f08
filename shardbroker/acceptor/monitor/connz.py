"""/connz: open and closed connections, read from the workers' tables in shared memory.

Only the subscriptions of the connections shown are asked of the workers (``subs=1`` or ``subs=detail``);
closed connections have none left to show.
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
from shardbroker.shm.connection_table import ROW_OPEN, parse_row

LIMIT_DEFAULT = 1024
GLOBAL_ACCOUNT, SYSTEM_ACCOUNT = "$G", "$SYS"


def _age_ns(row: dict, now_ns: int) -> int:
    return (row["stop_ns"] or now_ns) - row["start_ns"]


#: sort argument -> (key of a row at a time, descending)
_SORTS = {
    "": (lambda row, now: row["cid"], False),
    "cid": (lambda row, now: row["cid"], False),
    "start": (lambda row, now: row["cid"], False),
    "subs": (lambda row, now: row["subscriptions"], True),
    "pending": (lambda row, now: row["pending_bytes"], True),
    "msgs_to": (lambda row, now: row["out_msgs"], True),
    "msgs_from": (lambda row, now: row["in_msgs"], True),
    "bytes_to": (lambda row, now: row["out_bytes"], True),
    "bytes_from": (lambda row, now: row["in_bytes"], True),
    "last": (lambda row, now: row["last_activity_ns"], True),
    "idle": (lambda row, now: now - row["last_activity_ns"], True),
    "uptime": (_age_ns, False),
    "stop": (lambda row, now: row["stop_ns"], True),
    "reason": (lambda row, now: _reason(row["reason"]), False),
    "rtt": (lambda row, now: row["rtt_ns"], True),
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
    rows = [] if wanted.account == SYSTEM_ACCOUNT else _rows(monitor.broker.fabric, wanted)
    page["total"] = len(rows)
    if wanted.cid:
        rows = [row for row in rows if row["cid"] == wanted.cid]
    if wanted.user or wanted.mqtt_client:
        rows = []  # nobody has a user name or an MQTT client here
    key, descending = _SORTS[wanted.sort]
    rows.sort(key=lambda row: key(row, now_ns), reverse=descending)
    rows = rows[wanted.offset : wanted.offset + wanted.limit]
    page["connections"] = [_connection(row, now_ns) for row in rows]
    page["num_connections"] = len(rows)
    for connection in page["connections"] if wanted.auth else ():
        connection["name_tag"] = GLOBAL_ACCOUNT
    opened = [row["cid"] for row in rows if row["state"] == ROW_OPEN and row["subscriptions"]]
    if not opened or not (wanted.subscriptions or wanted.detail):
        respond(json_page(page))
        return

    def answered(answers: list[dict]) -> None:
        _add_subscriptions(page["connections"], answers, wanted)
        respond(json_page(page))

    monitor.broker.queries.ask(QUERY_SUBSCRIPTIONS, {"cids": opened}, answered)


def _rows(fabric, wanted: _Wanted) -> list[dict]:
    """All rows of the states wanted. A connection that moves may show twice for a moment: once is right."""
    raw: list[bytes] = []
    for regions in fabric.regions if wanted.open else ():
        raw.extend(regions.connection_table.open_rows())
    found = {row["cid"]: row for row in map(parse_row, raw)}
    if wanted.closed:
        closed: list[bytes] = list(fabric.lost_connections)
        for regions in fabric.regions:
            closed.extend(regions.connection_table.closed_rows())
        kept = sorted(map(parse_row, closed), key=lambda row: row["stop_ns"])
        for row in kept[-fabric.lost_connections.maxlen :]:
            found.setdefault(row["cid"], row)
    return list(found.values())


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
