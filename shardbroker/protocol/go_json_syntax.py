"""JSON text taken apart exactly as Go does it, with Go's words for what is wrong and where.

`go_json.py` answers whether an object is good, which is all a client's CONNECT needs. Answers of the
JetStream API quote the error, so here every text and every offset is that of nats-server 2.15.1 (built with
Go 1.27, whose encoding/json runs on its second version): tests/jetstream/test_strict_json.py compares.

The result is a tree of `Node`, one for each value, that remembers its place in the text: errors about a value
quote it as it was written. Names of objects are kept in order and as often as they come. Nothing recurses, so
depth costs no stack. Large requests (thousands of subjects) need about one microsecond for each value.
"""

import re

DEPTH_MAX = 10000  # Go refuses deeper values

_BLANKS = re.compile(rb"[ \t\r\n]*")
_PLAIN_STRING = re.compile(rb'"[^"\\\x00-\x1f\x80-\xff]*"')
_STRING_GOOD_PART = re.compile(rb'(?:[^"\\\x00-\x1f]++|\\["\\/bfnrt]|\\u[0-9a-fA-F]{4})*+')
_NUMBER = re.compile(rb"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?")
_PREFIX_OF_HEX_ESCAPE = re.compile(rb"\\(?:u[0-9a-fA-F]{0,4})?")
_ESCAPE = re.compile(
    r"\\u([dD][89abAB][0-9a-fA-F]{2})\\u([dD][c-fC-F][0-9a-fA-F]{2})|\\u([0-9a-fA-F]{4})|\\(.)", re.DOTALL
)
_SINGLE_ESCAPES = {"b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", '"': '"', "\\": "\\", "/": "/"}
_BAD_BYTES = re.compile("[\udc80-\udcff]")
_LITERALS = {0x6E: b"null", 0x74: b"true", 0x66: b"false"}
_QUOTED = {
    "\a": "\\a",
    "\b": "\\b",
    "\f": "\\f",
    "\n": "\\n",
    "\r": "\\r",
    "\t": "\\t",
    "\v": "\\v",
    "\\": "\\\\",
}


class GoSyntaxError(ValueError):
    """The text is no JSON. ``offset`` is the number of bytes read up to and with the offending ones."""

    def __init__(self, message: str, offset: int) -> None:
        super().__init__(message)
        self.offset = offset


class GoTextEndError(ValueError):
    """The text ends within a value."""


class Node:
    """One value: ``kind`` is its first character (digits and minus are ``0``), ``start``..``end`` its place.

    ``value`` is the text of a string, the elements of an array, the (name, Node) pairs of an object.
    """

    __slots__ = ("end", "kind", "start", "value")

    def __init__(self, kind: str, start: int, end: int, value: object = None) -> None:
        self.kind = kind
        self.start = start
        self.end = end
        self.value = value


def skip_blanks(text: bytes, position: int) -> int:
    """The first position from ``position`` on that holds no white space of JSON."""
    return _BLANKS.match(text, position).end()


def parse_value(text: bytes, position: int) -> Node:
    """The value that begins at ``position``, where there is no white space.

    GoSyntaxError or GoTextEndError for the first thing that is wrong.
    """
    open_values: list[Node] = []
    names: list[str] = []
    while True:
        node = _begin(text, position)
        if node.kind in "{[":
            if len(open_values) == DEPTH_MAX:
                raise GoSyntaxError("exceeded max depth", position + 1)
            position = _blanks_not_end(text, position + 1)
            if text[position] != (0x7D if node.kind == "{" else 0x5D):
                open_values.append(node)
                if node.kind == "{":
                    name, position = _name(text, position)
                    names.append(name)
                continue
            node.end = position + 1
        # The value is complete: put it into its parent, and close what ends with it.
        while open_values:
            parent = open_values[-1]
            if parent.kind == "{":
                parent.value.append((names.pop(), node))
            else:
                parent.value.append(node)
            position = _blanks_not_end(text, node.end)
            if text[position] == 0x2C:
                position = _blanks_not_end(text, position + 1)
                if parent.kind == "{":
                    name, position = _name(text, position)
                    names.append(name)
                break
            if text[position] != (0x7D if parent.kind == "{" else 0x5D):
                where = "after object key:value pair" if parent.kind == "{" else "after array element"
                raise _invalid_character(text, position, where)
            parent.end = position + 1
            node = open_values.pop()
        else:
            return node


def parse_whole(text: bytes) -> Node:
    """The only value of ``text``, as json.Unmarshal takes it: nothing but white space may follow."""
    position = skip_blanks(text, 0)
    if position == len(text):
        raise GoTextEndError("unexpected end of JSON input")
    try:
        node = parse_value(text, position)
    except GoTextEndError:
        raise GoTextEndError("unexpected end of JSON input") from None
    position = skip_blanks(text, node.end)
    if position < len(text):
        raise _invalid_character(text, position, "after top-level value")
    return node


def quote(data: bytes) -> str:
    """``data`` in double quotes as Go's ``%q`` writes a string."""
    text = data.decode("utf-8", "surrogateescape")
    return '"' + "".join(_quoted_character(character, '"') for character in text) + '"'


