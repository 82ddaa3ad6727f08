"""One block of S2 or Snappy: the compressed form of up to a few MiB, without framing (that is s2.py).

Decoding takes every form that S2 has over Snappy: a short copy with offset 0 repeats the last offset, with a
length of up to 24 bits. Each read and each write is checked against the ends of its buffer, for an archive
comes from outside. Encoding writes the plain Snappy subset, which readers of both formats take.

Own code and not a library: those for Python (`cramjam`, `python-snappy`) decode Snappy only, and refuse the
repeated offsets that nats-server's blocks do have. So the decoder has to be here, and the encoder alone,
which is half as long, is no reason for a dependency of 4.5 MB.

Source of the format: the descriptions of Snappy (google/snappy, format_description.txt) and of S2
(klauspost/compress, s2/README.md, "Format Extensions").
"""

from libc.stdint cimport uint8_t, uint16_t, uint32_t
from libc.string cimport memcpy, memset

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize

from shardbroker.errors import ShardbrokerError
from shardbroker.storage.crc32c cimport crc32c

cdef enum:
    TAG_LITERAL = 0
    TAG_COPY1 = 1  # length 4 to 11, offset of 11 bits; offset 0: the last offset again
    TAG_COPY2 = 2  # length 1 to 64, offset of 16 bits
    TAG_COPY4 = 3  # length 1 to 64, offset of 32 bits
    LITERAL_INLINE_MAX = 60  # a literal's length up to this stands in the tag
    COPY1_LENGTH_MIN = 4
    COPY1_LENGTH_MAX = 11
    COPY1_OFFSET_END = 2048
    COPY2_LENGTH_MAX = 64
    HASH_BITS = 14  # 16384 entries of 2 bytes: 32 KiB, which stays in the first-level cache
    ENCODE_MIN = 16  # shorter input goes out as one literal
    MISSES_START = 32  # after each 32 misses the search steps one byte wider, so noise is passed over quickly
    HEADER_SIZE_MAX = 5  # a length of up to 32 bits, 7 in a byte
    FINE = 0
    CUT_OFF = 1
    BAD_OFFSET = 2
    TOO_LONG = 3
    TOO_SHORT = 4

ENCODE_SIZE_MAX = 65536  # offsets have 16 bits

cdef tuple REASONS = (
    "",
    "a block ends within an element",
    "a copy reaches before the start of its block",
    "a block holds more than its length says",
    "a block holds less than its length says",
)


class S2Error(ShardbrokerError):
    """Compressed bytes that are not S2 or Snappy, are damaged, or would exceed the caller's limit."""


def masked_crc(const uint8_t[::1] data) -> int:
    """The checksum that frames carry: CRC-32C, rotated and shifted as the framing format asks."""
    cdef uint32_t crc = crc32c(0, &data[0] if data.shape[0] else NULL, data.shape[0])
    return <uint32_t>(((crc >> 15) | (crc << 17)) + <uint32_t>0xA282EAD8)


cdef Py_ssize_t read_length(const uint8_t *source, Py_ssize_t size, uint32_t *length) noexcept nogil:
    """The length in front of a block, into `length`; how many bytes it takes, 0 if there is none."""
    cdef Py_ssize_t at = 0
    cdef uint32_t result = 0
    while at < size and at < HEADER_SIZE_MAX:
        if at == HEADER_SIZE_MAX - 1 and source[at] > 15:
            return 0
        result |= <uint32_t>(source[at] & 127) << (7 * at)
        at += 1
        if source[at - 1] < 128:
            length[0] = result
            return at
    return 0


def decoded_size(const uint8_t[::1] block) -> int:
    """How many bytes `block` says it holds. S2Error if it does not begin with a length."""
    cdef uint32_t length = 0
    if block.shape[0] == 0 or read_length(&block[0], block.shape[0], &length) == 0:
        raise S2Error("a block does not begin with its length")
    return length


def decode_block(const uint8_t[::1] block, Py_ssize_t limit) -> bytes:
    """The decoded bytes of `block`. S2Error if it is damaged, or says that it holds more than `limit`."""
    cdef uint32_t length = 0
    cdef Py_ssize_t start = 0
    cdef int result
    if block.shape[0]:
        start = read_length(&block[0], block.shape[0], &length)
    if start == 0:
        raise S2Error("a block does not begin with its length")
    if <Py_ssize_t>length > limit:
        raise S2Error(f"a block holds {length} bytes, more than {limit}")
    decoded = PyBytes_FromStringAndSize(NULL, length)
    cdef uint8_t *target = <uint8_t *>PyBytes_AS_STRING(decoded)
    with nogil:
        result = decode_elements(&block[0] + start, block.shape[0] - start, target, length)
    if result != FINE:
        raise S2Error(REASONS[result])
    return decoded


cdef uint32_t little_endian(const uint8_t *at, int count) noexcept nogil:
    """`count` bytes, 1 to 4, as a number."""
    cdef uint32_t result = 0
    cdef int i
    for i in range(count):
        result |= <uint32_t>at[i] << (8 * i)
    return result


