"""Bodies of requests, decoded as nats-server decodes them into its structs, with the same complaints.

A shape is described by *kinds*: `STRING`, `BOOL`, integers, `Enum`, `Listed`, `Mapped` and `Struct`. `decode`
gives a dict with the fields that the body names, so that defaults stay with the dataclass that takes it:
``StreamConfig(**decode(body, STREAM_CONFIG))``. Rules of Go that requests in the wild rely on:

    keys            in any case; a key given twice is applied twice
    null            leaves text, numbers and switches as they were; empties lists, maps and pointers
    several values  one after the other are all applied
    unknown key     an error, unless the server was told not to be strict

The first error in the order of the text is the one that is told: a wrong syntax before all others, and its
text ends in `` at offset N``. Source: spec page 02, sections 1 and 6; the rest was seen with nats-server
2.15.1 and is compared with it by tests/jetstream/test_strict_json.py.
"""

from collections.abc import Mapping, Sequence

from shardbroker.jetstream.go_time import GoTimeError, normal_time
from shardbroker.protocol.go_json_syntax import (
    GoSyntaxError,
    GoTextEndError,
    Node,
    parse_value,
    parse_whole,
    quote,
    skip_blanks,
)

# Two characters outside ASCII fold to ASCII letters in Go: the long s and the Kelvin sign.
_FOLDED = str.maketrans("\u017f\u212aABCDEFGHIJKLMNOPQRSTUVWXYZ", "skabcdefghijklmnopqrstuvwxyz")
_VALUE_NAMES = {'"': "string", "0": "number", "t": "bool", "f": "bool", "[": "array", "{": "object"}
_BLANKS = b" \t\r\n"


class RequestJsonError(ValueError):
    """The body cannot be taken. The text is Go's, and belongs behind ``invalid JSON: ``."""


class _Place:
    """Where a value stands: the names and indexes on the way to it, and what the whole text is read into."""

    __slots__ = ("parent", "root", "text", "token", "unknown_refused")

    def __init__(
        self, parent: "_Place | None", token: str, root: str, text: bytes, unknown_refused: bool
    ) -> None:
        self.parent = parent
        self.token = token
        self.root = root
        self.text = text
        self.unknown_refused = unknown_refused

    def child(self, token: str) -> "_Place":
        return _Place(self, token, self.root, self.text, self.unknown_refused)

    def wrong_type(self, node: Node, type_name: str, *, with_value: bool = False) -> RequestJsonError:
        """The error for a value of a type that does not fit, or a number too large (``with_value``)."""
        found = _VALUE_NAMES[node.kind]
        if with_value:
            found += f" {self.text[node.start : node.end].decode()}"
        tokens = []
        place = self
        while place.parent is not None:
            tokens.append(place.token.replace("~", "~0").replace("/", "~1"))
            place = place.parent
        if not tokens:
            return RequestJsonError(f"json: cannot unmarshal {found} into Go value of type {type_name}")
        # Go guesses from an index at the end that the value is no field.
        last = tokens[0].rsplit(".", 1)[-1]
        what = "" if last and not last.strip("0123456789") else "Go struct field "
        path = f"{self.root}.{'.'.join(reversed(tokens))}"
        return RequestJsonError(f"json: cannot unmarshal {found} into {what}{path} of type {type_name}")


class Kind:
    """How one value is read. ``old`` is what the field held before, None at first."""

    type_name = ""

    def read(self, node: Node, place: _Place, old: object) -> object:
        """The value, or RequestJsonError."""
        raise NotImplementedError


class _String(Kind):
    type_name = "string"

    def read(self, node: Node, place: _Place, old: object) -> object:
        if node.kind == '"':
            return node.value
        if node.kind == "n":
            return "" if old is None else old
        raise place.wrong_type(node, self.type_name)


class _Bool(Kind):
    type_name = "bool"

    def read(self, node: Node, place: _Place, old: object) -> object:
        if node.kind in "tf":
            return node.kind == "t"
        if node.kind == "n":
            return bool(old)
        raise place.wrong_type(node, self.type_name)


class Integer(Kind):
    """A number without fraction or exponent in ``low..high``."""

    def __init__(self, type_name: str, low: int, high: int) -> None:
        self.type_name = type_name
        self.low = low
        self.high = high

    def read(self, node: Node, place: _Place, old: object) -> object:
        if node.kind == "n":
            return 0 if old is None else old
        if node.kind != "0":
            raise place.wrong_type(node, self.type_name)
        digits = place.text[node.start : node.end]
        unsigned = digits if self.low == 0 else digits.removeprefix(b"-")
        # As many digits as a number of 64 bits has; Python would read any number of them, slowly.
        if not unsigned.isdigit() or len(unsigned) > 20 or not self.low <= int(digits) <= self.high:
            raise place.wrong_type(node, self.type_name, with_value=True)
        return int(digits)


class _Time(Kind):
    """An RFC 3339 text; the value is the text that Go would write for it. ``null`` empties it."""

    type_name = "time.Time"

    def read(self, node: Node, place: _Place, old: object) -> object:
        if node.kind == "n":
            return None
        if node.kind != '"':
            raise place.wrong_type(node, self.type_name)
        try:
            return normal_time(node.value)
        except GoTimeError as error:
            raise RequestJsonError(str(error)) from None


class Enum(Kind):
    """One of some words, compared as they are written: an escape in them is not understood, nor is null."""

    def __init__(self, words: Mapping[str, str], *, any_case: bool = False) -> None:
        self.words = {f'"{word}"'.encode(): value for word, value in words.items()}
        self.any_case = any_case

    def read(self, node: Node, place: _Place, old: object) -> object:
        written = place.text[node.start : node.end]
        value = self.words.get(written.lower() if self.any_case else written)
        if value is None:
            raise RequestJsonError(f"can not unmarshal {quote(written)}")
        return value


