"""What all monitoring pages share: how arguments are read and how values look, as nats-server has them."""

import time
from collections.abc import Callable
from functools import lru_cache

import orjson

from shardbroker.acceptor.monitor.http_server import Request, Response
from shardbroker.errors import ShardbrokerError

_JSON_HEADERS = (("Access-Control-Allow-Origin", "*"),)
_TRUE = ("1", "t", "T", "TRUE", "true", "True")
_FALSE = ("", "0", "f", "F", "FALSE", "false", "False")
#: Go's JSON writes these three as escapes, so that JSON may stand in HTML.
_ESCAPES = ((b"<", b"\\u003c"), (b">", b"\\u003e"), (b"&", b"\\u0026"))


class BadArgument(ShardbrokerError):
    """A query argument that cannot be read: 400 with this text."""


# --- arguments ------------------------------------------------------------------------------------------


def bool_argument(request: Request, name: str) -> bool:
    text = request.query.get(name, "")
    if text in _TRUE:
        return True
    if text in _FALSE:
        return False
    raise BadArgument(
        f"Error decoding boolean for '{name}': strconv.ParseBool: parsing {_quoted(text)}: invalid syntax"
    )


def int_argument(request: Request, name: str) -> int:
    return _number(request, name, "int", "Atoi", -(1 << 63), (1 << 63) - 1)


def uint64_argument(request: Request, name: str) -> int:
    return _number(request, name, "uint64", "ParseUint", 0, (1 << 64) - 1)


def subscriptions_argument(request: Request) -> tuple[bool, bool]:
    """(wanted, in detail) of ``subs=0/1/detail``."""
    if request.query.get("subs", "").lower() == "detail":
        return False, True
    return bool_argument(request, "subs"), False


def _number(request: Request, name: str, kind: str, function: str, lowest: int, highest: int) -> int:
    text = request.query.get(name, "")
    if not text:
        return 0
    digits = text[1:] if text[0] in "+-" and lowest < 0 else text
    problem = ""
    if not (digits.isascii() and digits.isdigit()):
        problem = "invalid syntax"
    elif not lowest <= int(text) <= highest:
        problem = "value out of range"
    if problem:
        raise BadArgument(
            f"Error decoding {kind} for '{name}': strconv.{function}: parsing {_quoted(text)}: {problem}"
        )
    return int(text)


def _quoted(text: str) -> str:
    return orjson.dumps(text).decode()


# --- values ---------------------------------------------------------------------------------------------


def timestamp(time_ns: int) -> str:
    """RFC 3339 with nanoseconds in UTC, trailing zeros of the fraction cut, as Go writes times."""
    seconds, rest = divmod(time_ns, 1_000_000_000)
    text = _second(seconds)
    fraction = f"{rest:09d}".rstrip("0")
    return f"{text}.{fraction}Z" if fraction else f"{text}Z"


@lru_cache(maxsize=4096)
def _second(seconds: int) -> str:
    """A page of thousands of connections names few different seconds."""
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds))


def uptime(duration_ns: int) -> str:
    """``1d2h3m4s``: from the largest unit that is not zero down to seconds."""
    seconds = max(0, duration_ns) // 1_000_000_000
    minutes, hours, days = seconds // 60, seconds // 3600, seconds // 86400
    years = days // 365
    if years:
        return f"{years}y{days % 365}d{hours % 24}h{minutes % 60}m{seconds % 60}s"
    if days:
        return f"{days}d{hours % 24}h{minutes % 60}m{seconds % 60}s"
    if hours:
        return f"{hours}h{minutes % 60}m{seconds % 60}s"
    if minutes:
        return f"{minutes}m{seconds % 60}s"
    return f"{seconds}s"


def go_duration(duration_ns: int) -> str:
    """As Go's Duration.String: ``867µs``, ``1.234567ms``, ``1m2.5s``."""
    if duration_ns == 0:
        return "0s"
    if duration_ns < 1000:
        return f"{duration_ns}ns"
    if duration_ns < 1_000_000:
        return f"{_decimal(duration_ns, 3)}µs"
    if duration_ns < 1_000_000_000:
        return f"{_decimal(duration_ns, 6)}ms"
    minutes, rest = divmod(duration_ns, 60_000_000_000)
    text = f"{_decimal(rest, 9)}s"
    if minutes:
        hours, minutes = divmod(minutes, 60)
        text = f"{hours}h{minutes}m{text}" if hours else f"{minutes}m{text}"
    return text


def number(value: float) -> float | int:
    """A float as Go's JSON writes it: without ``.0``."""
    return int(value) if value == int(value) else value


def _decimal(value: int, places: int) -> str:
    whole, rest = divmod(value, 10**places)
    fraction = f"{rest:0{places}d}".rstrip("0")
    return f"{whole}.{fraction}" if fraction else str(whole)


# --- responses ------------------------------------------------------------------------------------------


def json_page(content: object, *, status: int = 200, indent: bool = True) -> Response:
    """JSON as nats-server's: two spaces, and Go's escapes."""
    body = orjson.dumps(content, option=orjson.OPT_INDENT_2 if indent else 0)
    for plain, escaped in _ESCAPES:
        body = body.replace(plain, escaped)
    return Response(status, "application/json", body, _JSON_HEADERS)


def text_page(text: str, status: int) -> Response:
    return Response(status, "text/plain; charset=utf-8", text.encode())


Page = Callable[[object, Request, Callable[[Response], None]], None]
