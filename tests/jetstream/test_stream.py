"""One stream: dedupe, limits, expiry, markers, purges, and what is left when frames are lost.

Random publishes, deletes and purges go to a stream and to a slow, obvious model, and everything that can be
seen must be equal afterwards; so must a stream that has read the same log again. Answers and orders of checks
are compared with nats-server in test_publish_against_nats_server.
"""

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.jetstream.publish_judge import block_of
from tests.jetstream.stream_cases import NOW, SECOND, face_of, payload_of

SUBJECTS = [b"S.a", b"S.b", b"S.c.d", b"S.c.e"]


def publish(
    face, subject: bytes = b"S.a", payload: bytes = b"", now_ns: int = NOW, **headers: object
) -> None:
    face.offer(subject, b"r", block_of(**headers), payload, now_ns)


def stored(face) -> list[int]:
    return [sequence for sequence, *_ in face.messages()]


class Model:
    """A list of messages, as slow as can be."""

    def __init__(self, max_msgs: int, max_per_subject: int) -> None:
        self.max_msgs = max_msgs
        self.max_per_subject = max_per_subject
        self.messages: list[tuple[int, bytes]] = []
        self.last = 0

    def publish(self, subject: bytes, rollup: str) -> None:
        self.last += 1
        self.messages.append((self.last, subject))
        of_subject = [message for message in self.messages if message[1] == subject]
        if 0 < self.max_per_subject < len(of_subject):
            self.messages.remove(of_subject[0])
        if 0 < self.max_msgs < len(self.messages):
            del self.messages[0]
        if rollup:
            self.messages = [
                message
                for message in self.messages
                if message[0] == self.last or (rollup == "sub" and not matches(subject, message[1]))
            ]

    def delete(self, first: int, count: int) -> None:
        self.messages = [m for m in self.messages if not first <= m[0] < first + count]

    def purge(self, pattern: bytes, below: int, keep: int) -> None:
        matching = [m for m in self.messages if matches(pattern, m[1]) and (not below or m[0] < below)]
        gone = matching[: max(len(matching) - keep, 0)]
        self.messages = [m for m in self.messages if m not in gone]

    def last_on(self, pattern: bytes) -> int:
        return max((m[0] for m in self.messages if matches(pattern, m[1])), default=0)


def matches(pattern: bytes, subject: bytes) -> bool:
    if not pattern or pattern == subject:
        return True
    return pattern.endswith(b">") and subject.startswith(pattern[:-1])


PURGES = st.sampled_from([(0, 0), (0, 1), (0, 3), (5, 0), (20, 0), (200, 0)])
ACTIONS = st.one_of(
    st.tuples(
        st.just("publish"),
        st.sampled_from([*SUBJECTS, b"S.c.>"]),
        st.sampled_from([""] * 12 + ["sub", "all"]),
    ),
    st.tuples(st.just("delete"), st.integers(1, 60), st.integers(1, 4)),
    st.tuples(st.just("purge"), st.sampled_from([b"", b"S.a", b"S.c.>", b"S.x"]), PURGES),
    st.tuples(st.just("settle")),
)


@settings(max_examples=150, deadline=None)
@given(
    st.lists(st.tuples(st.integers(1, 8), ACTIONS), max_size=40),
    st.sampled_from([-1, 1, 5, 20]),
    st.sampled_from([-1, 1, 3]),
)
def test_a_stream_is_what_a_slow_model_says(
    actions: list[tuple[int, tuple]], max_msgs: int, max_per_subject: int
) -> None:
    face = face_of("S", max_msgs=max_msgs, max_msgs_per_subject=max_per_subject, allow_rollup_hdrs=True)
    model = Model(max_msgs, max_per_subject)
    for times, (action, *details) in actions:
        if action == "publish":
            for _ in range(times):
                subject, rollup = details
                publish(face, subject, **({"Nats_Rollup": rollup} if rollup else {}))
                model.publish(subject, rollup)
            continue
        face.settle(NOW)
        if action == "delete":
            face.delete(*details)
            model.delete(*details)
        elif action == "purge":
            pattern, (below, keep) = details
            face.purge(pattern, below, keep)
            model.purge(pattern, below, keep)
        face.settle(NOW)
        check(face, model)
    face.settle(NOW)
    check(face, model)
    check(face.replayed(NOW), model)


