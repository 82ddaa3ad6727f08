"""The streams that this worker owns: publishes in, frames to the append lane, answers out."""

cimport cython
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t

from shardbroker.jetstream.frame_stage cimport StagedFrame
from shardbroker.jetstream.stream cimport Stream
from shardbroker.routing.delivery_target cimport DeliveryTarget, Subscription
from shardbroker.routing.router cimport PublishView, Router
from shardbroker.shm.append_lane cimport LaneProducer, LaneRecord
from shardbroker.storage.frame cimport RecordHead
from shardbroker.workers.log_reader cimport LogReader
from shardbroker.workers.services cimport Services
from shardbroker.workers.session cimport Session

cdef enum:
    # DeliveryTarget.service
    SERVICE_STREAM = 1  # messages to be stored
    SERVICE_DIRECT = 2  # direct get
    SERVICE_API = 3  # requests of the JetStream API
    SERVICE_CALL = 4  # anything else: a Python callable
    # What a job of run_later() gives
    JOB_WAITS = 1
    JOB_PRESSES = 2

@cython.final
cdef class Hosted:
    """One stream with what belongs to it in this worker."""

    cdef readonly Stream stream
    cdef readonly LogReader reader
    cdef readonly bint memory
    cdef int memory_fd
    cdef readonly uint32_t account
    cdef readonly uint32_t index  # in StreamHost.hosted
    cdef DeliveryTarget *target
    cdef DeliveryTarget *direct_target
    cdef readonly dict subscriptions  # (kind, subject) -> number of the subscription
    cdef readonly bint touched  # its figures in the log table are to be written
    cdef public object followers  # called() when the stream has changed; None: nobody follows it
    cdef readonly uint32_t flags  # of its lane records: LANE_NO_SYNC
    cdef public object details  # what the API keeps about it (stream_api.Details)

cdef class StreamHost(Services):
    cdef:
        Session session
        Router router
        LaneProducer lane
        uint8_t *log_table
        readonly list hosted  # Hosted or None, by index
        readonly dict by_row  # row -> Hosted
        list dirty  # Hosted with staged frames
        list touched
        readonly list ticking  # called with the wall clock every 50 ms
        dict numbered  # number -> address of a Subscription, its kind
        dict calls  # number -> callable(errno)
        dict targets  # index of SERVICE_CALL -> callable(account, subject, reply, headers, payload, cid)
        uint64_t next_number
        object requests  # deque of API requests
        list jobs  # callables of run_later()
        object cleaning  # log_cleaning.LogCleaning
        object api  # called with each of them
        object log
        uint64_t staged_size  # bytes of all stages
        uint64_t full_since_ns  # the lane has been nearly full since then; 0: it is not
        uint64_t wall_offset_ns
        uint64_t now_ns
        uint8_t *scratch
        uint64_t scratch_size
        uint8_t *frame  # a memory stream's frame while it is built
        uint64_t frame_size
        DeliveryTarget *api_target
        dict call_targets  # index -> address of its DeliveryTarget
        readonly uint64_t refused  # publishes refused because the lane was full

    cdef bint take_publish(self, Hosted hosted, PublishView *view, DeliveryTarget *publisher) noexcept
    cdef bint take_direct(self, Hosted hosted, PublishView *view) noexcept
    cdef void queue_request(self, DeliveryTarget *target, PublishView *view, DeliveryTarget *publisher) noexcept
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
    cdef int fail_staged(self, Hosted hosted, uint32_t status) except -1
    cdef void send_raw(
        self, uint32_t account, const uint8_t *subject, uint32_t subject_size,
        const uint8_t *block, uint32_t block_size, const uint8_t *payload, uint32_t payload_size,
    ) noexcept
    cdef uint8_t *room(self, uint64_t size) noexcept
    cdef void note_figures(self, Hosted hosted) except *
    cdef void watch_lane(self) noexcept
    cdef void mark_dirty(self, Hosted hosted) noexcept
    cdef void touch(self, Hosted hosted) noexcept
    cdef const RecordHead *find_record(self, Hosted hosted, uint64_t sequence) except? NULL
    cdef void send_record(self, Hosted hosted, PublishView *view, const RecordHead *record) noexcept
