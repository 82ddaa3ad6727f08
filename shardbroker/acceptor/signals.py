"""Signals become calls in the event loop: the handler itself only lets Python write the number to a pipe."""

import os
import signal
from collections.abc import Callable

from shardbroker.acceptor.event_loop import EventLoop

#: What Go calls them in "Trapped ... signal".
NAMES = {
    signal.SIGINT: "interrupt",
    signal.SIGTERM: "terminated",
    signal.SIGUSR1: "user defined signal 1",
    signal.SIGUSR2: "user defined signal 2",
    signal.SIGHUP: "hangup",
}


class Signals:
    """Calls ``actions[signal]()`` in ``loop`` for each of the signals named there."""

    def __init__(self, loop: EventLoop, actions: dict[signal.Signals, Callable[[], None]]):
        self._actions = actions
        self._read_fd, write_fd = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        signal.set_wakeup_fd(write_fd, warn_on_full_buffer=False)
        for number in actions:
            signal.signal(number, lambda *_: None)
        signal.signal(signal.SIGPIPE, signal.SIG_IGN)
        loop.add_reader(self._read_fd, self._readable)

    def _readable(self) -> None:
        try:
            numbers = os.read(self._read_fd, 256)
        except BlockingIOError:
            return
        for number in numbers:
            action = self._actions.get(signal.Signals(number))
            if action is not None:
                action()
