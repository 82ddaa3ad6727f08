"""Property: programs written with nats-py, the official Python client, work unchanged.

Every test runs against one and against two workers; those that stop or hurt the server have one of their own.
"""

import asyncio
import os
import signal

import nats
import nats.errors
import nats.js.errors
import psutil
import pytest

from tests.conformance.servers import Reference, Server

pytestmark = [
    pytest.mark.asyncio,
    # The client leaves closing of its transports to the event loop, which is gone by then.
    pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning"),
]
MEBIBYTE = 1 << 20
WAIT_S = 10.0


async def connect(server: Server, **options) -> nats.NATS:
    """A connected client that reports errors to nobody unless the test asks."""

    async def ignore(_error) -> None:
        """The client prints errors by default."""

    return await nats.connect(f"nats://127.0.0.1:{server.port}", **{"error_cb": ignore, **options})


async def settled(client: nats.NATS) -> None:
    """The server has handled all that the client said so far.

    Twice, because the client's first PING overtakes what it has buffered.
    """
    await client.flush()
    await client.flush()


async def eventually(condition, what: str) -> None:
    """Wait until ``condition()``."""
    for _ in range(int(WAIT_S / 0.02)):
        if condition():
            return
        await asyncio.sleep(0.02)
    raise AssertionError(f"not reached: {what}")


async def answer_yes(message) -> None:
    """A service which agrees."""
    await message.respond(b"yes")


async def answer_same(message) -> None:
    """An echo."""
    await message.respond(message.data)


async def test_publish_and_subscribe_in_order(broker: Server) -> None:
    """A thousand messages arrive in the order they were sent."""
    publisher, subscriber = await connect(broker), await connect(broker)
    subscription = await subscriber.subscribe("orders.new")
    await settled(subscriber)
    for number in range(1000):
        await publisher.publish("orders.new", b"%d" % number)
    await settled(publisher)
    received = [(await subscription.next_msg(timeout=WAIT_S)).data for _ in range(1000)]
    assert received == [b"%d" % number for number in range(1000)]
    await publisher.close()
    await subscriber.close()


async def test_order_over_subjects(broker: Server) -> None:
    """One publisher's messages keep their order for one subscriber, also across subjects."""
    publisher, subscriber = await connect(broker), await connect(broker)
    subscription = await subscriber.subscribe("many.>")
    await settled(subscriber)
    for number in range(500):
        await publisher.publish(f"many.{number % 13}.x", b"%d" % number)
    await settled(publisher)
    received = [int((await subscription.next_msg(timeout=WAIT_S)).data) for _ in range(500)]
    assert received == list(range(500))
    await publisher.close()
    await subscriber.close()


async def test_wildcards(broker: Server) -> None:
    """Star is one word, greater-than is the rest; the message names its own subject."""
    client = await connect(broker)
    star, rest = await client.subscribe("weather.*.today"), await client.subscribe("weather.>")
    for subject in ("weather.rome.today", "weather.rome", "weather.rome.today.hourly", "climate.rome.today"):
        await client.publish(subject, b"")
    await settled(client)
    assert (await star.next_msg(timeout=WAIT_S)).subject == "weather.rome.today"
    subjects = [(await rest.next_msg(timeout=WAIT_S)).subject for _ in range(3)]
    assert subjects == ["weather.rome.today", "weather.rome", "weather.rome.today.hourly"]
    assert star.pending_msgs == rest.pending_msgs == 0
    await client.close()


async def test_unicode_subject(broker: Server) -> None:
    """Subjects are bytes to the server."""
    client = await connect(broker)
    subscription = await client.subscribe("Grüße.*")
    await client.publish("Grüße.日本", "こんにちは".encode())
    message = await subscription.next_msg(timeout=WAIT_S)
    assert (message.subject, message.data.decode()) == ("Grüße.日本", "こんにちは")
    await client.close()


