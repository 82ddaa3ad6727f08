"""Header lookup agrees with a slow reading of its rules, and never looks outside of the block."""

from hypothesis import given
from hypothesis import strategies as st

from tests.protocol.modes import load_compiled, load_interpreted

BOTH = (load_compiled(), load_interpreted())
HOST = b"X: outside\r\n\r\n"


def find(modules, block: bytes, key: bytes) -> bytes | None:
    """The value of a key, with the block in the middle of other bytes that look like headers."""
    data = HOST + block + HOST
    start, end = len(HOST), len(HOST) + len(block)
    position = modules.headers.find_value(data, start, end, key, len(key))
    if position < 0:
        return None
    assert start <= position <= end
    return data[position : modules.headers.line_end(data, position, end)]


def status(modules, block: bytes) -> bytes | None:
    data = HOST + block + HOST
    start, end = len(HOST), len(HOST) + len(block)
    position = modules.headers.find_status(data, start, end)
    return None if position < 0 else data[position : modules.headers.line_end(data, position, end)]


def is_well_formed(modules, block: bytes) -> bool:
    data = HOST + block + HOST
    return bool(modules.headers.is_well_formed(data, len(HOST), len(HOST) + len(block)))


def test_find_value(modules):
    block = b"NATS/1.0\r\nA: 1\r\nNats-Msg-Id:id\r\nA: 2\r\nEmpty:\r\nSpaces:   x y \r\nLone: a\rb\nc\r\n\r\n"
    assert find(modules, block, b"A") == b"1"
    assert find(modules, block, b"Nats-Msg-Id") == b"id"
    assert find(modules, block, b"Empty") == b""
    assert find(modules, block, b"Spaces") == b"x y "
    assert find(modules, block, b"Lone") == b"a\rb\nc"
    for key in (b"a", b"NATS/1.0", b"Nats-Msg", b"nats-msg-id", b"Msg-Id", b"X", b"", b"b\nc"):
        assert find(modules, block, key) is None, key


def test_find_value_in_broken_blocks(modules):
    assert find(modules, b"", b"A") is None
    assert find(modules, b"A: 1\r\n\r\n", b"A") is None  # the first line holds no key
    assert find(modules, b"NATS/1.0\r\nA: 1", b"A") == b"1"
    assert find(modules, b"NATS/1.0\r\nA:", b"A") == b""
    assert find(modules, b"NATS/1.0\r\nA", b"A") is None
    assert find(modules, b"NATS/1.0\r\nA:  ", b"A") == b""
    assert find(modules, b"NATS/1.0\r\nA: 1\r", b"A") == b"1\r"
    assert find(modules, b"NATS/1.0\nA: 1\r\n\r\n", b"A") is None


def test_status(modules):
    assert status(modules, b"NATS/1.0\r\n\r\n") == b""
    assert status(modules, b"NATS/1.0 503\r\n\r\n") == b"503"
    assert status(modules, b"NATS/1.0   100 Idle Heartbeat\r\n\r\n") == b"100 Idle Heartbeat"
    assert status(modules, b"NATS/1.0") == b""
    assert status(modules, b"NATS/1.") is None
    assert status(modules, b"HTTP/1.0 200\r\n\r\n") is None


def test_well_formed(modules):
    for block in (
        b"NATS/1.0\r\n\r\n",
        b"NATS/1.0 503\r\n\r\n",
        b"NATS/1.0\r\nA:b\r\n\r\n",
        b"NATS/1.0\r\nA: b\r\nA:\r\n!~:x:y\r\n\r\n",
        b"NATS/1.0\r\nA: caf\xc3\xa9\r\n\r\n",
    ):
        assert is_well_formed(modules, block), block
    for block in (
        b"",
        b"NATS/1.0",
        b"NATS/1.0\r\n",
        b"NATS/1.0x\r\n\r\n",
        b"NATS/1.1\r\n\r\n",
        b"NATS/1.0\r\nA\r\n\r\n",
        b"NATS/1.0\r\n:x\r\n\r\n",
        b"NATS/1.0\r\nA b: x\r\n\r\n",
        b"NATS/1.0\r\nA : x\r\n\r\n",
        b"NATS/1.0\r\n\xc3\xa9: x\r\n\r\n",
        b"NATS/1.0\r\nA: b\r\n",
        b"NATS/1.0\r\nA: b\r\n\r\nx",
        b"NATS/1.0\r\n\r\nA: b\r\n\r\n",
        b"NATS/1.0\n\n",
    ):
        assert not is_well_formed(modules, block), block


def slow_find(block: bytes, key: bytes) -> bytes | None:
    """The rules, said with split()."""
    for line in block.split(b"\r\n")[1:]:
        if line.startswith(key + b":"):
            return line[len(key) + 1 :].lstrip(b" ")
    return None


pieces = st.sampled_from([b"NATS/1.0", b"A", b"AB", b":", b" ", b"\r\n", b"\r", b"\n", b"x", b"A: 1\r\n"])


@given(st.lists(pieces, max_size=12), st.sampled_from([b"A", b"AB", b"x", b"A:"]))
def test_find_value_by_the_rules(block_pieces, key):
    block = b"".join(block_pieces)
    for modules in BOTH:
        assert find(modules, block, key) == slow_find(block, key)


keys = st.text("ABCabc-19", min_size=1, max_size=8).map(str.encode)
values = st.text("xyz :-", max_size=8).map(lambda text: text.strip().encode())


@given(st.lists(st.tuples(keys, values), max_size=6))
def test_round_trip(fields):
    block = b"NATS/1.0\r\n" + b"".join(b"%s: %s\r\n" % field for field in fields) + b"\r\n"
    for modules in BOTH:
        assert is_well_formed(modules, block)
        for key, _value in fields:
            assert find(modules, block, key) == next(value for name, value in fields if name == key)
