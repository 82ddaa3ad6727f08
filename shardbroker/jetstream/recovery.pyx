"""From a log that is read back to the state of its stream: the sink of a scan."""

from libc.stdint cimport uint8_t, uint32_t, uint64_t

from shardbroker.jetstream.stream_state cimport StreamState
from shardbroker.storage.codec cimport frame_head_is_good, has_records
from shardbroker.storage.frame cimport (
    FRAME_DELETE,
    FRAME_HEAD_SIZE,
    FRAME_NOTE,
    FRAME_RELOCATED,
    RECORD_HAS_ID,
    RECORD_SCHEDULE,
    FrameHead,
    RecordHead,
)
from shardbroker.storage.log_scan cimport LogSink

from shardbroker.jetstream.consumer_recovery import FIRST_KIND, ConsumerNotes
from shardbroker.storage.scan_result import without_deleted


cdef class StateSink(LogSink):
    """Applies what the scan finds. `progress(bytes)` is called now and then.

    After the scan: `notes` has the last note of each kind, `consumers` what is said of them, `schedules` the
    sequences of schedule messages.
    """

    cdef StreamState state
    cdef object progress
    cdef readonly list schedules
    cdef readonly dict notes  # kind -> bytes of the last FRAME_NOTE
    cdef readonly object consumers  # ConsumerNotes
    cdef public list losses
    cdef set erased  # sequences of records that were overwritten, until the frame that deletes them is seen
    cdef readonly uint64_t last_id_sequence  # of the last message with an id; 0: none

    def __init__(self, StreamState state, uint64_t now_ns, progress=None):
        self.state = state
        self.state.replaying = True
        self.state.replay_now_ns = now_ns
        self.progress = progress
        self.wants_beat = progress is not None
        self.schedules = []
        self.notes = {}
        self.consumers = ConsumerNotes()
        self.losses = []
        self.erased = set()

    cdef int on_record(self, const FrameHead *frame, const RecordHead *record, uint64_t position) except -1:
        cdef int outcome
        if frame.kind == FRAME_RELOCATED:
            outcome = self.state.apply_relocated(record, position)
        else:
            outcome = self.state.apply_record(record, position)
            if record.flags & RECORD_HAS_ID:
                self.last_id_sequence = record.sequence
            if record.flags & RECORD_SCHEDULE:
                self.schedules.append(record.sequence)
        if outcome < 0:
            raise MemoryError("no memory for a message entry")
        self.state.applied_index = frame.index
        return 0

    cdef int on_frame(self, const FrameHead *frame, const uint8_t *body, uint64_t position) except -1:
        self.state.apply_other(frame, body)
        if frame.kind == FRAME_NOTE and frame.body_size >= 8:
            self.keep_note(<const uint32_t *> body, frame.body_size)
        if frame.kind == FRAME_DELETE and (self.losses or self.erased):
            self.forgive(<const uint64_t *> body, frame.body_size // 16)
        self.state.applied_index = frame.index
        return 0

    cdef int on_erased(self, const FrameHead *frame, const RecordHead *record, uint64_t position) except -1:
        # It counts until the frame that deleted it comes: what it has pushed out of the stream stays out.
        self.erased.add(record.sequence)
        return self.on_record(frame, record, position)

    cdef int keep_note(self, const uint32_t *body, uint32_t size) except -1:
        cdef const uint8_t *text = <const uint8_t *> (body + 2)
        if body[1] > size - 8:
            return 0
        if body[0] >= FIRST_KIND:
            self.consumers.take(body[0], text[: body[1]])
        else:
            self.notes[body[0]] = text[: body[1]]
        return 0

    cdef int forgive(self, const uint64_t *runs, uint64_t count) except -1:
        """Messages that were deleted later are no loss: MSG.DELETE overwrites them on purpose."""
        cdef uint64_t i
        for i in range(count):
            self.losses = without_deleted(self.losses, runs[2 * i], runs[2 * i] + runs[2 * i + 1] - 1)
            self.erased = {
                sequence for sequence in self.erased if not 0 <= sequence - runs[2 * i] < runs[2 * i + 1]
            }
        self.count_losses()
        return 0

    def count_losses(self):
        self.state.lost = sum([last - first + 1 for first, last, _ in self.losses if last >= first > 0])

    cdef int on_lost(self, uint64_t first_sequence, uint64_t last_sequence, object reason) except -1:
        self.losses.append((first_sequence, last_sequence, reason))
        return 0

    cdef int on_progress(self, uint64_t bytes_done) except -1:
        self.progress(bytes_done)
        return 0

    def expect_segment(self, uint64_t base, uint64_t capacity, uint64_t end):
        """Tell of a segment before the scan, in order, so that its messages are counted for it."""
        if self.state.note_frame(base, capacity, end, 0) < 0:
            raise MemoryError("no memory for a segment's figures")

    def finish(self, uint64_t last_sequence, uint64_t end_position):
        """The scan is done: sequences up to `last_sequence` may have been given; the log ends at
        `end_position`. A loss without a known end goes up to there."""
        for sequence in sorted(self.erased):
            # Zeros, and nobody has deleted it: the disk did that.
            if self.state.messages.get(sequence) != NULL:
                self.state.remove_message(sequence)
                self.on_lost(sequence, sequence, "the record was overwritten with zeros")
        self.losses = [
            (first, last_sequence if last == 0 and 0 < first <= last_sequence else last, reason)
            for first, last, reason in self.losses
        ]
        self.count_losses()
        self.state.replaying = False
        self.state.messages.skip_to(last_sequence)
        if self.state.segment_count:
            self.state.segments[self.state.segment_count - 1].end = end_position

    def take_frame(self, bytes frame, uint64_t position):
        """Apply one frame of a memory stream that is whole; (its size, index, head checksum) or None."""
        cdef const FrameHead *head = <const FrameHead *> <const char *> frame
        cdef const uint8_t *at = <const uint8_t *> <const char *> frame
        cdef const uint8_t *end
        cdef const RecordHead *record
        if len(frame) < FRAME_HEAD_SIZE or not frame_head_is_good(head):
            return None
        if <uint64_t> len(frame) < FRAME_HEAD_SIZE + head.body_size:
            return None
        end = at + FRAME_HEAD_SIZE + head.body_size
        at += FRAME_HEAD_SIZE
        position += FRAME_HEAD_SIZE
        if has_records(head.kind):
            while at < end:
                record = <const RecordHead *> at
                self.on_record(head, record, position)
                at += record.size
                position += record.size
        else:
            self.on_frame(head, at, position - FRAME_HEAD_SIZE)
        return FRAME_HEAD_SIZE + head.body_size, head.index, head.head_crc, head.first_sequence, head.term
