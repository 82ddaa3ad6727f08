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

import os
from collections import deque

from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free

from shardbroker.jetstream.proposal cimport Proposal
from shardbroker.jetstream.stream cimport Stream
from shardbroker.jetstream.stream_state cimport SegmentInfo
from shardbroker.routing.delivery_target cimport DeliveryTarget
from shardbroker.routing.router cimport PublishView
from shardbroker.shm.append_lane cimport (
    LANE_FRAME,
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
from shardbroker.shm.offsets cimport PRESSURE_CELLS
from shardbroker.workers.consumer_service cimport ConsumerService
from shardbroker.workers.hosted cimport SERVICE_API, SERVICE_DIRECT, SERVICE_NEXT, SERVICE_STREAM, Hosted
from shardbroker.workers.session cimport Session
from shardbroker.workers.stream_appends cimport CUT_OFF, StreamAppends

from shardbroker.jetstream import api_errors
from shardbroker.workers.failure_lines import FailureLines

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

cdef bytes TOO_MANY_BLOCK = b"NATS/1.0 429 Too Many Requests\r\n\r\n"


cdef class StreamHost(StreamAppends):
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
        self.note_staged(hosted, before)
        if not hosted.memory:
            if not self.router.services_full:
                self.watch_lane()
            if self.staged_size >= EARLY_SIZE and self.lane.is_idle():
                self.commit_early()
        return True

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
