"""Property: schedules are refused, stored and fired as nats-server 2.15.1 does it.

Literals were read from its streams. One server is asked about random mixtures of headers, right and wrong,
and some schedules fire there; what it stored must follow from the rules here, byte for byte.
"""

import random
import time

import pytest

from shardbroker.jetstream import header_block
from shardbroker.jetstream.go_time import parse_time
from shardbroker.jetstream.scheduled_message import (
    CheckedPublish,
    FiredMessage,
    StreamRules,
    check_publish,
    fire,
    purged_schedule,
    stored_fire_time,
)
from tests.jetstream.reference_stream import NO_NATS_SERVER, NO_NATS_SERVER_REASON, ReferenceStream

SECOND = 1_000_000_000
NOW = 1767330245 * SECOND  # 2026-01-02T05:04:05Z
RULES = StreamRules((b"T.>", b"x.*"), True, True)
FIRED_WITHIN_S = 10.0


def block_of(*lines: bytes) -> bytes:
    return b"NATS/1.0\r\n" + b"".join(line + b"\r\n" for line in lines) + b"\r\n"


def checked(*lines: bytes, rules: StreamRules = RULES, last: dict[bytes, bytes] | None = None) -> int | None:
    return check_publish(b"T.s", block_of(*lines), rules, NOW, (last or {}).get).err_code


def schedule(*lines: bytes) -> tuple[bytes, ...]:
    return (b"Nats-Schedule: @every 5s", b"Nats-Schedule-Target: T.t", *lines)


def test_stored_schedule():
    result = check_publish(b"T.s", block_of(*schedule(b"A: b")), RULES, NOW, {}.get)
    stored = block_of(*schedule(b"A: b", b"Nats-Rollup: sub"))
    assert result == CheckedPublish(None, stored, NOW + 5 * SECOND)
    assert stored_fire_time(stored, NOW + SECOND, NOW + 2 * SECOND) == NOW + 6 * SECOND
    assert stored_fire_time(stored, NOW, NOW + 60 * SECOND) == NOW + 65 * SECOND
    assert stored_fire_time(block_of(b"A: b"), NOW, NOW) is None
    assert stored_fire_time(block_of(b"Nats-Schedule: x"), NOW, NOW) is None


def test_other_messages_pass_untouched():
    for block in (b"", block_of(b"A: b"), block_of(b"Nats-Schedule: "), block_of(b"Nats-Schedulex: 1")):
        assert check_publish(b"T.s", block, StreamRules((), False, False), NOW, {}.get) == CheckedPublish(
            None, block, None
        )


@pytest.mark.parametrize(
    ("lines", "err_code"),
    [
        (schedule(), None),
        ((b"Nats-Schedule: x", b"Nats-Schedule-Target: T.t"), 10189),
        ((b"Nats-Schedule: @every 5s",), 10190),
        ((b"Nats-Schedule: @every 5s", b"Nats-Schedule-Target: T.s"), 10190),
        ((b"Nats-Schedule: @every 5s", b"Nats-Schedule-Target: T.*"), 10190),
        ((b"Nats-Schedule: @every 5s", b"Nats-Schedule-Target: y"), 10190),
        ((b"Nats-Schedule: @every 5s", b"Nats-Schedule-Target: x.1"), None),
        (schedule(b"Nats-Schedule-TTL: 5m"), None),
        (schedule(b"Nats-Schedule-TTL: never"), None),
        (schedule(b"Nats-Schedule-TTL: 5ms"), 10191),
        (schedule(b"Nats-Schedule-Rollup: sub"), None),
        (schedule(b"Nats-Schedule-Rollup: all"), 10192),
        (schedule(b"Nats-Rollup: sub"), None),
        (schedule(b"Nats-Rollup: all"), 10192),
        (schedule(b"Nats-Schedule-Source: T.src"), None),
        (schedule(b"Nats-Schedule-Source: T.t"), 10203),
        (schedule(b"Nats-Schedule-Source: T.s"), 10203),
        (schedule(b"Nats-Schedule-Source: T.>"), 10203),
        (schedule(b"Nats-Schedule-Source: y"), 10203),
        (schedule(b"Nats-Schedule-Time-Zone: UTC"), 10189),
        (schedule(b"Nats-Schedule-Time-Zone: Nowhere"), 10223),
        ((b"Nats-Schedule-Time-Zone: Nowhere",), 10223),
        ((b"Nats-Schedule-Time-Zone: UTC",), None),
        ((b"Nats-Schedule-Next: purge", b"Nats-Scheduler: T.a"), None),
        ((b"Nats-Schedule-Next: 2026-01-02T05:04:05Z", b"Nats-Scheduler: T.a"), 10212),
        ((b"Nats-Schedule-Next: purge",), 10212),
        ((b"Nats-Schedule-Next: purge", b"Nats-Scheduler: T.s"), 10212),
        ((b"Nats-Schedule-Next: purge", b"Nats-Scheduler: T.>"), 10212),
        ((b"Nats-Schedule-Next: purge", b"Nats-Scheduler: elsewhere"), None),
        ((b"Nats-Scheduler: T.a",), 10212),
    ],
)
def test_refusals(lines, err_code):
    assert checked(*lines) == err_code


