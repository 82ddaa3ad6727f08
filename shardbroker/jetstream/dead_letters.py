"""What a dead letter looks like: the message as it was, and headers that say where from and why.

    Shardbroker-Dead-Reason       max_deliver or terminated
    Shardbroker-Dead-Description  what the client said when it terminated the message, if anything
    Shardbroker-Dead-Stream, -Consumer, -Subject, -Sequence    where it comes from
    Shardbroker-Dead-Deliveries   how often it was delivered
    Shardbroker-Dead-Time         when it died
    Nats-Msg-Id                   the same for each attempt to store it: a second one is a duplicate

Headers that begin with ``Nats-`` mean something to the stream a message is published to: a rollup would
purge it, an expected sequence would refuse the letter. So all of them are kept under another name, with
``Shardbroker-Dead-Original-`` in front. A letter that dies again has the headers of its last death.

Known once it is dead: nothing here can fail, whatever the headers are, for a letter that cannot be made could
only be lost.
"""

import re

from shardbroker.jetstream import header_block
from shardbroker.jetstream.dead_entries import DeadEntry
from shardbroker.jetstream.go_time import format_time

PREFIX = b"Shardbroker-Dead-"
ORIGINAL = PREFIX + b"Original-"
REASON = PREFIX + b"Reason"
DESCRIPTION = PREFIX + b"Description"
STREAM = PREFIX + b"Stream"
CONSUMER = PREFIX + b"Consumer"
SUBJECT = PREFIX + b"Subject"
SEQUENCE = PREFIX + b"Sequence"
DELIVERIES = PREFIX + b"Deliveries"
TIME = PREFIX + b"Time"
HEADERS_DROPPED = PREFIX + b"Headers-Dropped"

BY_MAX_DELIVER = "max_deliver"
BY_TERM = "terminated"

#: Bytes of a stored header block, as nats-server has it. Headers that do not fit any more are dropped, and
#: their size is told in Shardbroker-Dead-Headers-Dropped.
_BLOCK_SIZE_MAX = 65535
_LINE_OF_A_SERVER = re.compile(rb"(?<=\n)(?=nats-)", re.IGNORECASE)
#: Headers that do something when a message is published, in small letters; all others only inform, but for
#: Nats-TTL, which the message is to have again.
_ACTING = (
    b"nats-msg-id",
    b"nats-expected-",
    b"nats-rollup",
    b"nats-incr",
    b"nats-counter-sources",
    b"nats-batch-",
    b"nats-schedule",
    b"nats-required-api-level",
    b"nats-stream-source",
    b"nats-request-info",
    b"nats-marker-reason",
    b"nats-trace-",
)


def letter_block(block: bytes, entry: DeadEntry, origin: "Origin", subject: bytes) -> bytes:
    """The header block of the dead letter for a message with this block and subject."""
    kept = header_block.remove_prefix(block, PREFIX)
    kept = _LINE_OF_A_SERVER.sub(ORIGINAL, kept)
    pairs = [(REASON, (BY_TERM if entry.by_term else BY_MAX_DELIVER).encode())]
    if entry.reason:
        # Cut in the middle of a character, maybe.
        pairs.append((DESCRIPTION, entry.reason.decode("utf-8", "ignore").encode()))
    pairs += [
        (STREAM, origin.stream.encode()),
        (CONSUMER, origin.consumer.encode()),
        (SUBJECT, subject),
        (SEQUENCE, b"%d" % entry.sequence),
        (DELIVERIES, b"%d" % entry.deliveries),
        (TIME, format_time(entry.died_ns).encode()),
        (header_block.MSG_ID, origin.message_id(entry)),
    ]
    whole = header_block.append(kept, pairs)
    if len(whole) <= _BLOCK_SIZE_MAX:
        return whole
    return header_block.append(b"", [*pairs, (HEADERS_DROPPED, b"%d" % len(kept))])


class Origin:
    """The consumer whose messages die; ``created_ns`` tells it from another one of the same name."""

    def __init__(self, account: str, stream: str, consumer: str, created_ns: int):
        self.stream = stream
        self.consumer = consumer
        self._id = f"dead.{account}.{stream}.{consumer}.{created_ns}".encode()

    def message_id(self, entry: DeadEntry) -> bytes:
        """The same for each attempt. With the time: after a reset of its consumer a message dies again."""
        return b"%b.%d.%d" % (self._id, entry.sequence, entry.died_ns)


def original_headers(block: bytes) -> list[tuple[bytes, bytes]]:
    """The headers for publishing a dead letter's message once more.

    Those of the message, without what acted on its first publish: only its time to live counts again.
    """
    found = []
    for name, value in header_block.parse_pairs(block):
        if name.startswith(ORIGINAL):
            name = name[len(ORIGINAL) :]
            if not name.lower().startswith(_ACTING):
                found.append((name, value))
        elif not name.startswith(PREFIX) and not name.lower().startswith(b"nats-"):
            found.append((name, value))
    return found
