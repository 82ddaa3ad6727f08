"""What is written down of consumers: the changes of a turn as one note in the log of their stream.

A note is staged before anything the turn has sent leaves for a socket, and is synced with what follows. An
acknowledgement that wants an answer is answered when the note with its effect is durable. Removals that
acknowledgements allow (interest, work queue) are staged behind that note, so no crash can undo the one and
keep the other.
"""

from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.string cimport memcpy

from shardbroker.arrays cimport reserve
from shardbroker.jetstream.consumer cimport Consumer
from shardbroker.jetstream.frame_stage cimport TRAILER_TEXT
from shardbroker.jetstream.stream cimport Stream
from shardbroker.storage.frame cimport FRAME_DELETE, FRAME_NOTE
from shardbroker.workers.hosted cimport Hosted
from shardbroker.workers.hosted_consumer cimport HostedConsumer

import struct

from shardbroker.jetstream.consumer_notes import take_delta
from shardbroker.jetstream.consumer_recovery import NOTE_DELTAS, note, part

cdef enum:
    SNAPSHOT_AFTER = 1 << 20  # bytes of deltas that are worth a snapshot
    DELETE_RUNS_MAX = 4096  # of one frame


cdef class ConsumerNoting(ConsumerPushes):
    """Notes of all consumers of this worker's streams."""

    cdef void note_due(self, Hosted hosted) noexcept:
        if not hosted.owes_notes:
            hosted.owes_notes = True
            self.noting.append(hosted)

    cdef void owe(self, Hosted hosted, uint32_t account, const uint8_t *reply, uint32_t size) noexcept:
        """Answer this acknowledgement once the next note is durable."""
        cdef void *grown = reserve(hosted.owed, hosted.owed_size, 8 + size, &hosted.owed_capacity, 1)
        if grown == NULL:
            return  # the client asks again
        hosted.owed = <uint8_t *> grown
        (<uint32_t *> (hosted.owed + hosted.owed_size))[0] = account
        (<uint32_t *> (hosted.owed + hosted.owed_size + 4))[0] = size
        memcpy(hosted.owed + hosted.owed_size + 8, reply, size)
        hosted.owed_size += 8 + size
        if not hosted.owes_notes:
            self.note_due(hosted)

    cdef int settle(self) except -1:
        """Write down what has changed."""
        cdef Hosted hosted
        cdef HostedConsumer one
        noting, self.noting = self.noting, []
        for hosted in noting:
            hosted.owes_notes = False
            if hosted.stream.closing:
                hosted.owed_size = 0
                continue
            for one in hosted.attached:
                if one.consumer.events:
                    for kind, sequence, number, deliveries in one.consumer.events:
                        self.told.append((one, kind, sequence, number, deliveries, None))
                    one.consumer.events.clear()
                if one.pulls.pin_events:
                    for kind, text in one.pulls.pin_events:
                        self.told.append((one, kind, 0, 0, 0, text))
                    one.pulls.pin_events.clear()
                if one.consumer.dead_news:
                    one.consumer.dead_news = False
                    self.dying.append(one)
            self.write_notes(hosted)
            if hosted.consumers.interest or hosted.consumers.workqueue:
                self.stage_removals(hosted)
        if self.dying:
            dying, self.dying = self.dying, []
            for one in dying:
                self.keeper.died(one)
        return 0

    cdef int write_notes(self, Hosted hosted) except -1:
        """One frame with the changes of all consumers of a stream, and what is owed for them."""
        cdef Stream stream = hosted.stream
        cdef bytes body = self.deltas(hosted)
        cdef uint64_t before = stream.stage.size
        cdef uint32_t at = 0, size
        cdef uint8_t *place
        if body is None and hosted.owed_size == 0:
            return 0
        body = note(NOTE_DELTAS, body if body is not None else b"")
        place = stream.stage.body(FRAME_NOTE, stream.last_sequence, len(body))
        if place == NULL:
            raise MemoryError("no memory for a note")
        memcpy(place, <const uint8_t *> body, len(body))
        while at < hosted.owed_size:
            size = (<uint32_t *> (hosted.owed + at + 4))[0]
            stream.stage.answer(
                TRAILER_TEXT, 0, (<uint32_t *> (hosted.owed + at))[0], hosted.owed + at + 8, size, NULL, 0
            )
            at += 8 + size
        hosted.owed_size = 0
        stream.stage.close()
        self.host.note_staged(hosted, before)
        return 0

    cdef bytes deltas(self, Hosted hosted):
        """The changes of all consumers of a stream, or None. Where only the search went on, that can wait."""
        cdef HostedConsumer one
        cdef Consumer consumer
        parts = []
        for one in hosted.attached:
            consumer = one.consumer
            if not self.has_changed(one) or (one.is_lazy and not one.is_note_time):
                continue
            one.is_note_time = False
            if one.wants_snapshot and not one.is_noting:
                self.keeper.keep(one)
                continue
            text = take_delta(consumer)
            one.delta_size += <uint64_t> len(text)
            if one.delta_size > SNAPSHOT_AFTER:
                one.wants_snapshot = True
            parts.append(part(one.name.encode(), text))
        return b"".join(parts) if parts else None

    cdef bint has_changed(self, HostedConsumer one) noexcept:
        """Whether what is written down of a consumer is not true any more."""
        cdef Consumer consumer = one.consumer
        return (
            consumer.delta.size != 0
            or consumer.next_consumer_sequence != consumer.noted_consumer_sequence
            or consumer.floor_stream != consumer.noted_floor_stream
            or consumer.floor_consumer != consumer.noted_floor_consumer
        )

    cdef int stage_removals(self, Hosted hosted) except -1:
        """Messages that all consumers concerned have done with."""
        self.remove(hosted, hosted.consumers.removable())
        return 0

    def remove(self, Hosted hosted not None, sequences):
        """Stage the removal of these messages, which rise."""
        cdef Stream stream = hosted.stream
        cdef uint64_t before = stream.stage.size
        if not sequences:
            return
        runs = []
        first = count = 0
        for sequence in sequences:
            if first + count == sequence:
                count += 1
                continue
            if count:
                runs += (first, count)
            first, count = sequence, 1
        runs += (first, count)
        for start in range(0, len(runs), 2 * DELETE_RUNS_MAX):
            piece = runs[start : start + 2 * DELETE_RUNS_MAX]
            stream.stage_frame(FRAME_DELETE, struct.pack(f"<{len(piece)}Q", *piece))
        self.host.note_staged(hosted, before)

    cdef void failed(self, Hosted hosted) noexcept:
        """What was staged is lost, as when the stream is gone: consumers are written down anew."""
        cdef HostedConsumer one
        self.forget_windows(hosted)
        hosted.owed_size = 0
        for one in hosted.attached:
            one.wants_snapshot = True
            one.consumer.noted_consumer_sequence = 0  # nothing that was noted counts
        if hosted.details is not None:
            hosted.details.consumers.has_failed = True

    cdef bint releasable(self, Hosted hosted, uint64_t end) except -1:
        """Everybody is written down behind that position, or will be soon."""
        cdef HostedConsumer one
        cdef bint ready = True
        for one in hosted.attached:
            if one.noted_at < end:
                ready = False
                if not one.is_noting:
                    self.keeper.keep(one)
        return ready