async def test_queue_group_shares_the_work(broker: Server) -> None:
    """Each message goes to exactly one of four members on four connections, and each gets a fair part."""
    members = [await connect(broker) for _ in range(4)]
    counts = [0] * 4

    def handler(index: int):
        async def count(_message) -> None:
            counts[index] += 1

        return count

    for index, member in enumerate(members):
        await member.subscribe("jobs", queue="workers", cb=handler(index))
        await settled(member)
    publisher = await connect(broker)
    for _ in range(1000):
        await publisher.publish("jobs", b"job")
    await settled(publisher)
    await eventually(lambda: sum(counts) >= 1000, "all jobs done")
    await asyncio.sleep(0.1)
    assert sum(counts) == 1000
    assert all(150 <= count <= 350 for count in counts), counts
    for client in (*members, publisher):
        await client.close()


async def test_queue_group_over_two_filters(broker: Server) -> None:
    """One queue name on ``qq.*`` and ``qq.1`` is one group."""
    first, second, publisher = [await connect(broker) for _ in range(3)]
    received: list[bytes] = []

    async def handler(message) -> None:
        received.append(message.data)

    await first.subscribe("qq.*", queue="g", cb=handler)
    await second.subscribe("qq.1", queue="g", cb=handler)
    await settled(first)
    await settled(second)
    for number in range(50):
        await publisher.publish("qq.1", b"%d" % number)
    await settled(publisher)
    await eventually(lambda: len(received) >= 50, "fifty messages")
    await asyncio.sleep(0.1)
    assert sorted(map(int, received)) == list(range(50))
    for client in (first, second, publisher):
        await client.close()


async def test_requests(broker: Server) -> None:
    """A hundred requests at once, each gets its own answer."""
    server, client = await connect(broker), await connect(broker)

    async def double(message) -> None:
        await message.respond(b"%d" % (2 * int(message.data)))

    await server.subscribe("double", cb=double)
    await settled(server)
    answers = await asyncio.gather(
        *(client.request("double", b"%d" % number, timeout=WAIT_S) for number in range(100))
    )
    assert [int(answer.data) for answer in answers] == [2 * number for number in range(100)]
    await server.close()
    await client.close()


async def test_request_without_responders_fails_at_once(broker: Server) -> None:
    """No time-out: the server says so. After the responder is gone, too."""
    client, server = await connect(broker), await connect(broker)
    with pytest.raises(nats.errors.NoRespondersError):
        await client.request("nobody.is.here", b"", timeout=WAIT_S)
    subscription = await server.subscribe("somebody", cb=answer_yes)
    await settled(server)
    assert (await client.request("somebody", b"", timeout=WAIT_S)).data == b"yes"
    await subscription.unsubscribe()
    await settled(server)
    with pytest.raises(nats.errors.NoRespondersError):
        await client.request("somebody", b"", timeout=WAIT_S)
    await client.close()
    await server.close()


async def test_request_without_answer_times_out(broker: Server) -> None:
    """Somebody listens but does not answer."""
    client = await connect(broker)
    await client.subscribe("silence")
    with pytest.raises(nats.errors.TimeoutError):
        await client.request("silence", b"", timeout=0.2)
    await client.close()


async def test_jetstream_publish_without_jetstream(broker: Server) -> None:
    """Nobody serves the stream: the client says so instead of waiting."""
    client = await connect(broker)
    with pytest.raises(nats.js.errors.NoStreamResponseError):
        await client.jetstream().publish("no.stream", b"x", timeout=WAIT_S)
    await client.close()


async def test_headers(broker: Server) -> None:
    """Headers come back with the reply, beside the payload."""
    client = await connect(broker)
    subscription = await client.subscribe("with.headers")
    await client.publish("with.headers", b"body", headers={"Content-Type": "text/plain", "x-lower": "Grüße"})
    message = await subscription.next_msg(timeout=WAIT_S)
    assert message.headers == {"Content-Type": "text/plain", "x-lower": "Grüße"}
    assert message.data == b"body"

    async def respond(request) -> None:
        await client.publish(request.reply, b"", headers={"Status-Like": "1"})

    await client.subscribe("headers.service", cb=respond)
    reply = await client.request("headers.service", b"", timeout=WAIT_S, headers={"A": "1"})
    assert reply.headers == {"Status-Like": "1"}
    await client.close()


