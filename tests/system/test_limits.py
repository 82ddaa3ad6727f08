"""Limits hold, and what is beyond them hurts only the one who is (RELIABILITY D1-D8; invariant I10).

Property: 10,000 connections are served; subscribers that never read cost at most the outbound budget, and the
others keep 90 % of their messages in the same time; messages of any size up to max_payload cross rings of any
size; each configured limit acts at its value, in nats-server's words; no descriptors left means no new
connections, never a dead broker; SIGTERM and lame duck end it in order.

How: real processes and sockets. Where time is measured, a reference run in the same test gives the scale,
because the machine may be busy with other things. Tests without ``shardbroker_only`` hold for nats-server
too.
"""

import contextlib
import os
import random
import resource
import signal
import socket
import time
from collections.abc import Callable

import pytest

from tests.support.broker_process import BrokerProcess, is_shardbroker, wait_until
from tests.support.raw_client import ClosedError, RawClient, publication

MIB = 1 << 20
OUTBOUND_BUDGET = 256 * MIB
#: Of the budget only payload is counted; buffers have growth room, processes their own noise.
BUDGET_SLACK = 1.25

Make = Callable[..., BrokerProcess]


# --- many connections -----------------------------------------------------------------------------------


@pytest.mark.timeout(240)
def test_ten_thousand_connections(make_broker: Make) -> None:
    """All are served at once and cost at most 32 KiB each; every 10th hears a message to all."""
    count = 10_000
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    assert hard >= count + 500, f"RLIMIT_NOFILE is {hard} here: this machine cannot run the test"
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, count + 1000), hard))
    broker = make_broker(workers=2, ping_interval="60s")
    base_size = broker.rss_size()
    sockets: list[socket.socket] = []
    try:
        connect = b'CONNECT {"verbose":false,"protocol":0}\r\n'
        for start in range(0, count, 500):
            batch = []
            for _ in range(500):
                connection = socket.create_connection((broker.host, broker.port), timeout=20)
                connection.sendall(
                    connect + (b"SUB all 1\r\n" if len(sockets) % 10 == 0 else b"") + b"PING\r\n"
                )
                batch.append(connection)
                sockets.append(connection)
            for connection in batch:
                read_until(connection, b"PONG\r\n")
            assert len(sockets) == start + 500
        assert broker.monitor("/varz")["connections"] == count
        used_size = (broker.rss_size() - base_size) / count
        with RawClient(broker.port) as publisher:
            publisher.publish("all", b"hello")
            publisher.flush()
        for connection in sockets[::10]:
            assert b"MSG all 1 5\r\nhello\r\n" in read_until(connection, b"hello\r\n")
        print(f"{used_size / 1024:.1f} KiB a connection")
        if broker.is_shardbroker:  # nats-server: 32 to 42 KiB
            assert used_size <= (32 << 10), f"{used_size:.0f} bytes a connection"
    finally:
        for connection in sockets:
            connection.close()
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    wait_until(lambda: broker.monitor("/varz")["connections"] == 0, 20.0, "all connections are closed")


def read_until(connection: socket.socket, end: bytes, timeout_s: float = 20.0) -> bytes:
    """Bytes up to and with ``end``."""
    connection.settimeout(timeout_s)
    data = b""
    while end not in data:
        more = connection.recv(65536)
        assert more, f"closed after {data!r}"
        data += more
    return data


def test_max_connections(make_broker: Make) -> None:
    """One more than max_connections is greeted, told why, and closed; a free place is taken again."""
    broker = make_broker(workers=2, max_connections=5)
    clients = broker.clients(5)
    with RawClient(broker.port, connects=False) as refused:
        refused.wait_error("maximum connections exceeded")
        refused.wait_closed()
    clients.pop().close()
    wait_until(lambda: broker.monitor("/varz")["connections"] < 5, 5.0, "the place is free")
    broker.client().flush()
    for client in clients:
        client.flush()


# --- slow readers ---------------------------------------------------------------------------------------


