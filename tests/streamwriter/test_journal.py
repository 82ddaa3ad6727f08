"""Properties of the journal: one sync for many logs, and after a power loss nothing that was stored is gone.

The disk forgets what was not synced; a new writer replays the journal and the logs are whole again.
"""

import errno
import os

import pytest

from shardbroker.storage import journal
from tests.streamwriter.disks import TestDisk
from tests.streamwriter.lane_feed import ERASE, ERRNO, REMOVE, STORED, Bench, Log

LOGS = 100


class Many(Bench):
    """A hundred logs that are written in every cycle."""

    def __init__(self, directory, **options):
        super().__init__(directory, TestDisk(), **options)
        self.many = [Log(self.lane, 1 + n, n) for n in range(LOGS)]
        for log in self.many:
            log.create()
            log.append(b"first")
        self.step()
        self.rounds = 1

    def step(self) -> None:
        self.run()
        self.lane.release()

    def fill(self, rounds: int, size: int = 100) -> None:
        """Each log gets a frame in each of so many cycles, and all are stored."""
        for _ in range(rounds):
            places = [log.append(bytes([log.log_id]) * size) for log in self.many]
            self.run()
            assert {self.lane.status(place) for place in places} == {STORED}
            self.lane.release()
        self.rounds += rounds

    def power_loss(self) -> None:
        if self.loop.journal.usable:
            self.loop.journal.settle(True)
        self.store.close()
        self.disk.lose_power()
        self.disk.failures.clear()
        self.start()


@pytest.fixture
def many(tmp_path):
    return Many(tmp_path)


def test_one_sync_for_a_hundred_logs(many):
    many.fill(1)
    syncs = many.disk.calls["sync"]
    many.fill(5)
    assert many.disk.calls["sync"] - syncs == 5
    assert {many.row(n)["durable_index"] for n in range(LOGS)} == {7}


def test_after_a_power_loss_the_logs_lack_frames_and_the_replay_brings_them(many):
    many.fill(5)
    many.disk.lose_power()
    assert any(many.frames(log.log_id) != list(range(1, 7)) for log in many.many)  # else this proves nothing
    many.power_loss()
    assert many.replayed >= 5 * LOGS
    assert all(many.frames(log.log_id) == list(range(1, 7)) for log in many.many)
    many.power_loss()
    assert many.replayed == 0
    assert all(many.frames(log.log_id) == list(range(1, 7)) for log in many.many)


@pytest.mark.parametrize("rounds", [20, 40, 61])
def test_files_are_used_in_turn_and_lose_nothing(many, rounds):
    many.fill(rounds, size=500)
    assert many.loop.journal.round > rounds // 20
    many.power_loss()
    for log in many.many:
        found = [
            index for base in many.store.segment_bases(log.log_id) for index in many.frames(log.log_id, base)
        ]
        assert found == list(range(1, many.rounds + 1))


def test_a_torn_batch_ends_the_replay_and_nothing_else(many):
    many.fill(3)
    path = f"{many.store.journal_path}/a"
    with open(path, "rb") as file:
        data = file.read()
    whole = list(journal.entries(data))
    assert len(whole) == 4 * LOGS
    end = data.rindex(bytes([LOGS]) * 100)
    for cut in range(0, end, 997):
        torn = list(journal.entries(data[:cut]))
        assert torn == whole[: len(torn)] and len(torn) % LOGS == 0
        flipped = bytearray(data)
        flipped[cut] ^= 1
        torn = list(journal.entries(bytes(flipped)))
        assert torn == whole[: len(torn)] and len(torn) < 4 * LOGS


def test_a_log_that_fails_is_not_in_the_journal(many):
    many.disk.failures["write"] = (errno.EIO, "/00000005/")
    places = [log.append(b"x") for log in many.many]
    many.run()
    assert many.lane.status(places[4]) == ERRNO + errno.EIO
    assert {many.lane.status(place) for place in places if place != places[4]} == {STORED}
    many.power_loss()
    assert many.frames(5) == [1]
    assert many.frames(6) == [1, 2]


def test_a_journal_that_fails_is_done_without(many):
    many.disk.failures["sync"] = (errno.EIO, "/journal/")
    many.fill(2)
    assert not many.loop.journal.usable
    assert {many.row(n)["durable_index"] for n in range(LOGS)} == {3}
    many.disk.failures.clear()
    many.power_loss()
    assert all(many.frames(log.log_id) == [1, 2, 3] for log in many.many)


def test_a_log_that_cannot_be_synced_in_the_background_is_written_anew_from_the_journal(many):
    many.fill(12, size=500)
    many.disk.failures["sync"] = (errno.EIO, "/00000005/")
    loop_round = many.loop.journal.round
    while many.loop.journal.round == loop_round:
        many.fill(1, size=500)
    many.loop.sync_unsynced()
    many.loop.journal.settle(True)
    assert ("log", 5, errno.EIO) in many.faults
    assert not many.loop.journal.usable  # the disk fails for good: the journal is kept as it is
    many.power_loss()
    found = [index for base in many.store.segment_bases(5) for index in many.frames(5, base)]
    assert found == list(range(1, many.rounds + 1))


def test_what_was_erased_or_removed_does_not_come_back(many):
    many.fill(3)
    record = bytes([7]) * 100
    at = many.segment_bytes(7).index(record)
    erase = many.lane.add(ERASE, 7, row=6, segment=0, position=at - 64, count=100)
    remove = many.lane.add(REMOVE, 8, row=7)
    many.run()
    assert many.lane.status(erase) == many.lane.status(remove) == STORED
    many.power_loss()
    assert many.replayed
    assert many.segment_bytes(7)[at : at + 100] == bytes(100)
    assert record in many.segment_bytes(7)  # of the next frame
    assert not os.path.exists(many.store.log_path(8))


def test_a_clean_end_leaves_nothing_to_replay(many):
    many.fill(3)
    many.loop.close()
    many.store.close()
    many.start()
    assert many.replayed == 0
    assert all(many.frames(log.log_id) == [1, 2, 3, 4] for log in many.many)


def test_batches_of_a_life_before_never_count_again(many):
    many.fill(3)
    many.power_loss()
    assert many.replayed
    for _ in range(3):  # nothing is written in these lives, and each ends in order
        many.loop.close()
        many.store.close()
        many.start()
        assert many.replayed == 0
    many.power_loss()
    assert many.replayed == 0


def test_a_journal_file_that_cannot_be_replayed_is_put_aside(many):
    many.fill(2)
    many.store.close()
    many.disk.lose_power()
    many.disk.failures["sync"] = (errno.EIO, "/00000005/")
    many.start()
    assert any("log 00000005" in text for text in many.journal.warnings)
    kept = [name for name in os.listdir(many.store.journal_path) if name.startswith("kept-")]
    assert len(kept) == 1
    assert many.frames(6) == [1, 2, 3]
