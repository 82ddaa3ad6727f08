"""The writing processes of test_ring_processes: workers that fill their rings as fast as the reader empties.

Run as ``python -m tests.shm.ring_writer BOARD_FD RING_FD WORKER COUNT IN_FD OUT_FD``. It invites worker 0,
waits until that one is counted, and writes COUNT frames. With IN_FD >= 0 it writes a frame only after a byte
has come from there, and tells OUT_FD when it is published: two such writers take turns. A frame holds its
number and then a repetition of it, so that bytes of another frame would be seen.
"""

import os
import sys

from shardbroker.shm import layout
from shardbroker.shm.ring import Outbound, RingMap
from tests.shm.interest_memory import Region
from tests.shm.ring_memory import RING_SIZE

READER_MASK = 1
BATCH_FRAMES = 50


def body_of(number: int) -> bytes:
    """8 digits, repeated: 8 to 800 bytes."""
    return b"%08d" % number * (1 + number * 7919 % 100)


def write_all(outbound: Outbound, count: int) -> None:
    """As fast as the ring takes them."""
    for number in range(count):
        body = body_of(number)
        while not outbound.put(body, READER_MASK):
            os.sched_yield()
        if number % BATCH_FRAMES == 0:
            outbound.publish_batch()
    outbound.publish_batch()


def write_in_turns(outbound: Outbound, count: int, in_fd: int, out_fd: int) -> None:
    """Every other number: each is published before the other writer is told of it."""
    for _ in range(count):
        number = int.from_bytes(os.read(in_fd, 4), "little")
        while not outbound.put(body_of(number), READER_MASK):
            os.sched_yield()
        outbound.publish_batch()
        os.write(out_fd, (number + 1).to_bytes(4, "little"))


def main() -> None:
    """Write, and leave."""
    board_fd, ring_fd, worker, count, in_fd, out_fd = (int(argument) for argument in sys.argv[1:])
    board = Region(layout.BOARD_SIZE, board_fd)
    outbound = Outbound(RingMap(ring_fd, RING_SIZE), board.address, worker)
    outbound.invite(0, -1, 1)
    while outbound.consumer_mask == 0:
        outbound.admit_consumers()
        os.sched_yield()
    if in_fd < 0:
        write_all(outbound, count)
    else:
        write_in_turns(outbound, count, in_fd, out_fd)


if __name__ == "__main__":
    main()
