"""Property: a body that nats-server cannot take is refused in the same words, at the same offset.

Each body goes to STREAM.CREATE of a real nats-server and through `decode`. What nats-server accepts, or
refuses for another reason than its JSON, must be decoded. Random bodies are made by damaging good ones.
"""

import json
import random
from collections.abc import Iterator

import pytest

from shardbroker.jetstream.source_config import STREAM_SOURCE
from shardbroker.jetstream.stream_config import STREAM_CONFIG_REQUEST, read_config_request
from shardbroker.jetstream.strict_json import (
    RequestJsonError,
    decode,
    decode_loosely,
    is_empty_request,
    is_object_or_array,
)
from tests.jetstream.judge import Judge


@pytest.fixture(scope="module")
def judge() -> Iterator[Judge]:
    running = Judge()
    yield running
    running.close()


@pytest.fixture(scope="module")
def loose_judge() -> Iterator[Judge]:
    running = Judge("jetstream { strict: false }")
    yield running
    running.close()


def compare(judge: Judge, body: bytes, *, strict: bool = True) -> str | None:
    """Both refuse it with the same text, which is returned, or neither does."""
    answer = json.loads(judge.ask("$JS.API.STREAM.CREATE.other", body))
    error = answer.get("error", {})
    theirs = error["description"] if error.get("err_code") == 10025 else None
    try:
        read_config_request(body, strict=strict)
        ours = None
    except RequestJsonError as refused:
        ours = f"invalid JSON: {refused}"
    assert ours == theirs, body
    return ours


SYNTAX = [
    b"", b" \n", b"null", b"[]", b'"a"', b"1", b"true", b"{", b"[", b'"', b"{nope", b"{1:2}", b"[1,]", b",",
    b":", b"}", b"]", b", 1", b"{}{}", b"{} {} x", b"{},", b"{} , {}", b'{"a"', b'{"a" ', b'{"a":',
    b'{"a":1 ', b'{"a" 1}', b'{"a":1 "b"}', b'{"a":1,}', b'{"a":}', b'{"a":]', b"[}", b'{"a":1]', b"[1}",
    b"nul", b"nulx", b"tru", b"falze", b"-", b"-x", b"1.", b"1.x", b"1.5.", b"1e", b"1e+", b"1ex", b"1e5e",
    b"01", b"-01", b"+1", b'{"a":"\\u12G4"}', b'{"a":"\\u12', b'{"a":"\\u1"}', b'{"a":"\\', b'{"a":"\\q"}',
    b'{"a":"\\`"}', b'{"a":"\\\xc3\xa9"}', b'{"a":"\\ "}', b'{"a":"\\ud800\\u12"}', b'{"a":"\\ud800\\uZ"}',
    b'{"a":"\x01"}', b'{"a":"\t"}', b'{"a\x02":1}', b'{"a":\x00}', b'{"a":\x7f}', b'{"a":\xc3\xa9}',
    b'{"a":\xe2\x82}', b'{"a":"\xe2\x82"}', b'{"a":"\xe2\x82', b"{'a':1}", b"\xff", b"{}\xff", b"{}5",
    b"{} [", b'{"a":\xe2\x80\xa8}', b"[" * 10000, b"[" * 10001, b'{"a":' * 10001,
    b'{"name":"\\ud83d\\ude00\\ud83d"}', b"{} {nope",
]  # fmt: skip

VALUES = [
    b"null", b"1", b"-1", b"-0", b"1.5", b"1e3", b"99999999999999999999", b"3000000000", b'"a"', b'""',
    b"true", b"false", b"[]", b"[1]", b"[null]", b'["a"]', b"[{}]", b'[["a"]]', b"{}", b'{"a":1}',
    b'{"a":"b"}', b'{"name":1}', b'{"NAME":{}}', b'[{"name":[]}]', b'{"tags":[1]}', b'{"src":1}',
    b'{"max_ack_pending":"x"}', b'[{"subject_transforms":[{"src":1}]}]', b'{"external":{"api":1}}',
    b'{"opt_start_time":1}', b'{"opt_start_time":null}', b'{"12":1}', b'{"a/b~c":1}', b'{"x.1":1}',
    b'{ "a" : [1, 2] }', b'"lim\\u0069ts"', b'"limits"', b'"NEW"', b'"memory"', b'"s2"', b'"s\\u0032"',
    b'"async"', b'"\xff\xc3\xa9\xe2\x80\x8b"', b'{"consumer":{"Deliver_Subject":1}}',
]  # fmt: skip


def test_syntax(judge: Judge, loose_judge: Judge) -> None:
    """What is no JSON; a server that is not strict has other words and no offsets."""
    refused = [compare(judge, body) for body in SYNTAX]
    assert sum(text is not None for text in refused) > 60
    for body in SYNTAX:
        compare(loose_judge, body, strict=False)


def test_values_in_every_field(judge: Judge) -> None:
    """Each value in each field of a stream's configuration."""
    refused = 0
    for field in STREAM_CONFIG_REQUEST.fields:
        for value in VALUES:
            refused += compare(judge, b'{"%s":%s}' % (field.encode(), value)) is not None
    assert refused > 500


def test_values_in_every_field_of_a_source(judge: Judge) -> None:
    """The same one floor down."""
    for field in STREAM_SOURCE.fields:
        for value in VALUES:
            compare(judge, b'{"mirror":{"%s":%s}}' % (field.encode(), value))
            compare(judge, b'{"sources":[{"name":"a"},{"%s":%s}]}' % (field.encode(), value))


