"""What the server writes to a client. Commands in, bytes out.

A message is ``MSG subject sid [reply ]#total CR LF payload CR LF``, or ``HMSG`` with ``#hdr`` before
``#total``. It falls into two pieces, because the second is the same for all receivers of one message and is,
when the parser calls it canonical, what the publisher sent:

    put_message_head   "MSG subject sid "               differs by subscription
    put_message_sizes  "[reply ][#hdr ]#total CR LF"    then the payload and CR LF: the caller copies them

The functions write into memory that the caller owns and has made large enough; they check nothing. The rest
of the file, off the hot path, returns bytes.
"""

SPACE = 0x20
CR = 0x0D
LF = 0x0A
ZERO = 0x30
UPPER_G = 0x47
UPPER_H = 0x48
UPPER_M = 0x4D
UPPER_S = 0x53

# "HMSG " and a space after subject, sid, reply and #hdr; two numbers of at most 19 digits; CR LF.
HEAD_CONSTANTS_SIZE = 5 + 4 + 2 * 19 + 2

OK_LINE = b"+OK\r\n"
PING_LINE = b"PING\r\n"
PONG_LINE = b"PONG\r\n"


def message_head_size_max(subject_size, sid_size, reply_size):
    """Bytes that both pieces of a message's head take at most, the payload not counted."""
    return HEAD_CONSTANTS_SIZE + subject_size + sid_size + reply_size


def put_bytes(target, position, source, start, end):
    """Copy ``source[start:end)``; for words, not for payloads."""
    for index in range(start, end):
        target[position] = source[index]
        position += 1
    return position


def put_number(target, position, value):
    """Write ``value`` >= 0 in decimal."""
    end = position + 1
    rest = value // 10
    while rest > 0:
        rest = rest // 10
        end += 1
    index = end - 1
    while index >= position:
        target[index] = ZERO + value % 10
        value = value // 10
        index -= 1
    return end


def put_message_head(target, position, with_header, subject, subject_size, sid, sid_size):
    """Write ``MSG subject sid`` or ``HMSG subject sid``, and a space."""
    if with_header:
        target[position] = UPPER_H
        position += 1
    target[position] = UPPER_M
    target[position + 1] = UPPER_S
    target[position + 2] = UPPER_G
    target[position + 3] = SPACE
    position = put_bytes(target, position + 4, subject, 0, subject_size)
    target[position] = SPACE
    position = put_bytes(target, position + 1, sid, 0, sid_size)
    target[position] = SPACE
    return position + 1


def put_message_sizes(target, position, reply, reply_size, header_size, total_size):
    """Write the reply if there is one, ``#hdr`` if ``header_size`` is not negative, ``#total`` and CR LF."""
    if reply_size > 0:
        position = put_bytes(target, position, reply, 0, reply_size)
        target[position] = SPACE
        position += 1
    if header_size >= 0:
        position = put_number(target, position, header_size)
        target[position] = SPACE
        position += 1
    position = put_number(target, position, total_size)
    target[position] = CR
    target[position + 1] = LF
    return position + 2


def error_line(text):
    """``-ERR 'text'``; the texts are nats-server's, clients compare them."""
    return b"-ERR '%s'\r\n" % text.encode()


def info_line(information):
    """``INFO json``, with the space that nats-server leaves before the line end."""
    return b"INFO %s \r\n" % information


def no_responders_header(subject):
    """The header block that tells a requester that nobody is subscribed to ``subject``."""
    return b"NATS/1.0 503\r\nNats-Subject: %s\r\n\r\n" % subject


def no_responders_message(reply, sid, subject):
    """The whole HMSG to the requester's subscription ``sid`` on ``reply``."""
    header = no_responders_header(subject)
    return b"HMSG %s %s %d %d\r\n%s\r\n" % (reply, sid, len(header), len(header), header)
