"""Runs the streams of one worker: the glue between the router, the state machines and the append lane.

    router ─► take_publish ─► Stream.publish ─► stage ─┐ commit(), once a turn
                                                       ▼
                              append lane ─► stream-writer ─► files, fdatasync
                                                       │ processed, doorbell
    router ◄─ answers ◄─ Stream.apply_frame ◄──────────┘ drain(), next turn

Nothing here waits. What is staged leaves for the lane before the turn's batch is published; what the writer has
stored is applied and answered at the start of a turn, in lane order. Frames of memory streams are written to
their memory and answered at once.

A nearly full lane first makes local publishers wait with their message in the input (services_full), and
pauses those of other workers through the pressure table; after 100 ms, or when there is no room at all, a
publish is answered with error 10167 (STORAGE section 1).
"""

import os
from collections import deque

from libc.errno cimport EINTR, errno
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdio cimport snprintf
from libc.stdlib cimport calloc, free, realloc
from libc.string cimport memcmp, memcpy, memset

from shardbroker.hashing cimport hash_bytes
from shardbroker.jetstream.direct_reply cimport DIRECT_HEAD_EXTRA, write_direct_head
from shardbroker.jetstream.frame_stage cimport (
    TRAILER_ACK,
    TRAILER_CALL,
    TRAILER_DUPLICATE,
    TRAILER_TEXT,
    StagedFrame,
    TrailerEntry,
)
from shardbroker.jetstream.message_table cimport MessageEntry
from shardbroker.jetstream.stream cimport ACK_SIZE_MAX, Proposal, Stream
from shardbroker.jetstream.stream_state cimport SIZE_MASK, SegmentInfo
from shardbroker.jetstream.subject_table cimport SubjectEntry
from shardbroker.routing.delivery_target cimport DeliveryTarget, Subscription, subscription_queue
from shardbroker.routing.route_cache cimport Route
from shardbroker.routing.router cimport PublishView
from shardbroker.shm.append_lane cimport (
    LANE_FRAME,
    LANE_NO_SYNC,
    LANE_RECORD_SIZE,
    LANE_RELEASE,
    LANE_SYNC,
    STATUS_ERRNO,
    STATUS_STORED,
    LaneProducer,
    LaneRecord,
    lane_body,
    lane_trailer,
)
from shardbroker.shm.atomics cimport load_relaxed_u64, store_relaxed_u64, wall_clock_ns
from shardbroker.shm.offsets cimport LOG_FIGURES_START, LOG_ROW_SIZE, PRESSURE_CELLS
from shardbroker.storage.frame cimport FRAME_HEAD_SIZE, RECORD_HEAD_SIZE, FrameHead, RecordHead, padded
from shardbroker.subjects.sublist cimport Sublist
from shardbroker.workers.client cimport Client, subscription_new
from shardbroker.workers.log_reader cimport LogReader

from shardbroker.errors import StorageError
from shardbroker.jetstream import api_errors

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
    REQUESTS_MAX = 10_000  # API requests that wait in this worker; nats-server has the same limit
    RELEASES_PER_TICK = 8

cdef bytes TOO_MANY_BLOCK = b"NATS/1.0 429 Too Many Requests\r\n\r\n"


cdef class Hosted:
    """A stream, its reader and its subscriptions."""

    def __init__(self, Stream stream, LogReader reader, uint32_t account, int memory_fd, bint no_sync):
        self.stream = stream
        self.reader = reader
        self.account = account
        self.memory = memory_fd >= 0
        self.memory_fd = memory_fd
        self.flags = LANE_NO_SYNC if no_sync else 0
        self.subscriptions = {}
        self.target = <DeliveryTarget *> calloc(1, sizeof(DeliveryTarget))
        self.direct_target = <DeliveryTarget *> calloc(1, sizeof(DeliveryTarget))
        if self.target == NULL or self.direct_target == NULL:
            raise MemoryError("no memory for a stream")
        self.target.account = self.direct_target.account = account
        self.target.service = SERVICE_STREAM
        self.direct_target.service = SERVICE_DIRECT

    def __dealloc__(self):
        free(self.target)
        free(self.direct_target)


