"""Property: counters store what nats-server 2.15.1 stores, local ones and those filled from other streams."""

import itertools
import random
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shardbroker.jetstream import counters, header_block
from shardbroker.jetstream.counters import CounterError, apply_increment, check_increment, parse_increment
from tests.jetstream.reference_stream import NO_NATS_SERVER, NO_NATS_SERVER_REASON, ReferenceStream

MIRRORED_WITHIN_S = 10.0


def block_of(value: bytes, more: bytes = b"") -> bytes:
    return b"NATS/1.0\r\nNats-Incr: " + value + b"\r\n" + more + b"\r\n"


GOOD = [(b"5", 5), (b"+5", 5), (b"-0", 0), (b" 7", 7), (b"007", 7), (b"-12", -12), (b"", None)]
BAD = [b"1_0", b"7 ", b"0x5", b"--5", b"-", b"1.0", b"1e3", b"\xd9\xa1"]
# header lines, payload size, counters allowed, error
CHECKS = [
    (b"", 0, True, None),
    (b"", 0, False, counters.DISABLED),
    (b"", 1, True, counters.PAYLOAD),
    (b"", 1, False, counters.DISABLED),
    (b"Nats-Rollup: sub\r\n", 0, True, counters.INVALID),
    (b"Nats-Rollup: sub\r\n", 1, True, counters.PAYLOAD),
    (b"Nats-Expected-Last-Sequence: x\r\n", 0, True, counters.INVALID),
    (b"Nats-Expected-Last-Subject-Sequence: 0\r\n", 0, True, counters.INVALID),
    (b"Nats-Expected-Last-Subject-Sequence: \r\n", 0, True, None),
    (b"Nats-Expected-Last-Subject-Sequence-Subject: \r\n", 0, True, None),
    (b"Nats-Expected-Last-Msg-Id: x\r\n", 0, True, counters.INVALID),
    (b"Nats-Expected-Stream: K\r\n", 0, True, counters.INVALID),
    (b"Nats-Msg-Id: x\r\n", 0, True, None),
]


@pytest.mark.parametrize(("text", "number"), GOOD)
def test_increment(text, number):
    assert parse_increment(block_of(text)) == number


@pytest.mark.parametrize("text", BAD)
def test_no_increment(text):
    with pytest.raises(CounterError) as caught:
        parse_increment(block_of(text))
    assert caught.value.err_code == counters.INVALID


@pytest.mark.parametrize(("lines", "size", "allowed", "err_code"), CHECKS)
def test_checks(lines, size, allowed, err_code):
    try:
        assert check_increment(block_of(b"1", lines), size, allowed) == 1
        seen = None
    except CounterError as error:
        seen = error.err_code
    assert seen == err_code


def test_no_header_is_no_increment():
    assert check_increment(b"", 5, False) is None


def test_local():
    block, payload, value = apply_increment(b"k", block_of(b"5"), b"", 5, None)
    assert (block, payload, value) == (block_of(b"5"), b'{"val":"5"}', b"5")
    assert apply_increment(b"k", block_of(b"-7"), b"", -7, (block, payload))[1:] == (b'{"val":"-2"}', b"-2")


def test_sourced():
    """What nats-server 2.15.1 made of 3 from A, 4 from B, 100 of its own, and -5 from A."""
    a3 = block_of(b"3", b"Nats-Stream-Source: A 11 A.> C.> A.k nAjRTKMT\r\n")
    block, payload, _ = apply_increment(b"C.k", a3, b'{"val":"3"}', 3, None)
    assert block == a3[:-2] + b'Nats-Counter-Sources: {"A":{"A.k":"3"}}\r\n\r\n'
    b4 = block_of(b"4", b"Nats-Stream-Source: B 2 B.> C.> B.k iYnQ4ceB\r\n")
    block, payload, _ = apply_increment(b"C.k", b4, b'{"val":"4"}', 4, (block, payload))
    both = b'Nats-Counter-Sources: {"A":{"A.k":"3"},"B":{"B.k":"4"}}\r\n\r\n'
    assert (block, payload) == (b4[:-2] + both, b'{"val":"7"}')
    block, payload, value = apply_increment(b"C.k", block_of(b"100"), b"", 100, (block, payload))
    assert (block, payload, value) == (block_of(b"100")[:-2] + both, b'{"val":"107"}', b"107")
    a5 = block_of(b"-5", b"Nats-Stream-Source: A 12 A.> C.> A.k nAjRTKMT\r\n")
    block, payload, _ = apply_increment(b"C.k", a5, b'{"val":"-2"}', -5, (block, payload))
    assert block == a5[:-2] + both.replace(b'"3"', b'"-2"')
    assert payload == b'{"val":"102"}'


