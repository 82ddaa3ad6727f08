"""A reader never misses a stable key, and never believes an old answer, while another process writes.

The writer (interest_writer.py) grows, shrinks and rebuilds its table for a few seconds and flips one pattern
on and off. The reader looks up stable keys, which must be there with their exact counts each time, and the
flipped pattern: an answer whose stamp is still current, with no flip under way, must show its present state.
The seed is printed; the race is the machine's.
"""

import os
import random
import subprocess
import sys
import time
from pathlib import Path

from shardbroker.shm.interest_directory import InterestDirectory
from tests.shm.interest_memory import Region, generations, new_board
from tests.shm.interest_writer import (
    BEGUN,
    DONE,
    NOTES_SIZE,
    PHASE,
    QUEUE,
    STABLE_COUNT,
    TOGGLE_SUBJECT,
    stable,
)

SECONDS = float(os.environ.get("SHARDBROKER_HAMMER_S", "3"))
SEGMENT_SIZE = 64 << 20


class Reader:
    """The asking side, with counts of what it saw."""

    def __init__(self, directory: InterestDirectory, notes: Region) -> None:
        self.directory = directory
        self.begun, self.done = notes.cell(BEGUN), notes.cell(DONE)
        self.queue_hash = directory.hash_queue(QUEUE)
        self.stable_lookups = self.toggle_lookups = self.toggle_checked = 0

    def check_stable(self, number: int) -> None:
        """One key that is there all the time."""
        _, subject, queued = stable(number)
        mask, groups, _ = self.directory.lookup_subject(0, subject)
        expected = (0, {self.queue_hash: {0: (number + 1, 0)}}) if queued else (1, {})
        assert (mask, groups) == expected, subject
        self.stable_lookups += 1

    def check_toggle(self) -> None:
        """The flipped pattern. Stamp current and no flip under way: the answer must be the present one."""
        mask, _, stamp = self.directory.lookup_subject(0, TOGGLE_SUBJECT)
        done = self.done.value
        if self.directory.is_current(stamp) and self.begun.value == done:
            assert mask == done % 2
            self.toggle_checked += 1
        self.toggle_lookups += 1


def test_hammer() -> None:
    seed = int.from_bytes(os.urandom(4), "little")
    print(f"seed {seed}")
    chance = random.Random(seed)
    board, segment, notes = new_board(chance.getrandbits(64)), Region(SEGMENT_SIZE), Region(NOTES_SIZE)
    own = Region(1 << 20)
    directory = InterestDirectory(1, board.address, own.address, own.fd, own.size)
    directory.set_peer(0, segment.address, segment.size)
    fds = (board.fd, segment.fd, notes.fd)
    command = [
        sys.executable, "-m", "tests.shm.interest_writer", str(board.fd), str(segment.fd), str(SEGMENT_SIZE),
        str(notes.fd), str(SECONDS), str(seed),
    ]  # fmt: skip
    phase = notes.cell(PHASE)
    reader = Reader(directory, notes)
    with subprocess.Popen(command, pass_fds=fds, cwd=Path(__file__).parents[2]) as writer:
        deadline = time.monotonic() + 30
        while phase.value == 0:
            assert writer.poll() is None and time.monotonic() < deadline, "the writer did not begin"
            time.sleep(0.01)
        while phase.value == 1:
            for _ in range(100):
                for _ in range(5):
                    reader.check_stable(chance.randrange(STABLE_COUNT))
                reader.check_toggle()
            assert writer.poll() is None or phase.value == 2, "the writer has died"
    assert writer.returncode == 0
    for number in range(STABLE_COUNT):
        reader.check_stable(number)
    print(
        f"{reader.stable_lookups} lookups of stable keys, {reader.toggle_lookups} of the flipped one"
        f" ({reader.toggle_checked} checks with a current stamp), against {reader.done.value} flips,"
        f" {generations(segment)} rebuilds and reuses"
    )
    assert reader.done.value > 100 and reader.toggle_checked > 100 and generations(segment) > 1000
    for region in (board, segment, notes, own):
        region.close()
