"""Property: a bar is for people who wait: on a terminal, after a second, and gone at the end."""

import io

import pytest

from shardbroker.cli import progress


class Terminal(io.StringIO):
    def __init__(self, is_terminal: bool) -> None:
        super().__init__()
        self._is_terminal = is_terminal

    def isatty(self) -> bool:
        return self._is_terminal


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The time, to be set by the test."""
    now = [100.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    return now


def test_a_bar_comes_after_a_second_and_goes(clock: list[float], monkeypatch: pytest.MonkeyPatch) -> None:
    stderr = Terminal(True)
    monkeypatch.setattr("sys.stderr", stderr)
    bar = progress.Progress(200, "letters sent")
    clock[0] += 0.9
    bar.show(50)
    assert stderr.getvalue() == ""
    clock[0] += 0.2
    bar.show(100)
    clock[0] += 0.05
    bar.show(101)  # too soon to be worth a line
    assert stderr.getvalue().count("\r") == 1
    assert "[####################....................]  50% 100 letters sent" in stderr.getvalue()
    bar.clear()
    assert stderr.getvalue().endswith("\r" + " " * 78 + "\r")


def test_no_bar_where_nobody_looks(clock: list[float], monkeypatch: pytest.MonkeyPatch) -> None:
    stderr = Terminal(False)
    monkeypatch.setattr("sys.stderr", stderr)
    bar = progress.Progress(2, "letters")
    clock[0] += 60
    bar.show(1)
    bar.clear()
    assert stderr.getvalue() == ""
