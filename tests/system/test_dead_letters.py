"""Dead letters with real processes: what dies is collected, whatever else dies, and nothing is lost.

Property: a message that reaches max_deliver, or is terminated, is in its stream until it is in the
collecting stream; there it is once, with its payload, its headers, and where it comes from. With one worker
and with two, so that collecting streams of the same and of another worker are met. nats-py is the client.
"""

import asyncio
import contextlib
import signal
from collections.abc import Awaitable, Callable
from pathlib import Path

import nats
import psutil
import pytest
from nats.aio.msg import Msg
from nats.js import JetStreamContext
from nats.js.api import ConsumerConfig
from nats.js.errors import ServerError

from tests.support.broker_process import BrokerProcess, is_shardbroker, wait_until

pytestmark = [
    pytest.mark.skipif(not is_shardbroker(), reason="only shardbroker has dead letters"),
    pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning"),
]
WAIT_S = 20.0
KEY = "shardbroker.dead_letter"
MAX_PAYLOAD = 1 << 20


async def connect(broker: BrokerProcess) -> tuple[nats.NATS, JetStreamContext]:
    client = await nats.connect(f"nats://127.0.0.1:{broker.port}", max_reconnect_attempts=1)
    return client, client.jetstream(timeout=WAIT_S)


async def until(condition: Callable[[], Awaitable[bool]], what: str) -> None:
    """Wait for something that comes by itself."""
    for _ in range(int(WAIT_S / 0.05)):
        if await condition():
            return
        await asyncio.sleep(0.05)
    raise AssertionError(f"after {WAIT_S} s still not so: {what}")


async def count_of(js: JetStreamContext, stream: str) -> int:
    return (await js.stream_info(stream)).state.messages


async def make_consumer(js: JetStreamContext, stream: str, subject: str, **fields: object) -> None:
    config = ConsumerConfig(durable_name="c", ack_policy="explicit", metadata={KEY: subject}, **fields)
    await js.add_consumer(stream, config)


async def fetch(js: JetStreamContext, stream: str, count: int) -> list[Msg]:
    subscription = await js.pull_subscribe_bind("c", stream=stream)
    found: list[Msg] = []
    while len(found) < count:
        found += await subscription.fetch(count - len(found), timeout=WAIT_S)
    return found


async def collected(js: JetStreamContext, stream: str) -> dict[int, nats.js.api.RawStreamMsg]:
    """Dead letters by the sequence of their message; each is there once."""
    state = (await js.stream_info(stream)).state
    found = {}
    for sequence in range(state.first_seq, state.last_seq + 1):
        letter = await js.get_msg(stream, sequence)
        origin = int(letter.headers["Shardbroker-Dead-Sequence"])
        assert origin not in found, f"message {origin} was collected twice"
        found[origin] = letter
    return found


@pytest.mark.parametrize("workers", [1, 2])
def test_what_dies_is_collected(tmp_path: Path, workers: int) -> None:
    """By max_deliver, by +TERM; from streams of each retention, into four streams; then it is gone."""

    async def one(js: JetStreamContext, client: nats.NATS, number: int, retention: str, storage: str) -> None:
        origin, dead = f"ORIGIN{number}", f"DEAD{number}"
        await js.add_stream(name=origin, subjects=[f"o{number}.>"], retention=retention, storage=storage)
        await js.add_stream(name=dead, subjects=[f"d{number}.>"])
        await make_consumer(js, origin, f"d{number}.letters", ack_wait=60, max_deliver=1)
        for part in range(4):
            await js.publish(f"o{number}.x", b"part %d" % part, headers={"Part": str(part)})
        refused, terminated, done = await fetch(js, origin, 3)
        await refused.nak()
        await client.request(terminated.reply, b"+TERM cannot be read", timeout=WAIT_S)
        assert await count_of(js, dead) >= 1  # it was answered after the PubAck
        await done.ack_sync(timeout=WAIT_S)
        await make_consumer(js, origin, f"d{number}.letters", ack_wait=0.2, max_deliver=1)
        [silent] = await fetch(js, origin, 1)

        async def all_there() -> bool:
            return await count_of(js, dead) == 3

        await until(all_there, f"three letters in {dead}")
        letters = await collected(js, dead)
        reasons = {n: letter.headers["Shardbroker-Dead-Reason"] for n, letter in letters.items()}
        assert reasons == {1: "max_deliver", 2: "terminated", 4: "max_deliver"}
        for sequence, letter in letters.items():
            assert letter.data == b"part %d" % (sequence - 1)
            assert letter.subject == f"d{number}.letters"
            assert letter.headers["Part"] == str(sequence - 1)
            assert letter.headers["Shardbroker-Dead-Stream"] == origin
            assert letter.headers["Shardbroker-Dead-Consumer"] == "c"
            assert letter.headers["Shardbroker-Dead-Subject"] == f"o{number}.x"
            assert letter.headers["Shardbroker-Dead-Deliveries"] == "1"
        assert letters[2].headers["Shardbroker-Dead-Description"] == "cannot be read"
        assert silent.metadata.sequence.stream == 4

        async def finished() -> bool:
            info = await js.consumer_info(origin, "c")
            return info.num_ack_pending == 0 and info.ack_floor.stream_seq == 4

        await until(finished, f"the consumer of {origin} has done with everything")
        await until(
            lambda: _is(count_of(js, origin), 4 if retention == "limits" else 0), f"{origin} is settled"
        )

    async def _is(count: Awaitable[int], expected: int) -> bool:
        return await count == expected

    async def play(broker: BrokerProcess) -> None:
        client, js = await connect(broker)
        kinds = [("limits", "file"), ("workqueue", "file"), ("interest", "file"), ("workqueue", "memory")]
        await asyncio.gather(*(one(js, client, number, *kind) for number, kind in enumerate(kinds)))
        await client.close()

    with BrokerProcess(workers=workers, jetstream="true", store_dir=tmp_path) as broker:
        asyncio.run(play(broker))