async def test_auto_unsubscribe(broker: Server) -> None:
    """Exactly three of ten arrive."""
    client = await connect(broker)
    received: list[bytes] = []

    async def handler(message) -> None:
        received.append(message.data)

    subscription = await client.subscribe("limited", cb=handler)
    await subscription.unsubscribe(limit=3)
    for number in range(10):
        await client.publish("limited", b"%d" % number)
    await settled(client)
    await asyncio.sleep(0.1)
    assert received == [b"0", b"1", b"2"]
    await client.close()


async def test_no_echo(broker: Server) -> None:
    """A client which asks for it does not hear itself."""
    silent, other = await connect(broker, no_echo=True), await connect(broker)
    own, foreign = await silent.subscribe("room"), await other.subscribe("room")
    await settled(silent)
    await settled(other)
    await silent.publish("room", b"hello")
    await settled(silent)
    assert (await foreign.next_msg(timeout=WAIT_S)).data == b"hello"
    with pytest.raises(nats.errors.TimeoutError):
        await own.next_msg(timeout=0.2)
    await silent.close()
    await other.close()


async def test_drain_of_a_subscription_loses_nothing(broker: Server) -> None:
    """What was published before the drain ended is handled."""
    client, publisher = await connect(broker), await connect(broker)
    handled = 0

    async def slow(_message) -> None:
        nonlocal handled
        await asyncio.sleep(0.001)
        handled += 1

    subscription = await client.subscribe("drained", cb=slow)
    await settled(client)
    for _ in range(200):
        await publisher.publish("drained", b"x")
    await settled(publisher)
    await subscription.drain()
    assert handled == 200
    await client.close()
    await publisher.close()


