"""Consumers by examples: where they begin, what the floor is, what is counted, what removal and notes do.

What happens in any order is compared with a model in test_consumer_model.py.
"""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shardbroker.errors import StorageError
from shardbroker.jetstream import consumer_notes
from shardbroker.jetstream.consumer import Consumer
from shardbroker.jetstream.consumer_config import ConsumerConfig
from shardbroker.jetstream.consumer_face import ConsumerFace

SECOND = 1_000_000_000  # ns


def make(face: ConsumerFace, name: str = "c", *, keeps_finished: bool = False, **fields: object) -> Consumer:
    fields.setdefault("ack_policy", "explicit")
    fields.setdefault("ack_wait", SECOND)
    config = ConsumerConfig(**fields)
    consumer = Consumer(name, config, face.state, 1, keeps_finished=keeps_finished)
    face.consumers.add(consumer)
    return consumer


def filled(*subjects: bytes) -> ConsumerFace:
    face = ConsumerFace()
    for subject in subjects:
        face.store(subject)
    return face


def floor(consumer: Consumer) -> tuple[int, int]:
    return consumer.floor_consumer, consumer.floor_stream


@pytest.mark.parametrize(
    ("fields", "delivered", "pending"),
    [
        ({}, [1, 2, 3, 4, 5], 5),
        ({"deliver_policy": "new"}, [], 0),
        ({"deliver_policy": "last"}, [5], 1),
        ({"deliver_policy": "last", "filter_subject": "a"}, [4], 1),
        ({"deliver_policy": "last", "filter_subject": "none"}, [], 0),
        ({"deliver_policy": "last", "filter_subjects": ["b", "c"]}, [5], 1),
        ({"deliver_policy": "by_start_sequence", "opt_start_seq": 3}, [3, 4, 5], 3),
        ({"deliver_policy": "by_start_sequence", "opt_start_seq": 50}, [], 0),
        ({"deliver_policy": "last_per_subject", "filter_subject": ">"}, [3, 4, 5], 3),
        ({"deliver_policy": "last_per_subject", "filter_subjects": ["a", "b"]}, [3, 4], 2),
        ({"filter_subject": "a"}, [1, 2, 4], 3),
        ({"filter_subjects": ["c", "b"]}, [3, 5], 2),
        ({"filter_subject": "*"}, [1, 2, 3, 4, 5], 5),
    ],
)
def test_where_delivery_begins(fields: dict[str, object], delivered: list[int], pending: int) -> None:
    face = filled(b"a", b"a", b"b", b"a", b"c")
    consumer = make(face, **fields)
    assert consumer.num_pending == pending
    assert face.take(consumer, 1) == delivered
    assert consumer.num_pending == 0


def test_a_start_in_the_future_waits_for_it() -> None:
    face = filled(b"a")
    consumer = make(face, deliver_policy="by_start_sequence", opt_start_seq=4)
    face.store(b"a", count=4)
    assert consumer.num_pending == 2
    assert face.take(consumer, 1) == [4, 5]


def test_a_start_time_is_resolved_by_the_caller() -> None:
    face = filled(b"a", b"a", b"a")
    config = ConsumerConfig(deliver_policy="by_start_time", ack_policy="none")
    assert face.take(Consumer("c", config, face.state, 1, start_sequence=3), 1) == [3]


def test_floors_as_nats_server_has_them() -> None:
    """A pending message keeps its first consumer sequence; with none the floor is where delivery is."""
    face = filled(b"a", b"a", b"a")
    consumer = make(face)
    assert face.next(consumer, 0) == (1, 1, 1, 2)
    assert face.next(consumer, 0) == (2, 2, 1, 1)
    assert face.answer(consumer, "nak", 1, 1)[:2] == (True, True)
    assert face.next(consumer, 0) == (1, 3, 2, 1)
    assert face.next(consumer, 0) == (3, 4, 1, 0)
    assert floor(consumer) == (0, 0)
    face.answer(consumer, "ack", 1, 3)
    assert floor(consumer) == (1, 1)
    face.answer(consumer, "ack", 2, 2)
    assert floor(consumer) == (3, 2)
    face.answer(consumer, "ack", 3, 4)
    assert floor(consumer) == (4, 3)


