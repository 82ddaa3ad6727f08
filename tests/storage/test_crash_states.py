"""Property: whatever a power failure leaves of the store, recovery keeps every promise (I1, I2, I3, I12).

A scripted owner drives the real write loop and the real store on a disk that logs each call
(logged_disk.py): several logs, group commits, batches, rolls, recycled segments, changed metadata, dropped
heads, watermarks, ends of logs that are cut off and written anew. Each promise is a mark in the log of calls.
Then, at random cuts, random legal states are made and recovered with the real scan:

    I1   what was acknowledged is there, with its bytes; metadata too; of an atomic batch all or nothing
    I2   the scan's last sequence is not below an acknowledged one
    cut  no frame that was cut off is seen again once the cut was answered, and a crash within it costs only
         frames behind it
    I3   nothing is told lost that is not; with one flipped bit in a durable record: exactly that one, told
    I12  recovery may be cut short as well, and then finds the same; and a second life on top of any state
         keeps the promises of both; what a restart after a kill found stays, whatever happens later

Kinds of states, by the die of each: all that was asked for (processes died), nothing that was not synced,
mixtures; with a flipped bit; in the first life, in recovery, in the second life.

SHARDBROKER_CRASH_STATES sets their number, the seed is printed and may be given as SHARDBROKER_CRASH_SEED.
Each planted bug below must be found.
"""

import os
import random
import shutil
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from shardbroker.storage import codec, layout
from shardbroker.storage.codec import Record
from shardbroker.storage.collecting_sink import CollectingSink
from shardbroker.storage.log_scan import LogScan
from shardbroker.storage.store import Store
from shardbroker.storage.watermark import read_watermark
from tests.storage.logged_disk import Image, LoggedDisk, Replay
from tests.storage.naive_scan import naive_scan
from tests.storage.scripted_owner import BATCH_MAX, CAPACITY, GROUP_MAX, Owner
from tests.streamwriter.lane_feed import Bench

STATES = int(os.environ.get("SHARDBROKER_CRASH_STATES", "10000"))
SEED = int(os.environ.get("SHARDBROKER_CRASH_SEED", str(random.randrange(1 << 32))))
PLANTED_STATES = 10000  # within which a planted bug must be found; most are after some hundred
LOGS = (7, 8)


class Violation(AssertionError):
    """A promise was broken."""


def expect(good: bool, text: str) -> None:
    """An assertion that the tests of planted bugs can tell from their own."""
    if not good:
        raise Violation(text)


def live(bench: Bench, owners: list[Owner], chance: random.Random, turns: int, cuts: bool) -> None:
    """The script: groups of frames, now and then something else."""
    for _ in range(turns):
        for owner in chance.sample(owners, chance.randrange(1, len(owners) + 1)):
            for _ in range(chance.randrange(1, GROUP_MAX + 1)):
                owner.append(chance)
            if chance.random() < 0.1:
                owner.change_metadata(chance)
            if len(owner.bases) > 3:
                owner.drop_head()
        bench.run()
        for owner in owners:
            owner.settle()
        bench.lane.release()
        if chance.random() < 0.1:
            bench.loop.mark(0, 100)
        if cuts and chance.random() < 0.2:
            chance.choice(owners).cut(chance)
            bench.lane.release()


@dataclass
class Promises:
    """What was promised up to a cut, and what was only asked for."""

    records: dict[tuple[int, int], Record] = field(default_factory=dict)
    asked: dict[tuple[int, int], set[Record]] = field(default_factory=dict)
    metadata: dict[int, set[bytes]] = field(default_factory=dict)
    dropped: dict[int, int] = field(default_factory=dict)
    made: set[int] = field(default_factory=set)
    batches: dict[tuple, list[Record]] = field(default_factory=dict)  # by log and first record

    def take(self, marks: list[tuple[str, object]]) -> "Promises":
        """Go through the marks of one life."""
        for what, value in marks:
            if what == "batch":
                self.batches[value[0], value[1][0].sequence, value[1][0].payload] = value[1]
            elif what == "cutting":
                continue
            elif what == "cut":
                for record in value[1]:
                    self.asked[value[0], record.sequence].discard(record)
            elif what == "dropped":
                self.dropped[value[0]] = max(self.dropped.get(value[0], 0), value[1])
            elif what.endswith("metadata"):
                log_id, body = value
                if what == "metadata":
                    self.metadata[log_id] = {body}
                    self.made.add(log_id)
                else:
                    self.metadata.setdefault(log_id, set()).add(body)
            else:  # records, and what a recovery found and may have shown to consumers
                log_id, _index, records = value
                for record in records:
                    if what in ("records", "served"):
                        self.records[log_id, record.sequence] = record
                    self.asked.setdefault((log_id, record.sequence), set()).add(record)
        return self


