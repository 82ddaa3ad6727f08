"""The streams that this worker owns: publishes in, time, requests."""

from libc.stdint cimport uint64_t

from shardbroker.routing.delivery_target cimport DeliveryTarget
from shardbroker.routing.router cimport PublishView
from shardbroker.shm.append_lane cimport LaneRecord
from shardbroker.workers.hosted cimport Hosted
from shardbroker.workers.stream_appends cimport StreamAppends

cdef class StreamHost(StreamAppends):
    cdef:
        uint64_t inherited  # the lane up to here was written by a dead worker of this slot
        readonly dict by_row  # row -> Hosted
        readonly list ticking  # called with the wall clock every 50 ms
        object cleaning  # log_cleaning.LogCleaning
        Py_ssize_t upkeep_next  # index of the stream that was looked after last
        uint64_t full_since_ns  # the lane has been nearly full since then; 0: it is not
        readonly uint64_t refused  # publishes refused because the lane was full

    cdef bint take_publish(self, Hosted hosted, PublishView *view, DeliveryTarget *publisher) noexcept
    cdef void note_due_time(self) noexcept
    cdef int drain(self) except -1
    cdef int finish_record(self, LaneRecord *record) except -1
    cdef void pause_remote(self, PublishView *view) noexcept
    cdef void refuse_full(self, Hosted hosted, PublishView *view) noexcept
    cdef void watch_lane(self) noexcept
