"""Counters of a stream while values are on their way to the disk. The rules themselves: test_counters.py."""

from tests.jetstream.publish_judge import block_of
from tests.jetstream.stream_cases import NOW, face_of, payload_of


def add(face, increment: object, subject: bytes = b"C.a", reply: bytes = b"r") -> None:
    face.offer(subject, reply, block_of(Nats_Incr=increment), b"", NOW)


def values(face) -> list[bytes]:
    return [payload for *_, payload in face.messages()]


def test_the_ack_has_the_value() -> None:
    face = face_of("C", allow_msg_counter=True)
    add(face, "+5")
    assert face.settle(NOW) == [(b"r", b'{"stream":"C","seq":1,"val":"5"}')]
    assert face.messages() == [(1, b"C.a", b"NATS/1.0\r\nNats-Incr: +5\r\n\r\n", b'{"val":"5"}')]


def test_values_in_flight_count() -> None:
    face = face_of("C", allow_msg_counter=True)
    for increment in ("1", "10", "-3"):
        add(face, increment)
    add(face, "7", b"C.b")
    assert [payload for _, payload in face.settle(NOW)] == [
        b'{"stream":"C","seq":1,"val":"1"}',
        b'{"stream":"C","seq":2,"val":"11"}',
        b'{"stream":"C","seq":3,"val":"8"}',
        b'{"stream":"C","seq":4,"val":"7"}',
    ]


def test_values_are_read_back_after_a_restart() -> None:
    face = face_of("C", allow_msg_counter=True)
    add(face, "9" * 50)
    face.settle(NOW)
    again = face.replayed(NOW)
    add(again, "1")
    assert payload_of(again.settle(NOW)) == b'{"stream":"C","seq":2,"val":"1%s"}' % (b"0" * 50)


def test_a_lost_value_was_never_there() -> None:
    face = face_of("C", allow_msg_counter=True)
    add(face, "1")
    face.settle(NOW)
    add(face, "100")
    face.append(NOW)
    assert face.fail() == [b"r"]
    add(face, "2")
    assert payload_of(face.settle(NOW)) == b'{"stream":"C","seq":2,"val":"3"}'
    assert values(face) == [b'{"val":"1"}', b'{"val":"3"}']


def test_what_limits_have_removed_does_not_count() -> None:
    face = face_of("C", allow_msg_counter=True, max_msgs=2)
    add(face, "5")
    add(face, "1", b"C.b")
    add(face, "1", b"C.c")
    add(face, "2")
    assert payload_of(face.settle(NOW)) == b'{"stream":"C","seq":4,"val":"2"}'


def test_a_value_in_a_batch_counts_for_the_next_in_it_and_after_it() -> None:
    face = face_of("C", allow_msg_counter=True, allow_atomic=True)
    for place, commit in ((1, {}), (2, {"Nats_Batch_Commit": 1})):
        headers = {"Nats_Batch_Id": "b", "Nats_Batch_Sequence": place, **commit, "Nats_Incr": place}
        face.offer(b"C.a", b"", block_of(**headers), b"", NOW)
    add(face, "10")
    assert payload_of(face.settle(NOW)) == b'{"stream":"C","seq":3,"val":"13"}'
    assert values(face) == [b'{"val":"1"}', b'{"val":"3"}', b'{"val":"13"}']