def _quoted_character(character: str, mark: str) -> str:
    code = ord(character)
    if character == mark:
        return "\\" + mark
    if character in _QUOTED:
        return _QUOTED[character]
    if 0xDC80 <= code <= 0xDCFF:
        return f"\\x{code - 0xDC00:02x}"
    if character.isprintable():
        return character
    if code < 0x20 or code == 0x7F:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def _first_character(text: bytes, position: int) -> tuple[str, int]:
    """The character at ``position`` and its size; a byte that is no UTF-8 is one of size 1."""
    character = text[position : position + 4].decode("utf-8", "surrogateescape")[0]
    size = 1 if "\udc80" <= character <= "\udcff" else len(character.encode())
    return character, size


def _invalid_character(text: bytes, position: int, where: str) -> GoSyntaxError:
    character, size = _first_character(text, position)
    quoted = _quoted_character(character, "'")
    return GoSyntaxError(f"invalid character '{quoted}' {where}", position + size)


def _blanks_not_end(text: bytes, position: int) -> int:
    position = _BLANKS.match(text, position).end()
    if position == len(text):
        raise GoTextEndError("unexpected EOF")
    return position


def _name(text: bytes, position: int) -> tuple[str, int]:
    """The name of a member at ``position``, and where its value begins."""
    if text[position] != 0x22:
        raise _invalid_character(text, position, "looking for beginning of object key string")
    node = _string(text, position)
    position = _blanks_not_end(text, node.end)
    if text[position] != 0x3A:
        raise _invalid_character(text, position, "after object key")
    return node.value, _blanks_not_end(text, position + 1)


def _begin(text: bytes, position: int) -> Node:
    """The node at ``position``: complete, but for arrays and objects, which are empty yet."""
    first = text[position]
    if first == 0x22:
        return _string(text, position)
    if first == 0x7B:
        return Node("{", position, position, [])
    if first == 0x5B:
        return Node("[", position, position, [])
    if first == 0x2D or 0x30 <= first <= 0x39:
        return Node("0", position, _number_end(text, position))
    if first in _LITERALS:
        literal = _LITERALS[first]
        for index, expected in enumerate(literal):
            if position + index == len(text):
                raise GoTextEndError("unexpected EOF")
            if text[position + index] != expected:
                where = f"in literal {literal.decode()} (expecting '{chr(expected)}')"
                raise _invalid_character(text, position + index, where)
        return Node(chr(first), position, position + len(literal))
    raise _invalid_character(text, position, "looking for beginning of value")


def _number_end(text: bytes, start: int) -> int:
    match = _NUMBER.match(text, start)
    if match is None:
        # Only a minus without a digit does not match.
        position = start + 1
    else:
        position = match.end()
        rest = text[position : position + 3]
        written = match.group()
        has_exponent = b"e" in written or b"E" in written
        if rest[:1] == b"." and not has_exponent and b"." not in written:
            position += 1
        elif rest[:1] in (b"e", b"E") and rest and not has_exponent:
            position += 2 if rest[1:2] in (b"+", b"-") and len(rest) > 1 else 1
        else:
            return position
    if position >= len(text):
        raise GoTextEndError("unexpected EOF")
    raise _invalid_character(text, position, "in numeric literal")


def _string(text: bytes, start: int) -> Node:
    """The string whose opening quote is at ``start``."""
    match = _PLAIN_STRING.match(text, start)
    if match is not None:
        end = match.end()
        return Node('"', start, end, text[start + 1 : end - 1].decode("ascii"))
    position = _STRING_GOOD_PART.match(text, start + 1).end()
    if position == len(text):
        raise GoTextEndError("unexpected EOF")
    if text[position] == 0x22:
        return Node('"', start, position + 1, unquote(text[start + 1 : position]))
    if text[position] != 0x5C:
        raise _invalid_character(text, position, "in string")
    wrong = text[position : position + (6 if text[position + 1 : position + 2] == b"u" else 2)]
    if position + len(wrong) == len(text) and _PREFIX_OF_HEX_ESCAPE.fullmatch(wrong):
        raise GoTextEndError("unexpected EOF")
    written = wrong.decode("utf-8", "surrogateescape")
    plain = all(c.isprintable() and c not in "` " and not "\udc80" <= c <= "\udcff" for c in written)
    shown = f"`{written}`" if plain else quote(wrong)
    raise GoSyntaxError(f"invalid escape sequence {shown} in string", position + len(wrong))


def unquote(inside: bytes) -> str:
    """The text of a string from what stands between its quotes.

    As in Go, each byte that is no UTF-8 and each half of a surrogate pair is one U+FFFD.
    """
    text = _BAD_BYTES.sub("\ufffd", inside.decode("utf-8", "surrogateescape"))
    return _ESCAPE.sub(_unescape, text) if "\\" in text else text


def _unescape(match: re.Match[str]) -> str:
    high, low, single, letter = match.groups()
    if high:
        return chr(0x10000 + ((int(high, 16) - 0xD800) << 10) + int(low, 16) - 0xDC00)
    if single:
        code = int(single, 16)
        return "\ufffd" if 0xD800 <= code <= 0xDFFF else chr(code)
    return _SINGLE_ESCAPES[letter]
