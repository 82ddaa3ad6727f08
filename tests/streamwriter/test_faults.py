"""Properties under a bad disk: nothing is called stored that is not, others go on, the log can start again.

The disk is a Python object that fails, writes short or forgets, in place of the real one.
"""

import errno
import os

import pytest

from tests.streamwriter.disks import TestDisk
from tests.streamwriter.lane_feed import ERRNO, METADATA, NO_SYNC, REFUSED, STORED, SYNC, Bench, Log


@pytest.fixture
def bench(tmp_path):
    return Bench(tmp_path, TestDisk())


def new_log(bench, log_id=7, row=3, **options) -> Log:
    log = Log(bench.lane, log_id, row, **options)
    log.create()
    log.append(b"first")
    bench.run()
    return log


def test_short_writes_are_gone_on_with(bench):
    bench.disk.write_size_max = 7
    log = new_log(bench)
    places = [log.append(bytes([n]) * 50) for n in range(20)]
    bench.run()
    assert [bench.lane.status(place) for place in places] == [STORED] * 20
    assert bench.frames(7) == list(range(1, 22))
    assert bench.disk.calls["write"] > 20


@pytest.mark.parametrize("error", [errno.EIO, errno.ENOSPC])
@pytest.mark.parametrize("call", ["write", "sync"])
def test_a_failure_costs_its_log_and_no_other(bench, call, error):
    bad, good = new_log(bench), new_log(bench, 8, 4)
    state = bad.state()
    bench.disk.failures[call] = (error, "00000007")
    failed = [bad.append(b"x"), bad.append(b"y")]
    kept = good.append(b"z")
    bench.run()
    assert [bench.lane.status(place) for place in failed] == [ERRNO + error] * 2
    assert bench.lane.status(kept) == STORED
    assert (bench.row(3)["error"], bench.row(3)["durable_index"]) == (error, 1)
    assert ("log", 7, error) in bench.faults

    # What was in flight meanwhile finds a gap; a start from the durable index, in a new segment, succeeds.
    del bench.disk.failures[call]
    in_flight = bad.append(b"in flight")
    bad.back_to(state)
    bad.segment = bad.position
    again = [bad.append(b"x again"), bad.append(b"y again")]
    bench.run()
    assert bench.lane.status(in_flight) == REFUSED
    assert [bench.lane.status(place) for place in again] == [STORED] * 2
    assert bench.frames(7, bad.segment) == [2, 3]


def test_a_segment_whose_sync_failed_takes_nothing_more(bench):
    log = new_log(bench)
    state = log.state()
    bench.disk.failures["sync"] = (errno.EIO, "00000007")
    log.append(b"x")
    bench.run()
    del bench.disk.failures["sync"]
    log.back_to(state)
    syncs = bench.disk.calls["sync"]
    place = log.append(b"x")
    bench.run()
    assert bench.lane.status(place) == REFUSED
    assert bench.disk.calls["sync"] == syncs


@pytest.mark.parametrize("call", ["write", "sync"])
def test_a_segment_that_failed_with_its_first_frame_is_made_anew(bench, call):
    log = new_log(bench, capacity=4096)
    state = log.state()
    path = f"{bench.store.log_path(7)}/{log.position:016x}.seg"
    log.append(bytes(3900), flags=NO_SYNC)  # begins a segment
    bench.disk.failures[call] = (
        (errno.EIO, f"{log.segment:016x}.seg") if call == "write" else (errno.EIO, path)
    )
    bench.run()
    if call == "sync":  # the file could be made, its first frame could not be synced
        bench.disk.failures.clear()
        log.back_to(state)
        log.append(bytes(3900), flags=NO_SYNC)
        bench.run()
        bench.disk.failures[call] = (errno.EIO, path)
        place = bench.lane.add(SYNC, 7, row=3)
        bench.run()
        assert bench.lane.status(place) == ERRNO + errno.EIO
    bench.disk.failures.clear()
    inode = os.stat(path).st_ino if os.path.exists(path) else 0
    log.back_to(state)
    place = log.append(bytes(3900))
    bench.run()
    assert bench.lane.status(place) == STORED
    assert os.stat(path).st_ino != inode
    assert bench.frames(7, log.segment) == [2]


def test_a_full_disk_refuses_segments_but_takes_deletes_and_metadata(bench):
    log = new_log(bench, capacity=4096)
    assert bench.store.reserve.take()
    state = log.state()
    bench.disk.failures["fallocate"] = (errno.ENOSPC, "00000007")
    place = log.append(bytes(3900))
    bench.run()
    assert bench.lane.status(place) == ERRNO + errno.ENOSPC
    assert bench.store.reserve.taken
    log.back_to(state)
    log.segment = log.position
    place = log.append(b"12345678", kind=2)  # a delete
    bench.run()
    assert bench.lane.status(place) == STORED
    assert not bench.store.reserve.taken
    place = bench.lane.add(METADATA, 7, b"[]", row=3)
    bench.run()
    assert bench.lane.status(place) == STORED
    # Room again: the same frame goes through, and the reserve comes back.
    bench.disk.failures.clear()
    place = log.append(bytes(3900))
    bench.run()
    assert bench.lane.status(place) == STORED
    assert bench.store.reserve.take()


def test_a_failed_sync_takes_back_what_was_stored_lazily(bench):
    log = new_log(bench)
    log.append(b"lazy", flags=NO_SYNC)
    bench.run()
    assert bench.row(3)["stored_index"] == 2
    bench.disk.failures["sync"] = (errno.EIO, "00000007")
    place = log.append(b"x")
    bench.run()
    assert bench.lane.status(place) == ERRNO + errno.EIO
    assert (bench.row(3)["stored_index"], bench.row(3)["durable_index"]) == (1, 1)


def test_what_is_stored_survives_power_loss_at_any_cycle(bench):
    log = new_log(bench)
    stored = 1
    for n in range(30):
        log.append(b"%d" % n)
        bench.run()
        stored += 1
    log.append(b"lazy", flags=NO_SYNC)
    bench.run()
    bench.disk.lose_power()
    assert bench.frames(7) == list(range(1, stored + 1))


def test_a_log_whose_create_failed_is_not_there(bench):
    bench.disk.failures["sync"] = (errno.EIO, "00000009.new")
    log = Log(bench.lane, 9, 5)
    place = log.create()
    bench.run()
    assert bench.lane.status(place) == ERRNO + errno.EIO
    assert bench.store.list_logs() == []
    del bench.disk.failures["sync"]
    place = log.create()
    bench.run()
    assert bench.lane.status(place) == STORED
    assert [entry["damaged"] for entry in bench.store.list_logs()] == [None]