def test_refusals_by_configuration():
    none = StreamRules((b"T.>",), False, False)
    assert checked(*schedule(), rules=none) == 10188
    assert checked(b"Nats-Schedule: x", rules=none) == 10188
    assert checked(b"Nats-Schedule-Next: purge", b"Nats-Scheduler: T.a", rules=none) == 10188
    without_ttl = StreamRules((b"T.>",), True, False)
    assert checked(*schedule(b"Nats-Schedule-TTL: 5m"), rules=without_ttl) == 10166
    assert checked(*schedule(b"Nats-Schedule-TTL: x"), rules=without_ttl) == 10191


def test_only_schedules_can_be_cancelled():
    cancel = (b"Nats-Schedule-Next: purge", b"Nats-Scheduler: T.a")
    assert checked(*cancel, last={b"T.a": block_of(b"Nats-Schedule: @every 5s")}) is None
    assert checked(*cancel, last={b"T.a": b""}) == 10212
    assert purged_schedule(block_of(*cancel)) == b"T.a"
    assert purged_schedule(block_of(b"Nats-Schedule-Next: x", b"Nats-Scheduler: T.a")) is None
    assert purged_schedule(b"") is None


def test_fire_once():
    block = block_of(b"Nats-Schedule: @at 2026-01-02T05:04:05Z", b"X: y", b"Nats-Schedule-Target: T.t")
    assert fire(b"T.s", block, b"body", NOW, NOW, {}.get) == FiredMessage(
        b"T.t", block_of(b"X: y", b"Nats-Scheduler: T.s", b"Nats-Schedule-Next: purge"), b"body", None
    )


def test_fire_again():
    """The headers of a schedule that nats-server 2.15.1 fired, and what it made of them."""
    block = block_of(
        b"Nats-Schedule: @every 2s", b"Nats-Schedule-Target: T.t.5", b"Nats-Schedule-TTL: 5m",
        b"Nats-Schedule-Rollup: sub", b"Nats-Msg-Id: q", b"Nats-TTL: 1h", b"X: y", b"Nats-Expected-Stream: T",
        b"Nats-Schedulex: 5", b"Nats-Rollup: sub",
    )  # fmt: skip
    due = parse_time("2026-11-25T22:22:38Z")
    # Nats-Schedulex is no header of schedules, but begins like them.
    made = block_of(
        b"X: y", b"Nats-Scheduler: T.s5", b"Nats-Schedule-Next: 2026-11-25T22:22:40Z",
        b"Nats-TTL: 5m", b"Nats-Rollup: sub",
    )  # fmt: skip
    assert fire(b"T.s5", block, b"a", due, due + 3_000_000, {}.get) == FiredMessage(
        b"T.t.5", made, b"a", due + 2 * SECOND
    )


