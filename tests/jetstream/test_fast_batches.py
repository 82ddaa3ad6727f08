"""Fast batches: acks, gaps and refusals are nats-server's; random batches go to both servers.

Batches differ in flow, gap rule and number at a time; messages are lost, sent twice and refused. What takes
time or goes wrong on the way to the disk is tested here alone.
"""

import random
import time

import pytest

from shardbroker.jetstream.special_publish import OpenBatches
from tests.jetstream.publish_judge import PublishJudge, block_of
from tests.jetstream.reference_stream import NO_NATS_SERVER, NO_NATS_SERVER_REASON
from tests.jetstream.stream_cases import NOW, SECOND, face_of, payload_of
from tests.jetstream.test_publish_against_nats_server import draw_headers

CONFIGS = {
    "fast": {"allow_rollup_hdrs": True, "allow_msg_ttl": True},
    "fast_counter": {"allow_msg_counter": True},
    "fast_new": {"discard": "new", "max_msgs": 60, "max_msg_size": 200},
    "fast_file": {"storage": "file", "allow_atomic": True},
    "fast_schedules": {"allow_msg_schedules": True, "allow_msg_ttl": True},
    "fast_no_ack": {"no_ack": True},
    "fast_off": {"allow_batched": False},
}
UNKNOWN = (
    b'{"error":{"code":400,"err_code":10208,"description":"batch publish ID unknown"},"stream":"A","seq":0}'
)


@pytest.fixture(scope="module")
def judge():
    with PublishJudge() as running:
        yield running


class Client:
    """One client's batches: where each of them stands, and sometimes not where it should."""

    def __init__(self, draw: random.Random, name: str, may_repeat: bool) -> None:
        self.draw = draw
        self.prefix = f"_R.{name}"
        self.places: dict[str, int] = {}
        self.may_repeat = may_repeat
        self.words: dict[str, tuple[object, str]] = {}  # flow and gap

    def reply(self) -> str:
        """The reply subject of the next message."""
        draw = self.draw
        batch = draw.choice(["x", "y", "z"])
        if batch not in self.places:
            self.places[batch] = 0
            self.words[batch] = draw.choice([1, 2, 3, 10, 0, "n", 70000]), draw.choice(["ok", "fail"])
        place = self.places[batch] + 1
        operation = 0 if place == 1 else 1
        chance = draw.random()
        if chance < 0.04:
            place += draw.choice([1, 2, 7, 30])
            operation = 1
        elif chance < 0.06 and self.may_repeat:
            place = max(place - draw.choice([1, 2]), 1)
        elif chance < 0.14:
            operation = draw.choice([2, 2, 2, 3, 3])
        elif chance < 0.18:
            operation = 4
            place = max(place - 1, 1)
        elif chance < 0.19:
            operation = draw.choice([5, "x"])
        if operation in (2, 3):
            del self.places[batch]
        else:
            self.places[batch] = place
        flow, gap = self.words[batch]
        if draw.random() < 0.02:
            flow, gap = 5, "ok"
        return f"{self.prefix}.{batch}.{flow}.{gap}.{place}.{operation}.$FI"


@pytest.mark.skipif(NO_NATS_SERVER, reason=NO_NATS_SERVER_REASON)
@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("config", CONFIGS)
def test_random_batches(judge: PublishJudge, config: str, seed: int) -> None:
    draw = random.Random(f"{config} {seed}")
    name = f"{config}{seed}"
    face = judge.make(name, **{"allow_batched": True, **CONFIGS[config]})
    # nats-server does not end a batch whose last message was refused when one comes again; here it ends.
    refuses = seed % 2 == 0 or config == "fast_new"
    client = Client(draw, name, may_repeat=not refuses)
    for _ in range(25):
        messages = []
        for _ in range(draw.choice([1, 5, 30])):
            rate = draw.choice([0, 0, 0, 0, 0.02, 0.05]) if refuses else 0
            headers = draw_headers(draw, name, face.stream.last_sequence, rate)
            headers.pop("Nats_Expected_Last_Msg_Id", None)
            if config == "fast_counter" and not (refuses and draw.random() < 0.05):
                headers["Nats_Incr"] = draw.choice(["1", "-7"])
            payload = b"" if config == "fast_counter" else b"x" * draw.randrange(40)
            subject = f"{name}.{draw.choice('abcd')}"
            messages.append((subject, client.reply(), block_of(**headers), payload))
        judge.same(face, messages)


