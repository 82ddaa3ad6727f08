"""Whether a new connection should live in another worker: that of the subject it talks about.

Talkers on one subject that share a worker skip the ring: half the latency, two thirds of the CPU (RINGS.md).
So a connection whose first SUB or PUB names a literal subject may move once, before anything of it was
executed, to the worker that the slot table gives that subject. Inboxes and wildcards say nothing about who
talks with whom; behind them the bytes already read are looked at for the first subject that does.

A worker that has clearly more connections than its share is not moved to: a subject with thousands of
subscribers is better spread. The transfer itself is in event_loop.pyx and process.py.
"""

from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memchr, memcmp

from shardbroker.hashing cimport hash_bytes
from shardbroker.shm.atomics cimport load_acquire_u32, load_relaxed_u64
from shardbroker.shm.offsets cimport (
    BOARD_SLOTS,
    BOARD_WORKERS,
    STATE_UP,
    WORKER_ROW_SIZE,
    WORKER_STATE,
    WORKER_STATISTICS,
)
from shardbroker.subjects.subject cimport is_literal
from shardbroker.workers.client cimport Client

cdef enum:
    CONNECTIONS_FIGURE = 4  # index in layout.STATISTICS
    # Connections above its fair share (and above a quarter more) that a worker may have and still be
    # moved to.
    SLACK = 8
    LINES_AHEAD = 16


cdef class Moving:
    """Decides for one worker. `seed` is the board's: all workers agree on a subject's slot."""

    def __cinit__(self, uint64_t board_address, uint64_t seed, int worker_index, int worker_count):
        self.board = <uint8_t *> board_address
        self.slots = <uint16_t *> (self.board + BOARD_SLOTS)
        self.seed = seed
        self.worker_index = worker_index
        self.worker_count = worker_count

    cdef bint is_welcome(self, int worker) noexcept:
        """Whether that worker is up and has not clearly more connections than its share."""
        cdef uint64_t total = 0, there = 0, value
        cdef uint8_t *row
        cdef int other
        for other in range(self.worker_count):
            row = self.board + BOARD_WORKERS + other * WORKER_ROW_SIZE
            value = load_relaxed_u64(<uint64_t *> (row + WORKER_STATISTICS) + CONNECTIONS_FIGURE)
            total += value
            if other == worker:
                there = value
                if load_acquire_u32(<uint32_t *> (row + WORKER_STATE)) != STATE_UP:
                    return False
        return there <= total * 5 // (4 * self.worker_count) + SLACK

    cdef bint wants_to_move(self, Client *client, const uint8_t *subject, uint32_t size) noexcept:
        """True, with `move_to` set, when this subject's home is another worker that takes it."""
        cdef int worker
        if client.moved or self.worker_count == 1 or size == 0 or subject[0] == 95:  # _INBOX
            return False
        if not is_literal(subject, size):
            return False
        worker = self.slots[(hash_bytes(subject, size, self.seed) >> 40) & 4095]
        if worker == self.worker_index or worker >= self.worker_count or not self.is_welcome(worker):
            return False
        client.move_to = worker + 1
        return True

    cdef bint looks_ahead(self, Client *client, const uint8_t *data, const uint8_t *end) noexcept:
        """The same for the first telling SUB or PUB in the bytes that follow. Cheap and approximate: what
        it does not recognise ends the look, and the connection stays."""
        cdef const uint8_t *line_end
        cdef const uint8_t *subject
        cdef int line
        cdef bint is_hpub
        if client.moved or self.worker_count == 1:
            return False
        for line in range(LINES_AHEAD):
            if end - data < 6:
                return False
            line_end = <const uint8_t *> memchr(data, 10, end - data)
            if line_end == NULL:
                return False
            is_hpub = memcmp(data, b"HPUB ", 5) == 0
            if is_hpub or memcmp(data, b"PUB ", 4) == 0 or memcmp(data, b"SUB ", 4) == 0:
                subject = data + (5 if is_hpub else 4)
                data = subject
                while data < line_end and data[0] > 32:
                    data += 1
                if self.wants_to_move(client, subject, <uint32_t> (data - subject)):
                    return True
                if subject[-2] == 66 and subject[-4] == 80:  # PUB: payload lines cannot be told apart cheaply
                    return False
            elif memcmp(data, b"PING", 4) != 0 and memcmp(data, b"UNSUB ", 6) != 0:
                return False
            data = line_end + 1
        return False
