"""The logged disk with failures: syncs and writes that fail, as they do on Linux.

After a failed sync the pages count as clean: what a process reads is what it wrote, a later sync says that
all is well, and what the disk has is any part of it. So a failed sync is an event of its own in the log, by
which what was on its way is torn once and for all.
"""

import errno
import os
import random

from tests.storage.logged_disk import Image, LoggedDisk, Replay, change, move, torn


class SimulatedDisk(LoggedDisk):
    """``failing``: which call on a segment fails next, "sync" or "write"; None: none."""

    def __init__(self, image: Image | None = None, events: list[tuple] | None = None):
        super().__init__(image, events)
        self.failing: str | None = None
        self._seed = 0
        self.failures = 0
        #: A planted bug: the disk says that it has synced, and has not.
        self.forgetful = False

    def fail_next(self, call: str, seed: int) -> None:
        self.failing, self._seed = call, seed

    def _fails(self, call: str, fd: int) -> bool:
        if self.failing != call or not self._is_segment(fd):
            return False
        self.failing = None
        self.failures += 1
        return True

    def _is_segment(self, fd: int) -> bool:
        number = self._open[fd]
        return any(path.endswith(".seg") and self.names[path] == number for path in self.names)

    def fdatasync(self, fd: int) -> None:
        if self._fails("sync", fd):
            self.events.append(("lose", self._open[fd], self._seed, None))
            raise OSError(errno.EIO, "a sync failed")
        if not self.forgetful or not self._is_segment(fd):
            super().fdatasync(fd)

    def fsync(self, fd: int) -> None:
        super().fdatasync(fd)

    def pwrite(self, fd: int, data, offset: int) -> int:
        if any(path.endswith("/LOCK") and self.names[path] == self._open[fd] for path in self.names):
            # A pid of another length would make another world of the same seed.
            data = bytes(data).rjust(16, b"0")
            super().pwrite(fd, data, offset)
            return len(data)
        return super().pwrite(fd, data, offset)

    def pwritev(self, fd: int, buffers, offset: int) -> int:
        if self._fails("write", fd):
            data = b"".join(buffers)
            chance = random.Random(self._seed)
            super().pwritev(fd, [data[: chance.randrange(len(data) + 1)]], offset)
            raise OSError(errno.EIO, "a write failed")
        return super().pwritev(fd, buffers, offset)

    def sync_like_a_scan(self, logs_path: str, directory: str, segment: str | None) -> None:
        """What storage/log_scan.pyx does to real files: the last segment and the names (its make_durable)."""
        if segment is not None:
            fd = self.open(f"{directory}/{segment}")
            super().fdatasync(fd)
            self.close(fd)
        self.sync_directory(directory)
        self.sync_directory(logs_path)


class LossyReplay(Replay):
    """Knows failed syncs."""

    def _take(self, event: tuple) -> None:
        if event[0] != "lose":
            super()._take(event)
            return
        chance = random.Random(event[2])
        data = self.durable.setdefault(event[1], bytearray())
        for change_event in self.pending.pop(event[1], ()):
            torn(data, change_event, chance, chance.random())


def killed(disk: SimulatedDisk, start: Image, cut: int) -> SimulatedDisk:
    """The disk as processes find it that were killed after ``cut`` events: nothing is lost but what followed.

    What was seen of a file whose sync failed is seen again.
    """
    seen = LoggedDisk(start)
    for event in disk.events[:cut]:
        replay_call(seen, event)
    found = SimulatedDisk(seen.image(), disk.events[:cut])
    found.forgetful = disk.forgetful
    return found


def replay_call(disk: LoggedDisk, event: tuple) -> None:
    """Do an event once more, on what processes see."""
    kind, path, value, _ = event
    if kind == "create":
        disk.names[path] = value
        disk.files[value] = bytearray()
    elif kind in ("write", "grow", "size"):
        if path in disk.files:
            change(disk.files[path], event)
    elif kind == "unlink":
        disk.names.pop(path, None)
    elif kind == "mkdir":
        disk.folders.add(path)
    elif kind == "rmdir":
        disk.folders.discard(path)
    elif kind == "rename":
        move(disk.names, disk.folders, path, value)


def write_log(disk: LoggedDisk, directory: str, target: str) -> None:
    """Make the files of one log real, below ``target``, for a scan."""
    os.makedirs(target, exist_ok=True)
    for name in os.listdir(target):
        os.unlink(f"{target}/{name}")
    for name in disk.list(directory):
        with open(f"{target}/{name}", "wb") as file:
            file.write(disk.files[disk.names[f"{directory}/{name}"]])
