"""The parser's records do not depend on how the stream is cut, on the mode it runs in, nor on parking.

Every byte string of ``wire_cases.py`` is fed whole, byte by byte, cut in two at every byte and with other
operations around it; the records, the error and the unconsumed bytes must be the same. What the records
should be is said here for the ordinary cases, and by ``test_against_nats_server.py`` for all.
"""

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shardbroker.protocol import states
from tests.protocol import wire_cases
from tests.protocol.feeding import Feeder, Outcome, feed_all, single_bytes
from tests.protocol.modes import load_compiled, load_interpreted

BOTH = (load_compiled(), load_interpreted())


def publish(subject, payload, reply=b"", header=b"", canonical=True):
    """The record of a PUB or HPUB."""
    sizes = [b"%d" % len(header)] if header else []
    sizes.append(b"%d" % len(header + payload))
    tail = b" ".join([reply, *sizes] if reply else sizes) + b"\r\n" + header + payload + b"\r\n"
    return (
        "HPUB" if header else "PUB",
        subject,
        reply,
        sizes[0] if header else b"",
        sizes[-1],
        len(header) if header else -1,
        len(header + payload),
        header + payload,
        tail if canonical else None,
    )


HEADER = b"NATS/1.0\r\n\r\n"
EXPECTED = [
    (b"PUB foo 2\r\nhi\r\n", [publish(b"foo", b"hi")]),
    (b"PUB foo bar 2\r\nhi\r\n", [publish(b"foo", b"hi", b"bar")]),
    (b"PUB foo 12x 2\r\nhi\r\n", [publish(b"foo", b"hi", b"12x")]),
    (b"PUB 1 2 2\r\nhi\r\n", [publish(b"1", b"hi", b"2")]),
    (b"PUB foo 0\r\n\r\n", [publish(b"foo", b"")]),
    (b"pub foo 2\r\nhi\r\n", [publish(b"foo", b"hi")]),
    (b"PUB\tfoo\t2\r\nhi\r\n", [publish(b"foo", b"hi", canonical=False)]),
    (b"PUB  foo 2\r\nhi\r\n", [publish(b"foo", b"hi")]),
    (b"PUB foo  2\r\nhi\r\n", [publish(b"foo", b"hi", canonical=False)]),
    (b"PUB foo 2 \r\nhi\r\n", [publish(b"foo", b"hi", canonical=False)]),
    (b"PUB foo bar\t2\r\nhi\r\n", [publish(b"foo", b"hi", b"bar", canonical=False)]),
    (b"PUB foo\tbar 2\nhi\r\n", [publish(b"foo", b"hi", b"bar", canonical=False)]),
    (b"PUB foo 2\nhi\r\n", [publish(b"foo", b"hi", canonical=False)]),
    (b"PUB foo 2 \nhi\r\n", [publish(b"foo", b"hi", canonical=False)]),
    (b"HPUB foo 12 14\r\n" + HEADER + b"hi\r\n", [publish(b"foo", b"hi", header=HEADER)]),
    (b"hpub foo bar 12 14\r\n" + HEADER + b"hi\r\n", [publish(b"foo", b"hi", b"bar", HEADER)]),
    (b"HPUB foo bar 12\t14\r\n" + HEADER + b"hi\r\n", [publish(b"foo", b"hi", b"bar", HEADER, False)]),
    (b"HPUB foo bar\t12 14\r\n" + HEADER + b"hi\r\n", [publish(b"foo", b"hi", b"bar", HEADER, False)]),
    (b"HPUB foo 12  14\r\n" + HEADER + b"hi\r\n", [publish(b"foo", b"hi", b"", HEADER, False)]),
    (b"HPUB foo 12 14\n" + HEADER + b"hi\r\n", [publish(b"foo", b"hi", b"", HEADER, False)]),
    (b"SUB foo 1\r\nSub foo queue 2\n", [("SUB", b"foo", b"", b"1"), ("SUB", b"foo", b"queue", b"2")]),
    (b"UNSUB 1\r\nUNSUB 1 5\r\n", [("UNSUB", b"1", -1), ("UNSUB", b"1", 5)]),
    (b"UNSUB 1 0\r\nUNSUB 1 x\r\n", [("UNSUB", b"1", 0), ("UNSUB", b"1", -1)]),
    (b"PING\r\nPONG\r\n+OK\r\n", [("PING",), ("PONG",), ("+OK",)]),
    (b"CONNECT {}\r\nconnect\t {}\n", [("CONNECT", b"{}")] * 2),
    (b"INFO {} \r\n", [("INFO", b"{} ")]),
    (b"-ERR 'no way'\r\n", [("-ERR", b"'no way'")]),
    # A CR anywhere costs the last byte; the first byte of an argument is no line end.
    (b"SUB f\roo 99\n", [("SUB", b"f", b"oo", b"9")]),
    (b"SUB \nfoo 9\r\n", [("SUB", b"foo", b"", b"9")]),
    (b"CONNECT \r\n", [("CONNECT", b"\r")]),
    (b"CONNECT\n{}\n", [("CONNECT", b"\n{}")]),
]


