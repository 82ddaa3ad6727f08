"""Where a sourced message comes from: the header Nats-Stream-Source, and what names a source in it.

    <stream>[:<hash>] <sequence> <filters> <destinations> <subject> [<identity>]

Filters and destinations are those of the source's configuration, ``>`` where there is none, several joined by
a form feed; together with the name they tell the sources of a stream apart. The hash belongs to a stream that
is reached through another API prefix, or to a durable consumer. The identity changes when the stream is made
anew: then its sequences mean other messages, and the copy begins again.

A stream that has sources finds in these headers, at start, how far it has come with each of them.

Source: spec page 03 section 11; literals were seen with nats-server 2.15.1.
"""

import hashlib
from dataclasses import dataclass

from shardbroker.decimals import unsigned
from shardbroker.jetstream import header_block
from shardbroker.jetstream.source_config import StreamSource

_LETTERS = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_HASH_SIZE = 8  # characters
_EVERYTHING = ">"


@dataclass(frozen=True, slots=True)
class Origin:
    """``index`` names the source, ``sequence`` is the message's in that stream."""

    index: bytes
    sequence: int
    identity: bytes


def short_hash(text: str) -> str:
    """Eight characters, as nats-server shortens names."""
    digest = hashlib.sha256(text.encode()).digest()
    return bytes(_LETTERS[byte % len(_LETTERS)] for byte in digest[:_HASH_SIZE]).decode()


def name_parts(source: StreamSource) -> tuple[bytes, bytes, bytes]:
    """(name, filters, destinations) of a source, as they stand in the header."""
    name = source.name
    if source.external is not None and source.external.api:
        name += ":" + short_hash(source.external.api)
    if source.consumer is not None and source.consumer.name:
        name += ":" + short_hash(source.consumer.name)
    transforms = source.subject_transforms or ()
    if transforms:
        filters = "\f".join(one.src or _EVERYTHING for one in transforms)
        destinations = "\f".join(one.dest or _EVERYTHING for one in transforms)
    else:
        filters, destinations = source.filter_subject or _EVERYTHING, _EVERYTHING
    return name.encode(), filters.encode(), destinations.encode()


def index_of(source: StreamSource) -> bytes:
    """What `Origin.index` is for messages of this source."""
    return b" ".join(name_parts(source))


def with_origin(
    block: bytes, parts: tuple[bytes, bytes, bytes], sequence: int, subject: bytes, identity: bytes
) -> bytes:
    """The header block under which a message of a source is stored. ``subject`` is the one it had there."""
    name, filters, destinations = parts
    value = b"%b %d %b %b %b" % (name, sequence, filters, destinations, subject)
    if identity:
        value += b" " + identity
    if block:
        block = without_expectations(header_block.remove(block, header_block.STREAM_SOURCE))
    # Not append(), which would take the form feed for a blank.
    start = block[:-2] if len(block) > 2 else header_block.VERSION_LINE
    return b"%b%b: %b\r\n\r\n" % (start, header_block.STREAM_SOURCE, value)


def without_expectations(block: bytes) -> bytes:
    """The block without what was said to the stream that the message was published to."""
    if header_block.EXPECTED_PREFIX in block:
        block = header_block.remove_prefix(block, header_block.EXPECTED_PREFIX)
    if b"Nats-Batch-" in block:
        block = header_block.remove_prefix(block, b"Nats-Batch-")
    return block


def read_origin(block: bytes) -> Origin | None:
    """What the block says of its origin; None when it says nothing that can be read."""
    value = header_block.get(block, header_block.STREAM_SOURCE)
    if not value:
        return None
    words = value.split(b" ")
    sequence = unsigned(words[1], 2**64 - 1) if len(words) >= 4 else None
    if sequence is None:
        return None
    identity = words[5] if len(words) > 5 else b""
    return Origin(b" ".join((words[0], words[2], words[3])), sequence, identity)
