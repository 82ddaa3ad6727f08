"""Connections reach a worker: spread evenly, numbered, limited, moved on request, and never lost while a
worker is stuck or descriptors are short."""

import os
import resource
import signal
import socket
from collections import Counter

from tests.acceptor.running import Client, wait_until


def test_connections_are_spread_evenly_and_numbered(start, connect) -> None:
    broker = start("--workers", "3")
    clients = [connect(broker) for _ in range(30)]
    assert sorted(client.cid for client in clients) == list(range(1, 31))
    assert Counter(client.worker for client in clients) == {0: 10, 1: 10, 2: 10}


def test_a_storm_is_spread_before_the_workers_have_counted(start) -> None:
    broker = start()
    socks = [socket.create_connection(("127.0.0.1", broker.port)) for _ in range(200)]
    workers = Counter(sock.recv(100).split()[2] for sock in socks)
    for sock in socks:
        sock.close()
    assert sum(workers.values()) == 200
    assert min(workers.values()) >= 90


def test_new_connections_fill_the_emptiest_worker(start, connect) -> None:
    broker = start()
    clients = [connect(broker) for _ in range(10)]
    for client in clients:
        if client.worker == 0:
            client.close()
    wait_until(lambda: broker.shards()[0]["statistics"]["connections"] == 0)
    assert [connect(broker).worker for _ in range(5)] == [0] * 5


def test_over_the_limit_a_connection_is_sent_to_be_told(start, connect) -> None:
    broker = start("--max_connections", "4")
    clients = [connect(broker) for _ in range(4)]
    assert connect(broker).greeting == [b"FULL"]
    clients[0].close()
    wait_until(lambda: connect(broker).greeting[0] == b"HELLO")
    varz = broker.json("/varz")
    assert varz["max_connections"] == 4
    assert varz["total_connections"] >= 6


def test_a_connection_moves_with_its_socket_and_number(start, connect) -> None:
    broker = start()
    client = connect(broker)
    target = 1 - client.worker
    assert client.ask(f"MOVE {target}") == "MOVED"
    assert client.ask("WHO").startswith(f"{target} ")
    assert [each["cid"] for each in broker.json("/connz")["connections"]] == [client.cid]


def test_a_move_to_nowhere_comes_back(start, connect) -> None:
    broker = start()
    client = connect(broker)
    assert client.ask("MOVE 60") == "MOVED"
    assert client.ask("WHO").startswith(f"{client.worker} ")
    assert client.ask("PING") == "PONG"


def test_while_all_workers_are_stuck_connections_wait_and_none_is_lost(start) -> None:
    broker = start()
    pids = [shard["pid"] for shard in broker.shards()]
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    socks = [socket.create_connection(("127.0.0.1", broker.port), timeout=10) for _ in range(1000)]
    for pid in pids:
        os.kill(pid, signal.SIGCONT)
    numbers = {sock.recv(100).split()[1] for sock in socks}
    for sock in socks:
        sock.close()
    assert len(numbers) == 1000


def test_out_of_descriptors_it_pauses_and_goes_on(start) -> None:
    broker = start()
    used = max(int(name) for name in os.listdir(f"/proc/{broker.process.pid}/fd"))
    before = resource.prlimit(broker.process.pid, resource.RLIMIT_NOFILE, (used + 1, 20_000))
    socks = [socket.create_connection(("127.0.0.1", broker.port), timeout=10) for _ in range(50)]
    # One descriptor more is enough to accept and pass on one after the other; none stops it.
    resource.prlimit(broker.process.pid, resource.RLIMIT_NOFILE, (used - 5, 20_000))
    more = [socket.create_connection(("127.0.0.1", broker.port), timeout=10) for _ in range(20)]
    wait_until(lambda: "Temporary Client Accept Error" in broker.log)
    resource.prlimit(broker.process.pid, resource.RLIMIT_NOFILE, before)
    assert len({sock.recv(100) for sock in socks + more}) == 70
    for sock in socks + more:
        sock.close()
    assert broker.stop() == 0


def test_client_gone_before_it_is_accepted_harms_nobody(start, connect) -> None:
    broker = start()
    for _ in range(50):
        sock = socket.create_connection(("127.0.0.1", broker.port))
        # Reset at close: the worker gets a socket that is already in error.
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        sock.close()
    client: Client = connect(broker)
    assert client.ask("PING") == "PONG"
    assert [shard["generation"] for shard in broker.shards()] == [1, 1]