@pytest.mark.parametrize(("data", "records"), EXPECTED)
def test_expected_records(modules, data, records):
    assert feed_all(modules, [data]) == Outcome(records, states.ERROR_NONE, b"")


@pytest.mark.parametrize("data", wire_cases.ALL)
def test_cuts_do_not_matter(modules, data):
    whole = feed_all(modules, [data])
    assert feed_all(modules, single_bytes(data)) == whole
    for cut in wire_cases.cuts(data):
        assert feed_all(modules, [data[:cut], data[cut:]]) == whole, cut


@pytest.mark.parametrize("data", wire_cases.ALL)
def test_surroundings_do_not_matter(modules, data):
    whole = feed_all(modules, [data])
    ping = ("PING",)
    before = feed_all(modules, [b"PING\r\n" + data])
    assert before == whole._replace(records=[ping, *whole.records])
    if whole.error == states.ERROR_NONE and not whole.kept:
        after = feed_all(modules, [data + b"PING\r\nPI"])
        assert after == Outcome([*whole.records, ping], states.ERROR_NONE, b"PI")
        assert feed_all(modules, [data * 3]).records == whole.records * 3


@pytest.mark.parametrize("data", wire_cases.ALL)
def test_modes_agree(data):
    for headers_supported in (True, False):
        compiled, interpreted = (feed_all(modules, [data], headers_supported) for modules in BOTH)
        assert compiled == interpreted


ERRORS = [
    (b"X", states.ERROR_UNKNOWN_OPERATION),
    (b"PUX", states.ERROR_UNKNOWN_OPERATION),
    (b"HM", states.ERROR_UNKNOWN_OPERATION),
    (b"\r", states.ERROR_UNKNOWN_OPERATION),
    (b"PUB foo 2\r\nhi!", states.ERROR_UNKNOWN_OPERATION),
    (b"PUB foo 2\r\nhi\r!", states.ERROR_UNKNOWN_OPERATION),
    (b"PUB foo x\n", states.ERROR_ARGUMENT),
    (b"HPUB foo 3 2\r\n", states.ERROR_ARGUMENT),
    (b"SUB foo\r\n", states.ERROR_ARGUMENT),
    (b"SUB a b c d\r\n", states.ERROR_ARGUMENT),
    (b"UNSUB 1 2 3\r\n", states.ERROR_ARGUMENT),
    (b"UNSUB \r\n", states.ERROR_ARGUMENT),
    (b"PUB a b c 2\r\n", states.ERROR_ARGUMENT),
    (b"PUB foo \r\n", states.ERROR_ARGUMENT),
    (b"HPUB a b c 2 2\r\n", states.ERROR_ARGUMENT),
    (b"PUB foo 65\r\n", states.ERROR_MAX_PAYLOAD),
    (b"HPUB foo 12 65\n", states.ERROR_MAX_PAYLOAD),
    (b"PUB " + b"x" * 129, states.ERROR_CONTROL_LINE),
    (b"CONNECT " + b" " * 500 + b"x" * 129, states.ERROR_CONTROL_LINE),
    (b"-ERR " + b"x" * 128 + b" ", states.ERROR_CONTROL_LINE),
]


@pytest.mark.parametrize(("data", "error"), ERRORS)
def test_error_at_its_byte(modules, data, error):
    """Nothing is wrong before the last byte, and the error is final."""
    feeder = Feeder(modules)
    for byte in single_bytes(data):
        assert feeder.parser.error == states.ERROR_NONE
        feeder.feed(byte)
    assert feeder.parser.error == error
    assert feeder.feed(b"PING\r\n") == 0
    assert feeder.sink.records == []


