"""An owner made of Python: writes lane records and frames, reads back what the writer says about them."""

import contextlib
import mmap
import os
import struct
from dataclasses import dataclass

from shardbroker.shm import layout
from shardbroker.shm.mapping import Mapping
from shardbroker.shm.ring import RingMap
from shardbroker.storage.checksum import checksum
from shardbroker.storage.disk import Disk
from shardbroker.storage.journal import Journal
from shardbroker.storage.store import Store
from shardbroker.streamwriter.write_loop import WriteLoop

FRAME, CREATE, METADATA, REMOVE, RELEASE, ERASE, INDEX, SYNC, TRUNCATE = range(1, 10)
NO_SYNC = 1
STORED, REFUSED, FAULTY, ERRNO = 1, 2, 3, 1000
LANE_SIZE = 1 << 20
ROWS = 256

RECORD = struct.Struct("<IIIIIIIIQQQQQII")
FRAME_HEAD = struct.Struct("<IIIIIIIHHQQQII")
RECORD_HEAD = struct.Struct("<IIQQIIHHI")
assert (RECORD.size, FRAME_HEAD.size, RECORD_HEAD.size) == (80, 64, 40)


def message(sequence: int, payload: bytes, subject: bytes = b"s") -> bytes:
    """One record of a message frame."""
    size = 40 + len(subject) + len(payload)
    padding = bytes(-size % 8)
    size += len(padding)
    rest = struct.pack("<QQIIHHI", sequence, 1, 0, len(payload), len(subject), 0, 0)
    rest += subject + payload + padding
    return struct.pack("<II", size, checksum(rest, size)) + rest


def frame(log_id: int, index: int, records: list[bytes], *, previous=0, term=1, kind=1) -> bytes:
    """One frame, sealed."""
    body = b"".join(records)
    body_crc = checksum(b"".join(record[4:8] for record in records)) if kind == 1 else checksum(body)
    count = len(records) if kind == 1 else 0
    rest = struct.pack(
        "<IIIIIHHQQQII", log_id, log_id, len(body), body_crc, previous, kind, count, index, index, 1, term, 0
    )
    return struct.pack("<II", 0x31464253, checksum(rest)) + rest + body


def head_crc(data: bytes) -> int:
    return struct.unpack_from("<I", data, 4)[0]