@dataclass
class RecoveredLog:
    metadata: bytes | None
    damaged: str | None
    records: dict[int, Record]
    places: list[tuple[int, int, int, int]]  # sequence, frame index, log position and size of each record
    result: object
    bases: list[int]


def real_scan(log_id: int, files: list[tuple[int, str]], durable: int) -> tuple[list[tuple], object]:
    """(records of a CollectingSink, result)."""
    sink = CollectingSink()
    return sink, LogScan(log_id, files, durable).run(sink)


def recover(disk: LoggedDisk, root: str, folder: str, scan=real_scan) -> dict[int, RecoveredLog]:
    """What a start does: open, raise the term, list, scan, remove what lies behind the ends."""
    store = Store(disk, root, pooled_capacity=CAPACITY)
    store.open()
    store.raise_term()
    listing = store.list_logs()
    shutil.rmtree(folder, ignore_errors=True)
    disk.image().write_below(folder, store.logs_path)
    found = {}
    for entry in listing:
        log_id = entry["log_id"]
        bases = store.segment_bases(log_id)
        path = os.path.join(folder, layout.log_name(log_id))
        durable = read_watermark(disk, store.log_path(log_id))
        sink, result = scan(
            log_id, [(base, f"{path}/{layout.segment_name(base)}") for base in bases], durable
        )
        leftovers = {layout.segment_base_of(os.path.basename(path)) for path in result.leftover_paths}
        for base in sorted(leftovers, reverse=True):
            store.release_segment(log_id, base)
        records: dict[int, Record] = {}
        for _kind, _index, record, _position in sink.records:
            expect(record.sequence not in records, f"log {log_id}: {record.sequence} is there twice")
            records[record.sequence] = record
        places = [
            (record.sequence, index, position, len(codec.build_record(record)))
            for _kind, index, record, position in sink.records
        ]
        metadata = entry["metadata"]
        found[log_id] = RecoveredLog(
            metadata.encode() if metadata is not None else None, entry["damaged"], records, places, result,
            [base for base in bases if base not in leftovers],
        )  # fmt: skip
    store.close()
    return found


def check(promises: Promises, found: dict[int, RecoveredLog]) -> None:
    """I1, I2 and I3."""
    for log_id in promises.made:
        expect(log_id in found, f"log {log_id} is gone")
        log = found[log_id]
        expect(log.damaged is None, f"log {log_id} is damaged: {log.damaged}")
        expect(log.metadata in promises.metadata[log_id], f"log {log_id} has metadata {log.metadata}")
        expect(log.result.lost == [], f"log {log_id} tells losses: {log.result.lost}")
    for (log_id, sequence), record in promises.records.items():
        expect(found[log_id].result.last_sequence >= sequence, f"log {log_id} would give {sequence} again")
        if sequence > promises.dropped.get(log_id, 0):
            expect(found[log_id].records.get(sequence) == record, f"log {log_id} lost {sequence}")
    for (log_id, first, _payload), records in promises.batches.items():
        if log_id in found and first > promises.dropped.get(log_id, 0):
            # A sequence that was never promised may have been given to another message since.
            there = [found[log_id].records.get(record.sequence) == record for record in records]
            expect(all(there) or not any(there), f"log {log_id} has a part of the batch from {first} on")
    for log_id, log in found.items():
        for sequence, record in log.records.items():
            expect(record in promises.asked.get((log_id, sequence), ()), f"log {log_id}: wrong {sequence}")


def same(one: dict[int, RecoveredLog], other: dict[int, RecoveredLog]) -> bool:
    """Whether two recoveries found the same."""

    def shape(found: dict[int, RecoveredLog]) -> dict:
        return {log_id: (log.metadata, log.records, log.result.last_index, log.result.last_crc,
                         log.result.end_position, log.result.last_sequence)
                for log_id, log in found.items()}  # fmt: skip

    return shape(one) == shape(other)