def send(face, *places: int, operation: int = 1, gap: str = "ok", flow: int = 10, now_ns: int = NOW) -> None:
    """Publish messages of the batch ``b``; the first place starts it."""
    for place in places:
        step = 0 if place == 1 and operation == 1 else operation
        reply = f"_I.b.{flow}.{gap}.{place}.{step}.$FI".encode()
        face.offer(b"A.a", reply, b"", b"%d" % place, now_ns)


def test_acks_come_after_so_many_messages() -> None:
    face = face_of("A", allow_batched=True)
    send(face, *range(1, 8), flow=3)
    assert [payload for _, payload in face.settle(NOW)] == [
        b'{"type":"ack","seq":0,"msgs":3}',
        b'{"type":"ack","seq":3,"msgs":3}',
        b'{"type":"ack","seq":6,"msgs":3}',
    ]
    send(face, 8, operation=2, flow=3)
    assert payload_of(face.settle(NOW)) == b'{"stream":"A","seq":8,"batch":"b","count":8}'


def test_an_ack_waits_for_what_it_tells_of() -> None:
    face = face_of("A", allow_batched=True)
    send(face, 1, 2, flow=2)
    face.append(NOW)
    assert face.figures()[0] == 0
    assert payload_of(face.commit()) == b'{"type":"ack","seq":2,"msgs":2}'
    assert face.figures()[0] == 2


def test_lost_frames_end_all_batches() -> None:
    face = face_of("A", allow_batched=True)
    send(face, 1, 2)
    face.append(NOW)
    face.fail()
    send(face, 3)
    assert face.settle(NOW) == [(b"_I.b.10.ok.3.1.$FI", UNKNOWN)]


def test_an_idle_batch_is_forgotten_without_a_word() -> None:
    face = face_of("A", allow_batched=True)
    send(face, 1)
    special = face.stream.special
    assert special.tick(face.stream, NOW + SECOND) == NOW + 10 * SECOND
    assert special.tick(face.stream, NOW + 10 * SECOND) == 0
    assert face.advisories == []
    face.settle(NOW)
    send(face, 2)
    assert payload_of(face.settle(NOW)) == UNKNOWN


def test_at_most_1000_batches_of_a_stream_are_open() -> None:
    shared = OpenBatches()
    face = face_of("A", shared=shared, allow_batched=True)
    for number in range(1001):
        face.offer(b"A.a", b"_I.b%d.10.ok.1.0.$FI" % number, b"", b"", NOW)
    assert b'"code":429,"err_code":10211,"description":"batch publish too many inflight"' in payload_of(
        face.settle(NOW)
    )
    assert shared.fast == 1000
    face.stream.special.close()
    assert shared.fast == 0


def test_stored_messages_have_no_trace_of_the_batch() -> None:
    face = face_of("A", allow_batched=True)
    face.offer(b"A.a", b"_I.b.10.ok.1.2.$FI", block_of(Other=1), b"text", NOW)
    face.settle(NOW)
    assert face.messages() == [(1, b"A.a", b"NATS/1.0\r\nOther: 1\r\n\r\n", b"text")]


def test_a_message_of_a_batch_costs_at_most_10_microseconds() -> None:
    """Usually below 1; a loaded machine may be slow, a second way through Python would be slower."""
    face = face_of("A", allow_batched=True)
    send(face, 1, flow=100)
    replies = [b"_I.b.100.ok.%d.1.$FI" % place for place in range(2, 50_000)]
    start = time.perf_counter()
    for reply in replies:
        face.offer(b"A.a", reply, b"", b"x" * 100, NOW)
    assert (time.perf_counter() - start) / len(replies) < 10e-6
