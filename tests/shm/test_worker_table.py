"""A worker's row reads what the layout says, and beginning anew touches no neighbour."""

from shardbroker.shm import layout
from shardbroker.shm.worker_table import GAUGES, STATISTIC, WorkerRow


def test_begin_clears_this_row_only() -> None:
    board = bytearray(b"\xff" * layout.BOARD_SIZE)
    row = WorkerRow(memoryview(board), 5)
    row.begin(7)
    start, end = layout.worker_row(5), layout.worker_row(6)
    assert row.state == layout.STATE_STARTING
    assert (row.generation, row.pid, row.heartbeat_ns) == (7, 0, 0)
    assert row.statistics() == [0] * len(layout.STATISTICS)
    assert not any(board[start + layout.WORKER_BUSY : end])
    assert set(board[:start]) == set(board[end:]) == {0xFF}


def test_statistics_by_name() -> None:
    board = bytearray(layout.BOARD_SIZE)
    row = WorkerRow(memoryview(board), 0)
    place = layout.worker_row(0) + layout.WORKER_STATISTICS + 8 * STATISTIC["slow_consumers"]
    board[place : place + 8] = (1 << 40).to_bytes(8, "little")
    assert row.statistic("slow_consumers") == 1 << 40
    assert "connections" in GAUGES and "connections_total" not in GAUGES
