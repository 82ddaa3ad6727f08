"""Rules of subject names: which are valid, which are literal, how two of them overlap.

A subject is bytes, tokens split by dots. `*` as a whole token stands for one token, `>` as the whole last
token for one or more; inside longer tokens both are ordinary characters. Three notions of "valid" live side
by side in nats-server, and clients can tell them apart, so they do here:

    is_subscribable   what SUB takes: no empty token, `>` only at the end. Any other byte will do, form feed
                      and NUL included (seen with nats-server 2.15.1; a SUB line cannot hold blank or CR LF)
    is_valid          what configurations take (streams, consumers, permissions): subscribable and without
                      blank, tab, CR, LF or form feed
    is_publishable    what a *pedantic* client may publish: no empty token and no wildcard token. Anyone else
                      may publish anything; a subject with an empty token then matches nobody, and wildcard
                      tokens in it are literals that only wildcards match

All functions take (bytes, size): Cython callers pass a pointer into a receive buffer. They hold for one
pass over the bytes and allocate nothing. tests/subjects/ compares them with the server and with obvious
models, interpreted and compiled.
"""

DOT = 0x2E
STAR = 0x2A
REST = 0x3E
BLANK = 0x20
TAB = 0x09
LINE_FEED = 0x0A
FORM_FEED = 0x0C
CARRIAGE_RETURN = 0x0D


def is_subscribable(subject, size):
    """Whether SUB accepts the subject; if not, the answer is -ERR 'Invalid Subject'."""
    start = 0
    for index in range(size):
        if subject[index] == DOT:
            if index == start or (index == start + 1 and subject[start] == REST):
                return False
            start = index + 1
    return start < size


def is_valid(subject, size):
    """Whether the subject may stand in a configuration, with or without wildcards."""
    for index in range(size):
        if subject[index] <= BLANK and (
            subject[index] == BLANK
            or subject[index] == TAB
            or subject[index] == LINE_FEED
            or subject[index] == FORM_FEED
            or subject[index] == CARRIAGE_RETURN
        ):
            return False
    return is_subscribable(subject, size)


def is_publishable(subject, size):
    """Whether a pedantic client may publish on it; if not, -ERR 'Invalid Publish Subject' goes back."""
    start = 0
    while start < size:
        end = token_end(subject, size, start)
        if end == start or is_wildcard(subject, start, end):
            return False
        if end == size:
            return True
        start = end + 1
    return False


def is_literal(subject, size):
    """Whether no token is a wildcard. Says nothing about validity."""
    start = 0
    while start < size:
        end = token_end(subject, size, start)
        if is_wildcard(subject, start, end):
            return False
        start = end + 1
    return True


def count_tokens(subject, size):
    """Number of tokens, empty ones included; 0 only for the empty subject."""
    if size == 0:
        return 0
    count = 1
    for index in range(size):
        if subject[index] == DOT:
            count += 1
    return count


def matches(pattern, pattern_size, subject, subject_size):
    """Whether a published subject goes to a subscription on ``pattern``.

    Tokens of the subject are literal, whatever they look like; empty ones match nothing.
    """
    return walk_together(pattern, pattern_size, subject, subject_size, 0)


def is_subset(subject, subject_size, pattern, pattern_size):
    """Whether every subject that ``subject`` matches is matched by ``pattern`` too. Both valid."""
    return walk_together(pattern, pattern_size, subject, subject_size, 1)


def collide(left, left_size, right, right_size):
    """Whether some published subject would match both. Both valid."""
    return walk_together(left, left_size, right, right_size, 2)


# What the tokens of the second subject are in walk_together().
LITERAL_SUBJECT = 0  # bytes, never wildcards
SUBSET_SUBJECT = 1  # wildcards, which only wildcards at least as wide cover
COLLIDING_SUBJECT = 2  # wildcards, which cover what they meet


def walk_together(pattern, pattern_size, subject, subject_size, mode):
    """Compare token by token, until `>` settles it or one side ends."""
    start = other = 0
    while start < pattern_size and other < subject_size:
        end = token_end(pattern, pattern_size, start)
        other_end = token_end(subject, subject_size, other)
        if end == start or other_end == other:
            return False
        if end - start == 1 and end == pattern_size and pattern[start] == REST:
            return mode != LITERAL_SUBJECT or not has_empty_token(subject, subject_size, other)
        if mode != LITERAL_SUBJECT and is_wildcard(subject, other, other_end):
            if subject[other] == REST:
                return mode == COLLIDING_SUBJECT
            if mode == SUBSET_SUBJECT and not (end - start == 1 and pattern[start] == STAR):
                return False
        elif not (end - start == 1 and pattern[start] == STAR) and not same_token(
            pattern, start, end, subject, other, other_end
        ):
            return False
        if end == pattern_size or other_end == subject_size:
            return end == pattern_size and other_end == subject_size
        start = end + 1
        other = other_end + 1
    return False


def has_empty_token(subject, size, start):
    """Whether a token from offset ``start`` on is empty."""
    while start < size:
        end = token_end(subject, size, start)
        if end == start:
            return True
        if end == size:
            return False
        start = end + 1
    return True


def token_end(subject, size, start):
    """Offset of the dot that ends the token at ``start``, or ``size``."""
    end = start
    while end < size and subject[end] != DOT:
        end += 1
    return end


def is_wildcard(subject, start, end):
    """Whether the token is exactly `*` or `>`."""
    return end - start == 1 and (subject[start] == STAR or subject[start] == REST)


def same_token(left, start, end, right, other, other_end):
    """Whether two tokens are the same bytes."""
    if end - start != other_end - other:
        return False
    while start < end:
        if left[start] != right[other]:
            return False
        start += 1
        other += 1
    return True
