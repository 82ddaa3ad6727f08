"""All shared memory of the broker and every descriptor that workers share. The acceptor creates, workers map.

Everything for all workers exists before the first worker starts, so a worker can attach at once to peers
that are still booting. After a crash the slot gets fresh segments: nothing in the old ones is trusted, and
survivors that still drain the old ring are not disturbed.
"""

import contextlib
import itertools
import mmap
import os
import time
from collections import deque

from shardbroker import limits
from shardbroker.config.options import Options
from shardbroker.shm import layout, sweep
from shardbroker.shm.connection_table import ConnectionTable, as_closed, stop_ns
from shardbroker.shm.region import Region, require_space
from shardbroker.shm.slot_table import SlotTable
from shardbroker.shm.worker_table import GAUGES, STATISTIC, WorkerRow

#: Name, offset in a row of the log table, and bits to the right of it in its u64.
_WRITER_FIGURES = (
    ("error", layout.LOG_ERROR - 4, 32),
    ("durable_index", layout.LOG_DURABLE_INDEX, 0),
    ("stored_index", layout.LOG_STORED_INDEX, 0),
    ("syncs", layout.LOG_SYNCS, 0),
    ("frames", layout.LOG_FRAMES, 0),
    ("bytes", layout.LOG_BYTES, 0),
)


_BYTES_FIGURE = layout.LOG_FIGURES.index("bytes")


