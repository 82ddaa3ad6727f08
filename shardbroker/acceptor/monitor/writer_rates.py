"""How busy the stream-writer is: syncs, frames and bytes a second since the look before.

As with the CPU in processes.py: figures are taken when a page asks, and askings closer together than a moment
get the same answer, so that several viewers do not spoil each other's interval.
"""

import time

_FRESH_S = 0.25


class WriterRates:
    """Of the stream-writer of ``broker``, which has JetStream."""

    def __init__(self, broker):
        self._broker = broker
        self._before = broker.fabric.writer_totals()
        self._before_at = time.monotonic()
        self._rates = dict.fromkeys(self._before, 0.0)

    def sample(self) -> dict[str, float]:
        """``syncs``, ``frames`` and ``bytes`` a second."""
        now = time.monotonic()
        passed_s = now - self._before_at
        if passed_s >= _FRESH_S:
            after = self._broker.fabric.writer_totals()
            self._rates = {name: round((after[name] - self._before[name]) / passed_s, 1) for name in after}
            self._before, self._before_at = after, now
        return self._rates
