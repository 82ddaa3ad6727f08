"""Runs the streams of one worker: the glue between the router, the state machines and the append lane.

    router ─► take_publish ─► Stream.publish ─► stage ─┐ commit(), once a turn
                                                       ▼
                              append lane ─► stream-writer ─► files, fdatasync
                                                       │ processed, doorbell
    router ◄─ answers ◄─ Stream.apply_frame ◄──────────┘ drain(), next turn

Nothing here waits. What is staged leaves for the lane before the turn's batch is published; what the writer
has stored is applied and answered at the start of a turn, in lane order. Frames of memory streams are written
to their memory and answered at once.

A nearly full lane first makes local publishers wait with their message in the input (services_full), and
pauses those of other workers through the pressure table; after 100 ms, or when there is no room at all, a
publish is answered with error 10167 (STORAGE section 1).
"""

import errno as errors
import os
from collections import deque

from libc.errno cimport EDQUOT, EINTR, EIO, ENOSPC, errno
from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free, realloc
from libc.string cimport memcpy, memset

from shardbroker.jetstream.frame_stage cimport TRAILER_CALL, TRAILER_TEXT, StagedFrame, TrailerEntry
from shardbroker.jetstream.proposal cimport Proposal
from shardbroker.jetstream.stream cimport ACK_SIZE_MAX, Stream
from shardbroker.jetstream.stream_state cimport SegmentInfo
from shardbroker.routing.delivery_target cimport DeliveryTarget
from shardbroker.routing.router cimport PublishView
from shardbroker.shm.append_lane cimport (
    LANE_END_TOLD,
    LANE_FRAME,
    LANE_NO_SYNC,
    LANE_RECORD_SIZE,
    LANE_RELEASE,
    LANE_SYNC,
    LANE_TRUNCATE,
    STATUS_ERRNO,
    STATUS_REFUSED,
    STATUS_STORED,
    LaneProducer,
    LaneRecord,
    lane_body,
    lane_trailer,
)
from shardbroker.shm.atomics cimport load_relaxed_u64, monotonic_ns, store_relaxed_u64, wall_clock_ns
from shardbroker.shm.offsets cimport LOG_FIGURES_START, LOG_ROW_SIZE, PRESSURE_CELLS
from shardbroker.storage.frame cimport (
    FRAME_HEAD_SIZE,
    FRAME_NOTE,
    FRAME_PURGE,
    FrameHead,
    PurgeBody,
    padded,
)
from shardbroker.workers.consumer_service cimport ConsumerService
from shardbroker.workers.hosted cimport SERVICE_API, SERVICE_DIRECT, SERVICE_NEXT, SERVICE_STREAM, Hosted
from shardbroker.workers.session cimport Session

from shardbroker.jetstream import api_errors
from shardbroker.workers.failure_lines import FailureLines

cdef extern from "<unistd.h>" nogil:
    ssize_t pwrite(int fd, const void *buffer, size_t size, long offset)

cdef extern from "<fcntl.h>" nogil:
    int fallocate(int fd, int mode, long offset, long size)
    int FALLOC_FL_PUNCH_HOLE
    int FALLOC_FL_KEEP_SIZE

cdef enum:
    DRAIN_SIZE = 4 << 20  # bytes of lane records that are answered in one turn
    FULL_WAIT_NS = 100_000_000
    PAUSE_NS = 2_000_000
    EARLY_SIZE = 32 << 10  # bytes staged that are worth a sync of their own when the disk is idle
    RECORD_OVERHEAD = 512  # bytes of heads and trailer that one publish may add to the lane
    UPKEEP_MIN = 32  # streams looked after in one tick, if there are so many
    TICKS_PER_SECOND = 20
    RELEASES_PER_TICK = 8

#: Status for what was behind a cut, or came while it was made.
cdef uint32_t CUT_OFF = STATUS_ERRNO + errors.ECANCELED
cdef bytes TOO_MANY_BLOCK = b"NATS/1.0 429 Too Many Requests\r\n\r\n"