def test_fire_with_content_from_elsewhere():
    block = block_of(*schedule(b"Nats-Schedule-Source: T.src", b"A: b"))
    last = {b"T.src": (block_of(b"Nats-Scheduler: T.x", b"C: d", b"Nats-TTL: 5"), b"other")}
    fired = fire(b"T.s", block, b"own", NOW, NOW, last.get)
    following = b"Nats-Schedule-Next: 2026-01-02T05:04:10Z"
    assert (fired.block, fired.payload) == (block_of(b"C: d", b"Nats-Scheduler: T.s", following), b"other")
    fired = fire(b"T.s", block, b"own", NOW, NOW, {}.get)
    assert (fired.block, fired.payload) == (block_of(b"A: b", b"Nats-Scheduler: T.s", following), b"own")


def test_next_is_told_in_the_schedules_zone():
    lines = (b"Nats-Schedule: */2 * * * * *", b"Nats-Schedule-Target: T.t")
    block = block_of(*lines, b"Nats-Schedule-Time-Zone: Asia/Kolkata")
    fired = fire(b"T.s", block, b"", NOW, NOW, {}.get)
    assert header_block.get(fired.block, b"Nats-Schedule-Next") == b"2026-01-02T10:34:06+05:30"


def test_no_schedule_any_more():
    assert fire(b"T.s", block_of(b"A: b"), b"", NOW, NOW, {}.get) is None
    assert fire(b"T.s", block_of(b"Nats-Schedule: @every 5s"), b"", NOW, NOW, {}.get) is None
    assert fire(b"T.s", block_of(*schedule(b"Nats-Schedule-TTL: x")), b"", NOW, NOW, {}.get) is None


CHOICES = {
    b"Nats-Schedule": (
        b"@at 0001-01-01T00:00:00Z",
        b"0 0 0 1 1 *",
        b"@at 2126-01-01T00:00:00Z",
        b"@yearly",
        b"x",
    ),
    b"Nats-Schedule-Target": (b"T.t", b"T.t", b"x.t", b"T.s", b"T.*", b"y", b"T..a", b"", b"T.a b"),
    b"Nats-Schedule-Source": (b"T.src", b"T.t", b"T.s", b"T.>", b"y", b""),
    b"Nats-Schedule-TTL": (b"5m", b"5", b"never", b"x", b""),
    b"Nats-Schedule-Rollup": (b"sub", b"sub", b"all", b""),
    b"Nats-Schedule-Time-Zone": (b"Europe/Berlin", b"x", b""),
    b"Nats-Rollup": (b"sub", b"sub", b""),
    b"Nats-Schedule-Next": (b"purge", b"purge", b"x", b""),
    b"Nats-Scheduler": (b"T.other", b"T.plain", b"T.s", b"T.missing", b"T.*", b""),
}
CHANCES = (0.75, 0.75, 0.15, 0.15, 0.15, 0.1, 0.1, 0.1, 0.1)


