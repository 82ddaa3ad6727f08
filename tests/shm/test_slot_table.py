"""Slots are shared evenly, whatever the number of workers, and stay within the table."""

import pytest

from shardbroker import limits
from shardbroker.shm import layout
from shardbroker.shm.slot_table import SlotTable


@pytest.mark.parametrize("workers", [1, 2, 3, 7, 64])
def test_dealt_evenly(workers: int) -> None:
    board = bytearray(layout.BOARD_SIZE)
    table = SlotTable(memoryview(board))
    table.deal(workers)
    held = table.held(workers)
    assert sum(held) == limits.slots_count
    assert max(held) - min(held) <= 1
    assert {table.worker_of(slot) for slot in range(limits.slots_count)} == set(range(workers))
    outside = board[: layout.BOARD_SLOTS] + board[layout.BOARD_SLOTS + 2 * limits.slots_count :]
    assert not any(outside)
