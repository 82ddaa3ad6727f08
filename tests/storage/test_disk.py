"""Properties of the loops on top of a Disk: short counts are gone on with, replacing is all or nothing."""

import os

import pytest

from shardbroker.storage.disk import Disk, read_all, read_file, replace_file, write_all


class Short(Disk):
    """Moves at most three bytes a call."""

    def pwrite(self, fd, data, offset):
        return super().pwrite(fd, bytes(data)[:3], offset)

    def pread(self, fd, size, offset):
        return super().pread(fd, min(size, 3), offset)


class Stuck(Disk):
    """Takes nothing and says no error."""

    def pwrite(self, fd, data, offset):
        return 0


def test_short_counts_are_gone_on_with(tmp_path):
    disk = Short()
    fd = disk.create(f"{tmp_path}/file")
    write_all(disk, fd, b"0123456789", 5)
    assert read_all(disk, fd) == bytes(5) + b"0123456789"
    assert read_all(disk, fd, 6, 4) == b"1234"
    assert read_all(disk, fd, 12, 100) == b"789"
    disk.close(fd)


def test_a_write_without_progress_is_an_error(tmp_path):
    disk = Stuck()
    fd = disk.create(f"{tmp_path}/file")
    with pytest.raises(OSError, match="no progress"):
        write_all(disk, fd, b"x", 0)
    disk.close(fd)


def test_replace_keeps_the_old_file_until_the_new_one_is_whole(tmp_path):
    disk = Disk()
    replace_file(disk, str(tmp_path), "name", b"old")

    class Full(Disk):
        def fsync(self, fd):
            raise OSError(28, "no space")

    with pytest.raises(OSError, match="no space"):
        replace_file(Full(), str(tmp_path), "name", b"new")
    assert read_file(disk, f"{tmp_path}/name") == b"old"
    replace_file(disk, str(tmp_path), "name", b"new")
    assert read_file(disk, f"{tmp_path}/name") == b"new"
    assert read_file(disk, f"{tmp_path}/other") is None


def test_files_and_directories_are_nobody_elses(tmp_path):
    disk = Disk()
    before = os.umask(0)
    try:
        disk.close(disk.create(f"{tmp_path}/file"))
        disk.make_directory(f"{tmp_path}/directory")
    finally:
        os.umask(before)
    assert os.stat(f"{tmp_path}/file").st_mode & 0o777 == 0o600
    assert os.stat(f"{tmp_path}/directory").st_mode & 0o777 == 0o700


def test_a_lock_is_held_until_its_descriptor_is_closed(tmp_path):
    disk = Disk()
    first = disk.create(f"{tmp_path}/file")
    second = disk.open(f"{tmp_path}/file")
    assert disk.lock(first)
    assert not disk.lock(second)
    disk.close(first)
    assert disk.lock(second)
    disk.close(second)


def test_a_link_is_not_followed(tmp_path):
    os.symlink("/etc/passwd", f"{tmp_path}/link")
    with pytest.raises(OSError):
        Disk().open(f"{tmp_path}/link")
