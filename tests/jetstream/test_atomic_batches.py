"""Atomic batches: all or nothing, with nats-server's answers.

Random batches with right and wrong headers go to both servers; what takes time or many messages, or goes
wrong on the way to the disk, is tested here alone, with literal expectations.
"""

import random

import pytest

from shardbroker.jetstream.special_publish import OpenBatches
from tests.jetstream.publish_judge import PublishJudge, block_of
from tests.jetstream.reference_stream import NO_NATS_SERVER, NO_NATS_SERVER_REASON
from tests.jetstream.stream_cases import NOW, SECOND, face_of, payload_of
from tests.jetstream.test_publish_against_nats_server import draw_headers

CONFIGS = {
    "atomic": {"allow_rollup_hdrs": True, "allow_msg_ttl": True},
    "atomic_counter": {"allow_msg_counter": True},
    "atomic_new": {
        "discard": "new", "max_msgs": 20, "max_msgs_per_subject": 8, "discard_new_per_subject": True,
    },
    "atomic_new_bytes": {"discard": "new", "max_bytes": 2000},
    "atomic_small": {"max_msgs": 7, "max_msg_size": 250, "storage": "file", "allow_rollup_hdrs": True},
    "atomic_schedules": {"allow_msg_schedules": True, "allow_msg_ttl": True},
    "atomic_off": {"allow_atomic": False},
}  # fmt: skip
INCOMPLETE = (
    b'{"error":{"code":400,"err_code":10176,"description":"atomic publish batch is incomplete"},'
    b'"stream":"A","seq":0}'
)


@pytest.fixture(scope="module")
def judge():
    with PublishJudge() as running:
        yield running


@pytest.mark.skipif(NO_NATS_SERVER, reason=NO_NATS_SERVER_REASON)
@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("config", CONFIGS)
def test_random_batches(judge: PublishJudge, config: str, seed: int) -> None:
    draw = random.Random(f"{config} {seed}")
    name = f"{config}{seed}"
    face = judge.make(name, **{"allow_atomic": True, **CONFIGS[config]})
    places: dict[str, int] = {}
    number = 0
    while number < 200:
        messages = []
        for _ in range(draw.choice([1, 5, 20])):
            number += 1
            rate = draw.choice([0, 0, 0.02, 0.06])
            headers = draw_headers(draw, name, face.stream.last_sequence, rate)
            for header in ("Nats_Batch_Sequence", "Nats_Batch_Commit"):
                headers.pop(header, None)
            if config == "atomic_counter" and draw.random() < 0.95:
                headers["Nats_Incr"] = draw.choice(["1", "-7"])
            if draw.random() < 0.85:
                batch = draw.choice(
                    ["x", "y", "z", "z" * 64, "z" * 65] if draw.random() < 0.1 else ["x", "y"]
                )
                place = places.get(batch, 0) + 1
                if draw.random() < 0.04:
                    place = draw.choice([0, 1, place + 1, 1001, "", "n"])
                commit = {}
                if draw.random() < 0.25:
                    commit = {"Nats_Batch_Commit": draw.choice(["1"] * 5 + ["eob"] * 3 + ["", "2"])}
                ends = commit or not isinstance(place, int) or place != places.get(batch, 0) + 1
                places[batch] = 0 if ends else place
                headers = {"Nats_Batch_Id": batch, "Nats_Batch_Sequence": place, **commit, **headers}
            payload = b"" if config == "atomic_counter" else b"x" * draw.randrange(40)
            reply = f"_R.{name}.{number}"
            messages.append((f"{name}.{draw.choice('abcd')}", reply, block_of(**headers), payload))
        judge.same(face, messages)
    ours = [tuple(fields.values()) for _, fields in face.advisories]
    assert ours == judge.advisories_of(name, len(ours))


def batch(face, batch_id: str, count: int, *, commit: bool = True, now_ns: int = NOW, size: int = 1) -> None:
    """Publish a batch of ``count`` messages, with replies 1, 2, ..."""
    for place in range(1, count + 1):
        headers = {"Nats_Batch_Id": batch_id, "Nats_Batch_Sequence": place}
        if commit and place == count:
            headers["Nats_Batch_Commit"] = 1
        face.offer(b"A.a", b"%d" % place, block_of(**headers), b"x" * size, now_ns)


def test_nothing_is_stored_before_the_commit() -> None:
    face = face_of("A", allow_atomic=True)
    batch(face, "b", 2, commit=False)
    assert face.settle(NOW) == [(b"1", b""), (b"2", b"")]
    assert face.figures() == (0, 0, 0, 0)


def test_a_batch_is_answered_once_it_is_stored_as_a_whole() -> None:
    face = face_of("A", allow_atomic=True)
    batch(face, "b", 3)
    face.append(NOW)
    face.commit(1)
    answers = face.commit()
    assert answers[-1] == (b"3", b'{"stream":"A","seq":3,"batch":"b","count":3}')
    assert [sequence for sequence, *_ in face.messages()] == [1, 2, 3]


