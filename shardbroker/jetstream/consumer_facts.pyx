"""What a consumer's state says about why it sends what it sends: facts for explain_facts.py.

Everything here reads and changes nothing, so that a look never moves a consumer on. It is bounded: at most
LOOK messages and LOOK subjects are looked at, and the requests that wait.
"""

from libc.stdint cimport int64_t, uint32_t, uint64_t

from shardbroker.jetstream.consumer cimport Consumer
from shardbroker.jetstream.message_table cimport MessageEntry
from shardbroker.jetstream.pending_table cimport LANES, NO_ENTRY, PendingEntry, PendingTable
from shardbroker.jetstream.push_flow cimport PushFlow
from shardbroker.jetstream.stream_state cimport SIZE_MASK, StreamState
from shardbroker.jetstream.subject_table cimport SubjectEntry
from shardbroker.jetstream.waiting_pulls cimport (
    END_TOO_LARGE,
    PULLS_OVERFLOW,
    PULLS_PINNED,
    Pull,
    WaitingPulls,
)

cdef enum:
    LOOK = 20_000  # messages or subjects: about 0.3 ms
    SUBJECTS_SHOWN = 5
    PIN_FITS = 0  # WaitingPulls.fits_pin
    ADDED_IN_MEMORY = 16  # StreamState.accounted_size adds so many bytes to a message's own
    ADDED_ON_DISK = 34  # and here, where it has headers; without, the size is 4 bytes too small


def state_facts(Consumer consumer not None):
    """Where a consumer stands, as fields of ConsumerFacts."""
    cdef StreamState state = consumer.state
    cdef uint64_t sequence = next_sequence(consumer), exhausted = consumer.exhausted.next_from(1)
    cdef MessageEntry *entry = state.messages.get(sequence) if sequence else NULL
    cdef uint64_t size = 0
    if entry != NULL:
        size = entry.size & SIZE_MASK
        size -= min(size, <uint64_t> (ADDED_IN_MEMORY if state.memory else ADDED_ON_DISK))
    return {
        "stream_messages": state.messages.count,
        "stream_first": state.messages.first,
        "stream_last": state.messages.last,
        "stream_subjects_count": state.subjects.count,
        "is_counted": bool(consumer.is_counted),
        "paused_until": consumer.paused_until_ns,
        "position": consumer.position,
        "num_pending": consumer.num_pending,
        "ack_pending": consumer.num_ack_pending,
        "dead": consumer.num_dead,
        "redelivery_due": consumer.pending.queued,
        "redelivered": consumer.num_redelivered,
        "exhausted": consumer.exhausted.count,
        "exhausted_first": exhausted,
        "delivered_consumer": consumer.next_consumer_sequence - 1,
        "delivered_stream": consumer.delivered_stream,
        "floor_consumer": consumer.floor_consumer,
        "floor_stream": consumer.floor_stream,
        "next_sequence": sequence,
        "next_size": size,
        "next_stored": state.messages.time_of(sequence) if entry != NULL else 0,
        **pending_facts(consumer.pending),
        **subject_facts(consumer),
    }


cdef uint64_t next_sequence(Consumer consumer) noexcept:
    """The message that comes next; 0: none, or not found within the bound."""
    cdef uint32_t index = consumer.pending.next_queued()
    cdef uint64_t at = consumer.position, found
    if index != NO_ENTRY:
        return consumer.pending.entries[index].sequence
    if not consumer.is_counted or consumer.num_pending == 0:
        return 0
    if at <= consumer.counting.chosen_end:
        found = consumer.counting.chosen.next_from(at)
        if found:
            return found
        at = consumer.counting.chosen_end + 1
    return consumer.filter.search(consumer.state, &at, LOOK)


cdef dict pending_facts(PendingTable pending):
    """The oldest message that is not acknowledged, and the one that is due again first."""
    cdef uint32_t index = pending.first, looked = 0
    cdef PendingEntry *oldest = NULL
    while index != NO_ENTRY and looked < LOOK:
        if not pending.is_dead(index):
            oldest = &pending.entries[index]
            break
        index = pending.entries[index].after
        looked += 1
    index = soonest(pending)
    cdef PendingEntry *due = &pending.entries[index] if index != NO_ENTRY else NULL
    return {
        "oldest_sequence": oldest.sequence if oldest != NULL else 0,
        "oldest_delivered": oldest.delivered_ns if oldest != NULL else 0,
        "oldest_deliveries": oldest.deliveries if oldest != NULL else 0,
        "due_sequence": due.sequence if due != NULL else 0,
        "due_deliveries": due.deliveries if due != NULL else 0,
        "due_at": due.deadline_ns if due != NULL else 0,
    }