cdef class StreamHost(StreamReads):
    """All streams of a worker. `api(request)` is called for each API request; `log` is the worker's."""

    def __init__(self, Session session, LaneProducer lane, uint64_t log_table_address, log):
        self.session = session
        self.router = session.router
        self.lane = lane
        self.inherited = lane.position
        self.log_table = <uint8_t *> log_table_address
        self.log = log
        self.failure_lines = FailureLines(log)
        self.hosted = []
        self.by_row = {}
        self.dirty = []
        self.touched = []
        self.ticking = []
        self.numbered = {}
        self.calls = {}
        self.targets = {}
        self.call_targets = {}
        self.ended_targets = []
        self.old_targets = []
        self.requests = deque()
        self.cold = []
        self.jobs = []
        self.consumers = ConsumerService()
        self.next_number = 1
        self.wall_offset_ns = wall_clock_ns()
        self.now_ns = 0
        self.api_target = <DeliveryTarget *> calloc(1, sizeof(DeliveryTarget))
        if self.api_target == NULL:
            raise MemoryError("no memory for the API's target")
        self.api_target.service = SERVICE_API

    def __dealloc__(self):
        free(self.frame)
        free(self.api_target)

    def set_cleaning(self, cleaning):
        """Who gives room back in the middle of logs (log_cleaning.LogCleaning)."""
        self.cleaning = cleaning

    def set_consumers(self, ConsumerService consumers not None):
        """Who runs the consumers of these streams."""
        self.consumers = consumers

    def wall_ns(self):
        """Wall clock, as of this turn."""
        return self.now_ns + self.wall_offset_ns if self.now_ns else wall_clock_ns()

    # --- messages that come in --------------------------------------------------------------------------

    cdef bint take(self, DeliveryTarget *target, PublishView *view, DeliveryTarget *publisher) noexcept:
        """Services.take: a message for a stream, a direct get, or a request."""
        cdef Hosted hosted
        if target.service == SERVICE_STREAM:
            hosted = <Hosted> self.hosted[target.service_index]
            return self.take_publish(hosted, view, publisher)
        if target.service >= SERVICE_NEXT:
            self.consumers.take(target, view)
            return True
        if target.service == SERVICE_DIRECT:
            hosted = <Hosted> self.hosted[target.service_index]
            if self.take_direct(hosted, view):
                return True
        self.queue_request(target, view, publisher)
        return True

    cdef bint take_publish(self, Hosted hosted, PublishView *view, DeliveryTarget *publisher) noexcept:
        cdef Proposal proposal
        cdef Stream stream = hosted.stream
        cdef uint64_t before = stream.stage.size
        proposal.subject = view.subject
        proposal.subject_size = view.subject_size
        proposal.reply = view.reply
        proposal.reply_size = view.reply_size
        proposal.header_size = <uint32_t> view.header_size if view.header_size > 0 else 0
        proposal.headers = view.payload
        proposal.payload = view.payload + proposal.header_size
        proposal.payload_size = view.payload_size - proposal.header_size
        proposal.account = view.account
        proposal.now_ns = self.now_ns + self.wall_offset_ns
        if not hosted.memory:
            if publisher == NULL and self.full_since_ns:
                self.pause_remote(view)
            if (
                self.staged_size + view.payload_size + view.subject_size + view.reply_size + RECORD_OVERHEAD
                > self.lane.room() - min(self.lane.room(), self.lane.size >> 4)
            ):
                self.refuse_full(hosted, view)
                return True
        if stream.publish(&proposal) < 0:
            self.refuse_full(hosted, view)
            return True
        self.staged_size += stream.stage.size - before
        if not stream.in_dirty:
            self.mark_dirty(hosted)
        if not hosted.memory:
            if not self.router.services_full:
                self.watch_lane()
            if self.staged_size >= EARLY_SIZE and self.lane.is_idle():
                self.commit_early()
        return True

    cdef void commit_early(self) noexcept:
        """The writer has nothing to do: let it begin with what there is, while more is still being read."""
        try:
            self.append_dirty()
            self.lane.publish()
        except BaseException as error:  # a bug of ours: the worker ends with it
            self.session.failure = error

    cdef void mark_dirty(self, Hosted hosted) noexcept:
        hosted.stream.in_dirty = True
        self.dirty.append(hosted)

    cdef void watch_lane(self) noexcept:
        """Make publishers wait while the lane is more than half full, but not for ever."""
        if self.lane.size - self.lane.room() + self.staged_size > self.lane.size >> 1:
            if self.full_since_ns == 0:
                self.full_since_ns = self.now_ns
            self.router.services_full = self.now_ns - self.full_since_ns < FULL_WAIT_NS
        elif self.full_since_ns:
            self.full_since_ns = 0

    cdef void pause_remote(self, PublishView *view) noexcept:
        """Ask a publisher of another worker to wait a little."""
        cdef uint64_t *cell
        if view.publisher_worker < 0:
            return
        cell = self.router.pressure + view.publisher_worker * PRESSURE_CELLS
        cell += view.publisher & (PRESSURE_CELLS - 1)
        if load_relaxed_u64(cell) < self.now_ns + PAUSE_NS:
            store_relaxed_u64(cell, self.now_ns + PAUSE_NS)

    cdef void refuse_full(self, Hosted hosted, PublishView *view) noexcept:
        """No room: error 10167, in nats-server's form. Without a reply subject it is counted and logged."""
        cdef bytes text
        self.refused += 1
        if view.reply_size and not hosted.stream.config.no_ack:
            text = hosted.stream.error_text(api_errors.STREAM_TOO_MANY_REQUESTS)
            self.send_raw(
                view.account, view.reply, view.reply_size,
                TOO_MANY_BLOCK, <uint32_t> len(TOO_MANY_BLOCK), text, <uint32_t> len(text),
            )
        elif self.refused & 1023 == 1:
            self.log.warn(
                f"JetStream: {self.refused} publishes were dropped because the disk does not keep up"
            )

    # --- once a turn ------------------------------------------------------------------------------------

    cdef bint has_news(self) noexcept:
        return self.lane.has_news() and self.lane.answered >= self.inherited

    cdef int turn(self, uint64_t now_ns) except -1:
        """Answer for what the writer has stored, then for requests."""
        cdef uint32_t left
        self.now_ns = now_ns
        self.pressing = False
        if self.router.overflow.first == NULL:
            self.lane.show_released()  # the turn before has published what it had answered
        self.drain()
        if self.router.services_full:
            if self.lane.size - self.lane.room() < self.lane.size >> 2:
                self.router.services_full = False
                self.full_since_ns = 0
            elif now_ns - self.full_since_ns >= FULL_WAIT_NS:
                self.router.services_full = False
        if self.due_ns and self.due_ns <= now_ns:
            self.consumers.fire(now_ns + self.wall_offset_ns)
        if self.soon:
            self.look_at_cold(now_ns)
        left = <uint32_t> len(self.requests)
        if left:
            self.answer_requests(min(left, <uint32_t> 64))
        if self.jobs:
            self.run_jobs()
        if self.requests or (
            self.lane.answered != self.lane.processed and self.lane.answered >= self.inherited
        ):
            self.pressing = True
        return 0

    def staging_room(self):
        """Bytes that long work may stage now: up to half of the lane, where publishers begin to wait."""
        cdef uint64_t used = self.lane.size - self.lane.room() + self.staged_size
        return (self.lane.size >> 1) - min(self.lane.size >> 1, used)

    cdef int drain(self) except -1:
        """Apply and answer what the writer has processed, in lane order."""
        cdef LaneRecord *record
        cdef uint64_t done = 0
        if self.lane.answered < self.inherited:
            return 0  # answer_predecessor() comes first
        while done < DRAIN_SIZE:
            record = self.lane.next_processed()
            if record == NULL:
                break
            done += record.size
            self.finish_record(record)
            self.lane.release(record)
        if self.touched:
            for hosted in self.touched:
                self.note_figures(hosted)
            self.touched.clear()
        return 0

    cdef int finish_record(self, LaneRecord *record) except -1:
        """One lane record is stored, or has failed."""
        cdef Hosted hosted = self.by_row.get(record.row)
        cdef uint32_t status = record.status
        cdef Stream stream
        cdef bint counts
        if hosted is not None and hosted.stream.log.log_id == record.log_id:
            stream = hosted.stream
            counts = stream.takes_effect(record.index)
            if record.kind == LANE_FRAME:
                stream.frames_in_flight -= 1
                if status == STATUS_STORED and counts:
                    stream.apply_frame(lane_body(record), record.position, record.segment, record.capacity)
                    self.tell_consumers(hosted, lane_body(record))
                    self.touch(hosted)
                elif status == STATUS_REFUSED and counts:
                    self.take_back(hosted, record)
                elif counts:
                    self.fail(hosted, status)
                if status == STATUS_STORED and not counts:
                    status = STATUS_ERRNO
            elif record.kind == LANE_SYNC:
                stream.frames_in_flight -= 1
                if not counts:
                    status = STATUS_ERRNO
            elif record.kind == LANE_TRUNCATE:
                stream.frames_in_flight -= 1
                self.finish_cut(hosted, record.index, status)
            if stream.failed and stream.frames_in_flight == 0 and not stream.cutting:
                stream.failed = False
        if record.trailer_size:
            self.answer_all(hosted, lane_trailer(record), record.trailer_size, status)
        return 0

    def disagree(self, Stream stream):
        raise RuntimeError(
            f"stream '{stream.config.name}' does not agree with the stream-writer any more: the worker ends, "
            "the next one reads it back"
        )

    cdef void tell_consumers(self, Hosted hosted, const uint8_t *frame) noexcept:
        """A frame was applied. What it stored and removed they have heard of; a whole purge moves them on."""
        cdef const FrameHead *head = <const FrameHead *> frame
        if hosted.attached and head.kind == FRAME_PURGE:
            if (<const PurgeBody *> (frame + FRAME_HEAD_SIZE)).filter_size == 0:
                hosted.consumers.purged()

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

    cdef int take_back(self, Hosted hosted, LaneRecord *record) except -1:
        """A sync has failed behind frames that were called stored: the writer says where the log ends now.

        Nobody waited for them: they are changes of consumers, which are written down anew, and messages of a
        stream that asks for no sync. Those are lost, as they would be with the power.
        """
        cdef Stream stream = hosted.stream
        cdef uint64_t last = stream.state.messages.last, lost
        if not record.flags & LANE_END_TOLD or record.count >= stream.state.applied_index:
            self.disagree(stream)
        stream.log.take_back(record.count, record.position, <uint32_t> record.segment)
        lost = stream.state.take_back(record.position, record.count)
        self.fail(hosted, STATUS_ERRNO + EIO)
        if lost:
            hosted.details.lose(last - lost + 1, last, "a sync failed behind their acknowledgement")
        self.touch(hosted)
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

    cdef int commit(self) except -1:
        """Move staged frames into the lane (or memory), let consumers send, and show all to the writer."""
        self.append_dirty()
        if self.consumers.deliver(self.now_ns + self.wall_offset_ns):
            self.pressing = True
        self.append_dirty()
        self.note_due_time()
        if self.is_awaited:
            self.is_awaited = False
            self.lane.publish()
        else:
            self.lane.show()
        return 0

    cdef void note_due_time(self) noexcept:
        """When consumers have something to do, by the clock of the loop."""
        cdef uint64_t due_ns = self.consumers.due_ns
        self.due_ns = due_ns - self.wall_offset_ns if due_ns > self.wall_offset_ns else 0

    cdef int append_dirty(self) except -1:
        """Move staged frames into the lane (or into memory)."""
        cdef Hosted hosted
        if self.dirty:
            waiting = []
            for hosted in self.dirty:
                if self.append_staged(hosted):
                    hosted.stream.in_dirty = False
                else:
                    waiting.append(hosted)
            self.dirty = waiting
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

    # --- streams ----------------------------------------------------------------------------------------

    def add(self, Hosted hosted):
        """Take a stream in; it has no subscriptions yet."""
        hosted.index = len(self.hosted)
        for index, other in enumerate(self.hosted):
            if other is None:
                hosted.index = index
                break
        if hosted.index == len(self.hosted):
            self.hosted.append(hosted)
        else:
            self.hosted[hosted.index] = hosted
        hosted.target.service_index = hosted.direct_target.service_index = hosted.index
        self.by_row[hosted.stream.row] = hosted
        self.note_figures(hosted)

    def remove(self, Hosted hosted):
        """Let a stream go: its subscriptions end, what is in flight is answered with an error."""
        hosted.stream.close()
        self.unsubscribe_all(hosted)
        self.fail_staged(hosted, STATUS_ERRNO)
        self.consumers.failed(hosted)  # the next stream may lie at the same address
        if hosted in self.dirty:
            self.dirty.remove(hosted)
        self.by_row.pop(hosted.stream.row, None)
        # Its slot in `hosted` is free only after this turn: messages of this round may still point at it.
        self.after_turn(hosted)
        hosted.reader.close()
        if hosted.memory_fd >= 0:
            os.close(hosted.memory_fd)
            hosted.memory_fd = -1

    def after_turn(self, Hosted hosted):
        """Free the slot of a stream that is gone."""
        self.hosted[hosted.index] = None

    def stage_done(self, Hosted hosted):
        """The caller has staged frames of this stream by itself."""
        self.staged_size = 0
        for other in self.dirty:
            self.staged_size += (<Hosted> other).stream.stage.size
        if not hosted.stream.in_dirty:
            self.mark_dirty(hosted)
            self.staged_size += hosted.stream.stage.size
        self.pressing = True  # commit() follows in the next turn

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

    def write_figures(self, Hosted hosted):
        """Bring the stream's row of the log table up to date now."""
        self.note_figures(hosted)

    def answer_predecessor(self):
        """Answer for what a dead worker of this slot has sent: it is stored, or it was refused.

        Its frames are in the streams already, read back from the store; only the answers are owed. The writer
        is through with all of it before a successor starts. What this worker has sent since lies behind it.
        """
        cdef LaneRecord *record
        cdef Hosted hosted
        cdef uint32_t status
        cdef list cuts = self.lane.cuts_before(self.inherited)
        own_calls, self.calls = self.calls, {}  # the calls of the dead have the same numbers
        while self.lane.answered < self.inherited:
            record = self.lane.next_processed()
            if record == NULL:
                raise RuntimeError("the append lane holds records of a dead worker that are not stored")
            hosted = self.by_row.get(record.row)
            if record.trailer_size:
                status = CUT_OFF if cuts and self.lane.is_cut_off(record, cuts) else record.status
                self.answer_all(hosted, lane_trailer(record), record.trailer_size, status)
            self.lane.release(record)
        self.calls = own_calls

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

    # --- time -------------------------------------------------------------------------------------------

    cdef int tick(self, uint64_t now_ns) except -1:
        """Expire what is past its time, give dead segments back."""
        cdef Hosted hosted
        cdef Py_ssize_t count = len(self.hosted), left
        self.now_ns = now_ns
        self.wall_offset_ns = wall_clock_ns() - monotonic_ns()  # `now_ns` may be milliseconds old
        # Each stream once a second at least, a share of them each time.
        left = min(count, max(<Py_ssize_t> UPKEEP_MIN, count // TICKS_PER_SECOND + 1))
        while left:
            left -= 1
            self.upkeep_next = (self.upkeep_next + 1) % count
            hosted = <Hosted> self.hosted[self.upkeep_next]
            if hosted is not None and not hosted.stream.closing:
                self.expire(hosted)
                self.release_dead(hosted)
                if hosted.stream.state.segment_count > 1:
                    self.cleaning.step(hosted)
        for hosted in self.touched:
            self.note_figures(hosted)
        self.touched.clear()
        self.free_ended_targets()
        self.consumers.tick(now_ns + self.wall_offset_ns)
        self.note_due_time()
        for ticking in self.ticking:
            try:
                ticking(now_ns + self.wall_offset_ns)
            except Exception as error:
                self.tell_failure("a tick", error)
        return 0

    def expire(self, Hosted hosted):
        """Remove messages past their time; the last of a subject may leave a marker (spec 03 section 6)."""
        cdef Stream stream = hosted.stream
        if stream.state.expire(self.now_ns + self.wall_offset_ns, 10_000):
            self.touch(hosted)
        if stream.state.expired_subjects:
            hosted.details.leave_markers(hosted, self.now_ns + self.wall_offset_ns)

    def release_dead(self, Hosted hosted):
        """Give segments from the head of the log back, that hold nothing any more."""
        cdef Stream stream = hosted.stream
        cdef SegmentInfo *segment
        cdef int released = 0
        while stream.state.segment_count > 1 and released < RELEASES_PER_TICK:
            segment = &stream.state.segments[0]
            if segment.live or (
                segment.last_id_ns
                and segment.last_id_ns + stream.state.duplicate_window_ns > self.now_ns + self.wall_offset_ns
            ):
                break
            if hosted.attached and not self.consumers.releasable(hosted, segment.end):
                break
            if hosted.memory:
                fallocate(
                    hosted.memory_fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, <long> segment.base,
                    <long> (segment.end - segment.base),
                )
            else:
                if not self.lane_record(
                    LANE_RELEASE, stream.log.log_id, stream.row, b"", None,
                    segment=segment.base, term=stream.log.term,
                ):
                    break
                hosted.reader.forget(segment.base)
            stream.state.drop_segment()
            released += 1
            self.touch(hosted)
