"""A worker that writes garbage into its ring is replaced; the clients of the others notice nothing (I10).

The garbage comes from outside: the rings have no names, but the acceptor's descriptors show them in /proc.
"""

import os
import struct
import time
from collections.abc import Callable

import pytest

from shardbroker.shm import layout
from tests.support.broker_process import BrokerProcess

RING_SIZE = 65536


def write_to_a_ring(broker: BrokerProcess, offset: int, data: bytes) -> None:
    """Into the first ring that the acceptor holds."""
    folder = f"/proc/{broker.pid}/fd"
    for name in sorted(os.listdir(folder), key=int):
        path = f"{folder}/{name}"
        if "/dev/shm" in os.readlink(path) and os.stat(path).st_size == layout.RING_DATA + RING_SIZE:
            with open(path, "r+b", buffering=0) as ring:
                ring.seek(offset)
                ring.write(data)
            return
    raise AssertionError("the acceptor holds no ring")


@pytest.mark.usefixtures("shardbroker_only")
@pytest.mark.parametrize("head", [3, 1 << 63])
def test_garbage_in_a_ring(make_broker: Callable[..., BrokerProcess], head: int) -> None:
    broker = make_broker(workers=2, ring_size=RING_SIZE)
    clients = dict(reversed(broker.placed_client()) for _ in range(8))
    assert len(clients) == 2
    before = set(broker.worker_pids().values())
    write_to_a_ring(broker, layout.RING_HEAD, struct.pack("<Q", head))
    deadline = time.monotonic() + 10
    while len(set(broker.worker_pids().values()) - before) != 1:
        assert time.monotonic() < deadline, broker.log()
        time.sleep(0.05)
    assert "holds garbage" in broker.log()
    # One worker's client is gone, the other's goes on, and a new pair talks across both workers.
    survivors = [client for client in clients.values() if not client.is_closed()]
    assert len(survivors) == 1
    time.sleep(0.5)
    fresh = dict(reversed(broker.placed_client()) for _ in range(8))
    for worker, client in fresh.items():
        client.subscribe(f"to.{worker}", 1)
        client.flush()
    for worker, client in fresh.items():
        survivors[0].publish(f"to.{worker}", b"hello")
        assert client.read_messages(1, 5)[0].payload == b"hello"
