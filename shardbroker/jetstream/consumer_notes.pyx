"""The state of a consumer as bytes: snapshots, deltas since the last note, and a consumer made of them.

    snapshot:  version, SNAPSHOT, where it stands, end and members of the chosen set,
               exhausted sequences, pending entries in order, sequences that are due again in order;
               then, if there are any, which of the pending are dead letters, in order
    delta:     version, DELTA, then (kind, numbers)...: see DeltaKind in delta_writer.pxd

Every note stands for itself: sequences and times are differences within it. A delta ends with where the
consumer stands (DELTA_PLACE), so floors are exact after each. What consumers have counted is not written:
it is counted anew at start, when the stream is known. Acknowledgements of messages that left the stream
are reconciled then.

Notes come from a disk: whatever does not fit raises StorageError, and no size is believed.
"""

from libc.stdint cimport uint8_t, uint32_t, uint64_t

from shardbroker.errors import StorageError
from shardbroker.jetstream.dead_entries import dead_entries
from shardbroker.jetstream.consumer cimport (
    POLICY_FLOW_CONTROL,
    POLICY_NONE,
    REASON_SIZE_MAX,
    AckOutcome,
    Consumer,
)
from shardbroker.jetstream.delta_writer cimport (
    DELTA_AGAIN,
    DELTA_ALL,
    DELTA_BURIED,
    DELTA_CLEARED,
    DELTA_DONE,
    DELTA_EXHAUSTED,
    DELTA_NEW,
    DELTA_PARDONED,
    DELTA_PLACE,
    DELTA_QUEUE,
    DELTA_RESET,
    DELTA_UNSENT,
    DELTA_WAIT,
    DeltaReader,
    DeltaWriter,
)
from shardbroker.jetstream.pending_table cimport IN_GRAVE, IN_GRAVE_BY_TERM, NO_ENTRY, PendingEntry
from shardbroker.jetstream.sequence_set cimport SequenceSet

cdef enum:
    NOTE_VERSION = 1
    NOTE_SNAPSHOT = 1
    NOTE_DELTA = 2


def take_delta(Consumer consumer not None):
    """What changed since the last note, as bytes; b"" when nothing did.

    Without memory for deltas the answer is a snapshot, which restore() takes as well.
    """
    cdef DeltaWriter delta = consumer.delta
    cdef DeltaWriter head
    if (
        delta.size == 0
        and consumer.position == consumer.noted_position
        and consumer.next_consumer_sequence == consumer.noted_consumer_sequence
        and consumer.floor_stream == consumer.noted_floor_stream
        and consumer.floor_consumer == consumer.noted_floor_consumer
        and consumer.delivered_stream == consumer.noted_delivered_stream
    ):
        return b""
    if delta.failed:
        return snapshot(consumer)
    delta.put_byte(DELTA_PLACE)
    put_place(delta, consumer)
    if delta.failed:
        return snapshot(consumer)
    note = bytes((NOTE_VERSION, NOTE_DELTA)) + delta.bytes[: delta.size]
    delta.clear()
    noted(consumer)
    return note


cdef void put_place(DeltaWriter out, Consumer consumer) noexcept:
    out.put_number(consumer.position)
    out.put_number(consumer.next_consumer_sequence)
    out.put_number(consumer.floor_stream)
    out.put_number(consumer.floor_consumer)
    out.put_number(consumer.delivered_stream)


cdef void noted(Consumer consumer) noexcept:
    consumer.noted_position = consumer.position
    consumer.noted_consumer_sequence = consumer.next_consumer_sequence
    consumer.noted_floor_stream = consumer.floor_stream
    consumer.noted_floor_consumer = consumer.floor_consumer
    consumer.noted_delivered_stream = consumer.delivered_stream


cdef void put_set(DeltaWriter out, SequenceSet members) noexcept:
    cdef uint64_t sequence = members.next_from(1)
    out.put_number(members.count)
    while sequence:
        out.put_sequence(sequence)
        sequence = members.next_from(sequence + 1)


