"""Disks that are not what they should be, in place of storage/disk.Disk."""

import os
from collections import Counter

from shardbroker.storage.disk import Disk


class TestDisk(Disk):
    """Counts calls, fails where told, writes short if told, and forgets unsynced writes on ``lose_power``."""

    __test__ = False  # not a test class, whatever its name

    def __init__(self):
        self.calls: Counter = Counter()
        self.write_size_max = 1 << 60
        #: method -> (errno, part of the path); until taken out
        self.failures: dict[str, tuple[int, str]] = {}
        self._unsynced: list[tuple[str, int, bytes]] = []

    def _check(self, method: str, path: str) -> None:
        self.calls[method] += 1
        if method in self.failures:
            error, part = self.failures[method]
            if part in path:
                raise OSError(error, os.strerror(error), path)

    def create(self, path):
        self._check("create", path)
        return super().create(path)

    def pwrite(self, fd, data, offset):
        return self.pwritev(fd, [data], offset)

    def pwritev(self, fd, buffers, offset):
        path = _path(fd)
        self._check("write", path)
        data = b"".join(buffers)[: self.write_size_max]
        self._unsynced.append((path, offset, os.pread(fd, len(data), offset)))
        return os.pwrite(fd, data, offset)

    def fdatasync(self, fd):
        path = _path(fd)
        self._check("sync", path)
        super().fdatasync(fd)
        self._unsynced = [write for write in self._unsynced if write[0] != path]

    fsync = fdatasync

    def fallocate(self, fd, offset, size):
        self._check("fallocate", _path(fd))
        super().fallocate(fd, offset, size)

    def rename(self, source, target):
        self._check("rename", target)
        super().rename(source, target)
        moved = [(target + path[len(source) :] if path.startswith(source) else path, *rest)
                 for path, *rest in self._unsynced]  # fmt: skip
        self._unsynced = moved

    def lose_power(self) -> None:
        """Everything that was written and not synced is as it was before."""
        for path, offset, before in reversed(self._unsynced):
            with open(path, "r+b") as file:
                file.seek(offset)
                file.write(before)
        self._unsynced = []


def _path(fd: int) -> str:
    return os.readlink(f"/proc/self/fd/{fd}")
