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
_PLAIN = np.dtype((np.void, layout.CONNECTION_ROW_SIZE))
_STRINGS = frozenset(name for name, _, kind in layout.CONNECTION_FIELDS if kind.endswith("s"))


def open_rows(tables: Iterable[ConnectionTable]) -> np.ndarray:
    """The open connections of all ``tables``, in no order. One that moves may be there twice."""
    rows = _read([(table, piece) for table in tables for piece in table.open_pieces()])
    return take(rows, rows["state"] == ROW_OPEN)


def closed_rows(tables: Iterable[ConnectionTable], lost: Iterable[bytes], count_max: int) -> np.ndarray:
    """The ``count_max`` connections closed last, in ``tables`` or in the raw rows ``lost``, in no order."""
    rows = _read([(table, piece) for table in tables for piece in table.closed_pieces()])
    rows = join(take(rows, rows["state"] == ROW_CLOSED), np.frombuffer(b"".join(lost), ROW))
    if len(rows) <= count_max:
        return rows
    return take(rows, np.argpartition(rows["stop_ns"], len(rows) - count_max)[-count_max:])


def distinct(rows: np.ndarray) -> np.ndarray:
    """By ascending cid, each cid once: the first of those in ``rows``."""
    return take(rows, np.unique(rows["cid"], return_index=True)[1])


def take(rows: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """The rows at the indexes or under the mask ``wanted``.

    numpy copies a row of a structured dtype field by field; as plain bytes it takes a tenth of the time.
    """
    return rows.view(_PLAIN)[wanted].view(ROW)


def join(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Both, in this order."""
    return np.concatenate((first.view(_PLAIN), second.view(_PLAIN))).view(ROW)


def order(keys: np.ndarray, *, descending: bool = False) -> np.ndarray:
    """Indexes that sort unsigned ``keys``; equal ones stay in their order either way."""
    return np.argsort(~keys if descending else keys, kind="stable")


def as_dicts(rows: np.ndarray) -> list[dict]:
    """The rows of a page by field name; strings as str."""
    columns = {name: rows[name].tolist() for name in rows.dtype.names}
    for name in _STRINGS:
        columns[name] = [value.decode(errors="replace") for value in columns[name]]
    return [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]


def _read(pieces: list[tuple[ConnectionTable, tuple[int, int]]]) -> np.ndarray:
    """All rows of ``pieces``, byte ranges of whole rows, in one array."""
    buffer = np.empty(sum(end - start for _, (start, end) in pieces), np.uint8)
    target = memoryview(buffer)
    for table, (start, end) in pieces:
        table.read_into(target[: end - start], start)
        target = target[end - start :]
    return buffer.view(ROW)
