"""Schedules of a stream: found when stored or read back, fired when due, ended by what follows them.

What schedules become when they fire is tested with nats-server in test_scheduled_message and test_schedules,
and their checks in test_publish_against_nats_server. Here time is a number.
"""

from shardbroker.jetstream.go_time import format_time
from tests.jetstream.publish_judge import block_of
from tests.jetstream.stream_cases import NOW, SECOND, face_of, payload_of


def schedule(face, subject: bytes, pattern: str, *, now_ns: int = NOW, **headers: object) -> None:
    """Publish a schedule for ``S.target``."""
    block = block_of(Nats_Schedule=pattern, Nats_Schedule_Target="S.target", **headers)
    face.offer(subject, b"r", block, b"text", now_ns)
    assert payload_of(face.settle(now_ns)).startswith(b'{"stream":"S","seq":')


def stream():
    return face_of("S", allow_msg_schedules=True, allow_rollup_hdrs=True, allow_msg_ttl=True)


def tick(face, now_ns: int) -> int:
    """Let time pass; when the stream wants to be called next."""
    due = face.stream.special.tick(face.stream, now_ns)
    face.settle(now_ns)
    return due


def at(now_ns: int) -> str:
    return f"@at {format_time(now_ns)}"


def test_one_that_fires_once_makes_a_message_and_goes() -> None:
    face = stream()
    schedule(face, b"S.a", at(NOW + 5 * SECOND), Other=1)
    assert tick(face, NOW + 4 * SECOND) == NOW + 5 * SECOND
    assert [subject for _, subject, _, _ in face.messages()] == [b"S.a"]
    assert tick(face, NOW + 5 * SECOND) == 0
    assert face.messages() == [
        (2, b"S.target", block_of(Other=1, Nats_Scheduler="S.a", Nats_Schedule_Next="purge"), b"text")
    ]
    assert tick(face, NOW + 50 * SECOND) == 0


def test_one_that_is_past_fires_at_once() -> None:
    face = stream()
    schedule(face, b"S.a", at(NOW - SECOND))
    tick(face, NOW)
    assert [subject for _, subject, _, _ in face.messages()] == [b"S.target"]


def test_one_that_repeats_stays() -> None:
    face = stream()
    schedule(face, b"S.a", "@every 10s")
    for number in range(1, 4):
        assert tick(face, NOW + 10 * number * SECOND) == NOW + 10 * (number + 1) * SECOND
    assert [sequence for sequence, *_ in face.messages()] == [1, 2, 3, 4]
    next_time = format_time(NOW + 40 * SECOND)
    assert face.messages()[-1][2] == block_of(Nats_Scheduler="S.a", Nats_Schedule_Next=next_time)


def test_a_newer_schedule_replaces_the_older() -> None:
    face = stream()
    schedule(face, b"S.a", at(NOW + 5 * SECOND))
    schedule(face, b"S.a", at(NOW + 9 * SECOND))
    assert [sequence for sequence, *_ in face.messages()] == [2]
    assert tick(face, NOW + 6 * SECOND) == NOW + 9 * SECOND
    assert len(face.messages()) == 1


def test_another_message_on_its_subject_ends_it() -> None:
    face = stream()
    schedule(face, b"S.a", at(NOW + 5 * SECOND))
    face.offer(b"S.a", b"r", b"", b"plain", NOW)
    face.settle(NOW)
    assert tick(face, NOW + 6 * SECOND) == 0
    assert [payload for *_, payload in face.messages()] == [b"text", b"plain"]


def test_one_is_cancelled_from_elsewhere() -> None:
    face = stream()
    schedule(face, b"S.a", at(NOW + 5 * SECOND))
    block = block_of(Nats_Scheduler="S.a", Nats_Schedule_Next="purge")
    face.offer(b"S.b", b"r", block, b"", NOW)
    assert face.settle(NOW) == [(b"r", b'{"stream":"S","seq":2}')]
    assert [subject for _, subject, _, _ in face.messages()] == [b"S.b"]
    assert tick(face, NOW + 6 * SECOND) == 0


