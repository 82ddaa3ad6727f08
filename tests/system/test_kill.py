"""Sudden death of a worker, of a worker that stands still, of the acceptor (RELIABILITY R2; I7, I10).

Property, worker killed with -9 under load: only its own clients are disconnected; a successor serves within
1 s; what other publishers send to other subscribers comes without gap, double or swap, all through it. What
the dead worker's own publishers had sent arrives as an unbroken beginning of what they sent.
Property, worker stopped (SIGSTOP): it is killed after about 1 s, and nobody else waits much longer than that.
Property, acceptor killed with -9: all processes are gone, the port is free at once, /dev/shm is as before.

How: publishers number their messages, every subscriber checks each publisher's numbers as they come. Victims
and moments are seeded choices. The first restarts of a worker are immediate and later ones wait longer, so
each broker has to suffer a few deaths only and then makes place for a fresh one.
"""

import os
import random
import signal
import socket
import time
from collections.abc import Callable

import pytest

from tests.support.broker_process import BrokerProcess, is_shardbroker, wait_until
from tests.support.raw_client import ClosedError, RawClient, publication

pytestmark = pytest.mark.skipif(not is_shardbroker(), reason="only shardbroker has workers to kill")

WORKERS = 3
DEATHS_PER_WORKER = 3  # restarts that are immediate (limits.restarts_immediate)
RESPAWN_S_MAX = 1.0
STALL_S_MAX = 2.5  # 1 s until a stopped worker is given up, and room for a loaded machine
BURST = 20


class Talker:
    """A publisher of numbers under its own subject; ``sent`` counts them."""

    def __init__(self, broker: BrokerProcess, name: int) -> None:
        self.name = name
        self.sent = 0
        self.client = broker.client()

    def talk(self) -> bool:
        """Send a burst; False when the connection is gone."""
        numbers = range(self.sent, self.sent + BURST)
        data = b"".join(publication(f"load.{self.name}", b"%d %d" % (self.name, n)) for n in numbers)
        try:
            self.client.send(data)
        except OSError:
            return False
        self.sent += BURST
        return not self.client.is_closed()


class Listener:
    """A subscriber that checks, as they come, that each talker's numbers have no gap, double or swap."""

    def __init__(self, broker: BrokerProcess) -> None:
        self.next: dict[int, int] = {}
        self.client = broker.client()
        self.client.subscribe("load.>", "load")
        self.client.flush()

    def listen(self, timeout_s: float = 0.0) -> bool:
        """Take what is there; False when the connection is gone."""
        try:
            messages = self.client.read_available(timeout_s)
        except ClosedError:
            return False
        for message in messages:
            name, number = map(int, message.payload.split())
            # A talker older than this subscription is heard from wherever it stands.
            expected = self.next.get(name, number)
            assert number == expected, f"of talker {name}: {number} came, {expected} was next"
            self.next[name] = number + 1
        return True


class Load:
    """Talkers and listeners on all workers; what loses its connection is replaced, as clients do."""

    def __init__(self, broker: BrokerProcess) -> None:
        self.broker = broker
        self.names = iter(range(1 << 30))
        self.talkers: list[Talker] = []
        self.listeners: list[Listener] = []
        self.lost: list[Talker] = []
        for _ in range(2 * broker.workers):
            self.listeners.append(Listener(broker))
            self.talkers.append(Talker(broker, next(self.names)))
        for listener in self.listeners:  # all talkers are heard from their first number
            listener.next = {talker.name: 0 for talker in self.talkers}

    def turn(self) -> tuple[int, int]:
        """Everybody talks and listens once; how many talkers and listeners were found disconnected."""
        gone_talkers = [talker for talker in self.talkers if not talker.talk()]
        gone_listeners = [listener for listener in self.listeners if not listener.listen()]
        self.talkers = [talker for talker in self.talkers if talker not in gone_talkers]
        self.listeners = [listener for listener in self.listeners if listener not in gone_listeners]
        self.lost += gone_talkers
        return len(gone_talkers), len(gone_listeners)

    def reconnect(self, talkers_count: int, listeners_count: int) -> None:
        self.listeners += [Listener(self.broker) for _ in range(listeners_count)]
        fresh = [Talker(self.broker, next(self.names)) for _ in range(talkers_count)]
        for listener in self.listeners:
            listener.next.update({talker.name: 0 for talker in fresh})
        self.talkers += fresh

    def check_complete(self) -> None:
        """Every living listener gets everything the living talkers have sent."""
        for talker in self.talkers:
            talker.client.flush()
        for listener in self.listeners:
            listener.client.flush()
            assert listener.listen()
            for talker in self.talkers:
                if listener.next.get(talker.name, 0) != talker.sent:
                    raise AssertionError(
                        f"talker {talker.name} sent {talker.sent}, heard {listener.next.get(talker.name)}"
                    )
            for talker in self.lost:
                assert listener.next.get(talker.name, 0) <= talker.sent


