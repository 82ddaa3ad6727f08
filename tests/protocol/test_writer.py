"""What the server writes is what a client expects: sizes, spaces, line ends, at every width of a number."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.protocol.modes import load_compiled, load_interpreted

BOTH = (load_compiled(), load_interpreted())


def message(modules, subject, sid, reply, header_size, total_size) -> bytes:
    """Both pieces of a message's head, written into a buffer of exactly the promised size."""
    writer = modules.writer
    room = writer.message_head_size_max(len(subject), len(sid), len(reply))
    target = bytearray(b"#" * (room + 8))
    with_header = header_size >= 0
    position = writer.put_message_head(target, 4, with_header, subject, len(subject), sid, len(sid))
    position = writer.put_message_sizes(target, position, reply, len(reply), header_size, total_size)
    assert position <= room + 4
    assert target[:4] == b"####" and set(target[position:]) <= {ord("#")}
    return bytes(target[4:position])


def test_message_heads(modules):
    assert message(modules, b"foo", b"1", b"", -1, 0) == b"MSG foo 1 0\r\n"
    assert message(modules, b"foo", b"12", b"bar", -1, 10) == b"MSG foo 12 bar 10\r\n"
    assert message(modules, b"foo", b"1", b"", 0, 5) == b"HMSG foo 1 0 5\r\n"
    assert message(modules, b"foo", b"1", b"bar", 12, 1048576) == b"HMSG foo 1 bar 12 1048576\r\n"


@pytest.mark.parametrize("exponent", range(19))
def test_numbers(modules, exponent):
    for value in (10**exponent - 1, 10**exponent, 10**exponent + 1):
        target = bytearray(b"#" * 22)
        position = modules.writer.put_number(target, 1, value)
        assert target[1:position] == b"%d" % value
        assert target[0] == ord("#") and set(target[position:]) == {ord("#")}


def test_put_bytes(modules):
    target = bytearray(8)
    assert modules.writer.put_bytes(target, 2, b"abcdef", 1, 4) == 5
    assert target == b"\0\0bcd\0\0\0"
    assert modules.writer.put_bytes(target, 2, b"abcdef", 3, 3) == 2


words = st.binary(min_size=1, max_size=30)
sizes = st.integers(0, 10**9 - 1)


@given(words, words, st.binary(max_size=30), st.integers(-1, 10**9 - 1), sizes)
def test_message_by_the_rules(subject, sid, reply, header_size, total_size):
    parts = [b"MSG" if header_size < 0 else b"HMSG", subject, sid]
    parts += [reply] if reply else []
    parts += [b"%d" % size for size in (header_size, total_size) if size >= 0]
    for modules in BOTH:
        assert message(modules, subject, sid, reply, header_size, total_size) == b" ".join(parts) + b"\r\n"


def test_lines(modules):
    writer = modules.writer
    assert writer.error_line("Stale Connection") == b"-ERR 'Stale Connection'\r\n"
    assert writer.info_line(b"{}") == b"INFO {} \r\n"
    assert (writer.OK_LINE, writer.PING_LINE, writer.PONG_LINE) == (b"+OK\r\n", b"PING\r\n", b"PONG\r\n")


def test_no_responders(modules):
    """As nats-server 2.15.1 sends it for a request to "nobody"."""
    expected = b"HMSG _INBOX.a 9 38 38\r\nNATS/1.0 503\r\nNats-Subject: nobody\r\n\r\n\r\n"
    assert modules.writer.no_responders_message(b"_INBOX.a", b"9", b"nobody") == expected
    block = modules.writer.no_responders_header(b"nobody")
    assert modules.headers.is_well_formed(block, 0, len(block))
