"""Push consumers: they send as long as somebody listens to their deliver subject.

Where there is a deliver group, those outside of it do not count: with nobody in the group messages wait.
Whether somebody listens is known when a message finds nobody, and is looked at when there is something to
send and four times a second. Flow control and heartbeats are PushFlow's matter. What has to wait for its time
(rate limit, the gaps of an original replay) is looked at once a millisecond. Source: spec page 04, section 6.
"""

from libc.stdint cimport uint32_t, uint64_t

from shardbroker.jetstream.consumer cimport COUNTING, SEARCHING, Delivery
from shardbroker.shm.atomics cimport load_relaxed_u64
from shardbroker.shm.offsets cimport PRESSURE_CELLS
from shardbroker.storage.frame cimport RecordHead
from shardbroker.workers.hosted_consumer cimport HostedConsumer

from shardbroker.jetstream import consumer_statuses
from shardbroker.jetstream.ack_tokens import flow_control_prefix

cdef enum:
    SLICE_MESSAGES = 512  # that one consumer sends before others have their turn
    SLICE_BYTES = 512 << 10
    SECOND_NS = 1_000_000_000


cdef class ConsumerPushes(ConsumerPulls):
    """Whoever listens is served."""

    cdef bint push(self, HostedConsumer one, uint64_t wall_ns) noexcept:
        """Send what there is. True: there may be more, for the next turn."""
        cdef Delivery delivery
        cdef const RecordHead *record
        cdef uint64_t size, sent = 0
        cdef int count = 0
        if not one.is_bound:
            if not one.consumer.has_work(wall_ns):
                return False
            one.is_bound = self.has_listener(one)
            if not one.is_bound:
                return False
        while not one.flow.is_stalled():
            if count >= SLICE_MESSAGES or sent >= SLICE_BYTES or self.host.router.overflow.first != NULL:
                return True
            if one.not_before_ns > wall_ns or self.is_pressed():
                self.is_cold = self.host.soon = True
                return True
            if not one.consumer.next_delivery(wall_ns, &delivery):
                return one.consumer.standstill == COUNTING or one.consumer.standstill == SEARCHING
            count += 1
            record = self.record_of(one.hosted, delivery.sequence)
            if record == NULL:
                if not self.is_cold and self.skip(one, &delivery, wall_ns):
                    continue
                self.host.soon = True
                return True
            if one.replays_original and self.waits_for_time(
                one, record.time_ns, delivery.deliveries, wall_ns
            ):
                self.is_cold = self.host.soon = True
                return True
            size = self.write_ack_subject(one, &delivery, record)
            if self.send_message(
                one, record, one.deliver_subject, <uint32_t> len(one.deliver_subject), NULL, 0
            ) == 0:
                one.is_bound = False
                return False
            one.consumer.mark_delivered(&delivery, wall_ns)
            one.active_ns = one.delivered_ns = wall_ns
            sent += size
            if one.rate:
                one.not_before_ns = max(one.not_before_ns, wall_ns) + size * SECOND_NS // one.rate
            if one.flow.sent(size, wall_ns):
                self.ask_flow(one)
        return False

    def has_listener(self, HostedConsumer one not None):
        """Whether somebody listens to the deliver subject; where a deliver group is named, in that group."""
        if one.deliver_group:
            return self.host.has_member(one.hosted.account, one.deliver_subject, one.deliver_group)
        return self.host.has_interest(one.hosted.account, one.deliver_subject)

    cdef bint is_pressed(self) noexcept:
        """Whether somebody who gets messages of this worker's consumers reads slower than they come."""
        cdef uint64_t *cell = self.host.router.pressure + self.host.router.worker_index * PRESSURE_CELLS
        return load_relaxed_u64(cell) > self.host.router.now_ns

    def holds_pushes_back(self):
        """is_pressed() for Python."""
        return bool(self.is_pressed())

    cdef bint waits_for_time(
        self, HostedConsumer one, uint64_t time_ns, uint64_t deliveries, uint64_t wall_ns
    ) noexcept:
        """replay_policy original: messages come with the gaps that they were stored with."""
        if deliveries > 1:
            return False
        if one.replay_time_ns and time_ns > one.replay_time_ns:
            if wall_ns < one.delivered_ns + (time_ns - one.replay_time_ns):
                one.not_before_ns = one.delivered_ns + (time_ns - one.replay_time_ns)
                return True
        one.replay_time_ns = time_ns
        return False

    cdef void ask_flow(self, HostedConsumer one) noexcept:
        """A flow control request behind the message that filled half of the window."""
        one.flow_number += 1
        subject = flow_control_prefix(one.hosted.stream.config.name, one.name)
        subject += b"%04d" % (one.flow_number % 10_000)
        one.flow_sequence = one.consumer.position - 1
        one.flow_consumer_sequence = one.consumer.next_consumer_sequence - 1
        one.flow.ask(subject)
        self.host.send(one.hosted.account, one.deliver_subject, b"", consumer_statuses.FLOW_CONTROL, subject)

    cdef void tick_push(self, HostedConsumer one, uint64_t wall_ns, bint look) noexcept:
        """Interest, heartbeats."""
        if look:
            one.is_bound = self.has_listener(one)
            if not one.is_bound:
                one.flow.forget()
        if one.is_bound:
            one.active_ns = wall_ns
            if one.flow.beats(wall_ns):
                block = consumer_statuses.idle_heartbeat(
                    one.consumer.next_consumer_sequence - 1, one.consumer.delivered_stream, one.flow.request
                )
                self.host.send(one.hosted.account, one.deliver_subject, b"", block)
