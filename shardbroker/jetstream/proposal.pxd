"""One publish as the checks of a stream see it."""

from libc.stdint cimport uint8_t, uint32_t, uint64_t

from shardbroker.jetstream.publish_headers cimport PublishHeaders

cdef struct Proposal:
    # One publish as ranges of somebody's buffer, valid during the call.
    const uint8_t *subject
    const uint8_t *reply
    const uint8_t *headers  # NULL or a whole NATS/1.0 block
    const uint8_t *payload  # without the headers
    uint32_t subject_size
    uint32_t reply_size
    uint32_t header_size
    uint32_t payload_size
    uint32_t account
    uint64_t now_ns  # wall clock

cdef void point(
    Proposal *proposal, bytes subject, bytes reply, bytes block, bytes payload, uint32_t account,
    uint64_t now_ns,
) except *
cdef void point_and_read(
    Proposal *proposal, PublishHeaders *headers, bytes subject, bytes block, bytes payload, uint64_t now_ns
) except *
