"""API calls about single messages: STREAM.MSG.GET and STREAM.MSG.DELETE."""

import os
import struct
from typing import TYPE_CHECKING

from shardbroker.errors import StorageError
from shardbroker.jetstream import api_errors, api_requests, api_types
from shardbroker.jetstream.api_error import ApiError
from shardbroker.shm.append_lane import LANE_ERASE
from shardbroker.storage import codec

if TYPE_CHECKING:
    from shardbroker.workers.stream_api import Request
    from shardbroker.workers.stream_opening import StreamEntry

_RECORD_HEAD_SIZE = 40
_RUN = struct.Struct("<QQ")


def message_get(request: "Request") -> None:
    """STREAM.MSG.GET: by sequence, last or next of a subject, or from a time on."""
    entry = request.entry()
    wish = api_requests.read_message_get(request.payload)
    js = request.api.js

    def read(_errno: int) -> None:
        sequence = js.host.find(
            entry.hosted,
            wish.seq,
            wish.last_by_subj.encode(),
            wish.next_by_subj.encode(),
            wish.start_time or 0,
        )
        try:
            message = js.host.message(entry.hosted, sequence) if sequence else None
        except StorageError as error:
            js.log.error(f"JetStream: stream {entry.name}: {error}")
            message = None
        if message is None:
            raise api_errors.NO_MESSAGE_FOUND.fresh()
        subject, block, payload, time_ns = message
        shown = api_types.stored_message(
            subject=subject.decode("utf-8", "replace"),
            seq=sequence,
            headers=block,
            payload=payload,
            time=time_ns,
            without_headers=wish.no_hdr,
        )
        request.answer(api_types.answer("STREAM.MSG.GET", {"message": shown}))

    js.host.when_applied(entry.hosted, request.later(read))


def message_delete(request: "Request") -> None:
    """STREAM.MSG.DELETE: durable before the answer; unless ``no_erase`` its bytes are overwritten soon."""
    entry = request.entry()
    wish = api_requests.read_message_delete(request.payload)
    js = request.api.js
    if entry.config.sealed:
        raise api_errors.STREAM_SEALED.fresh()
    if entry.config.deny_delete:
        raise api_errors.STREAM_MSG_DELETE_FAILED(err="message delete not permitted")

    def stage(_errno: int) -> None:
        stream = entry.hosted.stream
        try:
            place = js.host.position_of(entry.hosted, wish.seq)
        except StorageError:
            place = (0, 0, 0, 0)  # it cannot be read, but it can be removed
        if place is None:
            raise _absent(entry, wish.seq)

        def removed(errno: int) -> None:
            if errno:
                raise api_errors.STREAM_MSG_DELETE_FAILED(err=os.strerror(errno).lower())
            if not wish.no_erase and place[2]:
                _erase(js, entry, *place)
            request.answer(api_types.success("STREAM.MSG.DELETE"))

        stream.stage_frame(codec.DELETE, _RUN.pack(wish.seq, 1), js.host.call_number(request.later(removed)))
        js.host.stage_done(entry.hosted)

    js.host.when_applied(entry.hosted, request.later(stage))


def _absent(entry: "StreamEntry", sequence: int) -> ApiError:
    """Why a message is not there to be deleted; nats-server's two stores say it differently."""
    messages = entry.hosted.stream.state.messages
    if entry.config.storage == "memory" or messages.first <= sequence <= messages.last:
        return api_errors.SEQUENCE_NOT_FOUND(seq=sequence)
    reason = "no message found" if sequence < messages.first else "stream store EOF"
    return api_errors.STREAM_MSG_DELETE_FAILED(err=reason)


def _erase(js, entry, segment: int, position: int, size: int, subject_size: int) -> None:
    """Overwrite headers and payload of a record with zeros. Its removal is durable already.

    Head and subject stay: whoever reads the log back must know that there was a message, and how large it
    was, or it would bring back what this message has pushed out of the stream.
    """
    start = position + _RECORD_HEAD_SIZE + subject_size
    count = size - _RECORD_HEAD_SIZE - subject_size
    if entry.config.storage == "memory":
        js.host.erase_memory(entry.hosted, start, count)
    else:
        js.host.lane_record(
            LANE_ERASE, entry.log_id, entry.row, b"", None, segment=segment, position=start, count=count,
            term=js.term,
        )  # fmt: skip


CALLS = {"STREAM.MSG.GET": message_get, "STREAM.MSG.DELETE": message_delete}
