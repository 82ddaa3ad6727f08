"""Bodies of requests to the JetStream API about streams, as values.

Each ``read_...`` takes the body and gives a dataclass, or raises the `ApiError` that the client is to be
told: 10025 for what is no such JSON, 10003 where a body is needed or its fields contradict each other.
``strict`` is the server's option: unknown fields are refused. STREAM.CREATE and UPDATE are read by
`read_config`.

Two calls complain in another order than one would think. STREAM.SNAPSHOT and RESTORE refuse an empty body
before they look for the stream, and SNAPSHOT reads the body only afterwards: see `require_body`.

Direct gets answer with a status in a header instead of an error in JSON: `DirectGetRefused` carries it. They
are never strict. Source: spec pages 02 (section 2) and 03 (sections 2, 5).
"""

import re
from dataclasses import dataclass, field

from shardbroker.errors import ShardbrokerError
from shardbroker.jetstream import api_errors, js_limits
from shardbroker.jetstream.go_time import parse_time
from shardbroker.jetstream.source_checks import is_literal_subject
from shardbroker.jetstream.stream_config import STREAM_CONFIG, StreamConfig, read_config_request
from shardbroker.jetstream.strict_json import (
    BOOL,
    INT,
    STRING,
    STRINGS,
    TIME,
    UINT64,
    Listed,
    Mapped,
    RequestJsonError,
    Struct,
    decode,
    decode_loosely,
    is_empty_request,
    is_object_or_array,
)

_NAMES = Struct("JSApiStreamNamesRequest", {"offset": INT, "subject": STRING})
_LIST = Struct("JSApiStreamListRequest", {"offset": INT, "subject": STRING})
_CONSUMERS = Struct("JSApiConsumersRequest", {"offset": INT})
_INFO = Struct("JSApiStreamInfoRequest", {"offset": INT, "deleted_details": BOOL, "subjects_filter": STRING})
_PURGE = Struct("JSApiStreamPurgeRequest", {"seq": UINT64, "filter": STRING, "keep": UINT64})
_DELETE = Struct("JSApiMsgDeleteRequest", {"seq": UINT64, "no_erase": BOOL})
_GET = Struct(
    "JSApiMsgGetRequest",
    {
        "seq": UINT64,
        "last_by_subj": STRING,
        "next_by_subj": STRING,
        "batch": INT,
        "max_bytes": INT,
        "start_time": TIME,
        "multi_last": STRINGS,
        "up_to_seq": UINT64,
        "up_to_time": TIME,
        "no_hdr": BOOL,
    },
)
_SNAPSHOT = Struct(
    "JSApiStreamSnapshotRequest",
    {"deliver_subject": STRING, "no_consumers": BOOL, "chunk_size": INT, "window_size": INT, "jsck": BOOL},
)
_LOST = Struct("LostStreamData", {"msgs": Listed(UINT64), "bytes": UINT64}, pointer=True)
_STATE = Struct(
    "StreamState",
    {
        "messages": UINT64,
        "bytes": UINT64,
        "first_seq": UINT64,
        "first_ts": TIME,
        "last_seq": UINT64,
        "last_ts": TIME,
        "num_subjects": INT,
        "subjects": Mapped(UINT64),
        "num_deleted": INT,
        "deleted": Listed(UINT64),
        "lost": _LOST,
        "consumer_count": INT,
    },
)
_RESTORE = Struct("JSApiStreamRestoreRequest", {"config": STREAM_CONFIG, "state": _STATE})
_TIME_MAX = (1 << 63) - 1  # nanoseconds since 1970
_LEVEL = re.compile(rb"[+-]?[0-9]{1,18}")


class DirectGetRefused(ShardbrokerError):
    """A direct get that is answered with ``status`` (such as ``408 Bad Request``) and nothing else."""

    def __init__(self, status: str) -> None:
        super().__init__(status)
        self.status = status


@dataclass(slots=True)
class PageRequest:
    """STREAM.NAMES and STREAM.LIST: from which stream on, and which subject the streams must overlap with."""

    offset: int = 0
    subject: str = ""


@dataclass(slots=True)
class StreamInfoRequest:
    """STREAM.INFO: details that cost something."""

    offset: int = 0  # of the subjects
    deleted_details: bool = False
    subjects_filter: str = ""