async def test_drain_of_a_connection_loses_nothing(broker: Server) -> None:
    """Queue members leave one after the other while messages flow; each message is handled once."""
    publisher = await connect(broker)
    members = [await connect(broker) for _ in range(4)]
    handled: list[int] = []

    async def handler(message) -> None:
        handled.append(int(message.data))

    for member in members:
        await member.subscribe("shift", queue="team", cb=handler)
        await settled(member)
    for number in range(400):
        await publisher.publish("shift", b"%d" % number)
        if number in (100, 200, 300):
            await settled(publisher)
            await members[number // 100].drain()
    await settled(publisher)
    await eventually(lambda: len(handled) >= 400, "all handled")
    assert sorted(handled) == list(range(400))
    await members[0].close()
    await publisher.close()


async def test_messages_of_a_mebibyte(broker: Server) -> None:
    """Messages of exactly max_payload, there and back, byte for byte."""
    client, echo = await connect(broker), await connect(broker)
    await echo.subscribe("big", cb=answer_same)
    await settled(echo)
    payload = os.urandom(MEBIBYTE)
    for _ in range(5):
        reply = await client.request("big", payload, timeout=WAIT_S)
        assert reply.data == payload
    await client.close()
    await echo.close()


async def test_too_large_a_message(broker: Server) -> None:
    """The client refuses by the limit it learned; a client that does not is thrown out, others live on.

    What the server says when it throws it out may be lost, for it closes with unread input.
    """
    client = await connect(broker)
    assert client.max_payload == MEBIBYTE
    with pytest.raises(nats.errors.MaxPayloadError):
        await client.publish("big", b"x" * (MEBIBYTE + 1))
    careless = await connect(broker, allow_reconnect=False)
    careless._max_payload = 2 * MEBIBYTE
    await careless.publish("big", b"x" * (MEBIBYTE + 1))
    await eventually(lambda: careless.is_closed, "the careless client is thrown out")
    await settled(client)
    await client.close()


async def test_slow_handler_is_the_clients_own_problem(broker: Server) -> None:
    """Pending limits of the client library: it drops for itself and stays connected."""
    errors: list[Exception] = []

    async def note(error) -> None:
        errors.append(error)

    client, publisher = await connect(broker, error_cb=note), await connect(broker)
    release = asyncio.Event()

    async def blocked(_message) -> None:
        await release.wait()

    await client.subscribe("flood", cb=blocked, pending_msgs_limit=10)
    await settled(client)
    for _ in range(100):
        await publisher.publish("flood", b"x")
    await settled(publisher)
    await eventually(lambda: errors, "slow consumer error")
    assert isinstance(errors[0], nats.errors.SlowConsumerError)
    release.set()
    await settled(client)
    assert client.is_connected
    await client.close()
    await publisher.close()


async def test_many_connections(broker: Server) -> None:
    """Two hundred clients in a ring, each wakes the next."""
    clients = await asyncio.gather(*(connect(broker) for _ in range(200)))
    done = asyncio.Event()

    def handler(index: int):
        async def forward(message) -> None:
            if index + 1 == len(clients):
                done.set()
            else:
                await clients[index].publish(f"ring.{index + 1}", message.data)

        return forward

    for index, client in enumerate(clients):
        await client.subscribe(f"ring.{index}", cb=handler(index))
    await asyncio.gather(*(settled(client) for client in clients))
    await clients[-1].publish("ring.0", b"go")
    await asyncio.wait_for(done.wait(), WAIT_S)
    assert len({client.client_id for client in clients}) == len(clients)
    await asyncio.gather(*(client.close() for client in clients))


async def test_reconnects_after_a_worker_was_killed(own_broker: Server) -> None:
    """A client of a killed worker reconnects with its subscriptions; others do not notice."""
    if isinstance(own_broker, Reference):
        pytest.skip("nats-server has no workers")
    clients = [
        await connect(own_broker, reconnect_time_wait=0.05, max_reconnect_attempts=100) for _ in range(8)
    ]
    heard: list[list[bytes]] = [[] for _ in clients]
    for index, client in enumerate(clients):

        async def note(message, index=index) -> None:
            heard[index].append(message.data)

        await client.subscribe("after.the.crash", cb=note)
        await settled(client)
    os.kill(worker_pids(own_broker)[0], signal.SIGKILL)
    await eventually(lambda: any(client.stats["reconnects"] for client in clients), "a reconnect")
    await eventually(lambda: all(client.is_connected for client in clients), "all connected")
    for client in clients:
        await settled(client)
    await clients[0].publish("after.the.crash", b"still here")
    await settled(clients[0])
    await eventually(lambda: all(b"still here" in each for each in heard), "all hear")
    assert sum(client.stats["reconnects"] for client in clients) > 0
    for client in clients:
        await client.close()


def worker_pids(server: Server) -> list[int]:
    """Processes below the server's that hold an established connection of a client."""
    children = psutil.Process(server.process.pid).children(recursive=True)
    return [
        child.pid
        for child in children
        if any(
            connection.status == psutil.CONN_ESTABLISHED and connection.laddr.port == server.port
            for connection in child.net_connections(kind="tcp")
        )
    ]


async def test_reconnects_after_a_restart(own_broker: Server) -> None:
    """The server is stopped and another started on the same port: subscriptions are made anew."""
    client = await connect(own_broker, reconnect_time_wait=0.05, max_reconnect_attempts=200)
    subscription = await client.subscribe("later")
    await settled(client)
    assert own_broker.stop() == 0 or isinstance(own_broker, Reference)
    await eventually(lambda: client.is_reconnecting, "the loss is noticed")
    own_broker.restart()
    await eventually(lambda: client.is_connected, "the client is back")
    await client.publish("later", b"again")
    await client.flush(timeout=10)
    assert (await subscription.next_msg(timeout=WAIT_S)).data == b"again"
    await client.close()
