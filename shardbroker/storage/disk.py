"""Every call that touches the store's files, in one thin object.

The stream-writer and the recovery of the store go through a Disk and through nothing else, so that a test can
put another one in its place: one that writes down each call, fails on purpose, answers short, or forgets what
was not synced. Each method is one system call, takes what the call takes and raises OSError as it does. The
loops over short counts are the functions below, on top of any Disk.

The hot path asks for ``Disk`` itself and then makes the calls without Python (streamwriter/file_calls.pyx).
"""

import errno
import fcntl
import os
from collections.abc import Sequence

#: Of everything in the store: nobody but the broker's user has business there.
FILE_MODE = 0o600
DIRECTORY_MODE = 0o700


class Disk:
    """The real one."""

    #: How often it had something made durable, successfully or not.
    syncs = 0

    # --- files -------------------------------------------------------------------------------------------

    def open(self, path: str) -> int:
        """A descriptor of an existing file, for reading and writing."""
        return os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)

    def open_to_read(self, path: str) -> int:
        """The same for reading only, which must also work on a disk that is mounted so."""
        return os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)

    def create(self, path: str) -> int:
        """A descriptor of a new empty file. Raises FileExistsError."""
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, FILE_MODE)

    def close(self, fd: int) -> None:
        os.close(fd)

    def duplicate(self, fd: int) -> int:
        """Another descriptor of the same open file."""
        return os.dup(fd)

    def size(self, fd: int) -> int:
        """Bytes of the file."""
        return os.fstat(fd).st_size

    def pread(self, fd: int, size: int, offset: int) -> bytes:
        """At most ``size`` bytes; fewer are no error."""
        return os.pread(fd, size, offset)

    def pwrite(self, fd: int, data: bytes | memoryview, offset: int) -> int:
        """Bytes written, perhaps fewer than given."""
        return os.pwrite(fd, data, offset)

    def pwritev(self, fd: int, buffers: Sequence[bytes | memoryview], offset: int) -> int:
        """Bytes written, perhaps fewer than given; at most IOV_MAX buffers."""
        return os.pwritev(fd, buffers, offset)

    def fdatasync(self, fd: int) -> None:
        """Make the data, and the size, durable. After an error nothing unsynced may be believed in."""
        self.syncs += 1
        os.fdatasync(fd)

    def fsync(self, fd: int) -> None:
        self.syncs += 1
        os.fsync(fd)

    def fallocate(self, fd: int, offset: int, size: int) -> None:
        """Take the room now, as zeros, so that later writes change no metadata."""
        os.posix_fallocate(fd, offset, size)

    def truncate(self, fd: int, size: int) -> None:
        os.ftruncate(fd, size)

    def lock(self, fd: int) -> bool:
        """Take the file's lock until ``fd`` is closed; False when another process has it."""
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    # --- directories -------------------------------------------------------------------------------------

    def make_directory(self, path: str) -> None:
        os.mkdir(path, DIRECTORY_MODE)

    def remove_directory(self, path: str) -> None:
        os.rmdir(path)

    def list(self, path: str) -> list[str]:
        """Names in a directory, sorted so that every run does the same."""
        return sorted(os.listdir(path))

    def exists(self, path: str) -> bool:
        return os.path.lexists(path)

    def rename(self, source: str, target: str) -> None:
        os.rename(source, target)

    def unlink(self, path: str) -> None:
        os.unlink(path)

    def free_size(self, path: str) -> int:
        """Bytes that may still be written on the disk of ``path``."""
        status = os.statvfs(path)
        return status.f_bavail * status.f_frsize

    def sync_directory(self, path: str) -> None:
        """Make the names in a directory durable."""
        self.syncs += 1
        fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)


def write_all(disk: Disk, fd: int, data: bytes | memoryview, offset: int) -> None:
    """Write all of ``data``, however short the single writes are. Raises OSError."""
    rest = memoryview(data)
    while rest:
        written = disk.pwrite(fd, rest, offset)
        if written <= 0:
            raise OSError(errno.EIO, "a write made no progress")
        rest = rest[written:]
        offset += written


def read_all(disk: Disk, fd: int, offset: int = 0, size: int | None = None) -> bytes:
    """``size`` bytes from ``offset``, or all to the end; fewer only where the file ends."""
    left = disk.size(fd) - offset if size is None else size
    parts = []
    while left > 0:
        part = disk.pread(fd, left, offset)
        if not part:
            break
        parts.append(part)
        offset += len(part)
        left -= len(part)
    return b"".join(parts)


def read_file(disk: Disk, path: str) -> bytes | None:
    """The whole file; None when there is none. Raises OSError otherwise."""
    try:
        fd = disk.open_to_read(path)
    except FileNotFoundError:
        return None
    try:
        return read_all(disk, fd)
    finally:
        disk.close(fd)


def replace_file(disk: Disk, directory: str, name: str, data: bytes) -> None:
    """Put ``data`` under ``name`` durably and at once: a crash leaves the old file or the new one."""
    temporary = f"{directory}/{name}.new"
    if disk.exists(temporary):
        disk.unlink(temporary)
        disk.sync_directory(directory)  # or the rename may be durable for the old one only
    fd = disk.create(temporary)
    try:
        write_all(disk, fd, data, 0)
        disk.fsync(fd)
    finally:
        disk.close(fd)
    disk.rename(temporary, f"{directory}/{name}")
    disk.sync_directory(directory)
