"""The side of a stream that builds what goes into its log: records, frames, and the answers they owe."""

from libc.stdint cimport uint16_t, uint32_t, uint64_t

from shardbroker.jetstream.frame_stage cimport FrameStage
from shardbroker.jetstream.proposal cimport Proposal
from shardbroker.jetstream.publish_checks cimport PublishChecks, Verdict
from shardbroker.jetstream.publish_headers cimport PublishHeaders

cdef class StreamStaging(PublishChecks):
    cdef:
        readonly FrameStage stage
        bint no_ack  # the configuration wants no acks
        uint64_t marker_ttl_s  # of delete markers; 0: there are none

    cdef uint64_t accept(
        self, Proposal *proposal, PublishHeaders *headers, Verdict *verdict, uint16_t kind
    ) except? 0
    cdef uint64_t store(self, Proposal *proposal, uint16_t kind, uint16_t flags, uint32_t ttl_s) noexcept
    cdef uint64_t skip(self) except 0
    cdef void owe(self, Proposal *proposal, uint16_t kind, uint64_t sequence) noexcept
    cdef void refuse(self, Proposal *proposal, object error) noexcept
    cdef object note_purge(self, bytes body)
