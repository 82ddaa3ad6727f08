"""What hangs on a stream besides its log: special publishes, republish, delete markers, mirrors and sources."""

from typing import TYPE_CHECKING

from shardbroker.jetstream.republish import Republish
from shardbroker.workers.sourcing import Sourcing

if TYPE_CHECKING:
    from shardbroker.workers.jetstream import JetStream
    from shardbroker.workers.stream_opening import StreamEntry

_RECORD_ROLLUP_SUBJECT, _RECORD_MARKER, _RECORD_HAS_TTL = 16, 4, 1


def attach_extras(js: "JetStream", entry: "StreamEntry") -> None:
    """Make what the stream's configuration asks for."""
    entry.hosted.details = Details(js, entry)
    entry.hosted.details.configure(entry.config)


class Details:
    """The extras of one stream of this worker."""

    def __init__(self, js: "JetStream", entry: "StreamEntry"):
        self.lost: list[tuple[int, int, str]] = []
        self._js = js
        self._entry = entry
        self.sourcing = Sourcing(js, entry)

    def configure(self, config) -> None:
        """The stream has this configuration from now on."""
        self.sourcing.configure(config)
        stream = self._entry.hosted.stream
        stream.republish = Republish(config, self._send) if config.republish is not None else None

    def _send(self, subject: bytes, block: bytes, payload: bytes) -> None:
        self._js.host.send(self._entry.hosted.account, subject, payload, block)

    def recovered(self, schedules: list[int]) -> None:
        """The stream was read back; these sequences are schedules."""

    def stop(self) -> None:
        """The stream is being removed."""
        self.sourcing.stop()
        self._js.desk.end_stream(self._entry.hosted)

    def tick(self, now_ns: int) -> None:
        """Every 50 ms."""

    def mirror_info(self) -> dict | None:
        return self.sourcing.mirror_info()

    def source_infos(self) -> list[dict]:
        return self.sourcing.source_infos()

    def leave_markers(self, hosted, now_ns: int) -> None:
        """The last message of these subjects has expired: say so in the stream (spec page 03 section 6)."""
        from shardbroker.jetstream.delete_markers import marker

        expired = hosted.stream.state.expired_subjects
        for subject, _sequence in expired:
            if hosted.stream.last_sequence_on(subject):
                continue  # a new message is there already, or on its way
            block, ttl_s, flags = marker(subject, hosted.stream.config.subject_delete_marker_ttl)
            hosted.stream.stage_message(subject, block, b"", now_ns, flags=flags, ttl_s=ttl_s)
        expired.clear()
        self._js.host.stage_done(hosted)