def snapshot(Consumer consumer not None):
    """The whole state, as bytes; deltas before it are void. Raises MemoryError.

    A last_per_subject consumer that is still choosing goes on with it at once.
    """
    cdef DeltaWriter out = DeltaWriter()
    cdef uint32_t index = consumer.pending.first
    cdef PendingEntry *entry
    while consumer.counting.chosen_end and not consumer.count_on():
        pass
    out.put_byte(NOTE_VERSION)
    out.put_byte(NOTE_SNAPSHOT)
    put_place(out, consumer)
    out.put_number(consumer.counting.chosen_end)
    put_set(out, consumer.counting.chosen)
    put_set(out, consumer.exhausted)
    out.put_number(consumer.pending.count)
    while index != NO_ENTRY:
        entry = &consumer.pending.entries[index]
        out.put_sequence(entry.sequence)
        out.put_number(entry.consumer_sequence)
        out.put_number(entry.deliveries)
        out.put_time(entry.delivered_ns)
        out.put_time(entry.deadline_ns)
        index = entry.after
    out.put_number(consumer.pending.queued)
    index = consumer.pending.next_queued()
    while index != NO_ENTRY:
        out.put_sequence(consumer.pending.entries[index].sequence)
        index = consumer.pending.entries[index].place_after
    if consumer.pending.dead:
        put_dead(out, consumer)
    if out.failed:
        raise MemoryError("no memory for the snapshot of a consumer")
    consumer.delta.clear()
    noted(consumer)
    return out.bytes[: out.size]


cdef put_dead(DeltaWriter out, Consumer consumer):
    cdef uint32_t index = consumer.pending.next_dead()
    cdef PendingEntry *entry
    cdef bytes reason
    out.put_number(consumer.pending.dead)
    while index != NO_ENTRY:
        entry = &consumer.pending.entries[index]
        reason = consumer.reasons.get(entry.sequence, b"")
        out.put_sequence(entry.sequence)
        out.put_number(entry.place == IN_GRAVE_BY_TERM)
        out.put_text(<const uint8_t *> <const char *> reason, <uint32_t> len(reason))
        index = entry.place_after


def restore(name, config, state, created_ns, notes, *, keeps_finished=False):
    """A consumer of its notes, in order: the first one is a snapshot. What its stream has lost is forgotten.

    Raises StorageError if a note is damaged, MemoryError.
    """
    cdef Consumer consumer = Consumer(
        name, config, state, created_ns, keeps_finished=keeps_finished, restored=True
    )
    cdef bint begun = False
    for note in notes:
        if len(note) < 2 or note[0] != NOTE_VERSION or note[1] not in (NOTE_SNAPSHOT, NOTE_DELTA):
            raise StorageError(f"consumer {name}: a note of an unknown version")
        if note[1] == NOTE_SNAPSHOT:
            read_snapshot(consumer, note)
            begun = True
        elif begun:
            read_delta(consumer, note)
    if not begun:
        raise StorageError(f"consumer {name}: there is no snapshot")
    reconcile(consumer)
    return consumer


cdef read_set(DeltaReader source, SequenceSet members):
    cdef uint64_t left = source.take_number()
    members.clear()
    while left and not source.failed:
        if members.add(checked_sequence(source)) < 0:
            raise MemoryError("no memory for a set of sequences")
        left -= 1


cdef uint64_t checked_sequence(DeltaReader source):
    """A sequence that is one: not 0, and not so large that it could only be damage."""
    cdef uint64_t sequence = source.take_sequence()
    if sequence == 0 or sequence >> 56:
        source.failed = True
        return 1
    return sequence


cdef read_place(DeltaReader source, Consumer consumer):
    consumer.position = source.take_number()
    consumer.next_consumer_sequence = source.take_number()
    consumer.floor_stream = source.take_number()
    consumer.floor_consumer = source.take_number()
    consumer.delivered_stream = source.take_number()
    if (
        consumer.position == 0
        or consumer.next_consumer_sequence == 0
        or consumer.floor_stream >= consumer.position
        or consumer.delivered_stream >= consumer.position
        or consumer.floor_consumer >= consumer.next_consumer_sequence
    ):
        source.failed = True


