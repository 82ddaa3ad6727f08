"""Reading a log back: every whole frame in order, and every loss told.

A frame counts where the one before it ends, with its log id, the next index, a term that does not fall and
the checksum of the frame before. Where something else is found, there are two cases, and a checksum alone
cannot tell them apart:

- *torn tail*: what was being written when the power went. Nobody was promised anything; the log ends here.
- *rot*: what was durable and is damaged now. What follows is kept, and the loss is told.

It is rot if some later frame of this log says that this index was durable when it was built, or the caller
knows it. So looking ahead decides, and looking ahead never goes back over what it has seen: a scan reads each
byte at most twice, whatever lies on the disk.

One flipped bit in a head is put right: the checksum finds it, and three of four known fields prove that this
is the place of a head. How frames are found in a hole is told in frame_search.pyx. Nothing on the disk is an
error here. Lost alternative: to stop at the first bad frame; one flipped bit then costs all behind it.
"""

from libc.stdlib cimport free
from libc.string cimport memcpy, memset

from shardbroker.arrays cimport reserve
from shardbroker.storage.codec cimport (
    body_crc_of,
    frame_head_is_good,
    gives_sequences,
    has_records,
    record_fits,
    record_is_good,
)
from shardbroker.storage.frame cimport (
    FRAME_BATCH,
    FRAME_BATCH_COMMIT,
    FRAME_CHECKPOINT,
    FRAME_HEAD_SIZE,
    FRAME_MESSAGES,
    FRAME_RELOCATED,
    FRAME_SKIP,
    RECORD_HEAD_SIZE,
    SEGMENT_HEAD_SIZE,
    CheckpointBody,
    FrameHead,
    RecordHead,
)
from shardbroker.storage.frame_search cimport FrameSearch, body_is_good, last_sequence_of, repair_head
from shardbroker.storage.log_sink cimport LogSink
from shardbroker.storage.segment_index cimport IndexReader
from shardbroker.storage.segment_window cimport SegmentWindow

from shardbroker.storage.codec import KIND_NAMES
from shardbroker.storage.index_files import read_index
from shardbroker.storage.scan_result import ScanResult
from shardbroker.storage.segment_list import order_segments

cdef enum:
    BEAT_SIZE = 8 << 20  # bytes between two calls of on_progress
    PEEK_SIZE = 16 << 10  # bytes read at once where one frame is looked at
    TRIAL_BASE = 64 << 20  # bytes of checksums tried in vain that any scan may spend
    TRIAL_FACTOR = 4  # and this often the size of its files: more is somebody's trap

    # What try_frame and skip_hole say.
    TAKEN = 1
    NOT_HERE = 2  # no frame that comes next begins here
    NEXT_SEGMENT = 3
    LOG_ENDS = 4


cdef bint is_erased(const RecordHead *record) noexcept nogil:
    """Whether a record that fits has zeros where its headers and payload were.

    One that has neither cannot have been damaged by erasing.
    """
    cdef const uint8_t *at = <const uint8_t *> record + RECORD_HEAD_SIZE + record.subject_size
    cdef const uint8_t *end = <const uint8_t *> record + record.size
    while at < end:
        if at[0]:
            return False
        at += 1
    return record.header_size or record.payload_size


