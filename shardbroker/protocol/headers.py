"""Reading a header block: ``NATS/1.0[ status] CR LF``, then ``Key: value CR LF`` lines, then ``CR LF``.

The core path never calls this: nats-server passes a block through as it came, broken or not, and so do we. It
is for those who need one value of it. A key is compared byte for byte, its case included; the first line with
that key counts; spaces behind the colon are skipped; a value ends at CR LF, a lone CR or LF belongs to it.
"""

SPACE = 0x20
CR = 0x0D
LF = 0x0A
COLON = 0x3A
LAST_PRINTABLE = 0x7E

VERSION = b"NATS/1.0"
VERSION_SIZE = 8


def line_end(data, position, end):
    """The position of the next CR LF, or ``end``."""
    p = position
    while p < end and (data[p] != CR or p + 1 == end or data[p + 1] != LF):
        p += 1
    return p


def next_line(data, position, end):
    """The start of the next line, or ``end``."""
    p = line_end(data, position, end)
    return end if p == end else p + 2


def skip_spaces(data, position, end):
    """The first position that holds no space, or ``end``."""
    p = position
    while p < end and data[p] == SPACE:
        p += 1
    return p


def starts_with(data, start, end, text, size):
    """Whether ``data[start:end)`` begins with the ``size`` bytes of ``text``."""
    if end - start < size:
        return False
    for index in range(size):  # noqa: SIM110 - any() would be a generator, in C too
        if data[start + index] != text[index]:
            return False
    return True


def find_value(data, start, end, key, key_size):
    """The start of the value of the first line with this key, or -1; it ends at ``line_end``."""
    p = next_line(data, start, end)
    while p < end:
        if p + key_size < end and data[p + key_size] == COLON and starts_with(data, p, end, key, key_size):
            return skip_spaces(data, p + key_size + 1, end)
        p = next_line(data, p, end)
    return -1


def find_status(data, start, end):
    """The start of the text behind ``NATS/1.0``, such as ``503``; -1 if the block begins otherwise."""
    version = VERSION
    if not starts_with(data, start, end, version, VERSION_SIZE):
        return -1
    return skip_spaces(data, start + VERSION_SIZE, end)


def is_well_formed(data, start, end):
    """Whether all lines are as the top of this file says, the empty line last and nothing behind it."""
    if find_status(data, start, end) < 0:
        return False
    p = line_end(data, start, end)
    if p != start + VERSION_SIZE and data[start + VERSION_SIZE] != SPACE:
        return False
    p = next_line(data, start, end)
    while p < end:
        text_end = line_end(data, p, end)
        if text_end == p:
            return p + 2 == end
        if not _is_field(data, p, text_end):
            return False
        p = next_line(data, p, end)
    return False


def _is_field(data, start, end):
    """Whether a line is ``key:value``; a key is printable ASCII without spaces."""
    p = start
    while p < end and data[p] != COLON:
        if data[p] <= SPACE or data[p] > LAST_PRINTABLE:
            return False
        p += 1
    return start < p < end
