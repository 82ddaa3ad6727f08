"""Which worker gets the next connection: the one with the fewest, those still under way to it included.

Counting connections and not load: a connection's load is not known when it arrives and lasts longer than
any measurement. Talkers on one subject find together later by moving (DESIGN: slots).
"""

from shardbroker.acceptor.fabric import Fabric
from shardbroker.acceptor.worker import UP, Worker
from shardbroker.shm.worker_table import STATISTIC

_CONNECTIONS = STATISTIC["connections"]
_CONNECTIONS_TOTAL = STATISTIC["connections_total"]


class Placement:
    """Reads the board; knows of nobody's wishes."""

    def __init__(self, fabric: Fabric, workers: list[Worker]):
        self._fabric = fabric
        self._workers = workers

    def load(self, worker: Worker) -> int:
        """Connections that ``worker`` has or is about to have."""
        figures = self._fabric.rows[worker.index].figures
        return figures[_CONNECTIONS] + worker.under_way(figures[_CONNECTIONS_TOTAL])

    def survey(self) -> list[tuple[int, int, Worker]]:
        """(load, index, worker) of the workers that take connections, the least loaded first."""
        return sorted(
            (self.load(worker), worker.index, worker) for worker in self._workers if worker.state == UP
        )

    def connections(self) -> int:
        """Connections of all workers, those under way included."""
        return sum(load for load, _, _ in self.survey())