def test_letters_wait_for_a_stream_to_collect_them(tmp_path: Path) -> None:
    """Without one they stay, told in INFO, log and advisory, and hold up nobody; a +TERM waits with them."""

    async def play(broker: BrokerProcess) -> None:
        client, js = await connect(broker)
        advisories: list[Msg] = []

        async def told(message: Msg) -> None:
            advisories.append(message)

        await client.subscribe("$JS.EVENT.ADVISORY.CONSUMER.DEAD_LETTER_FAILED.WORK.c", cb=told)
        await js.add_stream(name="WORK", subjects=["work.>"], retention="workqueue")
        await make_consumer(js, "WORK", "graves.work", max_ack_pending=1)
        answers = []
        for number in range(3):
            await js.publish("work.x", b"%d" % number)
            [message] = await fetch(js, "WORK", 1)  # a dead letter takes no place of max_ack_pending
            answer = client.request(message.reply, b"+TERM", timeout=WAIT_S)
            answers.append(asyncio.create_task(answer))

            async def waits(expected: int = number + 1) -> bool:
                metadata = (await js.consumer_info("WORK", "c")).config.metadata
                return metadata.get("_shardbroker.dead_letters_waiting") == str(expected)

            await until(waits, "the letter waits")

        async def is_told() -> bool:
            return bool(advisories)

        await until(is_told, "an advisory")
        assert b"no stream has that subject" in advisories[0].data
        info = await js.consumer_info("WORK", "c")
        assert (info.num_ack_pending, info.ack_floor.stream_seq) == (0, 0)
        assert await count_of(js, "WORK") == 3
        assert not any(answer.done() for answer in answers)
        await js.add_stream(name="GRAVES", subjects=["graves.>"])
        await asyncio.gather(*answers)
        assert sorted(await collected(js, "GRAVES")) == [1, 2, 3]

        async def gone() -> bool:
            return await count_of(js, "WORK") == 0

        await until(gone, "the work queue is empty")
        metadata = (await js.consumer_info("WORK", "c")).config.metadata
        assert "_shardbroker.dead_letters_waiting" not in metadata
        await client.close()

    with BrokerProcess(workers=2, jetstream="true", store_dir=tmp_path) as broker:
        asyncio.run(play(broker))
        assert "a dead letter is not stored on 'graves.work': no stream has that subject" in broker.log()
        assert "dead letters are stored on 'graves.work' again" in broker.log()


