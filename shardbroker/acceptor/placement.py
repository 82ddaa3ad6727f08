"""Which worker gets the next connection: the one with the fewest, those still under way to it included.

Counting connections and not load: a connection's load is not known when it arrives and lasts longer than
any measurement. Talkers on one subject find together later by moving (DESIGN: slots).
"""

from shardbroker.acceptor.fabric import Fabric
from shardbroker.acceptor.worker import UP, Worker
from shardbroker.shm.worker_table import STATISTIC


class Placement:
    """Reads the board; knows of nobody's wishes."""

    def __init__(self, fabric: Fabric, workers: list[Worker]):
        self._fabric = fabric
        self._workers = workers

    def load(self, worker: Worker) -> int:
        """Connections that ``worker`` has or is about to have."""
        row = self._fabric.rows[worker.index]
        taken = row.statistic("connections_total")
        return row.statistic("connections") + worker.under_way(taken)

    def by_load(self) -> list[Worker]:
        """The workers that take connections, the least loaded first."""
        serving = [worker for worker in self._workers if worker.state == UP]
        return sorted(serving, key=self.load) if len(serving) > 1 else serving

    def connections(self) -> int:
        """Connections of all workers, those under way included."""
        return sum(self.load(worker) for worker in self._workers if worker.state == UP)


assert "connections" in STATISTIC and "connections_total" in STATISTIC
