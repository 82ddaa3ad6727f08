"""Properties of the write loop, in process: order, one sync for many frames, what is refused and why.

A Bench is a write loop on a real directory with lanes in memory; `Log` builds frames as an owner does. What
is on disk is read by a few lines of Python that share nothing with the writer.
"""

import gc
import os
import struct

import pytest

from shardbroker.shm import layout
from shardbroker.storage.disk import Disk
from shardbroker.storage.watermark import read_watermark
from tests.streamwriter.lane_feed import (
    ERASE,
    ERRNO,
    FAULTY,
    FRAME,
    INDEX,
    METADATA,
    NO_SYNC,
    REFUSED,
    RELEASE,
    REMOVE,
    STORED,
    SYNC,
    Bench,
    Log,
    frame,
    message,
)


@pytest.fixture
def bench(tmp_path):
    return Bench(tmp_path)


@pytest.fixture
def log(bench):
    log = Log(bench.lane, 7, 3)
    assert log.create(b'{"name":"x"}') == 0
    bench.run()
    assert bench.lane.status(0) == STORED
    return log


def test_frames_are_on_disk_in_order_when_they_are_processed(bench, log):
    places = [log.append(b"payload %d" % n) for n in range(100)]
    bench.run()
    assert [bench.lane.status(place) for place in places] == [STORED] * 100
    assert bench.lane.processed == bench.lane.position
    assert bench.frames(7) == list(range(1, 101))
    row = bench.row(3)
    assert (row["log_id"], row["durable_index"], row["stored_index"]) == (7, 100, 100)
    assert (row["durable_position"], row["crc"], row["frames"]) == (log.position, log.previous, 100)


def test_a_thousand_frames_cost_one_sync_a_cycle(bench, log):
    before = bench.loop.calls.syncs
    for n in range(1000):
        log.append(b"%d" % n)
    bench.run()
    assert bench.row(3)["durable_index"] == 1000
    assert bench.row(3)["syncs"] <= 5  # one for the cycle and one for each segment that was filled
    assert bench.loop.calls.syncs - before <= 5


def test_rolling_makes_segments_of_the_capacity_asked_for(bench, log):
    for _ in range(20):
        log.append(bytes(10_000))
    bench.run()
    bases = bench.store.segment_bases(7)
    assert len(bases) == 4
    found = []
    for base in bases:
        data = bench.segment_bytes(7, base)
        assert len(data) == 64 + (1 << 16)
        assert struct.unpack_from("<Q", data, 16)[0] == base
        found += bench.frames(7, base)
    assert found == list(range(1, 21))


def test_frames_without_sync_are_stored_and_synced_later(bench, log):
    place = log.append(b"lazy", flags=NO_SYNC)
    syncs = bench.loop.calls.syncs
    bench.run()
    assert bench.lane.status(place) == STORED
    assert bench.loop.calls.syncs == syncs
    assert (bench.row(3)["stored_index"], bench.row(3)["durable_index"]) == (1, 0)
    bench.loop.sync_unsynced()
    assert bench.loop.calls.syncs == syncs + 1
    assert bench.row(3)["durable_index"] == 1


@pytest.mark.parametrize("log_id", [0, 7])
def test_a_sync_record_makes_what_was_lazy_durable(bench, log, log_id):
    log.append(b"lazy", flags=NO_SYNC)
    bench.run()
    place = bench.lane.add(SYNC, log_id, row=3)
    bench.run()
    assert bench.lane.status(place) == STORED
    assert bench.row(3)["durable_index"] == 1


def test_a_gap_an_old_term_and_a_wrong_chain_are_not_stored(bench, log):
    log.term = 5
    log.append(b"one")
    bench.run()
    state = log.state()
    log.index = 2
    gap = log.append(b"gap")
    log.back_to(state)
    log.term = 4
    old = log.append(b"old")
    log.back_to(state)
    log.term, log.previous = 5, 12345
    chain = log.append(b"chain")
    log.back_to(state)
    good = log.append(b"good")
    bench.run()
    assert [bench.lane.status(at) for at in (gap, old, chain, good)] == [REFUSED, REFUSED, FAULTY, STORED]
    assert bench.frames(7) == [1, 2]


def test_a_foreign_log_id_is_not_stored(bench, log):
    data = frame(8, 1, [message(1, b"x")])
    place = bench.lane.add(FRAME, 7, data, row=3, index=1)
    bench.run()
    assert bench.lane.status(place) == FAULTY
    assert ("record", 0, 0) in bench.faults


@pytest.mark.parametrize("bit", range(8))
def test_a_flipped_bit_in_heads_and_sizes_is_not_stored(bench, log, bit):
    """What a record's own checksum covers is its reader's business; the heads are the writer's."""
    good = frame(7, 1, [message(1, b"")])
    header_size, payload_size = 64 + 24, 64 + 28
    for at in [*range(64 + 8), *range(header_size + 1, payload_size), *range(payload_size + 1, 64 + 32)]:
        data = bytearray(good)
        data[at] ^= 1 << bit
        place = bench.lane.add(FRAME, 7, bytes(data), row=3, index=1)
        bench.run()
        bench.lane.release()
        assert bench.lane.status(place) == FAULTY, at


