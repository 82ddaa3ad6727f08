"""Memory comes back: what clients used is given back after they are gone (RELIABILITY D2, D8; invariant I10).

Property: after a wave of connections, subscriptions or queued messages, the memory of all processes returns
to near what it was before, and a second and third wave do not add to it: no leak a wave.

How: PSS of all processes is read from outside before, after the first and after the last of several equal
waves. The first wave may leave pools and warm tables behind. What later ones may leave is bounded for good:
a row of 512 bytes for each of the last 10,000 closed connections, and pages of the shared interest filter
(8 MiB in all) that new subjects touch for the first time.
nats-server is not asked: its runtime keeps what it has for minutes.
"""

import gc
import time
from collections.abc import Callable

import pytest

from tests.support.broker_process import BrokerProcess, is_shardbroker, wait_until
from tests.support.raw_client import RawClient, publication

pytestmark = pytest.mark.skipif(not is_shardbroker(), reason="a promise of shardbroker alone")

MIB = 1 << 20
#: Of the filter and the closed rows, what two waves have not touched yet.
FOR_GOOD_SIZE = 10 * MIB
Make = Callable[..., BrokerProcess]


def settled_size(broker: BrokerProcess, limit_size: int, timeout_s: float = 5.0) -> int:
    """PSS once it is below ``limit_size``, or after ``timeout_s``."""
    deadline = time.monotonic() + timeout_s
    size = broker.rss_size()
    while size > limit_size and time.monotonic() < deadline:
        time.sleep(0.1)
        size = broker.rss_size()
    return size


def waves(
    broker: BrokerProcess, wave: Callable[[], None], count: int, allowance: int, growth_max: int
) -> None:
    """Run equal waves; the first may leave ``allowance`` bytes, the others together ``growth_max``."""
    with (
        RawClient(broker.port) as first,
        RawClient(broker.port) as second,
    ):  # first pages of rings and buffers
        for client in (first, second):
            client.subscribe("warm.>", 1)
            client.flush()
        for client in (first, second):
            client.send(publication("warm.up", b"x" * 1000) * 4000, 30)
            client.flush(30)
        first.flush(30)
    if broker.is_shardbroker:
        broker.monitor("/connz")  # brings numpy into the acceptor, which else comes a second after start
        broker.monitor("/shardz")
    base_size = broker.rss_size()
    wave()
    first_size = settled_size(broker, base_size + allowance)
    for _ in range(count - 1):
        wave()
    last_size = settled_size(broker, first_size + growth_max)
    print(f"base {base_size / MIB:.1f}, first {first_size / MIB:.1f}, last {last_size / MIB:.1f} MiB")
    assert first_size <= base_size + allowance, f"{(first_size - base_size) / MIB:.1f} MiB kept after a wave"
    assert last_size <= first_size + growth_max, (
        f"{(last_size - first_size) / MIB:.1f} MiB more after the last wave"
    )


@pytest.mark.timeout(120)
def test_connections_give_memory_back(make_broker: Make, rounds: Callable[[int], int]) -> None:
    """1,000 connections that each send and receive, and go. (Closed connections stay listed in /connz.)"""
    broker = make_broker(workers=2)

    def wave() -> None:
        clients = [RawClient(broker.port) for _ in range(1000)]
        for client in clients:
            client.subscribe(f"own.{client.cid}", 1)
            client.publish(f"own.{client.cid}", b"x" * 2000)
            client.read_messages(1)
        for client in clients:
            client.close()
        wait_until(lambda: broker.monitor("/varz")["connections"] == 0, 10.0, "all are closed")
        gc.collect()

    waves(broker, wave, rounds(3), allowance=16 * MIB, growth_max=FOR_GOOD_SIZE)


@pytest.mark.timeout(120)
def test_subscriptions_give_memory_back(make_broker: Make, rounds: Callable[[int], int]) -> None:
    """100,000 subscriptions on one connection, and gone; pages of the shared table may stay (reused)."""
    broker = make_broker(workers=2)
    peak_sizes = []

    def wave() -> None:
        before = broker.rss_size()
        with RawClient(broker.port, timeout_s=60) as client:
            for start in range(0, 100_000, 1000):
                subscriptions = (
                    f"SUB many.{n % 317}.subject.{n} {n}\r\n" for n in range(start, start + 1000)
                )
                client.send("".join(subscriptions).encode(), 60)
            client.flush()
            peak_sizes.append(broker.rss_size() - before)
        wait_until(lambda: broker.monitor("/varz")["connections"] == 0, 20.0, "the connection is closed")
        wait_until(lambda: broker.monitor("/varz")["subscriptions"] < 100, 20.0, "its subscriptions are gone")

    waves(broker, wave, rounds(3), allowance=48 * MIB, growth_max=4 * MIB)
    a_subscription = max(peak_sizes) / 100_000
    print(f"{a_subscription:.0f} bytes a subscription at the peak")
    assert a_subscription <= 756, "nats-server takes 756 bytes a subscription"


@pytest.mark.timeout(120)
def test_queued_output_gives_memory_back(make_broker: Make, rounds: Callable[[int], int]) -> None:
    """40 MiB queued for a client that does not read; it goes, and its queue with it."""
    broker = make_broker(workers=2)

    def wave() -> None:
        with RawClient(broker.port, receive_buffer_size=4096) as slow, RawClient(broker.port) as publisher:
            slow.subscribe("queue", 1)
            slow.flush()
            for _ in range(40):
                publisher.send(publication("queue", b"x" * 65_000) * 16, 30)
            publisher.flush(30)
        wait_until(lambda: broker.monitor("/varz")["connections"] == 0, 10.0, "both are closed")

    waves(broker, wave, rounds(3), allowance=16 * MIB, growth_max=4 * MIB)


@pytest.mark.timeout(120)
def test_unlimited_inboxes_and_counts(make_broker: Make, rounds: Callable[[int], int]) -> None:
    """D8: SUB with auto-unsubscribe over and over, new inboxes each time, UNSUB of unknown ids: flat."""
    broker = make_broker(workers=2)

    def wave() -> None:
        with RawClient(broker.port) as client:
            for start in range(0, 20_000, 500):
                commands = []
                for number in range(start, start + 500):
                    inbox = f"_INBOX.{number}.{time.monotonic_ns()}"
                    commands.append(
                        f"SUB {inbox} {number}\r\nUNSUB {number} 1\r\nUNSUB x{number} 5\r\n".encode()
                    )
                    commands.append(publication(inbox, b"once"))
                client.send(b"".join(commands))
                assert len(client.read_messages(500)) == 500
        wait_until(lambda: broker.monitor("/varz")["connections"] == 0, 10.0, "closed")

    waves(broker, wave, rounds(3), allowance=24 * MIB, growth_max=FOR_GOOD_SIZE)