class Lane:
    """The owner's end of a lane region. Positions count as in shm/append_lane.pxd."""

    def __init__(self, size: int = LANE_SIZE):
        self.size = size
        self.fd = os.memfd_create("lane")
        self.identity = os.fstat(self.fd).st_ino
        os.ftruncate(self.fd, layout.RING_DATA + size)
        self.memory = mmap.mmap(self.fd, layout.RING_DATA + size)
        self.cells = memoryview(self.memory).cast("Q")
        self.position = 0

    def __del__(self):
        # Quietly, and only what is still this lane's: errors in here would come up in any other test.
        with contextlib.suppress(OSError):
            if os.fstat(self.fd).st_ino == self.identity:
                os.close(self.fd)

    def put(self, data: bytes) -> int:
        """Write raw bytes; gives the position of the first."""
        start = self.position
        assert start + len(data) - self.cells[layout.LANE_RELEASED // 8] <= self.size
        for at, byte_run in self._runs(start, data):
            self.memory[at : at + len(byte_run)] = byte_run
        self.position += len(data)
        return start

    def _runs(self, start: int, data: bytes):
        offset = start % self.size
        first = data[: self.size - offset]
        yield layout.RING_DATA + offset, first
        if len(first) < len(data):
            yield layout.RING_DATA, data[len(first) :]

    def add(self, kind, log_id, body=b"", *, row=0, flags=0, segment=0, capacity=1 << 16, position=0, index=0,
            count=0, term=1, trailer=b"") -> int:  # fmt: skip
        """One record; gives its position, for ``status``."""
        padded = body + bytes(-len(body) % 8)
        size = 80 + len(padded) + len(trailer) + -len(trailer) % 8
        head = RECORD.pack(size, kind, 0, flags, log_id, row, len(body), len(trailer), segment, capacity,
                           position, index, count, term, 0)  # fmt: skip
        return self.put(head + padded + trailer + bytes(-len(trailer) % 8))

    def publish(self) -> None:
        self.cells[layout.LANE_HEAD // 8] = self.position

    @property
    def processed(self) -> int:
        return self.cells[layout.LANE_PROCESSED // 8]

    def release(self) -> None:
        self.cells[layout.LANE_RELEASED // 8] = self.processed

    def status(self, position: int) -> int:
        at = layout.RING_DATA + (position + 8) % self.size
        return struct.unpack_from("<I", self.memory, at)[0]


@dataclass
class Log:
    """An owner's view of one log: what its next frame looks like and where it goes."""

    lane: Lane
    log_id: int
    row: int
    capacity: int = 1 << 16
    term: int = 1
    index: int = 0
    position: int = 0
    segment: int = 0
    previous: int = 0

    def create(self, body: bytes = b"{}") -> int:
        return self.lane.add(CREATE, self.log_id, body, row=self.row)

    def append(self, *payloads: bytes, flags: int = 0, kind: int = 1) -> int:
        """One frame with these messages; gives the position of its lane record."""
        records = [message(self.index * 1000 + n, payload) for n, payload in enumerate(payloads)]
        data = frame(self.log_id, self.index + 1, records, previous=self.previous, term=self.term, kind=kind)
        if self.position + len(data) > self.segment + self.capacity:
            self.segment = self.position
        at = self.lane.add(
            FRAME, self.log_id, data, row=self.row, flags=flags, segment=self.segment,
            capacity=self.capacity, position=self.position, index=self.index + 1, term=self.term,
        )  # fmt: skip
        self.index += 1
        self.position += len(data)
        self.previous = head_crc(data)
        return at

    def truncate(self, index: int) -> int:
        """Ask for a cut behind that frame; gives the position of the lane record."""
        return self.lane.add(TRUNCATE, self.log_id, row=self.row, index=index, term=self.term)

    def state(self) -> tuple:
        return self.index, self.position, self.segment, self.previous

    def back_to(self, state: tuple) -> None:
        self.index, self.position, self.segment, self.previous = state


class Bench:
    """A write loop on a store in ``directory`` with ``lanes`` lanes, without processes."""

    def __init__(self, directory, disk=None, lanes: int = 1, journal_size=1 << 20, **store_options):
        self.board_fd = os.memfd_create("board")
        os.ftruncate(self.board_fd, layout.BOARD_SIZE)
        self.board_mapping = Mapping(self.board_fd, layout.BOARD_SIZE)
        self.board = mmap.mmap(self.board_fd, layout.BOARD_SIZE)
        self.rows_fd = os.memfd_create("rows")
        os.ftruncate(self.rows_fd, ROWS * layout.LOG_ROW_SIZE)
        self.rows_mapping = Mapping(self.rows_fd, ROWS * layout.LOG_ROW_SIZE)
        self.rows = mmap.mmap(self.rows_fd, ROWS * layout.LOG_ROW_SIZE)
        self.lanes = [Lane() for _ in range(lanes)]
        self.lane = self.lanes[0]
        self.directory = str(directory)
        self.disk = disk or Disk()
        self.journal_size = journal_size
        self.store_options = store_options
        self.faults: list[tuple] = []
        self.doorbells: list[int] = []
        self.start()

    def close(self) -> None:
        """Give all descriptors back; nothing is synced."""
        self.journal.close()
        self.store.close()
        for fd in self.doorbells:
            os.close(fd)
        self.doorbells = []

    def __del__(self):
        self.close()
        os.close(self.board_fd)
        os.close(self.rows_fd)

    def start(self) -> None:
        """A new writer on the same memory, as after the death of one."""
        if self.doorbells:
            self.close()
        self.store = Store(self.disk, self.directory, **self.store_options)
        self.store.open()
        self.journal = Journal(self.store, self.journal_size)
        self.loop = WriteLoop(
            self.store, self.journal, self.board_mapping.address, self.rows_mapping.address, len(self.rows),
            lambda *fault: self.faults.append(fault),
        )  # fmt: skip
        self.replayed = self.journal.recover()  # behind the loop, as in streamwriter/process.py
        self.doorbells = [os.eventfd(0, os.EFD_NONBLOCK) for _ in self.lanes]
        for worker, lane in enumerate(self.lanes):
            self.loop.attach(worker, RingMap(lane.fd, lane.size), self.doorbells[worker])

    def run(self) -> None:
        """Publish and process everything; the lanes are free afterwards."""
        for lane in self.lanes:
            lane.publish()
        while self.loop.cycle():
            pass

    def row(self, row: int) -> dict:
        """The writer's fields of a row of the log table."""
        names = ("log_id", "term", "durable_index", "durable_position", "crc", "error", "syncs", "frames",
                 "bytes", "stored_index")  # fmt: skip
        return dict(zip(names, struct.unpack_from("<IIQQIIQQQQ", self.rows, row * 256), strict=True))

    def commit(self, row: int, index: int) -> None:
        """What an owner says in its half of the row: frames up to this one count."""
        at = row * layout.LOG_ROW_SIZE + layout.LOG_COMMITTED_INDEX
        self.rows[at : at + 8] = index.to_bytes(8, "little")

    def segment_bytes(self, log_id: int, base: int = 0) -> bytes:
        with open(f"{self.store.log_path(log_id)}/{base:016x}.seg", "rb") as file:
            return file.read()

    def frames(self, log_id: int, base: int = 0) -> list[int]:
        """Indexes of the frames that follow one another in a segment."""
        data = self.segment_bytes(log_id, base)
        found, at = [], 64
        while at + 64 <= len(data):
            fields = FRAME_HEAD.unpack_from(data, at)
            if fields[0] != 0x31464253:
                break
            found.append(fields[9])
            at += 64 + fields[4]
        return found
