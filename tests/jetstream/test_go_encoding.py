"""Property: answers are spelt as Go spells them: characters, values, times.

The expectations were read from answers of nats-server 2.15.1; dates are compared with Python's own.
"""

import datetime
import random

import pytest

from shardbroker.jetstream.go_encoding import ZERO_TIME, ZERO_TIME_TEXT, encode, format_time, parse_time
from shardbroker.jetstream.go_time import GoTimeError, normal_time

SECOND = 1_000_000_000


def test_characters() -> None:
    """What Go escapes, and what it leaves."""
    text = 'a<b>&\u2028\u2029\u2027\u00e9\x7f\x00\x01\b\f\n\r\t"\\/\U0001f600'
    expected = (
        b'"a\\u003cb\\u003e\\u0026\\u2028\\u2029\xe2\x80\xa7\xc3\xa9\x7f\\u0000\\u0001\\b\\f\\n\\r\\t\\"\\\\/'
        b'\xf0\x9f\x98\x80"'
    )
    assert encode(text) == expected
    assert encode({text: text}) == b"{" + expected + b":" + expected + b"}"


def test_what_is_no_unicode() -> None:
    """Bytes of a subject that are no UTF-8, decoded with surrogateescape."""
    assert encode({"a\udcff": ["\ud800<"]}) == b'{"a\xef\xbf\xbd":["\xef\xbf\xbd\\u003c"]}'


def test_values() -> None:
    """Compact, in the order given; bytes in base64 with padding; numbers of 64 bits."""
    value = {"z": None, "a": [True, False, -1, (1 << 64) - 1, -(1 << 63)], "b": b"\xff\x00", "c": {}, "d": ()}
    assert encode(value) == (
        b'{"z":null,"a":[true,false,-1,18446744073709551615,-9223372036854775808],"b":"/wA=","c":{},"d":[]}'
    )
    with pytest.raises(TypeError):
        encode({1, 2})


def test_times() -> None:
    """As many digits as are needed."""
    assert format_time(0) == "1970-01-01T00:00:00Z"
    assert format_time(1_700_000_000_120_000_000) == "2023-11-14T22:13:20.12Z"
    assert format_time(1_700_000_000_000_000_001) == "2023-11-14T22:13:20.000000001Z"
    assert format_time(-1) == "1969-12-31T23:59:59.999999999Z"
    assert format_time(ZERO_TIME) == ZERO_TIME_TEXT == "0001-01-01T00:00:00Z"
    assert parse_time("2023-11-14T23:13:20.12+01:00") == 1_700_000_000_120_000_000
    assert normal_time("2023-11-14T23:13:20.1200+01:00") == "2023-11-14T23:13:20.12+01:00"
    with pytest.raises(GoTimeError, match="day out of range"):
        parse_time("2023-02-29T00:00:00Z")


def test_every_date() -> None:
    """Random seconds of all years, there and back."""
    chance = random.Random(1)
    epoch = datetime.datetime(1970, 1, 1)
    for _ in range(5000):
        seconds = chance.randrange(ZERO_TIME // SECOND, 253_402_300_800)
        text = (epoch + datetime.timedelta(seconds=seconds)).isoformat() + "Z"
        assert format_time(seconds * SECOND) == text
        assert parse_time(text) == seconds * SECOND
