"""The disk under the streams: how fast it is, how much of it is used, and how to make its data cold."""

import os
import time
from pathlib import Path

block_size = 4 << 20
probe_s = 0.4
st_block_size = 512  # st_blocks counts these, whatever the file system's blocks are


def synced_write_rate(directory: Path) -> float:
    """Bytes a second of sequential writes of 4 MiB with an fdatasync behind each."""
    path = directory / "disk_probe"
    block = os.urandom(block_size)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        written = 0
        start = time.monotonic()
        while time.monotonic() - start < probe_s:
            written += os.write(descriptor, block)
            os.fdatasync(descriptor)
        return written / (time.monotonic() - start)
    finally:
        os.close(descriptor)
        path.unlink()


def used_size(directory: Path) -> int:
    """Bytes that the files and directories below take on the disk."""
    total = 0
    for folder, folders, files in os.walk(directory):
        for name in [*folders, *files]:
            try:
                total += os.lstat(os.path.join(folder, name)).st_blocks * st_block_size
            except FileNotFoundError:
                continue  # A living server may delete files.
    return total


def make_cold(directory: Path) -> None:
    """Write everything below to the disk and take it out of the page cache."""
    for folder, _, files in os.walk(directory):
        for name in files:
            descriptor = os.open(os.path.join(folder, name), os.O_RDONLY)
            try:
                os.fsync(descriptor)
                os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
            finally:
                os.close(descriptor)
