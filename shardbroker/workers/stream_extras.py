"""What hangs on a stream besides its log: special publishes, republish, delete markers, mirrors, sources."""

from typing import TYPE_CHECKING

from shardbroker.errors import StorageError
from shardbroker.jetstream.republish import Republish
from shardbroker.workers.sequence_reserve import SequenceReserve
from shardbroker.workers.sourcing import Sourcing
from shardbroker.workers.stream_consumers import StreamConsumers

if TYPE_CHECKING:
    from shardbroker.workers.jetstream import JetStream
    from shardbroker.workers.stream_opening import StreamEntry

#: Special publishes are looked at this often at least: a batch or schedule that has come may be due earlier.
_LOOK_NS = 100_000_000
#: Ranges of lost messages that are remembered to be shown.
_LOSSES_MAX = 100


def attach_extras(js: "JetStream", entry: "StreamEntry") -> None:
    """Make what the stream's configuration asks for."""
    details = entry.hosted.details = Details(js, entry)
    entry.hosted.stream.special.attach(details.read, details.advise, js.open_batches)
    details.configure(entry.config)


class Details:
    """The extras of one stream of this worker."""

    def __init__(self, js: "JetStream", entry: "StreamEntry"):
        self.lost: list[tuple[int, int, str]] = []
        self.account = entry.account
        self._js = js
        self._next_ns = 0
        self._entry = entry
        self.sourcing = Sourcing(js, entry)
        self.consumers = StreamConsumers(js, entry)
        self.reserve = SequenceReserve(js, entry)

    def configure(self, config) -> None:
        """The stream has this configuration from now on."""
        self.sourcing.configure(config)
        self.consumers.configure(config.retention)
        stream = self._entry.hosted.stream
        stream.republish = Republish(config, self._send) if config.republish is not None else None
        self._js.watch_special(
            self, config.allow_atomic or config.allow_batched or config.allow_msg_schedules
        )

    def _send(self, subject: bytes, block: bytes, payload: bytes) -> None:
        self._js.host.send(self._entry.hosted.account, subject, payload, block)

    def recovered(self, schedules: list[int]) -> None:
        """The stream was read back; these sequences are schedules."""
        stream = self._entry.hosted.stream
        stream.special.recovering(self._js.host.wall_ns())
        for sequence in schedules:
            message = self.read(sequence)
            if message is not None:
                subject, block, payload, time_ns = message
                stream.special.stored(stream, subject, block, payload, sequence, time_ns)

    def read(self, sequence: int):
        """(subject, block, payload, time) of a message of the stream, or None."""
        try:
            return self._js.host.message(self._entry.hosted, sequence)
        except StorageError as error:
            self._js.log.error(f"JetStream: stream {self._entry.name}: {error}")
            return None

    def advise(self, what: str, fields: dict) -> None:
        """An advisory of the stream: a batch that was given up."""
        self._js.advise(
            f"$JS.EVENT.ADVISORY.STREAM.{what}.{self._entry.name}",
            f"io.nats.jetstream.advisory.v1.stream_{what.lower()}",
            fields,
            self._entry.hosted.account,
        )

    def lose(self, first: int, last: int, reason: str) -> None:
        """Messages that had been acknowledged are gone: tell the operator, and INFO."""
        if self.lost and self.lost[-1][1] + 1 == first and self.lost[-1][2] == reason:
            self.lost[-1] = (self.lost[-1][0], last, reason)
        else:
            self.lost.append((first, last, reason))
            del self.lost[:-_LOSSES_MAX]
        name = self._entry.name
        self._js.log.error(f"JetStream: stream {name}: lost sequences {first} to {last}: {reason}")

    def stop(self) -> None:
        """The stream is being removed."""
        self.sourcing.stop()
        self.consumers.end_all()
        self._js.watch_special(self, False)
        self._entry.hosted.stream.special.close()
        self._js.desk.end_stream(self._entry.hosted)

    def tick(self, now_ns: int) -> None:
        """Every 50 ms: schedules that are due, batches that were given up."""
        hosted = self._entry.hosted
        if hosted is not None and now_ns >= self._next_ns:
            self._next_ns = min(
                hosted.stream.special.tick(hosted.stream, now_ns) or now_ns + _LOOK_NS, now_ns + _LOOK_NS
            )
            self._js.host.stage_done(hosted)

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
