"""Acknowledgements: the reply subject that tells which delivery is meant, and the words of the answer.

A delivered message has the reply subject

    $JS.ACK.<stream>.<consumer>.<deliveries>.<stream seq>.<consumer seq>.<time>.<pending>

or, in the second version, with `<domain or _>.<account hash>` before the stream and perhaps more tokens
behind pending. We write the first version, like nats-server without its feature flag, and understand both.
What does not change from message to message is a prefix that each consumer keeps (`ack_prefix`).

The payload of an acknowledgement is a word, perhaps with an argument. Explicit acks and deliveries come here
once a message: no Python object is made for them. Only a delay that is written unusually is read by Python.

Source: spec page 04 (sections 3 and 4).
"""

from hashlib import sha256

from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t
from libc.string cimport memcmp, memcpy, memset

from shardbroker.digits cimport write_digits

from shardbroker.jetstream.durations import DurationError, parse_duration
from shardbroker.jetstream.strict_json import DURATION, RequestJsonError, Struct, decode_loosely

cdef extern from *:
    """
    #define ACK_TOKEN_INVALID UINT64_MAX
    """
    const uint64_t ACK_TOKEN_INVALID

cdef enum:
    TOKENS_V1 = 9
    TOKENS_V2_MIN = 11
    TOKENS_KEPT = 11  # all that are looked at
    DIGITS_MAX = 19  # of a number that fits into 64 bits without looking closer
    DELAY_DIGITS_MAX = 18
    HASH_SIZE = 8

_DIGITS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_NAK_OPTIONS = Struct("ConsumerNakOptions", {"delay": DURATION})


cdef uint32_t write_ack_reply(
    uint8_t *out, const uint8_t *prefix, uint32_t prefix_size, uint64_t deliveries, uint64_t stream_seq,
    uint64_t consumer_seq, uint64_t time_ns, uint64_t pending
) noexcept nogil:
    """Write the reply subject of one delivery; its size. `out` has room for ACK_NUMBERS_SIZE_MAX more."""
    cdef uint8_t *at = out
    memcpy(at, prefix, prefix_size)
    at += prefix_size
    at = write_digits(at, deliveries)
    at[0] = 46
    at = write_digits(at + 1, stream_seq)
    at[0] = 46
    at = write_digits(at + 1, consumer_seq)
    at[0] = 46
    at = write_digits(at + 1, time_ns)
    at[0] = 46
    at = write_digits(at + 1, pending)
    return <uint32_t> (at - out)


cdef inline uint64_t number_of(const uint8_t *at, const uint8_t *end) noexcept nogil:
    cdef uint64_t value = 0
    if at == end or end - at > DIGITS_MAX:
        return ACK_TOKEN_INVALID
    while at < end:
        if at[0] < 48 or at[0] > 57:
            return ACK_TOKEN_INVALID
        value = value * 10 + (at[0] - 48)
        at += 1
    return value


cdef bint read_ack_subject(const uint8_t *subject, uint32_t size, AckPlace *place) noexcept nogil:
    """Fill `place` from a subject of either version; False if it is no acknowledgement of a delivery."""
    cdef const uint8_t *starts[TOKENS_KEPT]
    cdef const uint8_t *ends[TOKENS_KEPT]
    cdef const uint8_t *at = subject
    cdef const uint8_t *end = subject + size
    cdef int count = 0
    cdef int first
    if size < 8 or memcmp(subject, b"$JS.ACK.", 8) != 0:
        return False
    starts[0] = at
    while True:
        if at == end or at[0] == 46:
            if count < TOKENS_KEPT:
                ends[count] = at
            count += 1
            if at == end:
                break
            if count < TOKENS_KEPT:
                starts[count] = at + 1
        at += 1
    if count != TOKENS_V1 and count < TOKENS_V2_MIN:
        return False
    first = 2 if count == TOKENS_V1 else 4
    place.stream = starts[first]
    place.stream_size = <uint32_t> (ends[first] - starts[first])
    place.consumer = starts[first + 1]
    place.consumer_size = <uint32_t> (ends[first + 1] - starts[first + 1])
    place.deliveries = number_of(starts[first + 2], ends[first + 2])
    place.stream_seq = number_of(starts[first + 3], ends[first + 3])
    place.consumer_seq = number_of(starts[first + 4], ends[first + 4])
    place.time_ns = number_of(starts[first + 5], ends[first + 5])
    place.pending = number_of(starts[first + 6], ends[first + 6])
    return True


cdef inline bint is_blank(uint8_t byte) noexcept nogil:
    return byte == 32 or 9 <= byte <= 13


cdef inline void set_argument(AckWord *word, const uint8_t *at, const uint8_t *end) noexcept nogil:
    while at < end and is_blank(at[0]):
        at += 1
    while at < end and is_blank((end - 1)[0]):
        end -= 1
    word.argument = at
    word.argument_size = <uint32_t> (end - at)


