"""Bodies of requests about consumers, as values.

`read_create`, `read_pause`, `read_unpin` and `read_reset` raise the `ApiError` that the client is to be told;
``strict`` is the server's option: unknown fields are refused. Unpin, reset and pull requests are never so.

Pull requests (`read_next`) answer with a status in a header instead: `PullRefused` carries the header block.
They are read for every batch that a client takes, so the usual forms are read by `consumer_next.pyx`; what
it does not know comes here. `check_next` says whether a request fits its consumer.

Source: spec pages 02 (section 2) and 04 (sections 7 to 9); order and texts compared with nats-server 2.15.1.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from shardbroker.decimals import signed
from shardbroker.errors import ShardbrokerError
from shardbroker.jetstream import api_errors, consumer_statuses
from shardbroker.jetstream.api_requests import PageRequest, read_consumer_page
from shardbroker.jetstream.consumer_checks import GROUP_NAME
from shardbroker.jetstream.consumer_config import CREATE_CONSUMER_REQUEST, ConsumerConfig
from shardbroker.jetstream.go_time import ZERO_TIME, parse_time
from shardbroker.jetstream.strict_json import (
    BOOL,
    DURATION,
    INT,
    INT64,
    STRING,
    TIME,
    UINT64,
    RequestJsonError,
    Struct,
    decode,
    decode_loosely,
    is_object_or_array,
)

__all__ = [
    "ConsumerCreateRequest",
    "NextRequest",
    "PageRequest",
    "PullRefused",
    "check_next",
    "read_create",
    "read_next_slowly",
    "read_page",
    "read_pause",
    "read_reset",
    "read_unpin",
]

_PAUSE = Struct("JSApiConsumerPauseRequest", {"pause_until": TIME})
_UNPIN = Struct("JSApiConsumerUnpinRequest", {"group": STRING})
_RESET = Struct("JSApiConsumerResetRequest", {"seq": UINT64})
_NEXT = Struct(
    "",  # nats-server reads it in a way that loses its name, which shows in the errors
    {
        "expires": DURATION,
        "batch": INT,
        "max_bytes": INT,
        "no_wait": BOOL,
        "idle_heartbeat": DURATION,
        "group": STRING,
        "min_pending": INT64,
        "min_ack_pending": INT64,
        "id": STRING,
        "priority": INT,
    },
)
_PRIORITY_MAX = 9
_INT64_MIN, _INT64_MAX = -(1 << 63), (1 << 63) - 1
# What Go takes for white space around a text. Python's idea of it is wider.
_BLANKS = (
    " \t\n\v\f\r\x85\xa0\u1680" + "".join(map(chr, range(0x2000, 0x200B))) + "\u2028\u2029\u202f\u205f\u3000"
)


@dataclass(slots=True)
class ConsumerCreateRequest:
    """CONSUMER.CREATE and DURABLE.CREATE: the configuration is not checked yet.

    ``config.name`` is the name in the subject where there is one.
    """

    stream: str
    config: ConsumerConfig
    action: str = ""  # "create": there may be none; "update": there must be one
    pedantic: bool = False


@dataclass(slots=True)
class NextRequest:
    """MSG.NEXT, as it came. Times in nanoseconds, sizes in bytes; 0 for what was left out.

    ``expires`` counts from the arrival; 0: the request waits as long as somebody listens. A ``batch`` below 1
    is served one message. ``is_object`` says that it was JSON: only then is there a priority group to miss.
    """

    batch: int = 1
    expires: int = 0
    no_wait: bool = False
    max_bytes: int = 0
    idle_heartbeat: int = 0
    group: str = ""
    min_pending: int = 0
    min_ack_pending: int = 0
    id: str = ""
    priority: int = 0
    is_object: bool = False


class PullRefused(ShardbrokerError):
    """A pull request that is answered with the header block ``block`` and nothing else."""

    def __init__(self, block: bytes) -> None:
        super().__init__(block)
        self.block = block


def read_create(
    kind: str, tokens: Sequence[str], body: bytes, *, strict: bool = True
) -> ConsumerCreateRequest:
    """CONSUMER.CREATE and CONSUMER.DURABLE.CREATE (``kind``); ``tokens`` as `api_subjects.split` gives them.

    What can be said before the stream is looked for. Raises ApiError.
    """
    given = _decode(body, CREATE_CONSUMER_REQUEST, strict)
    config = ConsumerConfig.from_fields(given.get("config") or {})
    stream = tokens[0]
    is_nameless = kind == "CONSUMER.CREATE" and len(tokens) == 1
    name = config.name if is_nameless else tokens[1]
    filter_subject = tokens[2] if len(tokens) > 2 else ""
    if stream != given.get("stream_name", ""):
        raise api_errors.STREAM_MISMATCH.fresh()
    if "/" in name or "\\" in name:
        raise api_errors.CONSUMER_NAME_CONTAINS_PATH_SEPARATORS.fresh()
    if kind == "CONSUMER.DURABLE.CREATE" and not config.durable_name:
        raise api_errors.CONSUMER_DURABLE_NAME_NOT_SET.fresh()
    if is_nameless:
        if config.durable_name:
            raise api_errors.CONSUMER_EPHEMERAL_WITH_DURABLE_NAME.fresh()
    elif config.durable_name and config.durable_name != name:
        raise api_errors.CONSUMER_DURABLE_NAME_NOT_MATCH_SUBJECT.fresh()
    config.name = name
    if filter_subject and config.filter_subjects:
        raise api_errors.CONSUMER_MULTIPLE_FILTERS_NOT_ALLOWED.fresh()
    if filter_subject and config.filter_subject != filter_subject:
        raise api_errors.CONSUMER_CREATE_FILTER_SUBJECT_MISMATCH.fresh()
    if config.num_replicas > 1:
        raise api_errors.STREAM_REPLICAS_NOT_SUPPORTED.fresh()
    return ConsumerCreateRequest(stream, config, given.get("action", ""), given.get("pedantic", False))


def read_page(body: bytes, *, strict: bool = True) -> PageRequest:
    """CONSUMER.NAMES and CONSUMER.LIST: from which consumer on."""
    return read_consumer_page(body, strict=strict)


def read_pause(body: bytes, *, strict: bool = True) -> int | None:
    """CONSUMER.PAUSE: until when (nanoseconds since 1970); None to resume. The past resumes too."""
    fields = _decode(body, _PAUSE, strict) if is_object_or_array(body) else {}
    time = fields.get("pause_until")
    if time is None:
        return None
    until = parse_time(time)
    return None if until == ZERO_TIME else until


def read_unpin(body: bytes) -> str:
    """CONSUMER.UNPIN: the priority group. Whether the consumer has it is for the caller to say (10160)."""
    try:
        group = decode_loosely(body, _UNPIN).get("group", "")
    except RequestJsonError as error:
        raise api_errors.INVALID_JSON(err=str(error)) from None
    if not group:
        raise api_errors.INVALID_JSON(err="consumer group not specified")
    if not GROUP_NAME.fullmatch(group):
        raise api_errors.CONSUMER_INVALID_GROUP_NAME.fresh()
    return group


def read_reset(body: bytes) -> int:
    """CONSUMER.RESET: the sequence to go on with; 0: behind the ack floor."""
    if not body:
        return 0
    try:
        return decode_loosely(body, _RESET).get("seq", 0)
    except RequestJsonError as error:
        raise api_errors.INVALID_JSON(err=str(error)) from None


def read_next_slowly(body: bytes) -> NextRequest:
    """MSG.NEXT in any form: nothing, a number, or an object. Raises PullRefused.

    `consumer_next.read_next` gives the same, faster for what is usual.
    """
    text = body.decode("utf-8", "surrogateescape").strip(_BLANKS).encode("utf-8", "surrogateescape")
    if not text.startswith(b"{"):
        # What is no number counts as none.
        number = signed(text, _INT64_MIN, _INT64_MAX)
        return NextRequest() if number is None else NextRequest(number)
    try:
        fields = decode_loosely(text, _NEXT)
    except RequestJsonError as error:
        raise PullRefused(consumer_statuses.bad_request(str(error))) from None
    fields.setdefault("batch", 0)
    request = NextRequest(**fields, is_object=True)
    if request.idle_heartbeat > 0 and not _fits_twice(request.idle_heartbeat, request.expires):
        raise PullRefused(consumer_statuses.bad_request("heartbeat value too large"))
    return request


def check_next(request: NextRequest, config: ConsumerConfig, pinned_id: str = "") -> bytes | None:
    """The block that refuses a request which does not fit its consumer; None if it fits.

    ``pinned_id`` is the client that the consumer's group is pinned to, "" for none.
    """
    if not config.is_pull:
        return consumer_statuses.PUSH_BASED
    if 0 < config.max_batch < request.batch:
        return consumer_statuses.exceeded_max_batch(config.max_batch)
    if 0 < config.max_expires < request.expires:
        return consumer_statuses.exceeded_max_expires(config.max_expires)
    if 0 < config.max_bytes < request.max_bytes:
        return consumer_statuses.exceeded_max_bytes(config.max_bytes)
    return _check_priority(request, config, pinned_id) if request.is_object else None


def _check_priority(request: NextRequest, config: ConsumerConfig, pinned_id: str) -> bytes | None:
    policy = config.priority_policy
    if (request.min_pending or request.min_ack_pending) and policy != "overflow":
        return consumer_statuses.bad_request("Not a Overflow Priority consumer")
    if request.id and policy != "pinned_client":
        return consumer_statuses.bad_request("Not a Pinned Client Priority consumer")
    if not 0 <= request.priority <= _PRIORITY_MAX:
        return consumer_statuses.bad_request("Priority must be between 0 and 9")
    if policy == "none":
        return None
    if not request.group:
        return consumer_statuses.bad_request("Priority Group missing")
    if request.group not in (config.priority_groups or ()):
        return consumer_statuses.bad_request("Invalid Priority Group")
    if pinned_id and request.id and request.id != pinned_id:
        return consumer_statuses.PIN_ID_MISMATCH
    return None


def _fits_twice(heartbeat: int, expires: int) -> bool:
    """Whether two heartbeats fit. The doubled number may overflow, as in nats-server."""
    doubled = heartbeat * 2
    return (doubled if doubled <= _INT64_MAX else doubled - (1 << 64)) <= expires


def _decode(body: bytes, kind: Struct, strict: bool) -> dict[str, object]:
    try:
        return decode(body, kind, strict=strict)
    except RequestJsonError as error:
        raise api_errors.INVALID_JSON(err=str(error)) from None
