"""The checks of a publish, over what is applied and what is given out."""

from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t

from shardbroker.jetstream.dedupe_window cimport DedupeId
from shardbroker.jetstream.proposal cimport Proposal
from shardbroker.jetstream.publish_headers cimport PublishHeaders
from shardbroker.jetstream.stream_state cimport StreamState
from shardbroker.jetstream.subject_table cimport SubjectEntry

cdef struct Verdict:
    # What the checks found out about a message that is accepted.
    uint64_t duplicate  # it was stored before, under this sequence; 0: it was not
    uint32_t ttl_s
    uint16_t flags  # RECORD_...
    bint wanted  # it is stored; otherwise it gets a sequence only
    bint bad_ttl  # Nats-TTL is none
    bint has_id  # `id` is to enter the window
    DedupeId id

cdef class PublishChecks:
    cdef:
        readonly bytes name
        readonly object config  # StreamConfig
        readonly StreamState state  # committed
        public object special  # SpecialPublish: counters, batches and schedules
        # Given out, committed or not:
        readonly uint64_t last_sequence
        readonly uint64_t last_time_ns
        uint64_t pending_messages  # records given out and not applied
        uint64_t pending_bytes
        uint64_t floor  # a message in flight with this sequence will remove all older ones; 0: none did yet
        list purges  # of subjects, in flight: (below, filter)
        readonly object last_id  # bytes of the last message's Nats-Msg-Id, None when it had none
        public bint account_full  # resource limits of the account are exceeded
        public bint store_full  # no room for more: publishes are refused
        bint discard_new
        bint discard_new_per_subject
        bint allow_rollup
        bint allow_ttl
        bint interest  # interest retention: messages nobody asks for are not stored
        bint counts  # a counter stream
        bint own  # the message is the stream's own: it may have headers that clients may not send
        int64_t max_message_size  # -1: no limit
        bytes kept_block  # what a proposal points to since its headers, or its payload, were rewritten
        bytes kept_payload
        bytes value  # of a counter, as the ack tells it; None for other messages

    cdef bint fits(self, Proposal *proposal) noexcept
    cdef object check(
        self, Proposal *proposal, PublishHeaders *headers, Verdict *verdict, bint staged, object batch
    )
    cdef object check_ordinary(self, Proposal *proposal, PublishHeaders *headers, Verdict *verdict)
    cdef object check_staged(
        self, Proposal *proposal, PublishHeaders *headers, Verdict *verdict, object batch
    )
    cdef object check_name_and_ttl(self, PublishHeaders *headers, Verdict *verdict)
    cdef object check_sequences(
        self, Proposal *proposal, PublishHeaders *headers, bint staged, object batch
    )
    cdef object check_subject_sequence(self, Proposal *proposal, PublishHeaders *headers, object batch)
    cdef object check_last_sequence(self, PublishHeaders *headers, object batch)
    cdef object check_last_id(self, PublishHeaders *headers)
    cdef object check_schedule(self, Proposal *proposal, PublishHeaders *headers, Verdict *verdict)
    cdef object check_rollup(
        self, Proposal *proposal, PublishHeaders *headers, Verdict *verdict, object batch
    )
    cdef object check_sizes(self, Proposal *proposal)
    cdef object check_limits(self, Proposal *proposal, uint16_t flags, bint staged, object batch)
    cdef object count(self, Proposal *proposal, object increment, object batch)
    cdef void find_duplicate(
        self, Proposal *proposal, PublishHeaders *headers, Verdict *verdict, object batch
    ) noexcept
    cdef void use_block(self, Proposal *proposal, PublishHeaders *headers, bytes block)
    cdef uint64_t last_on(self, const uint8_t *subject, uint32_t size) noexcept
    cdef uint64_t last_ahead(self, SubjectEntry *entry) noexcept
    cdef uint64_t floor_ahead(self) noexcept
    cdef uint64_t messages_ahead(self) noexcept
    cdef void note_leaving(self, SubjectEntry *subject, uint16_t flags, uint64_t sequence) noexcept
    cdef void note_matching_leave(self, SubjectEntry *pattern) noexcept
    cdef bint wanted(self, Proposal *proposal) noexcept