def check(face, model: Model) -> None:
    """Messages, figures, subjects and the links between messages of a subject."""
    assert [(sequence, subject) for sequence, subject, _, _ in face.messages()] == model.messages
    size = sum(16 + len(subject) + len(block) + len(body) for _, subject, block, body in face.messages())
    first = model.messages[0][0] if model.messages else (model.last + 1 if model.last else 0)
    assert face.figures() == (len(model.messages), size, first, model.last)
    assert face.pending() == (0, 0)
    for subject, count, first, last in face.stream.state.subjects.matching():
        sequences = [sequence for sequence, other in model.messages if other == subject]
        assert (count, first, last) == (len(sequences), sequences[0], sequences[-1])
        linked = [first]
        while following := face.next_on_subject(linked[-1]):
            linked.append(following)
        assert linked == sequences
    for pattern in (*SUBJECTS, b"S.c.>", b">"):
        assert face.stream.last_sequence_on(pattern) == model.last_on(pattern)
    everything = range(model.messages[0][0], model.last + 1) if model.messages else ()
    assert face.stream.state.deleted() == sorted(set(everything) - {m[0] for m in model.messages})


@settings(max_examples=100, deadline=None)
@given(
    st.lists(
        st.tuples(st.sampled_from([*SUBJECTS, b"S.c.>"]), st.sampled_from([""] * 6 + ["sub", "all"])),
        min_size=1,
        max_size=40,
    ),
    st.sampled_from([-1, 1, 5]),
    st.sampled_from([-1, 1, 3]),
)
def test_checks_foresee_what_messages_in_flight_will_remove(
    messages: list[tuple[bytes, str]], max_msgs: int, max_per_subject: int
) -> None:
    face = face_of("S", max_msgs=max_msgs, max_msgs_per_subject=max_per_subject, allow_rollup_hdrs=True)
    model = Model(max_msgs, max_per_subject)
    for number, (subject, rollup) in enumerate(messages):
        publish(face, subject, **({"Nats_Rollup": rollup} if rollup else {}))
        model.publish(subject, rollup)
        if number == len(messages) // 3:
            face.settle(NOW)
        # What is removed for two reasons, one of them the stream's limit, is known when it is applied.
        if max_msgs < 0 or (max_per_subject < 0 and not any(rollup == "sub" for _, rollup in messages)):
            for pattern in (*SUBJECTS, b">"):
                assert face.stream.last_sequence_on(pattern) == model.last_on(pattern)
    face.settle(NOW)
    check(face, model)


def test_an_id_is_known_within_its_window() -> None:
    face = face_of("S", duplicate_window=10 * SECOND)
    publish(face, Nats_Msg_Id="a")
    publish(face, Nats_Msg_Id="a", now_ns=NOW + 9 * SECOND)
    publish(face, Nats_Msg_Id="a", now_ns=NOW + 11 * SECOND)
    assert [payload for _, payload in face.settle(NOW)] == [
        b'{"stream":"S","seq":1}',
        b'{"stream":"S","seq":1,"duplicate": true}',
        b'{"stream":"S","seq":2}',
    ]


def test_ids_are_known_after_a_restart() -> None:
    face = face_of("S", duplicate_window=10 * SECOND)
    publish(face, Nats_Msg_Id="a")
    publish(face, Nats_Msg_Id="b", now_ns=NOW + 5 * SECOND)
    face.settle(NOW)
    again = face.replayed(NOW + 11 * SECOND)
    publish(again, Nats_Msg_Id="b", now_ns=NOW + 11 * SECOND)
    publish(again, Nats_Msg_Id="a", now_ns=NOW + 11 * SECOND)
    assert [payload for _, payload in again.settle(NOW)] == [
        b'{"stream":"S","seq":2,"duplicate": true}',
        b'{"stream":"S","seq":3}',
    ]


