"""One slot of the worker table as the acceptor knows it: the process in it now, its channel and its state.

The slot stays, processes come and go: each start raises ``generation``. What state follows which is
decided by supervisor.py; this file does the work on one worker.

    EMPTY -> STARTING -> UP -> DRAINING -> WAITING -> STARTING ...
                 |              ^
                 +--------------+          STOPPED ends it from anywhere
"""

import contextlib
import os
import select
import signal
import socket
import time
from collections import deque
from collections.abc import Callable

from shardbroker import limits
from shardbroker.acceptor.event_loop import EventLoop
from shardbroker.acceptor.starvation import Starvation
from shardbroker.control.channel import Channel
from shardbroker.control.messages import Message, TakeSocket
from shardbroker.errors import ProtocolError

EMPTY, STARTING, UP, DRAINING, WAITING, STOPPED = range(6)
#: A process is there and takes messages.
ALIVE = (STARTING, UP)

#: Messages from one worker handled before others get their turn.
_MESSAGES_PER_TURN = 64
#: After a worker's end, for its parent to tell the cause, which is only logged.
_REAP_WAIT_S = 0.5


class Worker:
    """Slot ``index``. ``on_message(worker, message, fds)``, ``on_room(worker)`` and ``on_exit(worker)`` are
    the supervisor's ears; whoever gets ``fds`` closes them."""

    def __init__(self, index: int, loop: EventLoop):
        self.index = index
        self.state = EMPTY
        self.generation = 0
        self.pid = 0
        self.started_at = 0.0  # time.monotonic() seconds
        self.restarts = 0  # in a row, forgiven after a time of good service
        #: Survivors that have not yet let go of this dead worker.
        self.waiting_for: set[int] = set()
        #: Heartbeat and cursors as last seen, and when they last changed (monotonic seconds).
        self.last_signs: object = None
        self.last_sign_at = 0.0
        self.starvation = Starvation()
        self.on_message: Callable[[Worker, Message, list[int]], None] = lambda *_: None
        self.on_room: Callable[[Worker], None] = lambda _: None
        self.on_exit: Callable[[Worker], None] = lambda _: None
        self._loop = loop
        self._channel: Channel | None = None
        self._pidfd = -1
        self._process = None
        self._queue: deque[tuple[Message, list[int]]] = (
            deque()
        )  # control messages that found the channel full
        self._wants_room = False
        self._handed = 0  # connections given to this process
        self._handed_at = 0.0

    def count_restart(self) -> float:
        """The process has ended and is to be started again: after how many seconds.

        The first in a row come at once; those behind them wait, each twice as long as the one before.
        """
        if time.monotonic() - self.started_at > limits.worker_settled_s:
            self.restarts = 0
        self.restarts += 1
        late = self.restarts - limits.restarts_immediate
        if late <= 0:
            return 0.0
        return min(limits.restart_delay_s * 2 ** min(late - 1, 16), limits.restart_delay_s_max)

    @property
    def alive(self) -> bool:
        return self.state in ALIVE

    def start(self, start_process: Callable[[socket.socket], object]) -> None:
        """Make the process of the next generation: ``start_process(channel socket)`` gives a Process.

        Raises OSError or EOFError when there is none; the worker is unchanged but for the generation.
        """
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            try:
                self._process = start_process(theirs)
                self.pid = self._process.pid
                self._pidfd = os.pidfd_open(self.pid)
            except BaseException:
                ours.close()
                raise
        self._channel = Channel(ours)
        self.state = STARTING
        self.started_at = self.last_sign_at = time.monotonic()
        self.last_signs = None
        self.starvation.forget()
        self._handed = 0
        self._loop.add_reader(self._pidfd, self._exited)
        self._loop.add_reader(self._channel.fileno(), self._readable)
        if select.select([self._process.sentinel], [], [], 0)[0]:
            # It ended between fork and pidfd_open, so the pid may already be another process's. The end
            # of the pidfd must not be waited for then.
            self._loop.call_later(0, self._exited)

    def send(self, message: Message, fds: list[int] | tuple[int, ...] = ()) -> None:
        """Send a control message now or as soon as there is room; never lost while the process lives.

        The caller keeps ``fds``.
        """
        if self._channel is None:
            return
        if not self._queue and self._try(message, fds):
            return
        self._queue.append((message, [os.dup(fd) for fd in fds]))
        self._watch_room()

    def hand_over(self, message: TakeSocket, fd: int) -> bool:
        """Give the worker a connection. True: sent, ``fd`` is closed here. False: no room, nothing done;
        ``on_room`` follows when there is."""
        if self.state != UP:
            return False
        if self._queue or not self._try(message, (fd,)):
            self._watch_room()
            return False
        os.close(fd)
        if not message.flags:
            self._handed += 1
            self._handed_at = time.monotonic()
        return True

    def under_way(self, taken: int) -> int:
        """Connections handed over that the worker, which reports ``taken``, does not count yet."""
        if time.monotonic() - self._handed_at > limits.heartbeat_lost_s:
            self._handed = taken  # what is not taken by now was lost on the way: do not count it for ever
        return max(0, self._handed - taken)

    def kill(self) -> None:
        """SIGKILL; ``on_exit`` follows."""
        if self._pidfd >= 0:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._pidfd, signal.SIGKILL)

    def describe_exit(self, tell: Callable[[str], None]) -> None:
        """``tell`` soon how the process that is dead now ended, in words.

        Not at once: the forkserver, whose child it is, reaps it and reports by the sentinel; if the
        forkserver is stuck, we go without the cause.
        """
        process = self._process
        if process is None:
            tell("is gone")
            return

        def reaped() -> None:
            timer.cancel()
            self._loop.remove_reader(process.sentinel)
            tell(self._status(process))

        timer = self._loop.call_later(_REAP_WAIT_S, reaped)
        self._loop.add_reader(process.sentinel, reaped)

    @staticmethod
    def _status(process) -> str:
        code = process.exitcode
        if code is None:
            return "is gone"
        if code < 0:
            return f"was killed by {signal.Signals(-code).name}"
        return f"ended with code {code}"

    def release(self) -> None:
        """After the exit: give everything of the dead process back."""
        if self._channel is not None:
            self._loop.remove_reader(self._channel.fileno())
            self._loop.remove_writer(self._channel.fileno())
            self._channel.close()
            self._channel = None
        self._wants_room = False
        if self._pidfd >= 0:
            self._loop.remove_reader(self._pidfd)
            os.close(self._pidfd)
            self._pidfd = -1
        for _, fds in self._queue:
            _close_all(fds)
        self._queue.clear()

    def _try(self, message: Message, fds: list[int] | tuple[int, ...]) -> bool:
        try:
            return self._channel.send(message, fds)
        except EOFError:
            return False  # dying: the exit is about to be reported

    def _watch_room(self) -> None:
        if not self._wants_room:
            self._wants_room = True
            self._loop.add_writer(self._channel.fileno(), self._writable)

    def _writable(self) -> None:
        self._wants_room = False
        self._loop.remove_writer(self._channel.fileno())
        while self._queue:
            message, fds = self._queue[0]
            if not self._try(message, fds):
                self._watch_room_later()
                return
            self._queue.popleft()
            _close_all(fds)
        self.on_room(self)

    def _watch_room_later(self) -> None:
        """Writable and yet refused: the peer is dying or the kernel short of descriptors in flight. Not at
        once again, or the loop would spin."""
        generation = self.generation

        def again() -> None:
            if self.generation == generation and self._channel is not None and not self._wants_room:
                self._watch_room()

        self._loop.call_later(0.01, again)

    def _readable(self, limit: int = _MESSAGES_PER_TURN) -> None:
        for _ in range(limit):
            if self._channel is None:
                return
            try:
                received = self._channel.receive()
            except EOFError:
                # It closed its end: it is ending, or it is broken. The exit must follow.
                self._loop.remove_reader(self._channel.fileno())
                self._loop.call_later(limits.worker_stop_s_max, self._kill_if_same(self.generation))
                return
            except ProtocolError:
                self.kill()
                raise
            if received is None:
                return
            self.on_message(self, *received)

    def _kill_if_same(self, generation: int) -> Callable[[], None]:
        def kill() -> None:
            if self.generation == generation:
                self.kill()

        return kill

    def _exited(self) -> None:
        if self._pidfd < 0:
            return
        # What it sent before it ended still counts: a connection may be on its way to another worker.
        self._readable(limit=1 << 20)
        self.on_exit(self)


def _close_all(fds: list[int]) -> None:
    for fd in fds:
        os.close(fd)