cdef read_snapshot(Consumer consumer, bytes note):
    cdef DeltaReader source = DeltaReader(note)
    cdef uint64_t left
    cdef uint32_t index
    source.take_number()
    source.take_number()
    read_place(source, consumer)
    consumer.counting.chosen_end = source.take_number()
    read_set(source, consumer.counting.chosen)
    read_set(source, consumer.exhausted)
    consumer.pending.clear()
    consumer.reasons.clear()
    consumer.redelivered = consumer.exhausted.count
    left = source.take_number()
    while left and not source.failed:
        read_entry(source, consumer)
        left -= 1
    left = source.take_number()
    while left and not source.failed:
        index = consumer.pending.find(source.take_sequence())
        if index == NO_ENTRY:
            source.failed = True
        else:
            due_again(consumer, index)
        left -= 1
    left = source.take_number() if source.more() else 0
    while left and not source.failed:
        index = consumer.pending.find(source.take_sequence())
        if index == NO_ENTRY:
            source.failed = True
        else:
            read_burial(source, consumer, index, consumer.pending.entries[index].deadline_ns)
        left -= 1
    if source.failed or source.at != source.end:
        raise StorageError(f"consumer {consumer.name}: the snapshot is damaged")
    consumer.delta.clear()
    noted(consumer)


cdef read_entry(DeltaReader source, Consumer consumer):
    """One pending message of a snapshot."""
    cdef uint64_t sequence = checked_sequence(source)
    cdef uint64_t consumer_sequence = source.take_number()
    cdef uint64_t deliveries = source.take_number()
    cdef uint32_t index
    cdef PendingEntry *entry
    if (
        sequence >= consumer.position
        or consumer_sequence == 0
        or consumer_sequence >= consumer.next_consumer_sequence
        or deliveries >> 32
        or consumer.pending.find(sequence) != NO_ENTRY
    ):
        source.failed = True
        return
    index = consumer.pending.add(sequence, consumer_sequence)
    if index == NO_ENTRY:
        raise MemoryError("no memory for a pending delivery")
    entry = &consumer.pending.entries[index]
    entry.deliveries = <uint32_t> deliveries
    consumer.redelivered += deliveries > 1
    entry.delivered_ns = source.take_time()
    wait(consumer, index, source.take_time())


cdef read_burial(DeltaReader source, Consumer consumer, uint32_t index, uint64_t died_ns):
    """A pending message is a dead letter."""
    cdef bint by_term = source.take_number()
    cdef bytes reason = source.take_text(REASON_SIZE_MAX)
    consumer.bury(
        index,
        IN_GRAVE_BY_TERM if by_term else IN_GRAVE,
        died_ns,
        <const uint8_t *> <const char *> reason,
        <uint32_t> len(reason),
    )


cdef read_delta(Consumer consumer, bytes note):
    """Apply the changes of one delta."""
    cdef DeltaReader source = DeltaReader(note)
    cdef PendingEntry *last
    source.take_number()
    source.take_number()
    while source.more():
        read_change(source, consumer)
    if consumer.pending.count:
        # Numbers of a damaged note may contradict each other.
        last = &consumer.pending.entries[consumer.pending.last]
        source.failed |= last.sequence >= consumer.position
        source.failed |= last.consumer_sequence >= consumer.next_consumer_sequence
    if source.failed:
        raise StorageError(f"consumer {consumer.name}: a delta is damaged")
    consumer.delta.clear()
    consumer.finished_count = 0
    consumer.events.clear()
    noted(consumer)


