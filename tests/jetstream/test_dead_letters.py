"""Property: a dead letter says where it comes from, and nothing in its headers acts on the collecting stream.

What a consumer keeps of its dead letters, in any order of events, is compared with a model in
test_consumer_model.py; here are examples of notes, of configurations, and of headers there and back.
"""

import pytest

from shardbroker.errors import StorageError
from shardbroker.jetstream import consumer_notes, dead_letters, header_block
from shardbroker.jetstream.api_error import ApiError
from shardbroker.jetstream.config_metadata import DEAD_LETTER_KEY
from shardbroker.jetstream.consumer import Consumer
from shardbroker.jetstream.consumer_config import ConsumerConfig
from shardbroker.jetstream.consumer_face import ConsumerFace
from shardbroker.jetstream.dead_entries import DeadEntry, dead_entries, finish_dead, is_dead, next_dead
from shardbroker.jetstream.dead_letter_checks import check_dead_letter, comes_back
from shardbroker.jetstream.stream_config import StreamConfig, SubjectTransformConfig

SECOND = 1_000_000_000  # ns
BORN = 1_790_000_000 * SECOND
ORIGIN = dead_letters.Origin("$G", "ORDERS", "billing", BORN)
ENTRY = DeadEntry(7, 3, False, BORN + SECOND, b"")


def config_of(subject: str = "dead", **fields: object) -> ConsumerConfig:
    fields.setdefault("ack_policy", "explicit")
    return ConsumerConfig(ack_wait=SECOND, metadata={DEAD_LETTER_KEY: subject}, **fields)


def consumer_with_two_dead(reason: bytes = b"broken") -> tuple[ConsumerFace, Consumer, bytes]:
    """Message 1 was terminated, 2 delivered too often, 3 is on its way; and the snapshot before that."""
    face = ConsumerFace("workqueue")
    face.store(b"a", count=3)
    consumer = Consumer("c", config_of(max_deliver=1), face.state, 1, keeps_finished=True)
    face.consumers.add(consumer)
    start = consumer_notes.snapshot(consumer)
    assert face.take(consumer, 10) == [1, 2, 3]
    assert face.answer(consumer, "term", 1, 1, 20, 0, reason)[:2] == (True, True)
    face.answer(consumer, "nak", 2, 2, 30)
    return face, consumer, start


# --- what the consumer keeps


def test_a_dead_letter_stays_pending() -> None:
    face, consumer, _ = consumer_with_two_dead()
    assert dead_entries(consumer) == [(1, 1, True, 20, b"broken"), (2, 1, False, 30, b"")]
    assert (consumer.num_ack_pending, consumer.num_dead, consumer.floor_stream) == (1, 2, 0)
    assert face.consumers.removable() == []
    assert next_dead(consumer, 19) is None
    assert finish_dead(consumer, 1) and not finish_dead(consumer, 1) and not finish_dead(consumer, 3)
    assert is_dead(consumer, 2) and not is_dead(consumer, 3)
    assert consumer.floor_stream == 1
    assert face.consumers.removable() == [1]


@pytest.mark.parametrize("whole", [False, True])
def test_dead_letters_are_in_the_notes(whole: bool) -> None:
    face, consumer, start = consumer_with_two_dead()
    before = consumer_notes.describe(consumer)
    notes = [consumer_notes.snapshot(consumer)] if whole else [start, consumer_notes.take_delta(consumer)]
    again = consumer_notes.restore("c", config_of(max_deliver=1), face.state, 1, notes)
    assert consumer_notes.describe(again) == before
    # A configuration without the subject was written, and the worker died before the snapshot behind it.
    without = consumer_notes.restore("c", ConsumerConfig(ack_policy="explicit"), face.state, 1, notes)
    assert (without.num_dead, without.num_ack_pending) == (0, 1)
    assert consumer_notes.describe(without)["exhausted"] == [2]


def test_a_long_reason_is_cut() -> None:
    _, consumer, _ = consumer_with_two_dead(b"x" * 5000)
    assert len(dead_entries(consumer)[0].reason) == 1024


@pytest.mark.parametrize("whole", [False, True])
def test_damaged_notes_are_told(whole: bool) -> None:
    """Cut at any byte, nothing worse than an error."""
    face, consumer, start = consumer_with_two_dead()
    note = consumer_notes.snapshot(consumer) if whole else consumer_notes.take_delta(consumer)
    for size in range(2, len(note)):
        notes = [note[:size]] if whole else [start, note[:size]]
        try:
            found = consumer_notes.restore("c", config_of(), face.state, 1, notes)
        except StorageError:
            continue
        assert found.num_dead <= 2


