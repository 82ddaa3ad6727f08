"""Consumers and their stream without a broker around them, for tests, simulations and tools.

`ConsumerFace` plays the owner: it stores and removes messages by applying frames, and drives consumers one
call at a time. Nothing here is on the path of a broker's message.
"""

import struct

from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memset

from shardbroker.jetstream.consumer cimport AckOutcome, Consumer, Delivery
from shardbroker.jetstream.consumer_set cimport ConsumerSet
from shardbroker.jetstream.stream_state cimport StreamState
from shardbroker.storage.frame cimport FRAME_DELETE, FRAME_PURGE, RECORD_HEAD_SIZE, FrameHead, RecordHead

STANDSTILLS = ("", "at the end", "ack pending full", "paused", "counting", "searching", "out of memory")


cdef class ConsumerFace:
    """A stream in memory with its consumers."""

    cdef readonly StreamState state
    cdef readonly ConsumerSet consumers
    cdef uint64_t position

    def __init__(self, str retention="limits", *, int64_t max_messages=-1, int64_t max_per_subject=-1):
        self.state = StreamState(1, 1, True)
        self.state.set_limits(max_messages, -1, max_per_subject, 0, 0, False)
        self.consumers = ConsumerSet(self.state, retention)
        self.position = 64

    # --- the stream -------------------------------------------------------------------------------------

    def store(self, bytes subject, uint64_t now_ns=1, uint64_t count=1):
        """Messages on a subject, without a payload; the last sequence."""
        cdef RecordHead *head
        cdef uint64_t i
        cdef bytes record = bytes(RECORD_HEAD_SIZE) + subject
        head = <RecordHead *> <char *> record
        head.subject_size = <uint16_t> len(subject)
        head.time_ns = now_ns
        for i in range(count):
            head.sequence = self.state.messages.last + 1
            if self.state.apply_record(head, self.position) < 0:
                raise MemoryError("no memory for a message")
            self.position += 64
        return self.state.messages.last

    def delete(self, uint64_t sequence, uint64_t count=1):
        """A frame that removes a run of messages."""
        self.apply(FRAME_DELETE, struct.pack("<QQ", sequence, count))

    def purge(self, bytes filter=b"", uint64_t below=0, uint64_t keep=0):
        """A frame that purges."""
        self.apply(FRAME_PURGE, struct.pack("<QQIIQ", below, keep, len(filter), 0, 0) + filter)
        if not filter:
            self.consumers.purged()

    def apply(self, int kind, bytes body):
        """A frame without records."""
        cdef FrameHead head
        memset(&head, 0, sizeof(FrameHead))
        head.kind = <uint16_t> kind
        head.body_size = <uint32_t> len(body)
        self.state.apply_other(&head, <const uint8_t *> <const char *> body)

    # --- one consumer -----------------------------------------------------------------------------------

    def next(self, Consumer consumer not None, uint64_t now_ns, bint send=True):
        """(sequence, consumer sequence, deliveries, pending) of the next delivery; or why there is none.

        It is done, unless `send` is False.
        """
        cdef Delivery delivery
        if not consumer.next_delivery(now_ns, &delivery):
            return STANDSTILLS[<int> consumer.standstill]
        if send and consumer.mark_delivered(&delivery, now_ns) < 0:
            raise MemoryError("no memory for a delivery")
        return delivery.sequence, delivery.consumer_sequence, delivery.deliveries, delivery.pending

    def take(self, Consumer consumer not None, uint64_t now_ns, uint32_t most=1000):
        """Sequences of up to `most` deliveries, done."""
        cdef Delivery delivery
        found = []
        while len(found) < most and consumer.next_delivery(now_ns, &delivery):
            if consumer.mark_delivered(&delivery, now_ns) < 0:
                raise MemoryError("no memory for a delivery")
            found.append(delivery.sequence)
        return found

    def take_back(self, Consumer consumer not None, uint64_t sequence):
        """A delivery did not reach anybody."""
        consumer.undelivered(sequence)

    def answer(self, Consumer consumer not None, str word, uint64_t sequence, uint64_t consumer_sequence,
               uint64_t now_ns=0, int64_t delay_ns=0, bytes reason=b""):
        """An acknowledgement: "ack", "nak", "progress" or "term".

        (answered, changed, first consumer sequence, deliveries, delivered_ns, waits for a dead letter).
        """
        cdef AckOutcome outcome
        if word == "ack":
            consumer.ack(sequence, consumer_sequence, &outcome)
        elif word == "nak":
            consumer.nak(sequence, consumer_sequence, delay_ns, now_ns, &outcome)
        elif word == "progress":
            consumer.progress(sequence, now_ns, &outcome)
        else:
            consumer.term(
                sequence, consumer_sequence, now_ns, <const uint8_t *> <const char *> reason,
                <uint32_t> len(reason), &outcome,
            )
        return (
            bool(outcome.answer), bool(outcome.changed), outcome.consumer_sequence, outcome.deliveries,
            outcome.delivered_ns, bool(outcome.dead),
        )

    def due(self, Consumer consumer not None, uint64_t now_ns):
        """How many messages became due again."""
        return consumer.due(now_ns)

    def next_due(self, Consumer consumer not None):
        """When due() has something to do; 0: never."""
        return consumer.next_due_ns()

    def finished(self, Consumer consumer not None):
        """What the consumer has done with since it was asked."""
        found = [consumer.finished[i] for i in range(consumer.finished_count)]
        consumer.finished_count = 0
        return found

    def run(self, Consumer consumer not None, uint64_t count, uint32_t batch):
        """Deliver and acknowledge `count` messages in batches: the work of the hot path, for measurements."""
        cdef Delivery delivery
        cdef AckOutcome outcome
        cdef uint64_t done = 0, first, i, now_ns = 1
        while done < count:
            first = 0
            for i in range(batch):
                if not consumer.next_delivery(now_ns, &delivery):
                    return done
                consumer.mark_delivered(&delivery, now_ns)
                if first == 0:
                    first = delivery.sequence
            now_ns += 1000
            for i in range(batch):
                consumer.ack(first + i, 1, &outcome)
            done += batch
            if consumer.delta.size > 8192:
                consumer.delta.clear()
        return done
