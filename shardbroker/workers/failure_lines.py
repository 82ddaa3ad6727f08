"""Lines in the log about writes that failed: the first of a stream at once, then a count from time to time.

A disk that is full fails every batch of every publisher; a line for each would be a second fault.
"""

from shardbroker.log import Log

#: Nanoseconds between lines about the same matter; the stream-writer has the same (faults.REPEAT_S).
REPEAT_NS = 10_000_000_000
#: Streams remembered; with more the oldest is told again too early, no worse.
MATTERS_MAX = 256


class FailureLines:
    """``tell`` is called for each failure."""

    def __init__(self, log: Log):
        self._log = log
        self._matters: dict[tuple[str, str], tuple[int, int]] = {}  # -> (when the next line is due, count)

    def tell(self, stream: str, reason: str, now_ns: int) -> None:
        """A write for ``stream`` failed; ``now_ns`` of any clock that does not jump back."""
        matter = (stream, reason)
        due, count = self._matters.get(matter, (0, 0))
        if now_ns < due:
            self._matters[matter] = (due, count + 1)
            return
        if matter not in self._matters and len(self._matters) >= MATTERS_MAX:
            del self._matters[next(iter(self._matters))]
        self._matters[matter] = (now_ns + REPEAT_NS, 0)
        more = f", {count} times more before" if count else ""
        self._log.error(
            f"JetStream: stream {stream}: a write failed ({reason}{more}); what is not stored is refused"
        )
