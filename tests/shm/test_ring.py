"""Rings deliver what the slow model delivers (tests/models/ring_model.py): each consumer gets exactly the
frames that name it, in ticket order over all rings, never before they are published; nothing is overwritten.

A state machine plays two to four workers that connect, write, fill their rings, die and come back. Then what
it does not reach: doorbells, and memory that another process has filled with nonsense.
"""

import random
import struct

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from shardbroker.shm import layout
from tests.models.ring_model import BATCH_HEADER_SIZE, FRAME_HEADER_SIZE, RingModel
from tests.shm.ring_memory import RING_SIZE, RingWorkers

WORKERS_MAX = 4
indices = st.integers(0, WORKERS_MAX - 1)
body_sizes = st.one_of(st.integers(0, 80), st.integers(0, RING_SIZE // 4 - FRAME_HEADER_SIZE))


class RingMachine(RuleBasedStateMachine):
    """Rings and the model. A rule for a worker that is dead or does not exist does nothing."""

    @initialize(count=st.integers(2, WORKERS_MAX), connected=st.booleans())
    def start(self, count: int, connected: bool) -> None:
        self.real = RingWorkers(count)
        self.model = RingModel(count, RING_SIZE)
        self.number = 0
        #: dead worker -> survivors that have not yet let go of it
        self.dead: dict[int, set[int]] = {}
        self.before: dict[int, tuple[int, int, int]] = {}
        if connected:
            for producer in range(count):
                for consumer in range(count):
                    self.invite(producer, consumer)
                    self.ask(producer, consumer)
                self.admit(producer)

    def teardown(self) -> None:
        if hasattr(self, "real"):
            for worker in range(self.real.count):
                self.publish(worker)
            for worker in range(self.real.count):
                self.take(worker)
                if self.lives(worker):
                    assert self.real.inbounds[worker].broken == 0
            self.real.close()

    def lives(self, *workers: int) -> bool:
        return all(worker < self.real.count and worker not in self.dead for worker in workers)

    def incomplete(self) -> bool:
        """Whether somebody living is not yet counted by somebody else living."""
        living = [worker for worker in range(self.real.count) if self.lives(worker)]
        return any(len(self.model.rings[worker].cursors) < self.real.count - 1 for worker in living)

    @rule(producer=indices, mask=st.integers(0, 2**WORKERS_MAX - 1), size=body_sizes, count=st.integers(1, 9))
    def write(self, producer: int, mask: int, size: int, count: int) -> None:
        for _ in range(count if self.lives(producer) else 0):
            self.number += 1
            body = (b"%08x" % self.number * (size // 8 + 1))[:size]
            written = self.model.put(producer, body, mask)
            assert self.real.outbounds[producer].put(body, mask) == written

    @rule(producer=indices)
    def publish(self, producer: int) -> None:
        if self.lives(producer):
            self.model.publish(producer)
            self.real.outbounds[producer].publish_batch()

    @rule(consumer=indices)
    def take(self, consumer: int) -> None:
        if self.lives(consumer):
            assert self.real.inbounds[consumer].take() == self.model.take(consumer)

    @precondition(lambda self: self.incomplete())
    @rule(producer=indices, consumer=indices)
    def invite(self, producer: int, consumer: int) -> None:
        if producer == consumer or not self.lives(producer, consumer):
            return
        ring = self.model.rings[producer]
        if consumer not in ring.cursors:
            ring.invited.add(consumer)
            self.real.invite(producer, consumer)

    @precondition(lambda self: self.incomplete())
    @rule(producer=indices, consumer=indices)
    def ask(self, producer: int, consumer: int) -> None:
        if producer == consumer or not self.lives(producer, consumer):
            return
        ring = self.model.rings[producer]
        if consumer not in ring.asking:
            ring.asking.add(consumer)
            self.real.ask(producer, consumer)

    @precondition(lambda self: self.incomplete())
    @rule(producer=indices)
    def admit(self, producer: int) -> None:
        if self.lives(producer):
            self.model.admit(producer)
            self.real.outbounds[producer].admit_consumers()

    @precondition(lambda self: not self.dead and self.number > 20)
    @rule(worker=indices)
    def kill(self, worker: int) -> None:
        """What it has not published is lost; what it has, the others still read."""
        if self.lives(worker):
            self.dead[worker] = {other for other in range(self.real.count) if self.lives(other)} - {worker}
            for survivors in self.dead.values():
                survivors.discard(worker)
            del self.before[worker]
            self.real.outbounds[worker] = self.real.inbounds[worker] = None

    @precondition(lambda self: self.dead)
    @rule(worker=indices, survivor=indices)
    def forget(self, worker: int, survivor: int) -> None:
        """A survivor reads what is left, then lets go."""
        if survivor in self.dead.get(worker, ()):
            self.dead[worker].discard(survivor)
            self.take(survivor)
            self.model.forget(worker, survivor)
            self.real.inbounds[survivor].detach(worker)
            self.real.outbounds[survivor].detach(worker)

    @precondition(lambda self: self.dead)
    @rule(worker=indices)
    def restart(self, worker: int) -> None:
        if worker in self.dead and not self.dead[worker]:
            del self.dead[worker]
            self.model.restart(worker)
            self.real.start(worker)

    @invariant()
    def positions_agree(self) -> None:
        """They only grow, and no byte is overwritten that a counted consumer may still read."""
        for worker, outbound in enumerate(self.real.outbounds if hasattr(self, "real") else ()):
            if outbound is None:
                continue
            ring = self.model.rings[worker]
            position, head, gating = now = outbound.positions()
            assert (position, head) == (ring.position, ring.head)
            assert gating <= ring.gating() and position - gating <= RING_SIZE
            assert all(new >= old for new, old in zip(now, self.before.get(worker, now), strict=True))
            assert self.real.peek(worker, layout.RING_HEAD) == head
            assert outbound.consumer_mask == sum(1 << consumer for consumer in ring.cursors)
            assert self.real.inbounds[worker].has_pending() == self.model.has_pending(worker)
            self.before[worker] = now


TestRing = RingMachine.TestCase
TestRing.settings = settings(
    max_examples=120, stateful_step_count=50, deadline=None, suppress_health_check=list(HealthCheck)
)


@pytest.fixture
def pair():
    """Two workers that read each other."""
    workers = RingWorkers(2)
    workers.connect_all()
    yield workers
    workers.close()


def test_full_ring_loses_nothing(pair: RingWorkers) -> None:
    """Long enough to go around many times, with a reader that comes only when the ring is full."""
    outbound, inbound = pair.outbounds[0], pair.inbounds[1]
    sent, got, sizes = 0, [], random.Random(1)
    while sent < 3000:
        body = b"%d " % sent + bytes(sizes.randrange(1000))
        if outbound.put(body, 2):
            sent += 1
        else:
            got += inbound.take()
            assert outbound.put(b"%d" % sent, 2), "an empty ring has space"
            sent += 1
    outbound.publish_batch()
    got += inbound.take()
    assert [int(body.split(b" ")[0].rstrip(b"\0")) for _, body in got] == list(range(sent))
    assert outbound.full_count > 10 and outbound.positions()[0] > 10 * RING_SIZE
    assert inbound.frames == sent and inbound.broken == 0


def test_a_dead_consumer_holds_nothing(pair: RingWorkers) -> None:
    outbound = pair.outbounds[0]
    while outbound.put(bytes(4000), 2):
        pass
    assert not outbound.put(bytes(4000), 2)
    outbound.detach(1)
    assert outbound.put(bytes(4000), 2)


def test_an_invited_one_that_never_asks_holds_nothing() -> None:
    workers = RingWorkers(2)
    workers.invite(0, 1)
    for _ in range(100):
        workers.outbounds[0].admit_consumers()
        assert workers.outbounds[0].put(bytes(4000), 2)
    workers.close()


def test_the_predecessor_s_wish_is_not_the_successor_s() -> None:
    """An old process asked and died; only the generation that was invited is let in."""
    workers = RingWorkers(2)
    workers.ask(0, 1)
    workers.start(1)
    workers.invite(0, 1)
    workers.outbounds[0].admit_consumers()
    assert workers.outbounds[0].consumer_mask == 0
    workers.ask(0, 1)
    workers.outbounds[0].admit_consumers()
    assert workers.outbounds[0].consumer_mask == 2
    workers.close()


def test_doorbell_once_a_sleep(pair: RingWorkers) -> None:
    """A sleeper that is meant is rung once; one that is awake, or not meant, is not."""
    outbound = pair.outbounds[0]

    def publish(mask: int) -> int:
        assert outbound.put(b"x", mask)
        outbound.publish_batch()
        return pair.rings_heard(1)

    pair.rings_heard(1)
    assert publish(2) == 0, "it is awake"
    pair.sleeping(1, 1)
    assert publish(1) == 0, "it is not meant"
    assert [publish(2), publish(2)] == [1, 0], "once an epoch"
    pair.sleeping(1, 3)
    assert publish(2) == 1, "it slept again"


def test_a_sleeper_that_holds_the_ring_is_rung(pair: RingWorkers) -> None:
    """Frames for others fill the ring too: who sleeps on them must come and read past them."""
    pair.rings_heard(1)
    pair.sleeping(1, 1)
    while pair.outbounds[0].put(bytes(4000), 0):
        pass
    assert pair.rings_heard(1) == 1
    assert pair.inbounds[1].take() == []
    assert pair.outbounds[0].put(bytes(4000), 0)


def test_the_producer_is_rung_when_there_is_enough_space(pair: RingWorkers) -> None:
    """want_space is a position: a reader that gets there rings, one that stays below does not."""
    outbound, inbound = pair.outbounds[0], pair.inbounds[1]
    pair.rings_heard(0)
    pair.sleeping(0, 1)
    assert outbound.put(b"x", 2)
    outbound.publish_batch()
    pair.poke(0, layout.RING_WANT_SPACE, struct.pack("<Q", outbound.head + 8))
    assert len(inbound.take()) == 1 and pair.rings_heard(0) == 0
    assert outbound.put(b"x", 2)
    outbound.publish_batch()
    assert len(inbound.take()) == 1 and pair.rings_heard(0) == 1


# --- memory that cannot be trusted ------------------------------------------------------------------------

BATCH_LENGTH = 0
BATCH_TICKET = 16
FRAME_LENGTH = BATCH_HEADER_SIZE
FRAME_PICK_COUNT = BATCH_HEADER_SIZE + 6
FRAME_BODY_SIZE = BATCH_HEADER_SIZE + 24


def is_given_up(workers: RingWorkers) -> None:
    """After what was refused, nothing of that ring is read any more, and nobody is kept awake by it."""
    assert workers.inbounds[1].broken == 1 and workers.inbounds[1].distrusted == 1
    workers.outbounds[0].put(b"too late", 2)
    workers.outbounds[0].publish_batch()
    assert workers.inbounds[1].take() == []
    assert not workers.inbounds[1].has_pending()


@pytest.mark.parametrize("head", [RING_SIZE + 8192, 2**63, 2**64 - 8, 3], ids=str)
def test_a_head_that_cannot_be(pair: RingWorkers, head: int) -> None:
    """Too far ahead, behind the reader, or between two words."""
    assert pair.outbounds[0].put(b"read", 2)
    pair.outbounds[0].publish_batch()
    assert pair.inbounds[1].take() == [(0, b"read")]
    pair.poke(0, layout.RING_HEAD, struct.pack("<Q", head))
    assert pair.inbounds[1].take() == []
    is_given_up(pair)


def test_a_ticket_that_cannot_be(pair: RingWorkers) -> None:
    """One that would not come due in years must not hold the ring, nor keep its reader awake."""
    assert pair.outbounds[0].put(b"never", 2)
    pair.outbounds[0].publish_batch()
    pair.poke(0, layout.RING_DATA + BATCH_TICKET, struct.pack("<Q", 2**62))
    assert pair.inbounds[1].take() == []
    is_given_up(pair)


@pytest.mark.parametrize(
    ("offset", "value"),
    [
        *((BATCH_LENGTH, struct.pack("<I", value)) for value in (0, 8, 25, 4096, 2**31, 2**32 - 8)),
        *((FRAME_LENGTH, struct.pack("<I", value)) for value in (0, 8, 57, 4096, 2**31, 2**32 - 8)),
        *((FRAME_PICK_COUNT, struct.pack("<H", value)) for value in (9, 65535)),
        *((FRAME_BODY_SIZE, struct.pack("<I", value)) for value in (100, 2**31, 2**32 - 1)),
    ],
)
def test_a_length_that_cannot_be(pair: RingWorkers, offset: int, value: bytes) -> None:
    assert pair.outbounds[0].put(bytes(16), 2)
    pair.outbounds[0].publish_batch()
    pair.poke(0, layout.RING_DATA + offset, value)
    assert pair.inbounds[1].take() == []
    is_given_up(pair)


@settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
@given(seed=st.integers(0, 2**32), head=st.integers(0, RING_SIZE + 64), size=st.integers(0, RING_SIZE))
def test_nonsense_does_no_harm(seed: int, head: int, size: int) -> None:
    """A ring full of small random numbers, with any head: whatever is made of it stays inside the ring."""
    workers = RingWorkers(2)
    workers.connect_all()
    noise = random.Random(seed)
    words = [noise.choice((0, 0, 1, 2, 3, 24, 56, 80, 96, 2**16, 2**32 - 8)) for _ in range(size // 64)]
    workers.poke(0, layout.RING_DATA, struct.pack(f"<{len(words)}I", *words))
    workers.poke(0, layout.RING_HEAD, struct.pack("<Q", head))
    workers.board.cell(layout.BOARD_TICKET).value = 2**40
    for _ in range(3):
        assert all(len(body) <= RING_SIZE for _, body in workers.inbounds[1].take())
    workers.close()