def check_with_flipped_bit(image: Image, root: str, folder: str, before: dict, chance, scan) -> bool:
    """One bit of a durable record: at most that one is gone, and told. False: there was none to hit."""
    choices = [
        (log_id, place)
        for log_id, log in before.items()
        for place in log.places
        if place[1] + BATCH_MAX * GROUP_MAX < log.result.last_index  # the last frame knows this one durable
    ]
    if not choices:
        return False
    log_id, (_sequence, _index, position, size) = chance.choice(choices)
    base = max(base for base in before[log_id].bases if base <= position)
    path = f"{Store(None, root).log_path(log_id)}/{layout.segment_name(base)}"
    number = image.names[path]
    data = bytearray(image.contents[number])
    data[64 + position - base + chance.randrange(size)] ^= 1 << chance.randrange(8)
    image.contents[number] = bytes(data)
    after = recover(LoggedDisk(image), root, folder, scan)[log_id]
    gone = before[log_id].records.keys() - after.records.keys()
    told = {n for first, last, _ in after.result.lost if first for n in range(first, last + 1)}
    expect(len(gone) <= 1, f"one flipped bit cost {len(gone)} records")
    expect(gone == told, f"{gone} gone, {told} told")
    expect(after.records.items() <= before[log_id].records.items(), "wrong bytes")
    expect(
        after.result.last_sequence >= before[log_id].result.last_sequence, "sequences would be given again"
    )
    return True


def sync_last_segments(disk: LoggedDisk, root: str, found: dict[int, RecoveredLog]) -> None:
    """What the real scan does to the real files (test_log_scan.py sees that it does)."""
    for log_id, log in found.items():
        if log.result.segment_base is not None:
            path = Store(None, root).log_path(log_id)
            fd = disk.open(f"{path}/{layout.segment_name(log.result.segment_base)}")
            LoggedDisk.fdatasync(disk, fd)
            disk.close(fd)
            LoggedDisk.sync_directory(disk, path)
            LoggedDisk.sync_directory(disk, os.path.dirname(path))


def while_cutting(events: list[tuple]) -> list[int]:
    """The places in a log of events at which the end of a log is being cut off."""
    found, cutting = [], False
    for place, event in enumerate(events):
        if event[0] == "mark" and event[1] in ("cutting", "cut"):
            cutting = event[1] == "cutting"
        elif cutting:
            found.append(place + 1)
    return found


