"""Pull consumers against a nats-server: the same deliveries, floors and counts after each step of a script.

What is delivered is compared number by number (as the ack subject has it), and after each step what
CONSUMER.INFO says. Time plays no part: ack_wait is long. Scripts are the same in every run.
"""

import json
import random
import time

import pytest

from shardbroker.jetstream.consumer import Consumer
from shardbroker.jetstream.consumer_config import ConsumerConfig
from shardbroker.jetstream.consumer_face import ConsumerFace
from shardbroker.jetstream.consumer_notes import describe
from tests.jetstream.reference_stream import NO_NATS_SERVER, NO_NATS_SERVER_REASON, ReferenceStream

pytestmark = pytest.mark.skipif(NO_NATS_SERVER, reason=NO_NATS_SERVER_REASON)

MINUTE = 60_000_000_000  # ns
SUBJECTS = ["S.a", "S.a", "S.b", "S.c.d"]
CONFIGS = [
    {},
    {"filter_subject": "S.a"},
    {"filter_subjects": ["S.b", "S.c.*"]},
    {"filter_subject": "S.*", "max_ack_pending": 3},
    {"max_deliver": 2},
    {"max_deliver": 1},
    {"max_deliver": 1, "max_ack_pending": 3},
    {"ack_policy": "all"},
    {"ack_policy": "none"},
    {"deliver_policy": "last"},
    {"deliver_policy": "last", "filter_subject": "S.b"},
    {"deliver_policy": "new"},
    {"deliver_policy": "by_start_sequence", "opt_start_seq": 4},
    {"deliver_policy": "last_per_subject", "filter_subject": "S.>"},
]
STEPS = 25
# Settles within this time: nats-server notices deletions a little later.
SETTLE_S = 2.0


