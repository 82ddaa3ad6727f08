"""Durations in Go's notation, and the value of the header Nats-TTL. Nanoseconds everywhere.

``1h5m0s``, ``1.5ms``, ``-2us``: a sign, then numbers with units, without blanks. Headers of messages
(Nats-TTL, Nats-Schedule), the CLI and the configuration file use it, and what one of them accepts must be
what nats-server accepts; so the arithmetic of fractions and the limits are those of Go's time package.
"""

import re

from shardbroker.decimals import unsigned

NS_PER_S = 1_000_000_000
INT64_MAX = 2**63 - 1
NEVER = -1  # `parse_message_ttl`: the message is exempt from max_age too

_UNITS_NS = {
    "ns": 1,
    "us": 1_000,
    "\u00b5s": 1_000,  # micro sign
    "\u03bcs": 1_000,  # small letter mu
    "ms": 1_000_000,
    "s": NS_PER_S,
    "m": 60 * NS_PER_S,
    "h": 3600 * NS_PER_S,
}
_PART = re.compile(r"([0-9]*)(\.[0-9]*)?([^.0-9]*)")


class DurationError(ValueError):
    """Not a duration; the text is Go's."""


def parse_duration(text: str) -> int:
    """Nanoseconds, negative ones included. Raises `DurationError`."""
    rest = text[1:] if text[:1] in ("-", "+") else text
    if rest == "0":
        return 0
    if not rest:
        raise _invalid(text)
    total = 0
    while rest:
        part = _PART.match(rest)
        whole, fraction, unit = part.group(1), part.group(2) or "", part.group(3)
        if not whole and len(fraction) < 2:
            raise _invalid(text)
        # Go says first that the number is too large, then what is wrong with the unit.
        number = unsigned(whole or "0", INT64_MAX + 1)
        if number is None:
            raise _invalid(text)
        if not unit:
            raise DurationError(f"time: missing unit in duration {_quoted(text)}")
        if unit not in _UNITS_NS:
            raise DurationError(f"time: unknown unit {_quoted(unit)} in duration {_quoted(text)}")
        total += number * _UNITS_NS[unit] + _fraction_ns(fraction[1:], _UNITS_NS[unit])
        if total > INT64_MAX + 1:
            raise _invalid(text)
        rest = rest[part.end() :]
    if text[0] == "-":
        return -total
    if total > INT64_MAX:
        raise _invalid(text)
    return total


def _fraction_ns(digits: str, unit_ns: int) -> int:
    """What the digits behind the point are worth; floating point, because Go takes it for this too."""
    value, scale = 0, 1.0
    for digit in digits:
        if value > INT64_MAX // 10 or value * 10 + int(digit) > INT64_MAX + 1:
            break
        value = value * 10 + int(digit)
        scale *= 10
    return int(value * (unit_ns / scale))


def _invalid(text: str) -> DurationError:
    return DurationError(f"time: invalid duration {_quoted(text)}")


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def format_duration(ns: int) -> str:
    """The shortest text that Go gives: ``1h5m0s``, ``1.5ms``, ``0s``."""
    if ns == 0:
        return "0s"
    sign, ns = ("-", -ns) if ns < 0 else ("", ns)
    if ns < 1_000:
        return f"{sign}{ns}ns"
    if ns < 1_000_000:
        return f"{sign}{_decimal(ns, 1_000)}\u00b5s"
    if ns < NS_PER_S:
        return f"{sign}{_decimal(ns, 1_000_000)}ms"
    minutes, below_minute = divmod(ns, 60 * NS_PER_S)
    text = f"{_decimal(below_minute, NS_PER_S)}s"
    if minutes:
        hours, minutes = divmod(minutes, 60)
        text = f"{hours}h{minutes}m{text}" if hours else f"{minutes}m{text}"
    return sign + text


def _decimal(ns: int, unit_ns: int) -> str:
    """``ns`` in a unit, exact, without zeros at the end."""
    whole, rest = divmod(ns, unit_ns)
    if rest == 0:
        return str(whole)
    digits = str(unit_ns + rest)[1:].rstrip("0")
    return f"{whole}.{digits}"


def parse_message_ttl(value: bytes) -> int:
    """A value of Nats-TTL in nanoseconds; `NEVER`; 0 for none, as an empty header means.

    A duration of one second or more, cut to whole seconds; or a number of seconds; or ``never`` in any case.
    Raises ValueError otherwise. A plain ``0`` is refused, ``00`` means none: so does nats-server.
    """
    if not value:
        return 0
    text = value.decode("utf-8", "replace")
    if text.lower() == "never":
        return NEVER
    try:
        duration_ns = parse_duration(text)
    except DurationError:
        return _whole_seconds(value) * NS_PER_S
    if duration_ns < NS_PER_S:
        raise ValueError(f"TTL of less than a second: {text}")
    return duration_ns // NS_PER_S * NS_PER_S


def _whole_seconds(value: bytes) -> int:
    """A number of seconds in digits only, of at most 63 bits."""
    number = unsigned(value, INT64_MAX)
    if number is None:
        raise ValueError(f"no TTL: {value!r}")
    return number
