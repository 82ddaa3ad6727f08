"""What a stream's log says of its consumers, in order: the latest configuration of each, and its notes.

Notes are frames that only a stream's owner understands (storage/frame.pxd, FRAME_NOTE), of these kinds:

    configuration   JSON: name, config, created (nanoseconds since 1970); boot of one that is kept in memory
    gone            name
    snapshot        name, whole state (consumer_notes.snapshot)
    deltas          changes of any number of consumers: name, changes (consumer_notes.take_delta), repeated

A snapshot makes everything before it void, so a reader keeps little. A consumer counts from its first
snapshot on: a configuration alone was never answered.

`boot` names the broker's process that has made the note (its server id). A consumer with memory storage on a
file stream is written down like others, so that it survives the death of its worker; whoever reads the log
under another boot forgets it.
"""

import struct
from dataclasses import dataclass, field

import orjson

# Kinds of notes; numbers are on disk: only append. Those below are kept by others.
NOTE_CONFIG = 16
NOTE_GONE = 17
NOTE_SNAPSHOT = 18
NOTE_DELTAS = 19
FIRST_KIND = NOTE_CONFIG

_NOTE_HEAD = struct.Struct("<II")
_PART_HEAD = struct.Struct("<HHI")  # bytes of the name, 0, bytes of the note


def note(kind: int, body: bytes) -> bytes:
    """The body of a FRAME_NOTE."""
    return _NOTE_HEAD.pack(kind, len(body)) + body


def part(name: bytes, text: bytes) -> bytes:
    """A consumer's snapshot, or its part of the deltas."""
    return _PART_HEAD.pack(len(name), 0, len(text)) + name + text


@dataclass(slots=True)
class RecoveredConsumer:
    """One consumer as the log has it."""

    name: str
    config: dict
    created: int
    boot: str = ""  # "": it is kept for good
    notes: list[bytes] = field(default_factory=list)


class ConsumerNotes:
    """Takes notes in the order of the log."""

    def __init__(self) -> None:
        self.found: dict[str, RecoveredConsumer] = {}

    def take(self, kind: int, body: bytes) -> None:
        """One note; kinds of a later version are passed over. ValueError if it makes no sense."""
        if kind == NOTE_CONFIG:
            fields = orjson.loads(body)
            known = self.found.get(fields["name"])
            if known is None or known.created != fields["created"]:
                self.found[fields["name"]] = RecoveredConsumer(
                    fields["name"], fields["config"], fields["created"], fields.get("boot", "")
                )
            else:
                known.config = fields["config"]
        elif kind == NOTE_GONE:
            self.found.pop(body.decode(), None)
        elif kind in (NOTE_SNAPSHOT, NOTE_DELTAS):
            for name, text in _parts(body):
                known = self.found.get(name)
                if known is not None and kind == NOTE_SNAPSHOT:
                    known.notes = [text]
                elif known is not None and known.notes:
                    known.notes.append(text)

    def consumers(self) -> list[RecoveredConsumer]:
        """Those that live."""
        return [one for one in self.found.values() if one.notes]


def _parts(body: bytes) -> list[tuple[str, bytes]]:
    found = []
    at = 0
    while at + _PART_HEAD.size <= len(body):
        name_size, _, size = _PART_HEAD.unpack_from(body, at)
        at += _PART_HEAD.size
        if at + name_size + size > len(body):
            raise ValueError("a note about consumers ends too early")
        found.append((body[at : at + name_size].decode(), body[at + name_size : at + name_size + size]))
        at += name_size + size
    return found
