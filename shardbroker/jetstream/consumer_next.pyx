"""The usual forms of a pull request, read without Python objects: every batch begins with one.

Nothing, digits, or one flat object whose keys are among `batch`, `expires`, `max_bytes`, `idle_heartbeat` and
`no_wait`, spelled like that, each at most once, with plain integers that are not negative, or true or false.
That is what clients send unless they use priority groups. Everything else, and everything that is wrong, is
left to `consumer_requests.read_next_slowly`, which knows nats-server's complaints. Both give the same.
"""

from libc.stdint cimport int64_t, uint8_t, uint32_t
from libc.string cimport memcmp, memset

from shardbroker.jetstream.consumer_requests import NextRequest, read_next_slowly

cdef enum:
    DIGITS_MAX = 18  # every number with as many digits fits into 63 bits, and twice into 64
    SEEN_BATCH = 1
    SEEN_EXPIRES = 2
    SEEN_MAX_BYTES = 4
    SEEN_HEARTBEAT = 8
    SEEN_NO_WAIT = 16


cdef inline const uint8_t *skip_blanks(const uint8_t *at, const uint8_t *end) noexcept nogil:
    while at < end and (at[0] == 32 or at[0] == 9 or at[0] == 10 or at[0] == 13):
        at += 1
    return at


cdef inline const uint8_t *read_digits(const uint8_t *at, const uint8_t *end, int64_t *value) noexcept nogil:
    """Behind the digits; NULL if there are none, too many, or a zero before others."""
    cdef const uint8_t *start = at
    cdef int64_t number = 0
    while at < end and 48 <= at[0] <= 57:
        number = number * 10 + (at[0] - 48)
        at += 1
        if at - start > DIGITS_MAX:
            return NULL
    if at == start or (start[0] == 48 and at - start > 1):
        return NULL
    value[0] = number
    return at


cdef inline int key_of(const uint8_t *name, size_t size) noexcept nogil:
    """One of SEEN_...; 0 for another name."""
    if size == 5 and memcmp(name, b"batch", 5) == 0:
        return SEEN_BATCH
    if size == 7 and memcmp(name, b"expires", 7) == 0:
        return SEEN_EXPIRES
    if size == 7 and memcmp(name, b"no_wait", 7) == 0:
        return SEEN_NO_WAIT
    if size == 9 and memcmp(name, b"max_bytes", 9) == 0:
        return SEEN_MAX_BYTES
    if size == 14 and memcmp(name, b"idle_heartbeat", 14) == 0:
        return SEEN_HEARTBEAT
    return 0


cdef inline const uint8_t *read_member(
    const uint8_t *at, const uint8_t *end, NextWish *wish, int *seen
) noexcept nogil:
    """One `"key":value`, blanks included; NULL if it is not usual."""
    cdef const uint8_t *name
    cdef int64_t number = 0
    cdef int key
    if at >= end or at[0] != 34:  # a quotation mark
        return NULL
    at += 1
    name = at
    while at < end and at[0] != 34:
        at += 1
    if at >= end:
        return NULL
    key = key_of(name, at - name)
    at = skip_blanks(at + 1, end)
    if key == 0 or seen[0] & key or at >= end or at[0] != 58:  # a colon
        return NULL
    seen[0] |= key
    at = skip_blanks(at + 1, end)
    if key == SEEN_NO_WAIT:
        if end - at >= 4 and memcmp(at, b"true", 4) == 0:
            wish.no_wait = True
            return skip_blanks(at + 4, end)
        if end - at >= 5 and memcmp(at, b"false", 5) == 0:
            return skip_blanks(at + 5, end)
        return NULL
    at = read_digits(at, end, &number)
    if at == NULL:
        return NULL
    if key == SEEN_BATCH:
        wish.batch = number
    elif key == SEEN_EXPIRES:
        wish.expires = number
    elif key == SEEN_MAX_BYTES:
        wish.max_bytes = number
    else:
        wish.idle_heartbeat = number
    return skip_blanks(at, end)


cdef bint read_next_wish(const uint8_t *body, uint32_t size, NextWish *wish) noexcept nogil:
    """Fill `wish` from a usual body. After False its contents mean nothing."""
    cdef const uint8_t *end = body + size
    cdef const uint8_t *at = body
    cdef int seen = 0
    memset(wish, 0, sizeof(NextWish))
    if size == 0:
        wish.batch = 1
        return True
    if at[0] != 123:  # a brace
        at = read_digits(at, end, &wish.batch)
        return at == end
    wish.is_object = True
    at = skip_blanks(at + 1, end)
    if at < end and at[0] == 125:
        return at + 1 == end
    while True:
        at = read_member(at, end, wish, &seen)
        if at == NULL or at >= end:
            return False
        if at[0] == 125:
            return at + 1 == end and (wish.idle_heartbeat == 0 or wish.idle_heartbeat * 2 <= wish.expires)
        if at[0] != 44:  # a comma
            return False
        at = skip_blanks(at + 1, end)


def read_next(bytes body not None) -> NextRequest:
    """MSG.NEXT. Raises PullRefused."""
    cdef NextWish wish
    if not read_next_wish(<const uint8_t *> <const char *> body, <uint32_t> len(body), &wish):
        return read_next_slowly(body)
    return NextRequest(
        wish.batch,
        wish.expires,
        bool(wish.no_wait),
        wish.max_bytes,
        wish.idle_heartbeat,
        is_object=bool(wish.is_object),
    )
