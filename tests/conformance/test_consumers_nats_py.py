"""Property: what nats-py builds on consumers works unchanged, with two workers.

Ordered and queue subscriptions, redelivery with its advisories, key-value and object stores.

Each test has a stream name of its own, so that streams of both workers are met.
"""

import asyncio

import nats
import pytest
from nats.js.api import ConsumerConfig

from tests.conformance.servers import Server

pytestmark = [
    pytest.mark.asyncio,
    pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning"),
]
WAIT_S = 10.0


async def connect(server: Server) -> tuple[nats.NATS, nats.js.JetStreamContext]:
    """A client and its JetStream context."""
    client = await nats.connect(f"nats://127.0.0.1:{server.port}")
    return client, client.jetstream(timeout=WAIT_S)


async def until(condition) -> None:
    """Wait for something that comes by itself."""
    for _ in range(500):
        if condition():
            return
        await asyncio.sleep(0.01)
    raise AssertionError("it did not come")


async def test_an_ordered_subscription_gets_everything(jetstream_broker: Server) -> None:
    """More than two windows of flow control, in order, and what is published meanwhile."""
    client, js = await connect(jetstream_broker)
    await js.add_stream(name="ORDERED", subjects=["ordered.>"])
    body = bytes(20_000)
    for number in range(200):
        await js.publish("ordered.x", b"%06d" % number + body)
    subscription = await js.subscribe("ordered.>", ordered_consumer=True)
    for number in range(100):
        assert (await subscription.next_msg(timeout=WAIT_S)).data[:6] == b"%06d" % number
    await js.publish("ordered.y", b"%06d" % 200)
    for number in range(100, 201):
        assert (await subscription.next_msg(timeout=WAIT_S)).data[:6] == b"%06d" % number
    await client.close()


async def test_members_of_a_queue_share_the_messages(jetstream_broker: Server) -> None:
    """Two connections, one deliver group; each message once."""
    client, js = await connect(jetstream_broker)
    other, other_js = await connect(jetstream_broker)
    await js.add_stream(name="QUEUE", subjects=["queue.>"])
    got: list[list[bytes]] = [[], []]

    def taker(place: int):
        async def take(message) -> None:
            got[place].append(message.data)
            await message.ack()

        return take

    await js.subscribe("queue.>", queue="workers", cb=taker(0))
    await other_js.subscribe("queue.>", queue="workers", cb=taker(1))
    for number in range(200):
        await js.publish("queue.x", b"%d" % number)
    await until(lambda: len(got[0]) + len(got[1]) >= 200)
    assert sorted(got[0] + got[1]) == sorted(b"%d" % number for number in range(200))
    assert min(len(got[0]), len(got[1])) > 20
    info = await js.consumer_info("QUEUE", "workers")
    assert info.push_bound
    await other.close()
    await client.close()


async def test_a_message_is_given_up_after_max_deliver(jetstream_broker: Server) -> None:
    """It comes twice, then an advisory says that it will not come again."""
    client, js = await connect(jetstream_broker)
    heard = []

    async def hear(message) -> None:
        heard.append(message.subject)

    await client.subscribe("$JS.EVENT.ADVISORY.CONSUMER.*.GIVEUP.d", cb=hear)
    await js.add_stream(name="GIVEUP", subjects=["giveup.>"])
    await js.add_consumer(
        "GIVEUP", ConsumerConfig(durable_name="d", ack_policy="explicit", ack_wait=0.2, max_deliver=2)
    )
    await js.publish("giveup.x", b"again")
    await js.publish("giveup.y", b"bad")
    subscription = await js.pull_subscribe_bind("d", stream="GIVEUP")
    _first, bad = await subscription.fetch(2, timeout=WAIT_S)
    await bad.term()
    again = await subscription.fetch(1, timeout=WAIT_S)
    assert (again[0].data, again[0].metadata.num_delivered) == (b"again", 2)
    with pytest.raises(nats.errors.TimeoutError):
        await subscription.fetch(1, timeout=0.6)
    prefix = "$JS.EVENT.ADVISORY.CONSUMER."
    assert sorted(heard) == [
        f"{prefix}CREATED.GIVEUP.d", f"{prefix}MAX_DELIVERIES.GIVEUP.d", f"{prefix}MSG_TERMINATED.GIVEUP.d",
    ]  # fmt: skip
    await client.close()


async def test_a_key_value_bucket(jetstream_broker: Server) -> None:
    """History, keys, and a watcher that sees the past and then the present."""
    client, js = await connect(jetstream_broker)
    bucket = await js.create_key_value(bucket="PYKV", history=3)
    await bucket.put("a", b"1")
    await bucket.put("a", b"2")
    await bucket.put("b", b"x")
    await bucket.delete("b")
    assert [entry.value for entry in await bucket.history("a")] == [b"1", b"2"]
    assert await bucket.keys() == ["a"]
    watcher = await bucket.watchall()
    seen = []
    while (entry := await watcher.updates(timeout=WAIT_S)) is not None:
        seen.append((entry.key, entry.value, entry.operation))
    assert seen == [("a", b"2", None), ("b", b"", "DEL")]
    await bucket.put("c", b"live")
    entry = await watcher.updates(timeout=WAIT_S)
    assert (entry.key, entry.value) == ("c", b"live")
    await watcher.stop()
    await client.close()


async def test_an_object_store(jetstream_broker: Server) -> None:
    """An object of several chunks is put, listed, got, watched and deleted."""
    client, js = await connect(jetstream_broker)
    store = await js.create_object_store("PYOBJ")
    data = bytes(range(256)) * 2500
    await store.put("f", data)
    assert (await store.get("f")).data == data
    assert [info.name for info in await store.list()] == ["f"]
    watcher = await store.watch()
    assert (await watcher.updates(timeout=WAIT_S)).size == len(data)
    await watcher.stop()
    await store.delete("f")
    with pytest.raises(nats.js.errors.ObjectNotFoundError):
        await store.get("f")
    await client.close()
