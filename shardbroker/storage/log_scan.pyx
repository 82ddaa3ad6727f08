"""Reading a log back: every whole frame in order, and every loss told.

A frame counts where the one before it ends, with its log id, the next index, a term that does not fall and
the checksum of the frame before. Where something else is found, there are two cases, and a checksum alone
cannot tell them apart:

- *torn tail*: what was being written when the power went. Nobody was promised anything; the log ends here.
- *rot*: what was durable and is damaged now. What follows is kept, and the loss is told.

It is rot if some later frame of this log says that this index was durable when it was built, or the caller
knows it. So looking ahead decides, and looking ahead never goes back over what it has seen: a scan reads each
byte at most twice, whatever lies on the disk.

In a hole the next frame is looked for in steps of eight bytes, and whole records on the way are stepped over,
so that what clients have written is not taken for a frame. One flipped bit in a head is put right: the
checksum finds it, and three of four known fields prove that this is the place of a head.

Nothing on the disk is an error here. Lost alternative: to stop at the first bad frame, as logs that cannot
tell rot from a torn tail do; one flipped bit then costs everything behind it.
"""

from libc.stdlib cimport free
from libc.string cimport memcpy, memset

from dataclasses import dataclass, field

from shardbroker.arrays cimport reserve
from shardbroker.storage.codec cimport (
    body_crc_of,
    frame_head_is_good,
    gives_sequences,
    has_records,
    record_fits,
    record_is_good,
)
from shardbroker.storage.codec import KIND_NAMES
from shardbroker.storage.crc32c cimport crc32c
from shardbroker.storage.frame cimport (
    FRAME_BATCH,
    FRAME_BATCH_COMMIT,
    FRAME_CHECKPOINT,
    FRAME_HEAD_SIZE,
    FRAME_MAGIC,
    FRAME_MESSAGES,
    FRAME_RELOCATED,
    FRAME_SKIP,
    RECORD_HEAD_SIZE,
    SEGMENT_HEAD_SIZE,
    CheckpointBody,
)
from shardbroker.storage.segment_list import order_segments

cdef enum:
    BEAT_SIZE = 8 << 20  # bytes between two calls of on_progress
    TRIAL_BASE = 64 << 20  # bytes of checksums tried in vain that any scan may spend
    TRIAL_FACTOR = 4  # and this often the size of its files: more is somebody's trap

    # What try_frame and skip_hole say.
    TAKEN = 1
    NOT_HERE = 2  # no frame that comes next begins here
    NEXT_SEGMENT = 3
    LOG_ENDS = 4


