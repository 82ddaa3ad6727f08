"""Leaving a queue group without losing a message (DESIGN §4, model: tests/models/queue_unsub_model.py).

Another worker may have chosen this worker's member for a message it is just publishing, from a route that was
right when it looked. If the last member here vanished at once, that message would be lost although the group
has members elsewhere. So the UNSUB goes in steps:

1. the removal is stored in the interest directory: whoever looks from now on chooses somebody else;
2. fence, then read every worker's `busy` counter: an even one is not routing now; an odd one may hold an old
   route until the counter changes, which it does after publishing;
3. when all odd ones have changed (or their worker is DOWN), a ticket round delivers what they published to
   the lingering member;
4. now the member is dropped and the client's next commands are parsed, so its PONG comes after all that.
"""

from libc.stdint cimport uint32_t, uint64_t
from libc.stdlib cimport calloc, free

from shardbroker.shm.atomics cimport fence_seq_cst, load_acquire_u32, load_acquire_u64
from shardbroker.shm.offsets cimport BOARD_WORKERS, STATE_UP, WORKER_BUSY, WORKER_ROW_SIZE, WORKER_STATE


cdef class Leaving:
    """The list of unfinished leaves of one worker."""

    def __cinit__(self, uint64_t board_address, int worker_index, int worker_count):
        self.board = <uint8_t *> board_address
        self.worker_index = worker_index
        self.worker_count = worker_count

    def __dealloc__(self):
        cdef Leave *leave
        while self.first != NULL:
            leave = self.first
            self.first = leave.next
            free(leave)

    cdef bint begin(self, Client *client, Subscription *subscription) noexcept:
        """Start waiting; the removal is stored already. False when there is nothing to wait for."""
        cdef Leave *leave
        cdef uint8_t *row
        cdef int worker
        fence_seq_cst()
        leave = <Leave *> calloc(1, sizeof(Leave))
        if leave == NULL:
            return False
        for worker in range(self.worker_count):
            if worker == self.worker_index:
                continue
            row = self.board + BOARD_WORKERS + worker * WORKER_ROW_SIZE
            leave.busy[worker] = load_acquire_u64(<uint64_t *> (row + WORKER_BUSY))
            if leave.busy[worker] & 1 and load_acquire_u32(<uint32_t *> (row + WORKER_STATE)) == STATE_UP:
                leave.waiting |= (<uint64_t> 1) << worker
        # Even with nobody busy the round of step 3 must run: the loop does it before take_ready.
        leave.client = client
        leave.subscription = subscription
        leave.next = self.first
        self.first = leave
        self.count += 1
        return True

    cdef void look(self) noexcept:
        """Read again the counters that are waited for. A ticket round must follow before take_ready."""
        cdef Leave *leave = self.first
        cdef uint8_t *row
        cdef uint64_t left
        cdef int worker
        while leave != NULL:
            left = leave.waiting
            worker = 0
            while left:
                if left & 1:
                    row = self.board + BOARD_WORKERS + worker * WORKER_ROW_SIZE
                    if (
                        load_acquire_u64(<uint64_t *> (row + WORKER_BUSY)) != leave.busy[worker]
                        or load_acquire_u32(<uint32_t *> (row + WORKER_STATE)) != STATE_UP
                    ):
                        leave.waiting &= ~((<uint64_t> 1) << worker)
                left >>= 1
                worker += 1
            leave = leave.next

    cdef Leave *take_ready(self) noexcept:
        """Unlink one leave that waits for nobody any more, or NULL. The caller frees it."""
        cdef Leave *leave = self.first
        cdef Leave *previous = NULL
        while leave != NULL:
            if leave.waiting == 0:
                if previous == NULL:
                    self.first = leave.next
                else:
                    previous.next = leave.next
                self.count -= 1
                return leave
            previous = leave
            leave = leave.next
        return NULL

    cdef Subscription *forget_client(self, Client *client) noexcept:
        """The connection closed: hand back its lingering subscription, if any; nobody waits any more."""
        cdef Leave *leave = self.first
        while leave != NULL:
            if leave.client == client:
                leave.client = NULL
                return leave.subscription
            leave = leave.next
        return NULL
