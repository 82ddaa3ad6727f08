"""Runs the consumers of this worker's streams: what comes in for them, whose turn it is, what is noted.

    pull, ack, flow answer ─► take ─┐
    message applied ────────► changed ─► ready ─► deliver(), once a turn ─► router
    time ───────────► fire, tick ───┘                 └─► notes, staged in the stream's log

Nothing is sent while a message is being taken. How changes are noted stands in consumer_noting.pyx.

What is due at a time (redeliveries, expiries, heartbeats) is done then: each consumer knows its next one
(`due_ns`), the worker sleeps no longer than until the first of them, and who is due is found by looking
through all. A heap of them lost: it would be touched with every message.

Advisories and metrics are made of events once a turn, by consumer_keeping.py, if anybody listens.
"""

from libc.stdint cimport uint32_t, uint64_t

from shardbroker.jetstream.ack_tokens cimport (
    ACK_NAK,
    ACK_NEXT,
    ACK_OK,
    ACK_PROGRESS,
    ACK_TERM,
    AckPlace,
    AckWord,
    read_ack_subject,
    read_ack_word,
)
from shardbroker.jetstream.consumer cimport POLICY_EXPLICIT, POLICY_FLOW_CONTROL, AckOutcome, Consumer
from shardbroker.routing.delivery_target cimport DeliveryTarget
from shardbroker.routing.router cimport PublishView
from shardbroker.workers.hosted cimport SERVICE_ACK, SERVICE_NEXT, Hosted
from shardbroker.workers.hosted_consumer cimport HostedConsumer

from shardbroker.jetstream.dead_entries import finish_dead
from shardbroker.jetstream.header_block import get as header_of

cdef enum:
    LOOK_NS = 250_000_000  # how often the interest of those who wait is looked at
    COUNT_SLICE = 20_000  # messages or subjects that are counted in one go
    # Looking through all consumers takes some 20 ns for each. It is done when one is due, once in this time
    # for each of them at most: a hundred may be 1 ms late, a thousand 10 ms, for less than 1 % of a core.
    FIRE_GAP_NS = 10_000
    DIGITS_MAX = 18  # of a sequence in a header
    DEAD_REPLIES_MAX = 10_000  # dead letters of a consumer for which clients wait
    REPLIES_OF_ONE_MAX = 4  # clients that wait for the same one


cdef inline uint64_t earlier(uint64_t left, uint64_t right) noexcept nogil:
    """Of two times; 0 stands for never."""
    if left == 0 or (right and right < left):
        return right
    return left


