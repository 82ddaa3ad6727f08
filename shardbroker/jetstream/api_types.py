"""Answers of the JetStream API as dicts, with keys in nats-server's order and what is empty left out.

`go_encoding.encode` turns them into bytes. Each answer begins with its type; an error comes next, and then
stand those fields of the answer that nats-server writes even so: an error of a list still has
``"total":0,"offset":0,"limit":0``. Numbers, times (nanoseconds since 1970) and configurations come as plain
values: nothing here knows a stream.

Source: spec page 02, sections 1 and 4; compared with answers of nats-server 2.15.1.
"""

from collections.abc import Mapping, Sequence

from shardbroker.jetstream import js_limits
from shardbroker.jetstream.api_error import ApiError
from shardbroker.jetstream.go_time import ZERO_TIME, format_time
from shardbroker.jetstream.js_limits import JetStreamLimits

_TYPE_PREFIX = "io.nats.jetstream.api.v1."
NO_CONTACT = -1  # nanoseconds since a source was last heard of, if it never was

# Answers by the call's kind (`api_subjects.KINDS`), without prefix and "_response".
_TYPES = {
    "INFO": "account_info",
    "STREAM.CREATE": "stream_create",
    "STREAM.UPDATE": "stream_update",
    "STREAM.NAMES": "stream_names",
    "STREAM.LIST": "stream_list",
    "STREAM.INFO": "stream_info",
    "STREAM.DELETE": "stream_delete",
    "STREAM.PURGE": "stream_purge",
    "STREAM.MSG.GET": "stream_msg_get",
    "STREAM.MSG.DELETE": "stream_msg_delete",
    "STREAM.SNAPSHOT": "stream_snapshot",
    "STREAM.RESTORE": "stream_restore",
    "STREAM.PEER.REMOVE": "stream_remove_peer",
    "STREAM.PEER.EVACUATE": "stream_evacuate_peer",
    "STREAM.CANCEL_MOVE": "stream_cancel_move",
    "STREAM.LEADER.STEPDOWN": "stream_leader_stepdown",
    "CONSUMER.CREATE": "consumer_create",
    "CONSUMER.DURABLE.CREATE": "consumer_create",
    "CONSUMER.NAMES": "consumer_names",
    "CONSUMER.LIST": "consumer_list",
    "CONSUMER.INFO": "consumer_info",
    "CONSUMER.DELETE": "consumer_delete",
    "CONSUMER.PAUSE": "consumer_pause",
    "CONSUMER.UNPIN": "consumer_unpin",
    "CONSUMER.RESET": "consumer_reset",
    "CONSUMER.EXPLAIN": "consumer_explain",
    "CONSUMER.LEADER.STEPDOWN": "consumer_leader_stepdown",
    "CONSUMER.PEER.REMOVE": "consumer_remove_peer",
    "CONSUMER.PEER.EVACUATE": "consumer_evacuate_peer",
    "META.LEADER.STEPDOWN": "meta_leader_stepdown",
    "META.RESCUE": "meta_rescue",
    "SERVER.REMOVE": "meta_server_remove",
    "SERVER.EVACUATE": "meta_server_evacuate",
    "ACCOUNT.PURGE": "account_purge",
    "ACCOUNT.STREAM.MOVE": "stream_update",
    "ACCOUNT.STREAM.CANCEL_MOVE": "stream_update",
}
_NO_PAGE = {"total": 0, "offset": 0, "limit": 0}
# What an answer with an error holds besides.
_BESIDE_ERROR: dict[str, dict[str, object]] = {
    "STREAM.NAMES": {**_NO_PAGE, "streams": None},
    "STREAM.LIST": {**_NO_PAGE, "streams": []},
    "STREAM.INFO": _NO_PAGE,
    "STREAM.PURGE": {"purged": 0},
    "STREAM.RESTORE": {"deliver_subject": ""},
    "CONSUMER.NAMES": {**_NO_PAGE, "consumers": []},
    "CONSUMER.LIST": {**_NO_PAGE, "consumers": []},
    "CONSUMER.PAUSE": {"paused": False, "pause_until": format_time(ZERO_TIME)},
    "CONSUMER.RESET": {"reset_seq": 0},
    "META.RESCUE": {"server": "", "server_id": ""},
}


def response_type(kind: str) -> str:
    """The type of the answer to a call of this kind."""
    return f"{_TYPE_PREFIX}{_TYPES[kind]}_response"


def answer(kind: str, fields: Mapping[str, object] | None = None) -> dict[str, object]:
    """An answer that holds ``fields``."""
    return {"type": response_type(kind), **(fields or {})}


def refusal(kind: str, error: ApiError) -> dict[str, object]:
    """An answer that holds an error."""
    return {"type": response_type(kind), "error": error.as_dict(), **_BESIDE_ERROR.get(kind, {})}


def success(kind: str, **fields: object) -> dict[str, object]:
    """An answer that only says that it is done, perhaps with a number."""
    return answer(kind, {"success": True, **fields})


def names_page(kind: str, names: Sequence[str], offset: int) -> dict[str, object]:
    """STREAM.NAMES and CONSUMER.NAMES: the names (all of them, sorted) from ``offset`` on.

    An empty list of streams is null, one of consumers is not.
    """
    offset = min(max(offset, 0), len(names))
    page = list(names[offset : offset + js_limits.names_page_size])
    key = "streams" if kind == "STREAM.NAMES" else "consumers"
    shown = page if page or key == "consumers" else None
    return answer(kind, {**_page(len(names), offset, js_limits.names_page_size), key: shown})