def serves(broker: BrokerProcess) -> bool:
    """Whether all workers are up and a new client is served."""
    if len(broker.worker_pids()) < broker.workers:
        return False
    with RawClient(broker.port) as probe:
        probe.flush()
    return True


@pytest.mark.timeout(300)
def test_killed_worker(seed: random.Random, rounds: Callable[[int], int]) -> None:
    """30 deaths of workers under load."""
    deaths_count = 0
    slowest_s = 0.0
    while deaths_count < rounds(30):
        with BrokerProcess(workers=WORKERS) as broker:
            load = Load(broker)
            victims = list(range(WORKERS)) * DEATHS_PER_WORKER
            seed.shuffle(victims)
            for victim in victims:
                for _ in range(seed.randrange(3, 12)):
                    assert load.turn() == (0, 0), "a client was disconnected and no worker was killed"
                pids = broker.worker_pids()
                os.kill(pids[victim], signal.SIGKILL)
                killed_at = time.monotonic()
                dead = pids[victim]
                wait_until(lambda d=dead: d not in broker.worker_pids().values(), 5.0, "the death is seen")
                wait_until(lambda: serves(broker), 5.0, "all workers serve")
                slowest_s = max(slowest_s, time.monotonic() - killed_at)
                gone_talkers = gone_listeners = 0
                for _ in range(4):
                    talkers, listeners = load.turn()
                    gone_talkers += talkers
                    gone_listeners += listeners
                share = gone_talkers + gone_listeners
                everybody = share + len(load.talkers) + len(load.listeners)
                # Least connections first spreads evenly, give or take the reconnects of earlier deaths.
                assert 0 < share <= everybody * 2 // WORKERS, (
                    f"{share} of {everybody} clients were disconnected"
                )
                load.reconnect(gone_talkers, gone_listeners)
                load.turn()
                deaths_count += 1
            load.check_complete()
            figures = broker.monitor("/shardz")["totals"]
            assert figures["protocol_errors"] == 0
            assert figures["ring_messages_in"] > 0
    print(f"{deaths_count} deaths, slowest successor after {slowest_s:.3f} s")
    assert slowest_s <= RESPAWN_S_MAX * (1 if os.cpu_count() > 2 else 2), f"successor after {slowest_s:.3f} s"


@pytest.mark.timeout(120)
def test_two_workers_die_together(seed: random.Random) -> None:
    """Two of three killed in one breath: the third's clients notice nothing, then all three serve."""
    for _ in range(3):
        with BrokerProcess(workers=WORKERS) as broker:
            load = Load(broker)
            for _ in range(5):
                load.turn()
            pids = broker.worker_pids()
            victims = seed.sample(sorted(pids), 2)
            for victim in victims:
                os.kill(pids[victim], signal.SIGKILL)
            killed = {pids[victim] for victim in victims}
            wait_until(lambda k=killed: not k & set(broker.worker_pids().values()), 5.0, "both are replaced")
            wait_until(lambda: serves(broker), 5.0, "all workers serve")
            for _ in range(4):
                load.turn()
            assert load.talkers and load.listeners, "the clients of the third worker were disconnected too"
            load.check_complete()


