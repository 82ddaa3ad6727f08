"""What each process of the broker takes from the machine, by psutil: CPU, memory, threads, descriptors.

Figures are taken when a page asks. CPU is the share since the asking before, or since the process began;
askings closer together than a moment get the same answer, so that several viewers do not spoil each
other's interval.
"""

import os
import time
from dataclasses import dataclass

_FRESH_S = 0.25


@dataclass(frozen=True, slots=True)
class ProcessUsage:
    role: str  # acceptor, forkserver, worker, stream-writer
    index: int  # of the worker, -1 for others
    pid: int
    cpu_percent: float  # of one core
    cpu_seconds: float  # since it began
    rss: int  # bytes, shared memory counted in full
    shared: int  # bytes of rss that other processes may have as well
    threads: int
    fds: int
    switches_voluntary: int
    switches_involuntary: int


class Processes:
    """Samples the processes of ``broker``."""

    def __init__(self, broker):
        import psutil  # slow to import: only once somebody looks

        self._psutil = psutil
        self._broker = broker
        self._known: dict[int, tuple] = {}  # pid -> (psutil.Process, cpu seconds, when)
        self._sample: list[ProcessUsage] = []
        self._sampled_at = 0.0

    def sample(self) -> list[ProcessUsage]:
        """The processes that are there, the acceptor first."""
        now = time.monotonic()
        if now - self._sampled_at >= _FRESH_S:
            self._sampled_at = now
            roles = self._roles()
            self._known = {pid: known for pid, known in self._known.items() if pid in roles}
            usages = [self._usage(pid, role, index, now) for pid, (role, index) in roles.items()]
            self._sample = [usage for usage in usages if usage is not None]
        return self._sample

    def _roles(self) -> dict[int, tuple[str, int]]:
        roles = {os.getpid(): ("acceptor", -1), self._broker.forkserver.pid: ("forkserver", -1)}
        for worker in self._broker.workers:
            if worker.alive:
                roles[worker.pid] = ("worker", worker.index)
        jetstream = self._broker.jetstream
        if jetstream is not None and jetstream.writer.alive:
            roles[jetstream.writer.pid] = ("stream-writer", -1)
        return roles

    def _usage(self, pid: int, role: str, index: int, now: float) -> ProcessUsage | None:
        try:
            known = self._known.get(pid)
            process = known[0] if known else self._psutil.Process(pid)
            with process.oneshot():
                times = process.cpu_times()
                used = times.user + times.system
                if known:
                    share = (used - known[1]) / max(now - known[2], 1e-3)
                else:
                    share = used / max(time.time() - process.create_time(), 1e-3)
                switches = process.num_ctx_switches()
                memory = process.memory_info()
                threads, fds = process.num_threads(), process.num_fds()
        except self._psutil.Error:
            return None  # it ended just now
        self._known[pid] = (process, used, now)
        return ProcessUsage(
            role=role,
            index=index,
            pid=pid,
            cpu_percent=round(max(0.0, 100 * share), 1),
            cpu_seconds=round(used, 2),
            rss=memory.rss,
            shared=memory.shared,
            threads=threads,
            fds=fds,
            switches_voluntary=switches.voluntary,
            switches_involuntary=switches.involuntary,
        )


def proportional_size(pid: int) -> int:
    """Bytes of memory with shared pages counted by share, 0 where the kernel does not tell.

    The kernel walks all pages for it, so only the page that shows it asks.
    """
    try:
        with open(f"/proc/{pid}/smaps_rollup", encoding="ascii") as file:
            for line in file:
                if line.startswith("Pss:"):
                    return int(line.split()[1]) << 10
    except (OSError, ValueError, IndexError):
        pass
    return 0
