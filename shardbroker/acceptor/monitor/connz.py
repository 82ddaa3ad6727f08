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
from shardbroker.shm.connection_table import ROW_OPEN, number_field, parse_row, stop_ns

LIMIT_DEFAULT = 1024
GLOBAL_ACCOUNT, SYSTEM_ACCOUNT = "$G", "$SYS"


_cid, _start_ns = number_field("cid"), number_field("start_ns")
_last_ns, _reason_index = number_field("last_activity_ns"), number_field("reason")


def _by(name: str):
    field = number_field(name)
    return lambda row, now_ns: field(row)


#: sort argument -> (key of a raw row at a time, descending)
_SORTS = {
    "": (_by("cid"), False),
    "cid": (_by("cid"), False),
    "start": (_by("cid"), False),
    "subs": (_by("subscriptions"), True),
    "pending": (_by("pending_bytes"), True),
    "msgs_to": (_by("out_msgs"), True),
    "msgs_from": (_by("in_msgs"), True),
    "bytes_to": (_by("out_bytes"), True),
    "bytes_from": (_by("in_bytes"), True),
    "last": (_by("last_activity_ns"), True),
    "idle": (lambda row, now_ns: now_ns - _last_ns(row), True),
    "uptime": (lambda row, now_ns: (stop_ns(row) or now_ns) - _start_ns(row), False),
    "stop": (_by("stop_ns"), True),
    "reason": (lambda row, now_ns: _reason(_reason_index(row)), False),
    "rtt": (_by("rtt_ns"), True),
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
        rows = [row for row in rows if _cid(row) == wanted.cid]
    if wanted.user or wanted.mqtt_client:
        rows = []  # nobody has a user name or an MQTT client here
    key, descending = _SORTS[wanted.sort]
    rows.sort(key=lambda row: key(row, now_ns), reverse=descending)
    shown = [parse_row(row) for row in rows[wanted.offset : wanted.offset + wanted.limit]]
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


def _rows(fabric, wanted: _Wanted) -> list[bytes]:
    """All raw rows of the states wanted; with tens of thousands of them, only those shown are parsed.

    A connection that moves may show in two tables for a moment: once is right.
    """
    found: dict[int, bytes] = {}
    if wanted.open:
        for regions in fabric.regions:
            found.update((_cid(row), row) for row in regions.connection_table.open_rows())
    if wanted.closed:
        closed: list[bytes] = list(fabric.lost_connections)
        for regions in fabric.regions:
            closed.extend(regions.connection_table.closed_rows())
        closed.sort(key=stop_ns)
        for row in closed[-fabric.lost_connections.maxlen :]:
            found.setdefault(_cid(row), row)
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
