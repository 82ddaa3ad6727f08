"""Reading a worker's connection table: what /connz shows, without interrupting the worker.

The worker writes rows while we read, so a row may be half new: good enough for monitoring. The table is
sparse and read with ``pread`` over its written extents only: touching a hole through a mapping would
allocate its page.

Row by row and without numpy, for the few places that cannot wait for its import; connection_rows.py takes
all rows at once.
"""

import os
import struct
from collections.abc import Iterator

from shardbroker.shm import layout
from shardbroker.shm.region import Region

ROW_FREE, ROW_OPEN, ROW_CLOSED = range(3)

_ROW = layout.CONNECTION_ROW_SIZE
_CHUNK_ROWS = 2048
_STOP_NS = struct.Struct("<Q")
_OFFSETS = {name: offset for name, offset, _ in layout.CONNECTION_FIELDS}
#: Where a raw row has the connection's number: 8 bytes, little endian.
CID_OFFSET = _OFFSETS["cid"]
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


def stop_ns(row: bytes) -> int:
    """When the connection of a raw row was closed, 0 for an open one."""
    return _STOP_NS.unpack_from(row, _OFFSETS["stop_ns"])[0]


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
        return self._rows(self.open_pieces(), ROW_OPEN)

    def closed_rows(self) -> Iterator[bytes]:
        """The raw rows of the connections closed last, in no order."""
        return self._rows(self.closed_pieces(), ROW_CLOSED)

    def open_pieces(self) -> Iterator[tuple[int, int]]:
        """Byte ranges (from, to) of whole rows which hold every open connection, and others."""
        return self._region.data_extents(layout.CONNECTIONS_ROWS, self._closed_start)

    def closed_pieces(self) -> Iterator[tuple[int, int]]:
        """The same for the connections closed last."""
        return self._region.data_extents(self._closed_start, self._end)

    def read_into(self, target: memoryview, start: int) -> None:
        """Fill ``target`` with the bytes from offset ``start`` on."""
        while target:
            size = os.preadv(self._region.fd, [target], start)
            assert size > 0
            target, start = target[size:], start + size

    def _rows(self, pieces: Iterator[tuple[int, int]], state: int) -> Iterator[bytes]:
        wanted = state.to_bytes(4, "little")
        for first, last in pieces:
            for offset in range(first, last, _CHUNK_ROWS * _ROW):
                chunk = os.pread(self._region.fd, min(_CHUNK_ROWS * _ROW, last - offset), offset)
                for position in range(0, len(chunk), _ROW):
                    if chunk[position : position + 4] == wanted:
                        yield chunk[position : position + _ROW]


# Extents are whole pages, so they are whole rows as well.
assert layout.PAGE % _ROW == 0 and layout.CONNECTIONS_ROWS % _ROW == 0