cdef class ConsumerHost(ConsumerNoting):
    """`host` has the streams. `keeper` is set before the first consumer comes."""

    def __init__(self, host, log):
        super().__init__(host, log)
        self.consumers = []
        self.ready = []
        self.streams = []
        self.noting = []
        self.gone = []
        self.told = []
        self.dying = []

    def set_keeper(self, keeper):
        """consumer_keeping.ConsumerKeeper: stages snapshots, tells events, ends who is not used."""
        self.keeper = keeper

    def attach(self, Consumer consumer not None, Hosted hosted not None, new_pin, burst_size):
        """Run a consumer from now on; its HostedConsumer. Nothing comes in for it yet.

        `burst_size`: bytes that a rate limit lets pass at once.
        """
        index = next((i for i, other in enumerate(self.consumers) if other is None), len(self.consumers))
        one = HostedConsumer(consumer, hosted, index, self.host.wall_ns(), new_pin, burst_size)
        if index == len(self.consumers):
            self.consumers.append(one)
        else:
            self.consumers[index] = one
        hosted.consumers.add(consumer)
        hosted.attached.append(one)
        return one

    def detach(self, HostedConsumer one not None):
        """The consumer has ended; nothing comes in for it any more."""
        one.is_gone = True
        one.hosted.consumers.discard(one.name)
        if one in one.hosted.attached:
            one.hosted.attached.remove(one)
        self.consumers[one.index] = None
        self.gone.append(one)

    def retain(self, Hosted hosted not None, str retention):
        """The stream keeps its messages in another way from now on."""
        cdef HostedConsumer one
        hosted.consumers.interest = retention == "interest"
        hosted.consumers.workqueue = retention == "workqueue"
        for one in hosted.attached:
            one.consumer.keeps_finished = retention != "limits"

    def wake(self, HostedConsumer one not None):
        """Look at a consumer in the next turn."""
        self.activate(one)
        self.note_due(one.hosted)
        self.host.pressing = True

    # --- coming in --------------------------------------------------------------------------------------

    cdef void take(self, DeliveryTarget *target, PublishView *view) noexcept:
        cdef HostedConsumer one
        cdef uint64_t wall_ns = self.host.now_ns + self.host.wall_offset_ns
        cdef uint32_t header_size = <uint32_t> view.header_size if view.header_size > 0 else 0
        if target.service_index >= <uint32_t> len(self.consumers):
            return
        found = self.consumers[target.service_index]
        if found is None:
            return
        one = <HostedConsumer> found
        if target.service == SERVICE_NEXT:
            self.take_request(
                one, view.reply, view.reply_size, view.payload, header_size, view.payload + header_size,
                view.payload_size - header_size, wall_ns,
            )
        elif target.service == SERVICE_ACK:
            self.take_ack(one, view, wall_ns)
        else:
            self.take_flow(one, view)
        self.activate(one)

    cdef void take_ack(self, HostedConsumer one, PublishView *view, uint64_t wall_ns) noexcept:
        """An acknowledgement; those of other deliveries than there were change nothing."""
        cdef AckPlace place
        cdef AckWord word
        cdef AckOutcome outcome
        cdef uint32_t header_size = <uint32_t> view.header_size if view.header_size > 0 else 0
        if not read_ack_subject(view.subject, view.subject_size, &place):
            return
        read_ack_word(view.payload + header_size, view.payload_size - header_size, &word)
        one.active_ns = wall_ns
        self.apply_ack(one, &place, &word, &outcome, wall_ns)
        if outcome.changed and not one.hosted.owes_notes:
            self.note_due(one.hosted)
        if word.verb == ACK_NEXT:
            self.take_request(
                one, view.reply, view.reply_size, NULL, 0, word.argument, word.argument_size, wall_ns
            )
        elif outcome.answer and view.reply_size:
            if outcome.dead:
                self.owe_later(one, place.stream_seq, view)
            else:
                self.owe(one.hosted, view.account, view.reply, view.reply_size)

    cdef void apply_ack(
        self,
        HostedConsumer one,
        const AckPlace *place,
        const AckWord *word,
        AckOutcome *outcome,
        uint64_t wall_ns,
    ) noexcept:
        cdef uint64_t sequence = place.stream_seq, number = place.consumer_seq
        outcome.answer = True
        outcome.changed = outcome.dead = False
        if word.verb == ACK_OK or word.verb == ACK_NEXT:
            one.consumer.ack(sequence, number, outcome)
            if outcome.changed:
                one.acked_ns = wall_ns
                if one.sample_percent and outcome.delivered_ns and one.consumer.policy == POLICY_EXPLICIT:
                    self.told.append((
                        one, "ack", sequence, outcome.consumer_sequence, outcome.deliveries,
                        wall_ns - outcome.delivered_ns,
                    ))
        elif word.verb == ACK_NAK:
            one.consumer.nak(sequence, number, word.delay_ns if word.has_delay else 0, wall_ns, outcome)
            if outcome.changed:
                self.told.append((one, "nak", sequence, outcome.consumer_sequence, outcome.deliveries, None))
        elif word.verb == ACK_PROGRESS:
            one.consumer.progress(sequence, wall_ns, outcome)
        elif word.verb == ACK_TERM:
            one.consumer.term(
                sequence, number, wall_ns, word.argument, word.argument_size, outcome
            )
            if outcome.changed:
                one.acked_ns = wall_ns
                self.told.append((
                    one, "term", sequence, outcome.consumer_sequence, outcome.deliveries,
                    word.argument[: word.argument_size] if word.argument_size else b"",
                ))

    cdef void take_flow(self, HostedConsumer one, PublishView *view) noexcept:
        """The client has read up to a flow control request.

        With ack policy flow_control its headers say which message it has done with (ADR-60).
        """
        cdef AckOutcome outcome
        cdef bint answered = one.flow.answered(view.subject[: view.subject_size])
        if not answered or one.consumer.policy != POLICY_FLOW_CONTROL or view.header_size <= 0:
            return
        block = view.payload[: view.header_size]
        number = header_of(block, b"Nats-Last-Consumer") or b""
        sequence = header_of(block, b"Nats-Last-Stream") or b""
        if number.isdigit() and sequence.isdigit() and max(len(number), len(sequence)) <= DIGITS_MAX:
            one.consumer.ack(int(sequence), int(number), &outcome)
            if outcome.changed:
                one.acked_ns = self.host.now_ns + self.host.wall_offset_ns
                if not one.hosted.owes_notes:
                    self.note_due(one.hosted)

    cdef void owe_later(self, HostedConsumer one, uint64_t sequence, PublishView *view) noexcept:
        """The message is a dead letter: answer this acknowledgement once that is stored."""
        cdef list replies = one.dead_replies.get(sequence)
        if replies is None:
            if len(one.dead_replies) >= DEAD_REPLIES_MAX:
                return  # the client asks again
            replies = one.dead_replies[sequence] = []
        replies.append((view.account, view.reply[: view.reply_size]))
        del replies[:-REPLIES_OF_ONE_MAX]  # a client that asks again does not wait for the older answers

    def end_dead(self, HostedConsumer one not None, uint64_t sequence):
        """A dead letter is stored where it belongs, or is none any more: answer who waits for that."""
        cdef bytes reply
        finish_dead(one.consumer, sequence)
        for account, reply in one.dead_replies.pop(sequence, ()):
            self.owe(one.hosted, account, reply, <uint32_t> len(reply))
        self.wake(one)

    cdef void changed(self, Hosted hosted) noexcept:
        hosted.has_changed = True
        self.streams.append(hosted)
        if not hosted.owes_notes:
            self.note_due(hosted)

    cdef void activate(self, HostedConsumer one) noexcept:
        if not one.is_ready:
            one.is_ready = True
            self.ready.append(one)

    # --- once a turn ------------------------------------------------------------------------------------

    cdef bint deliver(self, uint64_t wall_ns) except -1:
        cdef HostedConsumer one
        cdef Hosted hosted
        cdef bint more, pressing = False
        if self.streams:
            for hosted in self.streams:
                hosted.has_changed = False
                for one in hosted.attached:
                    if one.is_pull and one.pulls.count or not one.is_pull:
                        self.activate(one)
            self.streams.clear()
        if self.ready:
            ready, self.ready = self.ready, []
            for one in ready:
                one.is_ready = False
                if one.is_gone or one.is_held:
                    continue
                self.is_cold = False
                if not one.consumer.is_counted:
                    one.consumer.count_on(COUNT_SLICE)
                more = self.serve(one, wall_ns) if one.is_pull else self.push(one, wall_ns)
                if not one.consumer.is_counted:
                    more = True  # also when nobody waits: CONSUMER.INFO shows the number
                self.reckon(one)
                if (
                    one.consumer.next_consumer_sequence != one.consumer.noted_consumer_sequence
                    or one.consumer.dead_news
                    or one.consumer.events
                ):
                    self.note_due(one.hosted)
                if more:
                    self.activate(one)
                    if not self.is_cold:
                        pressing = True
        if self.refusals:
            refusals, self.refusals = self.refusals, []
            for account, reply, block in refusals:
                self.host.send(account, reply, b"", block)
        if self.noting:
            self.settle()
        if self.told:
            told, self.told = self.told, []
            self.keeper.tell(told)
        return pressing

    # --- time --------------------------------------------------------------------------------------------

    cdef void reckon(self, HostedConsumer one) noexcept:
        """Find out when something of this consumer is due if nothing comes in before."""
        cdef uint64_t soonest = one.pulls.due_ns
        soonest = earlier(soonest, one.consumer.next_due_ns())
        soonest = earlier(soonest, one.consumer.paused_until_ns)
        if not one.is_pull and one.is_bound:
            soonest = earlier(soonest, one.flow.heartbeat_due_ns)
        soonest = earlier(soonest, one.not_before_ns)
        one.due_ns = soonest
        if soonest:
            self.due_ns = earlier(self.due_ns, max(soonest, self.next_fire_ns))

    cdef int fire(self, uint64_t wall_ns) except -1:
        cdef HostedConsumer one
        self.due_ns = 0
        self.next_fire_ns = wall_ns + FIRE_GAP_NS * len(self.consumers)
        for found in self.consumers:
            if found is None:
                continue
            one = <HostedConsumer> found
            if one.due_ns == 0:
                continue
            if one.due_ns <= wall_ns:
                self.fire_one(one, wall_ns)
            else:
                self.due_ns = earlier(self.due_ns, max(one.due_ns, self.next_fire_ns))
        self.host.pressing |= bool(self.ready or self.refusals or self.noting)
        return 0

    cdef int fire_one(self, HostedConsumer one, uint64_t wall_ns) except -1:
        """Do what is due by now."""
        cdef uint64_t due = one.consumer.next_due_ns()
        if due and due <= wall_ns:
            one.consumer.due(wall_ns)
            self.note_due(one.hosted)
            self.activate(one)
        if one.consumer.paused_until_ns and one.consumer.paused_until_ns <= wall_ns:
            self.keeper.resume(one)
        if one.is_pull:
            # When one is due nats-server looks at all, and ends those that would not wait.
            one.pulls.expire(wall_ns, one.pulls.has_due(wall_ns))
            if one.pulls.ended:
                self.tell_ended(one)
            if one.pulls.pin_events:
                self.note_due(one.hosted)
                self.activate(one)
        else:
            self.beat(one, wall_ns)
        if one.not_before_ns and one.not_before_ns <= wall_ns:
            one.not_before_ns = 0
            self.activate(one)
        self.reckon(one)
        return 0

    cdef int tick(self, uint64_t wall_ns) except -1:
        cdef HostedConsumer one
        cdef bint look = wall_ns >= self.next_look_ns
        self.gone.clear()
        self.fire(wall_ns)
        for found in self.consumers:
            if found is None:
                continue
            one = <HostedConsumer> found
            if not one.is_pull and (look or not one.is_bound) and self.has_come(one, wall_ns):
                self.activate(one)
            if not look:
                continue
            if one.is_pull:
                self.drop_unheard(one)
            if one.is_lazy and self.has_changed(one):
                one.is_note_time = True
                self.note_due(one.hosted)
            if one.consumer.has_work(wall_ns) and (one.pulls.count or not one.is_pull):
                self.activate(one)
        self.host.pressing |= bool(self.ready or self.refusals or self.noting)
        if look:
            self.next_look_ns = wall_ns + LOOK_NS
            if self.keeper is not None:
                self.keeper.look(wall_ns)
        return 0