def test_headers_unsupported(modules):
    for data in (b"HPUB foo 2 2\r\n", b"hpub x\r\n"):
        assert feed_all(modules, [data], False).error == states.ERROR_HEADERS_UNSUPPORTED
        assert feed_all(modules, [data[:-1]], False).error == states.ERROR_NONE


@pytest.mark.parametrize("data", [data for data, _records in EXPECTED])
def test_park_and_stop(modules, data):
    """A parked operation comes again and is not consumed; after a stop the rest is left."""
    operation = feed_all(modules, [data]).records[0]
    for parts in ([data], single_bytes(data)):
        feeder = Feeder(modules, answers=(states.PARK, states.PARK, states.STOP))
        before = b""
        for part in parts:
            before = feeder.kept + part
            feeder.feed(part)
            if feeder.sink.records:
                break
        assert feeder.sink.records == [operation]
        assert feeder.kept == before
        assert feeder.feed(b"") == 0
        assert feeder.sink.records == [operation] * 2
        consumed = feeder.feed(b"PING\r\n")
        assert consumed > 0 and feeder.sink.records == [operation] * 3
        feeder.feed(b"")
        assert feeder.kept == b"" and feeder.parser.error == states.ERROR_NONE


def test_exception_of_the_sink(modules):
    """It passes through feed(), and the operation can be offered again."""
    parser = modules.parser.Parser()
    data = b"PUB foo 2\r\nhi\r\n"
    for chunk in (data, b"ping\r\n", b"HPUB a 2 2\r\nhi\r\n"):
        with pytest.raises(NotImplementedError):
            parser.feed(chunk, 0, len(chunk), modules.sink.Sink())
    sink = modules.recording_sink.RecordingSink()
    assert parser.feed(data, 0, len(data), sink) == len(data)
    assert len(sink.records) == 1


def test_ignored_operations_of_the_base_sink(modules):
    data = b"PONG\r\nINFO {}\r\n+OK\r\n"
    assert modules.parser.Parser().feed(data, 0, len(data), modules.sink.Sink()) == len(data)


def test_need_says_the_size_of_the_whole_operation(modules):
    parser = modules.parser.Parser()
    sink = modules.recording_sink.RecordingSink()
    data = b"PUB foo 1000\r\n" + b"x" * 1000 + b"\r\n"
    assert parser.feed(data, 0, 10, sink) == 0 and parser.need == 0
    for end in (14, 15, 500, len(data) - 2, len(data) - 1):
        assert parser.feed(data, 0, end, sink) == 0
        assert parser.need == len(data)
    assert parser.feed(data, 0, len(data), sink) == len(data)
    assert parser.need == 0 and len(sink.records) == 1


def test_unfinished_operation_restarts_after_reset(modules):
    """Progress is only a hint: the bytes alone are enough to go on elsewhere."""
    for data in (b"PUB foo 5\r\nhello\r\n", b"SUB foo 1\r\n", b"PING\r\n", b'CONNECT {"a":1}\r\n'):
        whole = feed_all(modules, [data])
        for cut in range(1, len(data)):
            feeder = Feeder(modules)
            feeder.feed(data[:cut])
            assert feeder.parser.at_boundary()
            feeder.parser.reset()
            feeder.feed(data[cut:])
            assert feeder.outcome() == whole


def test_blanks_of_one_read_are_not_kept(modules):
    for end in (b"", b"fo", b"foo 2\r\n", b"foo 2\r\nh"):
        feeder = Feeder(modules)
        feeder.feed(b"PUB" + b" " * 500 + end)
        assert len(feeder.kept) == len(end)
        feeder.feed(b"foo 2\r\nhi\r\n"[len(end) :])
        assert feeder.sink.records == [publish(b"foo", b"hi")]
        assert feeder.kept == b"" and feeder.parser.at_boundary()


@pytest.mark.parametrize("name", [b"PING", b"PONG", b"+OK", b"PUB", b"SUB", b"CONNECT", b"-ERR"])
def test_endless_blanks_are_not_kept(modules, name):
    feeder = Feeder(modules)
    feeder.feed(name)
    for _read in range(100):
        feeder.feed(b" " * 50)
        assert len(feeder.kept) <= 16
    assert not feeder.parser.at_boundary()
    feeder.feed(b"x 2\r\n")
    assert feeder.parser.error == states.ERROR_NONE
    if name == b"PUB":
        feeder.feed(b"hi\r\n")
    assert len(feeder.sink.records) == 1 and feeder.parser.at_boundary()


