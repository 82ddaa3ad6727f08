"""Mirror and sources of one stream: their followers, and where those of sources go on.

A mirror knows by its last sequence how far it is. For sources it is written down in the log, in a note behind
the messages of each turn: a purge or a limit may remove the newest message of a source, and it must not come
again for that. What came behind the last note, and all when there is none (a stream that was restored), is
found in the messages' headers (jetstream/stream_origin.py), read backwards in slices of a millisecond.

The note is repeated in each segment, so that one is always in the part of the log that is kept.
"""

import struct
import time
from typing import TYPE_CHECKING

import orjson

from shardbroker.errors import StorageError
from shardbroker.jetstream.stream_origin import Origin, index_of, read_origin
from shardbroker.storage import codec
from shardbroker.workers.follower import SEARCHING, Follower
from shardbroker.workers.hosted import JOB_DONE, JOB_PRESSES

if TYPE_CHECKING:
    from shardbroker.workers.jetstream import JetStream
    from shardbroker.workers.stream_opening import StreamEntry

#: Notes of this kind are ours (FRAME_NOTE).
NOTE_SOURCES = 1
_NOTE_HEAD = struct.Struct("<II")
#: With more sources than that a note is large, and written once a second only.
SOURCES_PER_NOTE = 16
NOTE_INTERVAL_NS = 1_000_000_000
#: Places of sources that are no more: they go on when they come back.
PLACES_MAX = 2000
_SLICE_NS = 1_000_000
_MESSAGES_PER_LOOK = 32


