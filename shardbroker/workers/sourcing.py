"""Mirror and sources of one stream: their followers, and where those of sources go on.

A mirror knows by its last sequence how far it is. A source's newest message in the stream says so in its
header (jetstream/stream_origin.py): the stream is read backwards until one is found for each, in slices of a
millisecond. Usually the first few messages do; a source that has brought nothing yet makes it a long way.
"""

import time
from typing import TYPE_CHECKING

from shardbroker.errors import StorageError
from shardbroker.jetstream.stream_origin import index_of, read_origin
from shardbroker.workers.follower import SEARCHING, Follower

if TYPE_CHECKING:
    from shardbroker.workers.jetstream import JetStream
    from shardbroker.workers.stream_opening import StreamEntry

_SLICE_NS = 1_000_000
_MESSAGES_PER_LOOK = 32
_JOB_DONE, _JOB_PRESSES = 0, 2


class Sourcing:
    """What flows into one stream of this worker from others."""

    def __init__(self, js: "JetStream", entry: "StreamEntry"):
        self.mirror: Follower | None = None
        self.sources: list[Follower] = []
        self._js = js
        self._entry = entry
        self._at = 0  # the search goes on below this sequence
        self._is_searching = False

    def configure(self, config) -> None:
        """The stream has this configuration from now on."""
        if self.mirror is not None and config.mirror is None:
            self.mirror.stop()
            self.mirror = None
        elif self.mirror is None and config.mirror is not None:
            self.mirror = Follower(self._js, self._js.desk, self._entry, config.mirror, True)
        known = {index_of(one.source): one for one in self.sources}
        self.sources = []
        for source in config.sources or ():
            follower = known.pop(index_of(source), None)
            if follower is None:
                follower = Follower(self._js, self._js.desk, self._entry, source, False)
            self.sources.append(follower)
        for follower in known.values():
            follower.stop()
        if any(one.state == SEARCHING for one in self.sources):
            self._js.host.when_applied(self._entry.hosted, self._search)

    def stop(self) -> None:
        """The stream is being removed."""
        for follower in (self.mirror, *self.sources):
            if follower is not None:
                follower.stop()
        self.mirror, self.sources = None, []

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

    def _search(self, _errno: int) -> None:
        self._at = self._entry.hosted.stream.state.messages.last + 1
        if not self._is_searching and self._search_slice() == _JOB_PRESSES:
            self._is_searching = True
            self._js.host.run_later(self._search_slice)

    def _search_slice(self) -> int:
        """A job of the host."""
        wanted = {index_of(one.source): one for one in self.sources if one.state == SEARCHING}
        if not wanted or self._entry.hosted is None:
            self._is_searching = False
            return _JOB_DONE
        messages = self._entry.hosted.stream.state.messages
        deadline_ns = time.monotonic_ns() + _SLICE_NS
        looked = 0
        while wanted:
            self._at = messages.preceding(self._at - 1)
            if self._at == 0:
                break
            origin = self._origin_of(self._at)
            follower = wanted.pop(origin.index, None) if origin is not None else None
            if follower is not None:
                follower.found(origin)
            looked += 1
            if looked % _MESSAGES_PER_LOOK == 0 and time.monotonic_ns() > deadline_ns:
                return _JOB_PRESSES
        for follower in wanted.values():
            follower.found(None)
        self._is_searching = False
        return _JOB_DONE

    def _origin_of(self, sequence: int):
        try:
            message = self._js.host.message(self._entry.hosted, sequence)
        except StorageError as error:
            self._js.log.error(f"JetStream: stream {self._entry.name}: {error}")
            return None
        return read_origin(message[1]) if message is not None and message[1] else None
