"""JSON objects from clients, understood as nats-server's decoder (Go's encoding/json) understands them.

Clients depend on it without knowing: a key may be written in any case, an unknown key is skipped, ``null``
leaves a field as it was, and one value of a wrong type spoils the whole object. ``decode_fields`` gives the
values of the known fields; what it refuses, nats-server closes the connection for.

The common object is decoded by orjson. What orjson cannot tell (keys that are given twice) or refuses though
Go takes it (bytes that are not UTF-8, half a surrogate pair) goes the exact way, some times slower.
"""

import binascii
import json
import re
from collections.abc import Callable, Iterable, Mapping

import orjson

# Two characters outside ASCII fold to ASCII letters in Go: the long s and the Kelvin sign.
_FOLDED = str.maketrans("\u017f\u212aABCDEFGHIJKLMNOPQRSTUVWXYZ", "skabcdefghijklmnopqrstuvwxyz")
_SURROGATE = re.compile("[\ud800-\udfff]")


class GoJsonError(ValueError):
    """Not JSON, or a value of a wrong type."""


def boolean(value: object) -> bool:
    """``true`` or ``false``."""
    if value is True or value is False:
        return value
    raise GoJsonError("not a boolean")


def string(value: object) -> str:
    """A JSON string."""
    if isinstance(value, str):
        return value
    raise GoJsonError("not a string")


def integer(low: int, high: int) -> Callable[[object], int]:
    """A kind: numbers without fraction or exponent in ``low..high``. ``1.0`` is none."""

    def check(value: object) -> int:
        if type(value) is int and low <= value <= high:
            return value
        raise GoJsonError("not an integer of this size")

    return check


def strings(value: object) -> tuple[str, ...]:
    """An array of strings; ``null`` in it is an empty one."""
    if isinstance(value, list):
        return tuple("" if element is None else string(element) for element in value)
    raise GoJsonError("not an array")


def base64_bytes(value: object) -> bytes:
    """A string in base64, as Go writes and reads ``[]byte``; line ends in it are skipped."""
    text = string(value).replace("\r", "").replace("\n", "")
    try:
        return binascii.a2b_base64(text.encode("ascii"), strict_mode=True)
    except ValueError as error:
        raise GoJsonError("not base64") from error


def subject_permission(value: object) -> dict[str, object]:
    """An object with ``allow`` and ``deny``."""
    if not isinstance(value, (dict, _Pairs)):
        raise GoJsonError("not an object")
    return _known_fields(value.items(), {"allow": strings, "deny": strings})


int64 = integer(-(1 << 63), (1 << 63) - 1)
int32 = integer(-(1 << 31), (1 << 31) - 1)
uint64 = integer(0, (1 << 64) - 1)
uint8 = integer(0, 255)

Kinds = Mapping[str, Callable[[object], object]]


def decode_fields(text: bytes, kinds: Kinds) -> dict[str, object]:
    """The fields of the object ``text`` that ``kinds`` names and that are not null.

    ``null`` in the place of the object is one without fields; GoJsonError for anything else.
    """
    try:
        value = orjson.loads(text)
        # As many colons as keys: no key is given twice, and no value is an object.
        exact = not isinstance(value, dict) or text.count(b":") == len(value)
    except orjson.JSONDecodeError:
        exact = False
    if not exact:
        value = _loads_exactly(text)
    if value is None:
        return {}
    if not isinstance(value, (dict, _Pairs)):
        raise GoJsonError("not an object")
    return _known_fields(value.items(), kinds)


def _known_fields(items: Iterable[tuple[str, object]], kinds: Kinds) -> dict[str, object]:
    fields = {}
    for key, value in items:
        name = key if key in kinds else key.translate(_FOLDED)
        if name in kinds and value is not None:
            fields[name] = kinds[name](value)
    return fields


class _Pairs:
    """An object with all its keys, also those given twice, in order."""

    def __init__(self, pairs: list[tuple[str, object]]) -> None:
        self.pairs = [(_valid(key), _valid(value)) for key, value in pairs]

    def items(self) -> list[tuple[str, object]]:
        return self.pairs


def _valid(value: object) -> object:
    """Each byte that is no UTF-8, and each half of a surrogate pair, is one U+FFFD in Go."""
    if isinstance(value, str):
        return _SURROGATE.sub("\ufffd", value)
    if isinstance(value, list):
        return [_valid(element) for element in value]
    return value


def _refuse_constant(name: str) -> object:
    raise GoJsonError(f"{name} is no JSON")


def _loads_exactly(text: bytes) -> object:
    try:
        return json.loads(
            text.decode("utf-8", "surrogateescape"),
            object_pairs_hook=_Pairs,
            parse_constant=_refuse_constant,
        )
    except (ValueError, RecursionError) as error:
        raise GoJsonError(str(error)) from error