class _Compression(Kind):
    """``none`` or ``s2``. nats-server reads it as a text of its own, which shows in the errors."""

    type_name = "string"

    def read(self, node: Node, place: _Place, old: object) -> object:
        root = _Place(None, "", "", place.text, place.unknown_refused)
        value = STRING.read(node, root, None)
        if value not in ("none", "s2"):
            raise RequestJsonError("unknown compression algorithm")
        return value


class Listed(Kind):
    """An array. Elements that are given again are merged with those that were there."""

    def __init__(self, element: Kind, *, pointers: bool = False) -> None:
        self.element = element
        self.type_name = ("[]*" if pointers else "[]") + element.type_name

    def read(self, node: Node, place: _Place, old: object) -> object:
        if node.kind == "n":
            return None
        if node.kind != "[":
            raise place.wrong_type(node, self.type_name)
        before = old if isinstance(old, list) else []
        element = self.element
        result = []
        for index, child in enumerate(node.value):
            if child.kind == '"' and element is STRING:
                result.append(child.value)
                continue
            previous = before[index] if index < len(before) else None
            result.append(element.read(child, place.child(str(index)), previous))
        return result


class Mapped(Kind):
    """An object with any keys and values of one kind."""

    def __init__(self, element: Kind) -> None:
        self.element = element
        self.type_name = f"map[string]{element.type_name}"

    def read(self, node: Node, place: _Place, old: object) -> object:
        if node.kind == "n":
            return None
        if node.kind != "{":
            raise place.wrong_type(node, self.type_name)
        result = dict(old) if isinstance(old, dict) else {}
        for name, child in node.value:
            result[name] = self.element.read(child, place.child(name), None)
        return result


class Struct(Kind):
    """An object with known keys. ``pointer`` says that null empties the field.

    The value is a dict with the keys of the dataclass that takes it.
    """

    def __init__(self, type_name: str, fields: Mapping[str, Kind], *, pointer: bool = False) -> None:
        self.type_name = f"server.{type_name}"
        self.go_name = type_name
        self.fields = dict(fields)
        self.pointer = pointer

    def read(self, node: Node, place: _Place, old: object) -> object:
        if node.kind == "n":
            return None if self.pointer else dict(old or {})
        if node.kind != "{":
            raise place.wrong_type(node, self.type_name)
        result = dict(old) if isinstance(old, dict) else {}
        fields = self.fields
        for name, child in node.value:
            key = name if name in fields else name.translate(_FOLDED)
            if key in fields:
                result[key] = fields[key].read(child, place.child(name), result.get(key))
            elif place.unknown_refused:
                raise RequestJsonError(f"json: unknown field {quote(name.encode())}")
        return result


STRING = _String()
BOOL = _Bool()
INT = Integer("int", -(1 << 63), (1 << 63) - 1)
INT64 = Integer("int64", -(1 << 63), (1 << 63) - 1)
INT32 = Integer("int32", -(1 << 31), (1 << 31) - 1)
UINT64 = Integer("uint64", 0, (1 << 64) - 1)
DURATION = Integer("time.Duration", -(1 << 63), (1 << 63) - 1)  # nanoseconds
TIME = _Time()
COMPRESSION = _Compression()
STRINGS = Listed(STRING)
TEXTS_BY_NAME = Mapped(STRING)


def decode(text: bytes, kind: Struct, *, strict: bool = True) -> dict[str, object]:
    """The fields that a request's body sets. An empty body sets none, several values set theirs in turn.

    With ``strict`` False unknown keys are skipped, and only one value may be there. RequestJsonError else.
    """
    if not strict:
        try:
            return _decode_values(text, kind)
        except RequestJsonError:
            return decode_loosely(text, kind)
    return _decode_values(text, kind)


def decode_loosely(text: bytes, kind: Struct) -> dict[str, object]:
    """The fields of the one value ``text``, unknown keys skipped: Go's json.Unmarshal."""
    try:
        node = parse_whole(text)
    except (GoSyntaxError, GoTextEndError) as error:
        raise RequestJsonError(str(error)) from None
    return kind.read(node, _Place(None, "", kind.go_name, text, False), {}) or {}


def _decode_values(text: bytes, kind: Struct) -> dict[str, object]:
    root = _Place(None, "", kind.go_name, text, True)
    fields: dict[str, object] = {}
    position = skip_blanks(text, 0)
    while position < len(text):
        try:
            node = parse_value(text, position)
        except GoSyntaxError as error:
            raise RequestJsonError(f"{error} at offset {error.offset}") from None
        except GoTextEndError as error:
            raise RequestJsonError(str(error)) from None
        fields = kind.read(node, root, fields)
        position = skip_blanks(text, node.end)
    return fields


def is_empty_request(text: bytes) -> bool:
    """Whether a body counts as none: no bytes, or an object without members."""
    if text in (b"", b"{}"):
        return True
    try:
        node = parse_whole(text)
    except (GoSyntaxError, GoTextEndError):
        return False
    return node.kind == "{" and not node.value


def is_object_or_array(text: bytes) -> bool:
    """Whether the first character that is not white space opens an object or an array."""
    return text.lstrip(_BLANKS)[:1] in (b"{", b"[") and bool(text)


def words(values: Sequence[str]) -> dict[str, str]:
    """For `Enum`: words that stand for themselves."""
    return {value: value for value in values}
