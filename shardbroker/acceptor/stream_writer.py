"""The stream-writer as the acceptor sees it: one process, started again at once whenever it dies.

What it writes lies in the lanes, which outlive it, so its death loses nothing and nobody but its owners' acks
waits for it. It is watched by its pidfd; its heartbeat only serves to tell the operator about a slow disk,
and to end it when it has been silent longer than any disk is. A fence that was asked of a dead writer is
asked of its successor.
"""

import mmap
import os
import time
from collections.abc import Callable

from shardbroker import limits
from shardbroker.acceptor.event_loop import EventLoop
from shardbroker.acceptor.forkserver import Forkserver
from shardbroker.acceptor.worker import STARTING, STOPPED, UP, WAITING, Worker
from shardbroker.config.options import Options
from shardbroker.control.messages import (
    Fence,
    Fenced,
    LaneBroken,
    Stop,
    WriterAttach,
    WriterFailed,
    WriterHealth,
    WriterPeer,
    WriterReady,
    WriterReport,
)
from shardbroker.errors import StartError
from shardbroker.log import Log
from shardbroker.shm import layout

_WATCH_INTERVAL_S = 1.0
#: No sign of life for this long: the operator is told that the disk is slow. A sync of seconds is not death.
_SLOW_S = 5.0
#: No sign of life for this long: the writer is ended. Disks time out after 30 s.
_SILENT_S_MAX = 120.0
#: From Stop to exit: everything in the lanes has to be synced.
_STOP_S_MAX = 30.0