cdef class StreamHost(Services):
    """All streams of a worker. `api(request)` is called for each API request; `log` is the worker's."""

    def __init__(self, Session session, LaneProducer lane, uint64_t log_table_address, log):
        self.session = session
        self.router = session.router
        self.lane = lane
        self.log_table = <uint8_t *> log_table_address
        self.log = log
        self.hosted = []
        self.by_row = {}
        self.dirty = []
        self.touched = []
        self.ticking = []
        self.numbered = {}
        self.calls = {}
        self.targets = {}
        self.call_targets = {}
        self.requests = deque()
        self.jobs = []
        self.next_number = 1
        self.wall_offset_ns = wall_clock_ns()
        self.now_ns = 0
        self.api_target = <DeliveryTarget *> calloc(1, sizeof(DeliveryTarget))
        if self.api_target == NULL:
            raise MemoryError("no memory for the API's target")
        self.api_target.service = SERVICE_API

    def __dealloc__(self):
        free(self.scratch)
        free(self.frame)
        free(self.api_target)

    def set_cleaning(self, cleaning):
        """Who gives room back in the middle of logs (log_cleaning.LogCleaning)."""
        self.cleaning = cleaning

    def set_api(self, api):
        """Who handles API requests: called with (account, subject, reply, headers, payload, cid or 0)."""
        self.api = api

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
        """The writer has nothing to do: let it begin with what there is, while the rest is still being read."""
        try:
            self.commit()
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

    cdef bint take_direct(self, Hosted hosted, PublishView *view) noexcept:
        """Answer `{"seq":N}`, or the last message of the subject in the request's subject; False: not that form."""
        cdef const uint8_t *text = view.payload
        cdef uint32_t at, size = view.payload_size, prefix
        cdef uint64_t sequence = 0
        cdef SubjectEntry *subject
        cdef const RecordHead *record
        if view.reply_size == 0 or view.header_size > 0:
            return False
        prefix = 20  # $JS.API.DIRECT.GET. and the name, this stream's or that of the one it mirrors, and a dot
        while prefix < view.subject_size and view.subject[prefix - 1] != 46:
            prefix += 1
        if size == 0:
            if view.subject_size <= prefix:
                return False
            subject = hosted.stream.state.subjects.find(view.subject + prefix, view.subject_size - prefix)
            if subject == NULL or subject.count == 0:
                return False
            sequence = subject.last
        else:
            if view.subject_size > prefix or size < 9 or memcmp(text, b'{"seq":', 7) or text[size - 1] != 125:
                return False
            at = 7
            while at < size - 1 and text[at] == 32:
                at += 1
            if at == size - 1 or size - at > 19:
                return False
            while at < size - 1:
                if text[at] < 48 or text[at] > 57:
                    return False
                sequence = sequence * 10 + text[at] - 48
                at += 1
        try:
            record = self.find_record(hosted, sequence)
        except BaseException:
            return False  # told by the way that all other requests go
        if record == NULL:
            return False
        self.send_record(hosted, view, record)
        return True

    cdef const RecordHead *find_record(self, Hosted hosted, uint64_t sequence) except? NULL:
        """The record of a message, valid until the next call; NULL when there is none. Raises StorageError."""
        cdef MessageEntry *entry = hosted.stream.state.messages.get(sequence)
        cdef SegmentInfo *segment
        if entry == NULL:
            return NULL
        segment = hosted.stream.state.segment_of(entry.position)
        return hosted.reader.record(
            segment.base if segment != NULL else 0,
            entry.position,
            padded((entry.size & SIZE_MASK) + RECORD_HEAD_SIZE - 16),
        )

    cdef void send_record(self, Hosted hosted, PublishView *view, const RecordHead *record) noexcept:
        """The answer of a direct get."""
        cdef uint64_t need = DIRECT_HEAD_EXTRA + record.size + len(hosted.stream.name)
        cdef uint8_t *place = self.room(64 + need)
        cdef uint8_t *block
        cdef uint32_t block_size, digits
        cdef PublishView answer
        if place == NULL:
            return
        # The head's size is only known when it is written: write it behind room for the sizes.
        block = place + 40
        block_size = write_direct_head(
            block, <const uint8_t *> hosted.stream.name, <uint32_t> len(hosted.stream.name), record
        )
        memcpy(
            block + block_size,
            <const uint8_t *> record + RECORD_HEAD_SIZE + record.subject_size + record.header_size,
            record.payload_size,
        )
        answer.payload_size = block_size + record.payload_size
        memcpy(block + answer.payload_size, b"\r\n", 2)
        digits = <uint32_t> snprintf(
            <char *> place, 40, b"%u %u\r\n", <unsigned int> block_size, <unsigned int> answer.payload_size
        )
        memcpy(block - digits, place, digits)
        answer.subject = view.reply
        answer.subject_size = view.reply_size
        answer.reply_size = 0
        answer.reply = block
        answer.tail = block - digits
        answer.tail_size = digits + answer.payload_size + 2
        answer.payload = block
        answer.header_size = <int> block_size
        answer.account = view.account
        self.router.publish_own(&answer)

    cdef void queue_request(self, DeliveryTarget *target, PublishView *view, DeliveryTarget *publisher) noexcept:
        """Copy a request for the Python side, which answers it at the start of the next turn."""
        cdef uint32_t header_size = <uint32_t> view.header_size if view.header_size > 0 else 0
        if len(self.requests) >= REQUESTS_MAX:
            self.router.statistics.drops += 1
            return
        self.requests.append(
            (
                target.service,
                target.service_index,
                view.account,
                view.subject[: view.subject_size],
                view.reply[: view.reply_size],
                view.payload[:header_size],
                (view.payload + header_size)[: view.payload_size - header_size],
                publisher.cid if publisher != NULL else view.publisher,
                publisher != NULL,
            )
        )
        self.pressing = True

    # --- once a turn ------------------------------------------------------------------------------------

    cdef bint has_news(self) noexcept:
        return self.lane.has_news()

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
        left = <uint32_t> len(self.requests)
        if left:
            self.answer_requests(min(left, <uint32_t> 64))
        if self.jobs:
            self.run_jobs()
        if self.requests or self.lane.answered != self.lane.processed:
            self.pressing = True
        return 0

    def tell_failure(self, what, error):
        """Log a bug of ours that one request or job has met."""
        import traceback

        trace = " <- ".join(
            f"{frame.name}:{frame.lineno}" for frame in reversed(traceback.extract_tb(error.__traceback__))
        )
        self.log.error(f"JetStream: {what} failed: {type(error).__name__}: {error} in {trace}")

    def answer_requests(self, uint32_t count):
        """Hand requests to the API, or to whom they are for."""
        for _ in range(count):
            service, index, account, subject, reply, block, payload, cid, local = self.requests.popleft()
            try:
                if service == SERVICE_CALL:
                    target = self.targets.get(index)
                    if target is not None:
                        target(account, subject, reply, block, payload, cid)
                else:
                    hosted = self.hosted[index] if service == SERVICE_DIRECT else None
                    self.api(hosted, account, subject, reply, block, payload, cid, local)
            except Exception as error:
                self.tell_failure(repr(subject), error)

    def run_later(self, job):
        """Call `job()` once a turn, from the next one on: JOB_PRESSES when the turn after it should come at
        once, JOB_WAITS when it may take a tick, anything else when it is done."""
        self.jobs.append(job)
        self.pressing = True

    def run_jobs(self):
        """One slice of each long piece of work, such as a backup."""
        jobs, self.jobs = self.jobs, []
        for job in jobs:
            try:
                wish = job()
            except Exception as error:
                self.tell_failure(repr(job), error)
                continue
            if wish == JOB_PRESSES or wish == JOB_WAITS:
                self.jobs.append(job)
                if wish == JOB_PRESSES:
                    self.pressing = True

    def staging_room(self):
        """Bytes that long work may stage now: up to half of the lane, where publishers begin to wait."""
        cdef uint64_t used = self.lane.size - self.lane.room() + self.staged_size
        return (self.lane.size >> 1) - min(self.lane.size >> 1, used)

    cdef int drain(self) except -1:
        """Apply and answer what the writer has processed, in lane order."""
        cdef LaneRecord *record
        cdef uint64_t done = 0
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
        if hosted is not None and hosted.stream.log.log_id == record.log_id:
            stream = hosted.stream
            if record.kind == LANE_FRAME:
                stream.frames_in_flight -= 1
                if status == STATUS_STORED and not stream.failed:
                    stream.apply_frame(lane_body(record), record.position, record.segment, record.capacity)
                    self.touch(hosted)
                elif not stream.failed:
                    self.fail(hosted, status)
                if stream.failed:
                    status = status if status != STATUS_STORED else STATUS_ERRNO
                    if stream.frames_in_flight == 0:
                        stream.failed = False
            elif record.kind == LANE_SYNC:
                stream.frames_in_flight -= 1
                if stream.failed:
                    status = STATUS_ERRNO
                    if stream.frames_in_flight == 0:
                        stream.failed = False
        if record.trailer_size:
            self.answer_all(hosted, lane_trailer(record), record.trailer_size, status)
        return 0

    def fail(self, Hosted hosted, uint32_t status):
        """The first frame of a stream that could not be stored: drop everything behind what is stored."""
        cdef Stream stream = hosted.stream
        reason = os.strerror(status - STATUS_ERRNO) if status > STATUS_ERRNO else f"status {status}"
        self.log.error(
            f"JetStream: stream {stream.config.name}: a write failed ({reason}); what is not stored is refused"
        )
        self.fail_staged(hosted, status)
        stream.drop_overlay()
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

    cdef int answer_all(self, Hosted hosted, const uint8_t *trailer, uint32_t size, uint32_t status) except -1:
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
                    call(0 if status == STATUS_STORED else max(1, <int> status - STATUS_ERRNO))
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
            return b'{"error":{"code":404,"err_code":10059,"description":"stream not found"},"stream":"","seq":0}'
        if status > STATUS_ERRNO:
            reason = os.strerror(status - STATUS_ERRNO).lower()
        else:
            reason = "a write before it failed"
        return hosted.stream.error_text(api_errors.STREAM_STORE_FAILED(err=f"the message is not stored: {reason}"))

    cdef int commit(self) except -1:
        """Move staged frames into the lane (or into memory), and show them to the writer."""
        cdef Hosted hosted
        if self.dirty:
            waiting = []
            for hosted in self.dirty:
                if self.append_staged(hosted):
                    hosted.stream.in_dirty = False
                else:
                    waiting.append(hosted)
            self.dirty = waiting
        self.lane.publish()
        return 0

    cdef int append_staged(self, Hosted hosted) except -1:
        """1 when nothing of the stream is staged any more, 0 when the lane has no room for the rest."""
        cdef StagedFrame *frame
        cdef uint64_t need, before
        while hosted.stream.stage.first != NULL:
            frame = hosted.stream.stage.first
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
        size = 0 if frame.kind == 0 else FRAME_HEAD_SIZE + frame.body_size
        record = self.lane.claim(LANE_RECORD_SIZE + size + frame.trailer_size)
        record.kind = LANE_SYNC if frame.kind == 0 else LANE_FRAME
        record.log_id = stream.log.log_id
        record.row = stream.row
        record.flags = hosted.flags
        record.body_size = <uint32_t> size
        record.trailer_size = <uint32_t> frame.trailer_size
        record.term = stream.log.term
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

    # --- sending ----------------------------------------------------------------------------------------

    cdef uint8_t *room(self, uint64_t size) noexcept:
        """Scratch memory of that size; NULL when there is none."""
        cdef uint8_t *larger
        if size > self.scratch_size:
            larger = <uint8_t *> realloc(self.scratch, size + (size >> 1))
            if larger == NULL:
                return NULL
            self.scratch = larger
            self.scratch_size = size + (size >> 1)
        return self.scratch

    cdef void send_raw(
        self, uint32_t account, const uint8_t *subject, uint32_t subject_size,
        const uint8_t *block, uint32_t block_size, const uint8_t *payload, uint32_t payload_size,
    ) noexcept:
        """Publish a message of our own; `block` is a header block or empty."""
        cdef PublishView view
        cdef uint32_t total = block_size + payload_size
        cdef uint8_t *place = self.room(64 + <uint64_t> total)
        cdef int digits
        if place == NULL or subject_size == 0:
            return
        if block_size:
            digits = snprintf(
                <char *> place, 40, b"%u %u\r\n", <unsigned int> block_size, <unsigned int> total
            )
        else:
            digits = snprintf(<char *> place, 40, b"%u\r\n", <unsigned int> total)
        if block_size:
            memcpy(place + digits, block, block_size)
        memcpy(place + digits + block_size, payload, payload_size)
        memcpy(place + digits + total, b"\r\n", 2)
        view.subject = subject
        view.subject_size = subject_size
        view.reply = place
        view.reply_size = 0
        view.tail = place
        view.tail_size = digits + total + 2
        view.payload = place + digits
        view.payload_size = total
        view.header_size = <int> block_size if block_size else -1
        view.account = account
        self.router.publish_own(&view)

    def send(self, uint32_t account, bytes subject, bytes payload, bytes block=b"", bytes reply=b""):
        """Publish a message of our own; True when somebody gets it."""
        cdef PublishView view
        cdef bytes tail
        if reply:
            sizes = b"%b %d" % (reply, len(payload)) if not block else b"%b %d %d" % (
                reply, len(block), len(block) + len(payload)
            )
        else:
            sizes = b"%d" % len(payload) if not block else b"%d %d" % (len(block), len(block) + len(payload))
        tail = b"%b\r\n%b%b\r\n" % (sizes, block, payload)
        view.subject = subject
        view.subject_size = len(subject)
        view.tail = tail
        view.tail_size = len(tail)
        view.reply = view.tail
        view.reply_size = len(reply)
        view.payload_size = len(block) + len(payload)
        view.payload = view.tail + (view.tail_size - 2 - view.payload_size)
        view.header_size = <int> len(block) if block else -1
        view.account = account
        return self.router.publish_own(&view) != 0

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
        if hosted in self.dirty:
            self.dirty.remove(hosted)
        self.by_row.pop(hosted.stream.row, None)
        # The slot in `hosted` is used again only after this turn: messages of this round may still point at it.
        self.after_turn(hosted)
        hosted.reader.close()
        if hosted.memory_fd >= 0:
            os.close(hosted.memory_fd)
            hosted.memory_fd = -1

    def after_turn(self, Hosted hosted):
        """Free the slot of a stream that is gone."""
        self.hosted[hosted.index] = None

    def subscribe(
        self, hosted, int kind, bytes subject, uint32_t account=0, uint32_t index=0, bytes queue=b""
    ):
        """Let messages for `subject` come to a stream (`hosted`), or to the API or a call when it is None.

        With `queue` one member of that group gets each message, over all workers.
        Gives a number for unsubscribe_number(). Raises MemoryError.
        """
        cdef DeliveryTarget *target
        cdef Hosted owner
        cdef Subscription *subscription
        cdef Sublist sublist
        cdef uint64_t queue_hash = 0
        if hosted is not None:
            owner = hosted
            target = owner.target if kind == SERVICE_STREAM else owner.direct_target
            account = owner.account
        elif kind == SERVICE_API:
            target = self.api_target
        else:
            target = <DeliveryTarget *> <size_t> self.call_targets[index]
        subscription = subscription_new(
            subject, <uint32_t> len(subject), queue, <uint32_t> len(queue), b"1", 1
        )
        if subscription == NULL:
            raise MemoryError("no memory for a subscription")
        subscription.target = target
        if queue:
            subscription.queue_id = hash_bytes(queue, <uint32_t> len(queue), self.session.seed) | 1
            queue_hash = self.session.directory.queue_hash_of(queue, <uint32_t> len(queue))
        sublist = self.session.routes.sublist(account)
        try:
            sublist.insert(subject, <uint32_t> len(subject), subscription.queue_id, &subscription.item)
            self.session.directory.change(account, subject, <uint32_t> len(subject), queue_hash, False, 1)
        except MemoryError:
            free(subscription)
            raise
        self.session.routes.next_epoch()
        number = self.next_number
        self.next_number += 1
        self.numbered[number] = <size_t> subscription
        if hosted is not None:
            hosted.subscriptions[kind, subject] = number
        return number

    def unsubscribe(self, Hosted hosted, int kind, bytes subject):
        """End a subscription of a stream."""
        self.unsubscribe_number(hosted.subscriptions.pop((kind, subject)))

    def unsubscribe_number(self, number):
        """End a subscription by its number."""
        cdef Subscription *subscription = <Subscription *> <size_t> self.numbered.pop(number)
        cdef uint8_t *subject = <uint8_t *> (subscription + 1)
        cdef uint64_t queue_hash = 0
        if subscription.queue_id:
            queue_hash = self.session.directory.queue_hash_of(
                subscription_queue(subscription), subscription.queue_size
            )
        self.session.directory.change(
            subscription.target.account, subject, subscription.subject_size, queue_hash, False, -1
        )
        self.session.retire(subscription)
        self.session.routes.generation += 1
        self.session.routes.next_epoch()

    def new_call_target(self, uint32_t account, call):
        """A receiver that is a Python callable(account, subject, reply, block, payload, cid); its index."""
        cdef DeliveryTarget *target = <DeliveryTarget *> calloc(1, sizeof(DeliveryTarget))
        if target == NULL:
            raise MemoryError("no memory for a target")
        index = self.next_number
        self.next_number += 1
        target.account = account
        target.service = SERVICE_CALL
        target.service_index = index
        self.call_targets[index] = <size_t> target
        self.targets[index] = call
        return index

    def end_call_target(self, index):
        """Forget a callable; its subscriptions are ended already. The small struct stays for routes in use."""
        self.targets.pop(index, None)

    def stage_done(self, Hosted hosted):
        """The caller has staged frames of this stream by itself."""
        self.staged_size = 0
        for other in self.dirty:
            self.staged_size += (<Hosted> other).stream.stage.size
        if not hosted.stream.in_dirty:
            self.mark_dirty(hosted)
            self.staged_size += hosted.stream.stage.size

    def call_number(self, call):
        """A number under which `call(errno)` waits for a frame (Stream.stage_frame); errno 0: it is stored."""
        number = self.next_number
        self.next_number += 1
        self.calls[number] = call
        return number

    def when_applied(self, Hosted hosted, call):
        """Call `call(errno)` once everything the stream has accepted so far is applied: now, if nothing waits."""
        if hosted.stream.frames_in_flight == 0 and hosted.stream.stage.first == NULL:
            call(0)
            return
        hosted.stream.stage_call(self.call_number(call))
        self.stage_done(hosted)

    def lane_record(self, uint32_t kind, uint32_t log_id, uint32_t row, bytes body, call, *,
                    uint64_t segment=0, uint64_t position=0, uint64_t count=0, uint32_t term=0):
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
        return True

    def message(self, Hosted hosted, uint64_t sequence):
        """(subject, block, payload, time ns) of a message, or None. Raises StorageError."""
        cdef const RecordHead *record = self.find_record(hosted, sequence)
        cdef const uint8_t *at
        if record == NULL:
            return None
        at = <const uint8_t *> record + RECORD_HEAD_SIZE
        return (
            at[: record.subject_size],
            (at + record.subject_size)[: record.header_size],
            (at + record.subject_size + record.header_size)[: record.payload_size],
            record.time_ns,
        )

    def find(self, Hosted hosted, uint64_t sequence, bytes last_on, bytes next_on, uint64_t start_ns):
        """The sequence that a get names (spec 02): 0 when there is no such message."""
        cdef Stream stream = hosted.stream
        if last_on:
            return stream.state.last_on(last_on, <uint32_t> len(last_on))
        if start_ns:
            sequence = stream.state.messages.first_since(start_ns)
            # The table's times are exact to the millisecond only.
            while sequence <= stream.state.messages.last and self.find_record(hosted, sequence).time_ns < start_ns:
                sequence = stream.state.messages.next_live(sequence + 1)
            if sequence > stream.state.messages.last:
                return 0
        if next_on or start_ns:
            return stream.state.next_on(sequence, next_on, <uint32_t> len(next_on))
        return sequence

    def erase_memory(self, Hosted hosted, uint64_t position, uint64_t count):
        """Overwrite a removed message of a memory stream."""
        os.pwrite(hosted.memory_fd, bytes(count), position)

    def write_figures(self, Hosted hosted):
        """Bring the stream's row of the log table up to date now."""
        self.note_figures(hosted)

    def unsubscribe_all(self, Hosted hosted):
        """No more messages for this stream."""
        for kind, subject in list(hosted.subscriptions):
            self.unsubscribe(hosted, kind, subject)

    def position_of(self, Hosted hosted, uint64_t sequence):
        """(segment base, log position, record size) of a message, or None."""
        cdef const RecordHead *record = self.find_record(hosted, sequence)
        cdef MessageEntry *entry
        cdef SegmentInfo *segment
        if record == NULL:
            return None
        entry = hosted.stream.state.messages.get(sequence)
        segment = hosted.stream.state.segment_of(entry.position)
        return segment.base if segment != NULL else 0, entry.position, record.size

    def first_time_ns(self, Hosted hosted):
        """Exact time of the first message; 0 when there is none."""
        cdef Stream stream = hosted.stream
        cdef const RecordHead *record
        if stream.state.messages.count == 0:
            return 0
        if stream.state.first_time_ns == 0:
            try:
                record = self.find_record(hosted, stream.state.messages.first)
            except StorageError:
                return stream.state.messages.time_of(stream.state.messages.first)
            stream.state.first_time_ns = record.time_ns
        return stream.state.first_time_ns

    def answer_predecessor(self):
        """Answer for what a dead worker of this slot has sent: it is stored, or it was refused.

        Its frames are in the streams already, read back from the store; only the answers are owed.
        """
        cdef LaneRecord *record
        cdef Hosted hosted
        while True:
            record = self.lane.next_processed()
            if record == NULL:
                return
            hosted = self.by_row.get(record.row)
            if record.trailer_size:
                self.answer_all(hosted, lane_trailer(record), record.trailer_size, record.status)
            self.lane.release(record)

    def has_interest(self, uint32_t account, bytes subject):
        """Whether anybody would get a message on this subject."""
        cdef uint64_t hash = 0
        cdef Route *route = self.router.routes.find(account, subject, <uint32_t> len(subject), &hash)
        return route != NULL and (
            route.plain_count != 0 or route.group_count != 0 or route.remote_mask != 0
        )

    def count_api(self, bint failed):
        """One request of the API was answered."""
        self.router.statistics.api_requests += 1
        if failed:
            self.router.statistics.api_errors += 1

    # --- figures ----------------------------------------------------------------------------------------

    cdef void touch(self, Hosted hosted) noexcept:
        if not hosted.touched:
            hosted.touched = True
            self.touched.append(hosted)
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
        if stream.state.messages.last == 0:
            first = 0
        store_relaxed_u64(cell + 0, stream.state.messages.count)
        store_relaxed_u64(cell + 1, stream.state.bytes)
        store_relaxed_u64(cell + 2, first)
        store_relaxed_u64(cell + 3, stream.state.messages.last)
        store_relaxed_u64(cell + 4, self.first_time_ns(hosted))
        store_relaxed_u64(cell + 5, stream.state.last_time_ns)
        store_relaxed_u64(cell + 6, stream.state.subjects.count)
        store_relaxed_u64(cell + 7, stream.state.deleted_count())
        store_relaxed_u64(cell + 9, stream.state.applied_index)
        store_relaxed_u64(cell + 10, stream.state.log_bytes())
        store_relaxed_u64(cell + 11, stream.state.lost)
        store_relaxed_u64(cell + 12, stream.state.segments[0].base if stream.state.segment_count else 0)

    # --- time -------------------------------------------------------------------------------------------

    cdef int tick(self, uint64_t now_ns) except -1:
        """Expire what is past its time, give dead segments back."""
        cdef Hosted hosted
        self.now_ns = now_ns
        self.wall_offset_ns = wall_clock_ns() - now_ns
        for hosted in self.hosted:
            if hosted is not None and not hosted.stream.closing:
                self.expire(hosted)
                self.release_dead(hosted)
                if hosted.stream.state.segment_count > 1:
                    self.cleaning.step(hosted)
        for hosted in self.touched:
            self.note_figures(hosted)
        self.touched.clear()
        for ticking in self.ticking:
            try:
                ticking(now_ns + self.wall_offset_ns)
            except Exception as error:
                self.tell_failure("a tick", error)
        return 0

    def expire(self, Hosted hosted):
        """Remove messages that are past their time; the last of a subject may leave a marker (spec 03 section 6)."""
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
