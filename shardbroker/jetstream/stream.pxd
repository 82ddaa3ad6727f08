"""A stream as its owner runs it: publishes come in, frames and owed answers go out."""

from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t

from shardbroker.jetstream.proposal cimport Proposal
from shardbroker.jetstream.publish_headers cimport PublishHeaders
from shardbroker.jetstream.stream_log cimport StreamLog
from shardbroker.jetstream.stream_staging cimport StreamStaging
from shardbroker.storage.frame cimport FrameHead, RecordHead

cdef enum:
    ACK_SIZE_MAX = 700  # bytes of a PubAck: a name of 255 characters, escaped

cdef class Stream(StreamStaging):
    cdef:
        readonly StreamLog log
        readonly uint32_t row  # of the log table
        public object republish  # called with (subject, headers, payload, sequence, time, previous), or None
        public bint in_dirty  # in the owner's list of streams with staged frames
        public uint64_t reserved  # sequences up to this one are recorded in the metadata
        readonly uint64_t frames_in_flight  # lane records of this stream without an answer yet
        public bint failed  # a frame failed: those behind it fail, too, until none is in flight
        readonly bint closing  # it is being removed
        readonly bint cutting  # the end of its log is being cut off: publishes hear an error until it is
        readonly uint64_t cut_index  # then: the last frame that counts
        bint sealed
        bint plain  # nothing but size and limits to check for a message without headers
        object transform  # of subjects, or None
        bytes ack_head  # of a PubAck, up to the sequence
        list held  # records of an atomic batch that is not committed: (position, record)

    cdef int publish(self, Proposal *proposal) noexcept
    cdef bint is_reserve_low(self) noexcept
    cdef object publish_slowly(self, Proposal *proposal)
    cdef object publish_ordinary(self, Proposal *proposal, PublishHeaders *headers)
    cdef bint publish_with_id(self, Proposal *proposal, PublishHeaders *headers) noexcept
    cdef uint32_t write_ack(self, uint8_t *place, uint16_t kind, uint64_t sequence) noexcept
    cdef bint takes_effect(self, uint64_t index) noexcept
    cdef int apply_frame(
        self, const uint8_t *frame, uint64_t position, uint64_t segment, uint64_t capacity
    ) except -1
    cdef object rewritten(self, bytes block, uint32_t present)
    cdef int apply_record(self, const RecordHead *record, uint64_t position) except -1
    cdef int apply_moved(self, const FrameHead *head, uint64_t position) except -1
    cdef uint64_t applied_last_on(self, const uint8_t *subject, uint32_t size) noexcept
    cdef int apply_records(self, const FrameHead *head, uint64_t position) except -1
    cdef int hold_records(self, const FrameHead *head, uint64_t position) except -1
    cdef int release_held(self, const FrameHead *head) except -1
    cdef int tell_stored(self, const RecordHead *record, uint64_t previous) except -1
