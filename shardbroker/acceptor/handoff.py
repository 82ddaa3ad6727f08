"""From an accepted socket to a worker: number it, choose the worker, pass the descriptor, never wait.

A worker's channel may be full (a storm of connections, a stopped worker): the next worker is tried. When
all are full the connection waits in a short queue here, and when that is full accepting pauses: what is
not accepted waits in the kernel's backlog at no cost, and no descriptors pile up.
"""

import os
from collections import deque
from collections.abc import Callable

from shardbroker import limits
from shardbroker.acceptor.placement import Placement
from shardbroker.acceptor.worker import Worker
from shardbroker.control.messages import REJECT, MoveSocket, TakeSocket


class Handoff:
    """``connections_max`` below 1 means no limit. ``on_room()`` is called when a pause may end."""

    def __init__(self, placement: Placement, workers: list[Worker], connections_max: int):
        self.accepted = 0  # connections since start; also the last connection id given
        self.rejected = 0  # of these, told "maximum connections exceeded"
        self.on_room: Callable[[], None] = lambda: None
        self._placement = placement
        self._workers = workers
        self._connections_max = connections_max
        self._waiting: deque[tuple[TakeSocket, int]] = deque()

    @property
    def waiting(self) -> int:
        return len(self._waiting)

    @property
    def saturated(self) -> bool:
        """No more connections, please: wait for ``on_room``."""
        return len(self._waiting) >= limits.sockets_queued_max

    def take(self, fd: int, ip: str, port: int) -> None:
        """A new connection; ``fd`` is ours now."""
        self.accepted += 1
        flags = 0
        survey = self._placement.survey()
        if 0 < self._connections_max <= sum(load for load, _, _ in survey) + len(self._waiting):
            flags = REJECT
            self.rejected += 1
        self._place(TakeSocket(self.accepted, flags, port, ip), fd, survey)

    def move(self, sender: Worker, message: MoveSocket, fd: int) -> None:
        """A worker gives a connection to another one, or gets it back when that one cannot take it."""
        take = TakeSocket(message.cid, 0, message.port, message.ip, message.state)
        if 0 <= message.target_worker < len(self._workers):
            wanted = self._workers[message.target_worker]
            if wanted.hand_over(take, fd):
                return
        if not sender.hand_over(take, fd):
            self._place(take, fd, self._placement.survey())

    def drain(self) -> None:
        """Some channel has room again, or a worker came up."""
        while self._waiting:
            message, fd = self._waiting[0]
            if not _offer(message, fd, self._placement.survey()):
                return
            self._waiting.popleft()
        self.on_room()

    def close(self) -> None:
        """Drop what is still waiting."""
        for _, fd in self._waiting:
            os.close(fd)
        self._waiting.clear()

    def _place(self, message: TakeSocket, fd: int, survey: list[tuple[int, int, Worker]]) -> None:
        # First come, first served: what waits already goes first.
        if self._waiting or not _offer(message, fd, survey):
            self._waiting.append((message, fd))


def _offer(message: TakeSocket, fd: int, survey: list[tuple[int, int, Worker]]) -> bool:
    """Give the connection to the first worker that has room; False when none has."""
    return any(worker.hand_over(message, fd) for _, _, worker in survey)