class Pair:
    """A consumer of nats-server and ours, of streams with the same messages."""

    def __init__(self, judge: ReferenceStream, draw: random.Random, fields: dict) -> None:
        self.judge, self.draw = judge, draw
        judge.create("S")
        self.face = ConsumerFace()
        for _ in range(draw.randint(0, 8)):
            self.publish()
        fields = {"ack_policy": "explicit", **fields}
        if fields["ack_policy"] != "none":
            fields["ack_wait"] = MINUTE
        self.judge.api("CONSUMER.CREATE.S.C", stream_name="S", config={"name": "C", **fields})
        self.consumer = Consumer("C", ConsumerConfig(**fields), self.face.state, 1)
        self.face.consumers.add(self.consumer)
        self.tokens: list[tuple[int, int, str]] = []

    def publish(self) -> None:
        subject = self.draw.choice(SUBJECTS)
        self.judge.store(subject)
        self.face.store(subject.encode())

    def fetch(self) -> None:
        expected = []
        want = self.draw.randint(1, 4)
        if self.consumer.num_pending == 0 and not describe(self.consumer)["queue"]:
            # Then nats-server answers at once and looks for nothing.
            assert self.pull(want, 0) == []
            return
        while len(expected) < want:
            got = self.face.next(self.consumer, 1)
            if isinstance(got, str):
                # One message more than there is: nats-server says that there are no more.
                want = len(expected) + (got == "at the end")
                break
            expected.append(got)
        if want:
            got = self.pull(want, len(expected))
            assert got == expected, (got, expected)

    def pull(self, batch: int, count: int) -> list[tuple[int, int, int, int]]:
        client = self.judge.client
        client.subscribe("to.me", "pull")
        body = json.dumps({"batch": batch, "no_wait": True}).encode()
        self.judge.publish("$JS.API.CONSUMER.MSG.NEXT.S.C", body, reply="to.me")
        messages = client.read_messages(count + (batch > count))
        client.unsubscribe("pull")
        found = []
        for message in messages[:count]:
            assert message.reply, message
            deliveries, sequence, number, _, pending = message.reply.decode().split(".")[4:]
            found.append((int(sequence), int(number), int(deliveries), int(pending)))
            self.tokens.append((int(sequence), int(number), message.reply.decode()))
        return found

    def answer(self, word: str) -> None:
        if not self.tokens:
            return
        sequence, number, subject = self.draw.choice(self.tokens[-6:])
        answered, *_ = self.face.answer(self.consumer, word, sequence, number, 1)
        payload = {"ack": b"+ACK", "nak": b"-NAK", "term": b"+TERM"}[word]
        if answered:
            self.judge.ask(subject, payload)
        else:
            self.judge.publish(subject, payload)

    @property
    def is_choosy(self) -> bool:
        """nats-server waits for a new message where one that was chosen is gone; ours goes on."""
        return self.consumer.config.deliver_policy == "last_per_subject"

    def delete(self) -> None:
        first, last = self.face.state.messages.first, self.face.state.messages.last
        sequence = self.draw.randint(first, max(first, last))
        if self.is_choosy or (self.consumer.config.ack_policy == "all" and self.consumer.num_ack_pending):
            return  # with "all" nats-server then acknowledges everything before it
        if self.face.state.messages.position_of(sequence) is not None:
            self.face.delete(sequence)
            self.judge.api("STREAM.MSG.DELETE.S", seq=sequence)

    def purge(self) -> None:
        if self.is_choosy or any(due for *_, due in describe(self.consumer)["pending"]):
            return  # nats-server then forgets until ack_wait what was to be redelivered
        fields: dict = {}
        if self.draw.random() < 0.7:
            messages = self.face.state.messages
            fields["seq"] = min(messages.first + self.draw.randint(1, 3), messages.last + 1)
        self.judge.api("STREAM.PURGE.S", **fields)
        self.face.purge(b"", fields.get("seq", 0))

    def reset(self) -> None:
        if self.consumer.config.deliver_policy != "all":
            return
        sequence = self.consumer.floor_stream + 1
        self.judge.api("CONSUMER.RESET.S.C", seq=sequence)
        self.consumer.reset(sequence)
        self.tokens.clear()

    def compare(self, script: list[str]) -> None:
        consumer = self.consumer
        ours = {
            "delivered": (consumer.next_consumer_sequence - 1, consumer.delivered_stream),
            "ack_floor": (consumer.floor_consumer, consumer.floor_stream),
            "num_ack_pending": consumer.num_ack_pending,
            "num_redelivered": consumer.num_redelivered,
            "num_pending": consumer.num_pending,
        }
        end = time.monotonic() + SETTLE_S
        while True:
            info = self.judge.api("CONSUMER.INFO.S.C")
            theirs = {name: info[name] for name in ours}
            for name in ("delivered", "ack_floor"):
                theirs[name] = (theirs[name]["consumer_seq"], theirs[name]["stream_seq"])
            if ours == theirs or time.monotonic() > end:
                break
            time.sleep(0.01)
        assert ours == theirs, (ours, theirs, script)

    def close(self) -> None:
        self.judge.api("STREAM.DELETE.S")


@pytest.fixture(scope="module")
def judge() -> ReferenceStream:
    with ReferenceStream() as server:
        yield server


@pytest.mark.parametrize("fields", CONFIGS, ids=str)
def test_the_same_after_each_step(judge: ReferenceStream, fields: dict) -> None:
    for seed in range(4):
        draw = random.Random(seed)
        pair = Pair(judge, draw, fields)
        script: list[str] = []
        pair.compare(script)
        for _ in range(STEPS):
            step = draw.choice(
                ["publish"] * 4
                + ["fetch"] * 5
                + ["ack"] * 4
                + ["nak"] * 2
                + ["term", "delete", "purge", "reset"]
            )
            script.append(step)
            if step in ("ack", "nak", "term"):
                pair.answer(step)
            else:
                getattr(pair, step)()
            pair.compare(script)
        pair.close()
