"""shm/layout.py and what compiled code believes of it are the same: offsets, the connection row, the figures.

The Cython declarations are read as text, so nothing needs to be built and no name can be left out.
"""

import itertools
import re
import struct
from pathlib import Path

from shardbroker import limits
from shardbroker.shm import layout

PACKAGE = Path(layout.__file__).parents[1]

#: C type -> format of struct.
TYPES = {"uint64_t": "Q", "uint32_t": "I", "uint16_t": "H", "uint8_t": "B"}


def block(path: str, header: str) -> list[str]:
    """The lines of the indented block under ``header``, without comments and blank lines."""
    lines = (PACKAGE / path).read_text().splitlines()
    found = []
    for line in lines[lines.index(header) + 1 :]:
        if line.strip() and not line.startswith(" "):
            break
        code = line.partition("#")[0].strip()
        if code:
            found.append(code)
    return found


def struct_fields(path: str, header: str) -> list[tuple[str, str]]:
    """(name, struct format) of each field of a C struct, in order."""
    fields = []
    for line in block(path, header):
        kind, name, _, size = re.fullmatch(r"(\w+) (\w+)(\[(\d+)\])?", line).groups()
        fields.append((name, f"{size}s" if kind == "char" and size else TYPES[kind]))
    return fields


def test_offsets_are_those_of_the_layout() -> None:
    seen = 0
    for line in block("shm/offsets.pxd", "cdef enum:"):
        name, value = re.fullmatch(r"(\w+) = (\w+)", line).groups()
        expected = limits.workers_max if name == "WORKERS_MAX" else getattr(layout, name)
        assert int(value, 0) == expected, name
        seen += 1
    assert seen > 20


def test_the_connection_row_is_the_struct() -> None:
    fields = struct_fields("routing/delivery_target.pxd", "cdef packed struct ConnectionRow:")
    assert fields == [(name, kind) for name, _, kind in layout.CONNECTION_FIELDS]
    offset = 0
    for name, start, kind in layout.CONNECTION_FIELDS:
        assert start == offset, name
        assert kind.endswith("s") or start % struct.calcsize(kind) == 0, f"{name} may tear"
        offset += struct.calcsize(f"<{kind}")
    assert offset <= layout.CONNECTION_ROW_SIZE


def test_statistics_are_the_struct() -> None:
    fields = struct_fields("routing/router.pxd", "cdef struct Statistics:")
    assert fields == [(name, "Q") for name, _, _ in layout.STATISTICS]


def test_areas_of_the_board_follow_each_other() -> None:
    """Each begins where the one before ends or later, and the last ends the board."""
    areas = [
        (layout.BOARD_WORKERS, limits.workers_max * layout.WORKER_ROW_SIZE),
        (layout.BOARD_SLOTS, 2 * limits.slots_count),
        (layout.BOARD_VERSIONS, 8 * limits.versions_count),
        (layout.BOARD_PRESSURE, 8 * layout.PRESSURE_CELLS * limits.workers_max),
        (layout.BOARD_FILTER, 8 * limits.filter_words_count),
        (layout.BOARD_SIZE, 0),
    ]
    for (start, size), (after, _) in itertools.pairwise(areas):
        assert start % layout.CACHE_LINE == 0
        assert start + size <= after
    rings = layout.RING_CURSORS + limits.workers_max * layout.RING_CURSOR_STRIDE
    assert rings <= layout.RING_DATA and layout.RING_DATA % layout.PAGE == 0
