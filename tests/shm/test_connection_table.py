"""Rows are found wherever they stand, also in a sparse table, and looking allocates no page."""

import os
import struct

from shardbroker.shm import layout
from shardbroker.shm.connection_table import ConnectionTable, as_closed, parse_row, stop_ns
from shardbroker.shm.region import Region


def put(mapped, place: int, state: int, cid: int) -> None:
    start = layout.CONNECTIONS_ROWS + place * layout.CONNECTION_ROW_SIZE
    struct.pack_into("<I4xQ", mapped, start, state, cid)
    name = f"name-{cid}".encode()
    mapped[start + 216 : start + 216 + len(name)] = name


def test_rows_are_found_without_allocating() -> None:
    rows, closed = 5001, 333
    region = Region.create(layout.connection_table_size(rows, closed))
    mapped = region.map()
    opened = [0, 1, 7, 8, 9, 2047, 2048, 4093, 5000]
    shut = [0, 5, 332]
    for place in opened:
        put(mapped, place, 1, place + 1)
    for place in shut:
        put(mapped, rows + place, 2, place + 10_000)
    put(mapped, 3, 2, 999)  # in the wrong half: neither open nor closed
    before = os.fstat(region.fd).st_blocks
    table = ConnectionTable(region, rows, closed)
    assert sorted(parse_row(row)["cid"] for row in table.open_rows()) == [place + 1 for place in opened]
    assert sorted(parse_row(row)["cid"] for row in table.closed_rows()) == [place + 10_000 for place in shut]
    assert "name-2049" in [parse_row(row)["name"] for row in table.open_rows()]
    assert os.fstat(region.fd).st_blocks == before
    region.close()


def test_empty_table() -> None:
    region = Region.create(layout.connection_table_size(10, 10))
    table = ConnectionTable(region, 10, 10)
    assert list(table.open_rows()) == list(table.closed_rows()) == []
    region.close()


def test_an_open_row_becomes_a_closed_one() -> None:
    row = bytearray(layout.CONNECTION_ROW_SIZE)
    struct.pack_into("<IHHQQ", row, 0, 1, 4242, 0, 77, 5)
    closed = as_closed(bytes(row), 123, "Server Shutdown")
    fields = parse_row(closed)
    assert (fields["state"], fields["port"], fields["cid"], fields["start_ns"]) == (2, 4242, 77, 5)
    assert layout.CLOSE_REASONS[fields["reason"]] == "Server Shutdown"
    assert stop_ns(closed) == 123
