"""One consumer: where it stands, what it has sent and waits for, and what it sends next.

How the owner of a stream drives it, in one turn:

    while consumer.next_delivery(now_ns, &delivery):   # nothing changes yet: it may be asked again
        (find somebody who takes it, or stop)
        consumer.mark_delivered(&delivery, now_ns)     # now it is sent
    note = consumer.take_delta()                       # staged before what was sent leaves for sockets

A consumer hears of stored and removed messages from its ConsumerSet, which watches the stream state.
"""

cimport cython
from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t

from shardbroker.jetstream.consumer_filter cimport ConsumerFilter
from shardbroker.jetstream.delta_writer cimport DeltaWriter
from shardbroker.jetstream.message_count cimport MessageCount
from shardbroker.jetstream.pending_table cimport PendingPlace, PendingTable
from shardbroker.jetstream.sequence_set cimport SequenceSet
from shardbroker.jetstream.stream_state cimport StreamState
from shardbroker.jetstream.subject_table cimport SubjectEntry

cdef struct Delivery:
    uint64_t sequence  # of the message in its stream; 0: nothing
    uint64_t consumer_sequence  # of this delivery
    uint64_t deliveries  # of this message, this one included
    uint64_t pending  # messages that are to come after this one: of the reply subject

cdef enum AckPolicy:
    POLICY_NONE = 0
    POLICY_ALL = 1
    POLICY_EXPLICIT = 2
    POLICY_FLOW_CONTROL = 3  # like POLICY_ALL, by answers to flow control; nothing is sent again

cdef enum Standstill:
    # Why next_delivery() has nothing (Consumer.standstill).
    STANDS_NOT = 0
    AT_THE_END = 1  # all that matches was delivered
    ACK_PENDING_FULL = 2  # max_ack_pending is reached
    PAUSED = 3
    COUNTING = 4  # count_on() is not done yet
    SEARCHING = 5  # the slice is over: ask again next turn
    OUT_OF_MEMORY = 6

cdef enum:
    REASON_SIZE_MAX = 1024  # bytes that are kept of what a client says when it terminates a message

cdef struct AckOutcome:
    bint answer  # an acknowledgement with a reply subject is answered
    bint changed  # it had an effect: a delta is there; advisories and metrics are due
    bint dead  # the message is a dead letter: answered once that is stored, not earlier
    uint64_t consumer_sequence  # of the message's first delivery
    uint64_t deliveries  # of it so far
    uint64_t delivered_ns  # when it was delivered the last time

