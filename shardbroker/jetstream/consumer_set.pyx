"""The consumers of one stream, as the watcher of its state; and what they allow to be removed.

Retention (spec 03): an interest stream keeps a message while a consumer that it matches has not done with
it, and takes none that no consumer wants. A work queue keeps a message until it is acknowledged; filters
do not overlap, so one consumer at most wants it, and it stays if none does. Whether a consumer has done
with a message is the consumer's to say (needs()): so the answer is exact with any number of consumers and
filters, and needs no book of its own that could differ after a crash.

`removable()` answers for single sequences, as they are finished; `sweep()` looks at the whole stream in
slices, after a consumer was deleted and after a start, where an acknowledgement may be on disk and its
removal is not.
"""

from libc.stdint cimport uint8_t, uint32_t, uint64_t

from shardbroker.hashing cimport hash_bytes
from shardbroker.jetstream.consumer cimport Consumer

from shardbroker.jetstream.stream_state cimport StreamState
from shardbroker.jetstream.stream_watcher cimport StreamWatcher
from shardbroker.jetstream.subject_table cimport SubjectEntry


cdef class ConsumerSet(StreamWatcher):
    """No consumers at first. `retention`: "limits", "interest" or "workqueue"."""

    def __init__(self, StreamState state, str retention):
        self.state = state
        self.by_name = {}
        self.consumers = []
        self.interest = retention == "interest"
        self.workqueue = retention == "workqueue"
        self.unwanted = []
        state.watcher = self

    def __len__(self):
        return len(self.consumers)

    def get(self, str name):
        """The consumer of that name, or None."""
        return self.by_name.get(name)

    def add(self, Consumer consumer not None):
        """A consumer that was just made or restored; it replaces one of the same name."""
        self.discard(consumer.name)
        self.by_name[consumer.name] = consumer
        self.consumers.append(consumer)

    def discard(self, str name):
        """Forget a consumer; the one that there was, or None."""
        consumer = self.by_name.pop(name, None)
        if consumer is not None:
            self.consumers.remove(consumer)
        return consumer

    # --- the stream -------------------------------------------------------------------------------------

    cdef void stored(self, uint64_t sequence, SubjectEntry *subject) noexcept:
        cdef Consumer consumer
        for consumer in self.consumers:
            consumer.stored(sequence, subject)
        if self.interest and not self.wanted(sequence):
            self.unwanted.append(sequence)

    cdef void removing(self, uint64_t sequence, SubjectEntry *subject) noexcept:
        cdef Consumer consumer
        for consumer in self.consumers:
            consumer.removing(sequence, subject)

    cdef void cleared(self) noexcept:
        cdef Consumer consumer
        for consumer in self.consumers:
            consumer.cleared()

    def purged(self):
        """After the frame of a purge of all subjects was applied; one with a filter needs no call."""
        cdef Consumer consumer
        for consumer in self.consumers:
            consumer.purged()

    # --- retention --------------------------------------------------------------------------------------

    cdef bint wanted(self, uint64_t sequence) noexcept:
        """Whether a consumer has not done with a message that is there."""
        cdef Consumer consumer
        cdef SubjectEntry *subject = &self.state.subjects.entries[
            self.state.messages.get(sequence).subject_id
        ]
        for consumer in self.consumers:
            if consumer.needs(sequence, subject):
                return True
        return False

    cdef bint asks_for(self, const uint8_t *subject, uint32_t size) noexcept:
        """Interest retention takes no message that nobody asks for."""
        cdef Consumer consumer
        cdef SubjectEntry entry
        entry.name = <uint8_t *> subject
        entry.size = size
        entry.hash = hash_bytes(subject, size, self.state.subjects.seed)
        for consumer in self.consumers:
            if consumer.filter.count == 0 or consumer.filter.matches_one(&entry):
                return True
        return False

    def removable(self):
        """Sequences that may go now because of acknowledgements and of messages nobody wanted, in order.

        The caller stages their removal, in the frame of the deltas that allow it or behind it.
        """
        cdef Consumer consumer
        cdef uint32_t i
        cdef uint64_t sequence
        found = set()
        if not self.interest and not self.workqueue:
            return []
        for consumer in self.consumers:
            for i in range(consumer.finished_count):
                sequence = consumer.finished[i]
                if self.state.messages.get(sequence) != NULL and not self.wanted(sequence):
                    found.add(sequence)
            consumer.finished_count = 0
        if self.unwanted:
            for sequence in self.unwanted:
                if self.state.messages.get(sequence) != NULL and not self.wanted(sequence):
                    found.add(sequence)
            self.unwanted = []
        return sorted(found)

    def sweep(self, uint64_t start, uint32_t most, Consumer gone=None, bint taken=False):
        """Look at up to `most` messages: (sequences that may go, where to go on; 0: all were seen).

        Of a work queue only messages that a consumer has gone past are candidates: those that no consumer
        matches stay. `gone`: a consumer that was deleted: nats-server then removes nothing of a work queue,
        and of an interest stream what it alone kept. `taken`: only what a consumer is past, as when a stream
        becomes one of interest.
        """
        cdef uint64_t sequence = self.state.messages.next_live(start)
        cdef SubjectEntry *subject
        found = []
        if not self.interest and (not self.workqueue or gone is not None):
            return found, 0
        while sequence <= self.state.messages.last:
            if most == 0:
                return found, sequence
            most -= 1
            subject = &self.state.subjects.entries[self.state.messages.get(sequence).subject_id]
            if not self.wanted(sequence) and (
                (self.interest and not taken and (gone is None or gone.filter.matches(subject)))
                or ((self.workqueue or taken) and self.was_taken(sequence, subject))
            ):
                found.append(sequence)
            sequence = self.state.messages.next_live(sequence + 1)
        return found, 0

    cdef bint was_taken(self, uint64_t sequence, SubjectEntry *subject) noexcept:
        """Whether a consumer that the message matches is past it."""
        cdef Consumer consumer
        for consumer in self.consumers:
            if sequence < consumer.position and consumer.filter.matches(subject):
                return True
        return False
