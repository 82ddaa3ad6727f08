"""Consumers with memory storage on a file stream: they outlive their worker, and end with the broker.

In nats-server they are gone when the server is; a worker of ours that dies is no reason to lose them.
"""

import asyncio
import signal
from pathlib import Path

import nats
import psutil
import pytest
from nats.js import JetStreamContext
from nats.js.api import ConsumerConfig
from nats.js.errors import NotFoundError

from tests.support.broker_process import BrokerProcess, is_shardbroker, wait_until

pytestmark = [
    pytest.mark.skipif(not is_shardbroker(), reason="only shardbroker has workers to kill"),
    pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning"),
]
WAIT_S = 10.0
#: What a consumer without acknowledgements has sent is written down four times a second.
NOTED_S = 0.6
TRIES = 4


async def _connect(broker: BrokerProcess) -> tuple[nats.NATS, JetStreamContext]:
    client = await nats.connect(f"nats://127.0.0.1:{broker.port}")
    return client, client.jetstream(timeout=WAIT_S)


def _kill_workers(broker: BrokerProcess) -> None:
    """One after the other; each has its successor at the end."""
    for worker, pid in sorted(broker.worker_pids().items()):
        psutil.Process(pid).send_signal(signal.SIGKILL)
        wait_until(lambda: broker.worker_pids().get(worker, pid) != pid, WAIT_S, "a successor")  # noqa: B023


async def _work(broker: BrokerProcess) -> None:
    """Ten messages; the one with acknowledgements has confirmed 1 and 3 of four, the other has sent five."""
    client, js = await _connect(broker)
    await js.add_stream(name="M", subjects=["M.>"])
    for number in range(10):
        await js.publish("M.x", b"%d" % number)
    for name, policy in (("acked", "explicit"), ("sent", "none")):
        await js.add_consumer("M", ConsumerConfig(durable_name=name, ack_policy=policy, mem_storage=True))
    subscription = await js.pull_subscribe_bind("acked", stream="M")
    messages = await subscription.fetch(4, timeout=WAIT_S)
    await messages[0].ack_sync(timeout=WAIT_S)
    await messages[2].ack_sync(timeout=WAIT_S)
    await (await js.pull_subscribe_bind("sent", stream="M")).fetch(5, timeout=WAIT_S)
    await client.close()


async def _look(broker: BrokerProcess, name: str) -> tuple[int, ...]:
    client, js = await _connect(broker)
    try:
        info = await js.consumer_info("M", name)
    finally:
        await client.close()
    return info.delivered.consumer_seq, info.ack_floor.stream_seq, info.num_ack_pending, info.num_pending


async def _delete(broker: BrokerProcess) -> None:
    client, js = await _connect(broker)
    await js.delete_stream("M")
    await client.close()


def test_they_outlive_their_worker_and_not_the_broker(tmp_path: Path) -> None:
    """What was acknowledged is known exactly; what was sent without, if there was time to write it down."""
    with BrokerProcess(workers=2, jetstream="true", store_dir=tmp_path) as broker:
        for left in reversed(range(TRIES)):
            asyncio.run(_work(broker))
            asyncio.run(asyncio.sleep(NOTED_S))
            _kill_workers(broker)
            assert asyncio.run(_look(broker, "acked")) == (4, 1, 2, 6)
            try:
                assert asyncio.run(_look(broker, "sent")) == (5, 5, 0, 5)
                break
            except (NotFoundError, AssertionError):
                # On a machine that stood still its note may not have been written.
                assert left, "it was lost each time"
                asyncio.run(_delete(broker))
    with BrokerProcess(workers=2, jetstream="true", store_dir=tmp_path) as broker:
        for name in ("acked", "sent"):
            with pytest.raises(NotFoundError):
                asyncio.run(_look(broker, name))
