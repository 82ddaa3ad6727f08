"""The state machine of one consumer: no I/O, no clock, and no Python object for a message or an
acknowledgement.

Numbers, as nats-server has them (spec 04 section 2): every delivery takes a consumer sequence; a pending
message keeps that of its first delivery, and new messages go out in order, so the order of sequences and
the order of first deliveries are one, and the ack floor lies before the first message that is pending.
When the last pending one is acknowledged the floor is where delivery is. A message that has reached
max_deliver is not pending any more and holds the floor all the same, until nothing is pending after an
acknowledgement or a purge passes it.

`num_pending` is counted once (count_on, in slices, from the counts of subjects where that is quicker), and
kept exact from then on: +1 for a stored message that matches, -1 for one that is delivered or goes. So a
consumer that is at the end knows it and never searches.

last_per_subject: the set of the chosen messages is made while counting. Up to `chosen_end` only they are
delivered; behind it every message that matches.

max_deliver: a message that is due again after its last delivery leaves the pending ones, and is remembered
as exhausted: it still counts for interest and workqueue streams until it is acknowledged or goes.

Dead letters: with a dead letter subject, such a message, and one that a client terminates, stays pending as
dead. It is delivered to nobody and takes no place of max_ack_pending, but holds the ack floor, and its
message in the stream, until it is stored elsewhere: finish_dead() (dead_entries.pyx) ends it.

What changes is written down as deltas (consumer_notes.pyx reads them). Messages that are gone are not:
whoever restores a consumer reconciles it with its stream.
"""

from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free, qsort
from libc.string cimport memset

from shardbroker.arrays cimport reserve
from shardbroker.jetstream.consumer_filter cimport ConsumerFilter
from shardbroker.jetstream.delta_writer cimport (
    DELTA_AGAIN,
    DELTA_ALL,
    DELTA_BURIED,
    DELTA_CLEARED,
    DELTA_DONE,
    DELTA_EXHAUSTED,
    DELTA_NEW,
    DELTA_PARDONED,
    DELTA_QUEUE,
    DELTA_RESET,
    DELTA_UNSENT,
    DELTA_WAIT,
    DeltaWriter,
)
from shardbroker.jetstream.message_count cimport MessageCount
from shardbroker.jetstream.pending_table cimport (
    IN_GRAVE,
    IN_GRAVE_BY_TERM,
    IN_QUEUE,
    NO_ENTRY,
    PendingEntry,
    PendingPlace,
    PendingTable,
)
from shardbroker.jetstream.sequence_set cimport SequenceSet
from shardbroker.jetstream.stream_state cimport StreamState
from shardbroker.jetstream.subject_table cimport SubjectEntry

# Consumer.events: what advisories are made of.
EVENT_MAX_DELIVERIES = "max_deliver"  # delivered as often as it may be, and not acknowledged
EVENT_GONE = "terminated"  # it was pending when it went from the stream
EVENT_LOST = "dead letter gone"  # likewise, as a dead letter that was not stored yet

cdef enum:
    SEARCH_SLICE = 20_000  # messages that next_delivery() looks at in one call, about 0.3 ms
    COUNT_SLICE = 20_000  # subjects or messages that a new consumer counts at once
    REASONS_MAX = 10_000  # of dead letters that wait; further ones go without the reason


cdef int by_size(const void *left, const void *right) noexcept nogil:
    cdef uint64_t a = (<const uint64_t *> left)[0], b = (<const uint64_t *> right)[0]
    return (a > b) - (a < b)