class StreamWriter:
    """``fabric`` has the lanes, the log table and the writer's doorbell; ``start_process(channel, options)``
    is the target of the new process (control/worker_entry.run_writer)."""

    def __init__(
        self,
        loop: EventLoop,
        log: Log,
        options: Options,
        fabric,
        forkserver: Forkserver,
        start_process: Callable,
    ):
        #: Once, with {"term", "probe_us", "store_path", "logs"} (messages.WriterReady).
        self.on_ready: Callable[[dict], None] = lambda _: None
        #: The store cannot be used at all: before ``on_ready``, for good.
        self.on_failed: Callable[[str], None] = lambda _: None
        #: That worker wrote garbage into its lane and should be ended.
        self.on_lane_broken: Callable[[int], None] = lambda _: None
        self.on_stopped: Callable[[], None] = lambda: None
        self.restarts_total = 0
        self.term = 0
        self._loop = loop
        self._log = log
        self._options = options
        self._fabric = fabric
        self._forkserver = forkserver
        self._start_process = start_process
        self._process = Worker(0, loop)
        self._process.on_message = self._received
        self._process.on_exit = self._exited
        self._fences: dict[int, Callable[[int], None]] = {}
        self._was_ready = False
        self._stopping = False
        self._told_slow = False
        self._told_faults: list[str] = []
        self._heartbeat = memoryview(mmap.mmap(fabric.board.fd, layout.PAGE)).cast("Q")

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def alive(self) -> bool:
        return self._process.alive

    @property
    def faults(self) -> list[str]:
        """What keeps publishes from being acknowledged, in words. A writer that is just replaced is none."""
        faults = list(self._told_faults)
        if not self._process.alive and self._process.restarts > limits.restarts_immediate:
            faults.append(f"the stream-writer ended {self._process.restarts} times in a row")
        if self._told_slow:
            faults.append("the disk does not answer")
        return faults

    def start(self) -> None:
        """Start the process; ``on_ready`` or ``on_failed`` follows."""
        self._begin()
        self._loop.call_later(_WATCH_INTERVAL_S, self._watch)

    def stop(self) -> None:
        """Have everything synced and the process end; ``on_stopped`` follows. The workers have ended."""
        self._stopping = True
        if not self._process.alive:
            self._process.state = STOPPED
            self.on_stopped()
            return
        self._process.send(Stop())
        self._loop.call_later(_STOP_S_MAX, self._process.kill)

    def fence(self, worker_index: int, callback: Callable[[int], None]) -> None:
        """That worker is dead for certain: have its lane stored to the end, then ``callback(new term)``."""
        self._fences[worker_index] = callback
        self._process.send(Fence(worker_index))

    def peer_up(self, worker_index: int) -> None:
        """A successor is in that slot: the writer rings its doorbell from now on."""
        self._process.send(WriterPeer(worker_index), (self._fabric.regions[worker_index].doorbell,))

    # --- start and end -----------------------------------------------------------------------------------

    def _begin(self) -> None:
        if self._stopping:
            return
        process = self._process
        process.generation += 1
        try:
            process.start(self._fork)
        except (OSError, EOFError, StartError) as error:
            self._log.error(f"The stream-writer could not be started: {error or type(error).__name__}")
            process.state = WAITING
            self._restart_later()
            return
        fabric = self._fabric
        descriptors = [fabric.board.fd, fabric.log_table.fd, fabric.writer_doorbell]
        for lane, regions in zip(fabric.lanes, fabric.regions, strict=True):
            descriptors += (lane.fd, regions.doorbell)
        process.send(WriterAttach(len(fabric.lanes), fabric.lane_size, self.term), descriptors)
        for worker_index in self._fences:
            process.send(Fence(worker_index))

    def _fork(self, channel):
        return self._forkserver.start_worker(self._start_process, (channel, self._options), "stream-writer")

    def _exited(self, process: Worker) -> None:
        if not self._stopping:
            who = f"The stream-writer (pid {process.pid})"
            process.describe_exit(lambda how: self._log.error(f"{who} {how}: it is started again"))
        process.release()
        process.state = WAITING
        self._told_faults = []  # its successor tells its own
        if self._stopping:
            process.state = STOPPED
            self.on_stopped()
        else:
            self._restart_later()

    def _restart_later(self) -> None:
        process = self._process
        delay = process.count_restart()
        self.restarts_total += 1
        if delay and not self._was_ready:
            self._fail(f"the stream-writer ended {process.restarts} times before it was ready")
            return
        self._loop.call_later(delay, self._begin)

    def _fail(self, text: str) -> None:
        self._stopping = True
        self.on_failed(text)

    # --- messages ----------------------------------------------------------------------------------------

    def _received(self, process: Worker, message: object, fds: list[int]) -> None:
        for fd in fds:  # none of its messages carries any
            os.close(fd)
        match message:
            case WriterReady():
                self._ready(message)
            case Fenced():
                self._fenced(message)
            case LaneBroken():
                if 0 <= message.worker < len(self._fabric.lanes):
                    self.on_lane_broken(message.worker)
            case WriterReport():
                tell = {"info": self._log.info, "warn": self._log.warn}.get(message.level, self._log.error)
                tell(message.text)
            case WriterHealth():
                self._told_faults = message.faults
            case WriterFailed() if not self._was_ready:
                self._fail(message.text)
            case WriterFailed():
                self._log.error(f"The stream-writer cannot go on: {message.text}")
            case _:
                self._log.error(f"The stream-writer sent an unexpected {type(message).__name__}")

    def _ready(self, message: WriterReady) -> None:
        self._process.state = UP
        self._process.last_sign_at = time.monotonic()
        self.term = max(self.term, message.term)
        if self._was_ready:
            self._log.info(f"The stream-writer is back, pid {self._process.pid}")
            return
        self._was_ready = True
        self.on_ready(
            {
                "term": message.term,
                "probe_us": message.probe_us,
                "store_path": message.store_path,
                "logs": message.logs,
            }
        )

    def _fenced(self, message: Fenced) -> None:
        self.term = max(self.term, message.term)
        if not message.whole:
            self._log.error(f"The lane of worker {message.worker} held garbage: what came after it is lost")
        callback = self._fences.pop(message.worker, None)
        if callback is not None:
            callback(message.term)

    # --- watch -------------------------------------------------------------------------------------------

    def _watch(self) -> None:
        if self._stopping:
            return
        self._loop.call_later(_WATCH_INTERVAL_S, self._watch)
        process = self._process
        now = time.monotonic()
        sign = self._heartbeat[layout.BOARD_WRITER_HEARTBEAT // 8]
        if process.state not in (STARTING, UP) or sign != process.last_signs:
            if self._told_slow:
                self._told_slow = False
                self._log.info("The stream-writer goes on")
            process.last_signs, process.last_sign_at = sign, now
            return
        silent_s = now - process.last_sign_at
        if silent_s >= _SILENT_S_MAX:
            self._log.error(f"The stream-writer (pid {process.pid}) gives no sign of life: killed")
            process.last_sign_at = now
            process.kill()
        elif silent_s >= _SLOW_S and not self._told_slow:
            self._told_slow = True
            self._log.warn(f"The stream-writer has waited for the disk for {silent_s:.0f}s")