def test_nonsense_places_are_faulty(bench, log):
    data = frame(7, 1, [message(1, b"x")])
    places = [
        bench.lane.add(FRAME, 7, data, row=3, index=1, segment=8),
        bench.lane.add(FRAME, 7, data, row=3, index=1, position=8),
        bench.lane.add(FRAME, 7, data, row=3, index=1, capacity=8),
        bench.lane.add(FRAME, 7, data, row=3, index=1, capacity=1 << 40),
        bench.lane.add(FRAME, 7, data, row=1 << 20, index=1),
        bench.lane.add(FRAME, 0, data, row=3, index=1),
        bench.lane.add(99, 7, data, row=3, index=1),
    ]
    bench.run()
    assert [bench.lane.status(place) for place in places] == [FAULTY] * len(places)


def test_a_frame_for_a_log_that_is_not_there_fails_alone(bench, log):
    stray = Log(bench.lane, 99, 4)
    lost = stray.append(b"x")
    good = log.append(b"y")
    bench.run()
    assert bench.lane.status(lost) == ERRNO + 2
    assert bench.lane.status(good) == STORED


def test_metadata_release_erase_index_and_remove(bench, log):
    for _ in range(10):
        log.append(bytes(10_000))
    bench.run()
    first, second = bench.store.segment_bases(7)[:2]
    places = [
        bench.lane.add(METADATA, 7, b'{"name":"y"}', row=3),
        bench.lane.add(INDEX, 7, b"index", segment=first),
        bench.lane.add(ERASE, 7, segment=second, position=second + 128, count=1000, row=3),
    ]
    bench.run()
    assert [bench.lane.status(place) for place in places] == [STORED] * 3
    assert bench.store.list_logs()[0]["metadata"] == '{"name":"y"}'
    assert bench.segment_bytes(7, second)[64 + 128 : 64 + 1128] == bytes(1000)
    assert os.path.exists(f"{bench.store.log_path(7)}/{first:016x}.idx")
    too_much = bench.lane.add(ERASE, 7, segment=second, position=second + 128, count=1 << 20, row=3)
    release = bench.lane.add(RELEASE, 7, segment=first, row=3)
    bench.run()
    assert bench.lane.status(too_much) == FAULTY
    assert bench.lane.status(release) == STORED
    assert bench.store.segment_bases(7)[0] == second
    assert not os.path.exists(f"{bench.store.log_path(7)}/{first:016x}.idx")
    place = bench.lane.add(REMOVE, 7, row=3)
    bench.run()
    assert bench.lane.status(place) == STORED
    assert bench.store.list_logs() == []
    assert bench.row(3)["log_id"] == 0
    while bench.store.sweep(2):
        pass
    assert os.listdir(bench.store.logs_path) == []


