"""Where the next frame of a stream's log goes, and what links it to the frame before."""

cimport cython
from libc.stdint cimport uint8_t, uint32_t, uint64_t

from shardbroker.jetstream.frame_stage cimport StagedFrame
from shardbroker.storage.frame cimport FrameHead

@cython.final
cdef class StreamLog:
    cdef readonly uint32_t log_id
    cdef readonly uint32_t term  # of this owner; all frames it builds carry it
    cdef readonly uint64_t index  # of the last frame built
    cdef readonly uint64_t position  # log position of the next frame
    cdef readonly uint32_t previous_crc  # head_crc of the last frame built
    cdef readonly uint64_t removal_index  # of the last frame that removes messages on command
    cdef readonly uint64_t durable_index  # of the last frame known to be stored
    cdef uint64_t durable_position
    cdef uint32_t durable_crc
    cdef readonly uint64_t segment  # base of the segment the last frame went to
    cdef readonly uint64_t capacity  # bytes of frames it holds
    cdef uint64_t capacity_min  # of the first segment
    cdef uint64_t capacity_max
    cdef public bint cramped  # the disk had no room for a segment: the next one is small

    cdef FrameHead *seal(
        self, StagedFrame *frame, uint64_t last_sequence, uint64_t now_ns, uint8_t *place
    ) noexcept
    cdef void choose_segment(self, uint64_t frame_size) noexcept
    cdef void stored(self, const FrameHead *head, uint64_t position) noexcept
    cdef void rewind(self) noexcept
    cdef void take_back(self, uint64_t index, uint64_t position, uint32_t crc) noexcept
    cdef void roll(self) noexcept
