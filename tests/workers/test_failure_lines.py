"""Property: failing writes are told at once and do not flood the log."""

from shardbroker.workers.failure_lines import MATTERS_MAX, REPEAT_NS, FailureLines


class Lines(list):
    """A log that keeps its errors."""

    error = list.append


def test_one_line_at_once_then_a_count() -> None:
    """The first failure is told, then nothing for a while, then how many there were."""
    lines = Lines()
    failures = FailureLines(lines)
    for number in range(1000):
        failures.tell("A", "full", number)
    assert len(lines) == 1 and "stream A" in lines[0] and "full" in lines[0]
    failures.tell("B", "full", 1000)
    failures.tell("A", "broken", 1000)
    assert len(lines) == 3
    failures.tell("A", "full", REPEAT_NS)
    assert len(lines) == 4 and "999 times more" in lines[3]
    failures.tell("A", "full", 3 * REPEAT_NS)
    assert len(lines) == 5 and "times more" not in lines[4]


def test_bounded() -> None:
    """However many streams fail, no more than so many are remembered; each is told."""
    lines = Lines()
    failures = FailureLines(lines)
    for number in range(3 * MATTERS_MAX):
        failures.tell(f"S{number}", "full", 1)
    assert len(lines) == 3 * MATTERS_MAX
    assert len(failures._matters) == MATTERS_MAX
