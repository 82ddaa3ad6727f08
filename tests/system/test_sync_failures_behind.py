"""A sync that fails behind frames nobody waited for: changes of consumers, and messages of `--sync interval`.

The writer has said that they are stored, and takes them back. Their owner does the same, in place: its worker
lives on, with all its clients and other streams, and everything goes on when the disk does.
"""

import asyncio
import functools
import os
import signal
from pathlib import Path

import nats
import pytest
from nats.js.api import ConsumerConfig
from nats.js.errors import APIError

from tests.support.broker_process import BrokerProcess, is_shardbroker, wait_until
from tests.system.disk_faults import Injected
from tests.system.test_jetstream_disk import writer_pid

pytestmark = pytest.mark.skipif(not is_shardbroker(), reason="only shardbroker has a stream-writer")

COUNT = 300
#: Messages that are synced before a sync fails, twice: the second failure lies before the first one's end.
SYNCED = (20, 5)
LOST = 20
KEPT = sum(SYNCED) + len(SYNCED)


async def consume(pulling, count: int, seen: dict[int, int]) -> None:
    """Take and acknowledge messages; how often each came goes into ``seen``."""
    for _ in range(count // 10):
        for message in await pulling.fetch(10, timeout=10):
            sequence = message.metadata.sequence.stream
            seen[sequence] = seen.get(sequence, 0) + 1
            await message.ack()


async def play(broker: BrokerProcess, directory: Path) -> None:
    workers = broker.worker_pids()
    client = await nats.connect(f"nats://{broker.host}:{broker.port}")
    stream = client.jetstream(timeout=5)
    await stream.add_stream(name="S", subjects=["s.>"])
    for number in range(COUNT):
        await stream.publish("s.x", b"%d" % number)
    config = ConsumerConfig(durable_name="C", ack_wait=2)
    pulling = await stream.pull_subscribe("s.>", "C", config=config)
    seen: dict[int, int] = {}
    await consume(pulling, 50, seen)
    with Injected(writer_pid(broker), directory, "fdatasync:error=EIO"):
        await consume(pulling, 100, seen)
        await asyncio.sleep(2)  # the changes of the consumer are synced behind it, once a second
        for _ in range(5):
            with pytest.raises(APIError):
                await stream.publish("s.x", b"refused")
            await asyncio.sleep(0.3)
    for _ in range(100):
        try:
            await stream.publish("s.x", b"again")
            break
        except APIError:
            await asyncio.sleep(0.1)
    while len(seen) < COUNT:
        await consume(pulling, 10, seen)
    info = await stream.consumer_info("S", "C")
    assert info.num_pending <= 1 and set(range(1, COUNT + 1)) <= set(seen)
    assert broker.worker_pids() == workers, "a worker ended"
    await client.close()


def test_consumers_go_on(tmp_path: Path) -> None:
    with BrokerProcess(workers=2, jetstream="true", store_dir=tmp_path / "store") as broker:
        asyncio.run(play(broker, tmp_path))


def log_of(broker: BrokerProcess) -> dict:
    """What the stream-writer says of the only stream's log."""
    (account,) = broker.monitor("/jsz?streams=1")["account_details"]
    (stream,) = account["stream_detail"]
    return stream["log"]


def is_synced(broker: BrokerProcess) -> bool:
    log = log_of(broker)
    return log["durable_index"] == log["stored_index"]


async def publish_without_sync(broker: BrokerProcess, directory: Path) -> list[int]:
    """Sequences acknowledged while no sync works, and one behind the failure."""
    client = await nats.connect(f"nats://{broker.host}:{broker.port}")
    stream = client.jetstream(timeout=5)
    await stream.add_stream(name="S", subjects=["s.>"])
    given: list[int] = []

    async def publish(payload: bytes, count: int) -> None:
        for _ in range(count):
            given.append((await stream.publish("s.x", payload)).seq)

    for synced in SYNCED:
        await publish(b"synced", synced)
        await asyncio.to_thread(wait_until, lambda: is_synced(broker), 20, "a sync by the clock")
        with Injected(writer_pid(broker), directory, "fdatasync:error=EIO"):
            before = log_of(broker)["syncs"]
            await publish(b"lost", LOST)
            failed = functools.partial(lambda n: log_of(broker)["syncs"] > n, before)
            await asyncio.to_thread(wait_until, failed, 20, "a sync that fails")
            with pytest.raises(APIError):
                await stream.publish("s.x", b"refused")
        for _ in range(100):
            try:
                await publish(b"again", 1)
                break
            except APIError:
                await asyncio.sleep(0.1)
    state = (await stream.stream_info("S")).state
    assert state.messages == KEPT and state.last_seq == given[-1]
    await client.close()
    return given


async def read_all(broker: BrokerProcess) -> list[bytes]:
    """Payloads in the stream."""
    client = await nats.connect(f"nats://{broker.host}:{broker.port}")
    stream = client.jetstream(timeout=5)
    listening = await stream.subscribe("s.>", ordered_consumer=True)
    found = [(await listening.next_msg(timeout=5)).data for _ in range(KEPT)]
    assert (await stream.publish("s.x", b"more")).seq > KEPT + LOST * len(SYNCED)
    await client.close()
    return found


def test_unsynced_messages_are_lost_and_their_sequences_not_given_again(tmp_path: Path) -> None:
    options = {
        "jetstream": "true",
        "store_dir": tmp_path / "store",
        "sync": "interval",
        "sync_interval": "3s",
    }
    with BrokerProcess(workers=2, **options) as broker:
        workers = broker.worker_pids()
        given = asyncio.run(publish_without_sync(broker, tmp_path))
        assert given == list(range(1, KEPT + LOST * len(SYNCED) + 1))
        assert "lost sequences 21 to 40" in broker.log() and "lost sequences 47 to 66" in broker.log()
        assert broker.worker_pids() == workers, "a worker ended"
        expected = [payload for count in SYNCED for payload in [b"synced"] * count + [b"again"]]
        broker.kill()
    with BrokerProcess(workers=2, **options) as broker:
        assert asyncio.run(read_all(broker)) == expected


async def fail_and_lose_the_owner(broker: BrokerProcess, directory: Path) -> None:
    client = await nats.connect(f"nats://{broker.host}:{broker.port}")
    stream = client.jetstream(timeout=5)
    names = [f"S{number}" for number in range(4)]
    for name in names:
        await stream.add_stream(name=name, subjects=[name])
        await stream.publish(name, b"first")
    with Injected(writer_pid(broker), directory, "fdatasync:error=EIO"):
        for name in names:
            with pytest.raises(APIError):
                await stream.publish(name, b"refused")
    await client.close()
    before = broker.worker_pids()
    for pid in before.values():
        os.kill(pid, signal.SIGKILL)
    workers = await asyncio.to_thread(replaced, broker, before)
    client = await nats.connect(f"nats://{broker.host}:{broker.port}")
    stream = client.jetstream(timeout=5)
    for name in names:
        for _ in range(100):
            try:
                await stream.publish(name, b"second")
                break
            except APIError:
                await asyncio.sleep(0.1)
        assert (await stream.stream_info(name)).state.messages == 2
    assert broker.worker_pids() == workers, "a successor ended, too"
    await client.close()


def replaced(broker: BrokerProcess, before: dict[int, int]) -> dict[int, int]:
    """The pids of all workers, once none is of those before and their streams are served."""

    def are_new() -> bool:
        pids = broker.worker_pids()
        return len(pids) == len(before) and not set(pids.values()) & set(before.values())

    wait_until(lambda: broker.log().count(" is back, pid ") >= len(before) and are_new(), 20, "new workers")
    return broker.worker_pids()


def test_a_successor_begins_a_new_segment_where_the_writer_wants_one(tmp_path: Path) -> None:
    """What a failed sync has left is not gone on with, and the successor of the owner does not know of it."""
    with BrokerProcess(workers=2, jetstream="true", store_dir=tmp_path / "store") as broker:
        asyncio.run(fail_and_lose_the_owner(broker, tmp_path))