@dataclass(slots=True)
class ScanResult:
    """What a log holds, and where it goes on. Positions are log positions, in bytes."""

    end_position: int  # the next frame belongs here
    last_index: int
    last_crc: int  # head_crc of the last frame, for the next one's previous_crc
    last_term: int
    last_sequence: int  # the highest ever seen, also in what is cut: none up to this may be given again
    sequence_in_doubt: bool  # a hole's sequences are unknown: go on at what was reserved
    segment_base: int | None  # of the segment with end_position; None: there is no segment
    segment_capacity: int
    cut_bytes: int  # of frames of this log from end_position on, which will be overwritten
    leftover_paths: list[str]  # segments behind the end: to be removed
    lost: list[tuple[int, int, str]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


cdef class LogSink:
    """Receives what a scan finds; the methods of this one ignore it."""

    cdef int on_record(self, const FrameHead *frame, const RecordHead *record, uint64_t position) except -1:
        return 0

    cdef int on_frame(self, const FrameHead *frame, const uint8_t *body, uint64_t position) except -1:
        return 0

    cdef int on_lost(self, uint64_t first_sequence, uint64_t last_sequence, object reason) except -1:
        return 0

    cdef int on_progress(self, uint64_t bytes_done) except -1:
        return 0


cdef bint body_is_good(const FrameHead *head, const uint8_t *body, uint64_t *last_sequence) noexcept nogil:
    """Whether the whole body is right, record by record; the sequence of its last record."""
    cdef uint64_t at = 0
    cdef uint32_t count = 0, crc = 0
    cdef const RecordHead *record
    if not has_records(head.kind):
        return head.body_crc == crc32c(0, body, head.body_size)
    while at < head.body_size:
        record = <const RecordHead *> (body + at)
        if not record_is_good(record, head.body_size - at):
            return False
        crc = crc32c(crc, &record.crc, 4)
        last_sequence[0] = record.sequence
        at += record.size
        count += 1
    return count == head.count and crc == head.body_crc


cdef uint64_t last_sequence_of(const FrameHead *head) noexcept nogil:
    """The highest sequence that was given when this frame was built, as its head says; 0: it does not."""
    if gives_sequences(head.kind):
        return head.first_sequence + head.count - 1 if head.count else head.first_sequence
    return 0 if head.kind == FRAME_RELOCATED else head.first_sequence


cdef bint repair_head(FrameHead *head, const FrameHead *expected) noexcept nogil:
    """Put one flipped bit right, if that makes it the frame whose magic, log id, chain and index are known."""
    cdef int matches, bit
    cdef uint8_t *raw = <uint8_t *> head
    matches = (head.magic == FRAME_MAGIC) + (head.log_id == expected.log_id)
    matches += (head.previous_crc == expected.previous_crc) + (head.index == expected.index)
    if matches < 3:
        return False
    for bit in range(FRAME_HEAD_SIZE * 8):
        raw[bit >> 3] ^= 1 << (bit & 7)
        if frame_head_is_good(head):
            return (
                head.log_id == expected.log_id
                and head.previous_crc == expected.previous_crc
                and head.index == expected.index
                and head.term >= expected.term
            )
        raw[bit >> 3] ^= 1 << (bit & 7)
    return False


cdef class LogScan:
    """One reading of one log. `segments` are (base by name, path), in any order.

    `known_durable` is an index that was durable for sure, if the caller knows one (the persisted watermark):
    a log that ends before it has lost its end.
    """

    def __init__(self, log_id, segments, known_durable=0):
        self.log_id = log_id
        self.notes = []
        self.lost = []
        self.segments = order_segments(log_id, list(segments), self.notes)
        self.known_durable = known_durable
        self.window = SegmentWindow()
        self.ahead = SegmentWindow()
        self.again = SegmentWindow()

    def __dealloc__(self):
        free(self.pending)

    def run(self, LogSink sink not None):
        """Read everything, once. Raises only what the sink raises, and MemoryError."""
        cdef uint64_t offset = SEGMENT_HEAD_SIZE
        cdef int state = NEXT_SEGMENT
        cdef uint32_t number
        self.sink = sink
        self.again_number = -1
        self.next_beat = BEAT_SIZE
        self.trial_budget = TRIAL_BASE + TRIAL_FACTOR * sum([segment.capacity for segment in self.segments])
        for number in range(<uint32_t> len(self.segments)):
            self.enter(number)
            offset = SEGMENT_HEAD_SIZE
            state = self.scan_segment(&offset)
            if state == LOG_ENDS:
                break
        return self.finish(offset)

    cdef int enter(self, uint32_t number) except -1:
        """Begin with the next segment."""
        segment = self.segments[number]
        self.number = number
        self.base = segment.base
        self.window.open(segment.path)
        self.end = self.end_of(number, self.window.size)
        if not self.started and segment.head is not None:
            self.started = True
            self.last_index = segment.head.first_index - 1
            self.last_crc = segment.head.previous_crc
        return 0

    cdef uint64_t end_of(self, uint32_t number, uint64_t size):
        """Offset in the file behind which no frame of segment `number` can lie."""
        cdef uint64_t end = size
        if number + 1 < <uint32_t> len(self.segments):
            # What lies behind the next segment's begin is of an earlier use of the file.
            end = min(size, SEGMENT_HEAD_SIZE + <uint64_t> self.segments[number + 1].base
                      - <uint64_t> self.segments[number].base)
        return end

    cdef int scan_segment(self, uint64_t *at) except -1:
        """Frames from `at` on to the end of the segment or the log."""
        cdef int state
        while True:
            state = self.try_frame(at)
            if state == TAKEN:
                if self.sink.wants_beat:
                    self.beat(at[0])
                continue
            if state == NOT_HERE:
                if at[0] >= self.end and self.number + 1 < <uint32_t> len(self.segments):
                    return self.leave()
                state = self.skip_hole(at)
            if state == NEXT_SEGMENT:
                return self.leave()
            if state == LOG_ENDS:
                return LOG_ENDS

    cdef int leave(self) except -1:
        self.bytes_done += self.end
        return NEXT_SEGMENT

    cdef int beat(self, uint64_t offset) except -1:
        if self.bytes_done + offset >= self.next_beat:
            self.next_beat = self.bytes_done + offset + BEAT_SIZE
            self.sink.on_progress(self.bytes_done + offset)
        return 0

    cdef bint is_next(self, const FrameHead *head) noexcept:
        """Whether a whole head continues the chain."""
        return (
            head.log_id == self.log_id
            and head.term >= self.last_term
            and (not self.started or (head.index == self.last_index + 1 and head.previous_crc == self.last_crc))
        )

    cdef bint is_later(self, const FrameHead *head) noexcept:
        """Whether a whole head is of this log, of now, and behind what was read."""
        return (
            head.log_id == self.log_id
            and head.term >= self.last_term
            and head.index > self.last_index
        )

    cdef int try_frame(self, uint64_t *at) except -1:
        """Take the frame at `at`, if it is the next one of the log."""
        cdef FrameHead head, expected
        cdef const uint8_t *bytes_there = self.window.at(at[0], FRAME_HEAD_SIZE)
        cdef bint good
        if bytes_there == NULL:
            return NOT_HERE
        memcpy(&head, bytes_there, FRAME_HEAD_SIZE)
        if not frame_head_is_good(&head):
            expected.log_id = self.log_id
            expected.previous_crc = self.last_crc
            expected.index = self.last_index + 1
            expected.term = self.last_term
            if not self.started or not repair_head(&head, &expected):
                return NOT_HERE
            self.notes.append(f"frame {head.index}: one bit of its head was wrong and is put right")
        if not self.is_next(&head):
            return NOT_HERE
        bytes_there = self.window.at(at[0], FRAME_HEAD_SIZE + <uint64_t> head.body_size)
        good = bytes_there != NULL and body_is_good(&head, bytes_there + FRAME_HEAD_SIZE, &self.body_last)
        if not good:
            self.highest_sequence = max(self.highest_sequence, last_sequence_of(&head))
            if not self.is_durable(head.index, at[0]):
                return LOG_ENDS
            if bytes_there == NULL:
                return self.take_cut(&head, at[0])
        self.accept(&head, bytes_there + FRAME_HEAD_SIZE, at[0], good)
        at[0] += FRAME_HEAD_SIZE + <uint64_t> head.body_size
        return TAKEN

    cdef int take_cut(self, const FrameHead *head, uint64_t offset) except -1:
        """A durable frame within which the file ends: what is there of it, record by record."""
        self.open_gap(offset)
        self.salvage(offset + FRAME_HEAD_SIZE, self.window.size, NULL)
        self.started = True
        self.last_index = head.index
        self.last_crc = head.head_crc
        self.last_term = head.term
        return NEXT_SEGMENT

    cdef int accept(self, const FrameHead *head, const uint8_t *body, uint64_t offset, bint good) except -1:
        """A frame in its place: hand it on, and continue the chain."""
        cdef uint64_t sequence = last_sequence_of(head)
        if self.gap_open:
            self.close_gap(head)
        if self.pending_count:
            self.settle_pending(head)
        if good and gives_sequences(head.kind) and head.count:
            sequence = max(sequence, self.body_last)
        elif good and head.kind == FRAME_SKIP and head.body_size >= 8:
            sequence = max(sequence, (<const uint64_t *> body)[0] - 1)
        elif good and head.kind == FRAME_CHECKPOINT and head.body_size >= sizeof(CheckpointBody):
            sequence = max(sequence, (<const CheckpointBody *> body).last_sequence)
        self.started = True
        self.last_index = head.index
        self.last_crc = head.head_crc
        self.last_term = head.term
        if head.kind == FRAME_BATCH:
            self.keep_pending(head, offset)
        else:
            if head.kind == FRAME_BATCH_COMMIT and self.pending_count:
                self.deliver_pending()
            self.deliver(head, body, self.base + offset - SEGMENT_HEAD_SIZE, good)
        # Only now: what is told of damage within the frame counts from the sequence before it.
        self.last_sequence = max(self.last_sequence, sequence)
        self.highest_sequence = max(self.highest_sequence, sequence)
        return 0

    cdef int deliver(
        self, const FrameHead *head, const uint8_t *body, uint64_t position, bint good
    ) except -1:
        """Hand on what is in a frame."""
        cdef uint64_t at = 0
        cdef const RecordHead *record
        if not has_records(head.kind):
            if good:
                return self.sink.on_frame(head, body, position)
            return self.tell_lost(0, 0, f"frame {head.index} ({KIND_NAMES.get(head.kind)}) is damaged")
        if not good:
            return self.deliver_damaged(head, body, position)
        position += FRAME_HEAD_SIZE
        while at < head.body_size:
            record = <const RecordHead *> (body + at)
            self.sink.on_record(head, record, position + at)
            at += record.size
        return 0

    cdef int deliver_damaged(self, const FrameHead *head, const uint8_t *body, uint64_t position) except -1:
        """The good records of a frame, and the sequences of the others."""
        cdef uint64_t at = 0, step
        cdef uint64_t expected = head.first_sequence, last = last_sequence_of(head)
        cdef bint proven = head.body_crc == body_crc_of(head, body)
        cdef bint relocated = head.kind == FRAME_RELOCATED
        cdef const RecordHead *record
        cdef uint32_t good_count = 0
        reason = f"damaged record in frame {head.index}"
        while at + RECORD_HEAD_SIZE <= head.body_size:
            record = <const RecordHead *> (body + at)
            step = 8
            if record_fits(record, head.body_size - at):
                if record_is_good(record, head.body_size - at):
                    if relocated or expected <= record.sequence <= last:
                        if not relocated and record.sequence > expected:
                            self.tell_lost(expected, record.sequence - 1, reason)
                        self.sink.on_record(head, record, position + FRAME_HEAD_SIZE + at)
                        good_count += 1
                        expected = record.sequence + 1
                    step = record.size
                elif proven or self.spend_trial(record.size):
                    # Its size is right if the body's checksum is, which covers all in order.
                    if proven:
                        step = record.size
                        if relocated:
                            self.tell_lost(record.sequence, record.sequence, reason)
                            good_count += 1
                else:
                    break
            at += step
        if relocated and good_count < head.count:
            self.tell_lost(0, 0, f"{head.count - good_count} relocated records of frame {head.index} are damaged")
        elif not relocated and expected <= last:
            self.tell_lost(expected, last, reason)
        return 0

    cdef int tell_lost(self, uint64_t first, uint64_t last, object reason) except -1:
        self.lost.append((first, last, reason))
        return self.sink.on_lost(first, last, reason)

    cdef int skip_hole(self, uint64_t *at) except -1:
        """No next frame at `at`: find where the log goes on, hand on what can be saved, or end it."""
        cdef FrameHead head
        cdef uint64_t found
        if not self.is_durable(self.last_index + 1, at[0]):
            return LOG_ENDS
        found = self.next_head(self.window, at[0], self.end, &head)
        if found == 0:
            self.open_gap(at[0])
            self.salvage(at[0], self.end, NULL)
            return NEXT_SEGMENT
        if self.started and head.index == self.last_index + 1:
            self.notes.append(f"frame {head.index} lies {found - at[0]} bytes behind its place")
        else:
            self.open_gap(at[0])
            self.salvage(at[0], found, &head)
        # From here the chain goes on as that frame says.
        self.started = True
        self.last_index = head.index - 1
        self.last_crc = head.previous_crc
        at[0] = found
        return TAKEN

    cdef int open_gap(self, uint64_t offset) except -1:
        """From here on frames are missing."""
        if not self.gap_open:
            self.gap_open = True
            self.gap_from = self.last_sequence + 1
            position = self.base + offset - SEGMENT_HEAD_SIZE
            self.gap_reason = f"frames from {self.last_index + 1} on are damaged, from position {position} on"
        return 0

    cdef int close_gap(self, const FrameHead *head) except -1:
        """The first whole frame behind a hole says up to where sequences were given."""
        cdef uint64_t last = last_sequence_of(head)
        if gives_sequences(head.kind):
            last = head.first_sequence - 1
        elif head.kind == FRAME_RELOCATED:
            return 0
        self.gap_open = False
        if self.gap_from <= last:
            self.tell_lost(self.gap_from, last, self.gap_reason)
        else:
            self.tell_lost(0, 0, self.gap_reason)
        self.last_sequence = max(self.last_sequence, last)
        return 0

    cdef int salvage(self, uint64_t first, uint64_t last, const FrameHead *following) except -1:
        """Hand on whole records between two offsets of a hole, as far as their sequences fit into it."""
        cdef FrameHead head
        cdef const RecordHead *record
        cdef uint64_t at = first, size
        # Without a bound from behind: no more than could lie there.
        cdef uint64_t bound = self.gap_from + (last - first) // RECORD_HEAD_SIZE
        if following != NULL and following.kind != FRAME_RELOCATED:
            bound = last_sequence_of(following)
            if gives_sequences(following.kind):
                bound = following.first_sequence - 1
        memset(&head, 0, FRAME_HEAD_SIZE)
        head.log_id = head.group_id = self.log_id
        head.kind = FRAME_MESSAGES
        head.index = self.last_index + 1
        head.term = self.last_term
        head.count = 1
        while at < last:
            size = self.good_record(self.window, at, last)
            if size == 0:
                at += 8
                continue
            record = <const RecordHead *> self.window.at(at, size)
            if self.gap_from <= record.sequence <= bound:
                if record.sequence > self.gap_from:
                    self.tell_lost(self.gap_from, record.sequence - 1, self.gap_reason)
                head.first_sequence = record.sequence
                head.time_ns = record.time_ns
                self.sink.on_record(&head, record, self.base + at - SEGMENT_HEAD_SIZE)
                self.gap_from = record.sequence + 1
                self.last_sequence = max(self.last_sequence, record.sequence)
                self.highest_sequence = max(self.highest_sequence, record.sequence)
            at += size
        return 0

    cdef uint64_t good_record(self, SegmentWindow window, uint64_t offset, uint64_t end) except? 1:
        """Bytes of the whole record at `offset`; 0: there is none."""
        cdef const RecordHead *record = <const RecordHead *> window.at(offset, RECORD_HEAD_SIZE)
        cdef uint64_t size
        if record == NULL or end < offset or not record_fits(record, end - offset):
            return 0
        size = record.size
        if not self.spend_trial(size):
            return 0
        record = <const RecordHead *> window.at(offset, size)
        if record == NULL or not record_is_good(record, size):
            return 0
        self.trial_budget += size
        return size

    cdef bint spend_trial(self, uint64_t size) noexcept:
        """Whether a checksum over `size` more bytes may be tried: crafted bytes must not cost square time."""
        if size > self.trial_budget:
            return False
        self.trial_budget -= size
        return True

    cdef uint64_t next_head(
        self, SegmentWindow window, uint64_t offset, uint64_t end, FrameHead *found
    ) except? 1:
        """Offset of the next head of this log with an index not read yet; 0: none before `end`."""
        cdef const uint8_t *there
        cdef uint64_t size
        while offset + FRAME_HEAD_SIZE <= end:
            there = window.at(offset, FRAME_HEAD_SIZE)
            if there == NULL:
                return 0
            if (<const uint64_t *> there)[0] == 0:
                offset += 8
                continue
            if (<const FrameHead *> there).magic == FRAME_MAGIC and frame_head_is_good(<const FrameHead *> there):
                memcpy(found, there, FRAME_HEAD_SIZE)
                if self.is_later(found) and (
                    not self.started or found.index > self.last_index + 1 or found.previous_crc == self.last_crc
                ):
                    return offset
            size = self.good_record(window, offset, end)
            offset += size if size else 8
        return 0

    cdef bint is_durable(self, uint64_t index, uint64_t offset) except -1:
        """Whether some frame behind `offset` of this segment, or the caller, says that `index` was durable."""
        cdef FrameHead head
        cdef uint64_t found
        if not self.ahead_open or self.ahead_number < self.number or (
            self.ahead_number == self.number and self.ahead_offset < offset
        ):
            if not self.ahead_open or self.ahead_number != self.number:
                self.look_at(self.number)
            self.ahead_offset = offset
        while self.known_durable < index:
            found = self.next_head(self.ahead, self.ahead_offset, self.ahead_end, &head)
            if found == 0:
                if self.ahead_number + 1 >= <uint32_t> len(self.segments):
                    self.ahead_offset = self.ahead_end
                    return False
                self.look_at(self.ahead_number + 1)
                continue
            self.ahead_offset = found + FRAME_HEAD_SIZE
            if found + FRAME_HEAD_SIZE + head.body_size <= self.ahead_end:
                self.ahead_offset += head.body_size
            self.garbage_end = self.ahead_base + self.ahead_offset - SEGMENT_HEAD_SIZE
            self.highest_sequence = max(self.highest_sequence, last_sequence_of(&head))
            if head.index > head.durable_lag:
                self.known_durable = max(self.known_durable, head.index - head.durable_lag)
        return True

    cdef int look_at(self, uint32_t number) except -1:
        """Look ahead from the begin of segment `number`."""
        self.ahead_open = True
        self.ahead_number = number
        self.ahead_base = self.segments[number].base
        self.ahead.open(self.segments[number].path)
        self.ahead_end = self.end_of(number, self.ahead.size)
        self.ahead_offset = SEGMENT_HEAD_SIZE
        return 0

    cdef int keep_pending(self, const FrameHead *head, uint64_t offset) except -1:
        """Remember where a part of a batch lies until its commit is seen."""
        cdef void *larger = reserve(
            self.pending, self.pending_count, 1, &self.pending_capacity, sizeof(PendingFrame)
        )
        if larger == NULL:
            raise MemoryError("no memory for the parts of a batch")
        self.pending = <PendingFrame *> larger
        self.pending[self.pending_count].head = head[0]
        self.pending[self.pending_count].segment = self.number
        self.pending[self.pending_count].offset = offset
        self.pending_count += 1
        return 0

    cdef int settle_pending(self, const FrameHead *head) except -1:
        """What `head` means for the batch before it.

        A new owner never finishes a batch. The same owner writes nothing else with sequences in between, so
        if the commit is not there, it was in a hole, and the batch counts.
        """
        cdef uint64_t first = self.pending[0].head.first_sequence
        if head.term != self.pending[0].head.term:
            self.notes.append(f"a batch from sequence {first} on was never committed")
            self.pending_count = 0
        elif head.kind == FRAME_MESSAGES:
            self.notes.append(f"the commit of the batch from sequence {first} on is damaged")
            self.deliver_pending()
        return 0

    cdef int deliver_pending(self) except -1:
        """Read the parts of a committed batch once more, and hand them on."""
        cdef uint32_t part
        cdef PendingFrame *frame
        cdef const uint8_t *there
        cdef uint64_t last_sequence
        for part in range(self.pending_count):
            frame = &self.pending[part]
            if self.again_number != <int> frame.segment:
                self.again.open(self.segments[frame.segment].path)
                self.again_number = frame.segment
            there = self.again.at(frame.offset, FRAME_HEAD_SIZE + <uint64_t> frame.head.body_size)
            if there == NULL:
                self.tell_lost(
                    frame.head.first_sequence, last_sequence_of(&frame.head), "the file has become shorter"
                )
                continue
            there += FRAME_HEAD_SIZE
            self.deliver(
                &frame.head,
                there,
                <uint64_t> self.segments[frame.segment].base + frame.offset - SEGMENT_HEAD_SIZE,
                body_is_good(&frame.head, there, &last_sequence),
            )
        self.pending_count = 0
        return 0

    cdef object finish(self, uint64_t offset):
        """What run gives back; the last segment was read up to `offset`."""
        cdef bint end_is_gone = self.gap_open or self.known_durable > self.last_index
        cdef uint64_t end = 0
        segment = self.segments[self.number] if self.segments else None
        if segment is not None:
            end = self.base + offset - SEGMENT_HEAD_SIZE
        if end_is_gone:
            # Nothing is written over what may have been saved from the hole, and the next frame's index
            # must say, to the next scan too, that what is missing here was durable.
            self.tell_lost(self.last_sequence + 1, 0, self.gap_reason or "the end of the log is gone")
            self.last_index = max(self.last_index, self.known_durable)
            if segment is not None:
                end = max(end, self.base + <uint64_t> segment.capacity)
        if self.pending_count:
            self.notes.append(f"a batch from sequence {self.pending[0].head.first_sequence} on has no commit")
        unreadable = self.window.unreadable + self.ahead.unreadable
        if unreadable:
            self.notes.append(f"the disk refused to read {unreadable} bytes")
        return ScanResult(
            end,
            self.last_index,
            self.last_crc,
            self.last_term,
            max(self.last_sequence, self.highest_sequence),
            end_is_gone,
            segment.base if segment else None,
            segment.capacity if segment else 0,
            self.garbage_end - end if self.garbage_end > end else 0,
            [later.path for later in self.segments[self.number + 1 :]],
            self.lost,
            self.notes,
        )
