"""Property: a log that was cut behind a frame ends there, for every reader and after any crash; before the
mark of the cut is durable nothing has happened, afterwards all of it has.

Logs of all kinds of frames are cut behind each of their frames, on a real directory and on the logged disk
that forgets what was not synced. tests/storage/test_crash_states.py has cuts among everything else.
"""

import errno
import os
import random
import shutil

import pytest

from shardbroker.errors import StorageError
from shardbroker.storage import codec, layout, log_cut
from shardbroker.storage.disk import Disk
from shardbroker.storage.segment_head import SegmentHead
from shardbroker.storage.store import Store
from shardbroker.storage.watermark import read_watermark, write_watermark
from tests.storage.log_files import LOG_ID, SEGMENT_CAPACITY, LogBuilder, Placed, mixed_log, scan
from tests.storage.logged_disk import Image, LoggedDisk, Replay

HEAD = 64


@pytest.fixture
def made(tmp_path):
    """A store with one log of some segments, and what is in it."""
    store = Store(Disk(), str(tmp_path / "store"), pooled_capacity=SEGMENT_CAPACITY)
    store.open()
    store.create_log(LOG_ID, b"{}")
    folder = tmp_path / "log"
    folder.mkdir()
    builder = mixed_log(folder, frames=60)
    builder.finish()
    yield store, builder, folder
    store.close()


def fill(store: Store, folder) -> None:
    """Put the log as it was built in its place."""
    directory = store.log_path(LOG_ID)
    for name in os.listdir(directory):
        if not name.startswith("config."):
            os.unlink(f"{directory}/{name}")
    for name in os.listdir(folder):
        shutil.copy(f"{folder}/{name}", f"{directory}/{name}")


def read_back(store: Store):
    """(indexes of the records' frames, result) of a scan."""
    path = store.log_path(LOG_ID)
    files = [(base, f"{path}/{layout.segment_name(base)}") for base in store.segment_bases(LOG_ID)]
    sink, result = scan(files, read_watermark(store.disk, path))
    return sink, result


def position_behind(builder: LogBuilder, placed: Placed) -> int:
    return builder.files[placed.segment][0] + placed.offset + placed.size - HEAD


def check_end(builder: LogBuilder, store: Store, index: int, kept: int) -> None:
    """The log ends with frame `index`, which is number `kept` of the builder's."""
    sink, result = read_back(store)
    assert result.last_index == index
    assert (result.lost, result.cut_bytes, result.leftover_paths) == ([], 0, [])
    records = [record for placed in builder.placed[:kept] for record, _ in placed.records]
    whole = [record for _, _, record, _ in sink.records]
    # Parts of a batch whose commit is cut off are not handed on.
    assert whole == records[: len(whole)]
    missing = [
        placed for placed in builder.placed[:kept] if placed.records and placed.records[0][0] not in whole
    ]
    assert all(placed.kind == codec.BATCH for placed in missing)


def test_a_log_can_be_cut_behind_each_frame(made):
    store, builder, folder = made
    borders = 0
    for kept in range(len(builder.placed) + 1):
        fill(store, folder)
        directory = store.log_path(LOG_ID)
        for base, _ in builder.files:
            store.write_index(LOG_ID, base, b"stale")
        write_watermark(store.disk, directory, builder.index - 1)
        index = builder.placed[kept - 1].index if kept else 0
        end = log_cut.end_of_frame(store, LOG_ID, index)
        assert end.position == (position_behind(builder, builder.placed[kept - 1]) if kept else 0)
        store.cut_log(LOG_ID, index, end.position)
        check_end(builder, store, index, kept)
        bases = store.segment_bases(LOG_ID)
        assert bases == [base for base, _ in builder.files if base < end.position]
        borders += len(bases) < len(builder.files) and end.position == builder.files[len(bases)][0]
        indexes = {name for name in os.listdir(directory) if name.endswith(".idx")}
        assert indexes == {layout.index_name(base) for base in bases[:-1]}
        assert read_watermark(store.disk, directory) == index
        if bases:
            with open(f"{directory}/{layout.segment_name(bases[-1])}", "rb") as file:
                assert not file.read()[HEAD + end.position - bases[-1] :].strip(b"\0")
        assert os.listdir(store.cuts_path) == []
    assert borders > 2  # some cuts were right between two segments
    assert os.listdir(store.pool_path) == []  # though the segments had the size of those that are used again


