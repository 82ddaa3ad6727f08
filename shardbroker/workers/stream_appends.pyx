"""What a worker's streams hand to the stream-writer, and what becomes of it: the owner's side of the lane.

Staged frames are moved into the append lane in the order of their streams; those of memory streams are
written into their memory at once. When the writer is through with a frame, whoever waits for it is answered:
as promised, or with an error if it or one before it has failed. Then the stream goes on behind what is
stored.
"""

import errno as errors
import os

from libc.errno cimport EDQUOT, EINTR, EIO, ENOSPC, errno
from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.stdlib cimport realloc
from libc.string cimport memcpy, memset

from shardbroker.jetstream.frame_stage cimport TRAILER_CALL, TRAILER_TEXT, StagedFrame, TrailerEntry
from shardbroker.jetstream.stream cimport ACK_SIZE_MAX, Stream
from shardbroker.shm.append_lane cimport (
    LANE_END_TOLD,
    LANE_FRAME,
    LANE_NO_SYNC,
    LANE_RECORD_SIZE,
    LANE_SYNC,
    LANE_TRUNCATE,
    STATUS_ERRNO,
    STATUS_REFUSED,
    STATUS_STORED,
    LaneRecord,
    lane_body,
    lane_trailer,
)
from shardbroker.shm.atomics cimport store_relaxed_u64
from shardbroker.shm.offsets cimport LOG_FIGURES_START, LOG_ROW_SIZE
from shardbroker.storage.frame cimport (
    FRAME_HEAD_SIZE,
    FRAME_NOTE,
    FRAME_PURGE,
    FrameHead,
    PurgeBody,
    padded,
)
from shardbroker.workers.hosted cimport Hosted

from shardbroker.jetstream import api_errors

cdef extern from "<unistd.h>" nogil:
    ssize_t pwrite(int fd, const void *buffer, size_t size, long offset)

CUT_OFF = STATUS_ERRNO + errors.ECANCELED