def test_one_can_be_cancelled_while_it_is_in_flight() -> None:
    face = stream()
    block = block_of(Nats_Schedule="@every 1h", Nats_Schedule_Target="S.target")
    face.offer(b"S.a", b"1", block, b"", NOW)
    face.offer(b"S.b", b"2", block_of(Nats_Scheduler="S.a", Nats_Schedule_Next="purge"), b"", NOW)
    face.offer(b"S.c", b"3", b"", b"", NOW)
    face.offer(b"S.b", b"4", block_of(Nats_Scheduler="S.c", Nats_Schedule_Next="purge"), b"", NOW)
    answers = face.settle(NOW)
    assert [payload for _, payload in answers[:3]] == [b'{"stream":"S","seq":%d}' % n for n in (1, 2, 3)]
    assert b'"err_code":10212,"description":"message schedules invalid scheduler"' in answers[3][1]
    assert [subject for _, subject, _, _ in face.messages()] == [b"S.b", b"S.c"]


def test_content_comes_from_the_source_subject() -> None:
    face = stream()
    face.offer(b"S.source", b"", block_of(Of="source"), b"content", NOW)
    schedule(face, b"S.a", "@every 10s", Nats_Schedule_Source="S.source", Nats_Schedule_TTL="5s")
    tick(face, NOW + 10 * SECOND)
    next_time = format_time(NOW + 20 * SECOND)
    block = block_of(Of="source", Nats_Scheduler="S.a", Nats_Schedule_Next=next_time, Nats_TTL="5s")
    assert face.messages()[-1] == (3, b"S.target", block, b"content")
    assert face.expire(NOW + 15 * SECOND) == 1


def test_what_fired_and_was_lost_fires_again() -> None:
    face = stream()
    schedule(face, b"S.a", at(NOW + 5 * SECOND))
    schedule(face, b"S.b", "@every 10s")
    special = face.stream.special
    special.tick(face.stream, NOW + 10 * SECOND)
    face.append(NOW)
    face.fail()
    assert len(face.messages()) == 2
    tick(face, NOW + 11 * SECOND)
    assert [subject for _, subject, _, _ in face.messages()] == [b"S.b", b"S.target", b"S.target"]


def test_nothing_fires_twice_while_it_is_in_flight() -> None:
    face = stream()
    schedule(face, b"S.a", at(NOW + 5 * SECOND))
    special = face.stream.special
    for later in range(10):
        special.tick(face.stream, NOW + (5 + later) * SECOND)
    face.settle(NOW)
    assert [subject for _, subject, _, _ in face.messages()] == [b"S.target"]


def test_schedules_are_found_after_a_restart() -> None:
    """What was missed meanwhile: once for those that fire once, not at all for those that repeat."""
    face = stream()
    schedule(face, b"S.a", at(NOW + 5 * SECOND))
    schedule(face, b"S.b", "@every 10s")
    again = face.replayed(NOW + 95 * SECOND)
    assert tick(again, NOW + 95 * SECOND) == NOW + 105 * SECOND
    assert [subject for _, subject, _, _ in again.messages()] == [b"S.b", b"S.target"]


def test_a_schedule_within_a_batch_counts_from_its_commit() -> None:
    face = face_of("S", allow_msg_schedules=True, allow_rollup_hdrs=True, allow_atomic=True)
    for place, commit in ((1, {}), (2, {"Nats_Batch_Commit": 1})):
        block = block_of(
            Nats_Batch_Id="b",
            Nats_Batch_Sequence=place,
            **commit,
            Nats_Schedule=at(NOW + place * SECOND),
            Nats_Schedule_Target="S.target",
        )
        face.offer(b"S.%d" % place, b"r", block, b"", NOW)
    face.settle(NOW)
    assert tick(face, NOW) == NOW + SECOND
    tick(face, NOW + 2 * SECOND)
    assert [subject for _, subject, _, _ in face.messages()] == [b"S.target", b"S.target"]