@pytest.mark.timeout(180)
def test_survivors_that_stumble(seed: random.Random, rounds: Callable[[int], int]) -> None:
    """A worker dies while the others stand still for moments: a successor never reads stale places in rings.

    (crash_model: a successor may only read a survivor's ring from where that survivor has attached it.)
    """
    for _ in range(rounds(1)):
        with BrokerProcess(workers=WORKERS, ring_size=65536) as broker:
            load = Load(broker)
            everybody = len(load.talkers)
            for victim in list(range(WORKERS)) * 2:
                for _ in range(3):
                    load.turn()
                pids = broker.worker_pids()
                survivors = [pid for worker, pid in pids.items() if worker != victim]
                os.kill(pids[victim], signal.SIGKILL)
                killed_at = time.monotonic()
                while time.monotonic() - killed_at < 0.7:
                    pid = seed.choice(survivors)
                    os.kill(pid, signal.SIGSTOP)
                    time.sleep(seed.random() * 0.06)
                    os.kill(pid, signal.SIGCONT)
                    time.sleep(seed.random() * 0.004)
                    load.turn()
                wait_until(lambda: serves(broker), 10.0, "all workers serve")
                for _ in range(3):
                    load.turn()
                load.reconnect(everybody - len(load.talkers), everybody - len(load.listeners))
                load.turn()
                assert set(survivors) <= set(broker.worker_pids().values()), "a survivor was given up"
            load.check_complete()


def _runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


@pytest.mark.timeout(120)
def test_stopped_worker(make_broker: Callable[..., BrokerProcess], seed: random.Random) -> None:
    """SIGSTOP: the worker is killed and replaced; the others' messages wait no longer than that takes."""
    broker = make_broker(workers=WORKERS, ring_size=65536)  # small, so that the stopped reader fills it
    by_worker = {}
    for _ in range(2 * WORKERS):
        client, worker = broker.placed_client()
        by_worker[worker] = client
    assert len(by_worker) == WORKERS
    pids = broker.worker_pids()
    victim = seed.choice(sorted(pids))
    speaker, hearer = (client for worker, client in by_worker.items() if worker != victim)
    for client in (hearer, by_worker[victim]):  # the stopped worker has interest: it must be waited for
        client.subscribe("stall.>", "stall")
        client.flush()
    os.kill(pids[victim], signal.SIGSTOP)
    stopped_at = time.monotonic()
    longest_s, number = 0.0, 0
    while time.monotonic() - stopped_at < 3.0:
        started = time.monotonic()
        batch = range(number, number + BURST)
        speaker.send(b"".join(publication("stall.x", b"%08d" % n + b"x" * 1000) for n in batch))
        got = [int(message.payload[:8]) for message in hearer.read_messages(BURST, 10.0)]
        assert got == list(batch)
        number += BURST
        longest_s = max(longest_s, time.monotonic() - started)
    print(f"{number} messages, longest stall {longest_s:.2f} s")
    assert not _runs(pids[victim]), "the stopped worker was not killed"
    wait_until(lambda: serves(broker), 5.0, "all workers serve")
    assert longest_s <= STALL_S_MAX, f"others waited {longest_s:.2f} s"
    assert longest_s >= 0.2, "nobody ever waited: the ring was not filled, the test has proved nothing"


def test_worker_stopped_for_a_moment_is_kept(make_broker: Callable[..., BrokerProcess]) -> None:
    """Half a second of standing still is no death: nobody is disconnected, nothing is lost."""
    broker = make_broker(workers=2)
    load = Load(broker)
    load.turn()
    pids = broker.worker_pids()
    for pid in pids.values():
        os.kill(pid, signal.SIGSTOP)
        time.sleep(0.4)
        os.kill(pid, signal.SIGCONT)
    for _ in range(5):
        assert load.turn() == (0, 0)
    load.check_complete()
    assert broker.worker_pids() == pids


@pytest.mark.timeout(240)
def test_killed_acceptor(seed: random.Random, rounds: Callable[[int], int]) -> None:
    """30 deaths of the acceptor under load: nothing is left, the same port is taken again at once."""
    port = -1
    for _ in range(rounds(30)):
        with BrokerProcess(workers=2, port=port) as broker:
            port = broker.port
            load = Load(broker)
            for _ in range(seed.randrange(1, 4)):
                load.turn()
            broker.processes()
            assert broker.process is not None
            broker.process.kill()
            broker.process.wait()
            left = broker.leftovers(timeout_s=2.0)
            assert not left, f"after kill -9 of the acceptor: {left}"
            with socket.socket() as probe:  # as a server binds: connections in TIME_WAIT do not count
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                probe.bind((broker.host, port))