def test_an_exhausted_message_holds_the_floor() -> None:
    """As in nats-server 2.15: until nothing is pending after an acknowledgement, or a purge passes it."""
    face = filled(b"a", b"a", b"a", b"a")
    consumer = make(face, max_deliver=1, ack_wait=10)
    face.next(consumer, 0)
    for now in (5, 6, 7):
        face.next(consumer, now)
    face.due(consumer, 10)
    assert floor(consumer) == (0, 0)
    face.answer(consumer, "ack", 2, 2)
    face.answer(consumer, "ack", 1, 1)
    assert floor(consumer) == (0, 0)
    face.purge(below=4)
    assert floor(consumer) == (3, 3)
    face.answer(consumer, "ack", 4, 4)
    assert floor(consumer) == (4, 4)
    face.store(b"a")
    face.next(consumer, 20)
    face.due(consumer, 30)
    assert (consumer.num_ack_pending, floor(consumer)) == (0, (4, 4))
    face.store(b"a")
    face.next(consumer, 30)
    face.answer(consumer, "ack", 6, 6)
    assert floor(consumer) == (6, 6)


def test_acknowledging_all_covers_what_is_below() -> None:
    face = filled(*[b"a"] * 5)
    consumer = make(face, keeps_finished=True, ack_policy="all")
    face.take(consumer, 1)
    assert face.answer(consumer, "ack", 3, 3)[:2] == (True, True)
    assert (floor(consumer), face.finished(consumer)) == ((3, 3), [1, 2, 3])
    assert face.answer(consumer, "ack", 2, 2)[:2] == (True, False)
    assert face.answer(consumer, "ack", 9, 9)[:2] == (False, False)
    assert floor(consumer) == (3, 3)


def test_without_acknowledgements_the_floor_is_at_delivery() -> None:
    face = filled(b"a", b"a")
    consumer = make(face, ack_policy="none")
    assert face.take(consumer, 1) == [1, 2]
    assert floor(consumer) == (2, 2)
    assert consumer_notes.describe(consumer)["pending"] == []
    assert face.next_due(consumer) == 0


def test_ack_wait_and_back_off_make_messages_due_in_order_of_sequences() -> None:
    face = filled(b"a", b"a", b"a")
    consumer = make(face, backoff=[10, 30])
    for now in (0, 1, 2):
        face.next(consumer, now)
    face.answer(consumer, "progress", 1, 1, 5)
    assert face.next_due(consumer) == 11
    assert face.due(consumer, 15) == 3
    assert face.take(consumer, 20) == [1, 2, 3]
    assert face.next_due(consumer) == 50
    assert face.due(consumer, 49) == 0


def test_max_deliver_is_told_once_and_an_acknowledgement_still_counts() -> None:
    face = ConsumerFace("workqueue")
    face.store(b"a")
    consumer = make(face, keeps_finished=True, max_deliver=2, ack_wait=10)
    face.next(consumer, 0)
    face.due(consumer, 10)
    assert face.next(consumer, 10) == (1, 2, 2, 0)
    assert face.due(consumer, 20) == 0
    assert consumer.events == [("max_deliver", 1, 1, 2)]
    assert face.next(consumer, 20) == "at the end"
    assert (consumer.num_redelivered, floor(consumer)) == (1, (0, 0))
    assert face.consumers.removable() == []
    assert face.answer(consumer, "ack", 1, 2)[:2] == (True, True)
    assert face.consumers.removable() == [1]


def test_why_nothing_comes() -> None:
    face = filled(b"a", b"a")
    consumer = make(face, max_ack_pending=1)
    consumer.pause(100)
    assert face.next(consumer, 99) == "paused"
    assert face.next(consumer, 100)[0] == 1
    assert face.next(consumer, 100) == "ack pending full"
    # Redeliveries are not held back.
    face.answer(consumer, "nak", 1, 1)
    assert face.next(consumer, 100)[0] == 1
    face.answer(consumer, "ack", 1, 1)
    assert face.next(consumer, 100)[0] == 2
    face.answer(consumer, "ack", 2, 3)
    assert face.next(consumer, 100) == "at the end"


