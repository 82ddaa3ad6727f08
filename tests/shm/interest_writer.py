"""The writing process of test_interest_hammer: changes its table as fast as it can, for some seconds.

Run as ``python -m tests.shm.interest_writer BOARD_FD SEGMENT_FD SEGMENT_SIZE NOTES_FD SECONDS SEED``.

STABLE keys go in first and are never touched again. Then two kinds of work alternate: churn (keys that come
and go in neighbourhoods of the stable ones, so that dead entries are reused and partitions rebuilt, growing
and shrinking) and a toggle whose state stands in the notes, so that the reader knows what it must see:

    notes 0   u64, changes begun: stored before a change of the toggle
    notes 64  u64, changes done: stored after it; odd means that the toggle's interest is there
    notes 128 u64, 1: the stable keys are in; 2: finished
"""

import random
import sys
import time

from shardbroker.shm import layout
from shardbroker.shm.interest_directory import InterestDirectory
from tests.shm.interest_memory import Region

STABLE_COUNT = 3000
TOGGLE = b"toggle.*"
TOGGLE_SUBJECT = b"toggle.x"
QUEUE = b"workers"
NOTES_SIZE = 4096
BEGUN, DONE, PHASE = 0, 64, 128


def stable(number: int) -> tuple[bytes, bytes, bool]:
    """(pattern, a subject it matches, whether it is a queue group) of a stable key."""
    if number % 3 == 0:
        return b"stable.%d" % number, b"stable.%d" % number, False
    if number % 3 == 1:
        return b"stable.%d.*" % number, b"stable.%d.x" % number, False
    return b"stable.%d.>" % number, b"stable.%d.x.y" % number, True


def churn(directory: InterestDirectory, chance: random.Random, alive: list[bytes], target: int) -> None:
    """Bring the number of living churn keys a step nearer to the target."""
    for _ in range(10):
        if len(alive) < target:
            pattern = b"churn.%d.%d" % (chance.getrandbits(40), chance.getrandbits(20))
            if chance.random() < 0.2:
                pattern += b".>"
            directory.change_subject(0, pattern, 1)
            alive.append(pattern)
        elif alive:
            index = chance.randrange(len(alive))
            alive[index], alive[-1] = alive[-1], alive[index]
            directory.change_subject(0, alive.pop(), -1)


def main() -> None:
    """Write until the time is over."""
    board_fd, segment_fd, segment_size, notes_fd = (int(argument) for argument in sys.argv[1:5])
    seconds, seed = float(sys.argv[5]), int(sys.argv[6])
    board = Region(layout.BOARD_SIZE, board_fd)
    segment = Region(segment_size, segment_fd)
    notes = Region(NOTES_SIZE, notes_fd)
    begun, done, phase = notes.cell(BEGUN), notes.cell(DONE), notes.cell(PHASE)
    directory = InterestDirectory(0, board.address, segment.address, segment.fd, segment.size)
    chance = random.Random(seed)
    queue_hash = directory.hash_queue(QUEUE)
    for number in range(STABLE_COUNT):
        pattern, _, queued = stable(number)
        directory.change_subject(0, pattern, number + 1 if queued else 1, queue_hash if queued else 0)
    phase.value = 1
    alive: list[bytes] = []
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        target = chance.choice((0, 3000, 30_000))
        for _ in range(200):
            churn(directory, chance, alive, target)
            # One flip, then churn again: the reader must have time to find its stamp still current.
            begun.value += 1
            directory.change_subject(0, TOGGLE, -1 if done.value % 2 else 1)
            done.value += 1
        directory.trim()
    phase.value = 2


if __name__ == "__main__":
    main()