class WorkerRegions:
    """What one generation of one worker writes: its ring, interest, connection table, and its doorbell."""

    def __init__(self, options: Options, connection_rows: int, closed_rows: int):
        with contextlib.ExitStack() as stack:  # a failure half way leaves nothing behind

            def create(size: int, *, reserve: bool = False) -> Region:
                region = Region.create(size, reserve=reserve)
                stack.callback(region.close)
                return region

            self.ring = create(layout.RING_DATA + options.ring_size, reserve=True)
            self.interest = create(limits.interest_size_default)
            self.connections = create(layout.connection_table_size(connection_rows, closed_rows))
            self.doorbell = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
            stack.callback(os.close, self.doorbell)
            # Only the header: the data of a ring is none of the acceptor's business.
            header = mmap.mmap(self.ring.fd, layout.RING_DATA, mmap.MAP_SHARED)
            self._cells = memoryview(header).cast("Q")
            self._close = stack.pop_all().close
        self.connection_table = ConnectionTable(self.connections, connection_rows, closed_rows)

    @property
    def head(self) -> int:
        """Position up to which the ring is published."""
        return self._cells[layout.RING_HEAD // 8]

    def cursor(self, worker: int) -> int:
        """Position up to which ``worker`` has read this ring."""
        return self._cells[(layout.RING_CURSORS + worker * layout.RING_CURSOR_STRIDE) // 8]

    def close(self) -> None:
        """Give the descriptors back."""
        self._close()


class Fabric:
    """Board and regions of ``worker_count`` workers. Raises StartError when the machine has no room."""

    def __init__(self, options: Options, worker_count: int):
        ring_sizes = worker_count * (layout.RING_DATA + options.ring_size)
        if options.jetstream:
            ring_sizes += worker_count * (layout.RING_DATA + lane_size(options))
        require_space(ring_sizes + 8 * limits.filter_words_count + limits.shared_memory_slack_size)
        self.worker_count = worker_count
        self.start_ns = time.time_ns()
        self.connection_rows, self.closed_rows = connection_table_rows(options, worker_count)
        self._options = options
        self.board = Region.create(layout.BOARD_SIZE, reserve=True)
        self._board = memoryview(self.board.map())
        self._write_header()
        self.lane_size = lane_size(options)
        self.lanes: list[Region] = []
        if options.jetstream:
            self._create_lanes()
        self.slots = SlotTable(self._board)
        self.slots.deal(worker_count)
        self.rows = [WorkerRow(self._board, worker) for worker in range(worker_count)]
        self.regions = [self._create_regions() for _ in range(worker_count)]
        #: Figures of workers that died, so that the broker's totals never go back. Gauges stay 0.
        self.retired = [0] * len(layout.STATISTICS)
        #: Rows of connections that were closed in workers that died, or with them; the newest last.
        self.lost_connections: deque[bytes] = deque(maxlen=max(1, options.max_closed_clients))

    def attach_descriptors(self, worker: int) -> list[int]:
        """For the Attach message."""
        descriptors = [self.board.fd]
        for regions in self.regions:
            descriptors += (regions.ring.fd, regions.interest.fd, regions.doorbell)
        return [*descriptors, self.regions[worker].connections.fd]

    def peer_descriptors(self, worker: int) -> list[int]:
        """For the PeerUp message."""
        regions = self.regions[worker]
        return [regions.ring.fd, regions.interest.fd, regions.doorbell]

    def begin(self, worker: int, generation: int) -> None:
        """Make the slot ready for a new process. Raises StartError or OSError, with nothing changed."""
        if generation > 1:
            previous, self.regions[worker] = self.regions[worker], self._create_regions()
            previous.close()
        self.rows[worker].begin(generation)

    def retire(self, worker: int) -> None:
        """Keep what a dead worker counted, and what it had to tell about its connections."""
        row = self.rows[worker]
        for index, value in enumerate(row.statistics()):
            if layout.STATISTICS[index][0] not in GAUGES:
                self.retired[index] += value
        table = self.regions[worker].connection_table
        now_ns = time.time_ns()
        open_rows = itertools.islice(table.open_rows(), self.lost_connections.maxlen)
        rows = [*table.closed_rows(), *(as_closed(raw, now_ns, "Server Shutdown") for raw in open_rows)]
        self.lost_connections.extend(sorted(rows, key=stop_ns))

    def cursors(self, worker: int) -> tuple[int, ...]:
        """How far ``worker`` has read every ring: stands still only when it does nothing."""
        return tuple(regions.cursor(worker) for regions in self.regions)

    def drop_routes(self) -> None:
        """Raise all interest versions, so that no route in any cache is used again."""
        sweep.raise_versions(self._cells(layout.BOARD_VERSIONS, 8 * limits.versions_count))

    def sweep(self, worker: int) -> None:
        """Take a dead worker's bit out of the interest filter. Nobody probes its tables afterwards."""
        start, end = layout.BOARD_FILTER, layout.BOARD_FILTER + 8 * limits.filter_words_count
        for first, last in self.board.data_extents(start, end):
            sweep.clear_bit(self._cells(first, last - first), worker)
        self.drop_routes()

    def totals(self) -> list[int]:
        """All figures of all workers, the dead ones' too, in the order of layout.STATISTICS.

        A worker counts a connection that moves to it like a new one; here each connection counts once.
        """
        sums = list(self.retired)
        for row in self.rows:
            if row.state in (layout.STATE_STARTING, layout.STATE_UP):
                sums = [a + b for a, b in zip(sums, row.statistics(), strict=True)]
        moved = sums[STATISTIC["connections_moved"]]
        sums[STATISTIC["connections_total"]] = max(0, sums[STATISTIC["connections_total"]] - moved)
        return sums

    def close(self) -> None:
        for regions in self.regions:
            regions.close()
        self.board.close()
        for lane in self.lanes:
            lane.close()
        if self.lanes:
            self.log_table.close()
            os.close(self.writer_doorbell)

    def log_row(self, row: int) -> dict[str, int]:
        """The figures of a log, as its owner wrote them last (layout.LOG_FIGURES)."""
        start = (row * layout.LOG_ROW_SIZE + layout.LOG_FIGURES_START) // 8
        values = self._log_cells[start : start + len(layout.LOG_FIGURES)]
        return dict(zip(layout.LOG_FIGURES, values, strict=True))

    def writer_row(self, row: int) -> dict[str, int]:
        """What the stream-writer says of a log: errno of the last failure, durable and stored index, and
        syncs, frames and bytes since its row was given to it."""
        return {
            name: self._log_cells[(row * layout.LOG_ROW_SIZE + offset) // 8] >> shift
            for name, offset, shift in _WRITER_FIGURES
        }

    def writer_totals(self) -> dict[str, int]:
        """What the stream-writers did since the start: syncs, frames and bytes. None of them ever falls."""
        cells = self._cells(layout.BOARD_WRITER_SYNCS, 3 * 8)
        return dict(zip(("syncs", "frames", "bytes"), cells, strict=True))

    def lane(self, worker: int) -> tuple[int, int, int]:
        """(head, processed, released) of a worker's append lane (shm/layout.py). Read, not mapped: only its
        first page is of interest here."""
        page = os.pread(self.lanes[worker].fd, layout.LANE_RELEASED + 8, 0)
        cells = memoryview(page).cast("Q")
        return (
            cells[layout.LANE_HEAD // 8],
            cells[layout.LANE_PROCESSED // 8],
            cells[layout.LANE_RELEASED // 8],
        )

    def log_bytes(self, row: int) -> int:
        """The accounted bytes of a log's messages."""
        return self._log_cells[(row * layout.LOG_ROW_SIZE + layout.LOG_FIGURES_START) // 8 + _BYTES_FIGURE]

    def clear_log_row(self, row: int) -> None:
        """Before a row is used for another log."""
        start = row * layout.LOG_ROW_SIZE // 8
        for cell in range(start, start + layout.LOG_ROW_SIZE // 8):
            self._log_cells[cell] = 0

    def _create_lanes(self) -> None:
        """Append lanes outlive their workers: a successor answers for what its predecessor sent."""
        self.lanes = [Region.create(layout.RING_DATA + self.lane_size) for _ in range(self.worker_count)]
        self.log_table = Region.create(limits.log_rows_max * layout.LOG_ROW_SIZE)
        self._log_cells = memoryview(self.log_table.map()).cast("Q")
        self.writer_doorbell = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)

    def _create_regions(self) -> WorkerRegions:
        return WorkerRegions(self._options, self.connection_rows, self.closed_rows)

    def _cells(self, offset: int, size: int) -> memoryview:
        return self._board[offset : offset + size].cast("Q")

    def _write_header(self) -> None:
        words = self._board[: layout.PAGE].cast("I")
        cells = self._board[: layout.PAGE].cast("Q")
        cells[layout.BOARD_SEED // 8] = int.from_bytes(os.urandom(8), "little")
        cells[layout.BOARD_START_NS // 8] = self.start_ns
        words[layout.BOARD_WORKER_COUNT // 4] = self.worker_count
        words[layout.BOARD_LAYOUT_VERSION // 4] = layout.LAYOUT_VERSION
        cells[layout.BOARD_MAGIC // 8] = layout.MAGIC


def lane_size(options: Options) -> int:
    """Bytes of an append lane: as asked, else room for several messages of the largest size."""
    if options.lane_size:
        return options.lane_size
    size = limits.lane_size_min
    while size < 4 * options.max_payload:
        size *= 2
    return size


def connection_table_rows(options: Options, worker_count: int) -> tuple[int, int]:
    """Rows for open and for closed connections in each worker's table.

    Any worker may hold all open connections: rows are address space until used. Closed rows are used up
    and stay, so workers share the budget, with a factor of two for an uneven share.
    """
    open_rows = options.max_connections if options.max_connections > 0 else limits.connection_rows_max
    kept = max(1, options.max_closed_clients)
    closed_rows = min(kept, max(64, -(-2 * kept // worker_count)))
    return min(open_rows, limits.connection_rows_max), closed_rows
