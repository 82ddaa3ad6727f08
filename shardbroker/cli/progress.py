"""A progress bar on stderr, for work that is counted: only on a terminal, and only if it lasts."""

import sys
import time

#: Seconds before a bar appears: what is done by then needs none.
_AFTER_S = 1.0
_EVERY_S = 0.1
_WIDTH = 40
#: Columns that a bar takes at most.
_LINE_WIDTH = 78


class Progress:
    """Of ``total`` things, named by ``what`` ("messages moved")."""

    def __init__(self, total: int, what: str):
        self._total = max(total, 1)
        self._what = what
        self._start = self._last = time.monotonic()
        self._is_shown = False
        self._is_wanted = sys.stderr.isatty()

    def show(self, done: int) -> None:
        """So many are done."""
        now = time.monotonic()
        if not self._is_wanted or now - self._start < _AFTER_S or now - self._last < _EVERY_S:
            return
        self._last, self._is_shown = now, True
        part = min(1.0, done / self._total)
        filled = round(part * _WIDTH)
        text = f"[{'#' * filled}{'.' * (_WIDTH - filled)}] {part:4.0%} {done} {self._what}"
        print("\r" + text[:_LINE_WIDTH].ljust(_LINE_WIDTH), end="", file=sys.stderr, flush=True)

    def clear(self) -> None:
        """Take the bar away."""
        if self._is_shown:
            print("\r" + " " * _LINE_WIDTH + "\r", end="", file=sys.stderr, flush=True)
            self._is_shown = False
