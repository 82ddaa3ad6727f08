"""Messages that come from another stream: staged by the owner of a mirror, or of a stream with sources.

They were checked where they were published, and have no publisher here who could be told: so only what this
stream's own configuration forbids is an error, and the owner tries again later. What a client may only do
with permission of the configuration (rollup, TTL) is stored, and does nothing, without it.

Source: spec page 03 section 11; compared with nats-server 2.15.1 by tests/system/test_mirrors_sources.py.
"""

from libc.stdint cimport uint32_t, uint64_t
from libc.string cimport memset

from shardbroker.jetstream.proposal cimport Proposal, point_and_read
from shardbroker.jetstream.publish_checks cimport Verdict
from shardbroker.jetstream.publish_headers cimport PublishHeaders
from shardbroker.jetstream.stream cimport Stream
from shardbroker.storage.frame cimport FRAME_MESSAGES, RECORD_HAS_TTL

from shardbroker.jetstream import api_errors
from shardbroker.jetstream.counters import CounterError, parse_increment


def stage_mirrored(
    Stream stream, uint64_t sequence, uint64_t time_ns, bytes subject, bytes block, bytes payload
):
    """Stage a copy of a message under its sequence and time.

    The sequence, 0 when it was given before, or an ApiError. Raises MemoryError.
    """
    cdef Proposal proposal
    cdef PublishHeaders headers
    cdef Verdict verdict
    memset(&verdict, 0, sizeof(Verdict))
    if stream.failed or stream.closing:
        return api_errors.STREAM_STORE_FAILED(err="a write failed, try again")
    if sequence <= stream.last_sequence:
        return 0
    point_and_read(&proposal, &headers, subject, block, payload, time_ns)
    if stream.allow_ttl:
        stream.check_name_and_ttl(&headers, &verdict)
    if stream.allow_rollup:
        stream.check_rollup(&proposal, &headers, &verdict, None)
    error = stream.check_sizes(&proposal)
    if error is None:
        error = stream.check_limits(&proposal, verdict.flags, False, None)
    if error is not None:
        return error
    stream.begin_sequence(sequence)
    # Its own time, also when a frame without messages was written later than that.
    stream.last_time_ns = time_ns
    if verdict.ttl_s:
        verdict.flags |= RECORD_HAS_TTL
    if stream.store(&proposal, FRAME_MESSAGES, verdict.flags, verdict.ttl_s) == 0:
        raise MemoryError("no memory for a record")
    return sequence


def stage_sourced(Stream stream, bytes subject, bytes block, bytes payload, uint64_t now_ns):
    """Stage a message of a source; `block` says where it comes from (Nats-Stream-Source).

    Its sequence, 0 when its id is a duplicate, or an ApiError. Raises MemoryError.
    """
    cdef Proposal proposal
    cdef PublishHeaders headers
    cdef Verdict verdict
    cdef uint64_t sequence
    memset(&verdict, 0, sizeof(Verdict))
    if stream.failed or stream.closing:
        return api_errors.STREAM_STORE_FAILED(err="a write failed, try again")
    if stream.sealed:
        return api_errors.STREAM_SEALED
    if stream.transform is not None:
        subject = stream.transform.apply(subject) or subject
    point_and_read(&proposal, &headers, subject, block, payload, now_ns)
    stream.value = None
    if stream.allow_ttl:
        stream.check_name_and_ttl(&headers, &verdict)
    stream.find_duplicate(&proposal, &headers, &verdict, None)
    if verdict.duplicate:
        return 0
    if stream.allow_rollup:
        stream.check_rollup(&proposal, &headers, &verdict, None)
    verdict.wanted = not stream.interest or stream.wanted(&proposal)
    error = stream.check_sizes(&proposal)
    if error is None and stream.counts:
        error = count(stream, &proposal, block)
    if error is None:
        error = stream.check_limits(&proposal, verdict.flags, False, None)
    if error is not None:
        return error
    sequence = stream.accept(&proposal, &headers, &verdict, FRAME_MESSAGES)
    return sequence if sequence else api_errors.INSUFFICIENT_RESOURCES


cdef object count(Stream stream, Proposal *proposal, bytes block):
    """Add what the message's origin has counted since its last message; the error, or None."""
    try:
        increment = parse_increment(block)
    except CounterError:
        return api_errors.MESSAGE_INCR_INVALID
    if increment is None:
        return api_errors.MESSAGE_INCR_MISSING
    return stream.count(proposal, increment, None)