@pytest.mark.skipif(NO_NATS_SERVER, reason=NO_NATS_SERVER_REASON)
def test_refusals_against_nats_server():
    chance = random.Random(11)
    plain, other = block_of(b"A: b"), block_of(b"Nats-Schedule: @yearly", b"Nats-Schedule-Target: T.t")
    with ReferenceStream() as judge:
        streams = [("S", True, True), ("U", True, False), ("V", False, True)]
        accepted = 0
        for name, schedules, ttl in streams:
            judge.create(
                name,
                subjects=[f"{name}.T.>", f"{name}.x.*"],
                allow_msg_schedules=schedules,
                allow_msg_ttl=ttl,
                allow_rollup_hdrs=True,
            )
        for _ in range(900):
            name, schedules, ttl = chance.choice(streams)
            prefix = name.encode() + b"."
            last = {prefix + b"T.plain": plain, prefix + b"T.other": other if schedules else plain}
            judge.publish(f"{name}.T.plain", b"", plain)
            judge.publish(f"{name}.T.other", b"", last[prefix + b"T.other"].replace(b"T.t", prefix + b"T.t"))
            lines = [b"A: b"]
            for (header, values), likely in zip(CHOICES.items(), CHANCES, strict=True):
                if chance.random() < likely:
                    value = chance.choice(values)
                    is_subject = header in (
                        header_block.SCHEDULE_TARGET, header_block.SCHEDULE_SOURCE, header_block.SCHEDULER
                    )  # fmt: skip
                    lines.append(header + b": " + (prefix + value if is_subject and value else value))
            block = block_of(*lines)
            rules = StreamRules((prefix + b"T.>", prefix + b"x.*"), schedules, ttl)
            mine = check_publish(prefix + b"T.s", block, rules, time.time_ns(), last.get)
            answer = judge.store(f"{name}.T.s", b"", block)
            assert answer.get("err_code") == mine.err_code, block
            if "seq" in answer:
                accepted += 1
                assert judge.stored(name, seq=answer["seq"])[1] == mine.block
        assert 100 < accepted < 700


@pytest.mark.skipif(NO_NATS_SERVER, reason=NO_NATS_SERVER_REASON)
def test_firing_against_nats_server():
    """Each fired message follows from its schedule and from when that was due: its predecessor says it."""
    lines = {
        b"T.s1": (b"Nats-Schedule: * * * * * *",),
        b"T.s2": (b"Nats-Schedule: @every 1500ms", b"X: y", b"Nats-Schedule-TTL: 5m"),
        b"T.s3": (
            b"Nats-Schedule: @at 2020-01-01T00:00:00.5Z",
            b"Nats-Msg-Id: q",
            b"Nats-Expected-Stream: T",
        ),
        b"T.s4": (b"Nats-Schedule: */2 * * * * *", b"Nats-Schedule-Time-Zone: America/St_Johns"),
        b"T.s5": (b"Nats-Schedule: @every 1s", b"Nats-Schedule-Source: T.src", b"A: b"),
    }
    with ReferenceStream() as judge:
        judge.create("T", allow_msg_ttl=True, allow_msg_schedules=True)
        source = block_of(b"Nats-Schedulex: 1", b"Nats-Schedule-X: 1", b"C: d")
        judge.store("T.src", b"content", source)
        last_message_of = {b"T.src": (source, b"content")}.get
        schedules, due = {}, {}
        for number, (subject, own) in enumerate(lines.items(), 1):
            block = block_of(*own, b"Nats-Schedule-Target: T.t%d" % number)
            result = check_publish(subject, block, RULES, time.time_ns(), {}.get)
            answer = judge.store(subject.decode(), b"own", block)
            schedules[subject] = judge.stored("T", seq=answer["seq"])[1]
            assert schedules[subject] == result.block
            stored_ns = time_of(judge, answer["seq"])
            due[subject] = stored_fire_time(result.block, stored_ns, stored_ns)
        first = answer["seq"] + 1
        deadline = time.monotonic() + FIRED_WITHIN_S
        while judge.api("STREAM.INFO.T")["state"]["last_seq"] < first + 8:
            assert time.monotonic() < deadline, "nats-server fired too little"
            time.sleep(0.05)
        for sequence in range(first, first + 9):
            stored = judge.stored("T", seq=sequence)
            scheduler = header_block.get(stored[1], header_block.SCHEDULER)
            fired = fire(
                scheduler,
                schedules[scheduler],
                b"own",
                due[scheduler],
                time_of(judge, sequence),
                last_message_of,
            )
            assert (fired.subject, fired.block, fired.payload) == stored
            due[scheduler] = fired.next_ns
        left = judge.api("STREAM.INFO.T", subjects_filter="T.*")["state"]["subjects"].keys()
        assert lines.keys() - {subject.encode() for subject in left} == {b"T.s3"}


def time_of(judge: ReferenceStream, sequence: int) -> int:
    return parse_time(judge.api("STREAM.MSG.GET.T", seq=sequence)["message"]["time"])