def list_page(
    kind: str,
    infos: Sequence[Mapping[str, object]],
    *,
    total: int,
    offset: int,
    offline: Mapping[str, str] | None = None,
) -> dict[str, object]:
    """STREAM.LIST and CONSUMER.LIST: the infos of this page, of ``total``. ``offline`` is name to reason."""
    key = "streams" if kind == "STREAM.LIST" else "consumers"
    fields = {**_page(total, min(offset, total), js_limits.list_page_size), key: list(infos)}
    if offline:
        fields["missing"] = sorted(offline)
        fields["offline"] = dict(sorted(offline.items()))
    return answer(kind, fields)


def stream_info_answer(
    info: Mapping[str, object], *, subjects_total: int = 0, subjects_offset: int = 0
) -> dict[str, object]:
    """STREAM.INFO: the page is that of the subjects in the state, if some were asked for and found."""
    page = (
        _page(subjects_total, subjects_offset, js_limits.subjects_page_size) if subjects_total else _NO_PAGE
    )
    return answer("STREAM.INFO", {**page, **info})


def _page(total: int, offset: int, limit: int) -> dict[str, object]:
    return {"total": total, "offset": offset, "limit": limit}


def stream_state(
    *,
    messages: int,
    size: int,
    first_seq: int,
    first_time: int | None,
    last_seq: int,
    last_time: int | None,
    consumers: int,
    subjects_count: int = 0,
    subjects: Mapping[str, int] | None = None,
    deleted_count: int = 0,
    deleted: Sequence[int] | None = None,
    lost: tuple[Sequence[int], int] | None = None,
) -> dict[str, object]:
    """A stream's state. ``size`` in bytes; None for a time that never was; ``lost``: sequences and bytes."""
    state: dict[str, object] = {
        "messages": messages,
        "bytes": size,
        "first_seq": first_seq,
        "first_ts": format_time(ZERO_TIME if first_time is None else first_time),
        "last_seq": last_seq,
        "last_ts": format_time(ZERO_TIME if last_time is None else last_time),
    }
    if subjects_count:
        state["num_subjects"] = subjects_count
    if subjects:
        state["subjects"] = dict(sorted(subjects.items()))
    if deleted_count:
        state["num_deleted"] = deleted_count
    if deleted:
        state["deleted"] = list(deleted)
    if lost is not None:
        state["lost"] = {"msgs": list(lost[0]), "bytes": lost[1]}
    state["consumer_count"] = consumers
    return state


def stream_info(
    *,
    config: Mapping[str, object],
    created: int,
    state: Mapping[str, object],
    now: int,
    domain: str = "",
    leader: str = "",
    mirror: Mapping[str, object] | None = None,
    sources: Sequence[Mapping[str, object]] = (),
    alternates: Sequence[Mapping[str, object]] = (),
) -> dict[str, object]:
    """A StreamInfo. Times in nanoseconds since 1970.

    ``leader`` is this server's name in STREAM.INFO, and "" in all other answers. ``domain`` is left out of
    the answer to CREATE.
    """
    info: dict[str, object] = {"config": config, "created": format_time(created), "state": state}
    if domain:
        info["domain"] = domain
    if leader:
        info["cluster"] = {"leader": leader}
    if mirror is not None:
        info["mirror"] = mirror
    if sources:
        info["sources"] = list(sources)
    if alternates:
        info["alternates"] = list(alternates)
    info["ts"] = format_time(now)
    return info


def stream_source_info(
    *,
    name: str,
    lag: int,
    active: int = NO_CONTACT,
    sequence: int = 0,
    external: Mapping[str, object] | None = None,
    error: ApiError | None = None,
    filter_subject: str = "",
    subject_transforms: Sequence[Mapping[str, object]] = (),
) -> dict[str, object]:
    """How a mirror or source gets on. ``active``: nanoseconds since it was last heard of.

    ``sequence``: of a source, the last one there that has come; not on spec page 02, but 2.15.1 shows it.
    """
    info: dict[str, object] = {"name": name}
    if external is not None:
        info["external"] = external
    info["lag"] = lag
    if sequence:
        info["seq"] = sequence
    info["active"] = active
    if error is not None:
        info["error"] = error.as_dict()
    if filter_subject:
        info["filter_subject"] = filter_subject
    if subject_transforms:
        info["subject_transforms"] = list(subject_transforms)
    return info


def stored_message(
    *, subject: str, seq: int, headers: bytes, payload: bytes, time: int, without_headers: bool = False
) -> dict[str, object]:
    """The value of ``message`` in the answer to STREAM.MSG.GET; headers are the whole block."""
    message: dict[str, object] = {"subject": subject, "seq": seq}
    if headers and not without_headers:
        message["hdrs"] = headers
    if payload:
        message["data"] = payload
    message["time"] = format_time(time)
    return message


def account_info(
    *,
    memory: int,
    storage: int,
    reserved_memory: int,
    reserved_storage: int,
    streams: int,
    consumers: int,
    limits: JetStreamLimits,
    requests: int,
    errors: int,
    inflight: int = 0,
    domain: str = "",
) -> dict[str, object]:
    """The answer to INFO. Sizes in bytes; ``requests`` and ``errors`` are counts since the server started."""
    fields: dict[str, object] = {
        "memory": memory,
        "storage": storage,
        "reserved_memory": reserved_memory,
        "reserved_storage": reserved_storage,
        "streams": streams,
        "consumers": consumers,
        "limits": limits.as_dict(),
    }
    if domain:
        fields["domain"] = domain
    fields["api"] = {"level": js_limits.api_level, "total": requests, "errors": errors}
    if inflight:
        fields["api"]["inflight"] = inflight
    return answer("INFO", fields)