def test_removed_messages_are_neither_counted_nor_pending() -> None:
    face = filled(*[b"a"] * 6)
    consumer = make(face)
    face.take(consumer, 1, 3)
    face.delete(2)
    face.delete(5)
    assert (consumer.num_pending, consumer.events) == (2, [("terminated", 2, 2, 1)])
    face.purge()
    assert (consumer.num_pending, floor(consumer)) == (0, (3, 6))
    face.store(b"a")
    assert face.next(consumer, 1) == (7, 4, 1, 0)


def test_counting_in_slices_while_the_stream_changes() -> None:
    face = ConsumerFace()
    for number in range(30_000):
        face.store(b"a.%d" % (number % 25_000))
    consumer = make(face, filter_subject="a.*", deliver_policy="by_start_sequence", opt_start_seq=20_001)
    last = make(face, "last", filter_subject="a.*", deliver_policy="last_per_subject")
    assert not last.is_counted
    assert face.next(last, 1) == "counting"
    face.delete(1, 10)
    face.delete(25_000, 3)
    face.store(b"a.1")
    face.store(b"a.new")
    face.store(b"b")
    while not (consumer.count_on(100) and last.count_on(100)):
        face.delete(face.state.messages.first)
    assert consumer.num_pending == len(face.take(consumer, 1, 100_000))
    pending = last.num_pending
    assert pending == len(face.take(last, 1, 100_000))


def test_sparse_matches_are_searched_in_slices() -> None:
    face = filled(b"x.1")
    face.store(b"y", count=50_000)
    face.store(b"x.2")
    consumer = make(face, filter_subject="x.*")
    assert face.next(consumer, 1)[0] == 1
    answers = [face.next(consumer, 1) for _ in range(3)]
    assert answers == ["searching", "searching", (50_002, 2, 1, 0)]


def test_work_queues_and_interest() -> None:
    face = ConsumerFace("interest")
    one = make(face, "one", keeps_finished=True, filter_subject="a.*")
    two = make(face, "two", keeps_finished=True, filter_subject="a.b")
    for subject in (b"a.b", b"a.c", b"nobody"):
        face.store(subject)
    assert face.consumers.removable() == [3]
    face.take(one, 1)
    face.take(two, 1)
    face.answer(one, "ack", 1, 1)
    assert face.consumers.removable() == []
    face.answer(two, "ack", 1, 1)
    assert face.consumers.removable() == [1]
    face.delete(1)
    face.delete(3)
    assert face.consumers.sweep(0, 100) == ([], 0)
    gone = face.consumers.discard("one")
    assert face.consumers.sweep(0, 100, gone) == ([2], 0)


def test_a_sweep_finds_what_was_acknowledged_before_a_crash() -> None:
    face = ConsumerFace("workqueue")
    consumer = make(face, keeps_finished=True, filter_subject="a")
    for subject in (b"a", b"b", b"a", b"a"):
        face.store(subject)
    face.take(consumer, 1, 2)
    face.answer(consumer, "ack", 1, 1)
    again = consumer_notes.restore("c", consumer.config, face.state, 1, [consumer_notes.snapshot(consumer)])
    face.consumers.add(again)
    assert face.consumers.removable() == []
    # 2 is nobody's, 3 is pending, 4 is to come.
    assert face.consumers.sweep(0, 2) == ([1], 3)
    assert face.consumers.sweep(3, 2) == ([], 0)


def test_notes_keep_counts_and_order() -> None:
    face = filled(*[b"a"] * 6)
    consumer = make(face)
    notes = [consumer_notes.snapshot(consumer)]
    face.take(consumer, 5, 4)
    notes.append(consumer_notes.take_delta(consumer))
    for sequence in (3, 1):
        face.answer(consumer, "nak", sequence, sequence)
    face.answer(consumer, "ack", 2, 2)
    face.answer(consumer, "nak", 4, 4, 5, 900)
    face.next(consumer, 7)
    notes.append(consumer_notes.take_delta(consumer))
    assert [len(note) for note in notes] == [12, 20, 22]  # a delivery takes three bytes or four
    again = consumer_notes.restore("c", consumer.config, face.state, 1, notes)
    assert consumer_notes.describe(again) == consumer_notes.describe(consumer)
    assert again.num_pending == consumer.num_pending == 2
    assert consumer_notes.take_delta(again) == b""


