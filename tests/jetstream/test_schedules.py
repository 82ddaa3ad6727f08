"""Property: a schedule fires when nats-server 2.15.1 lets it fire, and what that refuses is refused here.

The literals were computed by the search that nats-server uses, among them those at changes of the clock;
20000 random patterns, zones and times gave the same once. A running server is asked which schedules it takes.
"""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shardbroker.jetstream.go_time import parse_time
from shardbroker.jetstream.schedules import (
    PATTERN,
    TIME_ZONE,
    ScheduleError,
    format_fire,
    load_zone,
    next_fire,
)
from tests.jetstream.reference_stream import NO_NATS_SERVER, NO_NATS_SERVER_REASON, ReferenceStream

NEW_YEAR = 1767330245_000000000  # 2026-01-02T05:04:05Z, a Friday
SECOND = 1_000_000_000

# pattern, time zone, base in seconds, next in seconds
CRON = [
    ("0 */5 * * * *", "Europe/Berlin", 1767330245, 1767330300),
    ("* * * * * *", None, 1767330245, 1767330246),
    ("0 0 12 1 jan ?", None, 1767330245, 1798804800),
    ("0 30 2 * * *", "Europe/Berlin", 1774656000, 1774661400),
    ("0 30 2 * * *", "Europe/Berlin", 1792800000, 1792801800),
    ("0 0 0 * * *", "America/Sao_Paulo", 1540900000, 1540954800),
    ("0 0 9 15 * mon", None, 1767330245, 1767603600),  # the Monday: one of both is enough
    ("0 0 9 */2 * mon", None, 1767330245, 1767430800),  # a step takes the star away
    ("0 0 9 15 * */1", None, 1767330245, 1768467600),  # a step of 1 does not
    ("0 0 0 29 feb *", None, 1767330245, 1835395200),
    ("59/1 58-59 22 31 12 *", None, 1767330245, 1798757939),
    ("0 15 */6 * * MON-fri", "Asia/Kolkata", 1767330245, 1767336300),
    ("0 30 1 * * *", "Europe/London", 1792886400, 1792888200),
    ("0 0 0 ? * 0", None, 1767330245, 1767484800),
]
BAD_PATTERNS = [
    "", "* * * * *", "* * * * * * *", "60 * * * * *", "* * 24 * * *", "* * * 0 * *", "* * * * 13 *",
    "* * * * * 7",
    "5-2 * * * * *", "*/0 * * * * *", "1-2-3 * * * * *", "1/2/3 * * * * *", "x * * * * *", "-1 * * * * *",
    "0 0 0 30 2 *", ", * * * * *", "@hourl", "@every 999ms", "@every", "@every x", "@at", "@at x",
    "@at 2026-01-02", "@at 2026-02-29T05:04:05Z", "@at 2026-01-02T05:04:05", "@at  2026-01-02T05:04:05Z",
    "* * * * * mo", "* * * * january *", "@EVERY 5s", "@every  5s", "jan * * * * *",
]  # fmt: skip
GOOD_PATTERNS = [
    "+3 * * * * *", "*-5 * * * * *", "?/2 * * * * *", " *  * *\t* * * ", "3/90 * * * * *", "00007 * * * * *",
    "*-1-2-3 * * * * *", "0,,5, * * * * *", "@every 1s", "@every 1.5s", "@every +1h5m", "@hourly", "@yearly",
    "@annually", "@monthly", "@weekly", "@daily", "@midnight", "@at 2126-01-02T5:04:05,5+24:60",
]  # fmt: skip
BAD_ZONES = [
    "",
    "Nowhere",
    "Europe",
    "europe/berlin",
    "../etc/passwd",
    "/etc/localtime",
    "CET-1",
    "Europe\\Berlin",
]
GOOD_ZONES = ["UTC", "Local", "Europe/Berlin", "America/Argentina/Buenos_Aires", "Etc/GMT+5"]


@pytest.mark.parametrize(("pattern", "zone", "base", "following"), CRON)
def test_cron(pattern, zone, base, following):
    assert next_fire(pattern, zone, base * SECOND, base * SECOND) == (following * SECOND, True)
    # Parts of a second do not matter.
    assert next_fire(pattern, zone, base * SECOND, base * SECOND + 900_000_000)[0] == following * SECOND


