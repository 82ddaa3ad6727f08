"""The streams that this worker owns: publishes in, frames to the append lane, answers out."""

cimport cython
from libc.stdint cimport uint8_t, uint32_t, uint64_t

from shardbroker.jetstream.frame_stage cimport StagedFrame
from shardbroker.jetstream.stream cimport Stream
from shardbroker.routing.delivery_target cimport DeliveryTarget
from shardbroker.routing.router cimport PublishView
from shardbroker.shm.append_lane cimport LaneProducer, LaneRecord
from shardbroker.workers.consumer_service cimport ConsumerService
from shardbroker.workers.hosted cimport Hosted
from shardbroker.workers.stream_reads cimport StreamReads

cdef class StreamHost(StreamReads):
    cdef:
        LaneProducer lane
        uint64_t inherited  # the lane up to here was written by a dead worker of this slot
        uint8_t *log_table
        readonly dict by_row  # row -> Hosted
        list dirty  # Hosted with staged frames
        list touched
        readonly list ticking  # called with the wall clock every 50 ms
        dict calls  # number -> callable(errno)
        object cleaning  # log_cleaning.LogCleaning
        ConsumerService consumers
        object failure_lines  # failure_lines.FailureLines
        Py_ssize_t upkeep_next  # index of the stream that was looked after last
        bint is_awaited  # somebody waits for what was put into the lane since it was shown
        uint64_t staged_size  # bytes of all stages
        uint64_t full_since_ns  # the lane has been nearly full since then; 0: it is not
        uint64_t wall_offset_ns
        uint64_t now_ns
        uint8_t *frame  # a memory stream's frame while it is built
        uint64_t frame_size
        readonly uint64_t refused  # publishes refused because the lane was full

    cdef bint take_publish(self, Hosted hosted, PublishView *view, DeliveryTarget *publisher) noexcept
    cdef int append_dirty(self) except -1
    cdef void note_due_time(self) noexcept
    cdef void tell_consumers(self, Hosted hosted, const uint8_t *frame) noexcept
    cdef int drain(self) except -1
    cdef int finish_record(self, LaneRecord *record) except -1
    cdef int answer_all(self, Hosted hosted, const uint8_t *trailer, uint32_t size, uint32_t status) except -1
    cdef int append_staged(self, Hosted hosted) except -1
    cdef int append_frame(self, Hosted hosted, StagedFrame *frame) except -1
    cdef int store_in_memory(self, Hosted hosted, StagedFrame *frame) except -1
    cdef uint8_t *frame_room(self, uint64_t size) except NULL
    cdef void commit_early(self) noexcept
    cdef void pause_remote(self, PublishView *view) noexcept
    cdef void refuse_full(self, Hosted hosted, PublishView *view) noexcept
    cdef int take_back(self, Hosted hosted, LaneRecord *record) except -1
    cdef int fail_staged(self, Hosted hosted, uint32_t status) except -1
    cdef void note_figures(self, Hosted hosted) except *
    cdef void watch_lane(self) noexcept
    cdef void mark_dirty(self, Hosted hosted) noexcept
    cdef void touch(self, Hosted hosted) noexcept
