"""Rings between real processes: nothing is lost, torn or out of order while writers and a reader race.

Two properties. A ring that is full most of the time hands over every frame, whole. And if one process
publishes before it tells another by a pipe, the reader never sees the other's answer first.
"""

import contextlib
import os
import subprocess
import sys
import time
from pathlib import Path

from shardbroker.shm import layout
from shardbroker.shm.ring import Inbound, Outbound, RingMap
from tests.shm.interest_memory import Region, new_board
from tests.shm.ring_memory import RING_SIZE
from tests.shm.ring_writer import body_of

FRAMES_COUNT = 100_000
TURNS_COUNT = 5000  # of each writer
TIMEOUT_S = 60.0


class Reader:
    """Worker 0, and writers to start as processes."""

    def __init__(self) -> None:
        self.board = new_board()
        self.rings = [Region(layout.RING_DATA + RING_SIZE) for _ in range(3)]
        outbound = Outbound(RingMap(self.rings[0].fd, RING_SIZE), self.board.address, 0)
        self.inbound = Inbound(self.board.address, 0, 1, outbound)
        self.writers: list[subprocess.Popen] = []

    def start(self, worker: int, count: int, in_fd: int = -1, out_fd: int = -1) -> None:
        """A writer, and this one asks to read its ring."""
        fds = [self.board.fd, self.rings[worker].fd, *(fd for fd in (in_fd, out_fd) if fd >= 0)]
        numbers = [self.board.fd, self.rings[worker].fd, worker, count, in_fd, out_fd]
        command = [sys.executable, "-m", "tests.shm.ring_writer", *map(str, numbers)]
        self.writers.append(subprocess.Popen(command, pass_fds=fds, cwd=Path(__file__).parents[2]))
        self.inbound.attach(worker, RingMap(self.rings[worker].fd, RING_SIZE))

    def wait_joined(self) -> None:
        """Until all writers count this reader."""
        deadline = time.monotonic() + TIMEOUT_S
        while self.inbound.waiting:
            assert self.inbound.take() == [] and time.monotonic() < deadline
            time.sleep(0.001)

    def frames(self, count: int):
        """The next frames, as they come."""
        deadline = time.monotonic() + TIMEOUT_S
        while count:
            taken = self.inbound.take()
            yield from taken
            count -= len(taken)
            assert time.monotonic() < deadline and count >= 0, f"{count} frames did not come"
            if not taken:
                os.sched_yield()

    def close(self) -> None:
        """All writers have ended well, and nothing was refused."""
        for writer in self.writers:
            assert writer.wait(TIMEOUT_S) == 0
        assert self.inbound.take() == [] and self.inbound.broken == 0
        for region in (self.board, *self.rings):
            region.close()


@contextlib.contextmanager
def new_reader():
    reader = Reader()
    try:
        yield reader
    finally:
        for writer in reader.writers:
            writer.kill()
            writer.wait()


def test_one_writer_at_full_speed() -> None:
    with new_reader() as reader:
        reader.start(1, FRAMES_COUNT)
        for number, (worker, body) in enumerate(reader.frames(FRAMES_COUNT)):
            assert worker == 1 and body == body_of(number), number
        reader.close()


def test_two_writers_in_turns() -> None:
    """Each number is written by the one who was told of its predecessor."""
    with new_reader() as reader, contextlib.ExitStack() as pipes:
        (first_in, second_out), (second_in, first_out) = os.pipe(), os.pipe()
        for fd in (first_in, second_out, second_in, first_out):
            pipes.callback(os.close, fd)
        reader.start(1, TURNS_COUNT, first_in, first_out)
        reader.start(2, TURNS_COUNT, second_in, second_out)
        reader.wait_joined()
        os.write(second_out, bytes(4))  # number 0 to the first
        for number, (worker, body) in enumerate(reader.frames(2 * TURNS_COUNT)):
            assert (worker, body) == (1 + number % 2, body_of(number))
        reader.close()