@dataclass(slots=True)
class PurgeRequest:
    """STREAM.PURGE: below ``seq``, or all but the newest ``keep``; of ``filter`` only. 0 and "" for unset."""

    seq: int = 0
    filter: str = ""
    keep: int = 0


@dataclass(slots=True)
class MessageDeleteRequest:
    """STREAM.MSG.DELETE: the message is overwritten on disk unless ``no_erase``."""

    seq: int = 0
    no_erase: bool = False


@dataclass(slots=True)
class MessageGetRequest:
    """STREAM.MSG.GET and DIRECT.GET. Times in nanoseconds since 1970, None for none."""

    seq: int = 0
    last_by_subj: str = ""
    next_by_subj: str = ""
    batch: int = 0
    max_bytes: int = 0
    start_time: int | None = None
    multi_last: list[str] = field(default_factory=list)
    up_to_seq: int = 0
    up_to_time: int | None = None
    no_hdr: bool = False


@dataclass(slots=True)
class SnapshotRequest:
    """STREAM.SNAPSHOT: where the chunks go; sizes in bytes."""

    deliver_subject: str = ""
    no_consumers: bool = False
    chunk_size: int = 0
    window_size: int = 0
    jsck: bool = False

    def chunk_size_used(self) -> int:
        """The size of chunks: as wished, within the limits."""
        wished = self.chunk_size or js_limits.snapshot_chunk_size_default
        return min(max(wished, js_limits.snapshot_chunk_size_min), js_limits.snapshot_chunk_size_max)

    def window_size_used(self) -> int:
        """How much may be on its way: as wished, within the limits."""
        wished = self.window_size or js_limits.snapshot_window_size_default
        return min(max(wished, js_limits.snapshot_window_size_min), js_limits.snapshot_window_size_max)


@dataclass(slots=True)
class RestoreRequest:
    """STREAM.RESTORE: what the snapshot's stream was. ``state`` has the keys of an answer's state."""

    config: StreamConfig
    state: dict[str, object]


def is_level_too_high(required: bytes) -> bool:
    """Whether the header Nats-Required-Api-Level asks for more than this server has, or for no number."""
    if not required:
        return False
    return _LEVEL.fullmatch(required) is None or int(required) > js_limits.api_level


def require_empty(body: bytes) -> None:
    """For calls without a body: an object without members passes. Raises 10038."""
    if not is_empty_request(body):
        raise api_errors.NOT_EMPTY_REQUEST.fresh()


def require_body(body: bytes) -> None:
    """For calls that need one. Raises 10003."""
    if is_empty_request(body):
        raise api_errors.BAD_REQUEST.fresh()


def read_config(body: bytes, *, strict: bool = True) -> tuple[StreamConfig, bool]:
    """STREAM.CREATE and UPDATE: the configuration, not checked yet, and whether the client is pedantic."""
    try:
        return read_config_request(body, strict=strict)
    except RequestJsonError as error:
        raise api_errors.INVALID_JSON(err=str(error)) from None


def read_names(body: bytes, *, strict: bool = True) -> PageRequest:
    """STREAM.NAMES. A body that is no object or array counts as none."""
    return _page(body, _NAMES, strict)


def read_list(body: bytes, *, strict: bool = True) -> PageRequest:
    """STREAM.LIST."""
    return _page(body, _LIST, strict)


def read_consumer_page(body: bytes, *, strict: bool = True) -> PageRequest:
    """CONSUMER.NAMES and CONSUMER.LIST."""
    return _page(body, _CONSUMERS, strict)


def read_info(body: bytes, *, strict: bool = True) -> StreamInfoRequest:
    """STREAM.INFO."""
    request = StreamInfoRequest(**_optional(body, _INFO, strict))
    request.offset = max(request.offset, 0)
    return request


def read_purge(body: bytes, *, strict: bool = True) -> PurgeRequest:
    """STREAM.PURGE. ``seq`` and ``keep`` exclude each other."""
    request = PurgeRequest(**_optional(body, _PURGE, strict))
    if request.seq and request.keep:
        raise api_errors.BAD_REQUEST.fresh()
    return request


def read_message_delete(body: bytes, *, strict: bool = True) -> MessageDeleteRequest:
    """STREAM.MSG.DELETE."""
    require_body(body)
    return MessageDeleteRequest(**_decode(body, _DELETE, strict))