@pytest.mark.parametrize(
    "key",
    [
        "foo",
        "Name",
        "nAmE",
        "\u017ftorage",
        "max_m\u017fg\u017f",
        "\u212a",
        "na_me",
        "name ",
        'q"\\u0001\u00e9',
    ],
)
def test_keys(judge: Judge, loose_judge: Judge, key: str) -> None:
    """Case does not matter, also for two characters outside ASCII; unknown ones are quoted."""
    body = b'{"%s":1}' % key.replace('"', '\\"').encode()
    compare(judge, body)
    compare(loose_judge, body, strict=False)


def test_the_first_error_counts(judge: Judge) -> None:
    """In the order of the text, syntax before all."""
    for body in (
        b'{"foo":1,"max_msgs":"a"}', b'{"max_msgs":"a","foo":1}', b'{"max_msgs":"a","storage":"zz"}',
        b'{"storage":"zz","max_msgs":"a"}', b'{"foo":1,"max_msgs":}', b'{"foo":1}{',
        b'{"name":"x"}{"name":1}',
    ):  # fmt: skip
        assert compare(judge, body) is not None


TIMES = [
    "", "2020", "2020-01-01", "2020-13-01T00:00:00Z", "2020-02-30T00:00:00Z", "2020-01-01T24:00:00Z",
    "2020-01-01T1:00:00Z", "2020-01-01T00:60:00Z", "2020-01-01T00:00:60Z", "2020-01-01T00:00:00",
    "2020-01-01T00:00:00,5Z", "2020-01-01T00:00:00.Z", "2020-01-01T00:00:00.1234567891234Z",
    "2020-01-01T00:00:00+25:00", "2020-01-01T00:00:00-24:61", "2020-01-01T00:00:00*01:00",
    "2020-01-01T00:00:00Zx", "2020-01-01 00:00:00Z", "2020-01-01t00:00:00z", "2020-1-01T00:00:00Z",
    "0001-01-01T00:00:00Z", "9999-12-31T23:59:59.999999999Z", "+020-01-01T00:00:00Z",
    '2020-01-01T00:00:00\u00e9"\\\n', "2020-00-10T00:00:00Z", "2020-01-00T00:00:00Z",
    "2020-01-01T00:00:00+0100", "2020-01-01T00:00:00+01:0x", "0000-01-01T00:00:00Z",
    "2020-01-01T00:00:00-01:30", "2100-02-29T00:00:00Z", "2020-01-01T00:00:00.10Z",
    "\u0662020-01-01T00:00:00Z", "2020-01-01T00:00:00\u0661Z",
]  # fmt: skip


def test_times(judge: Judge) -> None:
    """Go's words for what is no time, and Go's spelling of what is one."""
    for text in TIMES:
        source = {"name": "up", "opt_start_time": text}
        if compare(judge, json.dumps({"sources": [source]}).encode()) is None:
            body = json.dumps({"name": "timed", "sources": [source]}).encode()
            answer = json.loads(judge.ask("$JS.API.STREAM.CREATE.timed", body))
            judge.ask("$JS.API.STREAM.DELETE.timed")
            ours = read_config_request(body)[0].sources[0].opt_start_time
            assert answer["config"]["sources"][0]["opt_start_time"] == ours, text


GOOD = (
    b'{"name":"x","subjects":["a.*","b\\u00e9"],"max_msgs":-12,"max_age":100000000,"retention":"limits",'
    b'"sealed":false,"mirror":{"name":"m","opt_start_time":"2020-01-01T00:00:00Z",'
    b'"subject_transforms":[{"src":"a","dest":""}]},'
    b'"metadata":{"k":"v","":"\\n"},"placement":null}'
)


@pytest.mark.parametrize("seed", range(3))
def test_damaged_bodies(judge: Judge, seed: int) -> None:
    """A byte changed, left out, doubled, or the rest cut off."""
    chance = random.Random(seed)
    assert compare(judge, GOOD) is None
    refused = 0
    for _ in range(400):
        body = bytearray(GOOD)
        at = chance.randrange(len(body))
        damage = chance.randrange(4)
        if damage == 0:
            body[at] = chance.choice(b'{}[]:,"\\0-1.eEntf \x00\xff\xc3u')
        elif damage == 1:
            del body[at]
        elif damage == 2:
            body[at:at] = body[at : at + chance.randrange(1, 9)]
        else:
            del body[at:]
        refused += compare(judge, bytes(body)) is not None
    assert 200 < refused < 400


def test_values_are_decoded() -> None:
    """What comes out of a body with everything, given twice, in two values."""
    body = (
        b'{"NAME":"a","max_msgs":5,"metadata":{"k":"1"},"sources":[{"name":"q","filter_subject":"f"}]}'
        b'{"name":null,"metadata":{"l":null},"sources":[{"name":"r"}],'
        b'"subjects":["\xff\\ud800"],"pedantic":true}'
    )
    assert decode(body, STREAM_CONFIG_REQUEST) == {
        "name": "a",
        "max_msgs": 5,
        "metadata": {"k": "1", "l": ""},
        "sources": [{"name": "r", "filter_subject": "f"}],
        "subjects": ["\ufffd\ufffd"],
        "pedantic": True,
    }
    with pytest.raises(RequestJsonError, match="after top-level value"):
        decode_loosely(body, STREAM_CONFIG_REQUEST)


def test_empty_requests() -> None:
    """What counts as no body at all, where none is wanted."""
    for text in (b"", b"{}", b" { } ", b"\n{\t}"):
        assert is_empty_request(text), text
    for text in (b" ", b"[]", b"null", b'{"a":1}', b"{}{}", b"{"):
        assert not is_empty_request(text), text
    for text, expected in ((b" {", True), (b"[", True), (b"", False), (b" ", False), (b"1", False)):
        assert is_object_or_array(text) == expected, text
