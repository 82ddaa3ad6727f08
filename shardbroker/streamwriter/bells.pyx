"""Sleeping and waking, as in shm/ring.pyx: announce the sleep, fence, look again, only then block.

Owners ring the writer once for each of its sleeps, and the writer rings each owner once for each of theirs.
"""

from libc.stdint cimport uint8_t, uint32_t, uint64_t
from posix.unistd cimport write

from shardbroker.shm.atomics cimport (
    fence_seq_cst,
    load_acquire_u64,
    monotonic_ns,
    store_release_u32,
    store_release_u64,
)
from shardbroker.shm.offsets cimport (
    BOARD_WORKERS,
    BOARD_WRITER_BYTES,
    BOARD_WRITER_FRAMES,
    BOARD_WRITER_HEARTBEAT,
    BOARD_WRITER_PID,
    BOARD_WRITER_SLEEPING,
    BOARD_WRITER_SYNCS,
    WORKER_ROW_SIZE,
    WORKER_SLEEPING,
    WORKERS_MAX,
)


cdef class Bells:
    """`board` is the address of the mapped board."""

    def __cinit__(self, uint64_t board):
        cdef int worker
        self.board = <uint8_t *> board
        self.sleeping = <uint64_t *> (self.board + BOARD_WRITER_SLEEPING)
        for worker in range(WORKERS_MAX):
            self.doorbells[worker] = -1
        self.wake()  # a predecessor may have died in its sleep

    def set_doorbell(self, int worker, int doorbell):
        """Ring here from now on; the descriptor stays the caller's."""
        self.doorbells[worker] = doorbell
        self.rung[worker] = 0

    def set_pid(self, uint32_t pid):
        """Who writes, for monitoring."""
        store_release_u32(<uint32_t *> (self.board + BOARD_WRITER_PID), pid)

    cdef void announce_sleep(self) noexcept:
        """The caller looks at all lanes once more before it blocks. `wake` ends it."""
        store_release_u64(self.sleeping, load_acquire_u64(self.sleeping) | 1)
        fence_seq_cst()

    cpdef void wake(self) noexcept:
        """The writer looks at its lanes again: nobody need ring."""
        cdef uint64_t epoch = load_acquire_u64(self.sleeping)
        if epoch & 1:
            store_release_u64(self.sleeping, epoch + 1)

    cdef void beat(self) noexcept:
        """A sign of life."""
        store_release_u64(<uint64_t *> (self.board + BOARD_WRITER_HEARTBEAT), monotonic_ns())

    cdef void count(self, uint64_t syncs, uint64_t frames, uint64_t size) noexcept:
        """Add to what this writer and those before it have done, for monitoring: it never falls."""
        cdef uint64_t *cell = <uint64_t *> (self.board + BOARD_WRITER_SYNCS)
        store_release_u64(cell, cell[0] + syncs)
        cell = <uint64_t *> (self.board + BOARD_WRITER_FRAMES)
        store_release_u64(cell, cell[0] + frames)
        cell = <uint64_t *> (self.board + BOARD_WRITER_BYTES)
        store_release_u64(cell, cell[0] + size)

    cdef void ring(self, int worker) noexcept:
        """Wake `worker` if it sleeps, at most once per sleep. The lane's finish has fenced."""
        cdef uint64_t one = 1
        cdef uint64_t epoch = load_acquire_u64(
            <uint64_t *> (self.board + BOARD_WORKERS + worker * WORKER_ROW_SIZE + WORKER_SLEEPING)
        )
        if epoch & 1 and self.rung[worker] != epoch and self.doorbells[worker] >= 0:
            self.rung[worker] = epoch
            write(self.doorbells[worker], &one, 8)
