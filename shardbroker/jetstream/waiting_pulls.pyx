"""The queue of pull requests of one consumer (spec 04 sections 7 and 8).

Requests are served in turn, one message each. take() says who gets the next message; requests that may not
have it end on the way, with a status each, or are passed over. The caller knows the interest in replies:
it asks lost_interest() for those that nobody listens to and takes again.

Priority groups. overflow: a request that names thresholds is passed over until one is reached.
pinned_client: the first request without an id makes its client the pinned one; from then on only requests
with that id are served, those without wait, those with another end. The pin is lost after
`priority_timeout` without a request from its client. prioritized: requests are ordered by priority, then
by arrival.

A request without heartbeats that finds the queue full is told so; one with heartbeats notices by their
absence.
"""

from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free, malloc
from libc.string cimport memcmp, memcpy

cdef enum:
    PIN_FITS = 0
    PIN_STANDS_BY = 1
    PIN_IS_WRONG = 2
    PIN_IS_FREE = 3  # nobody is pinned: this request will be

POLICIES = {
    "none": PULLS_IN_TURN, "overflow": PULLS_OVERFLOW, "pinned_client": PULLS_PINNED,
    "prioritized": PULLS_PRIORITIZED,
}


cdef class WaitingPulls:
    """Empty at first. `max_waiting` requests at most; `new_pin` makes ids of pinned clients."""

    def __init__(self, uint32_t max_waiting, str policy="none", uint64_t pin_timeout_ns=0, new_pin=None):
        self.ended = []
        self.pin_events = []
        self.pinned = self.refusal = b""
        self.new_pin = new_pin
        self.configure(max_waiting, policy, pin_timeout_ns)

    def __dealloc__(self):
        cdef Pull *pull
        while self.head != NULL:
            pull = self.head
            self.head = pull.next
            free(pull.reply)
            free(pull.pin)
            free(pull)

    def __len__(self):
        return self.count

    def configure(self, uint32_t max_waiting, str policy, uint64_t pin_timeout_ns):
        """What the configuration of the consumer says, now or after an update."""
        self.max_waiting = max_waiting
        self.policy = POLICIES[policy]
        self.pin_timeout_ns = pin_timeout_ns

    # --- coming -----------------------------------------------------------------------------------------

    cdef AddAnswer add(self, const Pull *wish, uint64_t pending, uint64_t now_ns) noexcept:
        cdef Pull *pull
        self.requests += 1
        self.last_request_ns = now_ns
        self.refusal = b""
        if wish.pin_size and self.fits_pin(<Pull *> wish) == PIN_FITS:
            self.pin_expires_ns = now_ns + self.pin_timeout_ns
        if self.count >= self.max_waiting:
            self.expire(now_ns, False)
        if wish.no_wait:
            if pending == 0 and wish.expires_ns == 0:
                self.last_ns = now_ns
                return PULL_NO_MESSAGES
            if pending:
                self.expire(now_ns, False)
                if <int64_t> pending < self.batches():
                    self.last_ns = now_ns
                    return PULL_REQUESTS_PENDING
        if self.count >= self.max_waiting:
            return PULL_SILENTLY_LOST if wish.heartbeat_ns else PULL_EXCEEDS_WAITING
        pull = <Pull *> calloc(1, sizeof(Pull))
        if pull == NULL:
            return PULL_OUT_OF_MEMORY
        pull[0] = wish[0]
        pull.pin = NULL
        pull.reply = <uint8_t *> malloc(wish.reply_size + 1)
        if wish.pin_size:
            pull.pin = <uint8_t *> malloc(wish.pin_size)
        if pull.reply == NULL or (wish.pin_size and pull.pin == NULL):
            free(pull.reply)
            free(pull.pin)
            free(pull)
            return PULL_OUT_OF_MEMORY
        memcpy(pull.reply, wish.reply, wish.reply_size)
        if wish.pin_size:
            memcpy(pull.pin, wish.pin, wish.pin_size)
        pull.delivered = 0
        pull.heartbeat_due_ns = now_ns + pull.heartbeat_ns if pull.heartbeat_ns else 0
        self.insert(pull)
        self.count += 1
        self.last_ns = now_ns
        self.due_by(pull.expires_ns)
        self.due_by(pull.heartbeat_due_ns)
        return PULL_ADDED

    def refuse(self, bytes block not None, uint64_t now_ns):
        """A request came that is answered with this header block, and does not wait."""
        self.requests += 1
        self.last_request_ns = now_ns
        self.refusal = block

    cdef void due_by(self, uint64_t at_ns) noexcept:
        if at_ns and (self.due_ns == 0 or at_ns < self.due_ns):
            self.due_ns = at_ns

    cdef void insert(self, Pull *pull) noexcept:
        """To the end, or behind the last one of its priority."""
        cdef Pull *before = self.tail
        if self.policy == PULLS_PRIORITIZED:
            while before != NULL and before.priority > pull.priority:
                before = before.before
        pull.before = before
        pull.next = self.head if before == NULL else before.next
        if before == NULL:
            self.head = pull
        else:
            before.next = pull
        if pull.next == NULL:
            self.tail = pull
        else:
            pull.next.before = pull

    cdef void unlink(self, Pull *pull) noexcept:
        if pull.before == NULL:
            self.head = pull.next
        else:
            pull.before.next = pull.next
        if pull.next == NULL:
            self.tail = pull.before
        else:
            pull.next.before = pull.before

    cdef void cycle(self, Pull *pull) noexcept:
        self.unlink(pull)
        self.insert(pull)

    cdef int64_t batches(self) noexcept:
        """Messages that all who wait have asked for."""
        cdef Pull *pull = self.head
        cdef int64_t total = 0
        while pull != NULL:
            total += pull.batch
            pull = pull.next
        return total

    # --- being served -----------------------------------------------------------------------------------

    cdef int fits_pin(self, Pull *pull) noexcept:
        """Whether the pinned client asks; without one, whether this one may become it."""
        if self.policy != PULLS_PINNED:
            return PIN_FITS
        if not self.pinned:
            return PIN_IS_WRONG if pull.pin_size else PIN_IS_FREE
        if pull.pin_size == 0:
            return PIN_STANDS_BY
        if pull.pin_size == <uint32_t> len(self.pinned) and (
            memcmp(pull.pin, <const char *> self.pinned, pull.pin_size) == 0
        ):
            return PIN_FITS
        return PIN_IS_WRONG

    cdef void pin_to(self, Pull *pull, uint64_t now_ns) noexcept:
        """The client of this request is the pinned one from now on."""
        cdef uint8_t *copy
        self.pinned = self.new_pin()
        self.pinned_ns = now_ns
        self.pin_expires_ns = now_ns + self.pin_timeout_ns
        self.due_by(self.pin_expires_ns)
        copy = <uint8_t *> malloc(len(self.pinned))
        if copy == NULL:
            return
        memcpy(copy, <const char *> self.pinned, len(self.pinned))
        free(pull.pin)
        pull.pin = copy
        pull.pin_size = <uint32_t> len(self.pinned)
        self.pin_events.append(("pinned", self.pinned))

    def unpin(self, str reason, bint always=False):
        """Nobody is pinned any more ("admin", "timeout"). False when nobody was: told only if `always`."""
        if not self.pinned:
            if always:
                self.pin_events.append(("unpinned", reason))
            return False
        self.pinned = b""
        self.pinned_ns = self.pin_expires_ns = 0
        self.pin_events.append(("unpinned", reason))
        return True

    cdef Pull *take(
        self, int64_t size, int64_t num_pending, int64_t ack_pending, uint64_t now_ns
    ) noexcept:
        cdef Pull *pull = self.head
        cdef Pull *following
        cdef uint32_t looked = 0, most = self.count
        cdef int pin
        if self.pinned and now_ns >= self.pin_expires_ns:
            self.unpin("timeout")
        while pull != NULL and looked < most:
            looked += 1
            following = pull.next
            if pull.expires_ns and now_ns >= pull.expires_ns:
                self.last_ns = max(self.last_ns, pull.expires_ns)
                self.end(pull, END_TIMEOUT)
                pull = following
                continue
            pin = self.fits_pin(pull)
            if pin == PIN_IS_WRONG:
                self.end(pull, END_WRONG_PIN)
                pull = following
                continue
            if pin == PIN_STANDS_BY or (
                self.policy == PULLS_OVERFLOW
                and (pull.min_pending > 0 or pull.min_ack_pending > 0)
                and not (0 < pull.min_pending <= num_pending or 0 < pull.min_ack_pending <= ack_pending)
            ):
                self.cycle(pull)
                pull = following
                continue
            if pull.max_bytes > 0 and size > pull.max_bytes:
                self.end(pull, END_TOO_LARGE)
                pull = following
                continue
            if pin == PIN_IS_FREE and pull.has_group:
                self.pin_to(pull, now_ns)
            if pull.max_bytes > 0:
                pull.max_bytes -= size
                if pull.max_bytes == 0:
                    pull.batch = 1
            return pull
        return NULL

    cdef void served(self, Pull *pull, uint64_t now_ns) noexcept:
        pull.batch -= 1
        pull.delivered += 1
        self.last_ns = now_ns
        if pull.batch <= 0:
            self.end(pull, END_BATCH_COMPLETED if pull.max_bytes > 0 else END_DONE)
            return
        if pull.heartbeat_ns:
            pull.heartbeat_due_ns = now_ns + pull.heartbeat_ns
        if self.count > 1:
            self.cycle(pull)

    cdef void lost_interest(self, Pull *pull) noexcept:
        self.end(pull, END_NO_INTEREST)

    # --- ending -----------------------------------------------------------------------------------------

    cdef void end(self, Pull *pull, PullEnd why) noexcept:
        self.last_end = why
        if why != END_DONE:
            self.ended.append((
                <int> why, pull.reply[: pull.reply_size], pull.account,
                max(pull.batch, 0), pull.max_bytes,
            ))
        self.unlink(pull)
        self.count -= 1
        free(pull.reply)
        free(pull.pin)
        free(pull)

    cdef void expire(self, uint64_t now_ns, bint at_end) noexcept:
        cdef Pull *pull = self.head
        cdef Pull *following
        if self.pinned and now_ns >= self.pin_expires_ns:
            self.unpin("timeout")
        while pull != NULL:
            following = pull.next
            if pull.expires_ns and now_ns >= pull.expires_ns:
                self.last_ns = max(self.last_ns, pull.expires_ns)
                self.end(pull, END_TIMEOUT)
            elif at_end and pull.no_wait and (pull.expires_ns == 0 or pull.delivered):
                self.last_ns = max(self.last_ns, now_ns)
                self.end(pull, END_NO_MESSAGES)
            elif pull.heartbeat_ns and now_ns >= pull.heartbeat_due_ns:
                self.ended.append((
                    <int> END_NONE, pull.reply[: pull.reply_size], pull.account, pull.batch, pull.max_bytes,
                ))
                pull.heartbeat_due_ns = now_ns + pull.heartbeat_ns
            pull = following
        self.due_ns = self.next_due_ns()

    cdef bint has_due(self, uint64_t now_ns) noexcept:
        cdef Pull *pull = self.head
        while pull != NULL:
            if pull.expires_ns and now_ns >= pull.expires_ns:
                return True
            if pull.heartbeat_ns and now_ns >= pull.heartbeat_due_ns:
                return True
            pull = pull.next
        return False

    cdef uint64_t next_due_ns(self) noexcept:
        cdef Pull *pull = self.head
        cdef uint64_t soonest = self.pin_expires_ns if self.pinned else 0
        while pull != NULL:
            if pull.expires_ns and (soonest == 0 or pull.expires_ns < soonest):
                soonest = pull.expires_ns
            if pull.heartbeat_ns and (soonest == 0 or pull.heartbeat_due_ns < soonest):
                soonest = pull.heartbeat_due_ns
            pull = pull.next
        return soonest

    def end_all(self):
        """Everybody's request ends (the consumer is deleted, the server stops); the caller knows the status.

        [(reply, account, messages left, bytes left)].
        """
        cdef Pull *pull
        ended = []
        while self.head != NULL:
            pull = self.head
            ended.append((pull.reply[: pull.reply_size], pull.account, pull.batch, pull.max_bytes))
            self.end(pull, END_DONE)
        return ended

    def drop_asker(self, uint64_t asker):
        """Whoever asked is gone: its requests end without a status; how many."""
        cdef Pull *pull = self.head
        cdef Pull *following
        cdef uint32_t dropped = 0
        while pull != NULL:
            following = pull.next
            if pull.asker == asker:
                self.end(pull, END_DONE)
                dropped += 1
            pull = following
        return dropped

    # --- for requests with groups, tests and tools ------------------------------------------------------

    def put(
        self,
        bytes reply,
        request,
        uint64_t pending,
        uint64_t now_ns,
        *,
        uint32_t account=0,
        uint64_t asker=0,
    ):
        """add() of a NextRequest; an AddAnswer as a number."""
        cdef Pull wish
        cdef bytes pin = request.id.encode()
        wish.reply = reply
        wish.reply_size = <uint32_t> len(reply)
        wish.account = account
        wish.asker = asker
        wish.batch = request.batch
        wish.max_bytes = request.max_bytes
        wish.expires_ns = now_ns + request.expires if request.expires else 0
        wish.heartbeat_ns = request.idle_heartbeat
        wish.heartbeat_due_ns = 0
        wish.min_pending = request.min_pending
        wish.min_ack_pending = request.min_ack_pending
        wish.delivered = 0
        wish.priority = request.priority if request.group else LOWEST_PRIORITY
        wish.no_wait = request.no_wait
        wish.has_group = bool(request.group)
        wish.pin = pin
        wish.pin_size = <uint32_t> len(pin)
        wish.next = wish.before = NULL
        return <int> self.add(&wish, pending, now_ns)

    def serve(self, int64_t size, int64_t num_pending, int64_t ack_pending, uint64_t now_ns):
        """take() and served() for Python: the reply, or None."""
        cdef Pull *pull = self.take(size, num_pending, ack_pending, now_ns)
        cdef bytes reply
        if pull == NULL:
            return None
        reply = pull.reply[: pull.reply_size]
        self.served(pull, now_ns)
        return reply

    def check(self, uint64_t now_ns, bint at_end):
        """expire() for Python; what ended or is due a heartbeat since the last call."""
        self.expire(now_ns, at_end)
        return self.take_ended()

    def take_ended(self):
        """`ended`, emptied."""
        ended = self.ended
        self.ended = []
        return ended

    def soonest(self):
        """next_due_ns() for Python."""
        return self.next_due_ns()

    def replies(self):
        """Whose requests wait, in order."""
        cdef Pull *pull = self.head
        found = []
        while pull != NULL:
            found.append(pull.reply[: pull.reply_size])
            pull = pull.next
        return found