def test_everything_up_to_a_sequence_leaves_dead_letters() -> None:
    face = ConsumerFace("interest")
    consumer = Consumer("c", config_of(ack_policy="all"), face.state, 1, keeps_finished=True)
    face.consumers.add(consumer)
    face.store(b"a", count=6)
    assert face.take(consumer, 10) == [1, 2, 3, 4, 5, 6]
    face.answer(consumer, "term", 3, 3, 20)  # acknowledges those below, as without dead letters
    assert face.consumers.removable() == [1, 2]
    face.answer(consumer, "ack", 5, 5)
    assert (consumer.floor_stream, consumer.num_ack_pending) == (2, 1)
    assert face.consumers.removable() == [4, 5]
    finish_dead(consumer, 3)
    assert (consumer.floor_stream, face.consumers.removable()) == (5, [3])


def test_a_letter_stays_whatever_the_filter_becomes() -> None:
    face = ConsumerFace("interest")
    consumer = Consumer("c", config_of(), face.state, 1, keeps_finished=True)
    other = Consumer("d", ConsumerConfig(ack_policy="explicit"), face.state, 1, keeps_finished=True)
    face.consumers.add(consumer)
    face.consumers.add(other)
    face.store(b"a")
    for one in (consumer, other):
        assert face.take(one, 10) == [1]
    face.answer(consumer, "term", 1, 1, 20)
    consumer.take_config(config_of(filter_subject="b"))
    face.answer(other, "ack", 1, 1)
    assert face.consumers.removable() == []
    assert finish_dead(consumer, 1)
    assert face.consumers.removable() == [1]


def test_a_deleted_message_is_no_dead_letter_any_more() -> None:
    face, consumer, _ = consumer_with_two_dead()
    consumer.events.clear()
    face.delete(1)
    assert [event[:2] for event in consumer.events] == [("dead letter gone", 1)]
    assert [entry.sequence for entry in dead_entries(consumer)] == [2]


# --- configurations


@pytest.mark.parametrize(
    ("subject", "fields", "text"),
    [
        ("a b", {}, "is not a subject without wildcards"),
        ("a.*", {}, "is not a subject without wildcards"),
        ("a..b", {}, "is not a subject without wildcards"),
        ("$JS.API.STREAM.DELETE.S", {}, "is a subject of the server"),
        ("orders.dead", {}, "would come back to this consumer"),
        ("orders.dead", {"filter_subjects": ["x", "orders.*"]}, "would come back to this consumer"),
        ("dead", {"ack_policy": "none"}, "with ack policy none"),
    ],
)
def test_impossible_subjects(subject: str, fields: dict, text: str) -> None:
    stream = StreamConfig(name="ORDERS", subjects=["orders.>"])
    with pytest.raises(ApiError, match=text) as caught:
        check_dead_letter(config_of(subject, **fields), stream)
    assert caught.value.err_code == 10012
    assert "metadata shardbroker.dead_letter: " in caught.value.description


@pytest.mark.parametrize(
    ("subject", "fields"),
    [("", {}), ("dead.orders", {}), ("orders.dead", {"filter_subject": "orders.new"}), ("$KV.dead.x", {})],
)
def test_possible_subjects(subject: str, fields: dict) -> None:
    check_dead_letter(config_of(subject, **fields), StreamConfig(name="ORDERS", subjects=["orders.>"]))


def test_a_transform_counts_for_what_comes_back() -> None:
    """The stream changes subjects before its consumers see them."""
    stream = StreamConfig(name="S", subjects=["in.>"])
    stream.subject_transform = SubjectTransformConfig(src="in.dead", dest="out.dead")
    assert comes_back(config_of("in.dead", filter_subject="out.>"), stream)
    assert not comes_back(config_of("in.dead", filter_subject="in.>"), stream)


# --- headers


def headers_of(block: bytes) -> dict[bytes, bytes]:
    return dict(header_block.parse_pairs(block))


