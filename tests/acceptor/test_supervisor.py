"""A worker's death, by whatever cause, costs its own clients only; its slot is soon back with a new
generation, all others are told in the right order, and nobody who works is ever killed.

Stub workers assert the order themselves: PeerUp only after PeerDown, descriptors as promised.
"""

import os
import signal
import time

from tests.acceptor.running import wait_until


def on_worker(broker, connect, worker: int):
    """A client that landed on ``worker``."""
    return next(client for client in (connect(broker) for _ in range(8)) if client.worker == worker)


def all_up(broker, generations: list[int]) -> bool:
    shards = broker.shards()
    return [shard["generation"] for shard in shards] == generations and all(
        shard["state"] == "up" for shard in shards
    )


def test_crash_costs_only_its_own_clients(start, connect) -> None:
    broker = start()
    victim, witness = on_worker(broker, connect, 0), on_worker(broker, connect, 1)
    victim.send("CRASH")
    assert victim.at_end
    wait_until(lambda: all_up(broker, [2, 1]))
    assert witness.ask("WHO") == "1 1 [2, 1]"
    assert on_worker(broker, connect, 0).ask("WHO") == "0 2 [2, 1]"
    wait_until(lambda: "ended with code 7: its clients are disconnected" in broker.log)


def test_all_workers_die_at_once(start, connect) -> None:
    broker = start("--workers", "3")
    for shard in broker.shards():
        os.kill(shard["pid"], signal.SIGKILL)
    wait_until(lambda: all_up(broker, [2, 2, 2]))
    for worker in range(3):
        assert on_worker(broker, connect, worker).ask("WHO") == f"{worker} 2 [2, 2, 2]"


def test_silent_worker_is_killed_and_replaced(start, connect) -> None:
    broker = start()
    silent, witness = on_worker(broker, connect, 0), on_worker(broker, connect, 1)
    before = time.monotonic()
    silent.send("HANG")
    assert silent.at_end
    assert 0.9 < time.monotonic() - before < 5
    wait_until(lambda: all_up(broker, [2, 1]))
    assert witness.ask("PING") == "PONG"
    assert "gives no sign of life" in broker.log


def test_a_survivor_that_hangs_does_not_hold_up_the_successor(start, connect) -> None:
    broker = start("--workers", "3")
    dead, hung, witness = (on_worker(broker, connect, worker) for worker in range(3))
    hung.send("HANG")  # it cannot answer PeerDown, and is killed for it after a second
    dead.send("CRASH")
    wait_until(lambda: all_up(broker, [2, 2, 1]))
    assert witness.ask("WHO") == "2 1 [2, 2, 1]"


def test_stopped_worker_is_killed(start) -> None:
    broker = start()
    os.kill(broker.shards()[1]["pid"], signal.SIGSTOP)
    wait_until(lambda: all_up(broker, [1, 2]))


def test_an_acceptor_that_was_stopped_kills_nobody(start) -> None:
    broker = start()
    shards = broker.shards()
    for shard in shards:
        os.kill(shard["pid"], signal.SIGSTOP)
    broker.signal(signal.SIGSTOP)
    time.sleep(2)
    broker.signal(signal.SIGCONT)
    for shard in shards:
        os.kill(shard["pid"], signal.SIGCONT)
    time.sleep(1.5)
    assert all_up(broker, [1, 1])


def test_death_of_the_forkserver_is_survived(start) -> None:
    broker = start()
    processes = broker.json("/shardz?format=json")["processes"]
    os.kill(next(each["pid"] for each in processes if each["role"] == "forkserver"), signal.SIGKILL)
    wait_until(lambda: all_up(broker, [2, 2]))


def test_many_crashes_are_slowed_down_but_never_given_up(start) -> None:
    broker = start()
    for generation in range(2, 7):
        os.kill(broker.shards()[0]["pid"], signal.SIGKILL)
        wait_until(lambda generation=generation: all_up(broker, [generation, 1]))
    assert "is restarted in 0.2s" in broker.log
    assert "is restarted in 0.4s" in broker.log


def test_totals_and_closed_connections_outlive_a_worker(start, connect) -> None:
    broker = start()
    client = on_worker(broker, connect, 0)
    total = broker.json("/shardz?format=json")["totals"]["connections_total"]
    client.send("CRASH")
    wait_until(lambda: all_up(broker, [2, 1]))
    assert broker.json("/shardz?format=json")["totals"]["connections_total"] == total
    closed = broker.json(f"/connz?state=closed&cid={client.cid}")["connections"]
    assert [each["reason"] for each in closed] == ["Server Shutdown"]


def test_no_memory_for_a_successor_is_told_and_tried_again(start, connect, monkeypatch) -> None:
    monkeypatch.setenv("STUB_REGIONS_FAIL", "3,4,5,6")
    broker = start()
    victim, witness = on_worker(broker, connect, 0), on_worker(broker, connect, 1)
    victim.send("CRASH")
    wait_until(lambda: broker.shards()[0]["state"] == "up" and broker.shards()[0]["generation"] > 1)
    assert broker.log.count("Worker 0 could not be started: cannot reserve") == 4
    assert "is restarted in 0.2s" in broker.log
    assert witness.ask("PING") == "PONG"
    generation = broker.shards()[0]["generation"]
    assert on_worker(broker, connect, 0).ask("WHO") == f"0 {generation} [{generation}, 1]"
