"""Properties of the supervised stream-writer: it comes back at once, goes on where it was, and fences.

The acceptor's side runs here, on the real event loop and forkserver; the writer is the real process. Owners
are the Python ones of tests/streamwriter/lane_feed.py.
"""

import fcntl
import os
import random
import select
import signal
import time
from types import SimpleNamespace

import pytest

from shardbroker.acceptor.event_loop import EventLoop
from shardbroker.acceptor.forkserver import Forkserver
from shardbroker.acceptor.stream_writer import StreamWriter
from shardbroker.control.worker_entry import run_writer
from shardbroker.shm import layout
from shardbroker.shm.region import Region
from shardbroker.storage import journal
from tests.streamwriter.lane_feed import ERRNO, STORED, Lane, Log

WAIT_S = 20.0


class LogLines:
    """Takes the place of the broker's log."""

    def __init__(self):
        self.lines: list[str] = []
        self.info = self.warn = self.error = self.debug = self.lines.append


class Acceptor:
    """What of the acceptor a stream-writer needs."""

    def __init__(self, store_dir, workers: int = 2):
        self.lanes = [Lane(1 << 22) for _ in range(workers)]
        self.fabric = SimpleNamespace(
            board=Region.create(layout.BOARD_SIZE),
            log_table=Region.create(256 * layout.LOG_ROW_SIZE),
            writer_doorbell=os.eventfd(0, os.EFD_NONBLOCK),
            lanes=self.lanes,
            lane_size=1 << 22,
            regions=[SimpleNamespace(doorbell=os.eventfd(0, os.EFD_NONBLOCK)) for _ in range(workers)],
        )
        self.errors: list[Exception] = []
        self.loop = EventLoop(self.errors.append)
        self.log = LogLines()
        options = SimpleNamespace(
            store_dir=str(store_dir), sync_interval_s=60.0, log_file="", debug=False, logtime=True,
            logtime_utc=False,
        )  # fmt: skip
        self.forkserver = Forkserver()
        self.writer = StreamWriter(self.loop, self.log, options, self.fabric, self.forkserver, run_writer)
        self.ready: list[dict] = []
        self.failed: list[str] = []
        self.stopped: list[bool] = []
        self.writer.on_ready = self.ready.append
        self.writer.on_failed = self.failed.append
        self.writer.on_stopped = lambda: self.stopped.append(True)
        self.board = memoryview(self.fabric.board.map()).cast("Q")

    def publish(self) -> None:
        for lane in self.lanes:
            lane.publish()
        if self.board[layout.BOARD_WRITER_SLEEPING // 8] & 1:
            os.eventfd_write(self.fabric.writer_doorbell, 1)

    def turn_until(self, condition) -> None:
        deadline = time.monotonic() + WAIT_S

        def look() -> None:
            if condition() or time.monotonic() > deadline:
                self.loop.stop()
            else:
                self.loop.call_later(0.002, look)

        self.loop.call_later(0, look)
        self.loop.run()
        assert condition(), self.log.lines
        assert not self.errors

    def is_drained(self) -> bool:
        return all(lane.processed == lane.position for lane in self.lanes)

    def close(self) -> None:
        """Kill everything."""
        self.writer._stopping = True
        self.forkserver.close()
        self.writer._process.release()


@pytest.fixture
def acceptor(tmp_path):
    acceptor = Acceptor(tmp_path)
    yield acceptor
    acceptor.close()


def started(acceptor: Acceptor) -> Acceptor:
    acceptor.writer.start()
    acceptor.turn_until(lambda: acceptor.ready)
    return acceptor


def test_start_store_stop_and_listing(acceptor, tmp_path):
    started(acceptor)
    ready = acceptor.ready[0]
    assert (ready["term"], ready["logs"]) == (1, [])
    assert ready["store_path"] == f"{tmp_path}/jetstream"
    assert 0 < ready["probe_us"] < 1_000_000
    acceptor.turn_until(lambda: acceptor.board[layout.BOARD_WRITER_HEARTBEAT // 8])
    log = Log(acceptor.lanes[0], 7, 3)
    places = [log.create(b'{"name":"x"}'), log.append(b"one")]
    acceptor.publish()
    acceptor.turn_until(acceptor.is_drained)
    assert [acceptor.lanes[0].status(place) for place in places] == [STORED] * 2
    log.append(b"two")
    acceptor.lanes[0].publish()  # without a doorbell: Stop must find it
    acceptor.writer.stop()
    acceptor.turn_until(lambda: acceptor.stopped)
    assert acceptor.is_drained()
    assert not [line for line in acceptor.log.lines if "ended" in line or "killed" in line]

    again = started(Acceptor(tmp_path))
    assert again.ready[0]["term"] == 2
    assert [(entry["log_id"], entry["metadata"]) for entry in again.ready[0]["logs"]] == [(7, '{"name":"x"}')]
    again.close()


def test_killed_at_random_it_loses_nothing_that_it_said_was_stored(acceptor, tmp_path):
    seed = 7
    print(f"seed {seed}")
    rng = random.Random(seed)
    started(acceptor)
    lane = acceptor.lanes[0]
    logs = [Log(lane, 1 + n, n) for n in range(20)]
    for log in logs:
        log.create()
    kills = 0
    places = []
    for number in range(60):
        for log in logs if number % 2 else logs[:3]:
            places.append(log.append(b"%d" % number * rng.randrange(1, 50)))
        acceptor.publish()
        if number % 6 == 5:
            time.sleep(rng.random() * 0.002)
            os.kill(acceptor.writer.pid, signal.SIGKILL)
            before = acceptor.writer.restarts_total
            acceptor.turn_until(lambda before=before: acceptor.writer.restarts_total > before)
            acceptor.writer._process.restarts = 0  # the back-off is another test's matter
            kills += 1
        if lane.position - lane.cells[layout.LANE_RELEASED // 8] > lane.size // 2:
            acceptor.turn_until(acceptor.is_drained)
            assert {lane.status(place) for place in places} == {STORED}
            places.clear()
            lane.release()
    acceptor.turn_until(acceptor.is_drained)
    assert {lane.status(place) for place in places} == {STORED}
    assert kills == 10
    assert acceptor.writer.term == 1  # a successor does not raise it
    assert len(acceptor.ready) == 1
    rows = acceptor.fabric.log_table.map()
    for log in logs:
        at = log.row * layout.LOG_ROW_SIZE + layout.LOG_DURABLE_INDEX
        assert int.from_bytes(rows[at : at + 8], "little") == log.index == (60 if log.log_id <= 3 else 30)
        with open(f"{tmp_path}/jetstream/logs/{log.log_id:08x}/{0:016x}.seg", "rb") as file:
            data = file.read()
        assert _last_index(data) == log.index


def _last_index(data: bytes) -> int:
    at = 64
    last = 0
    while data[at : at + 4] == b"SBF1":
        last = int.from_bytes(data[at + 32 : at + 40], "little")
        at += 64 + int.from_bytes(data[at + 16 : at + 20], "little")
    return last


def test_a_fence_is_answered_also_when_the_writer_dies_over_it(acceptor):
    started(acceptor)
    log = Log(acceptor.lanes[1], 7, 3)
    log.create()
    place = log.append(b"x")
    acceptor.lanes[1].publish()
    terms = []
    acceptor.writer.fence(1, terms.append)
    acceptor.turn_until(lambda: terms)
    assert terms == [2]
    assert acceptor.lanes[1].status(place) == STORED
    os.kill(acceptor.writer.pid, signal.SIGSTOP)
    acceptor.writer.fence(1, terms.append)
    os.kill(acceptor.writer.pid, signal.SIGKILL)
    acceptor.turn_until(lambda: len(terms) == 2)
    assert terms[1] >= 3
    acceptor.writer.peer_up(1)
    doorbell = acceptor.fabric.regions[1].doorbell
    acceptor.board[(layout.worker_row(1) + layout.WORKER_SLEEPING) // 8] = 1
    log.append(b"y")
    acceptor.publish()
    acceptor.turn_until(acceptor.is_drained)
    acceptor.turn_until(lambda: select.select([doorbell], [], [], 0)[0])


def test_a_store_in_use_fails_the_start_with_words(acceptor, tmp_path):
    os.makedirs(f"{tmp_path}/jetstream")
    with open(f"{tmp_path}/jetstream/LOCK", "w") as file:
        file.write("4711\n")
        file.flush()
        fcntl.flock(file, fcntl.LOCK_EX)
        acceptor.writer.start()
        acceptor.turn_until(lambda: acceptor.failed)
    assert "in use by the process with pid 4711" in acceptor.failed[0]
    assert not acceptor.ready


def test_a_log_that_is_not_there_is_told_in_the_log(acceptor):
    started(acceptor)
    log = Log(acceptor.lanes[0], 9, 3)
    places = [log.append(b"x") for _ in range(50)]
    acceptor.publish()
    acceptor.turn_until(acceptor.is_drained)
    assert acceptor.lanes[0].status(places[0]) == ERRNO + 2
    acceptor.turn_until(
        lambda: any("log 00000009 could not be written" in line for line in acceptor.log.lines)
    )
    assert len([line for line in acceptor.log.lines if "00000009" in line]) <= 2


def test_garbage_in_a_lane_is_told_once(acceptor):
    started(acceptor)
    broken = []
    acceptor.writer.on_lane_broken = broken.append
    acceptor.lanes[1].put(b"\xff" * 80)
    acceptor.publish()
    acceptor.turn_until(lambda: broken)
    good = Log(acceptor.lanes[0], 7, 3)
    good.create()
    acceptor.publish()
    acceptor.turn_until(lambda: acceptor.lanes[0].processed == acceptor.lanes[0].position)
    assert broken == [1]


def test_the_journal_is_replayed_after_all_are_killed(acceptor, tmp_path):
    started(acceptor)
    logs = [Log(acceptor.lanes[0], 1 + n, n) for n in range(30)]
    for log in logs:
        log.create()
        log.append(b"x")
    acceptor.publish()
    acceptor.turn_until(acceptor.is_drained)
    with open(f"{tmp_path}/jetstream/journal/a", "rb") as file:
        assert len(list(journal.entries(file.read()))) == 30
    acceptor.close()
    again = started(Acceptor(tmp_path))
    assert "JetStream store: 30 frames from the journal" in again.log.lines
    again.close()


def test_a_fence_waits_for_its_term_and_nothing_waits_for_the_fence(acceptor, tmp_path):
    """The slots of the term are made unusable for a while, as a bad disk would."""
    started(acceptor)
    slots = [f"{tmp_path}/jetstream/term.{slot}" for slot in "ab"]
    for path in slots:
        if os.path.exists(path):
            os.rename(path, path + ".away")
        os.mkdir(path)
    terms = []
    acceptor.writer.fence(1, terms.append)
    acceptor.turn_until(lambda: any("term could not be raised" in line for line in acceptor.log.lines))
    log = Log(acceptor.lanes[0], 7, 3)
    places = [log.create(), log.append(b"x")]
    acceptor.publish()
    acceptor.turn_until(acceptor.is_drained)
    assert [acceptor.lanes[0].status(place) for place in places] == [STORED] * 2
    assert not terms
    for path in slots:
        os.rmdir(path)
        if os.path.exists(path + ".away"):
            os.rename(path + ".away", path)
    acceptor.turn_until(lambda: terms)
    assert terms == [2]
