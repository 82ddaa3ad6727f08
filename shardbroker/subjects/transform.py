"""Subject transforms: rewrite a literal subject from a source pattern to a destination (ADR-30).

One transform serves account mappings, stream subject transforms, republish and sources. The destination is a
subject whose tokens are literals, ``$n``, or a function in double braces such as ``{{partition(3,1)}}``:

    wildcard(n)            the n-th `*` token of the source, as `$n`
    partition(m[,n...])    FNV-1a of the named wildcard tokens put together, or of the whole subject, modulo m
    splitFromLeft(n,at)    two tokens, cut `at` bytes from the left; splitFromRight counts from the right
    sliceFromLeft(n,size)  tokens of `size` bytes, the rest last; sliceFromRight has the rest first
    split(n,separator)     a token for each part between separators, without empty ones
    left(n,size)           the first `size` bytes; right(n,size) the last ones
    random(m)              a number below m

A token too short to be cut is taken whole. The first letter of each word of a name may have either case.
Which numbers and blanks a function takes, and what index 0 means (the first token), is as nats-server 2.15.1
has it, oddities included: a stream that works there works here.

A transform is compiled once into a list of steps; `apply` runs for every message of a stream that has one,
so it does no parsing. It is Python all the same: transforms are not on the path of core messages.
"""

import random
import re
from collections.abc import Callable, Sequence
from functools import partial

from shardbroker.decimals import signed

Tokens = Sequence[bytes]
Step = Callable[[Tokens], bytes]  # the tokens of a subject -> one or more tokens of the result

NO_TRANSFORM_TEXT = "invalid mapping destination: invalid transform"
UNKNOWN_TEXT = "invalid mapping destination: unknown function"
OUT_OF_RANGE_TEXT = "invalid mapping destination: wildcard index out of range"
TOO_FEW_TEXT = "invalid mapping destination: not enough arguments passed to the function"
TOO_MANY_TEXT = "invalid mapping destination: too many arguments passed to the function"
BAD_ARGUMENT_TEXT = "invalid mapping destination: function argument is invalid or in the wrong format"
UNUSED_WILDCARD_TEXT = "invalid mapping destination: not using all of the token wildcard(s)"
IMPORT_TEXT = (
    "invalid mapping destination: the only mapping function allowed for import transforms is {{Wildcard()}}"
)
BAD_SUBJECT_TEXT = "invalid subject"

FNV32_OFFSET_BASIS = 0x811C9DC5
FNV32_PRIME = 0x01000193
INT32_MAX = 2**31 - 1
INT64_MAX = 2**63 - 1

# The order in which nats-server looks for them: a token may hold the text of several.
_NAMES = (
    "Wildcard", "Partition", "Split From Left", "Split From Right", "Slice From Left", "Slice From Right",
    "Right", "Left", "Split", "Random",
)  # fmt: skip
_ARGUMENT_SEPARATOR = re.compile(r",[ \t\n\f\r]*")


def _call_pattern(name: str) -> re.Pattern[str]:
    """What a call looks like; every word of the name may begin with a small or a capital letter."""
    words = "".join(f"[{word[0]}{word[0].lower()}]{word[1:]}" for word in name.split())
    return re.compile(r"\{\{[ \t\n\f\r]*" + words + r"[ \t\n\f\r]*\((.*)\)[ \t\n\f\r]*\}\}")


_CALLS = tuple((name.replace(" ", "").lower(), _call_pattern(name)) for name in _NAMES)


class TransformError(ValueError):
    """The source or the destination cannot be used; the text is nats-server's."""


