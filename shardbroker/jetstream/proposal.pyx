"""Proposals of messages that did not come through the router: bytes objects that the caller keeps."""

from libc.stdint cimport uint32_t, uint64_t

from shardbroker.jetstream.publish_headers cimport PublishHeaders, read_publish_headers


cdef void point(
    Proposal *proposal, bytes subject, bytes reply, bytes block, bytes payload, uint32_t account,
    uint64_t now_ns,
) except *:
    """Let a proposal point at these bytes."""
    proposal.subject = subject
    proposal.subject_size = <uint32_t> len(subject)
    proposal.reply = reply
    proposal.reply_size = <uint32_t> len(reply)
    proposal.headers = block
    proposal.header_size = <uint32_t> len(block)
    proposal.payload = payload
    proposal.payload_size = <uint32_t> len(payload)
    proposal.account = account
    proposal.now_ns = now_ns


cdef void point_and_read(
    Proposal *proposal, PublishHeaders *headers, bytes subject, bytes block, bytes payload, uint64_t now_ns
) except *:
    """The same of a message without reply, and read its headers."""
    point(proposal, subject, b"", block, payload, 0, now_ns)
    headers.present = 0
    if block:
        read_publish_headers(proposal.headers, proposal.header_size, headers)
