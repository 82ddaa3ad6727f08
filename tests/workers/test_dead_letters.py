"""Property: a letter goes out once its death is on disk, comes again until it is stored, never all at once.

DeadLetters with a real consumer and a stand-in for the broker around it: what is published is recorded, and
answered as a test wants it. Time is the test's.
"""

import orjson
import pytest

from shardbroker.errors import ColdRead, StorageError
from shardbroker.jetstream.config_metadata import DEAD_LETTER_KEY
from shardbroker.jetstream.consumer import Consumer
from shardbroker.jetstream.consumer_config import ConsumerConfig
from shardbroker.jetstream.consumer_face import ConsumerFace
from shardbroker.jetstream.dead_entries import finish_dead
from shardbroker.jetstream.stream_config import StreamConfig
from shardbroker.workers.dead_letters import DeadLetters

MS, SECOND = 1_000_000, 1_000_000_000  # ns
FULL = {"error": {"code": 503, "err_code": 10077, "description": "maximum messages exceeded"}, "seq": 0}


class Log:
    def __init__(self) -> None:
        self.lines: list[str] = []

    def error(self, text: str) -> None:
        self.lines.append(text)

    info = warn = error


class Host:
    """What DeadLetters asks a StreamHost."""

    def __init__(self) -> None:
        self.now = SECOND
        self.ticking: list = []
        self.sent: list[tuple[bytes, int]] = []  # reply, sequence
        self.barriers: list = []
        self.is_slow = False  # the disk: notes wait in `barriers`
        self.listens = True
        self.cold = 0  # reads that have to wait
        self.unreadable: set[int] = set()
        self.call = None

    def wall_ns(self) -> int:
        return self.now

    def when_applied(self, _hosted: object, call) -> None:
        if self.is_slow:
            self.barriers.append(call)
        else:
            call(0)

    def has_interest(self, _account: int, _subject: bytes) -> bool:
        return self.listens

    def new_call_target(self, _account: int, call) -> int:
        self.call = call
        return 1

    def subscribe(self, *_: object) -> None:
        pass

    def message(self, _hosted: object, sequence: int):
        if self.cold:
            self.cold -= 1
            raise ColdRead("not in memory")
        if sequence in self.unreadable:
            raise StorageError("bad checksum")
        return b"orders.new", b"", b"%d" % sequence, 1

    def send(self, _account: int, subject: bytes, payload: bytes, block: bytes, reply: bytes) -> bool:
        assert subject == b"dead" and b"Shardbroker-Dead-Subject: orders.new" in block
        self.sent.append((reply, int(payload)))
        return self.listens

    def take(self) -> list[int]:
        """Sequences of what was published since."""
        found = [sequence for _, sequence in self.sent]
        self.sent.clear()
        return found


class Hosted:
    """A stream."""

    account = 0

    def __init__(self) -> None:
        config = StreamConfig(name="ORDERS", subjects=["orders.>"])
        self.stream = type("Stream", (), {"config": config, "closing": False})()
        self.reader = type("Reader", (), {"patient": True})()
        self.details = type("Details", (), {"account": "$G"})()


class One:
    """A consumer with ``count`` messages that a client has terminated."""

    is_gone = False
    name = "c"

    def __init__(self, count: int) -> None:
        self.hosted = Hosted()
        self.dead_replies: dict = {}
        self.face = ConsumerFace()
        self.face.store(b"orders.new", count=count)
        self.consumer = Consumer("c", self.config("dead"), self.face.state, 1)
        self.face.consumers.add(self.consumer)
        self.face.take(self.consumer, SECOND, count)
        for sequence in range(1, count + 1):
            self.face.answer(self.consumer, "term", sequence, sequence, SECOND)

    @staticmethod
    def config(subject: str) -> ConsumerConfig:
        return ConsumerConfig(ack_policy="explicit", ack_wait=SECOND, metadata={DEAD_LETTER_KEY: subject})


class World:
    """A worker with one such consumer."""

    def __init__(self, count: int) -> None:
        self.host, self.log, self.one = Host(), Log(), One(count)
        self.advisories: list[dict] = []
        self.consumers = self
        self.letters = DeadLetters(self)

    def end_dead(self, one: One, sequence: int) -> None:
        finish_dead(one.consumer, sequence)

    def advise(self, _subject: str, _kind: str, fields: dict, _account: int) -> None:
        self.advisories.append(fields)

    def begin(self) -> None:
        self.letters.look(self.one)

    def answer(self, body: object, count: int = 1000) -> list[int]:
        """Answer what was published; the sequences of that."""
        found, self.host.sent = self.host.sent[:count], self.host.sent[count:]
        for reply, _ in found:
            text = body if isinstance(body, bytes) else orjson.dumps(body)
            self.host.call(0, reply, b"", b"", text, 0)
        return [sequence for _, sequence in found]

    def store(self, count: int = 1000) -> list[int]:
        return self.answer({"stream": "DEAD", "seq": 5}, count)

    def wait(self, span: int) -> None:
        """Time goes by, with ticks of 50 ms."""
        end = self.host.now + span
        while self.host.now < end:
            self.host.now += 50 * MS
            for tick in self.host.ticking:
                tick(self.host.now)