cdef void read_ack_word(const uint8_t *payload, uint32_t size, AckWord *word) noexcept:
    """Fill `word` from the payload of an acknowledgement."""
    cdef const uint8_t *end = payload + size
    memset(word, 0, sizeof(AckWord))
    if size == 0:
        word.verb = ACK_OK
    elif size == 4 and memcmp(payload, b"+ACK", 4) == 0:
        word.verb = ACK_OK
    elif size == 3 and memcmp(payload, b"+OK", 3) == 0:
        word.verb = ACK_OK
    elif size >= 4 and memcmp(payload, b"+NXT", 4) == 0:
        word.verb = ACK_NEXT
        set_argument(word, payload + 4, end)
    elif size >= 4 and memcmp(payload, b"-NAK", 4) == 0:
        word.verb = ACK_NAK
        set_argument(word, payload + 4, end)
        if word.argument_size and not read_delay(word):
            read_delay_slowly(word)
    elif size == 4 and memcmp(payload, b"+WPI", 4) == 0:
        word.verb = ACK_PROGRESS
    elif size >= 5 and memcmp(payload, b"+TERM", 5) == 0:
        word.verb = ACK_TERM
        set_argument(word, payload + 5, end)


cdef inline bint read_delay(AckWord *word) noexcept nogil:
    """`{"delay": 5000000000}`, as clients write it; False for everything else."""
    cdef const uint8_t *at = word.argument
    cdef const uint8_t *end = at + word.argument_size
    cdef const uint8_t *start
    cdef int64_t value = 0
    if end - at < 11 or at[0] != 123 or (end - 1)[0] != 125:
        return False
    at += 1
    end -= 1
    while at < end and is_blank(at[0]):
        at += 1
    if end - at < 9 or memcmp(at, b'"delay":', 8) != 0:
        return False
    at += 8
    while at < end and is_blank(at[0]):
        at += 1
    start = at
    while at < end and 48 <= at[0] <= 57:
        value = value * 10 + (at[0] - 48)
        at += 1
        if at - start > DELAY_DIGITS_MAX:
            return False
    if at == start or (start[0] == 48 and at - start > 1):
        return False
    while at < end and is_blank(at[0]):
        at += 1
    if at != end:
        return False
    word.delay_ns = value
    word.has_delay = True
    return True


cdef void read_delay_slowly(AckWord *word) noexcept:
    """A delay in any form. One that cannot be read is none: the message comes again at once."""
    cdef bytes argument = word.argument[:word.argument_size]
    try:
        if argument.startswith(b"{"):
            delay = decode_loosely(argument, _NAK_OPTIONS).get("delay", 0)
        else:
            delay = parse_duration(argument.decode("utf-8", "replace"))
    except (RequestJsonError, DurationError):
        return
    word.delay_ns = delay
    word.has_delay = True


def account_hash(str name) -> str:
    """Eight letters and digits that stand for an account, or a server, in subjects.

    Of the time at which a stream was made, as its info shows it, they are the stream's identity.
    """
    return "".join([_DIGITS[byte % 62] for byte in sha256(name.encode()).digest()[:HASH_SIZE]])


def ack_prefix(str stream, str consumer) -> bytes:
    """What the reply subjects of all deliveries of a consumer begin with."""
    return f"$JS.ACK.{stream}.{consumer}.".encode()


def ack_prefix_v2(str stream, str consumer, str domain, str account) -> bytes:
    """The same in the second version; `domain` may be empty."""
    return f"$JS.ACK.{domain or '_'}.{account_hash(account)}.{stream}.{consumer}.".encode()


def flow_control_prefix(str stream, str consumer) -> bytes:
    """What the reply subjects of its flow control requests begin with; four letters or digits follow."""
    return f"$JS.FC.{stream}.{consumer}.".encode()


def ack_reply(
    bytes prefix not None,
    uint64_t deliveries,
    uint64_t stream_seq,
    uint64_t consumer_seq,
    uint64_t time_ns,
    uint64_t pending,
) -> bytes:
    """The reply subject of one delivery."""
    cdef bytearray out = bytearray(len(prefix) + ACK_NUMBERS_SIZE_MAX)
    cdef uint32_t size = write_ack_reply(
        <uint8_t *> <char *> out, <const uint8_t *> <const char *> prefix, <uint32_t> len(prefix), deliveries,
        stream_seq, consumer_seq, time_ns, pending,
    )
    return bytes(out[:size])


def parse_ack_subject(bytes subject not None) -> tuple | None:
    """(stream, consumer, deliveries, stream_seq, consumer_seq, time_ns, pending); None if it is no such."""
    cdef AckPlace place
    if not read_ack_subject(<const uint8_t *> <const char *> subject, <uint32_t> len(subject), &place):
        return None
    return (
        place.stream[:place.stream_size],
        place.consumer[:place.consumer_size],
        place.deliveries,
        place.stream_seq,
        place.consumer_seq,
        place.time_ns,
        place.pending,
    )


def parse_ack_word(bytes payload not None) -> tuple:
    """(verb, delay in nanoseconds or None, argument); the verb is "ack", "nak", ..., "" if it is none."""
    cdef AckWord word
    read_ack_word(<const uint8_t *> <const char *> payload, <uint32_t> len(payload), &word)
    verb = ("", "ack", "nak", "progress", "term", "next")[<int> word.verb]
    argument = word.argument[:word.argument_size] if word.argument_size else b""
    return verb, word.delay_ns if word.has_delay else None, argument
