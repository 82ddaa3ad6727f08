"""Consumers over sudden death (RELIABILITY I5, I6, R14, R15), with nats-py as the client.

Property: whatever process is killed with -9, a message whose acknowledgement was confirmed never comes
again, one that was not confirmed comes again or is waited for, and of a work queue exactly what was confirmed
is gone. Consumer sequences and ack floors never fall.
"""

import asyncio
import contextlib
import random
import signal
from pathlib import Path

import nats
import psutil
import pytest
from nats.js import JetStreamContext
from nats.js.api import ConsumerConfig

from tests.support.broker_process import BrokerProcess, is_shardbroker

pytestmark = [
    pytest.mark.skipif(not is_shardbroker(), reason="only shardbroker has workers to kill"),
    pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning"),
]
MESSAGES = 120  # published in each round
FETCHED = 90
CONFIRMED_PART = 0.6
WAIT_S = 5.0


class Witness:
    """What was told about one consumer."""

    def __init__(self, stream: str) -> None:
        self.stream = stream
        self.confirmed: set[int] = set()
        self.published = 0
        self.floor = self.delivered = 0

    async def publish(self, js: JetStreamContext, count: int) -> None:
        """Messages on the stream's subject."""
        for _ in range(count):
            await js.publish(f"{self.stream}.x", b"work", timeout=WAIT_S)
            self.published += 1

    async def fetch(self, js: JetStreamContext, count: int, choice: random.Random) -> None:
        """Take messages, and confirm some of them."""
        sub = await js.pull_subscribe_bind("d", stream=self.stream)
        taken = 0
        while taken < count:
            for message in await sub.fetch(min(30, count - taken), timeout=WAIT_S):
                taken += 1
                sequence = message.metadata.sequence.stream
                assert sequence not in self.confirmed, f"{self.stream}: {sequence} came again"
                if choice.random() < CONFIRMED_PART:
                    await message.ack_sync(timeout=WAIT_S)
                    self.confirmed.add(sequence)

    async def check(self, js: JetStreamContext) -> None:
        """Everything is confirmed, on its way, or to come; nothing falls."""
        info = await js.consumer_info(self.stream, "d")
        messages = (await js.stream_info(self.stream)).state.messages
        assert info.num_pending + info.num_ack_pending + len(self.confirmed) == self.published
        assert info.ack_floor.stream_seq >= self.floor
        assert info.delivered.consumer_seq >= self.delivered
        self.floor, self.delivered = info.ack_floor.stream_seq, info.delivered.consumer_seq
        gone = len(self.confirmed) if self.stream == "W" else 0
        assert messages == self.published - gone


async def _connect(broker: BrokerProcess) -> nats.NATS:
    return await nats.connect(f"nats://127.0.0.1:{broker.port}", max_reconnect_attempts=1)


async def _make(broker: BrokerProcess) -> None:
    client = await _connect(broker)
    js = client.jetstream(timeout=WAIT_S)
    for name, retention in (("L", "limits"), ("W", "workqueue")):
        await js.add_stream(name=name, subjects=[f"{name}.>"], retention=retention)
        await js.add_consumer(name, ConsumerConfig(durable_name="d", ack_policy="explicit", ack_wait=60))
    await client.close()


async def _work(broker: BrokerProcess, witnesses: list[Witness], choice: random.Random) -> None:
    client = await _connect(broker)
    js = client.jetstream(timeout=WAIT_S)
    for witness in witnesses:
        await witness.check(js)
        await witness.publish(js, MESSAGES)
        await witness.fetch(js, FETCHED, choice)
        await witness.check(js)
    await client.close()


def _kill(processes: list[psutil.Process]) -> None:
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):  # workers die with the acceptor
            process.send_signal(signal.SIGKILL)


def test_confirmed_acks_outlive_the_broker(tmp_path: Path) -> None:
    """All processes die at once, several times, and once the broker is stopped in order."""
    choice = random.Random(1)
    witnesses = [Witness("L"), Witness("W")]
    broker = BrokerProcess(workers=2, jetstream="true", store_dir=tmp_path)
    broker.start()
    try:
        asyncio.run(_make(broker))
        for turn in range(3):
            asyncio.run(_work(broker, witnesses, choice))
            if turn == 1:
                broker.stop()
            else:
                _kill(broker.processes())
                broker.kill()
            broker = BrokerProcess(workers=2, jetstream="true", store_dir=tmp_path)
            broker.start()
        asyncio.run(_work(broker, witnesses, choice))
    finally:
        broker.kill()


def test_consumers_go_on_with_the_successor_of_their_worker(tmp_path: Path) -> None:
    """Each worker dies once; the others and the stream-writer live."""
    choice = random.Random(2)
    witnesses = [Witness("L"), Witness("W")]
    with BrokerProcess(workers=2, jetstream="true", store_dir=tmp_path) as broker:
        asyncio.run(_make(broker))
        for worker in range(2):
            asyncio.run(_work(broker, witnesses, choice))
            pid = broker.worker_pids()[worker]
            _kill([psutil.Process(pid)])
            deadline = 200
            while broker.worker_pids().get(worker, pid) == pid and deadline:
                asyncio.run(asyncio.sleep(0.02))
                deadline -= 1
        asyncio.run(_work(broker, witnesses, choice))


