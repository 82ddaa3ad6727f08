"""Properties of the store directory: what was made stays, what was cut short is gone, damage is told.

Crashes are made by a Disk that stops at the nth call: after each of them the store opens again and each log
is as before or as after.
"""

import os
from typing import ClassVar

import pytest

from shardbroker.errors import StartError
from shardbroker.storage import segment_head
from shardbroker.storage.disk import Disk, write_all
from shardbroker.storage.segment_head import SegmentHead
from shardbroker.storage.store import POOL_COUNT_MAX, TERM_LEAP, Store

CAPACITY = 1 << 16


class Crash(BaseException):
    """The power goes."""


class CrashingDisk(Disk):
    """Stops at call number ``left`` of those that change something."""

    def __init__(self, left: int):
        self.left = left

    def __getattribute__(self, name):
        changing = ("create", "pwrite", "fdatasync", "fsync", "fallocate", "truncate", "make_directory",
                    "remove_directory", "rename", "unlink", "sync_directory")  # fmt: skip
        if name in changing:
            if self.left == 0:
                raise Crash
            self.left -= 1
        return super().__getattribute__(name)


def opened(path, disk=None) -> Store:
    store = Store(disk or Disk(), str(path), pooled_capacity=CAPACITY)
    store.open()
    return store


def head(log_id=1, base=0, term=1, capacity=CAPACITY) -> SegmentHead:
    return SegmentHead(log_id, base, 1, capacity, term, 0, 99)


@pytest.fixture
def store(tmp_path):
    store = opened(tmp_path)
    yield store
    store.close()


def reopened(store: Store) -> Store:
    store.close()
    return opened(os.path.dirname(store.path))


def test_an_empty_store_has_no_logs_and_survives_reopening(store):
    assert store.list_logs() == []
    assert store.term == 0
    assert store.raise_term() == 1
    store = reopened(store)
    assert (store.term, store.warnings) == (1, [])
    assert [store.raise_term() for _ in range(5)] == [2, 3, 4, 5, 6]
    assert reopened(store).term == 6


def test_a_second_process_is_refused_with_words(store):
    with pytest.raises(StartError, match=f"in use by the process with pid {os.getpid()}: stop that broker"):
        opened(os.path.dirname(store.path))


def test_another_format_is_refused_and_an_unreadable_one_is_not(store):
    path = f"{store.path}/STORE"
    with open(path, "w") as file:
        file.write("shardbroker JetStream store, format 2\n")
    store.close()
    with pytest.raises(StartError, match="has format 2, this program knows 1"):
        opened(os.path.dirname(store.path))
    with open(path, "w") as file:
        file.write("garbage")
    again = opened(os.path.dirname(store.path))
    assert again.warnings == ["STORE was unreadable and is written anew"]
    again.close()


def test_a_place_that_cannot_be_used_is_told_with_the_remedy(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StartError, match="give another --store_dir"):
        opened(tmp_path / "file")


def test_logs_segments_and_metadata_are_listed(store):
    store.create_log(1, b'{"name":"one"}')
    store.create_log(0xABCDEF01, b'{"name":"two"}')
    os.close(store.create_segment(head()))
    os.close(store.create_segment(head(base=4096, capacity=8192)))
    store.write_metadata(1, b'{"name":"uno"}')
    expected = [
        {"log_id": 1, "metadata": '{"name":"uno"}', "damaged": None},
        {"log_id": 0xABCDEF01, "metadata": '{"name":"two"}', "damaged": None},
    ]
    assert store.list_logs() == expected
    assert store.segment_bases(1) == [0, 4096]
    assert reopened(store).list_logs() == expected


def test_listing_opens_no_segment(store):
    """A start with thousands of streams must not read a block of each of their segments."""
    store.create_log(1, b"{}")
    for number in range(3):
        os.close(store.create_segment(head(base=number << 16)))

    class Watching(Disk):
        opened: ClassVar[list[str]] = []

        def open(self, path):
            self.opened.append(path)
            return super().open(path)

        open_to_read = open

    store.close()
    again = opened(os.path.dirname(store.path), Watching())
    assert again.list_logs() == [{"log_id": 1, "metadata": "{}", "damaged": None}]
    assert again.disk.opened and not any(path.endswith(".seg") for path in again.disk.opened)
    again.close()


def test_modes_keep_others_out(store):
    store.create_log(1, b"{}")
    os.close(store.create_segment(head()))
    for directory, directories, files in os.walk(store.path):
        for name in directories:
            assert os.stat(f"{directory}/{name}").st_mode & 0o777 == 0o700
        for name in files:
            assert os.stat(f"{directory}/{name}").st_mode & 0o777 == 0o600


def test_one_damaged_slot_is_told_and_two_are_damage(store):
    store.create_log(1, b"[1]")
    store.write_metadata(1, b"[2]")
    newest = f"{store.log_path(1)}/config.b"
    for at in range(os.path.getsize(newest)):
        with open(newest, "r+b") as file:
            file.seek(at)
            byte = file.read(1)
            file.seek(at)
            file.write(bytes([byte[0] ^ 0x10]))
        entry = store.list_logs()[0]
        assert (entry["metadata"], entry["damaged"]) == ("[1]", None)
        assert "slot B" in store.warnings.pop()
        with open(newest, "r+b") as file:
            file.seek(at)
            file.write(byte)
    assert store.list_logs()[0]["metadata"] == "[2]"
    for name in ("config.a", "config.b"):
        os.truncate(f"{store.log_path(1)}/{name}", 10)
    entry = reopened(store).list_logs()[0]
    assert entry["metadata"] is None
    assert entry["damaged"].startswith("no metadata: slot A has 10 bytes")


