"""The streams of one worker and their lane without a worker around them, for simulations.

`OwnerFace` does with real streams and a real lane what workers/stream_host.pyx does, one step at a time: the
caller decides when staged frames leave, when they are shown, and when the writer's word is taken. What is
owed is given to the caller instead of being sent. Nothing here is on the path of a broker's message.

If you change how stream_host appends frames, applies them, fails them or answers for a predecessor, also
change it here: the simulation would prove another program.
"""

from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memcpy

from shardbroker.jetstream.frame_stage cimport StagedFrame, TrailerEntry
from shardbroker.jetstream.proposal cimport Proposal, point
from shardbroker.jetstream.stream cimport Stream
from shardbroker.shm.append_lane cimport (
    LANE_FRAME,
    LANE_RECORD_SIZE,
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
from shardbroker.shm.ring cimport RingMap
from shardbroker.storage.frame cimport FRAME_HEAD_SIZE, padded


cdef class OwnerFace:
    """Goes on where a predecessor in the lane ended. `streams`: row -> Stream, kept by the caller."""

    cdef readonly LaneProducer lane
    cdef readonly dict streams
    cdef uint64_t inherited  # the lane up to here was written by a predecessor

    def __init__(self, RingMap ring, uint64_t board_address, int doorbell):
        self.lane = LaneProducer(ring, board_address, doorbell)
        self.streams = {}
        self.inherited = self.lane.position

    def add(self, Stream stream):
        """A stream of this owner from now on."""
        self.streams[stream.row] = stream

    def offer(self, uint32_t row, bytes subject, bytes reply, bytes block, bytes payload, uint64_t now_ns):
        """Publish to a stream; what it owes is staged."""
        cdef Proposal proposal
        cdef Stream stream = self.streams[row]
        point(&proposal, subject, reply, block, payload, 0, now_ns)
        if stream.publish(&proposal) < 0:
            raise MemoryError("the stream has no memory")

    def append(self, uint32_t row, uint64_t now_ns, most=None):
        """Move staged frames into the lane, not shown yet; [(status, entry)] of what need not wait.

        `most`: so many frames, as if there was no room for more.
        """
        cdef Stream stream = self.streams[row]
        cdef StagedFrame *frame
        answers = []
        if stream.cutting:
            return answers if stream.frames_in_flight else self.fail_staged(stream, STATUS_ERRNO)
        while most is None or most > 0:
            frame = stream.stage.take()
            if frame == NULL:
                break
            if frame.kind == 0 and stream.frames_in_flight == 0:
                answers += [
                    (STATUS_STORED, entry) for entry in entries_of(frame.trailer, frame.trailer_size)
                ]
            elif frame.kind == 0 and stream.failed:
                answers += [(STATUS_ERRNO, entry) for entry in entries_of(frame.trailer, frame.trailer_size)]
            else:
                self.append_frame(stream, frame, now_ns)
            stream.stage.give_back(frame)
            if most is not None:
                most -= 1
        return answers

    cdef int append_frame(self, Stream stream, StagedFrame *frame, uint64_t now_ns) except -1:
        cdef uint64_t size = 0 if frame.kind == 0 else FRAME_HEAD_SIZE + frame.body_size
        cdef LaneRecord *record = self.lane.claim(LANE_RECORD_SIZE + size + frame.trailer_size)
        if record == NULL:
            raise MemoryError("the lane has no room")
        record.kind = LANE_SYNC if frame.kind == 0 else LANE_FRAME
        record.log_id = stream.log.log_id
        record.row = stream.row
        record.body_size = <uint32_t> size
        record.trailer_size = <uint32_t> frame.trailer_size
        record.term = stream.log.term
        record.index = stream.log.index
        if frame.kind:
            stream.log.seal(frame, stream.last_sequence, now_ns, lane_body(record))
            record.index = stream.log.index
            record.position = stream.log.position - size
            record.segment = stream.log.segment
            record.capacity = stream.log.capacity
        if frame.trailer_size:
            memcpy(lane_trailer(record), frame.trailer, frame.trailer_size)
        self.lane.commit(record)
        stream.frames_in_flight += 1
        return 0

    def record(self, uint32_t kind, uint32_t log_id, uint32_t row, bytes body, *,
               uint64_t segment=0, uint32_t term=0, uint64_t index=0):
        """Put a record into the lane that is no frame."""
        cdef LaneRecord *record = self.lane.claim(LANE_RECORD_SIZE + padded(len(body)))
        if record == NULL:
            raise MemoryError("the lane has no room")
        record.kind = kind
        record.log_id = log_id
        record.row = row
        record.segment = segment
        record.index = index
        record.term = term
        record.body_size = <uint32_t> len(body)
        memcpy(lane_body(record), <const char *> body, len(body))
        self.lane.commit(record)

    def publish(self):
        """Show to the writer what is in the lane."""
        self.lane.publish()

    def release(self):
        """All that drain() gave is sent: the memory of those records is free."""
        self.lane.show_released()

    def drain(self, most):
        """Take the writer's word for at most so many records: [(status, entry)] to be answered, in order."""
        cdef LaneRecord *record
        answers = []
        while most > 0:
            record = self.lane.next_processed()
            if record == NULL:
                break
            self.finish_record(record, answers)
            self.lane.release(record)
            most -= 1
        return answers

    cdef int finish_record(self, LaneRecord *record, list answers) except -1:
        cdef Stream stream = self.streams[record.row]
        cdef uint32_t status = record.status
        cdef bint counts
        if record.kind == LANE_FRAME or record.kind == LANE_SYNC:
            counts = stream.takes_effect(record.index)
            stream.frames_in_flight -= 1
            if record.kind == LANE_FRAME and counts:
                if status == STATUS_STORED:
                    stream.apply_frame(lane_body(record), record.position, record.segment, record.capacity)
                else:
                    answers += self.fail(stream, status)
            if not counts:
                status = status if status != STATUS_STORED else STATUS_ERRNO
            if stream.failed and stream.frames_in_flight == 0 and not stream.cutting:
                stream.failed = False
        elif record.kind == LANE_TRUNCATE:
            stream.frames_in_flight -= 1
            answers += self.finish_cut(stream, record)
        answers += [(status, entry) for entry in entries_of(lane_trailer(record), record.trailer_size)]
        return 0

    cdef list fail(self, Stream stream, uint32_t status):
        """The first frame that is not stored: drop everything behind what is."""
        answers = self.fail_staged(stream, status)
        stream.drop_overlay()
        stream.failed = stream.frames_in_flight > 0
        return answers

    cdef list fail_staged(self, Stream stream, uint32_t status):
        """Drop what is staged: [(status, entry)]."""
        cdef StagedFrame *frame
        answers = []
        while True:
            frame = stream.stage.take()
            if frame == NULL:
                return answers
            answers += [(status, entry) for entry in entries_of(frame.trailer, frame.trailer_size)]
            stream.stage.give_back(frame)

    def truncate_suffix(self, uint32_t row, uint64_t index):
        """Ask for a cut behind frame `index`: [(status, entry)] of what was staged. Raises StorageError."""
        cdef Stream stream = self.streams[row]
        stream.check_cut(index)
        self.record(LANE_TRUNCATE, stream.log.log_id, row, b"", term=stream.log.term, index=index)
        stream.frames_in_flight += 1
        stream.begin_cut(index)
        return self.fail_staged(stream, STATUS_ERRNO)

    cdef list finish_cut(self, Stream stream, LaneRecord *record):
        """The writer has cut the log; or has not, then the stream stays closed until it has."""
        answers = []
        if record.status == STATUS_STORED or (
            record.status == STATUS_REFUSED and stream.cut_index < record.index
        ):
            answers = self.fail_staged(stream, STATUS_ERRNO)
            stream.end_cut()
        elif record.status < STATUS_ERRNO:
            raise RuntimeError("the stream does not agree with the stream-writer any more")
        return answers

    def answer_predecessor(self):
        """[(status, entry)] of what a dead owner of this lane still owes; all of it is processed."""
        cdef LaneRecord *record
        cdef uint32_t status
        cdef list cuts = self.lane.cuts_before(self.inherited)
        answers = []
        while self.lane.answered < self.inherited:
            record = self.lane.next_processed()
            if record == NULL:
                raise RuntimeError("the predecessor's records are not stored")
            status = STATUS_ERRNO if cuts and self.lane.is_cut_off(record, cuts) else record.status
            answers += [(status, entry) for entry in entries_of(lane_trailer(record), record.trailer_size)]
            self.lane.release(record)
        return answers


cdef list entries_of(const uint8_t *trailer, uint64_t size):
    """[(kind, reply, sequence, text)] of a trailer."""
    cdef const TrailerEntry *entry
    cdef const uint8_t *reply
    cdef uint64_t at = 0
    found = []
    while at < size:
        entry = <const TrailerEntry *> (trailer + at)
        reply = <const uint8_t *> (entry + 1)
        found.append(
            (
                <uint16_t> entry.kind,
                reply[: entry.reply_size],
                entry.sequence,
                (reply + entry.reply_size)[: entry.text_size],
            )
        )
        at += entry.size
    return found
