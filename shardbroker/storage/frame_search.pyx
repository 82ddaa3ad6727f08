"""Finding frames where the log does not simply go on: behind damage, and ahead of it.

In a hole the next frame is looked for in steps of eight bytes, and whole records on the way are stepped over,
so that what clients have written is not taken for a frame. Checksums tried in vain have a budget: crafted
bytes that promise long records at every step must not cost square time.

Looking ahead answers one question, whether a frame was durable, and never goes back over what it has seen.
"""

from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.string cimport memcpy

from shardbroker.storage.codec cimport (
    frame_head_is_good,
    gives_sequences,
    has_records,
    record_fits,
    record_is_good,
)
from shardbroker.storage.crc32c cimport crc32c
from shardbroker.storage.frame cimport (
    FRAME_HEAD_SIZE,
    FRAME_MAGIC,
    FRAME_RELOCATED,
    RECORD_HEAD_SIZE,
    SEGMENT_HEAD_SIZE,
    FrameHead,
    RecordHead,
)
from shardbroker.storage.segment_window cimport SegmentWindow


cdef uint64_t last_sequence_of(const FrameHead *head) noexcept nogil:
    """The highest sequence that was given when this frame was built, as its head says; 0: it does not."""
    if gives_sequences(head.kind):
        return head.first_sequence + head.count - 1 if head.count else head.first_sequence
    return 0 if head.kind == FRAME_RELOCATED else head.first_sequence


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


cdef bint repair_head(FrameHead *head, const FrameHead *expected) noexcept nogil:
    """Put one flipped bit right, if that makes it the frame of the log, index and chain expected."""
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


cdef class FrameSearch:
    """The chain of one log so far, and what is known of what comes behind it."""

    def __cinit__(self, uint32_t log_id, list segments):
        self.chain.log_id = log_id
        self.segments = segments
        self.window = SegmentWindow()

    cdef bint is_next(self, const FrameHead *head) noexcept:
        """Whether a whole head continues the chain."""
        return (
            head.log_id == self.chain.log_id
            and head.term >= self.chain.last_term
            and (
                not self.chain.started
                or (head.index == self.chain.last_index + 1 and head.previous_crc == self.chain.last_crc)
            )
        )

    cdef bint is_later(self, const FrameHead *head) noexcept:
        """Whether a whole head is of this log, of now, and behind what was read."""
        return (
            head.log_id == self.chain.log_id
            and head.term >= self.chain.last_term
            and head.index > self.chain.last_index
        )

    cdef uint64_t end_of(self, uint32_t number, uint64_t size):
        """Offset in the file behind which no frame of segment `number` can lie."""
        cdef uint64_t end = size
        if number + 1 < <uint32_t> len(self.segments):
            # What lies behind the next segment's begin is of an earlier use of the file.
            end = min(size, SEGMENT_HEAD_SIZE + <uint64_t> self.segments[number + 1].base
                      - <uint64_t> self.segments[number].base)
        return end

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
            if frame_head_is_good(<const FrameHead *> there):
                memcpy(found, there, FRAME_HEAD_SIZE)
                if self.is_later(found) and (
                    found.index > self.chain.last_index + 1 or self.is_next(found)
                ):
                    return offset
            size = self.good_record(window, offset, end)
            offset += size if size else 8
        return 0

    cdef bint is_durable(self, uint64_t index, uint32_t number, uint64_t offset) except -1:
        """Whether some frame behind `offset` of a segment, or the caller, says that `index` was durable."""
        cdef FrameHead head
        cdef uint64_t found
        if not self.opened or self.number < number or (
            self.number == number and self.offset < offset
        ):
            if not self.opened or self.number != number:
                self.look_at(number)
            self.offset = offset
        while self.known_durable < index:
            found = self.next_head(self.window, self.offset, self.end, &head)
            if found == 0:
                if self.number + 1 >= <uint32_t> len(self.segments):
                    self.offset = self.end
                    return False
                self.look_at(self.number + 1)
                continue
            self.offset = found + FRAME_HEAD_SIZE
            if found + FRAME_HEAD_SIZE + head.body_size <= self.end:
                self.offset += head.body_size
            self.garbage_end = self.base + self.offset - SEGMENT_HEAD_SIZE
            self.highest_sequence = max(self.highest_sequence, last_sequence_of(&head))
            # No frame knows itself durable: a lag of zero was never filled in.
            if 0 < head.durable_lag < head.index:
                self.known_durable = max(self.known_durable, head.index - head.durable_lag)
        return True

    cdef int look_at(self, uint32_t number) except -1:
        """Look ahead from the begin of segment `number`."""
        self.opened = True
        self.number = number
        self.base = self.segments[number].base
        self.window.open(self.segments[number].path)
        self.end = self.end_of(number, self.window.size)
        self.offset = SEGMENT_HEAD_SIZE
        return 0