def test_every_verb_of_an_acknowledgement(tmp_path: Path) -> None:
    """+WPI, -NAK with a delay, +TERM, +ACK, and what each leaves behind."""

    async def play(broker: BrokerProcess) -> None:
        client = await _connect(broker)
        js = client.jetstream(timeout=WAIT_S)
        await js.add_stream(name="V", subjects=["V.>"])
        await js.add_consumer("V", ConsumerConfig(durable_name="d", ack_policy="explicit", ack_wait=0.4))
        for number in range(4):
            await js.publish("V.x", b"%d" % number)
        sub = await js.pull_subscribe_bind("d", stream="V")
        waits, naks, ends, done = await sub.fetch(4, timeout=WAIT_S)
        await naks.nak(delay=0.15)
        await ends.term()
        await done.ack_sync(timeout=WAIT_S)
        await asyncio.sleep(0.3)
        await waits.in_progress()
        again = await sub.fetch(1, timeout=WAIT_S)
        assert [(one.data, one.metadata.num_delivered) for one in again] == [(b"1", 2)]
        await again[0].ack_sync(timeout=WAIT_S)
        last = await sub.fetch(1, timeout=WAIT_S)
        assert [(one.data, one.metadata.num_delivered) for one in last] == [(b"0", 2)]
        await last[0].ack_sync(timeout=WAIT_S)
        info = await sub.consumer_info()
        assert (info.num_ack_pending, info.num_pending) == (0, 0)
        assert (info.ack_floor.stream_seq, info.delivered.consumer_seq) == (4, 6)
        await client.close()

    with BrokerProcess(workers=2, jetstream="true", store_dir=tmp_path) as broker:
        asyncio.run(play(broker))


@pytest.mark.parametrize("storage", ["file", "memory"])
def test_interest_keeps_a_message_until_all_have_it(tmp_path: Path, storage: str) -> None:
    """Two consumers; what both have acknowledged goes, what nobody wants is not stored."""

    async def play(broker: BrokerProcess) -> None:
        client = await _connect(broker)
        js = client.jetstream(timeout=WAIT_S)
        await js.add_stream(name="I", subjects=["I.>"], retention="interest", storage=storage)
        await js.publish("I.a", b"nobody")
        for name, pattern in (("all", "I.>"), ("some", "I.a")):
            config = ConsumerConfig(durable_name=name, ack_policy="explicit", filter_subject=pattern)
            await js.add_consumer("I", config)
        await js.publish("I.a", b"both")
        await js.publish("I.b", b"one")
        everything = await js.pull_subscribe_bind("all", stream="I")
        for message in await everything.fetch(2, timeout=WAIT_S):
            await message.ack_sync(timeout=WAIT_S)
        assert (await js.stream_info("I")).state.messages == 1
        some = await js.pull_subscribe_bind("some", stream="I")
        for message in await some.fetch(1, timeout=WAIT_S):
            assert message.data == b"both"
            await message.ack_sync(timeout=WAIT_S)
        state = (await js.stream_info("I")).state
        assert (state.messages, state.last_seq) == (0, 3)
        await client.close()

    with BrokerProcess(workers=2, jetstream="true", store_dir=tmp_path) as broker:
        asyncio.run(play(broker))


def test_nothing_is_read_of_a_stream_that_is_gone(tmp_path: Path) -> None:
    """What is kept of one log's bytes must not pass for those of the next one."""

    async def play(broker: BrokerProcess) -> None:
        client = await _connect(broker)
        js = client.jetstream(timeout=WAIT_S)
        for name in ("A", "B", "C", "D", "E", "F"):
            await js.add_stream(name=name, subjects=[f"{name}.>"])
            for number in range(5):
                await js.publish(f"{name}.x", f"{name}{number}".encode())
            await js.add_consumer(name, ConsumerConfig(durable_name="d", ack_policy="none"))
            messages = await js.pull_subscribe_bind("d", stream=name)
            found = [(m.subject, m.data.decode()) for m in await messages.fetch(5, timeout=WAIT_S)]
            assert found == [(f"{name}.x", f"{name}{number}") for number in range(5)]
            await messages.unsubscribe()
            await js.delete_stream(name)
        await client.close()

    with BrokerProcess(workers=1, jetstream="true", store_dir=tmp_path) as broker:
        asyncio.run(play(broker))


def test_messages_to_come_are_counted_after_a_restart_though_nobody_asks(tmp_path: Path) -> None:
    """More of them than are counted in one go, for a filter that needs a look at each subject."""
    count = 25_000

    async def fill(broker: BrokerProcess) -> None:
        client = await _connect(broker)
        js = client.jetstream(timeout=WAIT_S)
        await js.add_stream(name="C", subjects=["C.>"])
        for name, deliver in (("pull", None), ("push", "to.nobody")):
            config = ConsumerConfig(durable_name=name, filter_subject="C.*.x", deliver_subject=deliver)
            await js.add_consumer("C", config)
        for number in range(2 * count):
            await client.publish(f"C.{number}.{'xy'[number % 2]}", b"")
        await js.publish("C.end", b"")
        await client.close()

    async def look(broker: BrokerProcess) -> None:
        client = await _connect(broker)
        js = client.jetstream(timeout=WAIT_S)
        for name in ("pull", "push"):
            for _ in range(500):
                found = (await js.consumer_info("C", name)).num_pending
                if found == count:
                    break
                await asyncio.sleep(0.01)
            assert found == count, name
        await client.close()

    for play in (fill, look):
        with BrokerProcess(workers=2, jetstream="true", store_dir=tmp_path) as broker:
            asyncio.run(play(broker))
