"""Property: the bytes that nats-server 2.15.1 stores and republishes, for well formed blocks and others.

The literals were read from it with STREAM.MSG.GET; a server is asked again for what it does to whole blocks.
"""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shardbroker.jetstream import header_block
from tests.jetstream.reference_stream import NO_NATS_SERVER, NO_NATS_SERVER_REASON, ReferenceStream

PLAIN = b"NATS/1.0\r\nA:b\r\na:  c \r\nA: d\r\nX-A: e\r\n\r\n"
BLOCKS = [
    PLAIN,
    b"NATS/1.0 503\r\nA: b\r\n\r\n",
    b"NATS/1.0 503 No\r\n\r\n",
    b"NATS/1.0\r\n\r\n",
    b"NATS/1.0  \r\nX: y\r\n\r\n",
    b"NATS/1.0\r\nNats-Request-Info: x\r\nA: 1\r\nNats-Request-Info: y\r\n\r\n",
    b"NATS/1.0\r\nNats-Request-Info: x\r\n\r\n",
    b"NATS/1.0\r\nMy-Nats-Request-Info: x\r\n\r\n",
    b"NATS/1.0\r\nnocolon\r\n\r\n",
    b"NATS/1.0\r\nA:\r\n\r\n",
    b"junk\r\n\r\n",
    b"NATS/1.0\r\nX: y",
]


@pytest.mark.parametrize(
    ("name", "value"), [(b"A", b"b"), (b"a", b"c "), (b"X-A", b"e"), (b"b", None), (b"NATS/1.0", None)]
)
def test_get(name, value):
    assert header_block.get(PLAIN, name) == value


def test_get_from_broken_blocks():
    assert header_block.get(b"NATS/1.0\r\nA: b", b"A") == b"b"
    assert header_block.get(b"NATS/1.0\r\nA:", b"A") == b""
    assert header_block.get(b"NATS/1.0\nA: b\r\n\r\n", b"A") is None
    assert header_block.get(b"A: b\r\n\r\n", b"A") is None
    assert header_block.get(b"", b"A") is None


def test_set_header():
    assert header_block.set_header(PLAIN, b"A", b"zz") == PLAIN.replace(b"A:b", b"A:zz", 1)
    assert header_block.set_header(PLAIN, b"a", b"z") == PLAIN.replace(b"a:  c ", b"a: z")
    assert header_block.set_header(PLAIN, b"N", b"1") == PLAIN[:-2] + b"N: 1\r\n\r\n"
    assert header_block.set_header(b"", b"N", b"1") == b"NATS/1.0\r\nN: 1\r\n\r\n"


def test_remove():
    assert header_block.remove(PLAIN, b"A") == b"NATS/1.0\r\na:  c \r\nX-A: e\r\n\r\n"
    assert header_block.remove(PLAIN, b"B") == PLAIN
    assert header_block.remove(b"NATS/1.0\r\nA: b\r\n\r\n", b"A") == b""
    assert header_block.remove(b"NATS/1.0\r\nA: b", b"A") == b"NATS/1.0\r\nA: b"


def test_remove_prefix():
    block = b"NATS/1.0\r\nNats-Expected-A: 1\r\nC: Nats-Expected-\r\nNats-Expected-: 3\r\n\r\n"
    assert header_block.remove_prefix(block, b"Nats-Expected-") == b"NATS/1.0\r\nC: Nats-Expected-\r\n\r\n"
    assert header_block.remove_prefix(b"NATS/1.0\r\nAb: 1\r\nAc: 2\r\n\r\n", b"A") == b""


def test_append():
    assert header_block.append(None, [(b"A", b"1")]) == b"NATS/1.0\r\nA: 1\r\n\r\n"
    assert header_block.append(b"", []) == b"NATS/1.0\r\n\r\n"
    added = header_block.append(PLAIN, [(b"B", b" 1 "), (b"C", b"x\r\nForged: y")])
    assert added == PLAIN[:-2] + b"B: 1\r\nC: x  Forged: y\r\n\r\n"


def test_strip_status():
    assert header_block.strip_status(b"NATS/1.0 503 No\r\nA: b\r\n\r\n") == b"NATS/1.0\r\nA: b\r\n\r\n"
    assert header_block.strip_status(b"NATS/1.0 503\r\n\r\n") == b""
    assert header_block.strip_status(b"NATS/1.0\r\n\r\n") == b"NATS/1.0\r\n\r\n"


def test_parse_pairs():
    assert header_block.parse_pairs(PLAIN) == [(b"A", b"b"), (b"a", b"c"), (b"A", b"d"), (b"X-A", b"e")]


names = st.from_regex(rb"[A-Za-z-]{1,12}", fullmatch=True)
values = st.from_regex(rb"([!-~]([ -~]{0,10}[!-~])?)?", fullmatch=True)


@given(st.lists(st.tuples(names, values), max_size=8), names)
def test_what_is_appended_is_found_until_it_is_removed(pairs, name):
    block = header_block.append(None, pairs)
    assert header_block.parse_pairs(block) == pairs
    assert header_block.get(block, name) == next((v for n, v in pairs if n == name), None)
    left = [pair for pair in pairs if pair[0] != name]
    removed = header_block.remove(block, name)
    assert header_block.parse_pairs(removed) == left
    assert removed == (block if left == pairs else header_block.append(None, left) if left else b"")


@pytest.mark.skipif(NO_NATS_SERVER, reason=NO_NATS_SERVER_REASON)
def test_stored_and_republished_by_nats_server():
    with ReferenceStream() as judge:
        judge.create("T", republish={"src": "T.>", "dest": "R.>"})
        judge.client.subscribe("R.>", 7)
        for block in BLOCKS:
            sequence = judge.store("T.a", b"body", block)["seq"]
            _, stored, _ = judge.stored("T", seq=sequence)
            mine = header_block.remove(header_block.strip_status(block), header_block.REQUEST_INFO)
            assert mine == stored, block
            judge.client.flush()
            (message,) = judge.client.take_messages()
            tail = message.headers[message.headers.index(b"Nats-Stream: ") :]
            added = header_block.parse_pairs(b"\r\n" + tail)
            assert len(added) == 5
            assert header_block.append(mine, added) == message.headers, block


@pytest.mark.skipif(NO_NATS_SERVER, reason=NO_NATS_SERVER_REASON)
def test_ttl_below_that_of_markers_is_rewritten_as_by_nats_server():
    with ReferenceStream() as judge:
        judge.create("M", allow_msg_ttl=True, subject_delete_marker_ttl=100_000_000_000)
        block = b"NATS/1.0\r\nNats-TTL:   5\r\nA: b\r\n\r\n"
        sequence = judge.store("M.a", b"", block)["seq"]
        mine = header_block.append(
            header_block.remove(block, header_block.MESSAGE_TTL), [(header_block.MESSAGE_TTL, b"100")]
        )
        assert judge.stored("M", seq=sequence)[1] == mine == b"NATS/1.0\r\nA: b\r\nNats-TTL: 100\r\n\r\n"
