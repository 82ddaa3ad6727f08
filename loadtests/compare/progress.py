"""Progress on stderr: a bar that redraws itself on a terminal, one line a sample elsewhere (logs of CI)."""

import sys
import time
from typing import TextIO

bar_width = 24


class ProgressBar:
    """Call it with a text before each step; `finish` after the last."""

    def __init__(self, step_count: int, stream: TextIO | None = None):
        self._step_count = step_count
        self._stream = stream or sys.stderr
        self._step = 0
        self._start = time.monotonic()
        self._is_terminal = self._stream.isatty()

    def __call__(self, text: str) -> None:
        if self._is_terminal:
            self._stream.write(f"\r\x1b[K{self.bar()} {text}{self._remaining()}")
        else:
            self._stream.write(f"[{self._step + 1}/{self._step_count}] {text}\n")
        self._stream.flush()
        self._step += 1

    def finish(self) -> None:
        if self._is_terminal:
            self._stream.write("\r\x1b[K")
            self._stream.flush()

    def bar(self) -> str:
        done = bar_width * self._step // max(1, self._step_count)
        return f"[{'#' * done}{'.' * (bar_width - done)}] {self._step}/{self._step_count}"

    def _remaining(self) -> str:
        if not self._step:
            return ""
        elapsed_s = time.monotonic() - self._start
        left_s = int(elapsed_s / self._step * (self._step_count - self._step))
        return f", about {left_s // 60}:{left_s % 60:02d} left"
