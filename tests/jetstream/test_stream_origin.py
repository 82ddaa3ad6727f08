"""The header Nats-Stream-Source: written and read as nats-server 2.15.1 does, and never forged by a message.

The literals are what nats-server stored.
"""

import pytest

from shardbroker.jetstream.source_config import (
    ExternalStream,
    StreamSource,
    SubjectTransformConfig,
)
from shardbroker.jetstream.stream_origin import Origin, index_of, name_parts, read_origin, with_origin

PLAIN = StreamSource(name="O", filter_subject="o.1")
CHANGED = StreamSource(name="O", subject_transforms=[SubjectTransformConfig("o.*", "z.{{wildcard(1)}}")])


@pytest.mark.parametrize(
    ("source", "subject", "sequence", "expected"),
    [
        (PLAIN, b"o.1", 2, b"O 2 o.1 > o.1 pdHSi3TU"),
        (CHANGED, b"o.0", 1, b"O 1 o.* z.{{wildcard(1)}} o.0 pdHSi3TU"),
        (StreamSource(name="P"), b"p.4", 104, b"P 104 > > p.4 pdHSi3TU"),
    ],
)
def test_a_message_without_headers(source, subject, sequence, expected):
    block = with_origin(b"", name_parts(source), sequence, subject, b"pdHSi3TU")
    assert block == b"NATS/1.0\r\nNats-Stream-Source: " + expected + b"\r\n\r\n"
    assert read_origin(block) == Origin(index_of(source), sequence, b"pdHSi3TU")


def test_what_was_said_to_the_origin_goes_and_the_rest_stays():
    block = (
        b"NATS/1.0\r\nNats-Msg-Id: one\r\nNats-Expected-Last-Sequence: 99\r\nX: y\r\n"
        b"Nats-Stream-Source: A 7 > > a.1 abcdefgh\r\n\r\n"
    )
    assert with_origin(block, name_parts(StreamSource(name="P")), 100, b"p.1", b"nj8Er4hx") == (
        b"NATS/1.0\r\nNats-Msg-Id: one\r\nX: y\r\nNats-Stream-Source: P 100 > > p.1 nj8Er4hx\r\n\r\n"
    )


def test_several_filters_are_one_word():
    transforms = [
        SubjectTransformConfig("p.1", "q.one"),
        SubjectTransformConfig("p.*.x", "q.{{wildcard(1)}}"),
    ]
    source = StreamSource(name="P", subject_transforms=transforms)
    block = with_origin(b"", name_parts(source), 100, b"p.1", b"nj8Er4hx")
    assert b": P 100 p.1\x0cp.*.x q.one\x0cq.{{wildcard(1)}} p.1 nj8Er4hx\r\n" in block
    assert read_origin(block).index == index_of(source)


def test_sources_of_one_stream_are_told_apart():
    far = StreamSource(name="O", external=ExternalStream("$JS.far.API", ""))
    sources = [PLAIN, CHANGED, far, StreamSource(name="O"), StreamSource(name="P")]
    assert len({index_of(source) for source in sources}) == len(sources)


@pytest.mark.parametrize("value", [b"", b"O", b"O x > >", b"O 1", b"O -1 > > a"])
def test_what_is_no_origin(value):
    assert read_origin(b"NATS/1.0\r\nNats-Stream-Source: " + value + b"\r\n\r\n") is None
    assert read_origin(b"NATS/1.0\r\nX: y\r\n\r\n") is None


def test_headers_before_2_14_have_no_identity():
    origin = read_origin(b"NATS/1.0\r\nNats-Stream-Source: O 5 > > o.1\r\n\r\n")
    assert origin == Origin(b"O > >", 5, b"")