class Transform:
    """A compiled pair of source pattern and destination.

    ``source`` "" stands for ">". ``destination`` "" leaves a matching subject as it is. ``strict`` is for
    imports, which must be reversible: only wildcards, and all of them. Raises `TransformError`.
    """

    def __init__(self, source: str, destination: str, *, strict: bool = False) -> None:
        self.source = source or ">"
        self.destination = destination
        if not is_subject(self.source):
            raise TransformError(BAD_SUBJECT_TEXT)
        self._source_tokens = encode(self.source).split(b".")
        self._ends_open = self._source_tokens[-1] == b">"
        self._is_identity = not destination or (self.source == destination == ">")
        self._steps: list[Step] = []
        if destination:
            self._compile(strict)

    def apply(self, subject: bytes) -> bytes | None:
        """The new subject; None if the source does not match, or if the subject is not literal and valid."""
        if self._is_identity and self.source == ">":
            return subject
        if not self._matches(subject.split(b".")):
            return None
        return self.rewrite(subject)

    def rewrite(self, subject: bytes) -> bytes:
        """The new subject of one that is known to match; unlike for `apply` it may hold wildcards.

        That is what imports need, for the subjects of subscriptions.
        """
        if self._is_identity:
            return subject
        tokens = subject.split(b".")
        result = [step(tokens) for step in self._steps]
        if self._ends_open:
            result += tokens[len(self._source_tokens) - 1 :]
        return b".".join(result)

    def _matches(self, tokens: Tokens) -> bool:
        if any(token in (b"", b"*", b">") for token in tokens):
            return False
        pattern = self._source_tokens
        if self._ends_open:
            if len(tokens) < len(pattern):
                return False
            pattern = pattern[:-1]
        elif len(tokens) != len(pattern):
            return False
        # nats-server takes any token of the pattern that begins with a star for a wildcard here.
        return all(p[:1] == b"*" or p == token for p, token in zip(pattern, tokens, strict=False))

    def _compile(self, strict: bool) -> None:
        if not is_subject(self.destination):
            raise TransformError(BAD_SUBJECT_TEXT)
        destination_tokens = self.destination.split(".")
        ends_open = destination_tokens[-1] == ">"
        if "*" in destination_tokens or ends_open != self._ends_open:
            raise TransformError(BAD_SUBJECT_TEXT)
        wildcards = [index for index, token in enumerate(self._source_tokens) if token == b"*"]
        uses = 0
        for token in destination_tokens[:-1] if ends_open else destination_tokens:
            call = parse_token(token)
            if call is None:
                self._steps.append(partial(_literal, encode(token)))
                continue
            name, indexes, argument = call
            has_wildcards = bool(wildcards) or self._ends_open
            if strict and name != "wildcard" and has_wildcards:
                raise TransformError(f"{IMPORT_TEXT} in {token}")
            if not has_wildcards and name not in ("random", "partition"):
                raise TransformError(f"{OUT_OF_RANGE_TEXT} in {token}")
            positions = []
            for index in indexes if has_wildcards else ():
                if index > len(wildcards):
                    raise TransformError(f"{OUT_OF_RANGE_TEXT} in {token}: [{index}]")
                # Zero and negative numbers pass the check of nats-server, and mean the first token.
                positions.append(wildcards[index - 1] if index > 0 else 0)
            uses += len(positions)
            self._steps.append(_step(name, positions, argument))
        if strict and uses < len(wildcards):
            raise TransformError(f"{UNUSED_WILDCARD_TEXT} in {self.destination}")


def validate_mapping(source: str, destination: str) -> None:
    """The checks of account mappings and of streams' subject transforms, stricter than `Transform` itself.

    Blanks in a literal token and empty tokens are told apart from a bad subject. Raises `TransformError`.
    """
    if not destination:
        return
    open_end_seen = False
    for token in destination.split("."):
        if not token or open_end_seen:
            raise TransformError(f"{NO_TRANSFORM_TEXT} in {token}" if token else NO_TRANSFORM_TEXT)
        if _looks_like_call(token):
            if not any(pattern.search(token) for _, pattern in _CALLS):
                raise TransformError(f"{UNKNOWN_TEXT} in {token}")
        elif token == ">":
            open_end_seen = True
        elif any(blank in token for blank in "\t\n\f\r "):
            raise TransformError(NO_TRANSFORM_TEXT)
    Transform(source, destination)


def number_wildcards(subject: str) -> str:
    """``foo.*.*`` -> ``foo.$1.$2``: a pattern as the destination that keeps what the wildcards matched."""
    number = 0
    result = []
    for token in subject.split("."):
        if token == "*":
            number += 1
            token = f"${number}"
        result.append(token)
    return ".".join(result)


def parse_token(token: str) -> tuple[str, list[int], int | bytes] | None:
    """A destination token as (function in small letters, wildcard numbers, other argument); None: a literal.

    Raises `TransformError`.
    """
    if token[:1] == "$" and len(token) > 1:
        index = parse_integer(token[1:])
        return None if index is None else ("wildcard", [index], 0)
    if not _looks_like_call(token):
        return None
    for name, pattern in _CALLS:
        call = pattern.search(token)
        if call is not None:
            arguments = _ARGUMENT_SEPARATOR.split(call.group(1))
            return name, *_parse_arguments(token, name, arguments)
    raise TransformError(f"{UNKNOWN_TEXT} in {token}")


def _looks_like_call(token: str) -> bool:
    return len(token) > 4 and token.startswith("{{") and token.endswith("}}")


def _parse_arguments(token: str, name: str, arguments: list[str]) -> tuple[list[int], int | bytes]:
    """The wildcard numbers, and the number or separator that a function takes besides."""
    if name == "wildcard":
        if arguments == [""]:
            raise TransformError(f"{TOO_FEW_TEXT} in {token}")
        if len(arguments) > 1:
            raise TransformError(f"{TOO_MANY_TEXT} in {token}")
        return [_integer_argument(token, arguments[0])], 0
    if name == "random" and len(arguments) > 1:
        raise TransformError(f"{TOO_FEW_TEXT} in {token}")
    if name in ("partition", "random"):
        buckets = _integer_argument(token, arguments[0])
        if buckets > INT32_MAX:
            raise TransformError(f"{BAD_ARGUMENT_TEXT} in {token}")
        return [_integer_argument(token, text) for text in arguments[1:]], _wrap_int32(buckets)
    if len(arguments) != 2:
        raise TransformError(f"{TOO_FEW_TEXT if len(arguments) < 2 else TOO_MANY_TEXT} in {token}")
    index = _integer_argument(token, arguments[0])
    if name == "split":
        if " " in arguments[1]:
            raise TransformError(f"{BAD_ARGUMENT_TEXT} in {token}")
        return [index], encode(arguments[1])
    size = _integer_argument(token, arguments[1])
    if not -INT32_MAX - 1 <= size <= INT32_MAX:
        raise TransformError(f"{BAD_ARGUMENT_TEXT} in {token}")
    return [index], size


