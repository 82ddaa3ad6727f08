"""Properties of a truncation as an owner asks for it: what is committed stays, what is behind the cut is gone
for every later reader, and the log goes on there; also over deaths, power losses, replays and full disks.
"""

import errno
import os

import pytest

from shardbroker.errors import StorageError
from shardbroker.shm import layout
from shardbroker.storage import layout as files
from shardbroker.storage.collecting_sink import CollectingSink
from shardbroker.storage.log_scan import LogScan
from shardbroker.storage.watermark import read_watermark
from tests.streamwriter.disks import TestDisk
from tests.streamwriter.lane_feed import ERRNO, FAULTY, NO_SYNC, REFUSED, STORED, SYNC, TRUNCATE, Bench, Log

LOG, ROW = 7, 3
CAPACITY = 4096


@pytest.fixture
def bench(tmp_path):
    return Bench(tmp_path, TestDisk(), pooled_capacity=CAPACITY)


@pytest.fixture
def log(bench):
    """Twenty durable frames over some segments, ten of them committed."""
    log = Log(bench.lane, LOG, ROW, capacity=CAPACITY)
    log.create()
    log.states = [log.state()]
    for n in range(20):
        log.append(b"old %d" % n + bytes(600))
        log.states.append(log.state())
    bench.run()
    assert bench.row(ROW)["durable_index"] == 20
    bench.commit(ROW, 10)
    return log


def scan(bench: Bench, log_id: int = LOG):
    """(payloads by frame index, result) of a scan that knows the watermark."""
    path = bench.store.log_path(log_id)
    found = [(base, f"{path}/{files.segment_name(base)}") for base in bench.store.segment_bases(log_id)]
    durable = read_watermark(bench.disk, path)
    with_indexes = LogScan(log_id, found, durable, make_durable=False).run(CollectingSink())
    sink = CollectingSink()
    result = LogScan(log_id, found, durable, use_indexes=False, make_durable=False).run(sink)
    assert with_indexes == result
    return {index: record.payload.rstrip(b"\0") for _, index, record, _ in sink.records}, result


def check(bench: Bench, kept: int, new: list[bytes]) -> None:
    """The log is `kept` old frames and then these."""
    payloads, result = scan(bench)
    old = {n + 1: b"old %d" % n for n in range(kept)}
    assert payloads == old | {kept + 1 + n: payload for n, payload in enumerate(new)}
    assert (result.lost, result.notes, result.last_index) == ([], [], kept + len(new))


def cut(bench: Bench, log: Log, index: int) -> None:
    place = log.truncate(index)
    bench.run()
    assert bench.lane.status(place) == STORED
    log.back_to(log.states[index])


@pytest.mark.parametrize("index", range(10, 21))
@pytest.mark.parametrize("roll", [False, True], ids=["same segment", "new segment"])
def test_the_log_ends_there_and_goes_on(bench, log, index, roll):
    cut(bench, log, index)
    check(bench, index, [])
    row = bench.row(ROW)
    assert (row["durable_index"], row["stored_index"]) == (index, index)
    assert (row["durable_position"], row["crc"]) == (log.position, log.previous)
    log.term = 2
    if roll:
        log.segment = log.position
    places = [log.append(b"new %d" % n) for n in range(5)]
    bench.run()
    assert [bench.lane.status(place) for place in places] == [STORED] * 5
    check(bench, index, [b"new %d" % n for n in range(5)])
    bench.store.close()
    bench.disk.lose_power()
    bench.start()
    check(bench, index, [b"new %d" % n for n in range(5)])


def test_what_is_committed_is_not_cut(bench, log):
    for index in (0, 9):
        with pytest.raises(
            StorageError, match=f"committed up to frame 10 and is not cut behind frame {index}"
        ):
            bench.loop.truncate_suffix(LOG, ROW, index, 1)
        place = log.truncate(index)
        bench.run()
        assert bench.lane.status(place) == REFUSED
        assert bench.faults.pop() == ("cut", LOG, 0)
    check(bench, 20, [])
    place = log.append(b"goes on")
    bench.run()
    assert bench.lane.status(place) == STORED


def test_what_cannot_be_is_refused_and_changes_nothing(bench, log):
    with pytest.raises(StorageError, match="ends with frame 20 and cannot be cut behind frame 21"):
        bench.loop.truncate_suffix(LOG, ROW, 21, 1)
    log.term = 4
    log.append(b"old 20")
    bench.run()
    with pytest.raises(StorageError, match="frames of term 4, the cut is of term 3"):
        bench.loop.truncate_suffix(LOG, ROW, 15, 3)
    with pytest.raises(FileNotFoundError):
        bench.loop.truncate_suffix(99, 9, 3, 1)
    wrong = [
        bench.lane.add(TRUNCATE, 0, row=ROW, index=15),
        bench.lane.add(TRUNCATE, LOG, row=1 << 20, index=15),
    ]
    bench.run()
    assert [bench.lane.status(place) for place in wrong] == [FAULTY, FAULTY]
    check(bench, 21, [])


