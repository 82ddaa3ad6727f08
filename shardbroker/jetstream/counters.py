"""Counters: a message with Nats-Incr adds to the last value of its subject, and stores the sum (ADR-49).

A publisher sends the header and no payload. What is stored has the header as it was sent, and the new value
as its payload, ``{"val":"5"}``. Numbers are decimal and of any size, for clients keep money in them.

A message that was sourced from another stream brings that stream's value of its subject, not a step. The last
value of each origin is kept in the header Nats-Counter-Sources of the newest message,
``{"STREAM":{"subject":"5"}}``; what is added here is the difference to it, and Nats-Incr becomes that.
So a counter stays right when it is filled from several streams, and when messages of them are lost.

Source: spec page 03 section 7; literals and errors were seen with nats-server 2.15.1.
"""

import re

import orjson

from shardbroker.jetstream import header_block
from shardbroker.protocol.go_json import GoJsonError, decode_fields, string

DISABLED = 10168  # Nats-Incr on a stream without counters
MISSING = 10169  # a counter stream, and no Nats-Incr
PAYLOAD = 10170  # a payload besides Nats-Incr
INVALID = 10171  # not a number, or together with a header that does not fit
BROKEN = 10172  # the last message of the subject holds no value

# Each of them, if it has a value, contradicts an increment, which depends on nothing and replaces nothing.
_CONTRADICTING = (
    header_block.ROLLUP,
    header_block.EXPECTED_STREAM,
    header_block.EXPECTED_LAST_MSG_ID,
    header_block.EXPECTED_LAST_SUBJECT_SEQUENCE_SUBJECT,
    header_block.EXPECTED_LAST_SEQUENCE,
    header_block.EXPECTED_LAST_SUBJECT_SEQUENCE,
)
_NUMBER = re.compile(rb"[+-]?[0-9]+")
DIGITS_AT_ONCE = 4000  # Python converts no more than 4300 digits in one go
CHUNK = 10**DIGITS_AT_ONCE
# Go's JSON keeps these out of HTML.
_ESCAPES = {b"<": b"\\u003c", b">": b"\\u003e", b"&": b"\\u0026"}

Sources = dict[str, dict[str, str]]


class CounterError(ValueError):
    """``err_code`` is one of the five above."""

    def __init__(self, err_code: int) -> None:
        super().__init__(err_code)
        self.err_code = err_code


def parse_increment(block: bytes) -> int | None:
    """The number in Nats-Incr, None without one. Raises `CounterError` INVALID."""
    text = header_block.get(block, header_block.INCREMENT)
    if not text:
        return None
    if _NUMBER.fullmatch(text) is None:
        raise CounterError(INVALID)
    return _to_integer(text)


def check_increment(block: bytes, payload_size: int, allows_counters: bool) -> int | None:
    """What a client's message adds, None without Nats-Incr; its first checks, in nats-server's order.

    A counter stream also refuses None with MISSING, but only after the checks of other headers. Sourced
    messages are not checked. Raises `CounterError`.
    """
    increment = parse_increment(block)
    if increment is None:
        return None
    if not allows_counters:
        raise CounterError(DISABLED)
    if payload_size:
        raise CounterError(PAYLOAD)
    if any(header_block.get(block, name) for name in _CONTRADICTING):
        raise CounterError(INVALID)
    return increment


def apply_increment(
    subject: bytes, block: bytes, payload: bytes, increment: int, last: tuple[bytes, bytes] | None
) -> tuple[bytes, bytes, bytes]:
    """(header block, payload, new value as text) to store for a message with this increment.

    ``last`` is (header block, payload) of the newest message of the subject. Raises `CounterError` BROKEN.
    """
    value = 0
    sources: Sources = {}
    if last is not None:
        last_block, last_payload = last
        value = read_value(last_payload)
        sources = read_sources(header_block.get(last_block, header_block.COUNTER_SOURCES))
    origin = header_block.get(block, header_block.STREAM_SOURCE)
    if origin:
        increment = _note_origin(sources, origin, subject, payload)
        block = header_block.set_header(block, header_block.INCREMENT, _to_text(increment))
    text = _to_text(value + increment)
    if sources:
        block = header_block.set_header(block, header_block.COUNTER_SOURCES, write_sources(sources))
    return block, b'{"val":"%s"}' % text, text


def _note_origin(sources: Sources, origin: bytes, subject: bytes, payload: bytes) -> int:
    """Write the origin's value into ``sources``; the difference to what stood there."""
    words = origin.split(b" ")
    stream = words[0].decode("utf-8", "replace")
    key = (words[4] if len(words) > 4 else subject).decode("utf-8", "replace")
    value = read_value(payload)
    of_stream = sources.setdefault(stream, {})
    previous = _leading_integer(of_stream.get(key, ""))
    of_stream[key] = _to_text(value).decode()
    return value - previous


def read_value(payload: bytes) -> int:
    """The number in ``{"val":"5"}``; 0 if it has none. Raises `CounterError` BROKEN for anything else."""
    try:
        return _leading_integer(decode_fields(payload, {"val": string}).get("val", ""))
    except GoJsonError as error:
        raise CounterError(BROKEN) from error


def read_sources(text: bytes | None) -> Sources:
    """The value of Nats-Counter-Sources. Raises `CounterError` BROKEN."""
    if not text:
        return {}
    try:
        value = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise CounterError(BROKEN) from error
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise CounterError(BROKEN)
    sources: Sources = {}
    for stream, of_stream in value.items():
        sources[stream] = {}
        if of_stream is None:
            continue
        if not isinstance(of_stream, dict):
            raise CounterError(BROKEN)
        for subject, number in of_stream.items():
            if not isinstance(number, str | None):
                raise CounterError(BROKEN)
            sources[stream][subject] = number or ""
    return sources


def write_sources(sources: Sources) -> bytes:
    """The value of Nats-Counter-Sources: sorted, without blanks, escaped as Go does."""
    text = orjson.dumps(sources, option=orjson.OPT_SORT_KEYS)
    for character, escape in _ESCAPES.items():
        text = text.replace(character, escape)
    return text


def _leading_integer(text: str) -> int:
    """The number at the start of a text, 0 if there is none."""
    match = _NUMBER.match(text.encode("utf-8", "replace"))
    return 0 if match is None else _to_integer(match.group())


def _to_integer(text: bytes) -> int:
    digits = text.lstrip(b"+-")
    first = len(digits) % DIGITS_AT_ONCE
    value = int(digits[:first] or b"0")
    for start in range(first, len(digits), DIGITS_AT_ONCE):
        value = value * CHUNK + int(digits[start : start + DIGITS_AT_ONCE])
    return -value if text.startswith(b"-") else value


def _to_text(value: int) -> bytes:
    rest, low = divmod(abs(value), CHUNK)
    parts = []
    while rest:
        parts.append(b"%0*d" % (DIGITS_AT_ONCE, low))
        rest, low = divmod(rest, CHUNK)
    parts.append(b"%d" % low)
    if value < 0:
        parts.append(b"-")
    return b"".join(reversed(parts))