cdef class LogScan:
    """One reading of one log. `segments` are (base by name, path), in any order.

    `known_durable` is an index that was durable for sure, if the caller knows one (the persisted watermark):
    a log that ends before it has lost its end. With `use_indexes` a sealed segment `x.seg` is not read if
    there is an `x.idx` that fits: rot of payloads is then found when they are read. With `make_durable` the
    last segment and its name are synced: after the death of processes they may be in the page cache only, and
    what was handed on must not be gone after a power failure. (A sealed one was synced when it was left.)
    """

    def __init__(self, log_id, segments, known_durable=0, use_indexes=True, make_durable=True):
        self.log_id = log_id
        self.notes, self.lost, self.leftovers = [], [], []
        self.segments = order_segments(log_id, list(segments), self.notes)
        self.search = FrameSearch(log_id, self.segments)
        self.search.known_durable = known_durable
        self.chain = &self.search.chain
        self.use_indexes = use_indexes
        self.make_durable = make_durable
        self.window = SegmentWindow()
        self.again = SegmentWindow(PEEK_SIZE)

    def __dealloc__(self):
        free(self.pending)

    def run(self, LogSink sink not None):
        """Read everything, once. Raises only what the sink raises, and MemoryError."""
        cdef uint64_t offset = SEGMENT_HEAD_SIZE
        cdef uint32_t number
        self.sink = sink
        self.again_number = -1
        self.next_beat = BEAT_SIZE
        size = sum([segment.capacity for segment in self.segments])
        self.search.trial_budget = TRIAL_BASE + TRIAL_FACTOR * size
        for number in range(<uint32_t> len(self.segments)):
            if <uint64_t> self.segments[number].base < self.accepted_end and not self.goes_on_in(number):
                # Begun before a tail was cut, and left behind by what was written since.
                self.leftovers.append(self.segments[number].path)
                continue
            self.enter(number)
            offset = SEGMENT_HEAD_SIZE
            if self.window.size < SEGMENT_HEAD_SIZE:
                # Its head was durable before it had its name, so no crash leaves this: what it held is lost.
                self.notes.append(f"{self.segments[number].path}: nothing of it can be read")
                self.open_gap(offset)
                self.leave()
                continue
            if self.use_indexes and self.take_index():
                continue
            if self.scan_segment(&offset) == LOG_ENDS:
                break
        return self.finish(offset)

    cdef int enter(self, uint32_t number) except -1:
        """Begin with the next segment."""
        segment = self.segments[number]
        self.number = number
        self.base = segment.base
        self.window.open(segment.path)
        self.end = self.search.end_of(number, self.window.size)
        if not self.chain.started and number > 0:
            # The first file is there and has nothing to say: it was not dropped, it is lost.
            self.open_gap(SEGMENT_HEAD_SIZE)
        if not self.chain.started and segment.head is not None:
            self.chain.started = True
            self.chain.last_index = segment.head.first_index - 1
            self.chain.last_crc = segment.head.previous_crc
        return 0

    cdef bint take_index(self) except -1:
        """Take the index of this segment instead of what is in it, if it is sealed and all fits."""
        cdef IndexReader index
        segment = self.segments[self.number]
        if self.number + 1 >= <uint32_t> len(self.segments) or self.gap_open or self.pending_count:
            return False
        data = read_index(segment.path)
        if data is None:
            return False
        index = IndexReader(data)
        end_position = self.segments[self.number + 1].base
        if end_position - self.base + SEGMENT_HEAD_SIZE > self.window.size or not index.fits(
            self.chain, self.base, end_position
        ):
            self.notes.append(f"{segment.path}: its index is damaged or does not fit; the segment is read")
            return False
        try:
            index.replay(self.sink)
        except ValueError as error:
            self.tell_lost(0, 0, str(error))
        self.chain.started = True
        self.chain.last_index = index.head.last_index
        self.chain.last_crc = index.head.last_crc
        self.chain.last_term = index.head.last_term
        self.last_sequence = max(self.last_sequence, index.head.last_sequence)
        self.accepted_end = index.head.end_position
        self.leave()
        return self.beat(0) == 0

    cdef int scan_segment(self, uint64_t *at) except -1:
        """Frames from `at` on to the end of the segment or the log."""
        cdef int state
        cdef bint more = self.number + 1 < <uint32_t> len(self.segments)
        while True:
            if more and at[0] >= self.end and self.goes_on_in(self.number + 1):
                return self.leave()
            state = self.try_frame(at)
            if state == TAKEN:
                self.beat(at[0])
                continue
            if state == NOT_HERE:
                state = NEXT_SEGMENT if more and at[0] >= self.end else self.skip_hole(at)
            if state == NEXT_SEGMENT:
                return self.leave()
            if state == LOG_ENDS:
                return LOG_ENDS

    cdef bint goes_on_in(self, uint32_t number) except -1:
        """Whether segment `number` begins with the next frame.

        What lies behind its base in this one was given up when a write or sync failed. But a segment that
        was begun before a torn tail was cut must not hide what was written here since.
        """
        cdef const uint8_t *there
        self.again.open(self.segments[number].path)
        self.again_number = number
        there = self.again.at(SEGMENT_HEAD_SIZE, FRAME_HEAD_SIZE)
        if there == NULL or not frame_head_is_good(<const FrameHead *> there):
            return False
        return self.search.is_next(<const FrameHead *> there)

    cdef int leave(self) noexcept:
        self.bytes_done += self.end
        return NEXT_SEGMENT

    cdef int beat(self, uint64_t offset) except -1:
        if self.bytes_done + offset >= self.next_beat and self.sink.wants_beat:
            self.next_beat = self.bytes_done + offset + BEAT_SIZE
            self.sink.on_progress(self.bytes_done + offset)
        return 0

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
            expected.previous_crc = self.chain.last_crc
            expected.index = self.chain.last_index + 1
            expected.term = self.chain.last_term
            if not self.chain.started or not repair_head(&head, &expected):
                return NOT_HERE
            self.notes.append(f"frame {head.index}: one bit of its head was wrong and is put right")
        if not self.search.is_next(&head):
            return NOT_HERE
        bytes_there = self.window.at(at[0], FRAME_HEAD_SIZE + <uint64_t> head.body_size)
        self.body_last = 0
        good = bytes_there != NULL and body_is_good(&head, bytes_there + FRAME_HEAD_SIZE, &self.body_last)
        if not good:
            self.search.highest_sequence = max(self.search.highest_sequence, last_sequence_of(&head))
            if not self.search.is_durable(head.index, self.number, at[0]):
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
        self.chain.started = True
        self.chain.last_index = head.index
        self.chain.last_crc = head.head_crc
        self.chain.last_term = head.term
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
        self.chain.started = True
        self.chain.last_index = head.index
        self.chain.last_crc = head.head_crc
        self.chain.last_term = head.term
        self.accepted_end = self.base + offset - SEGMENT_HEAD_SIZE + FRAME_HEAD_SIZE + head.body_size
        if head.kind == FRAME_BATCH:
            self.keep_pending(head, offset)
        else:
            if head.kind == FRAME_BATCH_COMMIT:
                self.deliver_pending()
            self.deliver(head, body, self.base + offset - SEGMENT_HEAD_SIZE, good)
        # Only now: what is told of damage within the frame counts from the sequence before it.
        self.last_sequence = max(self.last_sequence, sequence)
        self.search.highest_sequence = max(self.search.highest_sequence, sequence)
        return 0

    cdef int deliver(self, const FrameHead *head, const uint8_t *body, uint64_t place, bint good) except -1:
        """Hand on what is in a frame."""
        cdef uint64_t at = 0
        cdef const RecordHead *record
        if not has_records(head.kind):
            if good:
                return self.sink.on_frame(head, body, place)
            return self.tell_lost(0, 0, f"frame {head.index} ({KIND_NAMES.get(head.kind)}) is damaged")
        if not good:
            return self.deliver_damaged(head, body, place)
        place += FRAME_HEAD_SIZE
        while at < head.body_size:
            record = <const RecordHead *> (body + at)
            self.sink.on_record(head, record, place + at)
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
                elif proven or self.search.spend_trial(record.size):
                    # Its size is right if the body's checksum is, which covers all in order.
                    if proven:
                        step = record.size
                        if is_erased(record) and (relocated or record.sequence == expected):
                            self.sink.on_erased(head, record, position + FRAME_HEAD_SIZE + at)
                            good_count += 1
                            expected = record.sequence + 1
                        elif relocated:
                            self.tell_lost(record.sequence, record.sequence, reason)
                            good_count += 1
                else:
                    break
            at += step
        if relocated and good_count < head.count:
            missing = head.count - good_count
            self.tell_lost(0, 0, f"{missing} relocated records of frame {head.index} are damaged")
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
        if not self.search.is_durable(self.chain.last_index + 1, self.number, at[0]):
            return LOG_ENDS
        found = self.search.next_head(self.window, at[0], self.end, &head)
        if found == 0:
            self.open_gap(at[0])
            self.salvage(at[0], self.end, NULL)
            return NEXT_SEGMENT
        if self.chain.started and head.index == self.chain.last_index + 1:
            self.notes.append(f"frame {head.index} lies {found - at[0]} bytes behind its place")
        else:
            self.open_gap(at[0])
            self.salvage(at[0], found, &head)
        # From here the chain goes on as that frame says.
        self.chain.started = True
        self.chain.last_index = head.index - 1
        self.chain.last_crc = head.previous_crc
        at[0] = found
        return TAKEN

    cdef int open_gap(self, uint64_t offset) except -1:
        """From here on frames are missing."""
        if not self.gap_open:
            self.gap_open = True
            self.gap_from = self.last_sequence + 1
            position = self.base + offset - SEGMENT_HEAD_SIZE
            self.gap_reason = f"frames from {self.chain.last_index + 1} on, at {position}, are damaged"
            if self.pending_count:
                # What comes behind the parts of a batch is, most likely, its commit: then it was promised.
                self.note_batch("its commit is damaged")
                self.deliver_pending()
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
        head.index = self.chain.last_index + 1
        head.term = self.chain.last_term
        head.count = 1
        while at < last:
            size = self.search.good_record(self.window, at, last)
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
                self.search.highest_sequence = max(self.search.highest_sequence, record.sequence)
            at += size
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
        """A new owner never finishes a batch; the same one writes nothing else with sequences in between, and
        begins another one with the same sequences when the end of this one failed or was cut off."""
        cdef uint64_t last = last_sequence_of(&self.pending[self.pending_count - 1].head)
        if (
            head.term != self.pending[0].head.term
            or head.kind == FRAME_MESSAGES
            or (gives_sequences(head.kind) and head.first_sequence <= last)
        ):
            self.note_batch("it has no commit")
            self.pending_count = 0
        return 0

    cdef int note_batch(self, str what) except -1:
        self.notes.append(f"the batch from sequence {self.pending[0].head.first_sequence} on: {what}")
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
                self.tell_lost(frame.head.first_sequence, last_sequence_of(&frame.head), "the file was cut")
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
        cdef bint end_is_gone = self.gap_open or self.search.known_durable > self.chain.last_index
        cdef uint64_t end = 0
        behind = self.segments
        segment = behind[self.number] if behind else None
        if segment is not None:
            end = self.base + offset - SEGMENT_HEAD_SIZE
        if end_is_gone:
            # Nothing is written over what may have been saved from the hole, and the next frame's index
            # must say, to the next scan too, that what is missing here was durable.
            self.tell_lost(self.last_sequence + 1, 0, self.gap_reason or "the end of the log is gone")
            self.chain.last_index = max(self.chain.last_index, self.search.known_durable)
            if segment is not None:
                # A file with nothing in it has a name that cannot be used again.
                end = max(end, self.base + max(<uint64_t> segment.capacity, <uint64_t> FRAME_HEAD_SIZE))
        if self.make_durable and segment is not None:
            self.window.make_durable(segment.path, self.notes)
        if self.pending_count:
            self.note_batch("it has no commit")
        if self.window.unreadable or self.search.window.unreadable:
            self.notes.append(f"the disk refused to read {self.window.unreadable} bytes")
        return ScanResult(
            end,
            self.chain.last_index,
            self.chain.last_crc,
            self.chain.last_term,
            max(self.last_sequence, self.search.highest_sequence),
            end_is_gone,
            segment.base if segment else None,
            segment.capacity if segment else 0,
            self.search.garbage_end - end if self.search.garbage_end > end else 0,
            [later.path for later in behind if later.base > segment.base or later.path in self.leftovers],
            self.lost,
            self.notes,
        )
