"""Messages that cross workers in chunks arrive as they would inside one: headers, replies, queue groups.

The rings are the smallest there are (64 KiB), so a message of a megabyte goes through each of them in many
pieces, while the other workers write theirs. What large payloads alone do, tests/system/test_limits.py shows.
"""

import random
from collections import Counter
from collections.abc import Callable

import pytest

from tests.support.broker_process import BrokerProcess
from tests.support.raw_client import Message, RawClient

RING_SIZE = 65536
PAYLOAD_SIZES = (0, 1, 4000, RING_SIZE // 4, RING_SIZE, 300_000, (1 << 20) - 100)
HEADERS = b"NATS/1.0\r\nName: value\r\n\r\n"


@pytest.fixture
def broker(make_broker: Callable[..., BrokerProcess]) -> BrokerProcess:
    return make_broker(workers=3, ring_size=RING_SIZE)


def payload_of(size: int) -> bytes:
    """Bytes that differ wherever a piece might be cut, lost or doubled."""
    return random.Random(size).randbytes(size)


def publish_with_headers(client: RawClient, subject: str, reply: str, payload: bytes) -> None:
    sizes = f"{len(HEADERS)} {len(HEADERS) + len(payload)}"
    client.send(f"HPUB {subject} {reply} {sizes}\r\n".encode() + HEADERS + payload + b"\r\n")


def clients_everywhere(broker: BrokerProcess, **options: object) -> list[RawClient]:
    """One client in each worker. (On another server: as many clients.)"""
    if not broker.is_shardbroker:
        return broker.clients(3, **options)
    placed: dict[int, RawClient] = {}
    for _ in range(30):
        client, worker = broker.placed_client(**options)
        placed.setdefault(worker, client)
        if len(placed) == broker.workers:
            return list(placed.values())
    raise AssertionError(f"connections came to workers {sorted(placed)} only")


def test_headers(broker: BrokerProcess) -> None:
    """Who understands headers gets them; who does not gets the payload alone, whatever worker he is in."""
    with_headers = clients_everywhere(broker)
    without = clients_everywhere(broker, headers=False, no_responders=False)
    for client in with_headers + without:
        client.subscribe("headers.*", 1)
        client.flush()
    for publisher in with_headers:
        for size in PAYLOAD_SIZES:
            payload = payload_of(size)
            publish_with_headers(publisher, "headers.x", "back", payload)
            publisher.flush(20)
            for client in with_headers + without:
                headers = HEADERS if client in with_headers else b""
                expected = Message(b"headers.x", b"1", b"back", headers, payload)
                assert client.read_messages(1, 20) == [expected], f"{size} bytes came wrong"


def test_queue_group(broker: BrokerProcess) -> None:
    """Members in all workers, publishers in all workers: every message once and whole, nobody left out."""
    members = clients_everywhere(broker) + clients_everywhere(broker, headers=False, no_responders=False)
    publishers = clients_everywhere(broker)
    for member in members:
        member.subscribe("queue.>", 7, "group")
        member.flush()
    sent = Counter()
    for turn in range(40):
        for index, publisher in enumerate(publishers):
            size = PAYLOAD_SIZES[(turn + index) % len(PAYLOAD_SIZES)] if turn % 4 == 0 else 100
            subject = f"queue.{index}.{turn}"
            publisher.publish(subject, payload_of(size), "back")
            sent[subject.encode(), payload_of(size)] += 1
    for publisher in publishers:
        publisher.flush(20)
    got = Counter()
    for member in members:
        member.flush(20)
        messages = member.take_messages()
        assert messages, "a member got nothing"
        assert all(message.sid == b"7" and message.reply == b"back" for message in messages)
        got.update((message.subject, message.payload) for message in messages)
    assert got == sent


def test_plain_and_queue_subscriptions_of_one_message(broker: BrokerProcess) -> None:
    """A plain one in each worker, two groups over all workers: each plain one once, each group once."""
    clients = clients_everywhere(broker)
    for client in clients:
        client.subscribe("both", "plain")
        client.subscribe("both", "first", "first")
        client.subscribe("*", "second", "second")
        client.flush()
    for turn, size in enumerate(PAYLOAD_SIZES):
        publisher = clients[turn % len(clients)]
        publish_with_headers(publisher, "both", "", payload_of(size))
        publisher.flush(20)
        messages = []
        for client in clients:
            client.flush(20)
            messages += client.take_messages()
        assert Counter(message.sid for message in messages) == {b"plain": 3, b"first": 1, b"second": 1}
        assert {(message.headers, message.payload) for message in messages} == {(HEADERS, payload_of(size))}


def test_no_echo(broker: BrokerProcess) -> None:
    """With echo off a large message comes back to nobody but the others."""
    clients = clients_everywhere(broker, echo=False)
    for client in clients:
        client.subscribe("echo", 1)
        client.flush()
    payload = payload_of(RING_SIZE * 3)
    for client in clients:
        client.publish("echo", payload)
        client.flush(20)
    for client in clients:
        client.flush(20)
        assert [message.payload == payload for message in client.take_messages()] == [True, True]
