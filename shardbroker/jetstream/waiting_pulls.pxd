"""Pull requests that wait for messages, in the order in which they are served."""

cimport cython
from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t

cdef enum PullEnd:
    # Why a request ends (WaitingPulls.ended); the status line of each is in consumer_statuses.py.
    END_NONE = 0  # it does not: a heartbeat is due
    END_TIMEOUT = 1  # 408 Request Timeout, with the rest
    END_NO_MESSAGES = 2  # 404 No Messages
    END_TOO_LARGE = 3  # 409 Message Size Exceeds MaxBytes, with the rest
    END_BATCH_COMPLETED = 4  # 409 Batch Completed, with the rest
    END_WRONG_PIN = 5  # 423 Nats-Wrong-Pin-Id, with the rest
    END_NO_INTEREST = 6  # nobody listens: no status, unless the reply was mapped (408 Interest Expired)
    END_DONE = 7  # all it asked for was sent: no status

cdef enum:
    LOWEST_PRIORITY = 0x7FFFFFFF  # Pull.priority of a request without a group

cdef enum PullPolicy:
    PULLS_IN_TURN = 0
    PULLS_OVERFLOW = 1
    PULLS_PINNED = 2
    PULLS_PRIORITIZED = 3

cdef enum AddAnswer:
    PULL_ADDED = 0
    PULL_EXCEEDS_WAITING = 1  # 409 Exceeded MaxWaiting
    PULL_SILENTLY_LOST = 2  # the same for a request with heartbeats: no answer
    PULL_NO_MESSAGES = 3  # 404 No Messages
    PULL_REQUESTS_PENDING = 4  # 408 Requests Pending
    PULL_OUT_OF_MEMORY = 5

cdef struct Pull:
    uint8_t *reply  # owned
    uint32_t reply_size
    uint32_t account
    uint64_t asker  # whoever asked, in the host's terms (a connection); 0: not known
    int64_t batch  # messages left
    int64_t max_bytes  # bytes left; 0: no limit
    uint64_t expires_ns  # 0: never
    uint64_t heartbeat_ns  # 0: none
    uint64_t heartbeat_due_ns
    int64_t min_pending  # overflow: served from that many messages on; 0: not asked
    int64_t min_ack_pending
    uint32_t delivered  # messages sent
    uint32_t priority  # lower ones first (prioritized)
    bint no_wait
    bint has_group
    uint8_t *pin  # owned; the pin id that it named; NULL: none
    uint32_t pin_size
    Pull *next
    Pull *before

@cython.final
cdef class WaitingPulls:
    cdef Pull *head
    cdef Pull *tail
    cdef readonly uint32_t count
    cdef readonly uint32_t max_waiting
    cdef readonly uint64_t last_ns  # when the last one came, was served or ended: inactivity counts from here
    cdef readonly uint64_t requests  # that ever came, refused ones included
    cdef readonly uint64_t last_request_ns  # when the last of them came; 0: none ever
    cdef readonly bytes refusal  # header block with which that one was refused; b"": it was not
    cdef readonly PullEnd last_end  # how the last one that is gone has ended
    cdef PullPolicy policy
    cdef readonly bytes pinned  # id of the client that is served alone; b"": none
    cdef readonly uint64_t pinned_ns  # since when
    cdef uint64_t pin_timeout_ns
    cdef uint64_t pin_expires_ns
    cdef readonly uint64_t due_ns  # before that expire() has nothing to do; 0: never. May be too early
    cdef readonly list ended  # (PullEnd, reply, account, messages left, bytes left): statuses to send
    cdef readonly list pin_events  # ("pinned", id) and ("unpinned", reason): advisories to send
    cdef object new_pin  # makes ids: () -> bytes

    # A request; `pending` are the messages that could be sent now, redeliveries included.
    cdef AddAnswer add(self, const Pull *wish, uint64_t pending, uint64_t now_ns) noexcept
    # Who takes one message of that size; NULL: nobody. It is charged; `served` completes it. `num_pending`
    # counts this message, too.
    cdef Pull *take(
        self, int64_t size, int64_t num_pending, int64_t ack_pending, uint64_t now_ns
    ) noexcept
    # After the message was sent: a request that has got all is ended. The pull may not be used any more.
    cdef void served(self, Pull *pull, uint64_t now_ns) noexcept
    # Nobody listens to what take() gave: it is dropped (its charge does not matter then).
    cdef void lost_interest(self, Pull *pull) noexcept
    # End what expired and, with `at_end` (nothing to deliver), no_wait requests; heartbeats that are due.
    cdef void expire(self, uint64_t now_ns, bint at_end) noexcept
    cdef bint has_due(self, uint64_t now_ns) noexcept  # whether one has expired, or wants a heartbeat
    cdef uint64_t next_due_ns(self) noexcept  # when expire() has something to do, exactly; 0: never
    cdef void due_by(self, uint64_t at_ns) noexcept  # `due_ns` is that late at most; 0: no matter

    cdef void end(self, Pull *pull, PullEnd why) noexcept
    cdef void unlink(self, Pull *pull) noexcept
    cdef void insert(self, Pull *pull) noexcept
    cdef void cycle(self, Pull *pull) noexcept
    cdef int fits_pin(self, Pull *pull) noexcept
    cdef void pin_to(self, Pull *pull, uint64_t now_ns) noexcept
    cdef int64_t batches(self) noexcept
