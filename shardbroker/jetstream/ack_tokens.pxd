"""Acknowledgements: the reply subject that tells which delivery is meant, and the words of the answer."""

from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t

cdef enum:
    # Bytes that `write_ack_reply` may add to the prefix: five numbers of 20 digits with four dots.
    ACK_NUMBERS_SIZE_MAX = 104

cdef enum AckVerb:
    ACK_UNKNOWN = 0  # ignored, but answered
    ACK_OK  # done; with policy "all" everything before it too
    ACK_NAK  # again, now or after `delay`
    ACK_PROGRESS  # still at work: ack_wait begins anew
    ACK_TERM  # never again; `argument` is the reason
    ACK_NEXT  # done, and a pull request in `argument`

cdef struct AckPlace:
    # What the subject of an acknowledgement says. A number that is none is UINT64_MAX, which no delivery has.
    const uint8_t *stream
    uint32_t stream_size
    const uint8_t *consumer
    uint32_t consumer_size
    uint64_t deliveries  # of this message so far
    uint64_t stream_seq
    uint64_t consumer_seq
    uint64_t time_ns  # of the message
    uint64_t pending  # messages that were to come

cdef struct AckWord:
    # What its payload says.
    AckVerb verb
    bint has_delay  # of ACK_NAK: otherwise at once
    int64_t delay_ns
    const uint8_t *argument  # without blanks around it; points into the payload
    uint32_t argument_size

cdef uint32_t write_ack_reply(
    uint8_t *out, const uint8_t *prefix, uint32_t prefix_size, uint64_t deliveries, uint64_t stream_seq,
    uint64_t consumer_seq, uint64_t time_ns, uint64_t pending
) noexcept nogil
cdef bint read_ack_subject(const uint8_t *subject, uint32_t size, AckPlace *place) noexcept nogil
cdef void read_ack_word(const uint8_t *payload, uint32_t size, AckWord *word) noexcept
