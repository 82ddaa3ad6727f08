"""CPU time and memory of a server, workers included, read from /proc.

CPU is the sum of `schedstat` over all threads of the process tree: nanoseconds on a processor, where `stat`
would only tell ticks of 10 ms. Memory is PSS: a page shared by several workers counts once in the sum.
"""

import os
import time
from pathlib import Path

tick_ns = 1_000_000_000 // os.sysconf("SC_CLK_TCK")


def process_tree(root: int) -> list[int]:
    """`root` and all its descendants at this moment."""
    children: dict[int, list[int]] = {}
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            parent = _parent(int(entry))
            if parent is not None:
                children.setdefault(parent, []).append(int(entry))
    found, todo = [], [root]
    while todo:
        pid = todo.pop()
        found.append(pid)
        todo += children.get(pid, [])
    return found


def cpu_ns(pids: list[int]) -> int:
    """Nanoseconds of CPU used by the processes so far, user and system."""
    return sum(_cpu_ns_of(pid) for pid in pids)


def pss_size(pids: list[int]) -> int:
    """Proportional resident bytes of the processes together."""
    return sum(_pss_size_of(pid) for pid in pids)


class CpuMeter:
    """CPU of a process tree between `start` and `stop`."""

    def __init__(self, root: int):
        self._pids = process_tree(root)
        self.used_ns = 0
        self.wall_ns = 0

    def start(self) -> None:
        self._start_ns = cpu_ns(self._pids)
        self._start_wall_ns = time.monotonic_ns()

    def stop(self) -> None:
        self.used_ns = cpu_ns(self._pids) - self._start_ns
        self.wall_ns = time.monotonic_ns() - self._start_wall_ns

    @property
    def cores(self) -> float:
        """Cores kept busy by the server."""
        return self.used_ns / self.wall_ns


def machine_busy_ns() -> int:
    """Nanoseconds of CPU used by the whole machine: tells a disturbed run when compared with ours."""
    fields = [int(field) for field in Path("/proc/stat").read_text().splitlines()[0].split()[1:]]
    user, nice, system = fields[0], fields[1], fields[2]
    return (user + nice + system) * tick_ns


def _parent(pid: int) -> int | None:
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    # The name in brackets may hold anything, brackets and spaces too.
    return int(text[text.rindex(")") + 2 :].split()[1])


def _cpu_ns_of(pid: int) -> int:
    used = 0
    try:
        for thread in os.listdir(f"/proc/{pid}/task"):
            used += int(Path(f"/proc/{pid}/task/{thread}/schedstat").read_text().split()[0])
    except FileNotFoundError:
        # Kernels without schedstat, or a thread that ended between the two reads.
        try:
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            return 0
        return (int(fields[11]) + int(fields[12])) * tick_ns
    except ProcessLookupError:
        return 0
    return used


def _pss_size_of(pid: int) -> int:
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0
    return sum(int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:"))
