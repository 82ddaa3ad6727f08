"""API calls that make, change, show and end streams."""

import os
import struct
from typing import TYPE_CHECKING

import orjson

from shardbroker.jetstream import api_errors, api_requests, api_types, js_limits
from shardbroker.shm.append_lane import LANE_CREATE, LANE_METADATA, LANE_REMOVE
from shardbroker.storage import codec
from shardbroker.workers.stream_opening import StreamEntry
from shardbroker.workers.stream_views import info_of

if TYPE_CHECKING:
    from shardbroker.workers.stream_api import Request

_PURGE_BODY = struct.Struct("<QQIIQ")
_CHECKPOINT_BODY = struct.Struct("<QQQ")
_LIMITS = ("max_msgs", "max_bytes", "max_msgs_per_subject", "max_age")


def create(request: "Request") -> None:
    """STREAM.CREATE: the catalog grants, the writer makes the log, the catalog tells, then the answer."""
    body = {
        "account": request.account_name,
        "name": request.stream,
        "body": request.payload.decode("latin-1"),
    }
    request.api.js.ask("create", body, request.later(lambda *told: _granted(request, *told)))


def _granted(request: "Request", body: dict, fds: list[int]) -> None:
    from shardbroker.workers.jetstream import api_error_of, entry_of

    error = api_error_of(body)
    if error is not None:
        raise error
    if body.get("same"):
        _answer_created(request, request.entry())
        return
    make_stream(request, entry_of(body), body["stored"].encode(), fds, lambda entry: _created(request, entry))


def make_stream(request: "Request", entry: StreamEntry, stored: bytes, fds: list[int], made) -> None:
    """Have the log of a granted stream made, then ``made(entry)``; or tell the catalog that it was not."""
    js = request.api.js

    def done(errno: int) -> None:
        if errno:
            js.ask("dropped", {"log_id": entry.log_id}, lambda *_: None)
            raise api_errors.STREAM_CREATE(err=f"the log could not be made: {os.strerror(errno).lower()}")
        js.make(entry, fds[0] if fds else -1)
        js.ask("created", {"log_id": entry.log_id}, request.later(lambda *_: made(entry)))

    if entry.config.storage == "memory":
        done(0)
    elif not js.host.lane_record(
        LANE_CREATE, entry.log_id, entry.row, stored, request.later(done), term=js.term
    ):
        js.ask("dropped", {"log_id": entry.log_id}, lambda *_: None)
        raise api_errors.INSUFFICIENT_RESOURCES.fresh()


def _created(request: "Request", entry: StreamEntry) -> None:
    _answer_created(request, entry)
    _tell(request, entry.name, "CREATED", "create")


def _answer_created(request: "Request", entry: StreamEntry) -> None:
    info = info_of(request.api.js, entry, with_version=True)
    request.answer(api_types.answer("STREAM.CREATE", {**info, "did_create": True}))


def _tell(request: "Request", name: str, what: str, action: str) -> None:
    request.api.js.advise(
        f"$JS.EVENT.ADVISORY.STREAM.{what}.{name}",
        "io.nats.jetstream.advisory.v1.stream_action",
        {"stream": name, "action": action},
        request.account,
    )


def update(request: "Request") -> None:
    """STREAM.UPDATE."""
    body = {
        "account": request.account_name,
        "name": request.stream,
        "body": request.payload.decode("latin-1"),
    }
    request.api.js.ask("update", body, request.later(lambda *told: _update_granted(request, *told)))


def _update_granted(request: "Request", body: dict, _fds: list[int]) -> None:
    from shardbroker.jetstream.stream_config import StreamConfig
    from shardbroker.workers.jetstream import api_error_of

    js = request.api.js
    error = api_error_of(body)
    if error is not None:
        raise error
    entry = request.entry()
    config = StreamConfig.from_stored(orjson.dumps(body["config"]))

    reserve = entry.hosted.details.reserve

    def written(errno: int) -> None:
        reserve.is_blocked = False
        ok = errno == 0
        if ok:
            loses_interest = config.retention == "interest" != entry.config.retention
            entry.config = config
            entry.hosted.stream.configure(config)
            entry.hosted.details.configure(config)
            js.subscribe(entry)
            if loses_interest and js.figures(entry.row)["consumers"] == 0:
                stage_purge(js, entry)
        js.ask("updated", {"log_id": entry.log_id, "ok": ok}, request.later(lambda *_: applied(errno)))

    def applied(errno: int) -> None:
        js.host.when_applied(entry.hosted, request.later(lambda _: finish(errno)))

    def finish(errno: int) -> None:
        if errno:
            raise api_errors.STREAM_UPDATE(err=f"the log could not be changed: {os.strerror(errno).lower()}")
        request.answer(api_types.answer("STREAM.UPDATE", info_of(js, entry, with_version=True)))
        _tell(request, entry.name, "UPDATED", "modify")

    def checkpointed(_errno: int) -> None:
        if config.storage == "memory":
            written(0)
        elif js.host.lane_record(
            LANE_METADATA, entry.log_id, entry.row, reserve.in_change(body["stored"].encode()),
            request.later(written), term=js.term,
        ):  # fmt: skip
            reserve.is_blocked = True
        else:
            js.ask("updated", {"log_id": entry.log_id, "ok": False}, lambda *_: None)
            raise api_errors.INSUFFICIENT_RESOURCES.fresh()

    has_messages = entry.hosted.stream.last_sequence > 0
    if has_messages and any(getattr(config, name) != getattr(entry.config, name) for name in _LIMITS):
        # Reading the log back under other limits must not bring back what these have removed.
        _stage_checkpoint(js, entry, request.later(checkpointed))
    else:
        js.host.when_applied(entry.hosted, request.later(checkpointed))