def test_a_frame_that_is_not_there_cannot_be_the_end(made):
    store, builder, folder = made
    fill(store, folder)
    with pytest.raises(StorageError, match=f"has no frame {builder.index}"):
        log_cut.end_of_frame(store, LOG_ID, builder.index)
    store.release_segment(LOG_ID, 0)
    second = builder.files[1][0]
    first_kept = next(placed.index for placed in builder.placed if placed.segment == 1)
    assert log_cut.end_of_frame(store, LOG_ID, first_kept - 1).position == second
    for index in (0, first_kept - 2):
        with pytest.raises(StorageError, match="has no frame"):
            log_cut.end_of_frame(store, LOG_ID, index)
    path = f"{store.log_path(LOG_ID)}/{layout.segment_name(second)}"
    with open(path, "r+b") as file:  # rot before the frame that is asked for: it cannot be reached
        file.seek(HEAD + 20)
        file.write(b"\xff")
    with pytest.raises(StorageError, match="has no frame"):
        log_cut.end_of_frame(store, LOG_ID, first_kept + 1)


def test_a_segment_with_a_damaged_head_is_walked_all_the_same(made):
    store, builder, folder = made
    fill(store, folder)
    last = builder.placed[-1]
    with open(f"{store.log_path(LOG_ID)}/{layout.segment_name(builder.files[-1][0])}", "r+b") as file:
        file.write(b"\xff" * HEAD)
    assert log_cut.end_of_frame(store, LOG_ID, last.index).position == position_behind(builder, last)
    first = next(placed for placed in builder.placed if placed.segment == last.segment)
    before = builder.placed[builder.placed.index(first) - 1]
    assert log_cut.end_of_frame(store, LOG_ID, before.index).position == position_behind(builder, before)


def test_after_any_power_failure_the_log_is_as_before_or_as_after(made, tmp_path):
    store, builder, folder = made
    fill(store, folder)
    write_watermark(store.disk, store.log_path(LOG_ID), builder.index - 1)
    start = image_of(store)
    chance = random.Random(5)
    seen = set()
    for kept in range(3, len(builder.placed), 7):
        index = builder.placed[kept - 1].index
        disk = LoggedDisk(start)
        other = Store(disk, os.path.dirname(store.path), pooled_capacity=SEGMENT_CAPACITY)
        other.open()
        begin = len(disk.events)
        other.cut_log(LOG_ID, index, position_behind(builder, builder.placed[kept - 1]))
        for cut in range(begin, len(disk.events) + 1):
            for state in range(4):
                replay = Replay(start, disk.events, cut)
                found = LoggedDisk(replay.newest() if state == 0 else replay.image(chance))
                if state == 1:  # the start that follows is cut short as well
                    crashing = Store(found, os.path.dirname(store.path))
                    crashing.open()
                    short = chance.randrange(len(found.events) + 1)
                    found = LoggedDisk(Replay(replay.newest(), found.events, short).image(chance))
                again = Store(found, os.path.dirname(store.path), pooled_capacity=SEGMENT_CAPACITY)
                again.open()
                assert [entry["damaged"] for entry in again.list_logs()] == [None]
                shutil.rmtree(tmp_path / "state", ignore_errors=True)
                found.image().write_below(str(tmp_path / "state"), again.log_path(LOG_ID))
                ends_at = scan_state(tmp_path / "state", again)
                assert ends_at in (index, builder.index - 1), (cut - begin, state)
                assert ends_at == index or cut < len(disk.events)
                seen.add((ends_at == index, bool(again.warnings)))
    assert seen == {(False, False), (True, False), (True, True)}