def _integer_argument(token: str, text: str) -> int:
    value = parse_integer(text.strip(" "))
    if value is None:
        raise TransformError(f"{BAD_ARGUMENT_TEXT} in {token}")
    return value


def parse_integer(text: str) -> int | None:
    """A decimal number with an optional sign that fits in 64 bits, else None."""
    return signed(text, -INT64_MAX - 1, INT64_MAX)


def _wrap_int32(value: int) -> int:
    """The number as 32 bits hold it: what nats-server does to a bucket count far below zero."""
    return (value - INT32_MAX - 1) % 2**32 - INT32_MAX - 1


def is_subject(text: str) -> bool:
    """Whether all tokens have text and `>` stands only at the end; blanks are not looked for."""
    tokens = text.split(".")
    return "" not in tokens and ">" not in tokens[:-1]


def encode(text: str) -> bytes:
    """A subject of a configuration as the bytes of the wire."""
    return text.encode("utf-8", "surrogateescape")


def _step(name: str, positions: list[int], argument: int | bytes) -> Step:
    """The function that makes the text of one destination token."""
    if name == "random":
        return partial(_random, argument)
    if name == "partition":
        return partial(_partition, argument, positions)
    if name == "wildcard":
        return partial(_token, positions[0])
    return partial(_CUTTERS[name], positions[0], argument)


def _literal(text: bytes, tokens: Tokens) -> bytes:
    return text


def _token(position: int, tokens: Tokens) -> bytes:
    return tokens[position]


def _random(limit: int, tokens: Tokens) -> bytes:
    return b"%d" % random.randrange(abs(limit)) if limit else b"0"


def _partition(buckets: int, positions: list[int], tokens: Tokens) -> bytes:
    if buckets == 0:
        return b"0"
    key = b"".join(tokens[position] for position in positions) if positions else b".".join(tokens)
    # A negative count is taken as the unsigned number with the same bits.
    return b"%d" % (fnv32a(key) % (buckets % 2**32))


def fnv32a(data: bytes) -> int:
    """The 32 bit FNV-1a hash; must never change: it says which partition a subject is in."""
    value = FNV32_OFFSET_BASIS
    for byte in data:
        value = (value ^ byte) * FNV32_PRIME & 0xFFFFFFFF
    return value


def _split_from_left(position: int, at: int, tokens: Tokens) -> bytes:
    token = tokens[position]
    return token[:at] + b"." + token[at:] if 0 < at < len(token) else token


def _split_from_right(position: int, at: int, tokens: Tokens) -> bytes:
    token = tokens[position]
    return token[:-at] + b"." + token[-at:] if 0 < at < len(token) else token


def _slice_from_left(position: int, size: int, tokens: Tokens) -> bytes:
    token = tokens[position]
    return _slices(token, 0, size) if 0 < size < len(token) else token


def _slice_from_right(position: int, size: int, tokens: Tokens) -> bytes:
    token = tokens[position]
    return _slices(token, len(token) % size, size) if 0 < size < len(token) else token


def _slices(token: bytes, first: int, size: int) -> bytes:
    """Cut at ``first``, unless that is 0, and then after every ``size`` bytes."""
    parts = [token[start : start + size] for start in range(first, len(token), size)]
    return b".".join([token[:first], *parts] if first else parts)


def _split(position: int, separator: bytes, tokens: Tokens) -> bytes:
    token = tokens[position]
    if separator:
        result = b".".join(part for part in token.split(separator) if part)
        # As in nats-server, a second separator at the start leaves an empty token.
        return b"." + result if result and token.startswith(separator * 2) else result
    # Without a separator every character is a part.
    text = token.decode("utf-8", "surrogateescape")
    return b".".join(encode(character) for character in text)


def _left(position: int, size: int, tokens: Tokens) -> bytes:
    token = tokens[position]
    return token[:size] if 0 < size < len(token) else token


def _right(position: int, size: int, tokens: Tokens) -> bytes:
    token = tokens[position]
    return token[-size:] if 0 < size < len(token) else token


_CUTTERS: dict[str, Callable[..., bytes]] = {
    "splitfromleft": _split_from_left,
    "splitfromright": _split_from_right,
    "slicefromleft": _slice_from_left,
    "slicefromright": _slice_from_right,
    "split": _split,
    "left": _left,
    "right": _right,
}