cdef read_change(DeltaReader source, Consumer consumer):
    cdef int kind = source.take_number()
    cdef AckOutcome outcome
    cdef uint64_t sequence
    cdef uint32_t index
    cdef PendingEntry *entry
    if kind == DELTA_PLACE:
        read_place(source, consumer)
        return
    sequence = checked_sequence(source)
    if kind == DELTA_NEW:
        replay_new(source, consumer, sequence)
        return
    if kind == DELTA_CLEARED or kind == DELTA_RESET:
        consumer.pending.clear()
        consumer.exhausted.clear()
        consumer.reasons.clear()
        consumer.counting.chosen.clear()
        consumer.counting.chosen_end = consumer.redelivered = 0
        consumer.position = sequence
        consumer.delivered_stream = sequence - 1
        return
    if kind == DELTA_PARDONED:
        consumer.redelivered -= consumer.exhausted.remove(sequence)
        return
    if kind == DELTA_ALL:
        if sequence >= consumer.position:
            source.failed = True
            return
        consumer.ack_all(sequence, source.take_number(), &outcome)
        return
    index = consumer.pending.find(sequence)
    if index == NO_ENTRY:
        source.failed = True
        return
    entry = &consumer.pending.entries[index]
    if kind == DELTA_DONE:
        consumer.finish(index, False)
    elif kind == DELTA_AGAIN:
        consumer.redelivered += entry.deliveries == 1
        entry.deliveries += 1
        consumer.next_consumer_sequence += 1
        entry.delivered_ns = source.take_time()
        wait(consumer, index, consumer.deadline(entry.deliveries, entry.delivered_ns))
    elif kind == DELTA_WAIT:
        wait(consumer, index, source.take_time())
    elif kind == DELTA_QUEUE:
        due_again(consumer, index)
    elif kind == DELTA_EXHAUSTED:
        consumer.exhaust(index)
    elif kind == DELTA_BURIED:
        read_burial(source, consumer, index, source.take_time())
    elif kind == DELTA_UNSENT:
        consumer.undelivered(sequence)
    else:
        source.failed = True


cdef replay_new(DeltaReader source, Consumer consumer, uint64_t sequence):
    """A message was delivered the first time."""
    cdef uint64_t time_ns = source.take_time()
    cdef uint32_t index
    if consumer.policy == POLICY_NONE or consumer.pending.find(sequence) != NO_ENTRY:
        source.failed = True
        return
    index = consumer.pending.add(sequence, consumer.next_consumer_sequence)
    if index == NO_ENTRY:
        raise MemoryError("no memory for a pending delivery")
    consumer.next_consumer_sequence += 1
    consumer.position = sequence + 1
    consumer.delivered_stream = sequence
    consumer.counting.chosen.remove(sequence)
    consumer.pending.entries[index].delivered_ns = time_ns
    wait(consumer, index, consumer.deadline(1, time_ns))


cdef void due_again(Consumer consumer, uint32_t index) noexcept:
    """It is to be sent again; not where nothing is, whatever an older program has noted."""
    if consumer.policy != POLICY_FLOW_CONTROL:
        consumer.pending.enqueue(index, False)


cdef wait(Consumer consumer, uint32_t index, uint64_t deadline_ns):
    if consumer.policy == POLICY_FLOW_CONTROL:
        return
    if consumer.pending.wait_until(index, deadline_ns) < 0:
        raise MemoryError("no memory for a deadline")


cdef reconcile(Consumer consumer):
    """Forget what the stream does not have any more, and count the rest."""
    cdef uint32_t index = consumer.pending.first, after
    cdef uint64_t sequence
    while index != NO_ENTRY:
        after = consumer.pending.entries[index].after
        if consumer.state.messages.get(consumer.pending.entries[index].sequence) == NULL:
            consumer.finish(index, False)
        index = after if consumer.pending.count else NO_ENTRY
    sequence = consumer.exhausted.next_from(1)
    while sequence:
        if consumer.state.messages.get(sequence) == NULL:
            consumer.redelivered -= consumer.exhausted.remove(sequence)
        sequence = consumer.exhausted.next_from(sequence + 1)
    sequence = consumer.counting.chosen.next_from(1)
    while sequence:
        if consumer.state.messages.get(sequence) == NULL or sequence < consumer.position:
            consumer.counting.chosen.remove(sequence)
        sequence = consumer.counting.chosen.next_from(sequence + 1)
    if consumer.pending.dead and not consumer.keeps_dead:
        consumer.give_back_dead()
    consumer.recount()


def describe(Consumer consumer not None):
    """The state as a dict, for tests and tools."""
    return {
        "position": consumer.position,
        "delivered_stream": consumer.delivered_stream,
        "next_consumer_sequence": consumer.next_consumer_sequence,
        "ack_floor": (consumer.floor_consumer, consumer.floor_stream),
        "pending": consumer.pending.items(),
        "queue": consumer.pending.queue(),
        "exhausted": consumer.exhausted.members(),
        "chosen": consumer.counting.chosen.members(),
        "dead": [tuple(one) for one in dead_entries(consumer)],
        "num_redelivered": consumer.redelivered,
    }