@pytest.mark.parametrize(
    ("pattern", "text"),
    [
        ("@hourly", b"2026-01-02T06:00:00Z"),
        ("@daily", b"2026-01-03T00:00:00Z"),
        ("@midnight", b"2026-01-03T00:00:00Z"),
        ("@weekly", b"2026-01-04T00:00:00Z"),
        ("@monthly", b"2026-02-01T00:00:00Z"),
        ("@yearly", b"2027-01-01T00:00:00Z"),
        ("@annually", b"2027-01-01T00:00:00Z"),
    ],
)
def test_predefined(pattern, text):
    fire_ns, repeats = next_fire(pattern, None, NEW_YEAR, NEW_YEAR)
    assert (format_fire(fire_ns, None), repeats) == (text, True)


def test_at():
    assert next_fire("@at 2026-01-02T05:04:05Z", None, NEW_YEAR * 2, NEW_YEAR) == (NEW_YEAR, False)


def test_every_rounds_its_base():
    assert next_fire("@every 1500ms", None, NEW_YEAR, NEW_YEAR + 499_999_999)[0] == NEW_YEAR + 1_500_000_000
    assert next_fire("@every 1500ms", None, NEW_YEAR, NEW_YEAR + 500_000_000)[0] == NEW_YEAR + 2_500_000_000


def test_missed_times_are_skipped():
    now = NEW_YEAR + 1000 * SECOND + 300_000_000
    assert next_fire("@every 7s", None, now, NEW_YEAR) == (NEW_YEAR + 1007 * SECOND, True)
    assert next_fire("*/7 * * * * *", None, now, NEW_YEAR)[0] == NEW_YEAR + 1004 * SECOND
    assert next_fire("@every 7s", None, NEW_YEAR + 7 * SECOND, NEW_YEAR)[0] == NEW_YEAR + 7 * SECOND


def test_format():
    assert format_fire(NEW_YEAR, None) == b"2026-01-02T05:04:05Z"
    assert format_fire(NEW_YEAR + 500_000_000, "UTC") == b"2026-01-02T05:04:05.5Z"
    assert format_fire(NEW_YEAR, "Asia/Kolkata") == b"2026-01-02T10:34:05+05:30"
    assert format_fire(NEW_YEAR, "America/St_Johns") == b"2026-01-02T01:34:05-03:30"
    assert format_fire(NEW_YEAR, "Europe/London") == b"2026-01-02T05:04:05Z"


@given(st.integers(0, 2**62))
def test_format_and_back(ns):
    assert parse_time(format_fire(ns, "America/New_York").decode()) == ns


@pytest.mark.parametrize("pattern", BAD_PATTERNS)
def test_bad_pattern(pattern):
    with pytest.raises(ScheduleError) as caught:
        next_fire(pattern, None, NEW_YEAR, NEW_YEAR)
    assert (caught.value.field, caught.value.err_code) == (PATTERN, 10189)


@pytest.mark.parametrize("pattern", ["@at 2026-01-02T05:04:05Z", "@every 5s"])
def test_zone_without_cron(pattern):
    with pytest.raises(ScheduleError) as caught:
        next_fire(pattern, "UTC", NEW_YEAR, NEW_YEAR)
    assert caught.value.field == PATTERN


@pytest.mark.parametrize("zone", BAD_ZONES)
def test_bad_zone(zone):
    with pytest.raises(ScheduleError) as caught:
        next_fire("* * * * *", zone, NEW_YEAR, NEW_YEAR)
    assert (caught.value.field, caught.value.err_code) == (TIME_ZONE, 10223)


@pytest.mark.parametrize("zone", GOOD_ZONES)
def test_good_zone(zone):
    assert load_zone(zone) is not None


@pytest.mark.skipif(NO_NATS_SERVER, reason=NO_NATS_SERVER_REASON)
def test_what_is_taken_against_nats_server():
    with ReferenceStream() as judge:
        judge.create("S", allow_msg_schedules=True)
        cases = [(pattern, None) for pattern in GOOD_PATTERNS + BAD_PATTERNS if pattern]
        cases += itertools.product(["0 0 0 1 1 *", "@hourly", "x", "@every 5s"], BAD_ZONES + GOOD_ZONES)
        for pattern, zone in cases:
            lines = f"Nats-Schedule: {pattern}\r\nNats-Schedule-Target: S.t\r\n"
            if zone is not None:
                lines += f"Nats-Schedule-Time-Zone: {zone}\r\n"
            answer = judge.store("S.s", b"", f"NATS/1.0\r\n{lines}\r\n".encode())
            try:
                next_fire(pattern, zone, NEW_YEAR, NEW_YEAR)
                expected = None
            except ScheduleError as error:
                expected = error.err_code
            assert answer.get("err_code") == expected, (pattern, zone)