def test_a_large_batch_takes_effect_with_its_last_frame() -> None:
    face = face_of("A", allow_atomic=True)
    batch(face, "b", 8, size=400_000)
    frames = face.append(NOW)
    assert frames > 3
    answers = []
    for _ in range(frames - 1):
        answers += face.commit(1)
        assert face.figures() == (0, 0, 0, 0)
    answers += face.commit()
    assert answers[-1] == (b"8", b'{"stream":"A","seq":8,"batch":"b","count":8}')
    assert [payload for *_, payload in face.messages()] == [b"x" * 400_000] * 8


def test_what_is_left_of_a_lost_batch_does_not_come_back() -> None:
    """Its first frames are in the log, its last one is not; later batches have its sequences."""
    face = face_of("A", allow_atomic=True)
    batch(face, "b", 8, size=400_000)
    frames = face.append(NOW)
    face.commit(frames - 1)
    assert face.fail() == [b"8"]
    batch(face, "c", 6, size=300_000)
    batch(face, "d", 2)
    face.settle(NOW)
    sizes = [len(payload) for *_, payload in face.messages()]
    assert sizes == [300_000] * 6 + [1, 1]
    again = face.replayed(NOW)
    assert again.messages() == face.messages()


def test_a_lost_batch_is_forgotten_by_a_message_that_follows() -> None:
    face = face_of("A", allow_atomic=True)
    batch(face, "b", 8, size=400_000)
    face.commit(face.append(NOW) - 1)
    face.fail()
    face.offer(b"A.a", b"r", b"", b"plain", NOW)
    batch(face, "c", 2)
    face.settle(NOW)
    assert [payload for *_, payload in face.messages()] == [b"plain", b"x", b"x"]
    assert face.replayed(NOW).messages() == face.messages()


def test_an_idle_batch_is_abandoned() -> None:
    face = face_of("A", allow_atomic=True)
    special = face.stream.special
    batch(face, "b", 1, commit=False)
    assert special.tick(face.stream, NOW + 9 * SECOND) == NOW + 10 * SECOND
    assert face.advisories == []
    assert special.tick(face.stream, NOW + 10 * SECOND) == 0
    assert face.advisories == [("BATCH_ABANDONED", {"stream": "A", "batch": "b", "reason": "timeout"})]
    face.settle(NOW)
    face.offer(
        b"A.a", b"r", block_of(Nats_Batch_Id="b", Nats_Batch_Sequence=2, Nats_Batch_Commit=1), b"", NOW
    )
    assert face.settle(NOW) == [(b"r", INCOMPLETE)]


def test_a_message_keeps_its_batch_open() -> None:
    face = face_of("A", allow_atomic=True)
    batch(face, "b", 1, commit=False)
    batch(face, "c", 1, commit=False, now_ns=NOW + SECOND)
    headers = {"Nats_Batch_Id": "b", "Nats_Batch_Sequence": 2}
    face.offer(b"A.a", b"2", block_of(**headers), b"", NOW + 5 * SECOND)
    assert face.stream.special.tick(face.stream, NOW + 11 * SECOND) == NOW + 15 * SECOND
    assert [fields["batch"] for _, fields in face.advisories] == ["c"]


def test_at_most_50_batches_of_a_stream_are_open() -> None:
    face = face_of("A", allow_atomic=True)
    for number in range(51):
        batch(face, f"b{number}", 1, commit=False)
    answers = face.settle(NOW)
    assert answers[49] == (b"1", b"")
    assert b'"err_code":10210,"description":"atomic publish too many inflight"' in answers[50][1]


def test_at_most_1000_batches_of_a_server_are_open() -> None:
    shared = OpenBatches()
    faces = [face_of("A", shared=shared, allow_atomic=True) for _ in range(21)]
    for face in faces:
        for number in range(50):
            batch(face, f"b{number}", 1, commit=False)
    assert shared.atomic == 1000
    assert b"10210" in payload_of(faces[20].settle(NOW))
    faces[0].stream.special.close()
    assert shared.atomic == 950
    batch(faces[20], "b", 1)
    assert payload_of(faces[20].settle(NOW)) == b'{"stream":"A","seq":1,"batch":"b","count":1}'


def test_a_batch_has_at_most_1000_messages() -> None:
    face = face_of("A", allow_atomic=True)
    batch(face, "b", 1000)
    assert payload_of(face.settle(NOW)) == b'{"stream":"A","seq":1000,"batch":"b","count":1000}'
    batch(face, "c", 1001)
    assert b'10199,"description":"atomic publish batch is too large: 1000"' in payload_of(face.settle(NOW))
    assert face.advisories[0][1]["reason"] == "large"
    assert face.figures()[0] == 1000
