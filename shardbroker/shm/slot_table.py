"""The slot table on the board: 4096 subject slots -> worker, written by the acceptor alone.

A subject's hash gives its slot, the slot its home worker. Slots are dealt like cards, so that every worker
has the same number of them, give or take one. A slot keeps its worker number when that worker crashes: the
successor takes the number over, so a restart moves nothing.
"""

import zlib

from shardbroker import limits
from shardbroker.shm import layout


def stream_slot(account: str, name: str) -> int:
    """The slot of a stream, or of an account's general requests (name ""): who holds it answers for it."""
    return zlib.crc32(f"{account}/{name}".encode()) % limits.slots_count


class SlotTable:
    """A view of the table on ``board`` (a writable mapping)."""

    def __init__(self, board: memoryview):
        end = layout.BOARD_SLOTS + 2 * limits.slots_count
        self._slots = memoryview(board)[layout.BOARD_SLOTS : end].cast("H")

    def deal(self, worker_count: int) -> None:
        """Give all slots to workers 0..worker_count-1 in turn."""
        assert 1 <= worker_count <= limits.workers_max
        for slot in range(limits.slots_count):
            self._slots[slot] = slot % worker_count

    def worker_of(self, slot: int) -> int:
        return self._slots[slot]

    def held(self, worker_count: int) -> list[int]:
        """Number of slots of each worker."""
        counts = [0] * worker_count
        for worker in self._slots.tolist():
            counts[worker] += 1
        return counts
