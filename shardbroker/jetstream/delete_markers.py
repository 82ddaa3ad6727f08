"""What a stream stores when time has removed the last message of a subject: a delete marker.

An empty message that tells readers that the subject is gone, and why. It lives for the stream's
subject_delete_marker_ttl and leaves nothing behind itself. Markers for deletions and purges are specified and
made by no nats-server up to 2.15. Source: spec page 03 section 6.
"""

from shardbroker.jetstream import header_block
from shardbroker.jetstream.durations import NS_PER_S, format_duration

# Flags of the record, see storage/frame.pxd.
RECORD_HAS_TTL = 1
RECORD_MARKER = 4
RECORD_ROLLUP_SUBJECT = 16

_FLAGS = RECORD_HAS_TTL | RECORD_MARKER | RECORD_ROLLUP_SUBJECT


def marker(subject: bytes, ttl_ns: int) -> tuple[bytes, int, int]:
    """(header block, TTL in s, flags of the record) of the marker for ``subject``; its payload is empty."""
    del subject  # every marker is the same, today
    block = header_block.append(
        None,
        [
            (header_block.MARKER_REASON, b"MaxAge"),
            (header_block.MESSAGE_TTL, format_duration(ttl_ns).encode()),
            (header_block.ROLLUP, header_block.ROLLUP_SUBJECT),
        ],
    )
    return block, ttl_ns // NS_PER_S, _FLAGS


def is_marker(flags: int) -> bool:
    """Whether a record with these flags is a marker."""
    return bool(flags & RECORD_MARKER)
