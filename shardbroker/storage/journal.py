"""The journal: frames of many logs in one file, so that one sync makes all of them durable.

Two files, `a` and `b`, are filled in turn. A frame is in the journal *and* in its log's own segment, only the
latter is not synced yet; before a file is used again, all logs with frames in it have been. Rounds count the
uses of both files together, so what an earlier use left behind is told from what is new.

    file:    head (64 bytes), batch, batch, ...; the first batch that fails its checks ends the file
    head:    magic u32, crc u32 of the rest, version u32, 0 u32, round u64, zeros
    batch:   magic u32, crc u32 of the rest, round u64, number u64 (from 0), size u64 (of all), entries
    entry:   log id u32, kind u32, size u64, segment u64, position u64, index u64, then `size` bytes of a
             frame; for kind ERASE no bytes follow, and `size` zeros go to that place

Replaying writes all entries in order to where they belong. That is the same bytes over the same bytes where
the log was written after all. A segment or log that is not there was released or removed since: it is passed
over.
"""

import struct
from collections.abc import Iterator

from shardbroker.storage import layout, segment_head
from shardbroker.storage.checksum import checksum
from shardbroker.storage.disk import Disk, read_all, read_file, write_all
from shardbroker.storage.store import Store

SIZE = 32 << 20  # bytes of each file; what 1,000 logs write before they are synced in the background
HEAD_SIZE = 64
FRAME, ERASE = 1, 2
_MAGIC = 0x314A4253
_BATCH_MAGIC = 0x32424253
_VERSION = 1
_HEAD = struct.Struct("<IIIIQ40x")
_BATCH = struct.Struct("<IIQQQ")
ENTRY = struct.Struct("<IIQQQQ")
assert _HEAD.size == HEAD_SIZE

#: Segments open at once during a replay.
_OPEN_MAX = 512

Entry = tuple[int, int, int, int, int, int, bytes]  # the fields of ENTRY, and the frame


def encode_head(round_number: int) -> bytes:
    """The head of a file in its use number ``round_number``."""
    data = _HEAD.pack(_MAGIC, 0, _VERSION, 0, round_number)
    return data[:4] + struct.pack("<I", checksum(data[8:])) + data[8:]


def round_of(data: bytes) -> int:
    """The use that a file's head tells of; 0 for none."""
    if len(data) < HEAD_SIZE:
        return 0
    magic, crc, version, _, round_number = _HEAD.unpack_from(data)
    if magic != _MAGIC or version != _VERSION or checksum(data[8:HEAD_SIZE]) != crc:
        return 0
    return round_number


def entries(data: bytes) -> Iterator[Entry]:
    """All entries of the whole batches of a file with these bytes."""
    round_number = round_of(data)
    at, expected = HEAD_SIZE, 0
    view = memoryview(data)
    while round_number and len(data) - at >= _BATCH.size:
        magic, crc, batch_round, number, size = _BATCH.unpack_from(data, at)
        if magic != _BATCH_MAGIC or (batch_round, number) != (round_number, expected):
            return
        if not _BATCH.size <= size <= len(data) - at or checksum(view[at + 8 : at + size]) != crc:
            return
        yield from _entries_of_batch(data, at + _BATCH.size, at + size)
        at += size
        expected += 1


def _entries_of_batch(data: bytes, at: int, end: int) -> Iterator[Entry]:
    while end - at >= ENTRY.size:
        fields = ENTRY.unpack_from(data, at)
        at += ENTRY.size
        size = fields[2] if fields[1] == FRAME else 0
        if size > end - at:
            return
        yield (*fields, data[at : at + size])
        at += size