class CountingBytes:
    """Bytes that count how often one of them is read (interpreted mode only)."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.reads = 0

    def __getitem__(self, key):
        if isinstance(key, slice):
            return self.data[key]
        self.reads += 1
        return self.data[key]


@pytest.mark.parametrize(
    "data",
    [
        b"PUB foo 60\r\n" + b"x" * 60 + b"\r\n",
        b"SUB " + b"s" * 120 + b" 1\r\n",
        b"CONNECT {" + b" " * 110 + b"}\r\n",
        b"PING" + b" " * 500 + b"\r\n",
        b"PUB" + b" " * 500 + b"foo 2\r\nhi\r\n",
    ],
)
def test_work_is_linear_in_bytes_received(data):
    """Byte by byte costs a constant per feed (the name is walked again) and no scan of what was seen."""
    modules = BOTH[1]
    parser = modules.parser.Parser()
    sink = modules.recording_sink.RecordingSink()
    buffer = CountingBytes(data)
    position = 0
    for end in range(1, len(data) + 1):
        position = parser.feed(buffer, position, end, sink)
    assert position == len(data) and len(sink.records) == 1
    assert buffer.reads <= 16 * len(data) + 64


words = st.text("abcXYZ019.*>_$-", min_size=1, max_size=12).map(str.encode)
blanks = st.sampled_from([b" ", b" ", b" ", b"  ", b"\t", b" \t "])
line_ends = st.sampled_from([b"\r\n", b"\r\n", b"\n"])


@st.composite
def operations(draw):
    """One operation as bytes, and its record."""
    kind = draw(st.sampled_from(["PUB", "HPUB", "SUB", "UNSUB", "PING", "CONNECT"]))
    name = draw(st.sampled_from([kind, kind.lower(), kind.title()])).encode()
    blank, line_end = draw(blanks), draw(line_ends)
    canonical = blank == b" " and line_end == b"\r\n"
    if kind in ("PUB", "HPUB"):
        payload = draw(st.binary(max_size=20))
        header = b"NATS/1.0\r\n\r\n" if kind == "HPUB" else b""
        subject, reply = draw(words), draw(st.one_of(st.just(b""), words))
        record = publish(subject, payload, reply, header, canonical)
        arguments = [subject, *([reply] if reply else []), *record[3:5]] if header else None
        arguments = arguments or [subject, *([reply] if reply else []), record[4]]
        return blank.join([name, *arguments]) + line_end + header + payload + b"\r\n", record
    if kind == "SUB":
        subject, queue, sid = draw(words), draw(st.one_of(st.just(b""), words)), draw(words)
        line = blank.join([name, subject, *([queue] if queue else []), sid])
        return line + line_end, ("SUB", subject, queue, sid)
    if kind == "UNSUB":
        sid, maximum = draw(words), draw(st.integers(-1, 10**9 - 1))
        line = blank.join([name, sid, *([b"%d" % maximum] if maximum >= 0 else [])])
        return line + line_end, ("UNSUB", sid, maximum)
    if kind == "PING":
        return name + line_end, ("PING",)
    argument = b'{"verbose":false}'
    return name + blank + argument + line_end, ("CONNECT", argument)


@settings(max_examples=150, deadline=None)
@given(stream=st.lists(operations(), max_size=8), cuts=st.lists(st.integers(0, 400), max_size=6))
def test_round_trip(stream, cuts):
    """What is written by the rules is read back, however the stream is cut."""
    data = b"".join(text for text, _record in stream)
    places = sorted({0, len(data), *(cut for cut in cuts if cut < len(data))})
    parts = [data[first:last] for first, last in pairwise(places)]
    expected = Outcome([record for _text, record in stream], states.ERROR_NONE, b"")
    for modules in BOTH:
        assert feed_all(modules, parts) == expected


@settings(max_examples=150, deadline=None)
@given(
    data=st.lists(st.sampled_from([*wire_cases.ALL, b" ", b"\r", b"\n", b"0", b"PUB ", b"\x00"]), max_size=6),
    cuts=st.lists(st.integers(0, 1000), max_size=6),
)
def test_cuts_do_not_matter_in_nonsense(data, cuts):
    data = b"".join(data)
    places = sorted({0, len(data), *(cut for cut in cuts if cut < len(data))})
    parts = [data[first:last] for first, last in pairwise(places)]
    outcomes = [feed_all(modules, reads) for modules in BOTH for reads in ([data], parts)]
    assert all(outcome == outcomes[0] for outcome in outcomes)