def test_frames_of_the_old_term_are_refused_afterwards(bench, log):
    log.term = 5
    cut(bench, log, 12)
    state = log.state()
    log.term = 4
    old = log.append(b"old owner")
    log.back_to(state)
    log.term = 5
    new = log.append(b"new owner")
    bench.run()
    assert [bench.lane.status(old), bench.lane.status(new)] == [REFUSED, STORED]
    check(bench, 12, [b"new owner"])


def test_frames_cut_and_new_ones_may_be_published_at_once(bench, log):
    """What lies before the cut in the lane has its word first, what lies behind it comes after."""
    before = [log.append(b"x"), log.append(b"y")]
    place = log.truncate(15)
    log.back_to(log.states[15])
    log.term = 2
    after = [log.append(b"new 0"), log.append(b"new 1")]
    again = log.truncate(16)
    bench.run()
    assert {bench.lane.status(at) for at in [*before, place, *after, again]} == {STORED}
    check(bench, 15, [b"new 0"])
    assert bench.row(ROW)["durable_index"] == 16


@pytest.mark.parametrize("rows_stored", [False, True])
@pytest.mark.parametrize("statuses_kept", [False, True])
def test_a_successor_carries_it_out_again(bench, log, rows_stored, statuses_kept):
    """The writer was killed behind the cut and before it could move `processed`."""
    processed, rows = bench.lane.processed, bytes(bench.rows)
    place = log.truncate(13)
    bench.run()
    if not rows_stored:
        bench.rows[:] = rows
    if not statuses_kept:
        at = layout.RING_DATA + (place + 8) % bench.lane.size
        bench.lane.memory[at : at + 4] = bytes(4)
    bench.lane.cells[layout.LANE_PROCESSED // 8] = processed
    bench.start()
    log.back_to(log.states[13])
    log.term = 2
    new = log.append(b"new")
    bench.run()
    assert [bench.lane.status(place), bench.lane.status(new)] == [STORED, STORED]
    check(bench, 13, [b"new"])


def test_a_writer_that_has_not_seen_the_log_finds_the_frame(bench, log):
    bench.rows[ROW * layout.LOG_ROW_SIZE : ROW * layout.LOG_ROW_SIZE + 64] = bytes(64)
    bench.start()
    cut(bench, log, 11)
    place = log.append(b"new")
    bench.run()
    assert bench.lane.status(place) == STORED
    check(bench, 11, [b"new"])


def test_everything_can_be_cut_when_nothing_is_committed(bench, log):
    bench.commit(ROW, 0)
    cut(bench, log, 0)
    assert bench.store.segment_bases(LOG) == []
    place = log.append(b"first again")
    bench.run()
    assert bench.lane.status(place) == STORED
    check(bench, 0, [b"first again"])


def test_segments_that_go_are_not_used_again(bench, log):
    """Each segment has the size of those that are kept for another use, and is full of later frames."""
    cut(bench, log, 11)
    assert os.listdir(bench.store.pool_path) == []
    log.segment = log.position
    state = log.state()
    log.append(b"new")
    bench.disk.failures["sync"] = (errno.EIO, f"{log.segment:016x}.seg")
    bench.run()
    bench.disk.failures.clear()
    log.back_to(state)
    check(bench, 11, [])


def test_what_was_stored_without_a_sync_is_cut_or_made_durable(bench, log):
    for n in range(20, 24):
        log.append(b"old %d" % n, flags=NO_SYNC)
        log.states.append(log.state())
    bench.run()
    cut(bench, log, 22)
    assert bench.row(ROW)["durable_index"] == 22
    bench.store.close()
    bench.disk.lose_power()
    bench.start()
    check(bench, 22, [])


def test_the_watermark_and_what_waits_for_an_index_forget_the_cut_part(bench, log):
    bench.loop.mark(0, 10)
    path = bench.store.log_path(LOG)
    assert read_watermark(bench.disk, path) == 20
    cut(bench, log, 14)
    assert read_watermark(bench.disk, path) == 14
    while bench.loop.index_one():
        pass
    last = bench.store.segment_bases(LOG)[-1]
    names = {name for name in os.listdir(path) if name.endswith(".idx")}
    assert names == {files.index_name(base) for base in bench.store.segment_bases(LOG) if base < last}
    log.append(b"new")
    bench.run()
    bench.loop.mark(0, 10)
    assert read_watermark(bench.disk, path) == 15
    check(bench, 14, [b"new"])


def test_a_full_disk_does_not_keep_it_from_being_cut(bench, log):
    bench.store.reserve.take()
    bench.disk.failures["create"] = (errno.ENOSPC, "/cuts/")
    give = bench.store.reserve.give

    def give_and_have_room():
        give()
        bench.disk.failures.clear()

    bench.store.reserve.give = give_and_have_room
    cut(bench, log, 12)
    assert bench.store.reserve.taken
    check(bench, 12, [])


@pytest.mark.parametrize("where", [".seg", "/cuts/"])
def test_a_cut_that_fails_closes_the_log_until_it_succeeds(bench, log, where):
    bench.disk.failures["sync"] = (errno.EIO, where)
    place = log.truncate(12)
    frame = log.append(b"x")
    bench.run()
    assert [bench.lane.status(at) for at in (place, frame)] == [ERRNO + errno.EIO] * 2
    sync = bench.lane.add(SYNC, LOG, row=ROW)
    bench.run()
    assert bench.lane.status(sync) == STORED  # nothing of the log waits to be synced
    bench.disk.failures.clear()
    with pytest.raises(StorageError, match="cannot be cut behind frame 13"):
        bench.loop.truncate_suffix(LOG, ROW, 13, 1)
    cut(bench, log, 11)
    place = log.append(b"new")
    bench.run()
    assert bench.lane.status(place) == STORED
    check(bench, 11, [b"new"])


def test_the_writers_successor_finishes_a_cut_that_failed(bench, log):
    bench.disk.failures["sync"] = (errno.EIO, ".seg")
    place = log.truncate(12)
    bench.run()
    assert bench.lane.status(place) == ERRNO + errno.EIO
    bench.start()  # it cannot finish it either, and takes nothing more
    frame = log.append(b"x")
    bench.run()
    assert bench.lane.status(frame) == ERRNO + errno.EIO
    bench.disk.failures.clear()
    bench.start()
    check(bench, 12, [])


def test_a_segment_that_failed_is_not_in_the_way(bench, log):
    bench.disk.failures["sync"] = (errno.EIO, ".seg")
    log.append(b"fails")
    bench.run()
    bench.disk.failures.clear()
    cut(bench, log, 12)
    log.segment = log.position
    place = log.append(b"new")
    bench.run()
    assert bench.lane.status(place) == STORED
    check(bench, 12, [b"new"])


# --- the journal ------------------------------------------------------------------------------------------


class Many(Bench):
    """Twelve logs that are written in every cycle, so that the journal is what makes them durable."""

    def __init__(self, directory):
        super().__init__(directory, TestDisk(), journal_size=1 << 16)
        self.many = [Log(self.lane, 1 + n, n, capacity=CAPACITY) for n in range(12)]
        for log in self.many:
            log.create()
            log.states = [log.state()]
        self.fill(b"first")

    def fill(self, payload: bytes) -> None:
        places = []
        for log in self.many:
            places.append(log.append(payload))
            log.states.append(log.state())
        self.run()
        assert {self.lane.status(place) for place in places} == {STORED}
        self.lane.release()

    def power_loss(self) -> None:
        self.loop.journal.settle(True)
        self.store.close()
        self.disk.lose_power()
        self.start()


def cut_and_write_anew(many: Many, roll: bool) -> None:
    """Five frames each, all in the journal; two of one log are cut off, and others take their place alone."""
    for n in range(4):
        many.fill(b"old %d" % n)
    assert many.loop.journal.batches > 3
    log = many.many[4]
    log.truncate(3)
    many.run()
    log.back_to(log.states[3])
    log.term = 2
    if roll:
        log.segment = log.position
    place = log.append(b"new")
    many.run()
    assert many.lane.status(place) == STORED


@pytest.mark.parametrize("roll", [False, True], ids=["same segment", "new segment"])
def test_a_replay_of_the_journal_does_not_bring_it_back(tmp_path, roll):
    many = Many(tmp_path)
    cut_and_write_anew(many, roll)
    many.power_loss()
    payloads, result = scan(many, 5)
    assert payloads == {1: b"first", 2: b"old 0", 3: b"old 1", 4: b"new"}
    assert (result.lost, result.notes) == ([], [])
    for log in many.many:
        if log.log_id != 5:
            assert list(scan(many, log.log_id)[0]) == [1, 2, 3, 4, 5]
    # The journal is used as before.
    many.many[4].index = 4
    replayed = many.replayed
    for n in range(3):
        many.fill(b"later %d" % n)
    many.power_loss()
    assert many.replayed > replayed
    assert list(scan(many, 5)[0].values())[3:] == [b"new", b"later 0", b"later 1", b"later 2"]
    assert list(scan(many, 6)[0]) == list(range(1, 9))


def test_planted_journal_that_is_not_emptied_is_found(tmp_path):
    """The test before would fail without it."""
    many = Many(tmp_path)
    many.journal.empty = lambda: None
    cut_and_write_anew(many, False)
    many.power_loss()
    assert scan(many, 5)[0] != {1: b"first", 2: b"old 0", 3: b"old 1", 4: b"new"}


def test_a_journal_that_failed_keeps_what_it_holds_and_nothing_is_cut(tmp_path):
    many = Many(tmp_path)
    many.fill(b"old 0")
    many.disk.failures["sync"] = (errno.EIO, "/journal/")
    many.fill(b"old 1")
    assert not many.loop.journal.usable
    many.disk.failures.clear()
    place = many.many[4].truncate(2)
    many.run()
    assert many.lane.status(place) == ERRNO + errno.EIO
    many.power_loss()
    assert list(scan(many, 5)[0]) == [1, 2, 3]