def heard_in(broker: BrokerProcess, seconds: float) -> int:
    """Messages of 1 KiB that get from one publisher to one reader in this time."""
    with RawClient(broker.port) as publisher, RawClient(broker.port) as reader:
        reader.subscribe("flood.x", "reader")
        reader.flush()
        burst = publication("flood.x", b"x" * 1024) * 64
        heard = 0
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            publisher.send(burst, timeout_s=30)
            heard += len(reader.read_messages(64, 30))
    return heard


@pytest.mark.timeout(180)
@pytest.mark.parametrize("slow_count", [1, 20, 100])
def test_slow_readers(make_broker: Make, shardbroker_only: None, slow_count: int) -> None:
    """D3: subscribers that never read: memory stays in the budget, and the others soon have their speed back.

    A publisher that waits for its reader is measured alone, and for 6 s beside the slow ones; until those are
    closed, filling their outboxes takes its share. That the loss over a minute is at most 10 % is measured by
    the load tests: CI machines are too noisy for it. Here the last second has to be half as good as alone.
    """
    broker = make_broker(workers=2)
    heard_in(broker, 0.5)
    alone = heard_in(broker, 2.0) / 2.0
    base_size = broker.rss_size()
    slow = [broker.client(receive_buffer_size=4096) for _ in range(slow_count)]
    for client in slow:
        client.subscribe("flood.>", "slow")
        client.flush()
    peak_size = 0
    beside = []
    for _ in range(12):
        beside.append(heard_in(broker, 0.5) / 0.5)
        peak_size = max(peak_size, broker.rss_size() - base_size)
    # A last push of a publisher that waits for nobody, to fill every outbox there is.
    with RawClient(broker.port) as publisher:
        burst = publication("flood.push", b"x" * 1024) * 256
        deadline = time.monotonic() + 2.0
        while time.monotonic() < deadline:
            publisher.send(burst, timeout_s=30)
        publisher.flush(30)
        peak_size = max(peak_size, broker.rss_size() - base_size)
    rates = " ".join(f"{rate:.0f}" for rate in beside)
    print(f"{slow_count} slow: {alone:.0f}/s alone, then {rates}; peak {peak_size / MIB:.0f} MiB")
    assert peak_size <= OUTBOUND_BUDGET * BUDGET_SLACK, f"{peak_size / MIB:.0f} MiB over base"
    assert sum(beside[-2:]) / 2 >= 0.5 * alone, f"{alone:.0f} messages/s alone, beside slow readers {rates}"
    assert min(beside) > 0


def test_max_pending_closes_the_slow_one(make_broker: Make) -> None:
    """A client whose queue passes max_pending is closed and counted; nobody else is."""
    broker = make_broker(workers=2, max_pending=2 * MIB)
    slow = broker.client(receive_buffer_size=4096)
    slow.subscribe("much", 1)
    slow.flush()
    others = broker.clients(4)
    burst = publication("much", b"x" * 10_000) * 100
    deadline = time.monotonic() + 30
    while broker.monitor("/varz")["slow_consumers"] == 0:
        assert time.monotonic() < deadline, "not closed with far more than max_pending queued"
        others[0].send(burst)
        others[0].flush(20)
    for client in others:
        client.flush()
    slow.wait_closed(20)
    assert broker.monitor("/varz")["slow_consumers"] == 1


def test_write_deadline_closes_the_slow_one(make_broker: Make) -> None:
    """A client that takes nothing for write_deadline is closed, long before max_pending."""
    broker = make_broker(workers=2, write_deadline="500ms")
    slow = broker.client(receive_buffer_size=4096)
    slow.subscribe("much", 1)
    slow.flush()
    publisher = broker.client()
    publisher.send(publication("much", b"x" * 10_000) * 1000, 20)
    publisher.flush(20)
    waited_s = wait_until(
        lambda: broker.monitor("/varz")["slow_consumers"] == 1, 10.0, "the slow one is closed"
    )
    assert waited_s < 5.0


# --- large messages, small rings ------------------------------------------------------------------------


