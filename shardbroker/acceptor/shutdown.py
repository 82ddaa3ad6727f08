"""The two ways out: stop at once, or lame duck: announce, wait, and let the clients go a few at a time.

Lame duck as nats-server does it: no new connections; INFO with ``ldm`` to all clients; after the grace
period the clients are closed evenly over the rest of the duration, so that they do not all reconnect to
the other servers in the same moment; then a normal stop.
"""

import time
from collections.abc import Callable

from shardbroker import limits
from shardbroker.acceptor.event_loop import EventLoop
from shardbroker.acceptor.placement import Placement
from shardbroker.acceptor.supervisor import Supervisor
from shardbroker.acceptor.worker import Worker
from shardbroker.config.options import Options
from shardbroker.control.messages import LAME_DUCK_ANNOUNCE, LAME_DUCK_CLOSE, LameDuck, Stop
from shardbroker.log import Log


class Shutdown:
    """``close_listener`` ends accepting; the event loop ends when all workers are gone."""

    def __init__(
        self,
        *,
        loop: EventLoop,
        log: Log,
        options: Options,
        supervisor: Supervisor,
        placement: Placement,
        workers: list[Worker],
        close_listener,
    ):
        self.lame_duck = False
        self.stopping = False
        self.exit_code = 0
        self._loop = loop
        self._log = log
        self._options = options
        self._supervisor = supervisor
        self._placement = placement
        self._workers = workers
        self._close_listener = close_listener
        self._closing_s = 0.0  # how long the closing of clients may take
        self._closing_until = 0.0  # monotonic seconds
        self._at_first: list[int] = []  # connections of each worker when the closing began
        #: Called before the workers are told to stop, with what to do next.
        self.before_stop: Callable[[Callable[[], None]], None] = lambda go_on: go_on()
        #: Called once all workers are gone, with what to do next: the stream-writer ends last.
        self.before_end: Callable[[Callable[[], None]], None] = lambda go_on: go_on()
        supervisor.on_all_stopped = lambda: self.before_end(loop.stop)

    def stop(self, exit_code: int = 0) -> None:
        """Close everything and leave the event loop."""
        if self.stopping:
            return
        self.stopping = True
        self.exit_code = exit_code
        self._log.info("Initiating Shutdown...")
        self._close_listener()
        self.before_stop(self._stop_workers)

    def _stop_workers(self) -> None:
        for worker in self._workers:
            worker.send(Stop())
        self._loop.call_later(limits.worker_stop_s_max, self._kill_all)
        self._supervisor.stop()

    def begin_lame_duck(self) -> None:
        """Announce and let the clients go; a second call does nothing."""
        if self.lame_duck or self.stopping:
            return
        self.lame_duck = True
        self._log.info("Entering lame duck mode, stop accepting new clients")
        self._close_listener()
        if self._placement.connections() == 0:
            self.stop()
            return
        for worker in self._workers:
            worker.send(LameDuck(LAME_DUCK_ANNOUNCE))
        self._loop.call_later(self._options.lame_duck_grace_period_s, self._begin_closing)

    def _begin_closing(self) -> None:
        self._log.info("Closing existing clients")
        rest_s = self._options.lame_duck_duration_s - self._options.lame_duck_grace_period_s
        self._closing_s = max(rest_s, limits.lame_duck_step_s)
        self._closing_until = time.monotonic() + self._closing_s
        self._at_first = [self._placement.load(worker) for worker in self._workers]
        self._close_some()

    def _close_some(self) -> None:
        """Each worker closes what it has more than its share of the time that is left."""
        if self.stopping:
            return
        left_s = self._closing_until - time.monotonic()
        if left_s <= 0 or self._placement.connections() == 0:
            self.stop()
            return
        for worker, at_first in zip(self._workers, self._at_first, strict=True):
            may_stay = int(at_first * left_s / self._closing_s)
            count = self._placement.load(worker) - may_stay if worker.alive else 0
            if count > 0:
                worker.send(LameDuck(LAME_DUCK_CLOSE, count))
        self._loop.call_later(limits.lame_duck_step_s, self._close_some)

    def _kill_all(self) -> None:
        for worker in self._workers:
            if worker.alive:
                self._log.warn(f"Worker {worker.index} (pid {worker.pid}) does not stop: killed")
                worker.kill()
