"""Operations on a header block (``NATS/1.0`` CR LF, lines ``Key: value`` CR LF, CR LF) as bytes.

JetStream stores the block of a message as it came, except for few and exact changes. Clients see the results,
byte for byte (STREAM.MSG.GET, republished and scheduled messages), so these functions do what
nats-server 2.15.1 does, also to blocks that are not well formed: a key is compared with its case, it counts
only behind CR LF, and a value ends at CR LF or at the end of the block.

``b""`` stands for no headers at all: a block that loses its last line becomes ``b""``. To parse a block on
the path of core messages use shardbroker.protocol.headers.

The names of headers that JetStream knows stand here too, for all its modules.
"""

from collections.abc import Iterable

from shardbroker.jetstream.header_search import find
from shardbroker.jetstream.header_search import get as get  # for all who use this module

VERSION_LINE = b"NATS/1.0\r\n"
VERSION = b"NATS/1.0"
EMPTY_BLOCK = b"NATS/1.0\r\n\r\n"
CRLF = b"\r\n"

MSG_ID = b"Nats-Msg-Id"
MESSAGE_TTL = b"Nats-TTL"
ROLLUP = b"Nats-Rollup"
ROLLUP_SUBJECT = b"sub"
EXPECTED_PREFIX = b"Nats-Expected-"
EXPECTED_STREAM = b"Nats-Expected-Stream"
EXPECTED_LAST_SEQUENCE = b"Nats-Expected-Last-Sequence"
EXPECTED_LAST_SUBJECT_SEQUENCE = b"Nats-Expected-Last-Subject-Sequence"
EXPECTED_LAST_SUBJECT_SEQUENCE_SUBJECT = b"Nats-Expected-Last-Subject-Sequence-Subject"
EXPECTED_LAST_MSG_ID = b"Nats-Expected-Last-Msg-Id"
INCREMENT = b"Nats-Incr"
COUNTER_SOURCES = b"Nats-Counter-Sources"
STREAM_SOURCE = b"Nats-Stream-Source"
REQUIRED_API_LEVEL = b"Nats-Required-Api-Level"
REQUEST_INFO = b"Nats-Request-Info"
MARKER_REASON = b"Nats-Marker-Reason"
BATCH_ID = b"Nats-Batch-Id"
BATCH_SEQUENCE = b"Nats-Batch-Sequence"
BATCH_COMMIT = b"Nats-Batch-Commit"
SCHEDULE = b"Nats-Schedule"
SCHEDULE_TARGET = b"Nats-Schedule-Target"
SCHEDULE_SOURCE = b"Nats-Schedule-Source"
SCHEDULE_TTL = b"Nats-Schedule-TTL"
SCHEDULE_TIME_ZONE = b"Nats-Schedule-Time-Zone"
SCHEDULE_ROLLUP = b"Nats-Schedule-Rollup"
SCHEDULE_NEXT = b"Nats-Schedule-Next"
SCHEDULE_NEXT_PURGE = b"purge"
SCHEDULER = b"Nats-Scheduler"


def set_header(block: bytes, name: bytes, value: bytes) -> bytes:
    """Replace the value of the first line with this name in its place, or append the line."""
    start = find(block, name)
    if start < 0:
        body = block[:-2] if block.endswith(CRLF) else block
        return b"%s%s: %s\r\n\r\n" % (body or VERSION_LINE, name, value)
    start += len(name) + 1
    if block[start : start + 1] == b" ":
        start += 1  # one blank stays, more than one go with the old value
    end = block.find(b"\r", start)
    return block if end < 0 else block[:start] + value + block[end:]


def remove(block: bytes, name: bytes) -> bytes:
    """Drop all lines with this name."""
    while (start := find(block, name)) >= 0:
        block, complete = _cut_line(block, start, len(name))
        if not complete:
            break
    return block


def remove_prefix(block: bytes, prefix: bytes) -> bytes:
    """Drop all lines that begin with these bytes."""
    position = 0
    while (start := block.find(b"\n" + prefix, position)) >= 0:
        block, complete = _cut_line(block, start + 1, len(prefix))
        if not complete:
            break
        position = start  # the line feed in front stays, and may stand in front of the next one
    return block


def _cut_line(block: bytes, start: int, name_size: int) -> tuple[bytes, bool]:
    """The block without the line at ``start``; False if the line has no end, and stays."""
    end = block.find(CRLF, start + name_size)
    if end < 0:
        return block, False
    block = block[:start] + block[end + 2 :]
    return (block, True) if len(block) > len(EMPTY_BLOCK) else (b"", True)


def append(block: bytes | None, pairs: Iterable[tuple[bytes, bytes]]) -> bytes:
    """The block with lines added at its end; a new one if there was none.

    CR and LF inside a value become blanks, and blanks around it go: a value cannot forge a line.
    """
    parts = [block[:-2] if block and len(block) > len(CRLF) else VERSION_LINE]
    for name, value in pairs:
        value = value.replace(b"\n", b" ").replace(b"\r", b" ").strip(b" \t")
        parts.append(b"%s: %s\r\n" % (name, value))
    parts.append(CRLF)
    return b"".join(parts)


def strip_status(block: bytes) -> bytes:
    """Drop what stands behind the version, such as `` 503``: a stored message has no status."""
    end = block.find(b"\r")
    if not block.startswith(VERSION) or end <= len(VERSION):
        return block
    block = VERSION + block[end:]
    return b"" if len(block) == len(EMPTY_BLOCK) else block


def parse_pairs(block: bytes) -> list[tuple[bytes, bytes]]:
    """All (name, value) in order, blanks around values trimmed; lines without a colon are left out."""
    pairs = []
    for line in block.split(CRLF)[1:]:
        name, colon, value = line.partition(b":")
        if colon and name:
            pairs.append((name, value.strip(b" \t")))
    return pairs
