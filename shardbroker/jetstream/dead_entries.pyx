"""The dead letters of a consumer that are not stored yet, for whoever takes them to where they are kept.

They are pending entries (consumer.pyx), in the order in which they died. One that was tried goes behind the
others, so a letter that nobody takes holds up none. Dead letters are rare: here are Python objects.
"""

from libc.stdint cimport uint32_t, uint64_t

from shardbroker.jetstream.consumer cimport Consumer
from shardbroker.jetstream.pending_table cimport IN_GRAVE_BY_TERM, NO_ENTRY, PendingEntry, PendingPlace

from typing import NamedTuple


class DeadEntry(NamedTuple):
    """One of them. `reason` is what the client said that terminated it; times are wall clock."""

    sequence: int
    deliveries: int
    by_term: bool
    died_ns: int
    reason: bytes


def next_dead(Consumer consumer not None, uint64_t died_until_ns):
    """The DeadEntry whose turn it is; None if there is none, or if it has died later than that."""
    cdef uint32_t index = consumer.pending.next_dead()
    if index == NO_ENTRY or consumer.pending.entries[index].deadline_ns > died_until_ns:
        return None
    return entry_of(consumer, index)


cdef entry_of(Consumer consumer, uint32_t index):
    cdef PendingEntry *entry = &consumer.pending.entries[index]
    return DeadEntry(
        entry.sequence,
        entry.deliveries,
        entry.place == IN_GRAVE_BY_TERM,
        entry.deadline_ns,
        consumer.reasons.get(entry.sequence, b""),
    )


def set_back(Consumer consumer not None, uint64_t sequence):
    """This one was tried: the others come first."""
    cdef uint32_t index = consumer.pending.find(sequence)
    cdef PendingEntry *entry
    if index != NO_ENTRY and consumer.pending.is_dead(index):
        entry = &consumer.pending.entries[index]
        consumer.pending.bury(index, <PendingPlace> entry.place, entry.deadline_ns)


def is_dead(Consumer consumer not None, uint64_t sequence):
    """Whether it is a dead letter that is not stored yet."""
    cdef uint32_t index = consumer.pending.find(sequence)
    return index != NO_ENTRY and consumer.pending.is_dead(index)


def finish_dead(Consumer consumer not None, uint64_t sequence):
    """It is stored elsewhere, and done with here. False: it is no dead letter any more."""
    cdef uint32_t index = consumer.pending.find(sequence)
    if index == NO_ENTRY or not consumer.pending.is_dead(index):
        return False
    consumer.finish(index, True)
    return True


def dead_entries(Consumer consumer not None):
    """All of them, in the order in which they are tried."""
    cdef uint32_t index = consumer.pending.next_dead()
    found = []
    while index != NO_ENTRY:
        found.append(entry_of(consumer, index))
        index = consumer.pending.entries[index].place_after
    return found
