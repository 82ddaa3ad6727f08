"""The connection tables as one numpy array: filtered, sorted and cut to a page without a look at each row.

With ten thousand connections a page of /connz shows ten of them but has to sort all. A structured dtype over
the raw rows makes that a few operations on columns. Importing this file imports numpy, which takes 0.1 to
0.3 s: only what needs many rows does it, and nothing at the start (acceptor/monitor/endpoints.py warms up).

Rows are read while workers write them, so one may be half new: good enough for monitoring.
"""

import os
from collections.abc import Iterable

# OpenBLAS would start a thread for each core, with its memory, and nothing here does linear algebra.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import numpy as np

from shardbroker.shm import layout
from shardbroker.shm.connection_table import ROW_CLOSED, ROW_OPEN, ConnectionTable

_NUMBERS = {"I": "<u4", "H": "<u2", "Q": "<u8"}

#: A row as layout.CONNECTION_FIELDS has it; strings lose their NULs.
ROW = np.dtype(
    {
        "names": [name for name, _, _ in layout.CONNECTION_FIELDS],
        "formats": [_NUMBERS.get(kind, f"S{kind[:-1]}") for _, _, kind in layout.CONNECTION_FIELDS],
        "offsets": [offset for _, offset, _ in layout.CONNECTION_FIELDS],
        "itemsize": layout.CONNECTION_ROW_SIZE,
    }
)
_STRINGS = frozenset(name for name, _, kind in layout.CONNECTION_FIELDS if kind.endswith("s"))


class ConnectionRows:
    """Connections of all ``tables``, by ascending cid, each once.

    ``lost`` are raw rows of closed connections that are in no table any more; of all closed ones, the
    ``closed_max`` that were closed last are taken.
    """

    def __init__(
        self,
        tables: list[ConnectionTable],
        *,
        with_open: bool,
        with_closed: bool,
        lost: Iterable[bytes] = (),
        closed_max: int = 0,
    ):
        pieces = [(table, piece) for table in tables for piece in table.open_pieces()] if with_open else []
        opened = sum(end - start for _, (start, end) in pieces) // layout.CONNECTION_ROW_SIZE
        if with_closed:
            pieces += [(table, piece) for table in tables for piece in table.closed_pieces()]
        # The rows stay where they were read, and only their indexes are sorted and cut: a row is wide.
        self._rows = _read(pieces, b"".join(lost) if with_closed else b"")
        states = self._rows["state"]
        closed = opened + np.flatnonzero(states[opened:] == ROW_CLOSED)
        if len(closed) > closed_max:
            newest = np.argpartition(self._rows["stop_ns"][closed], len(closed) - closed_max)
            closed = closed[newest[len(closed) - closed_max :]]
        self._places = np.concatenate((np.flatnonzero(states[:opened] == ROW_OPEN), closed))
        # One that moves or closes may be there twice for a moment. Open ones stand first and win.
        self._places = self._places[np.unique(self.column("cid"), return_index=True)[1]]

    def __len__(self) -> int:
        return len(self._places)

    def column(self, name: str) -> np.ndarray:
        """One field of all rows."""
        return self._rows[name][self._places]

    def keep(self, mask: np.ndarray) -> None:
        """Drop the rows where ``mask`` is false."""
        self._places = self._places[mask]

    def sort(self, keys: np.ndarray, *, descending: bool = False) -> None:
        """Sort by unsigned ``keys``; equal ones stay in their order either way."""
        self._places = self._places[np.argsort(~keys if descending else keys, kind="stable")]

    def page(self, offset: int, limit: int) -> list[dict]:
        """Some rows by field name; strings as str."""
        places = self._places[offset : offset + limit]
        columns = {name: self._rows[name][places].tolist() for name in self._rows.dtype.names}
        for name in _STRINGS:
            columns[name] = [value.decode(errors="replace") for value in columns[name]]
        return [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]


def _read(pieces: list[tuple[ConnectionTable, tuple[int, int]]], more: bytes) -> np.ndarray:
    """All rows of ``pieces``, byte ranges of whole rows, and the rows in ``more``, in one array."""
    buffer = np.empty(sum(end - start for _, (start, end) in pieces) + len(more), np.uint8)
    target = memoryview(buffer)
    for table, (start, end) in pieces:
        table.read_into(target[: end - start], start)
        target = target[end - start :]
    target[:] = more
    return buffer.view(ROW)
