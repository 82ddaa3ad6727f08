"""Shared-memory segments: created under a random name with mode 0600, unlinked at once, used by descriptor.

From the moment ``create`` returns nothing in /dev/shm has a name, so whatever dies, by whatever signal,
nothing stays behind: the kernel frees a segment with its last descriptor and mapping. Workers get the
descriptors over their control channel and map them themselves.

Segments are sparse: the size is only a promise of address space, pages cost memory when they are written.
When /dev/shm has no page left, the write that wanted one ends its process by SIGBUS. So what is written
all over sooner or later, and by processes that may not die for it, is created with all its pages
(``reserve``): then the shortage is an error message at the start.

Reading through a mapping allocates pages too, so who only looks (monitoring, the filter sweep) asks
``data_extents`` first or reads with ``pread``, which takes holes as zeros.
"""

import errno
import mmap
import os
from collections.abc import Iterator

import posix_ipc

from shardbroker.errors import StartError

SHARED_MEMORY_DIRECTORY = "/dev/shm"
_NAME_TRIES = 8


class Region:
    """One segment. Owns its descriptor; mappings live as long as their users hold them."""

    def __init__(self, fd: int, size: int):
        self.fd = fd
        self.size = size

    @classmethod
    def create(cls, size: int, *, reserve: bool = False) -> "Region":
        """A new zero-filled segment of ``size`` bytes that has no name any more. Raises StartError.

        ``reserve``: take the memory for all of it now.
        """
        assert size > 0
        for _ in range(_NAME_TRIES):
            name = f"/shardbroker-{os.getpid()}-{os.urandom(8).hex()}"
            try:
                memory = posix_ipc.SharedMemory(name, posix_ipc.O_CREX, mode=0o600, size=size)
            except posix_ipc.ExistentialError:
                continue
            except (OSError, posix_ipc.Error) as error:
                raise StartError(f"cannot create {size} bytes of shared memory: {error}") from error
            posix_ipc.unlink_shared_memory(name)
            os.set_inheritable(memory.fd, False)
            region = cls(memory.fd, size)
            if reserve:
                region._reserve()
            return region
        raise StartError("cannot find a free name for shared memory")

    def _reserve(self) -> None:
        """Allocate all pages; a failure closes the segment. Raises StartError."""
        try:
            os.posix_fallocate(self.fd, 0, self.size)
        except OSError as error:
            self.close()
            raise StartError(
                f"cannot reserve {self.size} bytes in {SHARED_MEMORY_DIRECTORY} ({error.strerror}): "
                f"{_remedy(self.size)}"
            ) from error

    def map(self) -> mmap.mmap:
        """A shared, writable mapping of the whole segment."""
        return mmap.mmap(self.fd, self.size, mmap.MAP_SHARED, mmap.PROT_READ | mmap.PROT_WRITE)

    def data_extents(self, start: int, end: int) -> Iterator[tuple[int, int]]:
        """Pairs (from, to) of byte offsets within start..end that were ever written, in whole pages."""
        while start < end:
            try:
                start = os.lseek(self.fd, start, os.SEEK_DATA)
            except OSError as error:
                if error.errno == errno.ENXIO:  # nothing but a hole up to the end of the segment
                    return
                raise
            if start >= end:
                return
            hole = min(end, os.lseek(self.fd, start, os.SEEK_HOLE))
            yield start, hole
            start = hole

    def close(self) -> None:
        """Give the descriptor back; mappings stay valid."""
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1


def require_space(needed: int) -> None:
    """Raise StartError, with the remedy, when /dev/shm has less than ``needed`` bytes free.

    Without this a full /dev/shm shows as SIGBUS in the middle of some write.
    """
    try:
        status = os.statvfs(SHARED_MEMORY_DIRECTORY)
    except OSError as error:
        raise StartError(f"{SHARED_MEMORY_DIRECTORY} is needed for shared memory: {error}") from error
    free = status.f_bavail * status.f_frsize
    if free < needed:
        raise StartError(
            f"{SHARED_MEMORY_DIRECTORY} has {free >> 20} MiB free and {-(-needed >> 20)} MiB are needed: "
            f"{_remedy(needed)}"
        )


def _remedy(needed: int) -> str:
    return (
        f"give it more (docker: --shm-size={-(-needed >> 20) * 2}m; elsewhere: "
        f"mount -o remount,size=... {SHARED_MEMORY_DIRECTORY}) or lower --workers, --ring_size or --lane_size"
    )
