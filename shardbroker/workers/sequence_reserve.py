"""The reserve of sequences in a stream's metadata: a bound for what may have been given out.

Reading a log back may find its end damaged, and then nobody knows which sequences were acknowledged there.
None may ever be given twice, so the metadata name a sequence up to which all may be in use, and the stream
goes on behind it (docs/internals/recovery.md). The reserve is raised when half of it is used up. The record
that raises it lies in the append lane before the frames that need it, so it is durable before their PubAcks;
a frame beyond a reserve that could not be raised waits.
"""

from typing import TYPE_CHECKING

import orjson

from shardbroker.jetstream.stored_stream import stored_stream
from shardbroker.shm.append_lane import LANE_METADATA, STATUS_ERRNO

if TYPE_CHECKING:
    from shardbroker.workers.jetstream import JetStream
    from shardbroker.workers.stream_opening import StreamEntry

#: After a failure, before the next attempt.
_AGAIN_NS = 100_000_000


class SequenceReserve:
    """Of one stream. Its file says ``entry.reserved``, or more if a record for that is on its way."""

    def __init__(self, js: "JetStream", entry: "StreamEntry"):
        self._js = js
        self._entry = entry
        #: Another change of the metadata is on its way: a record of ours behind it would undo it.
        self.is_blocked = False
        self._errno = 0  # of the last record of ours that could not be written
        self._again_ns = 0  # until then no other one is sent

    def allows_frames(self) -> bool:
        """Half of the reserve is used up: raise it. Whether the next frame may go into the lane now."""
        entry = self._entry
        stream = entry.hosted.stream
        wanted = stream.wants_reserve()
        if not wanted or self._ask(wanted):
            return True
        is_allowed = stream.last_sequence <= stream.reserved
        if not is_allowed and self._errno:
            self._js.host.fail(entry.hosted, STATUS_ERRNO + self._errno)  # whoever waits for it hears of it
        return is_allowed

    def _ask(self, wanted: int) -> bool:
        """Send the record that raises the reserve; False: not now."""
        entry, host = self._entry, self._js.host
        if self.is_blocked or host.wall_ns() < self._again_ns:
            return False
        body = orjson.dumps({**stored_stream(entry), "reserved": wanted})
        if not host.lane_record(
            LANE_METADATA, entry.log_id, entry.row, body, lambda errno: self._written(wanted, errno),
            term=self._js.term,
        ):  # fmt: skip
            return False
        entry.hosted.stream.reserved = wanted
        return True

    def _written(self, reserved: int, errno: int) -> None:
        entry = self._entry
        self._errno = errno
        if not errno:
            entry.reserved = max(entry.reserved, reserved)
            self._js.ask("reserved", {"log_id": entry.log_id, "reserved": reserved}, lambda *_: None)
        elif entry.hosted is not None:
            entry.hosted.stream.reserved = entry.reserved
            self._again_ns = self._js.host.wall_ns() + _AGAIN_NS

    def in_change(self, stored: bytes) -> bytes:
        """The body of a change of the metadata, with what is reserved by now."""
        body = orjson.loads(stored)
        body["reserved"] = max(body["reserved"], self._entry.hosted.stream.reserved)
        return orjson.dumps(body)
