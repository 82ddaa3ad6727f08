"""Reading a worker's connection table: what /connz shows, without interrupting the worker.

The worker writes rows while we read, so a row may be half new: good enough for monitoring. The table is
sparse and read with ``pread`` over its written extents only: touching a hole through a mapping would
allocate its page.
"""

import os
import struct
from collections.abc import Callable, Iterator

from shardbroker.shm import layout
from shardbroker.shm.region import Region

ROW_FREE, ROW_OPEN, ROW_CLOSED = range(3)

_ROW = layout.CONNECTION_ROW_SIZE
_CHUNK_ROWS = 2048
_STATE_AND_CID = struct.Struct("<IxxxxQ")
_OFFSETS = {name: offset for name, offset, _ in layout.CONNECTION_FIELDS}
_STRINGS = frozenset(name for name, _, kind in layout.CONNECTION_FIELDS if kind.endswith("s"))


def _row_struct() -> struct.Struct:
    """One struct for the whole row, in the order of CONNECTION_FIELDS; asserts that there are no gaps."""
    offset, kinds = 0, []
    for name, start, kind in layout.CONNECTION_FIELDS:
        assert start == offset, name
        kinds.append(kind)
        offset += struct.calcsize(f"<{kind}")
    assert offset <= _ROW
    return struct.Struct("<" + "".join(kinds))


_FIELDS = _row_struct()
_NAMES = tuple(name for name, _, _ in layout.CONNECTION_FIELDS)


def parse_row(row: bytes) -> dict:
    """A row's fields by name; strings as str."""
    fields = dict(zip(_NAMES, _FIELDS.unpack_from(row), strict=True))
    for name in _STRINGS:
        fields[name] = fields[name].rstrip(b"\0").decode(errors="replace")
    return fields


def number_field(name: str) -> Callable[[bytes], int]:
    """A function that reads one number of a raw row, for those who need no more of it."""
    unpack = struct.Struct("<" + next(kind for each, _, kind in layout.CONNECTION_FIELDS if each == name))
    offset = _OFFSETS[name]
    return lambda row: unpack.unpack_from(row, offset)[0]


stop_ns = number_field("stop_ns")


def as_closed(row: bytes, now_ns: int, reason: str) -> bytes:
    """The raw row of an open connection turned into one closed at ``now_ns``."""
    closed = bytearray(row)
    struct.pack_into("<I", closed, _OFFSETS["state"], ROW_CLOSED)
    struct.pack_into("<H", closed, _OFFSETS["reason"], layout.CLOSE_REASONS.index(reason))
    struct.pack_into("<Q", closed, _OFFSETS["stop_ns"], now_ns)
    return bytes(closed)


class ConnectionTable:
    """The table in ``region`` with ``rows`` places for open and ``closed_rows`` for closed connections."""

    def __init__(self, region: Region, rows: int, closed_rows: int):
        self._region = region
        self._closed_start = layout.CONNECTIONS_ROWS + rows * _ROW
        self._end = self._closed_start + closed_rows * _ROW

    def open_rows(self) -> Iterator[bytes]:
        """The raw rows of open connections, in no order."""
        return self._rows(layout.CONNECTIONS_ROWS, self._closed_start, ROW_OPEN)

    def closed_rows(self) -> Iterator[bytes]:
        """The raw rows of the connections closed last, in no order."""
        return self._rows(self._closed_start, self._end, ROW_CLOSED)

    def open_row(self, cid: int) -> bytes | None:
        """The row of one open connection."""
        for row in self.open_rows():
            if _STATE_AND_CID.unpack_from(row)[1] == cid:
                return row
        return None

    def _rows(self, start: int, end: int, state: int) -> Iterator[bytes]:
        wanted = state.to_bytes(4, "little")
        for first, last in self._region.data_extents(start, end):
            # Extents are pages; rows are counted from `start` and eight of them fill a page.
            offset = first - (first - start) % _ROW
            while offset < last:
                size = min(_CHUNK_ROWS * _ROW, end - offset, last - offset + _ROW)
                chunk = os.pread(self._region.fd, size - size % _ROW, offset)
                for position in range(0, len(chunk), _ROW):
                    if chunk[position : position + 4] == wanted:
                        yield chunk[position : position + _ROW]
                offset += max(len(chunk), _ROW)
