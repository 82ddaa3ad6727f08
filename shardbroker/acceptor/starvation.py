"""Whether a silent process hangs, or only waits for a processor.

On a machine with far too much to do, the kernel may leave a process that wants to run without a processor for
more than a second. Its heartbeat stands still as if it hung, but to kill it costs its clients their
connections and gains nothing: its successor would wait in the same queue.

The kernel knows the difference. A process that starves is runnable, and what it has run so far does not grow.
One that sleeps or is stopped is not runnable, and one that is caught in a loop runs. Sources: proc(5) for the
state in /proc/PID/stat, the kernel's sched-stats for /proc/PID/schedstat (nanoseconds on a processor, of the
first thread: a worker has no other that works).
"""

from typing import NamedTuple

from shardbroker import limits

RUNNABLE = "R"


class Look(NamedTuple):
    """What the kernel tells about a process at one moment."""

    state: str
    ran_ns: int  # on a processor, since its start


def look_at(pid: int) -> Look | None:
    """None when the process is gone, or the kernel does not count."""
    try:
        with open(f"/proc/{pid}/stat", encoding="ascii", errors="replace") as file:
            # The name in brackets may hold anything, brackets and spaces too.
            state = file.read().rpartition(")")[2].split()[0]
        with open(f"/proc/{pid}/schedstat", encoding="ascii") as file:
            return Look(state, int(file.read().split()[0]))
    except (OSError, ValueError, IndexError):
        return None


class Starvation:
    """Of one process; it is looked at when it is silent, and `forget` when it gives a sign again."""

    def __init__(self) -> None:
        self._first: Look | None = None
        self._since = 0.0

    def forget(self) -> None:
        """A sign came: the next silence is another one."""
        self._first = None

    def explains(self, pid: int, now: float, look: Look | None = None) -> bool:
        """Whether the silence up to `now` (monotonic seconds) says nothing against the process.

        To be asked at each watch of a silence: the first one remembers what it had run. Never for longer than
        `starved_s_max`: then it may as well be started anew.
        """
        look = look or look_at(pid)
        if self._first is None:
            self._first, self._since = look, now
        if look is None or self._first is None or now - self._since >= limits.starved_s_max:
            return False
        return look.state == RUNNABLE and look.ran_ns - self._first.ran_ns < limits.starved_run_s * 1e9
