"""Answers as JSON, byte for byte as Go's encoding/json writes them.

`encode` takes plain values: dict, list, tuple, str, int, bool, None, and bytes, which become base64 as Go's
``[]byte``. Keys keep the order of the dict: Go writes a struct's fields in the order of the struct, and those
of a map sorted, which is the caller's business.

orjson does the work. What Go writes differently is replaced afterwards, and only where it occurs: ``<``,
``>``, ``&`` and the two line separators of Unicode are escaped, and what is no Unicode is U+FFFD. Lost:
encoding by hand, ten times slower, and `json.dumps`, which must still be corrected afterwards.
"""

import base64
import re

import orjson

from shardbroker.jetstream.go_time import ZERO_TIME, ZERO_TIME_TEXT, format_time, normal_time, parse_time

__all__ = ["ZERO_TIME", "ZERO_TIME_TEXT", "encode", "format_time", "normal_time", "parse_time"]

# All of these occur in strings only, so they may be replaced anywhere in the text.
_ESCAPED = {
    b"<": b"\\u003c",
    b">": b"\\u003e",
    b"&": b"\\u0026",
    b"\xe2\x80\xa8": b"\\u2028",
    b"\xe2\x80\xa9": b"\\u2029",
}
_TO_ESCAPE = re.compile(b"[<>&]|\xe2\x80[\xa8\xa9]")
_SURROGATE = re.compile("[\ud800-\udfff]")


def encode(value: object) -> bytes:
    """``value`` as compact JSON in Go's spelling. TypeError for what it cannot hold."""
    try:
        text = orjson.dumps(value, default=_bytes_as_base64)
    except TypeError:
        # Half a surrogate pair: what decoding with surrogateescape makes of a byte that is no UTF-8.
        text = orjson.dumps(_valid(value), default=_bytes_as_base64)
    if _TO_ESCAPE.search(text) is None:
        return text
    return _TO_ESCAPE.sub(lambda match: _ESCAPED[match.group()], text)


def _bytes_as_base64(value: object) -> str:
    if isinstance(value, (bytes, bytearray, memoryview)):
        return base64.b64encode(value).decode("ascii")
    raise TypeError(f"{type(value).__name__} has no JSON")


def _valid(value: object) -> object:
    """``value`` with U+FFFD in the place of each half of a surrogate pair."""
    if isinstance(value, str):
        return _SURROGATE.sub("\ufffd", value)
    if isinstance(value, dict):
        return {_valid(key): _valid(element) for key, element in value.items()}
    if isinstance(value, (list, tuple)):
        return [_valid(element) for element in value]
    return value
