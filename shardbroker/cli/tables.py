"""Text for terminals: tables, and what clients wrote, made harmless."""

from collections.abc import Sequence

#: Characters of one cell, if nothing else is asked for; longer ones are cut.
_CELL_MAX = 60


def print_table(heads: Sequence[str], rows: Sequence[Sequence[str]], cell_max: int = _CELL_MAX) -> None:
    """Columns as wide as they must be; those of numbers to the right."""
    rows = [[_short(visible(cell), cell_max) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(heads, *rows, strict=True)]
    rights = [all(cell.isdigit() for cell in column) for column in zip(*rows, strict=True)]
    for row in (heads, *rows):
        cells = [
            cell.rjust(width) if right else cell.ljust(width)
            for cell, width, right in zip(row, widths, rights, strict=True)
        ]
        print("  ".join(cells).rstrip())


def visible(text: str, kept: str = "") -> str:
    """What moves a terminal's cursor is shown as text, but for the letters ``kept``."""
    return "".join(
        letter if letter.isprintable() or letter in kept else repr(letter)[1:-1] for letter in text
    )


def _short(text: str, cell_max: int) -> str:
    return text if len(text) <= cell_max else text[: cell_max - 3] + "..."
