"""Builds frames in their final form: head, body, checksums, place in the log.

Segments grow with the stream, 64 KiB, 1, 8 and 64 MiB: an empty stream is small on disk, a busy one has few
files. A frame never spans two segments. When the disk had no room for a segment, growth begins anew: the room
that is left, or comes back, is used in small pieces.
"""

from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memcpy

from shardbroker.storage.codec cimport seal_frame
from shardbroker.storage.frame cimport FRAME_HEAD_SIZE, FRAME_MAGIC, FrameHead

cdef enum:
    GROWTH = 8  # each segment may be this much larger than the one before


cdef class StreamLog:
    """A log that goes on behind a frame: `index`, `position`, `previous_crc` are that frame's (0: none)."""

    def __cinit__(
        self,
        uint32_t log_id,
        uint32_t term,
        *,
        uint64_t index=0,
        uint64_t position=0,
        uint32_t previous_crc=0,
        uint64_t segment=0,
        uint64_t capacity=0,
        uint64_t capacity_min=64 << 10,
        uint64_t capacity_max=64 << 20,
    ):
        self.log_id = log_id
        self.term = term
        self.index = self.durable_index = index
        self.position = self.durable_position = position
        self.previous_crc = self.durable_crc = previous_crc
        self.segment = segment
        self.capacity = capacity
        self.capacity_min = capacity_min
        self.capacity_max = capacity_max

    cdef void choose_segment(self, uint64_t frame_size) noexcept:
        """Begin a new segment when the frame does not fit into this one."""
        cdef uint64_t size
        if self.capacity and self.position + frame_size <= self.segment + self.capacity:
            return
        if self.capacity == 0 or self.cramped:
            size = self.capacity_min
            self.cramped = False
        else:
            size = min(max(self.capacity, self.capacity_min) * GROWTH, self.capacity_max)
            if self.capacity == self.capacity_min and self.capacity_min == 64 << 10:
                size = min(<uint64_t> 1 << 20, self.capacity_max)
        self.segment = self.position
        self.capacity = max(size, frame_size)

    cdef void roll(self) noexcept:
        """The next frame begins a new segment (the file of this one is not to be trusted any more)."""
        if self.segment > self.position:  # that one was begun in flight as well: growth begins anew
            self.segment = self.position
            self.capacity = 0
        elif self.capacity:
            self.capacity = max(self.position - self.segment, <uint64_t> 1)

    cdef FrameHead *seal(
        self, StagedFrame *frame, uint64_t last_sequence, uint64_t now_ns, uint8_t *place
    ) noexcept:
        """Write a staged frame to `place` (FRAME_HEAD_SIZE + body_size bytes) as the next of the log.

        `segment`, `capacity` and `position - size` say afterwards where it goes.
        """
        cdef FrameHead *head = <FrameHead *> place
        self.choose_segment(FRAME_HEAD_SIZE + frame.body_size)
        head.magic = FRAME_MAGIC
        head.log_id = head.group_id = self.log_id
        head.body_size = <uint32_t> frame.body_size
        head.previous_crc = self.previous_crc
        head.kind = frame.kind
        head.count = frame.count
        head.index = self.index + 1
        head.first_sequence = frame.first_sequence if frame.count else last_sequence
        head.time_ns = now_ns
        head.term = self.term
        head.durable_lag = <uint32_t> min(head.index - self.durable_index, <uint64_t> 0xFFFFFFFF)
        memcpy(place + FRAME_HEAD_SIZE, frame.body, frame.body_size)
        seal_frame(head)
        self.index = head.index
        if frame.removes:
            self.removal_index = head.index
        self.previous_crc = head.head_crc
        self.position += FRAME_HEAD_SIZE + frame.body_size
        return head

    cdef void stored(self, const FrameHead *head, uint64_t position) noexcept:
        """The frame at `position` is committed."""
        self.durable_index = head.index
        self.durable_position = position + FRAME_HEAD_SIZE + head.body_size
        self.durable_crc = head.head_crc

    cdef void rewind(self) noexcept:
        """Frames behind the last stored one have failed: go on from there, in a new segment."""
        self.index = self.durable_index
        self.removal_index = min(self.removal_index, self.index)
        self.position = self.durable_position
        self.previous_crc = self.durable_crc
        self.roll()
