"""Open loop: what is to be done has its place in a timetable, whether or not what came before is done.

Times run from that place, so a server that stands still pays for all that was due meanwhile (latency.py).
"""

import ctypes
import itertools
import socket
import time
from collections.abc import Callable, Iterator, Sequence

from loadtests.compare import wire

timer_slack_option = 29  # PR_SET_TIMERSLACK


class Timetable:
    """Places that are `interval_s` apart. `late_s_max`: how late we were ourselves, at worst."""

    def __init__(self, interval_s: float):
        self._interval_s = interval_s
        self.late_s_max = 0.0
        # Sleeping is precise to some microseconds only if the kernel may not gather our timer with others.
        ctypes.CDLL(None).prctl(timer_slack_option, 1, 0, 0, 0)

    def places(self, start: float) -> Iterator[float]:
        """Gives the time of each place, the first one at `start`, when it has come."""
        for number in itertools.count():
            due = start + number * self._interval_s
            early_s = due - time.monotonic()
            if early_s > 0:
                time.sleep(early_s)
            self.late_s_max = max(self.late_s_max, time.monotonic() - due)
            yield due


def ping_all(
    connections: Sequence[socket.socket], interval_s: float, goes_on: Callable[[], bool]
) -> list[tuple[float, int]]:
    """Ping one connection after the other while `goes_on()`; (seconds, 1) of each ping, from its place on."""
    times = []
    places = Timetable(interval_s).places(time.monotonic())
    for connection, due in zip(itertools.cycle(connections), places, strict=False):
        wire.flush(connection)
        times.append((time.monotonic() - due, 1))
        if not goes_on():
            return times
    raise AssertionError("a timetable has no end")
