"""All outboxes of all workers together stay within one budget (RELIABILITY D3).

nats-server bounds each client alone: a hundred subscribers that never read took 1,956 MB there and 94 % of
the publisher's rate. Here the client with the largest outbox is closed when the sum passes the budget. Each
worker publishes its sum and its largest outbox on the board; the one that holds the largest acts.
"""

from libc.stdint cimport uint8_t, uint16_t, uint64_t

from shardbroker.shm.atomics cimport load_relaxed_u64
from shardbroker.shm.offsets cimport BOARD_WORKERS, WORKER_ROW_SIZE, WORKER_STATISTICS
from shardbroker.workers.client cimport Client
from shardbroker.workers.connections cimport Connections
from shardbroker.workers.session cimport client_label

from shardbroker.shm.layout import CLOSE_REASONS

cdef enum:
    LOOK_NS = 1_000_000
    # Indices in layout.STATISTICS.
    OUTBOUND_SIZE = 10
    OUTBOUND_LARGEST = 11

cdef uint16_t REASON_SLOW = CLOSE_REASONS.index("Slow Consumer (Pending Bytes)")


cdef class Budget:
    """Keeps the sum of pending output of all workers below `limit` bytes."""

    def __cinit__(
        self,
        Connections connections,
        uint64_t board_address,
        int worker_index,
        int worker_count,
        uint64_t limit,
    ):
        self.connections = connections
        self.board = <uint8_t *> board_address
        self.worker_index = worker_index
        self.worker_count = worker_count
        self.limit = limit

    cdef void keep(self, uint64_t now_ns) noexcept:
        """Close the largest outbox here while the sum is over the limit, unless another worker has a
        larger one."""
        cdef uint64_t total = 0, others_largest = 0, value
        cdef uint64_t *statistics
        cdef uint8_t *row
        cdef Client *client
        cdef int worker
        self.next_look_ns = now_ns + LOOK_NS
        self.connections.router.statistics.outbound_size = self.connections.router.pool.allocated
        for worker in range(self.worker_count):
            row = self.board + BOARD_WORKERS + worker * WORKER_ROW_SIZE
            statistics = <uint64_t *> (row + WORKER_STATISTICS)
            total += load_relaxed_u64(statistics + OUTBOUND_SIZE)
            if worker != self.worker_index:
                value = load_relaxed_u64(statistics + OUTBOUND_LARGEST)
                if value > others_largest:
                    others_largest = value
        while total > self.limit:
            client = self.connections.largest()
            if client == NULL:
                return
            self.connections.router.statistics.outbound_largest = client.target.outbox.size
            # Another worker holds a larger one and will close it, unless it is far behind.
            if client.target.outbox.size < others_largest and total < self.limit + (self.limit >> 2):
                return
            total -= min(total, client.target.outbox.size)
            self.connections.router.statistics.slow_consumers += 1
            self.connections.log.info(
                f"{client_label(client)} - Slow Consumer Detected: outbound budget of "
                f"{self.limit} bytes for all clients exceeded, {client.target.outbox.size} bytes are its own"
            )
            self.connections.close(client, REASON_SLOW)