def test_lanes_are_independent_and_sleeping_owners_are_rung_once(tmp_path):
    bench = Bench(tmp_path, lanes=3)
    logs = [Log(lane, 10 + worker, worker) for worker, lane in enumerate(bench.lanes)]
    cells = memoryview(bench.board).cast("Q")
    for worker in range(3):
        cells[(layout.worker_row(worker) + layout.WORKER_SLEEPING) // 8] = 2 * worker + worker % 2
    for log in logs:
        log.create()
        for n in range(10):
            log.append(b"%d" % n)
    bench.run()
    assert [bench.row(worker)["durable_index"] for worker in range(3)] == [10, 10, 10]
    assert os.eventfd_read(bench.doorbells[1]) == 1
    for worker in (0, 2):
        with pytest.raises(BlockingIOError):
            os.eventfd_read(bench.doorbells[worker])
    logs[1].append(b"again")
    bench.run()
    with pytest.raises(BlockingIOError):
        os.eventfd_read(bench.doorbells[1])  # the same sleep is not rung twice


def test_the_writer_does_not_sleep_over_a_record(bench, log):
    assert bench.loop.go_to_sleep()
    cells = memoryview(bench.board).cast("Q")
    epoch = cells[layout.BOARD_WRITER_SLEEPING // 8]
    assert epoch & 1
    bench.loop.bells.wake()
    assert cells[layout.BOARD_WRITER_SLEEPING // 8] == epoch + 1
    log.append(b"x")
    bench.lane.publish()
    assert not bench.loop.go_to_sleep()
    assert cells[layout.BOARD_WRITER_SLEEPING // 8] & 1 == 0


def test_a_successor_goes_on_and_writes_the_same_again(bench, log):
    """Killed after the rows were stored and before `processed` was: the records are there once more."""
    log.append(b"one")
    bench.run()
    processed = bench.lane.processed
    places = [log.append(b"two"), log.append(b"three")]
    bench.run()
    once = bench.segment_bytes(7)
    bench.lane.cells[layout.LANE_PROCESSED // 8] = processed
    bench.store.close()
    bench.start()
    places.append(log.append(b"four"))
    bench.run()
    assert [bench.lane.status(place) for place in places] == [STORED] * 3
    assert bench.frames(7) == [1, 2, 3, 4]
    assert bench.segment_bytes(7)[: len(once.rstrip(b"\0"))] == once.rstrip(b"\0")


def test_a_successor_knows_what_was_stored_lazily(bench, log):
    log.append(b"durable")
    bench.run()
    log.append(b"lazy", flags=NO_SYNC)
    bench.run()
    bench.store.close()
    bench.start()
    bench.loop.settle_rows([(0, len(bench.rows))])
    assert bench.row(3)["durable_index"] == 2
    next_one = log.append(b"next")
    log.index += 1
    gap = log.append(b"gap")
    bench.run()
    assert [bench.lane.status(at) for at in (next_one, gap)] == [STORED, REFUSED]
    assert bench.row(3)["durable_index"] == 3


def test_idle_logs_get_a_watermark(bench, log):
    log.append(b"one")
    bench.run()
    bench.loop.mark(10**12, 10)
    assert read_watermark(bench.disk, bench.store.log_path(7)) == 0
    bench.loop.mark(0, 10)
    assert read_watermark(bench.disk, bench.store.log_path(7)) == 1
    log.append(b"two")
    bench.run()
    log.append(b"lazy", flags=NO_SYNC)
    bench.run()
    bench.loop.mark(0, 10)
    assert read_watermark(bench.disk, bench.store.log_path(7)) == 2
    bench.loop.close()
    assert read_watermark(bench.disk, bench.store.log_path(7)) == 3


def test_fence_stores_all_and_gets_past_garbage(bench, log):
    log.append(b"one")
    bench.lane.publish()
    assert bench.loop.fence(0)
    assert bench.row(3)["durable_index"] == 1
    bench.lane.put(b"\xff" * 160)
    bench.run()
    assert bench.faults[-1] == ("lane", 0, 0)
    assert bench.lane.processed < bench.lane.position
    assert not bench.loop.fence(0)
    assert bench.lane.processed == bench.lane.position == bench.lane.cells[layout.LANE_RELEASED // 8]
    place = log.append(b"two")
    bench.run()
    assert bench.lane.status(place) == STORED


def totals(bench) -> list[int]:
    """Syncs, frames and bytes, as monitoring reads them."""
    return list(struct.unpack_from("<QQQ", bench.board, layout.BOARD_WRITER_SYNCS))


def test_what_was_done_is_counted_and_never_falls(tmp_path):
    """Syncs of the journal, of metadata and of names are among it; a removed log takes nothing away."""
    bench = Bench(tmp_path)
    logs = [Log(bench.lane, n + 1, n) for n in range(20)]
    for log in logs:
        log.create()
    bench.run()
    made = totals(bench)
    assert made[0] >= 2 * len(logs) and made[1:] == [0, 0]  # a slot and a name each
    for _ in range(2):
        for log in logs:
            log.append(b"x")
        bench.run()
    batches = bench.loop.journal.batches
    assert batches > 0
    before = totals(bench)
    for log in logs:
        log.append(b"x")
    bench.run()
    after = totals(bench)
    assert bench.loop.journal.batches == batches + 1
    assert after[0] == before[0] + 1  # one sync of the journal for twenty logs
    assert after[1] == before[1] + 20 == 60
    assert after[2] == sum(log.position for log in logs)
    bench.lane.add(REMOVE, 1, row=0)
    bench.run()
    assert all(now >= then for now, then in zip(totals(bench), after, strict=True))
    removed = totals(bench)
    bench.start()
    logs[1].append(b"x")
    bench.run()
    assert totals(bench)[1] == removed[1] + 1 and totals(bench)[0] > removed[0]


def test_descriptors_go_through_the_disk(tmp_path):
    """All that were opened are closed there, also those of a writer that just ends."""

    class Counting(Disk):
        opened = 0

        def _count(self, fd):
            self.opened += 1
            return fd

        def open(self, path):
            return self._count(super().open(path))

        def create(self, path):
            return self._count(super().create(path))

        def open_to_read(self, path):
            return self._count(super().open_to_read(path))

        def duplicate(self, fd):
            return self._count(super().duplicate(fd))

        def close(self, fd):
            self.opened -= 1
            super().close(fd)

    disk = Counting()
    bench = Bench(tmp_path, disk, journal_size=1 << 14)
    logs = [Log(bench.lane, n + 1, n) for n in range(20)]
    for log in logs:
        log.create()
    bench.run()
    first_round = bench.loop.journal.round
    for _ in range(12):
        for log in logs:
            log.append(bytes(200))
        bench.run()
        bench.lane.release()
    assert bench.loop.journal.round > first_round + 1
    bench.loop.journal.settle(True)
    assert disk.opened > len(logs)
    del bench.loop
    gc.collect()
    bench.close()
    assert disk.opened == 0