def stage_purge(js, entry: StreamEntry) -> None:
    """Remove all messages, with the next commit."""
    bound = entry.hosted.stream.last_sequence + 1
    entry.hosted.stream.stage_frame(codec.PURGE, _PURGE_BODY.pack(bound, 0, 0, 0, 0))
    js.host.stage_done(entry.hosted)


def _stage_checkpoint(js, entry: StreamEntry, done) -> None:
    """Write down which messages are there; ``done(errno)`` once that is stored."""

    def stage(_errno: int) -> None:
        state = entry.hosted.stream.state
        runs: list[int] = []
        for sequence in state.deleted():
            if runs and runs[-2] + runs[-1] == sequence:
                runs[-1] += 1
            else:
                runs += (sequence, 1)
        first, last = state.messages.first, state.messages.last
        body = _CHECKPOINT_BODY.pack(first, last, len(runs) // 2) + struct.pack(f"<{len(runs)}Q", *runs)
        entry.hosted.stream.stage_frame(codec.CHECKPOINT, body, js.host.call_number(done))
        js.host.stage_done(entry.hosted)

    js.host.when_applied(entry.hosted, stage)


def delete(request: "Request") -> None:
    """STREAM.DELETE: no more messages at once, the log is removed, then the answer."""
    api_requests.require_empty(request.payload)
    js = request.api.js
    entries = js.account(request.account_name)
    entry = entries.get(request.stream)
    if entry is None:
        raise api_errors.STREAM_NOT_FOUND.fresh()
    if entry.hosted is not None:
        entry.hosted.stream.close()
        js.host.unsubscribe_all(entry.hosted)
        entry.hosted.details.stop()

    def removed(errno: int) -> None:
        if errno:
            raise api_errors.STREAM_DELETE(err=f"the log could not be removed: {os.strerror(errno).lower()}")
        if entries.get(entry.name) is entry:
            del entries[entry.name]
        if entry.hosted is not None:
            js.host.remove(entry.hosted)
            entry.hosted = None
        js.ask("dropped", {"log_id": entry.log_id}, request.later(finish))

    def finish(*_told) -> None:
        request.answer(api_types.success("STREAM.DELETE"))
        _tell(request, entry.name, "DELETED", "delete")

    def settled(_errno: int) -> None:
        # Nothing of the stream follows in the lane any more.
        if entry.config.storage == "memory":
            removed(0)
        elif not js.host.lane_record(
            LANE_REMOVE, entry.log_id, entry.row, b"", request.later(removed), term=js.term
        ):
            raise api_errors.INSUFFICIENT_RESOURCES.fresh()

    if entry.hosted is None:
        settled(0)
    else:
        js.host.when_applied(entry.hosted, request.later(settled))


def info(request: "Request") -> None:
    """STREAM.INFO, with subjects and deleted sequences on demand."""
    entry = request.entry()
    wish = api_requests.read_info(request.payload)
    js = request.api.js

    def show(_errno: int) -> None:
        state = entry.hosted.stream.state
        subjects, total = None, 0
        if wish.subjects_filter:
            found = sorted(state.subjects.matching(wish.subjects_filter.encode()))
            total = len(found)
            page = found[wish.offset : wish.offset + js_limits.subjects_page_size]
            subjects = {subject.decode("utf-8", "replace"): count for subject, count, _first, _last in page}
        deleted = state.deleted() if wish.deleted_details else None
        shown = info_of(
            js, entry, leader=js.server_name, with_version=True, subjects=subjects, deleted=deleted
        )
        request.answer(api_types.stream_info_answer(shown, subjects_total=total, subjects_offset=wish.offset))

    js.host.when_applied(entry.hosted, request.later(show))


def purge(request: "Request") -> None:
    """STREAM.PURGE: all, below a sequence, or all but the newest; of one filter only."""
    entry = request.entry()
    wish = api_requests.read_purge(request.payload)
    stream = entry.hosted.stream
    if entry.config.sealed:
        raise api_errors.STREAM_SEALED.fresh()
    if entry.config.deny_purge:
        raise api_errors.STREAM_PURGE_FAILED(err="stream purge not permitted")
    js = request.api.js
    bound = min(wish.seq, stream.last_sequence + 1) if wish.seq else stream.last_sequence + 1
    filter_bytes = wish.filter.encode() if wish.filter and wish.filter != ">" else b""
    body = _PURGE_BODY.pack(bound, wish.keep, len(filter_bytes), 0, 0) + filter_bytes

    def purged(errno: int) -> None:
        if errno:
            raise api_errors.STREAM_PURGE_FAILED(err=os.strerror(errno).lower())
        request.answer(api_types.success("STREAM.PURGE", purged=stream.state.purged))

    stream.stage_frame(codec.PURGE, body, js.host.call_number(request.later(purged)))
    if wish.seq > bound and not filter_bytes:
        # The stream goes on at a sequence that it has not reached yet.
        stream.begin_sequence(wish.seq)
        stream.stage_frame(codec.CHECKPOINT, _CHECKPOINT_BODY.pack(0, wish.seq - 1, 0))
    js.host.stage_done(entry.hosted)


CALLS = {
    "STREAM.CREATE": create,
    "STREAM.UPDATE": update,
    "STREAM.DELETE": delete,
    "STREAM.INFO": info,
    "STREAM.PURGE": purge,
}
