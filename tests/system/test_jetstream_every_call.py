"""The stream-writer is killed before each of its calls that change the store (RELIABILITY R3; I1, I2, I9).

A script makes a stream, publishes over several segments, deletes a message, purges, makes another stream and
deletes it. One run is traced; then it is run again and again, and strace kills the writer just before the Nth
call of a kind. Most times the broker lives on, and every step of the script must be answered with
success by the writer's successor. At other times the whole broker dies with it, and one that is started on
the store must have everything that was answered.
"""

import contextlib
import os
import random
import signal
import threading
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import pytest

from tests.support.broker_process import BrokerProcess, is_shardbroker, wait_until
from tests.support.raw_client import ClosedError, RawClient
from tests.system.disk_faults import Injected
from tests.system.jetstream_load import (
    Journal,
    Load,
    ask,
    check_contents,
    create_stream,
    read_by_sequence,
    read_store,
    stream_state,
)

pytestmark = pytest.mark.skipif(not is_shardbroker(), reason="only shardbroker has a stream-writer")

#: In CI: the first calls, and so many of the rest.
FIRST, SAMPLE = 15, 45
IS_LONG = os.environ.get("SHARDBROKER_LONG", "0") not in ("", "0")
#: Deaths of one writer that are followed by an immediate restart (limits.restarts_immediate).
DEATHS_PER_BROKER = 3
MESSAGES, BATCH, PAYLOAD_SIZE = 200, 20, 8000
DELETED, KEPT = 150, 70


@dataclass
class Script:
    """What was answered so far. ``steps``: those of "made", "deleted", "purged", "ended" that were."""

    name: str
    journal: Journal = field(default_factory=Journal)
    steps: set[str] = field(default_factory=set)

    def run(self, broker: BrokerProcess) -> None:
        """Raises AssertionError for an error in an answer, ClosedError or OSError when the broker dies."""
        client = broker.client()
        create_stream(client, self.name)
        self.steps.add("made")
        load = Load(broker, self.journal, window=BATCH)
        publisher = load.add([self.name])
        publisher.filler = b"." * PAYLOAD_SIZE
        while self.journal.acked < MESSAGES:
            publisher.publish(BATCH)
            missing = load.settle()
            if publisher.gone:
                raise ClosedError
            assert not missing, f"I9: no answer for {missing[:2]}"
            assert not self.journal.errors, self.journal.errors
        self._ask(client, f"MSG.DELETE.{self.name}", {"seq": DELETED}, "deleted")
        self._ask(client, f"PURGE.{self.name}", {"keep": KEPT}, "purged")
        other = f"{self.name}x"
        create_stream(client, other)
        publisher.streams = [other]
        publisher.publish(BATCH)
        load.settle()
        self._ask(client, f"DELETE.{other}", None, "ended")

    def _ask(self, client: RawClient, subject: str, body: dict | None, step: str) -> None:
        answer = ask(client, f"$JS.API.STREAM.{subject}", body)
        assert answer.get("success"), f"{subject}: {answer}"
        self.steps.add(step)

    def check(self, broker: BrokerProcess, store: Path | None) -> int:
        """What was answered holds; gives the messages found. ``store``: read it as well."""
        with RawClient(broker.port) as client:
            if "made" not in self.steps:
                return 0
            state = stream_state(client, self.name)
            records = read_by_sequence(client, self.name, range(1, state["last_seq"] + 1))
            if "purged" in self.steps:  # KEPT are left, beside the deleted one in their midst
                assert state["first_seq"] == MESSAGES - KEPT, state
            if "deleted" in self.steps:
                assert DELETED not in records
            gone = {DELETED} | set(range(1, state["first_seq"]))
            for sequence in gone - set(records):  # it was asked for: answered or not, it may be so
                if len(self.steps) > 1 or self.journal.acked >= MESSAGES:
                    self.journal.promised.pop((self.name, sequence), None)
            check_contents(self.journal, self.name, records, state["last_seq"])
            assert state["messages"] == len(records), state
            if "ended" in self.steps:
                answer = ask(client, f"$JS.API.STREAM.INFO.{self.name}x")
                assert answer["error"]["err_code"] == 10059, answer
            if store is not None:
                stored = read_store(store)[self.name]
                # A deleted message is overwritten: to a reader that knows of no deletes it is damage.
                assert {loss[:2] for loss in stored.lost} <= {(DELETED, DELETED)}, stored.lost
                assert records.items() <= stored.records.items(), "the files and the broker differ"
        return len(records)


