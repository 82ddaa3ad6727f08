"""Giving room back that removed messages take in the middle of a log.

A log only loses whole segments at its head. A stream that keeps old messages among many removed ones (a
key-value bucket with some keys that never change) would hold its oldest segment for ever. So when more than
half of a log is dead, what lives in its first segment is written once more at the end of the log, as frames
of their own kind (FRAME_RELOCATED); the segment is then empty and goes the usual way. Nothing is rewritten in
place and no file is swapped, so there is no crash to think of but that of an ordinary append; what lives is
copied at most once for each time the log doubles. Log-structured file systems clean like this (Rosenblum and
Ousterhout, 1991).

Lost: compacting segments in a process of its own, with a manifest that swaps them. It needs a second way to
change a log, and another process that reads what the owner has just removed.
"""

from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.string cimport memcpy

from shardbroker.jetstream.message_table cimport MessageEntry
from shardbroker.jetstream.stream cimport Stream
from shardbroker.jetstream.stream_state cimport SegmentInfo, StreamState
from shardbroker.shm.atomics cimport monotonic_ns
from shardbroker.storage.frame cimport FRAME_RELOCATED, RecordHead
from shardbroker.workers.hosted cimport Hosted
from shardbroker.workers.stream_host cimport StreamHost

from shardbroker.errors import StorageError

cdef enum:
    SLACK_SIZE = 8 << 20  # bytes of dead records that nobody minds
    RECORD_EXTRA = 24  # bytes that a record takes beyond what is accounted for, about
    STEP_NS = 1_000_000
    STEP_SIZE = 1 << 20  # bytes copied in one step at most
    CHECK_EVERY = 64  # entries between two looks at the clock


cdef bint wants_cleaning(StreamState state) noexcept:
    """Whether more than half of the log is dead, and it is worth the while."""
    cdef uint32_t i
    cdef uint64_t log_size = 0
    if state.segment_count < 2 or state.segments[0].live == 0:
        return False
    for i in range(state.segment_count):
        log_size += state.segments[i].end - state.segments[i].base
    return log_size > 2 * (state.bytes + RECORD_EXTRA * state.messages.count) + SLACK_SIZE


cdef class LogCleaning:
    """Cleans the logs of one worker, a step now and then."""

    cdef StreamHost host

    def __init__(self, StreamHost host):
        self.host = host

    def step(self, Hosted hosted):
        """Move some messages out of the first segment, if that is worth it; True when there is more to do."""
        cdef Stream stream = hosted.stream
        cdef StreamState state = stream.state
        cdef SegmentInfo *segment
        cdef MessageEntry *entry
        cdef uint64_t sequence, copied = 0, started_ns = monotonic_ns(), looked = 0
        if not wants_cleaning(state):
            hosted.cleaned_to = 0
            return False
        # A copy must not come behind a removal that is still on its way: reading the log back would undo it.
        if stream.stage.first != NULL or stream.failed or stream.log.removal_index > state.applied_index:
            return False
        segment = &state.segments[0]
        if hosted.cleaned_base != segment.base:
            hosted.cleaned_base = segment.base
            hosted.cleaned_to = 0
        sequence = state.messages.next_live(hosted.cleaned_to)
        while sequence <= state.messages.last and copied < STEP_SIZE:
            entry = state.messages.get(sequence)
            if entry.position < segment.end and entry.position >= segment.base:
                copied += self.copy(hosted, sequence)
            sequence = state.messages.next_live(sequence + 1)
            looked += 1
            if looked % CHECK_EVERY == 0 and monotonic_ns() - started_ns > STEP_NS:
                break
        hosted.cleaned_to = sequence
        if copied:
            stream.stage.close()
            self.host.stage_done(hosted)
        return sequence <= state.messages.last

    cdef uint64_t copy(self, Hosted hosted, uint64_t sequence) except? 0:
        """Stage a copy of a record; its size, 0: it cannot be read (it stays where it is, and is told)."""
        cdef const RecordHead *record
        cdef uint8_t *place
        try:
            record = self.host.find_record(hosted, sequence)
        except StorageError as error:
            self.host.log.error(f"JetStream: stream {hosted.stream.config.name}: {error}")
            return 0
        place = hosted.stream.stage.record(FRAME_RELOCATED, sequence, record.size)
        if place == NULL:
            raise MemoryError("no memory for a frame")
        memcpy(place, record, record.size)
        return record.size
