"""Starts the workers, watches them, and brings a dead one's slot back to life without the others noticing.

Life of a slot after its process died (several slots may be in this at once):

1. The kernel reports the exit (pidfd). Only this makes a worker dead: a silent one is killed first, so
   that no process can write to shared memory after it was declared down.
2. Board state DOWN, so that nobody picks it any more; versions raised, so that no cached route names it.
3. PeerDown to every living worker. Each one detaches the dead cursor, drains the dead ring to its
   published end, forgets its interest, and answers PeerDownDone. One that dies instead counts as answered.
4. When all have answered: its bits are swept from the interest filter.
5. After the back-off: fresh regions, generation + 1, new process, PeerUp to the living, Attach to the new
   one. PeerUp goes out only when the process exists, so a failed fork leaves nothing to take back.

A silent worker is one whose heartbeat *and* cursors stand still: a long delivery moves the cursors, an
idle worker beats. If the acceptor itself was not scheduled (suspended, stopped), everybody looks silent;
then the watch begins anew instead of killing the innocent. Nor is a worker killed that wants to run and is
not let (starvation.py).
"""

import os
import time
from collections.abc import Callable

from shardbroker import limits
from shardbroker.acceptor.event_loop import EventLoop
from shardbroker.acceptor.fabric import Fabric
from shardbroker.acceptor.forkserver import Forkserver
from shardbroker.acceptor.worker import (
    ALIVE,
    DRAINING,
    STARTING,
    STOPPED,
    UP,
    WAITING,
    Worker,
)
from shardbroker.config.options import Options
from shardbroker.control.messages import (
    Answer,
    Attach,
    MoveSocket,
    PeerDown,
    PeerDownDone,
    PeerUp,
    Progress,
    Ready,
    StreamAsk,
)
from shardbroker.errors import StartError
from shardbroker.log import Log
from shardbroker.shm import layout

_WATCH_INTERVAL_S = 2 * limits.heartbeat_interval_s
#: A watch this late says that the acceptor itself did not run, and nothing about the workers.
_WATCH_LATE_S = 4 * _WATCH_INTERVAL_S