def writer_of(broker: BrokerProcess) -> int:
    """The pid of the one that lives, which may take a moment to come."""
    found: list[int] = []

    def is_there() -> bool:
        rows = broker.monitor("/shardz")["processes"]
        found[:] = [row["pid"] for row in rows if row["role"] == "stream-writer" and _lives(row["pid"])]
        return bool(found)

    wait_until(is_there, 5.0, "there is a stream-writer")
    return found[0]


def _lives(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def start(store: Path) -> BrokerProcess:
    return BrokerProcess(workers=1, jetstream="true", store_dir=store)


def points_of(log: list[str]) -> list[tuple[str, int]]:
    """(call, its number) of each call in a log of strace."""
    counts: Counter = Counter()
    points = []
    for line in log:
        words = line.split(None, 1)
        call = words[1].partition("(")[0] if len(words) > 1 else ""
        if call.isidentifier() and "(" in words[1]:
            counts[call] += 1
            points.append((call, counts[call]))
    return points


def run_and_live(directory: Path, points: list[tuple[str, int]]) -> tuple[int, int]:
    """The broker outlives its writer, once for each point; (deaths, messages found)."""
    deaths = found = 0
    scripts = []
    with start(directory) as broker:
        for number, (call, nth) in enumerate(points):
            scripts.append(Script(f"S{number}"))
            pid = writer_of(broker)
            with Injected(pid, directory, f"{call}:signal=KILL:when={nth}"):
                scripts[-1].run(broker)
            deaths += writer_of(broker) != pid
            found += scripts[-1].check(broker, directory)
    with start(directory) as broker:
        for script in scripts:
            assert script.check(broker, None) == KEPT
    return deaths, found


def run_and_die(directory: Path, point: tuple[str, int]) -> tuple[int, int]:
    """The whole broker dies with its writer; (deaths, messages found)."""
    call, nth = point
    script = Script("S")
    with start(directory) as broker:
        processes = broker.processes()
        pid = writer_of(broker)
        over = threading.Event()

        def watch() -> None:
            while not over.is_set():
                if not _lives(pid):
                    for process in processes:
                        with contextlib.suppress(ProcessLookupError):
                            os.kill(process.pid, signal.SIGKILL)
                    return
                over.wait(0.0005)

        watcher = threading.Thread(target=watch)
        try:
            with Injected(pid, directory, f"{call}:signal=KILL:when={nth}"):
                watcher.start()
                script.run(broker)
        except (ClosedError, OSError):
            died = True
        else:
            died = False
        over.set()
        watcher.join()
        if died:
            broker.process.wait()
    with start(directory) as broker:
        return int(died), script.check(broker, directory)


@pytest.mark.timeout(3600)
def test_killed_before_each_call(seed: random.Random, tmp_path: Path) -> None:
    """R3: the first 15 calls and 45 others, with SHARDBROKER_LONG=1 all of them, both ways."""
    with start(tmp_path / "traced") as broker:
        with Injected(writer_of(broker), tmp_path) as traced:
            Script("S").run(broker)
        points = points_of(traced.log)
    assert len(points) > FIRST + SAMPLE, f"the script makes {len(points)} calls: {points}"
    assert sum(call == "openat" for call, _ in points) >= 3
    chosen = points[:FIRST] + seed.sample(points[FIRST:], SAMPLE)
    living, dying = (points, points) if IS_LONG else (chosen[::4] + chosen[1::4] + chosen[2::4], chosen[3::4])
    deaths = found = 0
    for number in range(0, len(living), DEATHS_PER_BROKER):
        store = tmp_path / f"live{number}"
        store.mkdir()
        died, messages = run_and_live(store, living[number : number + DEATHS_PER_BROKER])
        deaths, found = deaths + died, found + messages
    for number, point in enumerate(dying):
        store = tmp_path / f"die{number}"
        store.mkdir()
        died, messages = run_and_die(store, point)
        deaths, found = deaths + died, found + messages
    tried = len(living) + len(dying)
    kinds = dict(Counter(call for call, _ in points))
    print(f"{len(points)} calls {kinds}; {tried} tried, {deaths} deaths, {found} messages found")
    assert deaths >= tried * 0.7 and found > 0