class Runner:
    """Makes states and checks them; counts what it did, so that a test that did nothing fails."""

    def __init__(self, folder, seed: int, disk_class=LoggedDisk, scan=real_scan, synced=True):
        self.synced = synced
        self.root = str(folder / "store")
        os.makedirs(self.root, exist_ok=True)
        self.folder = str(folder / "state")
        self.chance = random.Random(seed)
        self.disk_class, self.scan = disk_class, scan
        self.counts = dict.fromkeys(("states", "promises", "recoveries", "second lives", "kills", "flips"), 0)

    def life(self, disk: LoggedDisk, found: dict[int, RecoveredLog] | None, turns: int) -> list[tuple]:
        """Run the script on a disk; gives the events."""
        bench = Bench(self.root, disk, pooled_capacity=CAPACITY)
        bench.store.raise_term()
        bench.store.list_logs()
        owners = []
        for log_id in LOGS:
            log = found.get(log_id) if found else None
            for path in log.result.leftover_paths if log else ():
                bench.store.release_segment(log_id, layout.segment_base_of(os.path.basename(path)))
            owners.append(Owner(bench, log_id, log, batches=self.scan is real_scan))
            if log is None:
                owners[-1].create()
        bench.run()
        for owner in owners:
            owner.settle()
        live(bench, owners, self.chance, turns, cuts=self.scan is real_scan)
        bench.store.close()
        return disk.events

    def run(self, states: int) -> None:
        """At least so many states. Raises Violation."""
        empty = Image(folders={os.path.dirname(self.root), self.root})
        while self.counts["states"] < states:
            if self.synced:
                self.run_life(empty, Promises(), None, cuts=40, states_per_cut=6, depth=0)
            if self.scan is real_scan:
                self.run_killed(empty)

    def run_killed(self, empty: Image) -> None:
        """Processes die and start again over the same page cache; later the power goes."""
        events = self.life(self.disk_class(empty), None, turns=8)
        killed = self.chance.randrange(len(events) + 1)
        disk = self.disk_class(Replay(empty, events, killed).newest(), events[:killed])
        found = recover(disk, self.root, self.folder, self.scan)
        if self.synced:
            sync_last_segments(disk, self.root, found)
        for log_id, log in found.items():
            disk.mark("served", (log_id, 0, list(log.records.values())))
        events = self.life(disk, found, turns=4)
        self.counts["kills"] += 1
        for cut in self.chance.sample(range(killed, len(events) + 1), min(30, len(events) - killed)):
            replay = Replay(empty, events, cut)
            self.check_state(replay.image(self.chance), Promises().take(replay.marks), depth=1)

    def run_life(
        self, start: Image, past: Promises, found, cuts: int, states_per_cut: int, depth: int
    ) -> None:
        events = self.life(self.disk_class(start), found, turns=25 if depth == 0 else 6)
        places = self.chance.sample(range(len(events) + 1), min(cuts, len(events)))
        within = while_cutting(events)
        places += self.chance.sample(within, min(cuts // 2, len(within)))
        for cut in sorted(places):
            replay = Replay(start, events, cut)
            promises = Promises(
                dict(past.records), {k: set(v) for k, v in past.asked.items()},
                {k: set(v) for k, v in past.metadata.items()}, dict(past.dropped), set(past.made),
                dict(past.batches),
            ).take(replay.marks)  # fmt: skip
            for _ in range(states_per_cut):
                self.check_state(replay.image(self.chance), promises, depth)

    def check_state(self, image: Image, promises: Promises, depth: int) -> None:
        self.counts["states"] += 1
        self.counts["promises"] += len(promises.records)
        disk = LoggedDisk(image)
        found = recover(disk, self.root, self.folder, self.scan)
        check(promises, found)
        die = self.chance.random()
        if die < 0.1:
            # Recovery itself is cut short: what it leaves is recovered to the same.
            replay = Replay(image, disk.events, self.chance.randrange(len(disk.events) + 1))
            again = recover(LoggedDisk(replay.image(self.chance)), self.root, self.folder, self.scan)
            expect(same(found, again), "a second recovery finds something else")
            self.counts["recoveries"] += 1
        elif die < 0.2:
            self.counts["flips"] += check_with_flipped_bit(
                disk.image(), self.root, self.folder, found, self.chance, self.scan
            )
        elif die < 0.22 and depth == 0 and self.scan is real_scan:
            self.counts["second lives"] += 1
            self.run_life(image, promises, found, cuts=8, states_per_cut=3, depth=1)


@pytest.fixture
def folder(tmp_path):
    """For the files of one state after the other: in memory where that can be had."""
    if not os.path.isdir("/dev/shm"):
        yield tmp_path
        return
    with tempfile.TemporaryDirectory(dir="/dev/shm") as name:
        yield Path(name)


@pytest.mark.timeout(0)
def test_every_state_is_recovered(folder) -> None:
    """The real thing, from end to end."""
    runner = Runner(folder, SEED)
    try:
        runner.run(STATES)
    finally:
        print(f"seed {SEED}: {runner.counts}")
    assert all(runner.counts.values())


class ForgetfulDisk(LoggedDisk):
    """Planted: promises are made before the data is synced."""

    def fdatasync(self, fd: int) -> None:
        pass


class NamelessDisk(LoggedDisk):
    """Planted: the directory of a log is not synced after a new segment."""

    def sync_directory(self, path: str) -> None:
        if layout.log_id_of(os.path.basename(path)) is None:
            super().sync_directory(path)


class MarklessDisk(LoggedDisk):
    """Planted: the end of a log is cut off without a mark that says so first."""

    def rename(self, source: str, target: str) -> None:
        super().rename(source, target)
        if os.path.basename(os.path.dirname(target)) == layout.CUTS:
            self.events.pop()


class SparingDisk(LoggedDisk):
    """Planted: what is cut off is not overwritten."""

    def pwrite(self, fd: int, data, offset: int) -> int:
        return super().pwrite(fd, data, offset) if any(data) else len(data)


@pytest.mark.parametrize(
    ("disk_class", "scan"),
    [
        (ForgetfulDisk, real_scan),
        (NamelessDisk, real_scan),
        (MarklessDisk, real_scan),
        (SparingDisk, real_scan),
        (LoggedDisk, lambda log_id, files, _: naive_scan(log_id, files, checked=False)),
        (LoggedDisk, lambda log_id, files, _: naive_scan(log_id, files, checked=True)),
    ],
    ids=[
        "ack before sync",
        "directory not synced",
        "cut without a mark",
        "cut frames left in place",
        "no checksum",
        "cut at any error",
    ],
)
def test_planted_bugs_are_found(folder, disk_class, scan) -> None:
    """A test that cannot fail is none."""
    runner = Runner(folder, SEED, disk_class, scan)
    with pytest.raises(Violation) as violation:
        runner.run(PLANTED_STATES)
    print(f"seed {SEED}: found after {runner.counts['states']} states: {violation.value}")


def test_planted_scan_without_sync_is_found(folder) -> None:
    """What a restart found in the page cache only, and showed, is gone after the next power failure."""
    runner = Runner(folder, SEED, synced=False)
    with pytest.raises(Violation) as violation:
        runner.run(PLANTED_STATES)
    print(f"seed {SEED}: found after {runner.counts['states']} states: {violation.value}")
