"""What an archive of a stream's backup consists of, whichever form it has: the events its reader gives.

An archive of nats-server 2.15 gives `ArchiveState`, `ArchiveConsumer` for each, `ArchiveMessage` for each,
and `ArchiveEnd`. One of nats-server 2.10 to 2.14 is an image of files, and gives them in the order of those:
`ArchiveMessage` and `ArchiveRemoved` mixed, then `ArchiveRange`, then `ArchiveConsumer`, then `ArchiveEnd`.
Who restores has to be ready for both. What came before an ArchiveError, or without an ArchiveEnd, is no
stream.
"""

import re
from typing import NamedTuple

import orjson

from shardbroker.errors import ShardbrokerError

ZERO_TIME = "0001-01-01T00:00:00Z"  # what Go's time without value looks like in JSON
# A subject or a name with one of these could leave its place on the wire or in a file system.
BAD_IN_SUBJECT = re.compile(rb"[ \t\r\n\x00]")
BAD_IN_CONSUMER = re.compile(rb"[ \t\r\n\f\x00.*>/\\]")
NAME_SHOWN_MAX = 80  # bytes of a name from outside that an error shows


class ArchiveError(ShardbrokerError):
    """An archive that cannot be restored. The text is for the answer "restore failed: ...", in nats-server's
    words where it has some."""


class ArchiveState(NamedTuple):
    """The stream's state when the backup began. Only the sequences bind: messages may be removed while the
    backup runs, so `messages` and `bytes` are estimates."""

    messages: int
    bytes: int
    first_seq: int  # the first message's, or last_seq + 1 if there is none; both 0 if there never was one
    last_seq: int
    first_ts: str = ZERO_TIME  # RFC 3339, UTC
    last_ts: str = ZERO_TIME
    num_subjects: int = 0
    num_deleted: int = 0
    consumer_count: int = 0  # of the consumers in the archive


class ArchiveConsumer(NamedTuple):
    """One consumer. `record` is JSON with "config" and "state"."""

    name: str
    time_ns: int  # of the backup, not of the consumer; 0 from an older archive
    record: bytes


class ArchiveMessage(NamedTuple):
    """One message, with a higher sequence than the one before. What is missing between two was deleted."""

    sequence: int
    time_ns: int
    subject: bytes
    headers: bytes  # the whole block with its blank line, or b""
    payload: bytes


class ArchiveRemoved(NamedTuple):
    """Older archives only: this message, which may have been given as an event before, was deleted."""

    sequence: int


class ArchiveRange(NamedTuple):
    """Older archives only: messages below `first_seq`, which were given as events before, are not part of the
    stream, and its last sequence is `last_seq`. If it does not come, the state beside the archive says so."""

    first_seq: int
    last_seq: int


class ArchiveEnd(NamedTuple):
    """The archive is whole. Sequences up to the last one that did not come are deleted messages."""


ArchiveEvent = ArchiveState | ArchiveConsumer | ArchiveMessage | ArchiveRemoved | ArchiveRange | ArchiveEnd


def decode_object(text: bytes, what: str) -> dict[str, object]:
    """A JSON object; ArchiveError names `what` if it is none."""
    try:
        fields = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise ArchiveError(f"error in {what}: {error}") from None
    if not isinstance(fields, dict):
        raise ArchiveError(f"error in {what}: not an object")
    return fields


def consumer_name(name: bytes) -> str:
    """The name as text, if it is one that a consumer may have; else ArchiveError."""
    try:
        if name and not BAD_IN_CONSUMER.search(name):
            return name.decode()
    except UnicodeDecodeError:
        pass
    raise ArchiveError(f"a consumer with the invalid name {printable(name)}")


def check_subject(sequence: int, subject: bytes) -> None:
    """ArchiveError if a message with this subject could not be sent to a client."""
    if not subject or BAD_IN_SUBJECT.search(subject):
        raise ArchiveError(f"message sequence {sequence} has no valid subject: {printable(subject)}")


def printable(name: bytes) -> str:
    """A name from outside, short, in quotes and without control characters, for the text of an error."""
    return orjson.dumps(name[:NAME_SHOWN_MAX].decode("utf-8", "replace")).decode()