class Sourcing:
    """What flows into one stream of this worker from others."""

    def __init__(self, js: "JetStream", entry: "StreamEntry"):
        self.mirror: Follower | None = None
        self.sources: list[Follower] = []
        self._js = js
        self._entry = entry
        self._places: dict[bytes, Origin] = {}  # index of a source -> where it stood at the last note
        self._noted_up_to = 0  # sequences of the stream up to this one are no news to the note
        self._noted_segment = -1
        self._noted_ns = 0
        self._has_moved = False
        self._note_is_due = False
        self._at = 0  # the search goes on below this sequence
        self._is_searching = False
        self._read_note(entry.hosted.notes.get(NOTE_SOURCES))

    def configure(self, config) -> None:
        """The stream has this configuration from now on."""
        if self.mirror is not None and config.mirror is None:
            self.mirror.stop()
            self.mirror = None
        elif self.mirror is None and config.mirror is not None:
            self.mirror = Follower(self._js, self, self._entry, config.mirror, True)
        known = {index_of(one.source): one for one in self.sources}
        self.sources = []
        for source in config.sources or ():
            follower = known.pop(index_of(source), None)
            if follower is None:
                follower = Follower(self._js, self, self._entry, source, False)
            self.sources.append(follower)
        for index, follower in known.items():
            if follower.state != SEARCHING:
                self._places[index] = follower.origin
            follower.stop()
        if any(one.state == SEARCHING for one in self.sources):
            self._js.host.when_applied(self._entry.hosted, self._search)
        if self in self._js.desk.live:
            self._js.desk.live.remove(self)
        if self.mirror is not None or self.sources:
            self._js.desk.live.append(self)

    def stop(self) -> None:
        """The stream is being removed."""
        for follower in (self.mirror, *self.sources):
            if follower is not None:
                follower.stop()
        self.mirror, self.sources = None, []
        if self in self._js.desk.live:
            self._js.desk.live.remove(self)

    def tick(self, now_ns: int) -> None:
        """Every 50 ms."""
        if self.mirror is not None:
            self.mirror.tick(now_ns)
        for follower in self.sources:
            follower.tick(now_ns)
        if self.sources and self._noted_segment not in (-1, self._entry.hosted.stream.log.segment):
            self._has_moved = True
        if self._has_moved and now_ns - self._noted_ns > NOTE_INTERVAL_NS:
            self._write_note()

    def mirror_info(self) -> dict | None:
        return None if self.mirror is None else self.mirror.info(self._js.host.wall_ns())

    def source_infos(self) -> list[dict]:
        now_ns = self._js.host.wall_ns()
        return [one.info(now_ns) for one in self.sources]

    def serves_origin(self) -> bool:
        """Whether direct gets for the mirrored stream are answered here, too: it is all of it."""
        mirror = self.mirror
        return (
            mirror is not None
            and mirror.is_current
            and not (
                mirror.source.filter_subject or mirror.source.subject_transforms or mirror.source.external
            )
        )

    # --- where sources stand ----------------------------------------------------------------------------

    def moved(self) -> None:
        """A message of a source was staged: a note follows in this turn."""
        self._has_moved = True
        if not self._note_is_due and len(self.sources) <= SOURCES_PER_NOTE:
            self._note_is_due = True
            self._js.host.run_later(self._note_job)

    def _note_job(self) -> int:
        self._note_is_due = False
        if self._has_moved:
            self._write_note()
        return JOB_DONE

    def _write_note(self) -> None:
        hosted = self._entry.hosted
        if hosted is None or hosted.stream.failed or hosted.stream.closing:
            return
        for one in self.sources:
            if one.state != SEARCHING:
                self._places[index_of(one.source)] = one.origin
        while len(self._places) > PLACES_MAX:
            del self._places[next(iter(self._places))]
        self._noted_up_to = hosted.stream.last_sequence
        places = [
            (one.index.decode("latin-1"), one.sequence, one.identity.decode("latin-1"))
            for one in self._places.values()
        ]
        body = orjson.dumps({"up_to": self._noted_up_to, "places": places})
        hosted.stream.stage_frame(codec.NOTE, _NOTE_HEAD.pack(NOTE_SOURCES, len(body)) + body)
        self._js.host.stage_done(hosted)
        self._has_moved = False
        self._noted_segment = hosted.stream.log.segment
        self._noted_ns = self._js.host.wall_ns()

    def _read_note(self, note: bytes | None) -> None:
        """At start: the last note in the log, if there is one."""
        if note is None:
            return
        told = orjson.loads(note)
        self._noted_up_to = told["up_to"]
        self._noted_segment = self._entry.hosted.stream.log.segment
        for index, sequence, identity in told["places"]:
            origin = Origin(index.encode("latin-1"), sequence, identity.encode("latin-1"))
            self._places[origin.index] = origin

    def _search(self, _errno: int) -> None:
        self._at = self._entry.hosted.stream.state.messages.last + 1
        if not self._is_searching and self._search_slice() == JOB_PRESSES:
            self._is_searching = True
            self._js.host.run_later(self._search_slice)

    def _search_slice(self) -> int:
        """A job of the host."""
        wanted = {index_of(one.source): one for one in self.sources if one.state == SEARCHING}
        if not wanted or self._entry.hosted is None:
            self._is_searching = False
            return JOB_DONE
        messages = self._entry.hosted.stream.state.messages
        deadline_ns = time.monotonic_ns() + _SLICE_NS
        looked = 0
        while wanted:
            self._at = messages.preceding(self._at - 1)
            if self._at <= self._noted_up_to:
                break
            origin = self._origin_of(self._at)
            follower = wanted.pop(origin.index, None) if origin is not None else None
            if follower is not None:
                follower.found(origin)
            looked += 1
            if looked % _MESSAGES_PER_LOOK == 0 and time.monotonic_ns() > deadline_ns:
                return JOB_PRESSES
        for index, follower in wanted.items():
            follower.found(self._places.get(index))
        self._is_searching = False
        return JOB_DONE

    def _origin_of(self, sequence: int) -> Origin | None:
        try:
            message = self._js.host.message(self._entry.hosted, sequence)
        except StorageError as error:
            self._js.log.error(f"JetStream: stream {self._entry.name}: {error}")
            return None
        return read_origin(message[1]) if message is not None and message[1] else None