def test_increment_of_a_lost_message_is_made_up():
    origin = b"Nats-Stream-Source: A 1 > > k\r\n"
    block, payload, _ = apply_increment(b"k", block_of(b"3", origin), b'{"val":"3"}', 3, None)
    block, payload, value = apply_increment(b"k", block_of(b"1", origin), b'{"val":"9"}', 1, (block, payload))
    assert (header_block.get(block, b"Nats-Incr"), value) == (b"6", b"9")


def test_sources_are_escaped():
    sources = {"B": {"x<y>&": "10"}, "A": {}}
    assert counters.write_sources(sources) == b'{"A":{},"B":{"x\\u003cy\\u003e\\u0026":"10"}}'
    assert counters.read_sources(counters.write_sources(sources)) == sources


@pytest.mark.parametrize("payload", [b"", b"5", b"x", b'{"val":5}', b'["5"]'])
def test_broken_value(payload):
    with pytest.raises(CounterError) as caught:
        apply_increment(b"k", block_of(b"1"), b"", 1, (b"", payload))
    assert caught.value.err_code == counters.BROKEN


@pytest.mark.parametrize("text", [b"x", b"5", b'{"A":5}', b'{"A":{"k":5}}'])
def test_broken_sources(text):
    with pytest.raises(CounterError) as caught:
        counters.read_sources(text)
    assert caught.value.err_code == counters.BROKEN


def test_no_value_is_zero():
    assert [counters.read_value(text) for text in (b"{}", b"null", b'{"VAL":"7"}', b'{"val":"x"}')] == [
        0,
        0,
        7,
        0,
    ]


@given(st.integers(), st.sampled_from([1, 10**5000, -(10**9001)]))
def test_numbers_of_any_size(number, factor):
    number *= factor
    text = counters._to_text(number)
    assert counters._to_integer(text) == number
    assert (text[:1] == b"-") == (number < 0)


@pytest.mark.skipif(NO_NATS_SERVER, reason=NO_NATS_SERVER_REASON)
def test_against_nats_server():
    """The same increments there and here; a third stream adds up two others, whose messages mix."""
    chance = random.Random(2)
    with ReferenceStream() as judge:
        for name in ("A", "B"):
            judge.create(name, allow_msg_counter=True)
        sources = [
            {"name": name, "subject_transforms": [{"src": f"{name}.>", "dest": "C.>"}]} for name in ("A", "B")
        ]
        judge.create("C", allow_msg_counter=True, sources=sources)
        for value in [text for text, _ in GOOD] + BAD:
            answer = judge.store("A.syntax", b"", block_of(value))
            try:
                expected = None if parse_increment(block_of(value)) is not None else counters.MISSING
            except CounterError as error:
                expected = error.err_code
            assert answer.get("err_code") == expected, value
        for lines, size, allowed, err_code in CHECKS:
            if allowed:
                assert judge.store("B.check", b"x" * size, block_of(b"1", lines)).get("err_code") == err_code
        for _ in range(40):
            stream, step = chance.choice("ABC"), chance.randint(-(10**25), 10**25)
            judge.store(f"{stream}.k", b"", block_of(b"%d" % step))
        compare_stored(judge)


def compare_stored(judge: ReferenceStream) -> None:
    """Every message of C follows from the one before on its subject, by the rules here."""
    deadline = time.monotonic() + MIRRORED_WITHIN_S
    while any(source["lag"] for source in judge.api("STREAM.INFO.C")["sources"]):
        assert time.monotonic() < deadline, "the streams were not sourced in time"
        time.sleep(0.02)
    last: dict[bytes, tuple[bytes, bytes]] = {}
    of_origin: dict[tuple[bytes, bytes], bytes] = {}
    for name in ("A", "B"):
        for sequence in itertools.count(1):
            if sequence > judge.api(f"STREAM.INFO.{name}")["state"]["last_seq"]:
                break
            of_origin[name.encode(), b"%d" % sequence] = judge.stored(name, seq=sequence)[1:]
    for sequence in range(1, judge.api("STREAM.INFO.C")["state"]["last_seq"] + 1):
        subject, block, payload = judge.stored("C", seq=sequence)
        origin = header_block.get(block, header_block.STREAM_SOURCE)
        if origin is None:
            sent = header_block.remove(block, header_block.COUNTER_SOURCES), b""
        else:
            name, number = origin.split(b" ")[:2]
            sent_block, sent_payload = of_origin[name, number]
            sent = header_block.append(sent_block, [(header_block.STREAM_SOURCE, origin)]), sent_payload
        increment = parse_increment(sent[0])
        assert apply_increment(subject, *sent, increment, last.get(subject))[:2] == (block, payload)
        last[subject] = (block, payload)