@pytest.mark.parametrize("ring_size", [65536, 1 << 20])
def test_messages_larger_than_the_ring(make_broker: Make, seed: random.Random, ring_size: int) -> None:
    """Sizes up to max_payload, mixed, from all workers to all workers: bytes and order as sent."""
    size_max = 1 << 20
    broker = make_broker(workers=3, ring_size=ring_size)
    clients = broker.clients(6)
    for client in clients:
        client.subscribe("large", 1)
        client.flush()
    pattern = bytes(range(256)) * (size_max // 256)
    sizes = [size_max, 0, size_max - 1, ring_size, ring_size - 1, ring_size // 2, 16, size_max]
    sizes += [seed.randrange(size_max) for _ in range(8)]
    for number, size in enumerate(sizes):
        publisher = seed.choice(clients)
        publisher.send(
            publication("large", b"%04d" % number + pattern[4:size] if size > 4 else pattern[:size])
        )
        publisher.flush(20)
        for client in clients:
            (message,) = client.read_messages(1, 20)
            expected = b"%04d" % number + pattern[4:size] if size > 4 else pattern[:size]
            assert message.payload == expected, f"message {number} of {size} bytes came wrong"


def test_full_rings_both_ways(make_broker: Make, rounds: Callable[[int], int]) -> None:
    """All workers write to all through rings of 64 KiB, at full speed: nothing lost, nobody stuck."""
    broker = make_broker(workers=3, ring_size=65536)
    clients = broker.clients(6)
    for client in clients:
        client.subscribe("full.>", 1)
        client.flush()
    count = rounds(40)
    expected = {index: 0 for index in range(len(clients))}
    seen = [dict(expected) for _ in clients]
    padding = b" x" * 500
    for turn in range(count):
        for index, client in enumerate(clients):
            numbers = range(turn * 50, turn * 50 + 50)
            bodies = (b"%d %d" % (index, number) + padding for number in numbers)
            client.send(b"".join(publication(f"full.{index}", body) for body in bodies), 20)
        for index, client in enumerate(clients):
            for message in client.read_available():
                note(seen[index], message.payload)
    for client in clients:
        client.flush(20)
    for client in clients:  # all have published everything when all have their PONG
        client.flush(20)
    for index, client in enumerate(clients):
        for message in client.take_messages():
            note(seen[index], message.payload)
        assert seen[index] == {name: count * 50 for name in expected}
    if broker.is_shardbroker:
        assert broker.monitor("/shardz")["totals"]["ring_full"] > 0, "the rings were never full"


def note(seen: dict[int, int], payload: bytes) -> None:
    """Check that this number is the next of its publisher."""
    name, number = map(int, payload.split()[:2])
    assert number == seen[name], f"of publisher {name}: {number} came, {seen[name]} was next"
    seen[name] = number + 1


def test_max_payload(make_broker: Make) -> None:
    """Exactly max_payload passes; one byte more is an error and the end of that connection."""
    broker = make_broker(workers=2, max_payload=1000)
    reader, writer = broker.clients(2)
    assert reader.info["max_payload"] == 1000
    reader.subscribe("p", 1)
    reader.flush()
    writer.publish("p", b"x" * 1000)
    assert reader.read_messages(1)[0].payload == b"x" * 1000
    writer.publish("p", b"x" * 1001)
    writer.wait_error("Maximum Payload Violation")
    writer.wait_closed()
    reader.flush()


def test_max_subscriptions(make_broker: Make) -> None:
    """One more than max_subscriptions is refused, the connection goes on; a freed place can be used."""
    broker = make_broker(workers=2, max_subscriptions=10)
    client = broker.client()
    for number in range(12):
        client.subscribe(f"s.{number}", number)
    client.flush()
    assert client.errors == [b"maximum subscriptions exceeded"] * 2
    client.unsubscribe(3)
    client.subscribe("again", 99)
    client.publish("again", b"x")
    assert client.read_messages(1)[0].sid == b"99"


# --- liveness -------------------------------------------------------------------------------------------


def test_stale_connection(make_broker: Make) -> None:
    """A client that does not answer PING is told so and closed at the third tick; one that does stays."""
    broker = make_broker(workers=2, ping_interval="1s", ping_max=2)
    dumb, good = broker.client(answers_pings=False), broker.client()
    started = time.monotonic()
    while not dumb.errors:
        assert time.monotonic() - started < 15, "never found stale"
        with contextlib.suppress(ClosedError):
            good.read_available(0.05)
            dumb.read_available(0.05)
    elapsed_s = time.monotonic() - started
    assert dumb.errors == [b"Stale Connection"]
    dumb.wait_closed()
    assert 2.0 <= elapsed_s <= 8.0, f"stale after {elapsed_s:.1f} s"
    good.flush()


def test_first_ping(make_broker: Make) -> None:
    """The first PING comes 2 s after connecting, up to 20 % later."""
    broker = make_broker(workers=2)
    client = broker.client(answers_pings=False)
    started = time.monotonic()
    data = bytearray()
    client.socket.settimeout(10)
    while b"PING\r\n" not in data:
        data += client.socket.recv(4096)
    elapsed_s = time.monotonic() - started
    assert 1.5 <= elapsed_s <= 4.0, f"PING after {elapsed_s:.2f} s"


# --- descriptors ----------------------------------------------------------------------------------------


@pytest.mark.timeout(60)
def test_out_of_descriptors(make_broker: Make) -> None:
    """With few descriptors connections are refused or wait, the others are served, and places come back."""
    broker = make_broker(workers=2, descriptors_max=120)
    early = broker.clients(4)
    held: list[socket.socket] = []
    try:
        for _ in range(400):
            connection = socket.socket()
            connection.settimeout(2)
            connection.connect((broker.host, broker.port))
            held.append(connection)
        time.sleep(0.5)
        early[0].subscribe("alive", 1)
        early[0].flush()
        for client in early[1:]:
            client.publish("alive", b"yes")
            client.flush()
        assert len(early[0].read_messages(3)) == 3
    finally:
        for connection in held:
            connection.close()

    def served() -> bool:
        try:
            with RawClient(broker.port, timeout_s=2) as client:
                client.flush()
        except (OSError, TimeoutError):
            return False
        return True

    wait_until(served, 15.0, "new clients are served after the flood")
    for client in early:
        client.flush()


# --- the end --------------------------------------------------------------------------------------------


def test_terminate(make_broker: Make) -> None:
    """SIGTERM: clients are closed, exit code 0, at once."""
    broker = make_broker(workers=2)
    clients = broker.clients(5)
    started = time.monotonic()
    assert broker.end_with(signal.SIGTERM) in ((0,) if broker.is_shardbroker else (0, 1))
    assert time.monotonic() - started < 5.0
    for client in clients:
        client.wait_closed(2)


def test_interrupt(make_broker: Make) -> None:
    """SIGINT likewise."""
    broker = make_broker(workers=2)
    client = broker.client()
    assert broker.end_with(signal.SIGINT) == 0
    client.wait_closed(2)


@pytest.mark.timeout(120)
def test_lame_duck(make_broker: Make) -> None:
    """SIGUSR2: no new connections, INFO with ldm, then clients are closed bit by bit, exit code 0."""
    duration_s, grace_s = (6, 3) if is_shardbroker() else (30, 24)  # nats-server takes no less than 30
    broker = make_broker(workers=2, lame_duck_duration=f"{duration_s}s", lame_duck_grace_period=f"{grace_s}s")
    clients = broker.clients(6)
    for client in clients:
        client.read_available(0.05)
    os.kill(broker.pid, signal.SIGUSR2)
    started = time.monotonic()
    for client in clients:
        client.wait_info(lambda info: info.get("ldm"))
    with pytest.raises(OSError), socket.create_connection((broker.host, broker.port), timeout=2):
        pass
    clients[0].subscribe("still", 1)
    clients[0].flush()
    clients[1].publish("still", b"served")
    assert clients[0].read_messages(1)[0].payload == b"served"
    assert broker.process is not None
    code = broker.process.wait(60)
    elapsed_s = time.monotonic() - started
    assert code == 0
    assert grace_s - 0.5 <= elapsed_s <= 1.5 * duration_s + 2, f"lame duck took {elapsed_s:.1f} s"
    for client in clients:
        client.wait_closed(2)