cdef uint32_t soonest(PendingTable pending) noexcept:
    """The entry whose deadline comes first."""
    cdef uint32_t lane, index, best = NO_ENTRY
    for lane in range(<uint32_t> LANES):
        index = pending.lane_first[lane]
        if index != NO_ENTRY and (
            best == NO_ENTRY or pending.entries[index].deadline_ns < pending.entries[best].deadline_ns
        ):
            best = index
    if pending.heap_count:
        index = pending.heap[0]
        if best == NO_ENTRY or pending.entries[index].deadline_ns < pending.entries[best].deadline_ns:
            best = index
    return best


cdef dict subject_facts(Consumer consumer):
    """Some subjects of the stream, and whether any that has messages matches; None: not known."""
    cdef StreamState state = consumer.state
    cdef SubjectEntry *entry
    cdef uint32_t i, looked = min(state.subjects.entry_count, <uint32_t> LOOK)
    cdef bint matching = False
    shown = []
    if consumer.filter.literal_only:
        for i in range(consumer.filter.count):
            entry = state.subjects.find(consumer.filter.patterns[i].text, consumer.filter.patterns[i].size)
            matching = matching or (entry != NULL and entry.count != 0)
    for i in range(looked):
        entry = &state.subjects.entries[i]
        if entry.name == NULL or entry.count == 0:
            continue
        if len(shown) < SUBJECTS_SHOWN:
            shown.append(entry.name[: entry.size].decode("utf-8", "replace"))
        elif matching:
            break
        matching = matching or consumer.filter.matches(entry)
    known = matching or consumer.filter.literal_only or looked == state.subjects.entry_count
    return {"subjects": shown, "has_matching": bool(matching) if known else None}


def pull_facts(
    WaitingPulls pulls not None, int64_t size, int64_t num_pending, int64_t ack_pending, uint64_t now_ns
):
    """Who waits, and how many of them may get the next message: of `size`, with its reply; 0: not known."""
    cdef Pull *pull = pulls.head
    cdef uint32_t able = 0, of_pinned = 0, expired = 0, too_small = 0, held = 0
    cdef int64_t min_pending = 0, min_ack_pending = 0
    cdef bint fits
    while pull != NULL:
        if pull.expires_ns and now_ns >= pull.expires_ns:
            expired += 1
            pull = pull.next
            continue
        fits = True
        if pulls.policy == PULLS_PINNED and pulls.pinned:
            if pulls.fits_pin(pull) == PIN_FITS:
                of_pinned += 1
            else:
                fits = False
        if pulls.policy == PULLS_OVERFLOW and (pull.min_pending > 0 or pull.min_ack_pending > 0):
            if pull.min_pending > 0 and (min_pending == 0 or pull.min_pending < min_pending):
                min_pending = pull.min_pending
            if pull.min_ack_pending > 0 and (min_ack_pending == 0 or pull.min_ack_pending < min_ack_pending):
                min_ack_pending = pull.min_ack_pending
            if not (0 < pull.min_pending <= num_pending or 0 < pull.min_ack_pending <= ack_pending):
                held += 1
                fits = False
        if fits and pull.max_bytes > 0 and size > pull.max_bytes:
            too_small += 1
            fits = False
        able += fits
        pull = pull.next
    return {
        "waiting": pulls.count - expired,
        "waiting_able": able,
        "waiting_of_pinned": of_pinned,
        "waiting_too_small": too_small,
        "waiting_held": held,
        "waiting_min_pending": min_pending,
        "waiting_min_ack_pending": min_ack_pending,
        "requests": pulls.requests,
        "last_request": pulls.last_request_ns,
        "last_refusal": pulls.refusal.partition(b"\r\n")[0].removeprefix(b"NATS/1.0 ").decode(),
        "was_too_large": pulls.last_end == END_TOO_LARGE,
        "pinned_id": pulls.pinned.decode("utf-8", "replace") if pulls.pinned else "",
        "pinned_since": pulls.pinned_ns,
        "pin_expires": pulls.pin_expires_ns if pulls.pinned else 0,
    }


def flow_facts(PushFlow flow not None):
    """How much a push consumer has on its way."""
    return {
        "flow_window": flow.window,
        "flow_outstanding": flow.outstanding,
        "flow_request": flow.request.decode("utf-8", "replace"),
        "is_stalled": bool(flow.is_stalled()),
    }