cdef class StreamAppends(StreamReads):
    """Stages, lane, answers. The log table has a row of figures for each stream."""

    # --- from the stages into the lane ------------------------------------------------------------------

    cdef void note_staged(self, Hosted hosted, uint64_t before) noexcept:
        """Something was staged; `before`: the size of the stage until then."""
        self.staged_size += hosted.stream.stage.size - before
        if not hosted.stream.in_dirty:
            hosted.stream.in_dirty = True
            self.dirty.append(hosted)

    cdef void commit_early(self) noexcept:
        """The writer has nothing to do: let it begin with what there is, while more is still being read."""
        try:
            self.append_dirty()
            self.lane.publish()
        except BaseException as error:  # a bug of ours: the worker ends with it
            self.session.failure = error

    def stage_done(self, Hosted hosted):
        """The caller has staged frames of this stream by itself."""
        self.staged_size = 0
        for other in self.dirty:
            self.staged_size += (<Hosted> other).stream.stage.size
        self.note_staged(hosted, hosted.stream.stage.size if hosted.stream.in_dirty else 0)
        self.pressing = True  # commit() follows in the next turn

    def staging_room(self):
        """Bytes that long work may stage now: up to half of the lane, where publishers begin to wait."""
        cdef uint64_t used = self.lane.size - self.lane.room() + self.staged_size
        return (self.lane.size >> 1) - min(self.lane.size >> 1, used)

    cdef int append_dirty(self) except -1:
        """Move staged frames into the lane (or into memory)."""
        cdef Hosted hosted
        if self.dirty:
            # What is answered in here may stage more, or remove a stream.
            dirty, self.dirty = self.dirty, []
            waiting = []
            for hosted in dirty:
                if self.append_staged(hosted):
                    hosted.stream.in_dirty = False
                else:
                    waiting.append(hosted)
            self.dirty = waiting + self.dirty if waiting else self.dirty
        return 0

    cdef int append_staged(self, Hosted hosted) except -1:
        """1 when nothing of the stream is staged any more, 0 when the lane has no room for the rest."""
        cdef StagedFrame *frame
        cdef uint64_t need, before
        if hosted.stream.cutting:
            if hosted.stream.frames_in_flight:
                return 0  # it has an old place in the log, if any: it is failed when the cut is done
            self.fail_staged(hosted, CUT_OFF)
        while hosted.stream.stage.first != NULL:
            frame = hosted.stream.stage.first
            if hosted.stream.is_reserve_low() and not hosted.memory and hosted.details is not None:
                if not hosted.details.reserve.allows_frames():
                    return 0
            need = LANE_RECORD_SIZE + FRAME_HEAD_SIZE + padded(frame.body_size) + frame.trailer_size
            if not hosted.memory and need > self.lane.room():
                return 0
            before = hosted.stream.stage.size
            hosted.stream.stage.take()
            self.staged_size -= before - hosted.stream.stage.size
            if hosted.memory:
                self.store_in_memory(hosted, frame)
            else:
                self.append_frame(hosted, frame)
            hosted.stream.stage.give_back(frame)
        return 1

    cdef int append_frame(self, Hosted hosted, StagedFrame *frame) except -1:
        cdef Stream stream = hosted.stream
        cdef LaneRecord *record
        cdef uint64_t reserve, size
        if frame.kind == 0 and stream.frames_in_flight == 0:
            return self.answer_all(hosted, frame.trailer, <uint32_t> frame.trailer_size, STATUS_STORED)
        if frame.kind == 0 and stream.failed:
            # Errors that need not wait: records for them would keep the stream from ever being done failing.
            return self.answer_all(hosted, frame.trailer, <uint32_t> frame.trailer_size, STATUS_ERRNO)
        size = 0 if frame.kind == 0 else FRAME_HEAD_SIZE + frame.body_size
        record = self.lane.claim(LANE_RECORD_SIZE + size + frame.trailer_size)
        record.kind = LANE_SYNC if frame.kind == 0 else LANE_FRAME
        record.log_id = stream.log.log_id
        record.row = stream.row
        record.flags = hosted.flags
        if frame.kind == FRAME_NOTE and frame.trailer_size == 0:
            record.flags |= LANE_NO_SYNC  # nobody waits for it: it becomes durable with what follows
        else:
            self.is_awaited = True
        record.body_size = <uint32_t> size
        record.trailer_size = <uint32_t> frame.trailer_size
        record.term = stream.log.term
        record.index = stream.log.index
        if frame.kind:
            stream.log.seal(frame, stream.last_sequence, self.now_ns + self.wall_offset_ns, lane_body(record))
            record.index = stream.log.index
            record.position = stream.log.position - size
            record.segment = stream.log.segment
            record.capacity = stream.log.capacity
        memcpy(lane_trailer(record), frame.trailer, frame.trailer_size)
        self.lane.commit(record)
        stream.frames_in_flight += 1
        return 0

    cdef int store_in_memory(self, Hosted hosted, StagedFrame *frame) except -1:
        """A frame of a memory stream: written, applied and answered at once."""
        cdef Stream stream = hosted.stream
        cdef uint64_t size = FRAME_HEAD_SIZE + frame.body_size, done = 0, position
        cdef uint8_t *place
        cdef ssize_t written
        cdef uint32_t status = STATUS_STORED
        if frame.kind:
            place = self.frame_room(size)
            stream.log.seal(frame, stream.last_sequence, self.now_ns + self.wall_offset_ns, place)
            position = stream.log.position - size
            while done < size:
                written = pwrite(hosted.memory_fd, place + done, size - done, <long> (position + done))
                if written < 0 and errno != EINTR:
                    status = STATUS_ERRNO + errno
                    break
                done += max(<ssize_t> 0, written)
            if status == STATUS_STORED:
                stream.apply_frame(place, position, stream.log.segment, stream.log.capacity)
                self.tell_consumers(hosted, place)
                self.touch(hosted)
            else:
                self.answer_all(hosted, frame.trailer, <uint32_t> frame.trailer_size, status)
                self.fail(hosted, status)
                return 0
        return self.answer_all(hosted, frame.trailer, <uint32_t> frame.trailer_size, status)

    cdef void tell_consumers(self, Hosted hosted, const uint8_t *frame) noexcept:
        """A frame was applied. What it stored and removed they have heard of; a whole purge moves them on."""
        cdef const FrameHead *head = <const FrameHead *> frame
        if hosted.attached and head.kind == FRAME_PURGE:
            if (<const PurgeBody *> (frame + FRAME_HEAD_SIZE)).filter_size == 0:
                hosted.consumers.purged()

    cdef uint8_t *frame_room(self, uint64_t size) except NULL:
        """Memory to build a frame in, apart from what answers are built in."""
        cdef uint8_t *larger
        if size > self.frame_size:
            larger = <uint8_t *> realloc(self.frame, size)
            if larger == NULL:
                raise MemoryError("no memory for a frame")
            self.frame = larger
            self.frame_size = size
        return self.frame

    def lane_record(self, uint32_t kind, uint32_t log_id, uint32_t row, bytes body, call, *,
                    uint64_t segment=0, uint64_t position=0, uint64_t count=0, uint32_t term=0,
                    uint64_t index=0):
        """Send the writer a record that is no frame; `call(errno)` when it is done. False: no room now."""
        cdef LaneRecord *record
        cdef TrailerEntry *entry
        cdef uint64_t trailer = sizeof(TrailerEntry) if call is not None else 0
        record = self.lane.claim(LANE_RECORD_SIZE + padded(len(body)) + trailer)
        if record == NULL:
            return False
        record.kind = kind
        record.log_id = log_id
        record.row = row
        record.segment = segment
        record.position = position
        record.count = count
        record.index = index
        record.term = term
        record.body_size = <uint32_t> len(body)
        memcpy(lane_body(record), <const char *> body, len(body))
        if call is not None:
            record.trailer_size = sizeof(TrailerEntry)
            entry = <TrailerEntry *> lane_trailer(record)
            memset(entry, 0, sizeof(TrailerEntry))
            entry.size = sizeof(TrailerEntry)
            entry.kind = TRAILER_CALL
            entry.sequence = self.call_number(call)
        self.lane.commit(record)
        self.is_awaited = True
        self.pressing = True  # shown to the writer in the next turn, which is not to wait for the clock
        return True

    def call_number(self, call):
        """A number under which `call(errno)` waits for a frame (Stream.stage_frame); 0: it is stored."""
        number = self.next_number
        self.next_number += 1
        self.calls[number] = call
        return number

    def when_applied(self, Hosted hosted, call):
        """Call `call(errno)` once all that the stream has accepted is applied: now, if nothing waits."""
        if hosted.stream.frames_in_flight == 0 and hosted.stream.stage.first == NULL:
            call(0)
            return
        hosted.stream.stage_call(self.call_number(call))
        self.stage_done(hosted)

    # --- what has failed, or is cut off -----------------------------------------------------------------

    def fail(self, Hosted hosted, uint32_t status):
        """The first frame of a stream that could not be stored: drop everything behind what is stored."""
        cdef Stream stream = hosted.stream
        reason = os.strerror(status - STATUS_ERRNO) if status > STATUS_ERRNO else f"status {status}"
        self.failure_lines.tell(stream.config.name, reason, self.now_ns)
        self.fail_staged(hosted, status)
        stream.drop_overlay()
        self.consumers.failed(hosted)
        stream.log.cramped = status == STATUS_ERRNO + ENOSPC or status == STATUS_ERRNO + EDQUOT
        if stream.frames_in_flight:
            stream.failed = True

    cdef int fail_staged(self, Hosted hosted, uint32_t status) except -1:
        """Frames that have not left yet have sequences that will not come: answer their publishers."""
        cdef StagedFrame *frame
        cdef uint64_t before = hosted.stream.stage.size
        while True:
            frame = hosted.stream.stage.take()
            if frame == NULL:
                break
            self.answer_all(hosted, frame.trailer, <uint32_t> frame.trailer_size, status)
            hosted.stream.stage.give_back(frame)
        self.staged_size -= before - hosted.stream.stage.size
        return 0

    cdef int take_back(self, Hosted hosted, LaneRecord *record) except -1:
        """A sync has failed behind frames that were called stored: the writer says where the log ends now.

        Nobody waited for them: they are changes of consumers, which are written down anew, and messages of a
        stream that asks for no sync. Those are lost, as they would be with the power.
        """
        cdef Stream stream = hosted.stream
        cdef uint64_t first
        if not record.flags & LANE_END_TOLD or record.count > stream.log.durable_index:
            self.disagree(stream)
        if record.count < stream.log.durable_index:
            if record.count < stream.state.removal_index:
                self.disagree(stream)  # only the log can say what is there again
            stream.log.take_back(record.count, record.position, <uint32_t> record.segment)
            first = stream.state.take_back(record.position, record.count)
            if first and hosted.details is not None:
                hosted.details.lose(
                    first, stream.state.messages.last, "a sync failed behind their acknowledgement"
                )
            self.touch(hosted)
        # Otherwise nothing is missing, but the writer wants a new segment.
        self.fail(hosted, STATUS_ERRNO + EIO)
        return 0

    def truncate_suffix(self, Hosted hosted, uint64_t index, call):
        """Cut the stream's log behind frame `index`; `call(errno)` hears of it, 0: done, durably.

        What is behind it is answered with an error, stored or not, and so is every publish until it is done.
        False: the lane has no room now. Raises StorageError when a committed frame would go, or there is no
        such frame. With an errno the stream stays closed until a cut there, or before it, succeeds.
        """
        cdef Stream stream = hosted.stream
        stream.check_cut(index)
        if hosted.memory:
            call(0)  # all of it is committed, so nothing is cut off
            return True
        self.note_figures(hosted)
        if not self.lane_record(
            LANE_TRUNCATE, stream.log.log_id, stream.row, b"", call, index=index, term=stream.log.term
        ):
            return False
        stream.frames_in_flight += 1
        stream.begin_cut(index)
        self.fail_staged(hosted, CUT_OFF)
        return True

    def finish_cut(self, Hosted hosted, uint64_t index, uint32_t status):
        """The writer's word on a cut."""
        cdef Stream stream = hosted.stream
        # Refused: a frame before the cut has failed, so there is nothing behind it either.
        if status == STATUS_STORED or (status == STATUS_REFUSED and stream.cut_index < index):
            self.fail_staged(hosted, CUT_OFF)
            stream.end_cut()
            self.consumers.failed(hosted)
            self.touch(hosted)
        elif status < STATUS_ERRNO:
            self.disagree(stream)

    def disagree(self, Stream stream):
        raise RuntimeError(
            f"stream '{stream.config.name}' does not agree with the stream-writer any more: the worker ends, "
            "the next one reads it back"
        )

    # --- answers ----------------------------------------------------------------------------------------

    cdef int answer_all(
        self, Hosted hosted, const uint8_t *trailer, uint32_t size, uint32_t status
    ) except -1:
        """Send the answers that a frame owes: as promised if it is stored, else an error."""
        cdef const TrailerEntry *entry
        cdef uint8_t[ACK_SIZE_MAX] text
        cdef const uint8_t *reply
        cdef bytes error = None
        cdef uint32_t at = 0, text_size
        while at + sizeof(TrailerEntry) <= size:
            entry = <const TrailerEntry *> (trailer + at)
            if entry.size < sizeof(TrailerEntry) or at + entry.size > size:
                break
            at += entry.size
            reply = <const uint8_t *> (entry + 1)
            if entry.kind == TRAILER_CALL:
                call = self.calls.pop(entry.sequence, None)
                if call is not None:
                    try:
                        call(0 if status == STATUS_STORED else max(1, <int> status - STATUS_ERRNO))
                    except Exception as failure:
                        self.tell_failure("an answer", failure)
            elif status != STATUS_STORED:
                if error is None:
                    error = self.failure_text(hosted, status)
                self.send_raw(entry.account, reply, entry.reply_size, NULL, 0, error, <uint32_t> len(error))
            elif entry.kind == TRAILER_TEXT:
                self.send_raw(
                    entry.account, reply, entry.reply_size, NULL, 0, reply + entry.reply_size, entry.text_size
                )
            elif hosted is not None:
                text_size = hosted.stream.write_ack(text, entry.kind, entry.sequence)
                self.send_raw(entry.account, reply, entry.reply_size, NULL, 0, text, text_size)
        return 0

    def failure_text(self, Hosted hosted, uint32_t status):
        """The PubAck for a message that could not be stored."""
        if hosted is None:
            return (
                b'{"error":{"code":404,"err_code":10059,"description":"stream not found"},'
                b'"stream":"","seq":0}'
            )
        if status > STATUS_ERRNO:
            reason = os.strerror(status - STATUS_ERRNO).lower()
        else:
            reason = "a write before it failed"
        error = api_errors.STREAM_STORE_FAILED(err=f"the message is not stored: {reason}")
        return hosted.stream.error_text(error)

    # --- figures ----------------------------------------------------------------------------------------

    cdef void touch(self, Hosted hosted) noexcept:
        if not hosted.touched:
            hosted.touched = True
            self.touched.append(hosted)
        if hosted.attached and not hosted.has_changed:
            self.consumers.changed(hosted)
        if hosted.followers is not None:
            hosted.followers()

    cdef void note_figures(self, Hosted hosted) except *:
        """Write the stream's figures into its row of the log table (layout.LOG_FIGURES, in order)."""
        cdef uint64_t *cell = <uint64_t *> (
            self.log_table + <uint64_t> hosted.stream.row * LOG_ROW_SIZE + LOG_FIGURES_START
        )
        cdef Stream stream = hosted.stream
        cdef uint64_t first = stream.state.messages.first
        hosted.touched = False
        if stream.state.messages.last == 0 and stream.state.applied_index == 0:
            first = 0  # nothing was ever done; after a purge nats-server says 1
        store_relaxed_u64(cell + 0, stream.state.messages.count)
        store_relaxed_u64(cell + 1, stream.state.bytes)
        store_relaxed_u64(cell + 2, first)
        store_relaxed_u64(cell + 3, stream.state.messages.last)
        store_relaxed_u64(cell + 4, self.first_time_ns(hosted))
        store_relaxed_u64(cell + 5, stream.state.last_time_ns)
        store_relaxed_u64(cell + 6, stream.state.subjects.count)
        store_relaxed_u64(cell + 7, stream.state.deleted_count())
        store_relaxed_u64(cell + 8, len(hosted.attached))
        store_relaxed_u64(cell + 9, stream.state.applied_index)
        store_relaxed_u64(cell + 10, stream.state.log_bytes())
        store_relaxed_u64(cell + 11, stream.state.lost)
        store_relaxed_u64(cell + 12, stream.state.segments[0].base if stream.state.segment_count else 0)
        store_relaxed_u64(cell + 13, stream.log.durable_index)

    def write_figures(self, Hosted hosted):
        """Bring the stream's row of the log table up to date now."""
        self.note_figures(hosted)