def test_the_headers_of_a_letter() -> None:
    block = b"NATS/1.0\r\nOne: 1\r\nNats-Rollup: all\r\nOne: 2\r\nNats-Msg-Id: mine\r\n\r\n"
    letter = dead_letters.letter_block(block, ENTRY, ORIGIN, b"orders.new")
    assert header_block.parse_pairs(letter) == [
        (b"One", b"1"),
        (b"Shardbroker-Dead-Original-Nats-Rollup", b"all"),
        (b"One", b"2"),
        (b"Shardbroker-Dead-Original-Nats-Msg-Id", b"mine"),
        (b"Shardbroker-Dead-Reason", b"max_deliver"),
        (b"Shardbroker-Dead-Stream", b"ORDERS"),
        (b"Shardbroker-Dead-Consumer", b"billing"),
        (b"Shardbroker-Dead-Subject", b"orders.new"),
        (b"Shardbroker-Dead-Sequence", b"7"),
        (b"Shardbroker-Dead-Deliveries", b"3"),
        (b"Shardbroker-Dead-Time", b"2026-09-21T14:13:21Z"),
        (b"Nats-Msg-Id", b"dead.$G.ORDERS.billing.1790000000000000000.7.1790000001000000000"),
    ]


def test_a_letter_of_a_message_without_headers() -> None:
    letter = dead_letters.letter_block(b"", ENTRY, ORIGIN, b"s")
    assert letter.startswith(b"NATS/1.0\r\nShardbroker-Dead-Reason: max_deliver\r\n")


@pytest.mark.parametrize(
    "line",
    [b"Nats-TTL: 1s", b"nats-rollup: all", b"X: 1\nNats-Expected-Stream: S", b"Nats-Anything-New: 1"],
)
def test_what_a_server_reads_has_another_name(line: bytes) -> None:
    """In any letter case, and behind a bare line feed, where the broker looks as well."""
    letter = dead_letters.letter_block(b"NATS/1.0\r\n%b\r\n\r\n" % line, ENTRY, ORIGIN, b"s")
    lines = [one for one in letter.replace(b"\r\n", b"\n").split(b"\n") if one.lower().startswith(b"nats-")]
    assert [one.partition(b":")[0] for one in lines] == [b"Nats-Msg-Id"]
    assert b"Shardbroker-Dead-Original-" in letter


def test_a_reason_cannot_forge_a_header() -> None:
    entry = ENTRY._replace(by_term=True, reason=b"bad\r\nNats-Rollup: all\xff")
    letter = dead_letters.letter_block(b"", entry, ORIGIN, b"s")
    assert headers_of(letter)[b"Shardbroker-Dead-Description"] == b"bad  Nats-Rollup: all"
    assert headers_of(letter)[b"Shardbroker-Dead-Reason"] == b"terminated"
    assert header_block.get(letter, b"Nats-Rollup") is None


def test_headers_that_do_not_fit_are_dropped_and_told() -> None:
    block = b"NATS/1.0\r\nLong: %b\r\n\r\n" % (b"x" * 65_400)
    letter = dead_letters.letter_block(block, ENTRY, ORIGIN, b"s")
    assert len(letter) < 2000
    assert headers_of(letter)[b"Shardbroker-Dead-Headers-Dropped"] == b"%d" % len(block)


def test_a_letter_that_dies_again_tells_of_its_last_death() -> None:
    first = dead_letters.letter_block(b"NATS/1.0\r\nMine: 1\r\n\r\n", ENTRY, ORIGIN, b"first")
    second = dead_letters.letter_block(first, ENTRY._replace(sequence=9), ORIGIN, b"second")
    names = [name for name, _ in header_block.parse_pairs(second)]
    assert len(names) == len(set(names))
    assert headers_of(second)[b"Shardbroker-Dead-Subject"] == b"second"
    assert headers_of(second)[b"Mine"] == b"1"


def test_the_message_once_more() -> None:
    """Its own headers, its time to live; nothing that acted on the first publish."""
    block = (
        b"NATS/1.0\r\nOne: 1\r\nNats-TTL: 1h\r\nOne: 2\r\nNats-Msg-Id: mine\r\nNats-Rollup: all\r\n"
        b"Nats-Expected-Last-Sequence: 4\r\nNats-Schedule: @every 1s\r\nNats-Batch-Id: b\r\n\r\n"
    )
    letter = dead_letters.letter_block(block, ENTRY, ORIGIN, b"s")
    # What a stream with a source adds.
    letter = header_block.append(letter, [(b"Nats-Stream-Source", b"DEAD 1 > > s")])
    assert dead_letters.original_headers(letter) == [(b"One", b"1"), (b"Nats-TTL", b"1h"), (b"One", b"2")]
