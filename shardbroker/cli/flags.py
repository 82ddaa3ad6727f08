"""The rules of Go's ``flag`` package, because operators' scripts are written for them.

One dash or two mean the same. A value follows by ``=`` or as the next argument; a bool takes its value by
``=`` only, so ``-D false`` is ``-D`` and a stray word. The first argument that is no flag ends the flags.
The texts of errors are Go's.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass

from shardbroker.errors import UsageError

_TRUE = ("1", "t", "T", "TRUE", "true", "True")
_FALSE = ("0", "f", "F", "FALSE", "false", "False")
# Patterns are compiled at first use: most starts need none or one of them.
_INT = r"[+-]?(0[xX][0-9a-fA-F_]+|0[bB][01_]+|0[oO]?[0-7_]*|[1-9][0-9_]*)"
_DURATION = r"([0-9]*\.?[0-9]*)(ns|us|µs|μs|ms|s|m|h)"
_UNIT_S = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "μs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
_SIZE = r"([+-]?[0-9]+)([a-zA-Z]*)"
_SIZE_UNITS = {
    f"{letter}{kind}": base**power
    for power, letter in enumerate("kmgtpe", start=1)
    for kind, base in (("", 1000), ("b", 1024), ("i", 1024), ("ib", 1024))
}


def boolean(text: str) -> bool:
    """As strconv.ParseBool. Raises ValueError, as all converters here."""
    if text in _TRUE:
        return True
    if text in _FALSE:
        return False
    raise ValueError("parse error")


def integer(text: str) -> int:
    """As strconv.ParseInt with base 0: decimal, 0x, 0b, 0o or a leading 0 for octal."""
    if not re.fullmatch(_INT, text):
        raise ValueError("parse error")
    sign = -1 if text.startswith("-") else 1
    digits = text.lstrip("+-").lower()
    if len(digits) > 1 and digits[0] == "0" and digits[1] not in "xbo":
        digits = "0o" + digits[1:]
    try:
        number = sign * int(digits, 0)
    except ValueError as error:  # misplaced underscores
        raise ValueError("parse error") from error
    if not -(1 << 63) <= number < 1 << 63:
        raise ValueError("value out of range")
    return number


def duration(text: str) -> float:
    """Seconds of a Go duration: ``1m30s``, ``500ms``, ``1.5h``; a bare number other than 0 is none."""
    if text == "0":
        return 0.0
    total, position = 0.0, 0
    while position < len(text):
        match = re.match(_DURATION, text[position:])
        if match is None or match[1] in ("", "."):
            raise ValueError("parse error")
        total += float(match[1]) * _UNIT_S[match[2]]
        position += match.end()
    if position == 0:
        raise ValueError("parse error")
    return total


def size(text: str) -> int:
    """Bytes, in the units of the nats configuration: k, m, g = 1000^n; kb, mb, gb (and kib) = 1024^n."""
    match = re.fullmatch(_SIZE, text)
    if match is None or (match[2] and match[2].lower() not in _SIZE_UNITS):
        raise ValueError("parse error")
    return int(match[1]) * (_SIZE_UNITS[match[2].lower()] if match[2] else 1)


def sync_mode(text: str) -> bool:
    """Whether a PubAck waits for the disk: ``commit`` (or nats-server's ``always``) or ``interval``."""
    if text in ("commit", "always"):
        return True
    if text == "interval":
        return False
    raise ValueError('should be "commit" or "interval"')


@dataclass(frozen=True, slots=True)
class Flag:
    """One flag under all its names. ``apply(value)`` does what it means, with the converted value."""

    names: tuple[str, ...]
    convert: Callable[[str], object]
    apply: Callable[[object], None]

    @property
    def is_bool(self) -> bool:
        return self.convert is boolean


def parse(arguments: list[str], flags: list[Flag]) -> list[str]:
    """Apply the flags in ``arguments`` in order and give the rest. Raises UsageError with Go's texts."""
    table = {name: flag for flag in flags for name in flag.names}
    rest = list(arguments)
    while rest:
        argument = rest[0]
        if len(argument) < 2 or argument[0] != "-":
            return rest
        del rest[0]
        if argument == "--":
            return rest
        body = argument[2:] if argument.startswith("--") else argument[1:]
        if body[0] in "-=":
            raise UsageError(f"bad flag syntax: {argument}")
        name, equals, value = body.partition("=")
        flag = table.get(name)
        if flag is None:
            raise UsageError(f"flag provided but not defined: -{name}")
        if not equals:
            if flag.is_bool:
                value = "true"
            elif rest:
                value = rest.pop(0)
            else:
                raise UsageError(f"flag needs an argument: -{name}")
        try:
            converted = flag.convert(value)
        except ValueError as error:
            kind, link = ("boolean value", "for") if flag.is_bool else ("value", "for flag")
            raise UsageError(f'invalid {kind} "{value}" {link} -{name}: {error}') from error
        flag.apply(converted)
    return rest
