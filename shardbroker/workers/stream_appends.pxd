"""What a worker's streams hand to the stream-writer, and what becomes of it."""

from libc.stdint cimport uint8_t, uint32_t, uint64_t

from shardbroker.jetstream.frame_stage cimport StagedFrame
from shardbroker.shm.append_lane cimport LaneProducer, LaneRecord
from shardbroker.workers.consumer_service cimport ConsumerService
from shardbroker.workers.hosted cimport Hosted
from shardbroker.workers.stream_reads cimport StreamReads

cdef uint32_t CUT_OFF  # status for what was behind a cut, or came while it was made

cdef class StreamAppends(StreamReads):
    cdef:
        LaneProducer lane
        uint8_t *log_table
        list dirty  # Hosted with staged frames
        list touched
        dict calls  # number -> callable(errno)
        ConsumerService consumers
        object failure_lines  # failure_lines.FailureLines
        bint is_awaited  # somebody waits for what was put into the lane since it was shown
        uint64_t staged_size  # bytes of all stages
        uint64_t wall_offset_ns
        uint64_t now_ns
        uint8_t *frame  # a memory stream's frame while it is built
        uint64_t frame_size

    cdef int append_dirty(self) except -1
    cdef void tell_consumers(self, Hosted hosted, const uint8_t *frame) noexcept
    cdef int answer_all(self, Hosted hosted, const uint8_t *trailer, uint32_t size, uint32_t status) except -1
    cdef int append_staged(self, Hosted hosted) except -1
    cdef int append_frame(self, Hosted hosted, StagedFrame *frame) except -1
    cdef int store_in_memory(self, Hosted hosted, StagedFrame *frame) except -1
    cdef uint8_t *frame_room(self, uint64_t size) except NULL
    cdef void commit_early(self) noexcept
    cdef int take_back(self, Hosted hosted, LaneRecord *record) except -1
    cdef int fail_staged(self, Hosted hosted, uint32_t status) except -1
    cdef void note_figures(self, Hosted hosted) except *
    cdef void note_staged(self, Hosted hosted, uint64_t before) noexcept
    cdef void touch(self, Hosted hosted) noexcept