def test_where_flow_control_acknowledges_nothing_is_sent_again() -> None:
    """There is no ack_wait, also not after a restart from a snapshot and deltas."""
    face = filled(b"a", b"a", b"a")
    consumer = make(face, ack_policy="flow_control", ack_wait=0)
    face.take(consumer, 1, 1)
    notes = [consumer_notes.snapshot(consumer)]
    face.take(consumer, 2, 1)
    notes.append(consumer_notes.take_delta(consumer))
    again = consumer_notes.restore("c", consumer.config, face.state, 1, notes)
    for one in (consumer, again):
        assert (face.next_due(one), face.due(one, SECOND), one.num_ack_pending) == (0, 0, 2)
        assert face.next(one, SECOND, False) == (3, 3, 1, 0)
    face.answer(again, "ack", 2, 2)
    assert (again.num_ack_pending, floor(again)) == (0, (2, 2))


@pytest.mark.parametrize("whole", [False, True])
def test_flow_control_sends_nothing_again_that_older_notes_had_due(whole: bool) -> None:
    face = filled(b"a", b"a")
    explicit = make(face, ack_policy="explicit")
    notes = [consumer_notes.snapshot(explicit)]
    face.take(explicit, 1, 1)
    face.answer(explicit, "nak", 1, 1)
    notes = [consumer_notes.snapshot(explicit)] if whole else [*notes, consumer_notes.take_delta(explicit)]
    config = make(face, ack_policy="flow_control", ack_wait=0).config
    again = consumer_notes.restore("c", config, face.state, 1, notes)
    assert face.next(again, 2) == (2, 2, 1, 0)


def test_a_restart_does_not_move_a_consumer_whose_first_message_went() -> None:
    face = filled(b"a", b"c", b"c")
    consumer = make(face, deliver_policy="last_per_subject", filter_subject=">")
    note = consumer_notes.snapshot(consumer)
    face.delete(1)
    again = consumer_notes.restore("c", consumer.config, face.state, 1, [note])
    assert consumer_notes.describe(again) == consumer_notes.describe(consumer)
    assert face.take(again, 1) == [3]


def a_note() -> tuple[ConsumerFace, Consumer, bytes, bytes]:
    face = filled(*[b"a"] * 6)
    consumer = make(face)
    snapshot = consumer_notes.snapshot(consumer)
    face.take(consumer, 5, 4)
    face.answer(consumer, "nak", 2, 2)
    face.answer(consumer, "ack", 1, 1)
    delta = consumer_notes.take_delta(consumer)
    return face, consumer, snapshot, delta


@settings(max_examples=300, deadline=None)
@given(st.integers(0, 40), st.integers(0, 255), st.booleans())
def test_damaged_notes_raise_or_give_a_consumer(place: int, value: int, cut: bool) -> None:
    face, consumer, first, delta = a_note()
    snapshot = consumer_notes.snapshot(consumer)

    def damaged(note: bytes) -> bytes:
        at = place % len(note)
        return note[:at] if cut else note[:at] + bytes((value,)) + note[at + 1 :]

    for notes in ([damaged(snapshot)], [first, damaged(delta)], [damaged(first), delta]):
        try:
            again = consumer_notes.restore("c", consumer.config, face.state, 1, notes)
        except StorageError:
            continue
        state = consumer_notes.describe(again)
        assert state["ack_floor"][1] < state["position"]
        assert all(1 <= entry[0] <= 6 for entry in state["pending"])


def test_notes_of_other_versions_are_refused() -> None:
    face, consumer, snapshot, delta = a_note()
    for notes in ([], [delta], [b""], [b"\x02\x01" + snapshot[2:]], [snapshot[:-1]]):
        with pytest.raises(StorageError):
            consumer_notes.restore("c", consumer.config, face.state, 1, notes)


def test_reset_begins_anew() -> None:
    face = filled(*[b"a"] * 4)
    consumer = make(face)
    face.take(consumer, 1, 3)
    face.answer(consumer, "ack", 1, 1)
    consumer.reset(2)
    assert (consumer.num_pending, floor(consumer)) == (3, (0, 1))
    assert face.next(consumer, 1) == (2, 1, 1, 2)