def test_a_damaged_segment_head_is_no_head(store):
    store.create_log(1, b"{}")
    fd = store.create_segment(head())
    write_all(store.disk, fd, b"\xff", 20)
    os.close(fd)
    fd, found = store.open_segment(1, 0)
    os.close(fd)
    assert found is None
    assert store.open_segment(1, 64) is None


def test_a_lost_term_leaps_over_every_term_ever_given(store):
    store.create_log(1, b"{}")
    for _ in range(3):
        store.raise_term()
    os.close(store.create_segment(head(term=3)))
    for name in ("term.a", "term.b"):
        os.truncate(f"{store.path}/{name}", 3)
    store = reopened(store)
    assert store.term == 3 + TERM_LEAP
    assert store.raise_term() == 4 + TERM_LEAP
    assert reopened(store).term == 4 + TERM_LEAP


def test_dead_segments_are_used_again_only_when_large_and_few(store):
    store.create_log(1, b"{}")
    store.create_log(2, b"{}")
    inodes = []
    for number in range(POOL_COUNT_MAX + 2):
        fd = store.create_segment(head(base=number << 16))
        inodes.append(os.fstat(fd).st_ino)
        os.pwrite(fd, b"old frame", 64)
        os.close(fd)
    os.close(store.create_segment(head(base=1 << 20, capacity=4096)))
    store.write_index(1, 0, b"index")
    for base in [number << 16 for number in range(POOL_COUNT_MAX + 2)] + [1 << 20]:
        store.release_segment(1, base)
    store.release_segment(1, 0)  # again: no error
    assert os.listdir(store.log_path(1)) == ["config.a"]
    assert len(os.listdir(store.pool_path)) == POOL_COUNT_MAX
    store = reopened(store)
    fd = store.create_segment(head(log_id=2, term=9))
    assert os.fstat(fd).st_ino in inodes
    found = segment_head.decode(os.pread(fd, 64, 0))
    assert (found.log_id, found.term) == (2, 9)
    os.close(fd)
    os.close(store.create_segment(head(log_id=2, base=64, capacity=4096)))
    assert len(os.listdir(store.pool_path)) == POOL_COUNT_MAX - 1


def test_removing_is_durable_at_once_and_swept_in_slices(store):
    store.create_log(1, b"{}")
    for number in range(10):
        os.close(store.create_segment(head(base=number << 16, capacity=4096)))
    store.remove_log(1)
    assert store.list_logs() == []
    assert store.sweep(4)
    assert 0 < len(os.listdir(f"{store.logs_path}/00000001.dead")) < 11
    store = reopened(store)
    assert store.list_logs() == []
    while store.sweep(4):
        pass
    assert os.listdir(store.logs_path) == []


def test_what_a_killed_process_left_is_synced_before_it_is_believed(store):
    for log_id in range(1, 11):
        store.create_log(log_id, b"{}")
    store.close()
    unclean = opened(os.path.dirname(store.path), Disk())
    before = unclean.disk.syncs
    unclean.list_logs()
    assert unclean.disk.syncs - before == 20  # one slot and one directory each
    unclean.mark_clean()
    unclean.close()
    clean = opened(os.path.dirname(store.path), Disk())
    before = clean.disk.syncs
    clean.list_logs()
    assert clean.disk.syncs == before
    clean.close()
    assert not opened(os.path.dirname(store.path))._was_clean


def work(store: Store) -> None:
    """A little of everything; a crash may come in the middle of each step."""
    store.open()
    store.raise_term()
    store.create_log(1, b'{"g":1}')
    os.close(store.create_segment(head()))
    store.write_metadata(1, b'{"g":2}')
    store.write_metadata(1, b'{"g":3}')
    store.release_segment(1, 0)
    os.close(store.create_segment(head(base=1 << 16)))
    store.reserve.take()
    store.reserve.give()
    store.raise_term()
    store.create_log(2, b'{"g":1}')
    store.remove_log(2)
    while store.sweep(1):
        pass


def test_a_crash_at_any_call_leaves_before_or_after(tmp_path):
    crashes = 0
    while True:
        path = tmp_path / str(crashes)
        store = Store(CrashingDisk(crashes), str(path), pooled_capacity=CAPACITY)
        try:
            work(store)
            break
        except Crash:
            crashes += 1
        finally:
            store.disk.left = -1
            store.close()
        again = opened(path)
        for entry in again.list_logs():
            assert entry["damaged"] is None
            assert entry["metadata"] in ('{"g":1}', '{"g":2}', '{"g":3}')
            for base in again.segment_bases(entry["log_id"]):
                fd, found = again.open_segment(entry["log_id"], base)
                assert (found.first_index, found.capacity) == (1, CAPACITY), base
                assert os.fstat(fd).st_size == CAPACITY + 64
                os.close(fd)
        # A slot that was being written is torn; the other one counts.
        assert all("slot" in text for text in again.warnings)
        assert again.term < TERM_LEAP
        again.close()
        whole = Store(Disk(), str(path), pooled_capacity=CAPACITY)
        work(whole)
        assert [entry["log_id"] for entry in whole.list_logs()] == [1]
        whole.close()
    assert crashes > 40