def image_of(store: Store) -> Image:
    """The store's directory as the start of a logged disk."""
    image = Image(folders={os.path.dirname(store.path)})
    for directory, _, files in os.walk(store.path):
        image.folders.add(directory)
        for name in files:
            number = -1 - len(image.contents)
            with open(f"{directory}/{name}", "rb") as file:
                image.names[f"{directory}/{name}"], image.contents[number] = number, file.read()
    return image


def scan_state(folder, store: Store) -> int:
    """The last index of what was written there; nothing may be told lost."""
    path = folder / layout.log_name(LOG_ID)
    files = [(base, str(path / layout.segment_name(base))) for base in store.segment_bases(LOG_ID)]
    _, result = scan(files, read_watermark(store.disk, store.log_path(LOG_ID)))
    assert result.lost == []
    return result.last_index


class StubbornDisk(Disk):
    """Does not let segments be synced."""

    def fdatasync(self, fd):
        if os.readlink(f"/proc/self/fd/{fd}").endswith(".seg"):
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        super().fdatasync(fd)


def reopened(store: Store, disk=None) -> Store:
    store.close()
    again = Store(disk or Disk(), os.path.dirname(store.path), pooled_capacity=SEGMENT_CAPACITY)
    again.open()
    return again


def test_a_cut_that_fails_is_finished_by_a_later_start_and_damages_one_log_meanwhile(made):
    store, builder, folder = made
    fill(store, folder)
    store.create_log(9, b"{}")
    store = reopened(store, StubbornDisk())
    placed = builder.placed[20]
    with pytest.raises(OSError, match="Input/output error"):
        store.cut_log(LOG_ID, placed.index, position_behind(builder, placed))
    store = reopened(store, StubbornDisk())
    assert store.unfinished_cuts == {LOG_ID: placed.index}
    assert [entry["damaged"] for entry in store.list_logs() if entry["log_id"] == 9] == [None]
    damaged = next(entry["damaged"] for entry in store.list_logs() if entry["log_id"] == LOG_ID)
    assert damaged == f"its cut behind frame {placed.index} could not be finished"
    store = reopened(store)
    assert store.warnings == [f"log {LOG_ID:08x}: its cut behind frame {placed.index} is finished"]
    assert store.unfinished_cuts == {}
    assert [entry["damaged"] for entry in store.list_logs()] == [None, None]
    check_end(builder, store, placed.index, 21)
    store.close()


def test_marks_that_mean_nothing_are_dropped(made):
    store, builder, folder = made
    fill(store, folder)
    for name, content in ((f"{LOG_ID:08x}", b"garbage"), ("00000777", b"of a removed log"), ("5.new", b"")):
        with open(f"{store.cuts_path}/{name}", "wb") as file:
            file.write(content)
    store = reopened(store)
    assert os.listdir(store.cuts_path) == []
    assert store.warnings == [f"log {LOG_ID:08x}: the mark of a cut is damaged; it is read as it is"]
    check_end(builder, store, builder.index - 1, len(builder.placed))
    store.close()


def test_a_log_goes_on_where_it_was_cut(made):
    store, builder, folder = made
    fill(store, folder)
    placed = builder.placed[30]
    end = log_cut.end_of_frame(store, LOG_ID, placed.index)
    store.cut_log(LOG_ID, placed.index, end.position)
    fd = store.create_segment(SegmentHead(LOG_ID, end.position, placed.index + 1, 4096, 2, end.crc, 1))
    record = codec.Record(10_000, b"s", b"new", b"", 5)
    frame = codec.build_frame(
        codec.MESSAGES, LOG_ID, placed.index + 1, 2, end.crc, codec.build_record(record),
        first_sequence=10_000, count=1, durable_lag=1,
    )  # fmt: skip
    os.pwrite(fd, frame, HEAD)
    os.close(fd)
    sink, result = read_back(store)
    assert (result.last_index, result.last_term, result.lost) == (placed.index + 1, 2, [])
    assert sink.records[-1][2] == record