def test_headers_act_only_on_the_first_publish(tmp_path: Path) -> None:
    """A rollup, an expectation and an id do nothing to the collecting stream; nothing is too large."""

    async def play(broker: BrokerProcess) -> None:
        client, js = await connect(broker)
        free = {"allow_rollup_hdrs": True}
        await js.add_stream(name="FROM", subjects=["from.>"], **free)
        await js.add_stream(name="TO", subjects=["to.>"], **free)
        await make_consumer(js, "FROM", "to.letters")
        await js.publish("to.letters", b"is there before")
        acting = {"Nats-Rollup": "sub", "Nats-Expected-Stream": "FROM", "Nats-Msg-Id": "mine", "Other": "one"}
        room = MAX_PAYLOAD - sum(len(name) + len(value) + 4 for name, value in acting.items()) - 12
        await js.publish("from.x", bytes(room), headers=acting)
        [message] = await fetch(js, "FROM", 1)
        await client.request(message.reply, b"+TERM", timeout=WAIT_S)
        assert await count_of(js, "TO") == 2
        letter = await js.get_msg("TO", 2)
        assert letter.data == bytes(room)
        kept = {
            f"Shardbroker-Dead-Original-{name}": value for name, value in acting.items() if name != "Other"
        }
        assert {name: letter.headers[name] for name in kept} == kept
        assert letter.headers["Other"] == "one"
        assert letter.headers["Nats-Msg-Id"].startswith("dead.$G.FROM.c.")
        assert not {"Nats-Rollup", "Nats-Expected-Stream"} & letter.headers.keys()
        await client.close()

    with BrokerProcess(workers=2, jetstream="true", store_dir=tmp_path) as broker:
        asyncio.run(play(broker))


def test_the_subject_may_change_and_go(tmp_path: Path) -> None:
    """Letters that wait go to the new subject; without one they are what they would have been.

    And a letter whose message is deleted is none any more: told, and answered.
    """

    async def play(broker: BrokerProcess) -> None:
        client, js = await connect(broker)
        await js.add_stream(name="S", subjects=["s.>"], retention="workqueue")
        await js.add_stream(name="D", subjects=["d.>"])
        await make_consumer(js, "S", "nowhere.1")
        for number in range(3):
            await js.publish("s.x", b"%d" % number)
        first, second, third = await fetch(js, "S", 3)
        answer = asyncio.create_task(client.request(first.reply, b"+TERM", timeout=WAIT_S))

        async def waits() -> bool:
            metadata = (await js.consumer_info("S", "c")).config.metadata
            return "_shardbroker.dead_letters_waiting" in metadata

        await until(waits, "the letter waits")
        with pytest.raises(ServerError, match="would come back"):
            await make_consumer(js, "S", "s.again")
        await make_consumer(js, "S", "d.letters")
        await answer
        assert sorted(await collected(js, "D")) == [1]
        await make_consumer(js, "S", "nowhere.2")
        answer = asyncio.create_task(client.request(second.reply, b"+TERM", timeout=WAIT_S))
        await until(waits, "the second letter waits")
        third_answer = asyncio.create_task(client.request(third.reply, b"+TERM", timeout=WAIT_S))
        await client.flush()
        await js.delete_msg("S", 3)
        await third_answer
        await js.add_consumer("S", ConsumerConfig(durable_name="c", ack_policy="explicit"))
        await answer
        info = await js.consumer_info("S", "c")
        assert (info.num_ack_pending, info.ack_floor.stream_seq) == (0, 3)
        assert sorted(await collected(js, "D")) == [1]
        await client.close()

    with BrokerProcess(workers=2, jetstream="true", store_dir=tmp_path) as broker:
        asyncio.run(play(broker))
        assert "message 3 was deleted before it was stored on 'nowhere.2'" in broker.log()


@pytest.mark.parametrize("mem_storage", [False, True])
def test_letters_may_stay_in_their_stream_and_die_again(tmp_path: Path, mem_storage: bool) -> None:
    """A work queue that collects its own letters, whose consumer gives them up as well; in memory, too."""

    async def play(broker: BrokerProcess) -> None:
        client, js = await connect(broker)
        await js.add_stream(name="JOBS", subjects=["jobs.*", "dead.*"], retention="workqueue")
        await js.add_stream(name="LAST", subjects=["last"])
        for name, subject, then in (("work", "jobs.*", "dead.jobs"), ("late", "dead.*", "last")):
            config = ConsumerConfig(
                durable_name=name,
                ack_policy="explicit",
                filter_subject=subject,
                mem_storage=mem_storage,
                metadata={KEY: then},
            )
            await js.add_consumer("JOBS", config)
        for number in range(50):
            await js.publish("jobs.x", b"%d" % number)
        for name in ("work", "late"):
            subscription = await js.pull_subscribe_bind(name, stream="JOBS")
            messages: list[Msg] = []
            while len(messages) < 50:
                messages += await subscription.fetch(50 - len(messages), timeout=WAIT_S)
            terminated = (client.request(one.reply, b"+TERM", timeout=WAIT_S) for one in messages)
            await asyncio.gather(*terminated)
        assert await count_of(js, "LAST") == 50

        async def is_empty() -> bool:
            return await count_of(js, "JOBS") == 0

        await until(is_empty, "the work queue is empty")
        letters = [await js.get_msg("LAST", sequence) for sequence in range(1, 51)]
        assert sorted(int(letter.data) for letter in letters) == list(range(50))
        assert {letter.headers["Shardbroker-Dead-Consumer"] for letter in letters} == {"late"}
        assert {letter.headers["Shardbroker-Dead-Subject"] for letter in letters} == {"dead.jobs"}
        await client.close()

    with BrokerProcess(workers=2, jetstream="true", store_dir=tmp_path) as broker:
        asyncio.run(play(broker))