def read_message_get(body: bytes, *, strict: bool = True) -> MessageGetRequest:
    """STREAM.MSG.GET: one message, by sequence, by time, or last or next of a subject."""
    require_body(body)
    request = _get_request(_decode(body, _GET, strict))
    if request.batch > 0 or request.max_bytes > 0 or _names_nothing(request) or _contradicts(request):
        raise api_errors.BAD_REQUEST.fresh()
    return request


def read_snapshot(body: bytes, *, strict: bool = True) -> SnapshotRequest:
    """STREAM.SNAPSHOT, once the stream is found. 10015 for a subject that nothing can be sent to."""
    request = SnapshotRequest(**_decode(body, _SNAPSHOT, strict))
    if not is_literal_subject(request.deliver_subject):
        raise api_errors.SNAPSHOT_DELIVER_SUBJECT_INVALID.fresh()
    return request


def read_restore(body: bytes, *, strict: bool = True) -> RestoreRequest:
    """STREAM.RESTORE."""
    require_body(body)
    fields = _decode(body, _RESTORE, strict)
    return RestoreRequest(StreamConfig.from_fields(fields.get("config", {})), fields.get("state", {}))


def read_direct_get(body: bytes) -> MessageGetRequest:
    """DIRECT.GET with the wish in its body. Raises DirectGetRefused."""
    if not body:
        raise DirectGetRefused("408 Empty Request")
    request = _direct_request(body)
    if _names_nothing(request) and not request.multi_last:
        raise DirectGetRefused("408 Empty Request")
    last, several = request.last_by_subj, bool(request.multi_last)
    if (
        _contradicts(request)
        or (last and (request.batch > 0 or several))
        or (request.next_by_subj and several)
        or (request.up_to_seq and request.up_to_time is not None)
    ):
        raise DirectGetRefused("408 Bad Request")
    return request


def read_direct_get_of_subject(subject: str, body: bytes) -> MessageGetRequest:
    """DIRECT.GET with the subject of the wanted message in the request's own. Raises DirectGetRefused."""
    request = _direct_request(body) if body else MessageGetRequest()
    by_sequence = request.seq or request.batch or request.up_to_seq
    by_time = request.start_time is not None or request.up_to_time is not None
    by_subject = request.last_by_subj or request.next_by_subj or request.multi_last
    if not subject or by_sequence or by_time or by_subject:
        raise DirectGetRefused("408 Bad Request")
    request.last_by_subj = subject
    return request


def _names_nothing(request: MessageGetRequest) -> bool:
    return not (request.seq or request.last_by_subj or request.next_by_subj or request.start_time is not None)


def _contradicts(request: MessageGetRequest) -> bool:
    """Sequence, time and last of a subject exclude each other, last and next of a subject too."""
    chosen = bool(request.seq) + bool(request.last_by_subj) + (request.start_time is not None)
    return chosen > 1 or bool(request.last_by_subj and request.next_by_subj)


def _decode(body: bytes, kind: Struct, strict: bool) -> dict[str, object]:
    try:
        return decode(body, kind, strict=strict)
    except RequestJsonError as error:
        raise api_errors.INVALID_JSON(err=str(error)) from None


def _optional(body: bytes, kind: Struct, strict: bool) -> dict[str, object]:
    """The fields of a body that may be missing; text that is no object and no array is taken for none."""
    return _decode(body, kind, strict) if is_object_or_array(body) else {}


def _page(body: bytes, kind: Struct, strict: bool) -> PageRequest:
    request = PageRequest(**_optional(body, kind, strict))
    request.offset = max(request.offset, 0)
    return request


def _direct_request(body: bytes) -> MessageGetRequest:
    try:
        return _get_request(decode_loosely(body, _GET))
    except RequestJsonError:
        raise DirectGetRefused("408 Malformed Request") from None


def _get_request(fields: dict[str, object]) -> MessageGetRequest:
    for name in ("start_time", "up_to_time"):
        if fields.get(name) is not None:
            # No message is older or younger than the clock of a server can say.
            fields[name] = min(max(parse_time(fields[name]), 1), _TIME_MAX)
    fields["multi_last"] = fields.get("multi_last") or []
    return MessageGetRequest(**fields)