class Journal:
    """The two files. Appending is done by streamwriter/journal_writer.pyx, into ``fds``."""

    def __init__(self, store: Store, size: int = SIZE):
        self.size = size
        self.round = 0  # the highest seen in either file
        self.fds: list[int] = []
        #: What a replay could not do, in words for the log.
        self.warnings: list[str] = []
        self.store = store
        self._disk: Disk = store.disk
        self._paths = [f"{store.journal_path}/{name}" for name in layout.JOURNAL_FILES]

    def recover(self) -> int:
        """At start: bring the logs up to what the journal holds, then empty it; gives the entries replayed.

        Raises OSError when the journal itself cannot be read or emptied. A log that cannot be written keeps
        nobody from starting: the journal file is put aside then.
        """
        contents = [read_file(self._disk, path) or b"" for path in self._paths]
        self.round = max([round_of(data) for data in contents], default=0)
        replayed = 0
        for data in sorted(contents, key=round_of):
            replay = Replay(self.store)
            replayed += replay.run(entries(data))
            if replay.failed:
                self._put_aside(data, replay.failed)
        if self.round:
            self.open()
            self.empty()
        return replayed

    def _put_aside(self, data: bytes, failed: dict[int, str]) -> None:
        for log_id, reason in failed.items():
            self.warnings.append(f"log {log_id:08x}: frames of the journal could not be written: {reason}")
        path = self._paths[0].rsplit("/", 1)[0] + f"/kept-{round_of(data):016x}"
        if not self._disk.exists(path):
            fd = self._disk.create(path)
            try:
                write_all(self._disk, fd, data, 0)
                self._disk.fsync(fd)
            finally:
                self._disk.close(fd)
            self._disk.sync_directory(self.store.journal_path)

    def open(self) -> None:
        """Have both files open with their room taken. Raises OSError."""
        if self.fds:
            return
        fds: list[int] = []
        try:
            for path in self._paths:
                exists = self._disk.exists(path)
                fds.append(self._disk.open(path) if exists else self._disk.create(path))
                if self._disk.size(fds[-1]) < self.size:
                    self._disk.fallocate(fds[-1], 0, self.size)
                    self._disk.fsync(fds[-1])
            # Always: a predecessor may have been killed between the two.
            self._disk.sync_directory(self.store.journal_path)
        except BaseException:
            for fd in fds:
                self._disk.close(fd)
            raise
        self.fds = fds

    def empty(self) -> None:
        """All logs are synced: what both files hold is not to be replayed. Raises OSError."""
        for fd in self.fds:
            self.round += 1
            write_all(self._disk, fd, encode_head(self.round), 0)
            self._disk.fdatasync(fd)

    def entries_of(self, log_id: int) -> list[Entry]:
        """What the journal holds of one log, oldest first."""
        contents = [read_all(self._disk, fd) for fd in self.fds]
        return [
            entry for data in sorted(contents, key=round_of) for entry in entries(data) if entry[0] == log_id
        ]

    def close(self) -> None:
        for fd in self.fds:
            self._disk.close(fd)
        self.fds = []


class Replay:
    """Writes entries to their logs and syncs those. ``failed``: log id -> why."""

    def __init__(self, store: Store):
        self.failed: dict[int, str] = {}
        self.store = store
        self._disk = store.disk
        self._open: dict[tuple[int, int], tuple[int, int]] = {}  # (log, segment) -> descriptor, its size

    def run(self, found: Iterator[Entry]) -> int:
        """All entries, durably; gives how many had a place to go to."""
        count = 0
        for entry in found:
            count += self._write(*entry)
        self._sync_all()
        return count

    def _write(
        self, log_id: int, kind: int, size: int, segment: int, position: int, _: int, data: bytes
    ) -> int:
        try:
            if (log_id, segment) not in self._open:
                if len(self._open) >= _OPEN_MAX:
                    self._sync_all()
                opened = self.store.open_segment(log_id, segment)
                if opened is None:
                    return 0
                self._open[log_id, segment] = (opened[0], self._disk.size(opened[0]))
            fd, file_size = self._open[log_id, segment]
            offset = segment_head.SIZE + position - segment
            if position < segment or offset + size > file_size:
                return 0
            if kind == FRAME:
                write_all(self._disk, fd, data, offset)
            elif kind == ERASE:
                self.store.zero(fd, offset, size)
        except OSError as error:
            self.failed[log_id] = error.strerror or str(error)
            return 0
        return 1

    def _sync_all(self) -> None:
        for (log_id, _), (fd, _) in self._open.items():
            try:
                self._disk.fdatasync(fd)
            except OSError as error:
                self.failed[log_id] = error.strerror or str(error)
            self._disk.close(fd)
        self._open.clear()