class Supervisor:
    """Owner of the workers. ``identity`` gives the fields of Attach that are the same for all of them."""

    def __init__(
        self,
        *,
        loop: EventLoop,
        log: Log,
        options: Options,
        fabric: Fabric,
        forkserver: Forkserver,
        workers: list[Worker],
        start_process: Callable,
        identity: dict,
    ):
        self.on_all_up: Callable[[], None] = lambda: None  # once, when all workers are ready
        self.on_up: Callable[[], None] = lambda: None  # each time a worker is ready
        self.on_start_failed: Callable[[str], None] = lambda _: None  # before on_all_up, for good
        self.on_all_stopped: Callable[[], None] = lambda: None
        self.on_worker_up: Callable[[Worker], None] = lambda _: None  # the same, and which one
        self.on_move: Callable[[Worker, MoveSocket, int], None] = lambda *_: None
        self.on_answer: Callable[[Worker, Answer], None] = lambda *_: None
        self.on_attached: Callable[[Worker], None] = lambda _: None  # a process was told what is where
        self.on_ask: Callable[[Worker, StreamAsk], None] = lambda *_: None
        #: Called with a dead worker that everybody let go of, and what to do next.
        self.before_restart: Callable[[Worker, Callable[[], None]], None] = lambda _, go_on: go_on()
        self.restarts_total = 0
        self._loop = loop
        self._log = log
        self._options = options
        self._fabric = fabric
        self._forkserver = forkserver
        self._workers = workers
        self._start_process = start_process
        self._identity = identity
        self._was_up = False
        self._stopping = False
        self._watched_at = 0.0
        for worker in workers:
            worker.on_message = self._received
            worker.on_exit = self._exited

    def start(self) -> None:
        """Start all workers for the first time."""
        for worker in self._workers:
            self._begin(worker)
        self._watched_at = time.monotonic()
        self._loop.call_later(_WATCH_INTERVAL_S, self._watch)

    def stop(self) -> None:
        """No more restarts; ``on_all_stopped`` when the last process is gone. The caller tells them."""
        self._stopping = True
        for worker in self._workers:
            if not worker.alive:
                worker.state = STOPPED
        self._check_all_stopped()

    # --- start -------------------------------------------------------------------------------------------

    def _begin(self, worker: Worker) -> None:
        """Put a process of the next generation into the slot."""
        if self._stopping:
            return
        worker.generation += 1
        worker.started_at = time.monotonic()
        try:
            self._fabric.begin(worker.index, worker.generation)
            worker.start(lambda channel: self._fork(worker, channel))
        except (OSError, EOFError, StartError) as error:
            self._not_started(worker, error)
            return
        self._fabric.rows[worker.index].pid = worker.pid
        self._log.debug(f"Worker {worker.index} has pid {worker.pid}, generation {worker.generation}")
        descriptors = self._fabric.peer_descriptors(worker.index)
        if worker.generation > 1:
            for peer in self._others_alive(worker):
                peer.send(PeerUp(worker.index, worker.generation), descriptors)
        worker.send(self._attach(worker), self._fabric.attach_descriptors(worker.index))
        self.on_attached(worker)

    def _not_started(self, worker: Worker, error: Exception) -> None:
        """No process, or no memory for it: try again later, and serve with the others meanwhile."""
        self._log.error(f"Worker {worker.index} could not be started: {error or type(error).__name__}")
        if worker.generation == 1:
            self._bury(worker)  # peers started earlier were told that it is there
        else:
            self._fabric.rows[worker.index].state = layout.STATE_DOWN
            worker.state = WAITING
            self._restart_later(worker)

    def _fork(self, worker: Worker, channel):
        arguments = (channel, worker.index, self._options)
        return self._forkserver.start_worker(self._start_process, arguments, f"worker-{worker.index}")

    def _attach(self, worker: Worker) -> Attach:
        # Before the first start of all, the workers still to come count as there: their regions are.
        generations = [
            max(1, peer.generation) if peer.alive or peer.generation == 0 else 0 for peer in self._workers
        ]
        return Attach(
            worker_index=worker.index,
            worker_count=len(self._workers),
            generation=worker.generation,
            generations=generations,
            connection_rows=self._fabric.connection_rows,
            closed_rows=self._fabric.closed_rows,
            ring_size=self._options.ring_size,
            interest_size=limits.interest_size_default,
            max_connections_here=self._fabric.connection_rows,
            start_ns=self._fabric.start_ns,
            **self._identity,
        )

    # --- messages ----------------------------------------------------------------------------------------

    def _received(self, worker: Worker, message: object, fds: list[int]) -> None:
        if type(message) is MoveSocket and len(fds) == 1:
            self.on_move(worker, message, fds[0])
            return
        for fd in fds:  # nothing else carries any
            os.close(fd)
        match message:
            case Ready():
                self._ready(worker)
            case PeerDownDone():
                self._peer_done(worker, message)
            case Answer():
                self.on_answer(worker, message)
            case StreamAsk():
                self.on_ask(worker, message)
            case Progress():
                self._works_on(worker, message)
            case _:
                self._log.error(f"Worker {worker.index} sent an unexpected {type(message).__name__}")

    def _ready(self, worker: Worker) -> None:
        if worker.state != STARTING or self._stopping:
            return
        worker.state = UP
        worker.last_sign_at = time.monotonic()
        self._fabric.rows[worker.index].state = layout.STATE_UP
        if worker.generation > 1:
            self._log.info(f"Worker {worker.index} is back, pid {worker.pid}")
        self.on_up()
        self.on_worker_up(worker)
        if not self._was_up and all(peer.state == UP for peer in self._workers):
            self._was_up = True
            self.on_all_up()

    def _works_on(self, worker: Worker, message: Progress) -> None:
        """It reads its streams back: it is not stuck, and the operator may want to know."""
        worker.started_at = time.monotonic()
        self._log.info(f"Worker {worker.index}: {message.text}")

    def _peer_done(self, survivor: Worker, message: PeerDownDone) -> None:
        if not 0 <= message.worker < len(self._workers):
            return
        dead = self._workers[message.worker]
        if dead.state == DRAINING and dead.generation == message.generation:
            self._let_go(dead, survivor)

    # --- death -------------------------------------------------------------------------------------------

    def _exited(self, worker: Worker) -> None:
        if not self._stopping:
            who = f"Worker {worker.index} (pid {worker.pid})"
            worker.describe_exit(lambda how: self._log.error(f"{who} {how}: its clients are disconnected"))
        worker.release()
        self._fabric.retire(worker.index)
        if self._stopping:
            self._fabric.rows[worker.index].state = layout.STATE_DOWN
            worker.state = STOPPED
            self._check_all_stopped()
        else:
            self._bury(worker)

    def _bury(self, worker: Worker) -> None:
        """Declare a worker down that certainly has no process, and have the living let go of it."""
        self._fabric.rows[worker.index].state = layout.STATE_DOWN
        self._fabric.drop_routes()
        worker.state = DRAINING
        survivors = self._others_alive(worker)
        worker.waiting_for = {survivor.index for survivor in survivors}
        for survivor in survivors:
            survivor.send(PeerDown(worker.index, worker.generation))
        for dead in self._workers:
            if dead.state == DRAINING and dead is not worker:
                self._let_go(dead, worker)
        if not worker.waiting_for:
            self._swept(worker)

    def _let_go(self, dead: Worker, survivor: Worker) -> None:
        """``survivor`` holds nothing of ``dead`` any more, or is dead itself."""
        dead.waiting_for.discard(survivor.index)
        if not dead.waiting_for:
            self._swept(dead)

    def _swept(self, worker: Worker) -> None:
        worker.state = WAITING
        self._fabric.sweep(worker.index)
        self.before_restart(worker, lambda: self._restart_later(worker))

    def _restart_later(self, worker: Worker) -> None:
        delay = worker.count_restart()
        self.restarts_total += 1
        if delay and not self._was_up:
            self.on_start_failed(f"worker {worker.index} ended {worker.restarts} times before it was ready")
            return
        if delay:
            self._log.warn(f"Worker {worker.index} is restarted in {delay:g}s")
        self._loop.call_later(delay, lambda: self._begin(worker))

    # --- watch -------------------------------------------------------------------------------------------

    def _watch(self) -> None:
        now = time.monotonic()
        self._loop.call_later(_WATCH_INTERVAL_S, self._watch)
        was_late = now - self._watched_at > _WATCH_LATE_S
        self._watched_at = now
        for worker in self._workers:
            if worker.state == UP:
                signs = (self._fabric.rows[worker.index].heartbeat_ns, self._fabric.cursors(worker.index))
                if signs != worker.last_signs or was_late:
                    worker.last_signs = signs
                    worker.last_sign_at = now
                    worker.starvation.forget()
                elif (
                    not worker.starvation.explains(worker.pid, now)
                    and now - worker.last_sign_at >= limits.heartbeat_lost_s
                ):
                    self._log.error(f"Worker {worker.index} (pid {worker.pid}) gives no sign of life: killed")
                    worker.last_sign_at = now
                    worker.kill()
            elif worker.state == STARTING and now - worker.started_at > limits.worker_start_s_max:
                self._log.error(f"Worker {worker.index} (pid {worker.pid}) does not get ready: killed")
                worker.started_at = now
                worker.kill()

    def _others_alive(self, worker: Worker) -> list[Worker]:
        return [peer for peer in self._workers if peer is not worker and peer.state in ALIVE]

    def _check_all_stopped(self) -> None:
        if all(worker.state == STOPPED for worker in self._workers):
            self.on_all_stopped()