@cython.final
cdef class Consumer:
    cdef:
        readonly str name
        readonly object config  # ConsumerConfig, or what has its fields
        readonly uint64_t created_ns  # wall clock
        readonly StreamState state
        ConsumerFilter filter
        PendingTable pending
        MessageCount counting
        SequenceSet exhausted  # reached max_deliver and were not acknowledged
        dict reasons  # sequence -> bytes: why clients have terminated dead letters
        bint keeps_dead  # there is a dead letter subject: what dies stays pending until it is stored there
        bint dead_news  # there are dead letters to look at
        readonly uint64_t last_died_ns  # when the newest dead letter died, wall clock
        DeltaWriter delta
        readonly AckPolicy policy
        readonly uint64_t position  # next sequence to look at
        readonly uint64_t delivered_stream  # delivered.stream_seq: the last one sent, or passed by a purge
        readonly uint64_t next_consumer_sequence  # delivered.consumer_seq is one less
        readonly uint64_t floor_stream  # ack_floor.stream_seq
        readonly uint64_t floor_consumer  # ack_floor.consumer_seq
        readonly uint64_t num_pending  # messages that match and were not delivered; exact once is_counted
        uint64_t redelivered  # pending messages that were delivered again, and exhausted ones
        readonly uint64_t paused_until_ns  # wall clock; 0: not paused
        uint64_t max_ack_pending  # 0: no limit, like the next one
        uint64_t max_deliver
        uint64_t ack_wait_ns
        uint64_t *backoff_ns
        uint32_t backoff_count
        readonly Standstill standstill
        readonly bint is_counted
        bint keeps_finished  # the stream removes what is acknowledged: `finished` is filled
        uint64_t *finished  # sequences that this consumer has done with since forget_finished()
        uint32_t finished_count
        uint32_t finished_capacity
        readonly list events  # (kind, sequence, consumer sequence, deliveries): EVENT_... of consumer.pyx
        # what the last delta said, see consumer_notes.pyx
        uint64_t noted_position
        uint64_t noted_consumer_sequence
        uint64_t noted_floor_stream
        uint64_t noted_floor_consumer
        uint64_t noted_delivered_stream

    # --- delivering
    # What is to be sent next: redeliveries that are due, then new messages. False: nothing, see `standstill`.
    cdef bint next_delivery(self, uint64_t now_ns, Delivery *out) noexcept
    # What next_delivery() has just said was sent. -1: no memory, it must not be sent.
    cdef int mark_delivered(self, const Delivery *delivery, uint64_t now_ns) noexcept
    # A delivery that could not be sent: it is due again, first of all.
    cdef void undelivered(self, uint64_t sequence) noexcept
    # Whether next_delivery() may have something without a search (to wake up waiting pulls).
    cdef bint has_work(self, uint64_t now_ns) noexcept
    cdef bint is_full(self) noexcept

    # --- acknowledgements; numbers as the reply subject has them. Wrong and old ones change nothing.
    cdef void ack(self, uint64_t sequence, uint64_t consumer_sequence, AckOutcome *out) noexcept
    # delay 0: at once
    cdef void nak(
        self,
        uint64_t sequence,
        uint64_t consumer_sequence,
        int64_t delay_ns,
        uint64_t now_ns,
        AckOutcome *out,
    ) noexcept
    cdef void progress(self, uint64_t sequence, uint64_t now_ns, AckOutcome *out) noexcept
    cdef void term(
        self,
        uint64_t sequence,
        uint64_t consumer_sequence,
        uint64_t now_ns,
        const uint8_t *reason,
        uint32_t reason_size,
        AckOutcome *out,
    ) noexcept

    # --- time
    # Ack waits that are over by now become redeliveries, in order of sequences; how many.
    cdef uint32_t due(self, uint64_t now_ns) noexcept
    cdef uint64_t next_due_ns(self) noexcept  # when due() has something to do; 0: never

    # --- the stream (called by ConsumerSet)
    cdef void stored(self, uint64_t sequence, SubjectEntry *subject) noexcept
    cdef void removing(self, uint64_t sequence, SubjectEntry *subject) noexcept
    cdef void cleared(self) noexcept
    # Whether this consumer still wants a message of an interest or workqueue stream.
    cdef bint needs(self, uint64_t sequence, SubjectEntry *subject) noexcept

    # --- private
    cdef bint next_redelivery(self, uint64_t now_ns, Delivery *out) noexcept
    cdef uint64_t next_new(self) noexcept
    cdef uint64_t start_of(self, config, uint64_t start_sequence)
    cdef uint64_t deadline(self, uint64_t deliveries, uint64_t now_ns) noexcept
    cdef void describe(self, uint32_t entry, AckOutcome *out) noexcept
    cdef void finish(self, uint32_t entry, bint by_client) noexcept
    cdef void give_up(self, uint32_t entry, uint64_t now_ns) noexcept
    cdef void exhaust(self, uint32_t entry) noexcept
    cdef void bury(
        self,
        uint32_t entry,
        PendingPlace place,
        uint64_t died_ns,
        const uint8_t *reason,
        uint32_t reason_size,
    ) noexcept
    cdef void give_back_dead(self) noexcept
    cdef void move_floor(self) noexcept
    cdef void note_finished(self, uint64_t sequence) noexcept
    cdef void ack_all(self, uint64_t sequence, uint64_t consumer_sequence, AckOutcome *out) noexcept
