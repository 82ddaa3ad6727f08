"""Which files a log consists of, in order: names and heads of the files against each other.

A file is where its head says, if the head is whole and of this log: so files whose names were exchanged are
read right. A file whose head is damaged is where its name says. Of two files for one place the one whose name
agrees stays. Whatever is found is a note for the operator, never an error.
"""

import os
import stat
from dataclasses import dataclass

from shardbroker.storage import segment_head


@dataclass(slots=True)
class SegmentFile:
    """One file of a log. `head` is None when damaged; `capacity` is bytes of frames."""

    base: int
    path: str
    capacity: int
    head: segment_head.SegmentHead | None


def read_head(path: str) -> tuple[segment_head.SegmentHead | None, int]:
    """(head or None, bytes of the file); 0 bytes for what is no file, or a link to one."""
    size = 0
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        try:
            status = os.fstat(fd)
            if not stat.S_ISREG(status.st_mode):
                return None, 0
            size = status.st_size
            return segment_head.decode(os.pread(fd, segment_head.SIZE, 0)), size
        finally:
            os.close(fd)
    except (segment_head.DamagedHead, OSError):
        return None, size


def sync_names(path: str) -> None:
    """Make the name of a segment durable, and that of its log's directory. Raises OSError.

    Whoever made them may have been killed before it could.
    """
    directory = os.path.dirname(path)
    for folder in (directory, os.path.dirname(directory)):
        fd = os.open(folder or ".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)


def order_segments(log_id: int, files: list[tuple[int, str]], notes: list[str]) -> list[SegmentFile]:
    """The files by their place in the log; `files` are (base by name, path)."""
    by_base: dict[int, SegmentFile] = {}
    for named_base, path in sorted(files):
        head, size = read_head(path)
        capacity = max(0, size - segment_head.SIZE)
        base = named_base
        if head is None:
            notes.append(f"{path}: the head of the segment is damaged; its name is trusted")
        elif head.log_id != log_id:
            notes.append(f"{path}: the head of the segment is of log {head.log_id}; its name is trusted")
            head = None
        else:
            capacity = head.capacity
            if head.base != named_base:
                notes.append(f"{path}: this is the segment of position {head.base}; its head is trusted")
                base = head.base
            if size < segment_head.SIZE + capacity:
                notes.append(f"{path}: {size} bytes, of {segment_head.SIZE + capacity}")
        other = by_base.get(base)
        if other is not None:
            notes.append(f"{path} and {other.path}: two segments of position {base}; one is passed over")
            if not (base == named_base and head is not None):
                continue
        by_base[base] = SegmentFile(base, path, capacity, head)
    return [by_base[base] for base in sorted(by_base)]