cdef class Consumer:
    """A new consumer, where its deliver policy says.

    `config` is a checked ConsumerConfig. `start_sequence` is what by_start_time was resolved to. With
    `keeps_finished` (interest and workqueue streams) done sequences are listed for removal. `restored` leaves
    everything to consumer_notes.restore(). Raises MemoryError.
    """

    def __init__(
        self,
        str name,
        config,
        StreamState state,
        uint64_t created_ns,
        *,
        uint64_t start_sequence=0,
        bint keeps_finished=False,
        bint restored=False,
    ):
        self.name = name
        self.state = state
        self.created_ns = created_ns
        self.keeps_finished = keeps_finished
        self.pending = PendingTable()
        self.counting = MessageCount(state)
        self.exhausted = SequenceSet()
        self.reasons = {}
        self.delta = DeltaWriter()
        self.events = []
        self.next_consumer_sequence = 1
        self.take_config(config)
        if restored:
            return
        self.position = max(self.start_of(config, start_sequence), 1)
        self.floor_stream = self.delivered_stream = self.position - 1
        if config.deliver_policy == "last_per_subject" and state.messages.count > state.subjects.count:
            self.counting.chosen_end = state.messages.last
        self.recount(self.counting.chosen_end != 0)

    def __dealloc__(self):
        free(self.backoff_ns)
        free(self.finished)

    cdef uint64_t start_of(self, config, uint64_t start_sequence):
        """The sequence to begin with (spec 02 section 4)."""
        cdef uint64_t first = self.state.messages.first, last = self.state.messages.last, start = first
        cdef uint32_t i
        policy = config.deliver_policy
        if config.opt_start_seq:
            return max(config.opt_start_seq, first)
        if policy == "new":
            start = last + 1
        elif policy == "last":
            start = last if self.filter.count == 0 else 0
            for i in range(self.filter.count):
                start = max(
                    start, self.state.last_on(self.filter.patterns[i].text, self.filter.patterns[i].size)
                )
        elif policy == "by_start_time":
            start = start_sequence
        return min(max(start, first), last + 1)

    def take_config(self, config):
        """The configuration, new or changed; with other filters everything is counted anew.

        Pause is not part of it: see pause().
        """
        cdef uint32_t i
        texts = list(config.filter_subjects or ())
        if config.filter_subject:
            texts.append(config.filter_subject)
        filters = tuple(text.encode() for text in texts)
        self.config = config
        self.policy = {
            "none": POLICY_NONE, "all": POLICY_ALL, "explicit": POLICY_EXPLICIT,
            "flow_control": POLICY_FLOW_CONTROL,
        }[config.ack_policy]
        self.max_ack_pending = max(config.max_ack_pending, 0)
        self.max_deliver = max(config.max_deliver, 0)
        self.ack_wait_ns = config.ack_wait
        free(self.backoff_ns)
        self.backoff_count = 0
        backoff = config.backoff or ()
        self.backoff_ns = <uint64_t *> calloc(len(backoff) + 1, sizeof(uint64_t))
        if self.backoff_ns == NULL:
            raise MemoryError("no memory for the back-off of a consumer")
        for i in range(len(backoff)):
            self.backoff_ns[i] = backoff[i]
        self.backoff_count = <uint32_t> len(backoff)
        if self.filter is None:
            self.filter = ConsumerFilter(filters, self.state)
        elif self.filter.texts != filters:
            self.filter = ConsumerFilter(filters, self.state)
            self.counting.stop()
            self.recount()
        self.keeps_dead = self.policy != POLICY_NONE and bool(config.dead_letter_subject)
        if self.pending.dead:
            self.dead_news = self.keeps_dead
            if not self.keeps_dead:
                self.give_back_dead()

    @property
    def num_ack_pending(self):
        """Messages that were delivered and not acknowledged; dead letters do not count."""
        return self.pending.expected()

    @property
    def num_dead(self):
        """Dead letters that are not stored yet."""
        return self.pending.dead

    @property
    def num_redelivered(self):
        """Messages that were delivered more than once; nats-server never counts those of max_deliver 1."""
        return 0 if self.max_deliver == 1 else self.redelivered

    def pause(self, uint64_t until_ns):
        """Deliver nothing before this wall clock time; 0 resumes."""
        self.paused_until_ns = until_ns

    def reset(self, uint64_t sequence):
        """Begin anew with this sequence: nothing is pending, consumer sequences begin at 1."""
        self.pending.clear()
        self.exhausted.clear()
        self.reasons.clear()
        self.counting.stop()
        self.redelivered = 0
        self.position = max(sequence, 1)
        self.floor_stream = self.delivered_stream = self.position - 1
        self.next_consumer_sequence = 1
        self.floor_consumer = 0
        self.delta.put(DELTA_RESET, self.position)
        self.recount()

    # --- counting ---------------------------------------------------------------------------------------

    def recount(self, bint choose=False):
        """Count num_pending anew, a first slice at once. Nothing is delivered before it is done.

        `choose`: find the last message of each subject, too.
        """
        self.is_counted = False
        self.counting.begin(self.filter, self.position, choose)
        self.count_on()

    def count_on(self, uint32_t most=COUNT_SLICE):
        """Count `most` subjects or messages more; True when num_pending is exact: delivery may begin."""
        cdef uint64_t chosen
        if not self.is_counted:
            self.is_counted = self.counting.go_on(most)
            self.num_pending = self.counting.total
            chosen = self.counting.chosen.next_from(self.position)
            if self.is_counted and self.counting.choosing and chosen > self.position:
                # last_per_subject begins with the first message that was chosen.
                self.position = chosen
                self.floor_stream = self.delivered_stream = chosen - 1
        return bool(self.is_counted)

    # --- the stream -------------------------------------------------------------------------------------

    cdef void stored(self, uint64_t sequence, SubjectEntry *subject) noexcept:
        self.counting.stored(sequence, subject, self.position)
        self.num_pending = self.counting.total

    cdef void removing(self, uint64_t sequence, SubjectEntry *subject) noexcept:
        cdef uint32_t index
        self.counting.removing(sequence, subject, self.position)
        self.num_pending = self.counting.total
        if sequence >= self.position:
            return
        if self.exhausted.count and self.exhausted.remove(sequence):
            self.redelivered -= 1
            self.delta.put(DELTA_PARDONED, sequence)
        index = self.pending.find(sequence)
        if index != NO_ENTRY:
            self.events.append((
                EVENT_LOST if self.pending.is_dead(index) else EVENT_GONE,
                sequence,
                self.pending.entries[index].consumer_sequence,
                self.pending.entries[index].deliveries,
            ))
            self.finish(index, False)

    cdef void cleared(self) noexcept:
        self.pending.clear()
        self.exhausted.clear()
        self.reasons.clear()
        self.counting.stop()
        self.redelivered = self.num_pending = 0
        self.is_counted = True
        self.position = max(self.position, self.state.messages.last + 1)
        self.floor_stream = self.delivered_stream = self.position - 1
        self.floor_consumer = self.next_consumer_sequence - 1
        self.delta.put(DELTA_CLEARED, self.position)

    def purged(self):
        """After a purge of all subjects: delivery goes on with what is left, and says so."""
        self.position = max(self.position, self.state.messages.first)
        self.delivered_stream = max(self.delivered_stream, self.position - 1)
        if self.floor_stream < self.state.messages.first - 1:
            self.floor_stream = self.state.messages.first - 1
            self.move_floor()
        elif self.pending.count == 0:
            self.move_floor()

    cdef bint needs(self, uint64_t sequence, SubjectEntry *subject) noexcept:
        cdef bint open
        cdef uint32_t index = NO_ENTRY
        if self.pending.count and self.policy != POLICY_NONE:
            index = self.pending.find(sequence)
            if index != NO_ENTRY and self.pending.is_dead(index):
                return True  # whatever the filter says by now: it is on its way as a dead letter
        if not self.filter.matches(subject):
            return False
        if sequence >= self.position:
            open = (
                not self.is_counted
                or sequence > self.counting.chosen_end
                or self.counting.chosen.has(sequence)
            )
        elif self.policy == POLICY_NONE:
            open = sequence > self.floor_stream
        else:
            open = sequence > self.floor_stream and index != NO_ENTRY
        return open or self.exhausted.has(sequence)

    # --- delivering -------------------------------------------------------------------------------------

    cdef bint next_delivery(self, uint64_t now_ns, Delivery *out) noexcept:
        out.sequence = 0
        self.standstill = STANDS_NOT
        if not self.is_counted:
            self.standstill = COUNTING
            return False
        if now_ns < self.paused_until_ns:
            self.standstill = PAUSED
            return False
        if self.pending.queued and self.next_redelivery(now_ns, out):
            return True
        if self.num_pending == 0:
            # Nothing that matches is left; a start in the future stays where it is.
            self.position = max(self.position, self.state.messages.last + 1)
            self.standstill = AT_THE_END
            return False
        if self.is_full():
            self.standstill = ACK_PENDING_FULL
            return False
        out.sequence = self.next_new()
        if out.sequence == 0:
            return False
        out.deliveries = 1
        out.consumer_sequence = self.next_consumer_sequence
        out.pending = self.num_pending - 1
        return True

    cdef bint next_redelivery(self, uint64_t now_ns, Delivery *out) noexcept:
        """The message that is due again first. Those that reached max_deliver leave."""
        cdef uint32_t index = self.pending.next_queued()
        while index != NO_ENTRY:
            if self.max_deliver == 0 or self.pending.entries[index].deliveries < self.max_deliver:
                out.sequence = self.pending.entries[index].sequence
                out.deliveries = self.pending.entries[index].deliveries + 1
                out.consumer_sequence = self.next_consumer_sequence
                out.pending = self.num_pending
                return True
            self.give_up(index, now_ns)
            index = self.pending.next_queued()
        return False

    cdef uint64_t next_new(self) noexcept:
        """The next message that matches; 0: none yet (`standstill` says why). Moves over others."""
        cdef uint64_t at = self.position, sequence
        if self.position <= self.counting.chosen_end:
            sequence = self.counting.chosen.next_from(self.position)
            if sequence:
                self.position = sequence
                return sequence
            at = self.position = self.counting.chosen_end + 1
        sequence = self.filter.search(self.state, &at, SEARCH_SLICE)
        self.position = at
        if sequence == 0:
            self.standstill = SEARCHING
            if at > self.state.messages.last:
                self.num_pending = self.counting.total = 0
                self.standstill = AT_THE_END
        return sequence

    cdef int mark_delivered(self, const Delivery *delivery, uint64_t now_ns) noexcept:
        cdef uint32_t index
        cdef PendingEntry *entry
        if delivery.deliveries > 1:
            index = self.pending.find(delivery.sequence)
            if index == NO_ENTRY:
                # It was acknowledged while it was sent: to its own ack subject.
                self.next_consumer_sequence += 1
                return 0
            entry = &self.pending.entries[index]
            self.redelivered += entry.deliveries == 1
            self.delta.put_timed(DELTA_AGAIN, delivery.sequence, now_ns)
        else:
            if self.policy == POLICY_NONE:
                self.floor_consumer = self.next_consumer_sequence
                self.floor_stream = delivery.sequence
                self.note_finished(delivery.sequence)
                index = NO_ENTRY
            else:
                index = self.pending.add(delivery.sequence, self.next_consumer_sequence)
                if index == NO_ENTRY:
                    self.standstill = OUT_OF_MEMORY
                    return -1
                entry = &self.pending.entries[index]
                entry.deliveries = 0
                self.delta.put_timed(DELTA_NEW, delivery.sequence, now_ns)
            self.position = delivery.sequence + 1
            self.delivered_stream = delivery.sequence
            self.counting.total -= 1
            self.num_pending = self.counting.total
            if delivery.sequence <= self.counting.chosen_end:
                self.counting.chosen.remove(delivery.sequence)
        self.next_consumer_sequence += 1
        if index == NO_ENTRY:
            return 0
        entry.deliveries += 1
        entry.delivered_ns = now_ns
        if self.policy == POLICY_FLOW_CONTROL:
            self.pending.leave(index)
            return 0  # nothing is sent again: there is no ack_wait
        if self.pending.wait_until(index, self.deadline(entry.deliveries, now_ns)) < 0:
            self.pending.enqueue(index, False)
        return 0

    cdef uint64_t deadline(self, uint64_t deliveries, uint64_t now_ns) noexcept:
        """When a message that was delivered that often is due again."""
        if self.backoff_count:
            return now_ns + self.backoff_ns[min(deliveries, <uint64_t> self.backoff_count) - 1]
        return now_ns + self.ack_wait_ns

    cdef void undelivered(self, uint64_t sequence) noexcept:
        cdef uint32_t index = self.pending.find(sequence)
        if index == NO_ENTRY or self.pending.is_dead(index):
            return
        if self.pending.entries[index].deliveries > 1:
            self.pending.entries[index].deliveries -= 1
            self.redelivered -= self.pending.entries[index].deliveries == 1
        self.pending.enqueue(index, True)
        self.delta.put(DELTA_UNSENT, sequence)

    cdef bint has_work(self, uint64_t now_ns) noexcept:
        if not self.is_counted or now_ns < self.paused_until_ns:
            return False
        return self.pending.queued or (self.num_pending and not self.is_full())

    cdef bint is_full(self) noexcept:
        """Whether nothing new may go out before something is acknowledged."""
        return (
            self.max_ack_pending != 0
            and self.policy != POLICY_NONE
            and self.pending.expected() >= self.max_ack_pending
        )

    # --- acknowledgements -------------------------------------------------------------------------------

    cdef void ack(self, uint64_t sequence, uint64_t consumer_sequence, AckOutcome *out) noexcept:
        cdef uint32_t index
        memset(out, 0, sizeof(AckOutcome))
        if sequence == 0 or sequence >= self.position:
            return
        out.answer = True
        if self.policy == POLICY_NONE:
            # nats-server answers only where an acknowledgement may remove something.
            out.answer = self.keeps_finished
            return
        if self.policy != POLICY_EXPLICIT:
            self.ack_all(sequence, consumer_sequence, out)
            return
        if self.exhausted.count and self.exhausted.remove(sequence):
            self.redelivered -= 1
            self.note_finished(sequence)
            self.delta.put(DELTA_PARDONED, sequence)
            out.changed = True
            return
        index = self.pending.find(sequence)
        if index == NO_ENTRY:
            return
        if self.pending.is_dead(index):
            out.dead = True  # too late
            return
        self.describe(index, out)
        self.finish(index, True)

    cdef void describe(self, uint32_t index, AckOutcome *out) noexcept:
        """What an acknowledgement has changed."""
        cdef PendingEntry *entry = &self.pending.entries[index]
        out.changed = True
        out.consumer_sequence = entry.consumer_sequence
        out.deliveries = entry.deliveries
        out.delivered_ns = entry.delivered_ns

    cdef void ack_all(self, uint64_t sequence, uint64_t consumer_sequence, AckOutcome *out) noexcept:
        """Everything up to a sequence, but for dead letters. A floor never falls."""
        cdef uint32_t index, after
        cdef uint64_t member
        if sequence <= self.floor_stream or consumer_sequence == 0 or (
            consumer_sequence >= self.next_consumer_sequence
        ):
            return
        index = self.pending.find(sequence)
        if index != NO_ENTRY:
            self.describe(index, out)
        out.changed = True
        self.delta.put(DELTA_ALL, sequence)
        self.delta.put_number(consumer_sequence)
        index = self.pending.first
        while index != NO_ENTRY and self.pending.entries[index].sequence <= sequence:
            after = self.pending.entries[index].after
            if not self.pending.is_dead(index):
                self.note_finished(self.pending.entries[index].sequence)
                self.redelivered -= self.pending.entries[index].deliveries > 1
                self.pending.remove(index)
            index = after
        member = self.exhausted.next_from(1)
        while member and member <= sequence:
            self.exhausted.remove(member)
            self.redelivered -= 1
            self.note_finished(member)
            member = self.exhausted.next_from(member + 1)
        if self.pending.count:
            consumer_sequence = min(
                consumer_sequence, self.pending.entries[self.pending.first].consumer_sequence - 1
            )
            sequence = min(sequence, self.pending.entries[self.pending.first].sequence - 1)
        self.floor_consumer = max(self.floor_consumer, consumer_sequence)
        self.floor_stream = max(self.floor_stream, sequence)

    cdef void nak(
        self,
        uint64_t sequence,
        uint64_t consumer_sequence,
        int64_t delay_ns,
        uint64_t now_ns,
        AckOutcome *out,
    ) noexcept:
        cdef uint32_t index
        cdef PendingEntry *entry
        memset(out, 0, sizeof(AckOutcome))
        out.answer = sequence != 0
        if consumer_sequence <= self.floor_consumer or consumer_sequence > self.next_consumer_sequence:
            return
        index = self.pending.find(sequence)
        if index == NO_ENTRY or self.pending.is_dead(index):
            return
        entry = &self.pending.entries[index]
        self.describe(index, out)
        if self.keeps_dead and delay_ns <= 0 and self.max_deliver and entry.deliveries >= self.max_deliver:
            self.give_up(index, now_ns)  # nobody has to ask for messages before it goes
        elif delay_ns > 0 and self.pending.wait_until(index, now_ns + <uint64_t> delay_ns) == 0:
            self.delta.put_timed(DELTA_WAIT, sequence, entry.deadline_ns)
        elif entry.place != IN_QUEUE:
            self.pending.enqueue(index, False)
            self.delta.put(DELTA_QUEUE, sequence)

    cdef void progress(self, uint64_t sequence, uint64_t now_ns, AckOutcome *out) noexcept:
        cdef uint32_t index = self.pending.find(sequence)
        cdef PendingEntry *entry
        memset(out, 0, sizeof(AckOutcome))
        out.answer = sequence != 0
        if index == NO_ENTRY or self.pending.is_dead(index):
            return
        entry = &self.pending.entries[index]
        self.describe(index, out)
        if entry.place != IN_QUEUE:
            if self.pending.wait_until(index, self.deadline(entry.deliveries, now_ns)) < 0:
                self.pending.enqueue(index, False)
            self.delta.put_timed(DELTA_WAIT, sequence, entry.deadline_ns)

    cdef void term(
        self,
        uint64_t sequence,
        uint64_t consumer_sequence,
        uint64_t now_ns,
        const uint8_t *reason,
        uint32_t reason_size,
        AckOutcome *out,
    ) noexcept:
        cdef uint32_t index = self.pending.find(sequence) if self.keeps_dead else NO_ENTRY
        cdef AckOutcome below
        if index == NO_ENTRY:
            self.ack(sequence, consumer_sequence, out)
            return
        memset(out, 0, sizeof(AckOutcome))
        out.answer = out.dead = True
        if self.pending.is_dead(index):
            return
        self.describe(index, out)
        self.bury(index, IN_GRAVE_BY_TERM, now_ns, reason, reason_size)
        if self.policy != POLICY_EXPLICIT:
            self.ack_all(sequence, consumer_sequence, &below)

    cdef void finish(self, uint32_t index, bint by_client) noexcept:
        """A pending message is done with, or gone."""
        cdef uint64_t sequence = self.pending.entries[index].sequence
        cdef uint64_t number = self.pending.entries[index].consumer_sequence
        self.redelivered -= self.pending.entries[index].deliveries > 1
        if self.pending.entries[index].place == IN_GRAVE_BY_TERM:
            self.reasons.pop(sequence, None)
        self.delta.put(DELTA_DONE, sequence)
        if by_client:
            self.note_finished(sequence)
        self.pending.remove(index)
        if self.pending.count == 0 or number == self.floor_consumer + 1:
            self.move_floor()

    cdef void give_up(self, uint32_t index, uint64_t now_ns) noexcept:
        """A pending message was delivered as often as it may be."""
        cdef PendingEntry *entry = &self.pending.entries[index]
        self.events.append((EVENT_MAX_DELIVERIES, entry.sequence, entry.consumer_sequence, entry.deliveries))
        if self.keeps_dead:
            self.bury(index, IN_GRAVE, now_ns, NULL, 0)
        else:
            self.exhaust(index)

    cdef void bury(
        self,
        uint32_t index,
        PendingPlace place,
        uint64_t died_ns,
        const uint8_t *reason,
        uint32_t reason_size,
    ) noexcept:
        """A pending message is a dead letter from now on."""
        cdef uint64_t sequence = self.pending.entries[index].sequence
        reason_size = min(reason_size, <uint32_t> REASON_SIZE_MAX)
        self.pending.bury(index, place, died_ns)
        if reason_size and len(self.reasons) < REASONS_MAX:
            self.reasons[sequence] = reason[:reason_size]
        self.delta.put_timed(DELTA_BURIED, sequence, died_ns)
        self.delta.put_number(place == IN_GRAVE_BY_TERM)
        self.delta.put_text(reason, reason_size)
        self.dead_news = True
        self.last_died_ns = max(self.last_died_ns, died_ns)

    cdef void give_back_dead(self) noexcept:
        """There is no dead letter subject any more: dead letters become what they would be without one."""
        cdef uint32_t index = self.pending.next_dead()
        while index != NO_ENTRY:
            if self.pending.entries[index].place == IN_GRAVE_BY_TERM:
                self.finish(index, True)
            else:
                self.exhaust(index)
            index = self.pending.next_dead()

    cdef void exhaust(self, uint32_t index) noexcept:
        """It was delivered as often as it may be, and nobody takes it. The floor stays before it."""
        cdef PendingEntry *entry = &self.pending.entries[index]
        cdef uint64_t sequence = entry.sequence
        self.redelivered += entry.deliveries == 1
        self.exhausted.add(sequence)
        self.delta.put(DELTA_EXHAUSTED, sequence)
        self.pending.remove(index)

    cdef void move_floor(self) noexcept:
        """To before the first pending message, or to where delivery is."""
        cdef PendingEntry *entry
        if self.pending.count == 0:
            self.floor_consumer = self.next_consumer_sequence - 1
            self.floor_stream = max(self.floor_stream, self.delivered_stream)
        else:
            entry = &self.pending.entries[self.pending.first]
            self.floor_consumer = max(self.floor_consumer, entry.consumer_sequence - 1)
            self.floor_stream = max(self.floor_stream, entry.sequence - 1)

    cdef void note_finished(self, uint64_t sequence) noexcept:
        cdef void *grown
        if not self.keeps_finished:
            return
        grown = reserve(
            self.finished, self.finished_count, 1, &self.finished_capacity, sizeof(uint64_t)
        )
        if grown != NULL:
            self.finished = <uint64_t *> grown
            self.finished[self.finished_count] = sequence
            self.finished_count += 1

    # --- time -------------------------------------------------------------------------------------------

    cdef uint32_t due(self, uint64_t now_ns) noexcept:
        cdef uint32_t index = self.pending.take_due(now_ns), count = 0, capacity = 0, i
        cdef uint64_t *sequences = NULL
        cdef void *grown
        while index != NO_ENTRY:
            if self.max_deliver and self.pending.entries[index].deliveries >= self.max_deliver:
                self.give_up(index, now_ns)
            else:
                grown = reserve(sequences, count, 1, &capacity, sizeof(uint64_t))
                if grown == NULL:
                    self.pending.enqueue(index, False)  # in the order of deadlines, then
                else:
                    sequences = <uint64_t *> grown
                    sequences[count] = self.pending.entries[index].sequence
                    count += 1
            index = self.pending.take_due(now_ns)
        if count:
            qsort(sequences, count, sizeof(uint64_t), by_size)
        for i in range(count):
            self.pending.enqueue(self.pending.find(sequences[i]), False)
            self.delta.put(DELTA_QUEUE, sequences[i])
        free(sequences)
        return count

    cdef uint64_t next_due_ns(self) noexcept:
        return self.pending.next_deadline()
