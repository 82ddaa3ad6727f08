"""The arrays hold what the rows read one by one hold, whatever the tables look like, and allocate no page."""

import contextlib
import os
import random
import struct

import numpy as np

from shardbroker.shm import layout
from shardbroker.shm.connection_rows import ConnectionRows
from shardbroker.shm.connection_table import ConnectionTable, parse_row
from shardbroker.shm.region import Region

ROWS, CLOSED = 5001, 333


@contextlib.contextmanager
def tables(*contents: dict[int, tuple[int, int]]):
    """Tables with ``{place: (state, cid)}`` in them; the name says the cid, the end is the cid as well."""
    with contextlib.ExitStack() as stack:
        made = []
        for content in contents:
            region = Region.create(layout.connection_table_size(ROWS, CLOSED))
            stack.callback(region.close)
            mapped = region.map()
            for place, (state, cid) in content.items():
                start = layout.CONNECTIONS_ROWS + place * layout.CONNECTION_ROW_SIZE
                mapped[start : start + layout.CONNECTION_ROW_SIZE] = row(state, cid)
            before = os.fstat(region.fd).st_blocks
            stack.callback(lambda fd=region.fd, before=before: check_blocks(fd, before))
            made.append(ConnectionTable(region, ROWS, CLOSED))
        yield made


def check_blocks(fd: int, before: int) -> None:
    assert os.fstat(fd).st_blocks == before


def row(state: int, cid: int) -> bytes:
    raw = bytearray(layout.CONNECTION_ROW_SIZE)
    struct.pack_into("<IHHQQQ", raw, 0, state, cid % 65536, 1, cid, 7, cid)
    name = f"näme-{cid}".encode()
    raw[216 : 216 + len(name)] = name
    return bytes(raw)


def closed_of(made: list[ConnectionTable], closed_max: int = 1000, lost=()) -> ConnectionRows:
    return ConnectionRows(made, with_open=False, with_closed=True, lost=lost, closed_max=closed_max)


def open_of(made: list[ConnectionTable]) -> ConnectionRows:
    return ConnectionRows(made, with_open=True, with_closed=False)


def test_arrays_agree_with_rows_read_one_by_one() -> None:
    choose = random.Random(5)
    for _ in range(5):
        places = choose.sample(range(ROWS + CLOSED), 400)
        content = {place: (choose.randrange(3), place + 1) for place in places}
        with tables(content, {}) as made:
            both = ConnectionRows(made, with_open=True, with_closed=True, closed_max=1000)
            opened = [parse_row(raw) for raw in made[0].open_rows()]
            closed = [parse_row(raw) for raw in made[0].closed_rows()]
            for rows, expected in (
                (open_of(made), opened),
                (closed_of(made), closed),
                (both, opened + closed),
            ):
                assert len(rows) == len(expected)
                assert rows.page(0, 10_000) == sorted(expected, key=lambda row: row["cid"])


def test_nothing_there() -> None:
    with tables({}, {}) as made:
        assert len(open_of(made)) == 0
        assert closed_of(made).page(0, 10) == []


def test_a_moving_connection_shows_once_and_an_open_one_is_open() -> None:
    with tables({1: (1, 5), 2: (1, 3), ROWS: (2, 4)}, {9: (1, 5), 10: (1, 4)}) as made:
        rows = ConnectionRows(made, with_open=True, with_closed=True, closed_max=10)
        assert [(row["cid"], row["state"]) for row in rows.page(0, 9)] == [(3, 1), (4, 1), (5, 1)]


def test_only_the_connections_closed_last_are_kept() -> None:
    with tables({ROWS: (2, 10), ROWS + 1: (2, 40)}, {ROWS + 5: (2, 20)}) as made:
        rows = closed_of(made, 3, (row(2, 30), row(2, 5)))
        assert rows.column("cid").tolist() == [20, 30, 40]


def test_filter_sort_and_page() -> None:
    with tables({place: (1, place + 1) for place in range(6)}) as made:
        rows = open_of(made)
        keys = rows.column("cid") // np.uint64(2)  # 0 1 1 2 2 3
        rows.sort(keys, descending=True)
        assert rows.column("cid").tolist() == [6, 4, 5, 2, 3, 1]  # equal keys stay in their order
        rows.keep(rows.column("cid") != 5)
        assert [row["cid"] for row in rows.page(1, 3)] == [4, 2, 3]
        rows.sort(rows.column("cid"))
        assert rows.column("cid").tolist() == [1, 2, 3, 4, 6]
