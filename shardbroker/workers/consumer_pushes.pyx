"""Push consumers: they send as long as somebody listens to their deliver subject.

As in nats-server a listener is a subscription of just the deliver subject, and in just the deliver group if
there is one: a wildcard or another group gets what is sent, but nothing is sent on its account. That is
looked up when there is something to send, every 50 ms while nobody listens, and four times a second else.
Flow control and heartbeats are PushFlow's matter. Source: spec page 04, section 6.
"""

from libc.stdint cimport uint32_t, uint64_t

from shardbroker.jetstream.consumer cimport COUNTING, POLICY_FLOW_CONTROL, SEARCHING, Delivery
from shardbroker.shm.atomics cimport load_relaxed_u64
from shardbroker.shm.interest_directory cimport InterestDirectory
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
        if not one.consumer.has_work(wall_ns) and one.consumer.is_counted:
            return False
        one.is_bound = self.is_listened(one)
        if not one.is_bound:
            return False
        while not one.flow.is_stalled():
            if count >= SLICE_MESSAGES or sent >= SLICE_BYTES or self.host.router.overflow.first != NULL:
                return True
            if one.not_before_ns:
                if one.not_before_ns > wall_ns:
                    return False
                one.not_before_ns = 0
            if self.is_pressed():
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
            if one.replays_original and self.waits_for_time(one, &delivery, record.time_ns, wall_ns):
                return False
            size = self.write_ack_subject(one, &delivery, record)
            if one.rate and self.is_over_rate(one, size, wall_ns):
                return False
            if self.send_message(
                one, record, one.deliver_subject, <uint32_t> len(one.deliver_subject), NULL, 0
            ) == 0:
                one.is_bound = False
                return False
            one.consumer.mark_delivered(&delivery, wall_ns)
            one.active_ns = one.delivered_ns = wall_ns
            sent += size
            if one.flow.sent(size, wall_ns) or (
                one.consumer.policy == POLICY_FLOW_CONTROL
                and one.consumer.pending.count >= one.consumer.max_ack_pending
                and not one.flow.request
            ):
                self.ask_flow(one)
        return False

    cdef bint is_pressed(self) noexcept:
        """Whether somebody who gets messages of this worker's consumers reads slower than they come."""
        cdef uint64_t *cell = self.host.router.pressure + self.host.router.worker_index * PRESSURE_CELLS
        return load_relaxed_u64(cell) > self.host.router.now_ns

    def holds_pushes_back(self):
        """is_pressed() for Python."""
        return bool(self.is_pressed())

    cdef bint is_over_rate(self, HostedConsumer one, uint64_t size, uint64_t wall_ns) noexcept:
        """Whether this many bytes must wait. Like nats-server's, the limit lets a burst pass after a rest."""
        cdef uint64_t cost_ns = size * SECOND_NS // one.rate
        cdef uint64_t paid_until_ns = max(one.paid_until_ns, wall_ns) + cost_ns
        cdef uint64_t burst_ns = max(one.burst_ns, cost_ns)
        if paid_until_ns > wall_ns + burst_ns:
            one.not_before_ns = paid_until_ns - burst_ns
            return True
        one.paid_until_ns = paid_until_ns
        return False

    cdef void ask_flow(self, HostedConsumer one) noexcept:
        """A flow control request behind the message that filled half of the window.

        With ack policy flow_control also behind the last one that may be pending, and behind heartbeats while
        something is.
        """
        one.flow_number += 1
        subject = flow_control_prefix(one.hosted.stream.config.name, one.name)
        subject += b"%04d" % (one.flow_number % 10_000)
        one.flow.ask(subject)
        self.host.send(one.hosted.account, one.deliver_subject, b"", consumer_statuses.FLOW_CONTROL, subject)

    cpdef bint is_listened(self, HostedConsumer one) noexcept:
        """Whether somebody subscribes to the deliver subject, in the deliver group if there is one."""
        cdef InterestDirectory directory = self.host.router.routes.directory
        cdef uint64_t group = 0
        if one.deliver_group:
            group = directory.queue_hash_of(one.deliver_group, <uint32_t> len(one.deliver_group))
        return directory.has_exactly(
            one.hosted.account, one.deliver_subject, <uint32_t> len(one.deliver_subject), group
        )

    cdef bint has_come(self, HostedConsumer one, uint64_t wall_ns) noexcept:
        """Look whether somebody listens: True if that is new."""
        cdef bint was_bound = one.is_bound
        one.is_bound = self.is_listened(one)
        if one.is_bound:
            one.active_ns = wall_ns
        else:
            one.flow.forget()
        return one.is_bound and not was_bound

    cdef void beat(self, HostedConsumer one, uint64_t wall_ns) noexcept:
        """Send a heartbeat if one is due."""
        if one.is_bound and one.flow.beats(wall_ns):
            block = consumer_statuses.idle_heartbeat(
                one.consumer.next_consumer_sequence - 1, one.consumer.delivered_stream, one.flow.request
            )
            self.host.send(one.hosted.account, one.deliver_subject, b"", block)
            if (
                one.consumer.policy == POLICY_FLOW_CONTROL
                and one.consumer.pending.count
                and not one.flow.request
            ):
                self.ask_flow(one)
