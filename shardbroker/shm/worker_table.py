"""The worker table on the board, as the acceptor sees it: state, heartbeat and figures of each process.

Cells are read and written as whole aligned words (memoryview items), which x86 and ARM do without tearing.
State, pid and generation are the acceptor's; heartbeat and statistics the worker's, except while no
process is in the slot: then the acceptor clears them for the successor.
"""

from shardbroker.shm import layout

#: Index in STATISTICS by name.
STATISTIC = {name: index for index, (name, _, _) in enumerate(layout.STATISTICS)}
#: Names of figures that say how much there is now; all others only grow while a process lives.
GAUGES = frozenset(name for name, _, meaning in layout.STATISTICS if meaning.startswith("gauge:"))
STATE_NAMES = ("empty", "starting", "up", "down")


class WorkerRow:
    """One worker's row on ``board`` (a writable mapping)."""

    def __init__(self, board: memoryview, worker_index: int):
        start = layout.worker_row(worker_index)
        row = memoryview(board)[start : start + layout.WORKER_ROW_SIZE]
        self._words = row.cast("I")
        self._cells = row.cast("Q")
        #: The figures, by their index in STATISTIC.
        self.figures = self._cells[layout.WORKER_STATISTICS // 8 :]

    @property
    def state(self) -> int:
        return self._words[layout.WORKER_STATE // 4]

    @state.setter
    def state(self, state: int) -> None:
        self._words[layout.WORKER_STATE // 4] = state

    @property
    def pid(self) -> int:
        return self._words[layout.WORKER_PID // 4]

    @pid.setter
    def pid(self, pid: int) -> None:
        self._words[layout.WORKER_PID // 4] = pid

    @property
    def generation(self) -> int:
        return self._words[layout.WORKER_GENERATION // 4]

    @property
    def heartbeat_ns(self) -> int:
        return self._cells[layout.WORKER_HEARTBEAT // 8]

    def statistic(self, name: str) -> int:
        return self.figures[STATISTIC[name]]

    def statistics(self) -> list[int]:
        """All named figures, in the order of layout.STATISTICS."""
        return self.figures[: len(layout.STATISTICS)].tolist()

    def begin(self, generation: int) -> None:
        """Clear the row for a new process; nobody else writes it now."""
        for index in range(layout.WORKER_BUSY // 8, len(self._cells)):
            self._cells[index] = 0
        self._words[layout.WORKER_PID // 4] = 0
        self._words[layout.WORKER_GENERATION // 4] = generation
        self.state = layout.STATE_STARTING
