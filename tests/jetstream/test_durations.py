"""Property: durations and TTLs mean what Go and nats-server 2.15.1 take them for; the rest is refused.

The literals were printed by Go's time package. One server is asked about each TTL.
"""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shardbroker.jetstream.durations import (
    NEVER,
    DurationError,
    format_duration,
    parse_duration,
    parse_message_ttl,
)
from tests.jetstream.reference_stream import NO_NATS_SERVER, NO_NATS_SERVER_REASON, ReferenceStream

DURATIONS = [
    ("5s", 5_000_000_000, "5s"),
    ("1h5m0s", 3_900_000_000_000, "1h5m0s"),
    ("1.5ms", 1_500_000, "1.5ms"),
    ("1.s", 1_000_000_000, "1s"),
    ("-3us", -3_000, "-3\u00b5s"),
    ("1\u03bcs", 1_000, "1\u00b5s"),
    ("0", 0, "0s"),
    ("-0", 0, "0s"),
    ("+5m", 300_000_000_000, "5m0s"),
    ("0.333333333333333333333h", 1_200_000_000_000, "20m0s"),
    ("100000001ns", 100_000_001, "100.000001ms"),
    ("1.000000001s", 1_000_000_001, "1.000000001s"),
    ("2562047h47m16.854775807s", 2**63 - 1, "2562047h47m16.854775807s"),
    ("-2562047h47m16.854775808s", -(2**63), "-2562047h47m16.854775808s"),
]
NO_DURATIONS = [
    ("", 'time: invalid duration ""'),
    ("5", 'time: missing unit in duration "5"'),
    ("00", 'time: missing unit in duration "00"'),
    ("5x", 'time: unknown unit "x" in duration "5x"'),
    ("1d", 'time: unknown unit "d" in duration "1d"'),
    ("1h 5m", 'time: unknown unit "h " in duration "1h 5m"'),
    (".s", 'time: invalid duration ".s"'),
    ("1.1.1s", 'time: missing unit in duration "1.1.1s"'),
    ("2562047h47m16.854775808s", 'time: invalid duration "2562047h47m16.854775808s"'),
    ("9223372036854775809ns", 'time: invalid duration "9223372036854775809ns"'),
    ("99999999999999999999", 'time: invalid duration "99999999999999999999"'),
    ('"', 'time: invalid duration "\\""'),
]
SECOND = 1_000_000_000
TTLS = [
    (b"5", 5 * SECOND),
    (b"1s", SECOND),
    (b"1.9s", SECOND),
    (b"1h5m", 3900 * SECOND),
    (b"never", NEVER),
    (b"NEVER", NEVER),
    (b"+1m", 60 * SECOND),
    (b"00", 0),
    (b"007", 7 * SECOND),
]
NO_TTLS = [
    b"0",
    b"999ms",
    b"0s",
    b"-1",
    b"-5s",
    b"5 ",
    b"1d",
    b"x",
    b"\xff",
    b"1e3",
    b"9" * 20 + b"s",
]


@pytest.mark.parametrize(("text", "ns", "shortest"), DURATIONS)
def test_duration(text, ns, shortest):
    assert parse_duration(text) == ns
    assert format_duration(ns) == shortest


@pytest.mark.parametrize(("text", "reason"), NO_DURATIONS)
def test_no_duration(text, reason):
    with pytest.raises(DurationError) as caught:
        parse_duration(text)
    assert str(caught.value) == reason


def test_thousands_of_digits_are_refused_as_a_duration():
    with pytest.raises(DurationError):
        parse_duration("9" * 5000 + "s")
    assert parse_duration("0" * 4000 + "1s") == SECOND
    with pytest.raises(ValueError, match="no TTL"):
        parse_message_ttl(b"9" * 5000)


@given(st.integers(-(2**63), 2**63 - 1))
def test_text_and_back(ns):
    # Fractions of more digits than a double holds are cut, as in Go: only hours beyond 10**15 ns show it.
    assert abs(parse_duration(format_duration(ns)) - ns) <= 1


@pytest.mark.parametrize(("value", "ns"), TTLS)
def test_ttl(value, ns):
    assert parse_message_ttl(value) == ns


@pytest.mark.parametrize("value", NO_TTLS)
def test_no_ttl(value):
    with pytest.raises(ValueError):
        parse_message_ttl(value)


def test_no_value_is_no_ttl():
    assert parse_message_ttl(b"") == 0


@pytest.mark.skipif(NO_NATS_SERVER, reason=NO_NATS_SERVER_REASON)
def test_ttls_against_nats_server():
    """Accepted there and here alike; 10165 is what the server says otherwise."""
    with ReferenceStream() as judge:
        judge.create("T", allow_msg_ttl=True)
        for value in [value for value, _ in TTLS] + NO_TTLS:
            answer = judge.store("T.a", b"", b"NATS/1.0\r\nNats-TTL: " + value + b"\r\n\r\n")
            try:
                parse_message_ttl(value)
                expected = None
            except ValueError:
                expected = 10165
            assert answer.get("err_code") == expected, value