def test_letters_outlive_workers_and_broker(tmp_path: Path) -> None:
    """Every worker is killed, then the whole broker, while letters wait; then all are collected, once."""

    dead: list[int] = []

    async def die(broker: BrokerProcess, count: int) -> None:
        """Terminate messages; the confirmed acknowledgement behind them says that this is on the disk."""
        client, js = await connect(broker)
        for _ in range(count + 1):
            await js.publish("w.x", b"x")
        *refused, done = await fetch(js, "W", count + 1)
        for message in refused:
            await message.term()
            dead.append(message.metadata.sequence.stream)
        await done.ack_sync(timeout=WAIT_S)
        await client.close()

    async def begin(broker: BrokerProcess) -> None:
        client, js = await connect(broker)
        await js.add_stream(name="W", subjects=["w.>"], retention="workqueue")
        await make_consumer(js, "W", "late.letters", ack_wait=60)
        await client.close()

    async def check(broker: BrokerProcess) -> None:
        client, js = await connect(broker)
        metadata = (await js.consumer_info("W", "c")).config.metadata
        assert metadata["_shardbroker.dead_letters_waiting"] == str(len(dead))
        assert await count_of(js, "W") == len(dead)
        await client.close()

    async def end(broker: BrokerProcess) -> None:
        client, js = await connect(broker)
        await js.add_stream(name="LATE", subjects=["late.>"])

        async def all_there() -> bool:
            return await count_of(js, "W") == 0

        await until(all_there, "the work queue is empty")
        assert sorted(await collected(js, "LATE")) == dead
        await client.close()

    broker = BrokerProcess(workers=2, jetstream="true", store_dir=tmp_path)
    broker.start()
    try:
        asyncio.run(begin(broker))
        asyncio.run(die(broker, 20))
        asyncio.run(check(broker))
        for worker in range(2):
            pid = broker.worker_pids()[worker]
            psutil.Process(pid).send_signal(signal.SIGKILL)
            wait_until(lambda w=worker, p=pid: broker.worker_pids().get(w, p) != p, WAIT_S, "a successor")
        asyncio.run(check(broker))
        asyncio.run(die(broker, 20))
        asyncio.run(check(broker))
        for process in broker.processes():
            with contextlib.suppress(psutil.NoSuchProcess):  # workers die with the acceptor
                process.send_signal(signal.SIGKILL)
        broker.kill()
        broker = BrokerProcess(workers=2, jetstream="true", store_dir=tmp_path)
        broker.start()
        asyncio.run(check(broker))
        asyncio.run(end(broker))
    finally:
        broker.kill()


def test_nothing_is_lost_when_workers_die_in_the_middle(tmp_path: Path) -> None:
    """Workers are killed while letters are on their way, on either side: all are collected, once."""
    count = 400

    async def play(broker: BrokerProcess) -> None:
        client, js = await connect(broker)
        await js.add_stream(name="A", subjects=["a.>"], retention="workqueue")
        await js.add_stream(name="B", subjects=["b.>"])
        await make_consumer(js, "A", "b.letters", ack_wait=0.5, max_deliver=1)
        for _ in range(count):
            await client.publish("a.x", b"x")
        await until(lambda: _is(count_of(js, "A"), count), "all are stored")
        await fetch(js, "A", count)
        await client.close()

    async def _is(found: Awaitable[int], expected: int) -> bool:
        return await found == expected

    async def end(broker: BrokerProcess) -> None:
        client, js = await connect(broker)
        await until(lambda: _is(count_of(js, "A"), 0), "the work queue is empty")
        assert sorted(await collected(js, "B")) == list(range(1, count + 1))
        await client.close()

    with BrokerProcess(workers=2, jetstream="true", store_dir=tmp_path) as broker:
        asyncio.run(play(broker))
        for worker in (0, 1):
            pid = broker.worker_pids()[worker]
            psutil.Process(pid).send_signal(signal.SIGKILL)
            wait_until(lambda w=worker, p=pid: broker.worker_pids().get(w, p) != p, WAIT_S, "a successor")
        asyncio.run(end(broker))
