"""The table of subjects, through a stream: many come, some go and come back, and ids are used again."""

import random

from tests.jetstream.stream_cases import NOW, face_of

SUBJECTS = [b"S.%d.%d" % (number % 50, number) for number in range(3000)]


def publish(face, subject: bytes) -> None:
    face.offer(subject, b"", b"", b"", NOW)


def test_subjects_come_and_go() -> None:
    draw = random.Random(1)
    face = face_of("S")
    model: dict[bytes, list[int]] = {}
    sequence = 0
    for _ in range(6):
        for subject in draw.sample(SUBJECTS, 1500):
            sequence += 1
            publish(face, subject)
            model.setdefault(subject, []).append(sequence)
        face.settle(NOW)
        for subject in draw.sample(sorted(model), 700):
            face.purge(subject)
            del model[subject]
        face.settle(NOW)
        expected = sorted((name, len(found), found[0], found[-1]) for name, found in model.items())
        assert sorted(face.stream.state.subjects.matching()) == expected
        assert len(face.stream.state.subjects) == len(model)
        of_seven = [row for row in expected if row[0].startswith(b"S.7.")]
        assert sorted(face.stream.state.subjects.matching(b"S.7.*")) == of_seven
        for subject in draw.sample(SUBJECTS, 100):
            assert face.stream.last_sequence_on(subject) == model.get(subject, [0])[-1]


def test_a_subject_in_flight_is_no_subject_yet() -> None:
    face = face_of("S")
    publish(face, b"S.a")
    assert (len(face.stream.state.subjects), face.stream.last_sequence_on(b"S.a")) == (0, 1)
    face.append(NOW)
    face.fail()
    assert (len(face.stream.state.subjects), face.stream.last_sequence_on(b"S.a")) == (0, 0)
    publish(face, b"S.a")
    face.settle(NOW)
    assert face.stream.state.subjects.matching() == [(b"S.a", 1, 1, 1)]


def test_a_purged_subject_with_a_message_in_flight_stays() -> None:
    face = face_of("S")
    publish(face, b"S.a")
    face.settle(NOW)
    face.purge(b"S.a")
    publish(face, b"S.a")
    face.settle(NOW)
    assert face.stream.state.subjects.matching() == [(b"S.a", 1, 2, 2)]


def test_names_may_be_long_and_alike() -> None:
    face = face_of("S")
    names = [b"S." + b"x" * size for size in (1, 2, 7, 8, 9, 15, 16, 17, 200, 1000)]
    for name in names * 2:
        publish(face, name)
    face.settle(NOW)
    rows = face.stream.state.subjects.matching()
    assert rows == [(name, 2, place, place + len(names)) for place, name in enumerate(names, 1)]