cdef int decode_elements(
    const uint8_t *source, Py_ssize_t size, uint8_t *target, Py_ssize_t target_size
) noexcept nogil:
    """Decode all elements; `target` is filled exactly. FINE or the number of a reason."""
    cdef Py_ssize_t at = 0, out = 0, length, offset = 0, span, step
    cdef int kind, extra
    while at < size:
        kind = source[at] & 3
        length = source[at] >> 2
        if kind == TAG_LITERAL:
            extra = <int>length - LITERAL_INLINE_MAX + 1 if length >= LITERAL_INLINE_MAX else 0
            if size - at <= extra:
                return CUT_OFF
            if extra:
                length = little_endian(source + at + 1, extra)
            length += 1
            at += 1 + extra
            if length > size - at:
                return CUT_OFF
            if length > target_size - out:
                return TOO_LONG
            memcpy(target + out, source + at, length)
            at += length
            out += length
            continue
        extra = kind if kind != TAG_COPY4 else 4
        if size - at <= extra:
            return CUT_OFF
        if kind != TAG_COPY1:
            offset = little_endian(source + at + 1, extra)
            length += 1
        else:
            span = ((length >> 3) << 8) | source[at + 1]
            length &= 7
            if span != 0:
                offset = span
            elif length > 4:
                # A repeat of the last offset whose length follows in 1, 2 or 3 bytes.
                extra = <int>length - 4
                at += 1
                if size - at <= extra:
                    return CUT_OFF
                length = little_endian(source + at + 1, extra) + (4 if extra == 1 else 1 << (8 * extra - 8))
            length += COPY1_LENGTH_MIN
        at += 1 + extra
        if offset <= 0 or offset > out:
            return BAD_OFFSET
        if length > target_size - out:
            return TOO_LONG
        # The copy may overlap itself: it repeats with the period `offset`, so a step may take all before it.
        span = offset
        while length > 0:
            step = length if length < span else span
            memcpy(target + out, target + out - span, step)
            out += step
            span += step
            length -= step
    return FINE if out == target_size else TOO_SHORT


def encode_block(const uint8_t[::1] data) -> bytes:
    """`data`, at most ENCODE_SIZE_MAX bytes, as one Snappy block; little is won on what does not repeat."""
    cdef Py_ssize_t size = data.shape[0], written
    assert size <= 65536, size
    # Copies never take more room than what they stand for, literals cost 3 bytes in front at most 1 in 60.
    encoded = PyBytes_FromStringAndSize(NULL, HEADER_SIZE_MAX + size + size // 6 + 32)
    cdef uint8_t *target = <uint8_t *>PyBytes_AS_STRING(encoded)
    with nogil:
        written = encode_elements(&data[0] if size else NULL, size, target)
    return encoded[:written]


cdef Py_ssize_t put_literal(uint8_t *target, const uint8_t *source, Py_ssize_t length) noexcept nogil:
    """Write `length` bytes, 1 to 65536, as a literal; how many bytes that takes."""
    cdef Py_ssize_t start
    if length <= LITERAL_INLINE_MAX:
        target[0] = <uint8_t>((length - 1) << 2)
        start = 1
    elif length <= 256:
        target[0] = 60 << 2
        target[1] = <uint8_t>(length - 1)
        start = 2
    else:
        target[0] = 61 << 2
        target[1] = <uint8_t>(length - 1)
        target[2] = <uint8_t>((length - 1) >> 8)
        start = 3
    memcpy(target + start, source, length)
    return start + length


cdef Py_ssize_t put_copy(uint8_t *target, Py_ssize_t offset, Py_ssize_t length) noexcept nogil:
    """Write a copy, in as many elements as it takes; how many bytes that takes."""
    cdef Py_ssize_t at = 0, step
    while length > 0:
        if COPY1_LENGTH_MIN <= length <= COPY1_LENGTH_MAX and offset < COPY1_OFFSET_END:
            target[at] = <uint8_t>(((offset >> 8) << 5) | ((length - COPY1_LENGTH_MIN) << 2) | TAG_COPY1)
            target[at + 1] = <uint8_t>offset
            return at + 2
        step = length if length < COPY2_LENGTH_MAX else COPY2_LENGTH_MAX
        target[at] = <uint8_t>(((step - 1) << 2) | TAG_COPY2)
        target[at + 1] = <uint8_t>offset
        target[at + 2] = <uint8_t>(offset >> 8)
        at += 3
        length -= step
    return at


cdef Py_ssize_t encode_elements(const uint8_t *source, Py_ssize_t size, uint8_t *target) noexcept nogil:
    """Write length and elements; how many bytes they take. Greedy: the first match that is found is taken."""
    cdef uint16_t table[1 << HASH_BITS]  # where the four bytes with this hash were last seen
    cdef Py_ssize_t at = 1, out = 0, literal = 0, candidate, length, rest = size
    cdef uint32_t word, other, misses = MISSES_START, slot
    while rest >= 128:
        target[out] = <uint8_t>(rest | 128)
        rest >>= 7
        out += 1
    target[out] = <uint8_t>rest
    out += 1
    if size >= ENCODE_MIN:
        memset(table, 0, sizeof(table))
        while at + 4 <= size:
            memcpy(&word, source + at, 4)
            slot = (word * <uint32_t>2654435761) >> (32 - HASH_BITS)
            candidate = table[slot]
            table[slot] = <uint16_t>at
            memcpy(&other, source + candidate, 4)
            if other != word:
                at += misses >> 5
                misses += 1
                continue
            if at > literal:
                out += put_literal(target + out, source + literal, at - literal)
            length = 4
            while at + length < size and source[candidate + length] == source[at + length]:
                length += 1
            out += put_copy(target + out, at - candidate, length)
            at += length
            literal = at
            misses = MISSES_START
    if literal < size:
        out += put_literal(target + out, source + literal, size - literal)
    return out