def test_a_window_is_on_its_way_and_all_are_stored() -> None:
    world = World(100)
    world.begin()
    assert len(world.host.sent) == 32
    stored = []
    while world.host.sent:
        stored += world.store(1)
        assert len(world.host.sent) <= 32
    assert stored == list(range(1, 101))
    assert world.one.consumer.num_dead == 0
    assert not world.log.lines


def test_nothing_goes_out_before_its_note_is_on_disk() -> None:
    world = World(1)
    world.host.is_slow = True
    world.begin()
    assert not world.host.sent
    world.host.now += SECOND
    world.one.face.store(b"orders.new")
    world.one.face.take(world.one.consumer, world.host.now)
    world.one.face.answer(world.one.consumer, "term", 2, 2, world.host.now)
    world.begin()
    world.host.barriers.pop()(0)
    assert world.host.take() == [1]  # the second has died since
    world.host.barriers.pop()(0)
    assert world.host.take() == [2]


def test_a_failed_note_is_tried_again() -> None:
    world = World(1)
    world.host.is_slow = True
    world.begin()
    world.host.barriers.pop()(28)
    assert not world.host.sent
    world.wait(100 * MS)
    world.host.barriers.pop()(0)
    assert world.host.take() == [1]


@pytest.mark.parametrize(
    ("body", "text"),
    [
        (FULL, "maximum messages exceeded (10077)"),
        (b"+OK", "what answers there is no stream"),
        ({"stream": "DEAD", "seq": 0}, "what answers there is no stream"),
        (b"[1]", "what answers there is no stream"),
        ({"error": "no"}, "what answers there is no stream"),
    ],
)
def test_what_is_no_puback_is_a_failure(body: object, text: str) -> None:
    world = World(2)
    world.begin()
    assert world.answer(body) == [1, 2]
    assert world.one.consumer.num_dead == 2
    assert len(world.log.lines) == 1 and text in world.log.lines[0]
    assert "2 stay in stream ORDERS" in world.log.lines[0]
    assert [fields["reason"] for fields in world.advisories] == [text]


def test_waits_grow_and_one_is_tried_at_a_time() -> None:
    world = World(3)
    world.begin()
    world.answer(FULL)
    spans, last = [], world.host.now
    while len(spans) < 7:
        world.wait(50 * MS)
        if world.host.sent:
            assert len(world.answer(FULL)) == 1
            spans.append(round((world.host.now - last) / SECOND))
            last = world.host.now
    assert spans == [1, 2, 4, 8, 16, 30, 30]
    assert len(world.log.lines) == 2  # one a minute


def test_what_is_refused_does_not_hold_up_the_others() -> None:
    world = World(5)
    world.begin()
    first = world.host.sent.pop(0)
    assert world.store() == [2, 3, 4, 5]
    world.host.sent.append(first)
    world.answer(FULL)
    assert world.one.consumer.num_dead == 1
    for _ in range(3):
        world.wait(40 * SECOND)
        assert set(world.answer(FULL)) == {1}
    world.wait(40 * SECOND)
    assert set(world.store()) == {1} and world.one.consumer.num_dead == 0
    assert world.log.lines[-1].endswith("dead letters are stored on 'dead' again")


def test_no_answer_is_a_failure() -> None:
    world = World(1)
    world.begin()
    late = world.host.sent.pop()
    world.wait(4 * SECOND)
    assert not world.host.sent
    world.wait(3 * SECOND)
    assert len(world.host.sent) == 1
    world.host.sent.insert(0, late)
    assert world.store(1) == [1] and world.one.consumer.num_dead == 1  # too late: asked again already
    assert world.store() == [1] and world.one.consumer.num_dead == 0


def test_a_stream_that_comes_is_noticed() -> None:
    world = World(1)
    world.host.listens = False
    world.begin()
    assert world.host.take() == [1]
    world.wait(20 * SECOND)
    world.host.take()
    world.host.listens = True
    world.wait(SECOND)
    assert world.store() == [1]
    assert "no stream has that subject" in world.log.lines[0]


def test_a_new_subject_is_tried_at_once() -> None:
    world = World(1)
    world.begin()
    world.answer(FULL)
    world.one.consumer.take_config(One.config("orders.mine"))
    world.begin()
    assert not world.host.sent  # it would come back
    world.one.consumer.take_config(One.config("dead"))
    world.begin()
    assert world.store() == [1]


def test_a_cold_message_is_read_at_the_next_tick() -> None:
    world = World(1)
    world.host.cold = 1
    world.begin()
    assert not world.host.sent and world.one.hosted.reader.patient
    world.wait(50 * MS)
    assert world.store() == [1]


def test_a_message_that_cannot_be_read_is_given_up_and_told() -> None:
    world = World(2)
    world.host.unreadable = {1}
    world.begin()
    assert world.store() == [2]
    assert world.one.consumer.num_dead == 0
    assert "a dead letter is lost: bad checksum" in world.log.lines[0]


def test_a_consumer_that_ends_is_forgotten() -> None:
    world = World(3)
    world.begin()
    world.one.is_gone = True
    world.wait(10 * SECOND)
    assert world.store() == [1, 2, 3] and not world.log.lines
    assert world.letters.in_flight_size == 0
