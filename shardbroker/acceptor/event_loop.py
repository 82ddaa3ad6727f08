"""The acceptor's event loop: epoll for descriptors, a heap for timers. It never waits inside a callback.

asyncio is not used here: the acceptor has a few dozen descriptors and no coroutines, and importing asyncio
costs a quarter of the time the whole broker may take to start. Callbacks run one after the other in one
thread, so nothing in the acceptor needs a lock.
"""

import heapq
import itertools
import select
import time
from collections.abc import Callable

READ = select.EPOLLIN
WRITE = select.EPOLLOUT

Callback = Callable[[], None]


class Timer:
    """A callback at a time; ``cancel`` may be called at any time and more than once."""

    __slots__ = ("callback", "deadline")

    def __init__(self, deadline: float, callback: Callback):
        self.deadline = deadline  # time.monotonic() seconds
        self.callback: Callback | None = callback

    def cancel(self) -> None:
        self.callback = None


class EventLoop:
    """Descriptors and timers. ``on_error(exception)`` hears of a callback that raised; the loop goes on."""

    def __init__(self, on_error: Callable[[Exception], None]):
        self._epoll = select.epoll()
        self._readers: dict[int, Callback] = {}
        self._writers: dict[int, Callback] = {}
        self._timers: list[tuple[float, int, Timer]] = []
        self._order = itertools.count()
        self._on_error = on_error
        self._running = False

    def add_reader(self, fd: int, callback: Callback) -> None:
        """Call ``callback`` whenever ``fd`` is readable or at its end, until removed."""
        self._set(fd, self._readers, callback)

    def remove_reader(self, fd: int) -> None:
        self._set(fd, self._readers, None)

    def add_writer(self, fd: int, callback: Callback) -> None:
        """Call ``callback`` whenever ``fd`` takes data, until removed."""
        self._set(fd, self._writers, callback)

    def remove_writer(self, fd: int) -> None:
        self._set(fd, self._writers, None)

    def call_later(self, delay_s: float, callback: Callback) -> Timer:
        timer = Timer(time.monotonic() + delay_s, callback)
        heapq.heappush(self._timers, (timer.deadline, next(self._order), timer))
        return timer

    def run(self) -> None:
        """Serve until ``stop``."""
        self._running = True
        while self._running:
            self._turn()

    def stop(self) -> None:
        """``run`` returns after the callback that is running now."""
        self._running = False

    def close(self) -> None:
        self._epoll.close()

    def _turn(self) -> None:
        timeout = max(0.0, self._timers[0][0] - time.monotonic()) if self._timers else -1
        for fd, events in self._epoll.poll(timeout):
            # A callback may have removed this one's descriptor, so both are looked up at the last moment.
            # End and error count as both directions: whoever reads or writes finds out.
            if events & ~WRITE and (callback := self._readers.get(fd)):
                self._call(callback)
            if events & ~READ and (callback := self._writers.get(fd)):
                self._call(callback)
        now = time.monotonic()
        while self._timers and self._timers[0][0] <= now:
            timer = heapq.heappop(self._timers)[2]
            if timer.callback is not None:
                self._call(timer.callback)

    def _call(self, callback: Callback) -> None:
        try:
            callback()
        except Exception as error:
            self._on_error(error)

    def _set(self, fd: int, table: dict[int, Callback], callback: Callback | None) -> None:
        known = fd in self._readers or fd in self._writers
        if callback is None:
            table.pop(fd, None)
        else:
            table[fd] = callback
        events = (READ if fd in self._readers else 0) | (WRITE if fd in self._writers else 0)
        if not known and events:
            self._epoll.register(fd, events)
        elif known and events:
            self._epoll.modify(fd, events)
        elif known:
            self._epoll.unregister(fd)
