"""The arrays hold what the rows read one by one hold, whatever the tables look like, and allocate no page."""

import contextlib
import os
import random
import struct

import numpy as np

from shardbroker.shm import connection_rows, layout
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


def test_arrays_agree_with_rows_read_one_by_one() -> None:
    choose = random.Random(5)
    for _ in range(5):
        places = choose.sample(range(ROWS + CLOSED), 400)
        content = {place: (choose.randrange(3), place + 1) for place in places}
        with tables(content, {}) as made:
            for array, one_by_one in (
                (connection_rows.open_rows(made), made[0].open_rows()),
                (connection_rows.closed_rows(made, (), 1000), made[0].closed_rows()),
            ):
                assert connection_rows.as_dicts(array) == [parse_row(raw) for raw in one_by_one]


def test_nothing_there() -> None:
    with tables({}, {}) as made:
        assert len(connection_rows.distinct(connection_rows.open_rows(made))) == 0
        assert connection_rows.as_dicts(connection_rows.closed_rows(made, (), 10)) == []


def test_a_moving_connection_shows_once() -> None:
    with tables({1: (1, 5), 2: (1, 3)}, {9: (1, 5), 10: (1, 4)}) as made:
        rows = connection_rows.distinct(connection_rows.open_rows(made))
        assert rows["cid"].tolist() == [3, 4, 5]


def test_only_the_connections_closed_last_are_kept() -> None:
    with tables({ROWS: (2, 10), ROWS + 1: (2, 40)}, {ROWS + 5: (2, 20)}) as made:
        rows = connection_rows.closed_rows(made, (row(2, 30), row(2, 5)), 3)
        assert sorted(rows["cid"].tolist()) == [20, 30, 40]


def test_equal_keys_keep_their_order() -> None:
    keys = np.array([3, 1, 3, 2, 1], np.uint64)
    assert connection_rows.order(keys).tolist() == [1, 4, 3, 0, 2]
    assert connection_rows.order(keys, descending=True).tolist() == [0, 2, 3, 1, 4]