def test_messages_expire_and_never_early() -> None:
    face = face_of("S", max_age=10 * SECOND, allow_msg_ttl=True)
    publish(face)
    publish(face, Nats_TTL="never")
    publish(face, Nats_TTL="3s")
    publish(face, now_ns=NOW + 5 * SECOND)
    face.settle(NOW)
    seen = [(at, face.expire(NOW + at), stored(face)) for at in (3 * SECOND - 1, 3 * SECOND, 10 * SECOND - 1)]
    assert [gone for _, gone, _ in seen] == [0, 1, 0]
    face.expire(NOW + 10 * SECOND + 2_000_000)
    assert stored(face) == [2, 4]
    face.expire(NOW + 100 * SECOND)
    assert stored(face) == [2]


def test_the_last_message_of_a_subject_leaves_a_marker_that_leaves_none() -> None:
    face = face_of("S", max_age=10 * SECOND, allow_msg_ttl=True, subject_delete_marker_ttl=5 * SECOND)
    publish(face)
    publish(face, b"S.b")
    face.settle(NOW)
    later = NOW + 11 * SECOND
    assert face.expire(later) == 2
    face.leave_markers(later)
    face.settle(later)
    block = block_of(Nats_Marker_Reason="MaxAge", Nats_TTL="5s", Nats_Rollup="sub")
    assert face.messages() == [(3, b"S.a", block, b""), (4, b"S.b", block, b"")]
    assert face.expire(later + 5 * SECOND) == 2
    assert face.take_expired_subjects() == []


def test_a_subject_with_a_message_in_flight_owes_no_marker() -> None:
    face = face_of("S", max_age=10 * SECOND, allow_msg_ttl=True, subject_delete_marker_ttl=5 * SECOND)
    publish(face)
    face.settle(NOW)
    publish(face, now_ns=NOW + 11 * SECOND)
    face.expire(NOW + 11 * SECOND)
    assert face.take_expired_subjects() == []


def test_lost_frames_are_forgotten_as_a_whole() -> None:
    face = face_of("S", allow_rollup_hdrs=True)
    publish(face, payload=b"first", Nats_Msg_Id="first")
    face.settle(NOW)
    publish(face, Nats_Msg_Id="lost", Nats_Rollup="all")
    publish(face, Nats_Msg_Id="lost", Nats_Expected_Last_Sequence=2)
    face.append(NOW)
    assert face.fail() == [b"r", b"r"]
    assert stored(face) == [1]
    publish(face, Nats_Expected_Last_Subject_Sequence=1, Nats_Msg_Id="lost")
    assert payload_of(face.settle(NOW)) == b'{"stream":"S","seq":2}'
    assert face.replayed(NOW).messages() == face.messages()


def test_what_depends_on_lost_frames_is_lost_with_them() -> None:
    """An answer about a message in flight, even a refusal, is owed behind that message's frame."""
    face = face_of("S")
    publish(face, Nats_Msg_Id="a")
    publish(face, Nats_Msg_Id="a")
    publish(face, Nats_Expected_Last_Sequence=9)
    frames = face.append(NOW)
    assert frames == 1
    assert face.fail() == [b"r"] * 3


def test_a_stream_without_acks_answers_nothing() -> None:
    face = face_of("S", no_ack=True)
    publish(face)
    publish(face, Nats_Expected_Stream="other")
    assert face.settle(NOW) == []
    assert stored(face) == [1]


def test_lowered_limits_hold_at_once() -> None:
    face = face_of("S")
    for subject in SUBJECTS * 3:
        publish(face, subject)
    face.settle(NOW)
    changed = face.stream.config.copy()
    changed.max_msgs_per_subject = 2
    face.stream.configure(changed)
    assert stored(face) == [5, 6, 7, 8, 9, 10, 11, 12]
    changed = changed.copy()
    changed.max_msgs = 3
    face.stream.configure(changed)
    assert stored(face) == [10, 11, 12]
