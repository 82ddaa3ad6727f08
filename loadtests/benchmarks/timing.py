"""Times a function: nanoseconds an operation, median of several rounds, with the fastest round beside it."""

import statistics
import time
from collections.abc import Callable

round_count = 7
round_s = 0.05  # the aim for one round; long enough for the clock, short enough for a shared machine


def measure(run: Callable[[int], object], *, first_count: int = 1000) -> tuple[float, float]:
    """(median, fastest) nanoseconds an operation; `run(count)` does `count` of them."""
    count = first_count
    while True:
        start = time.perf_counter_ns()
        run(count)
        used_ns = time.perf_counter_ns() - start
        if used_ns >= round_s * 1e9 / 4:
            break
        count *= 4
    count = max(1, int(count * round_s * 1e9 / used_ns))
    rounds = [_once(run, count) for _ in range(round_count)]
    return statistics.median(rounds), min(rounds)


def once(run: Callable[[], object], count: int) -> float:
    """Nanoseconds an operation of something that can be done only once."""
    start = time.perf_counter_ns()
    run()
    return (time.perf_counter_ns() - start) / count


def _once(run: Callable[[int], object], count: int) -> float:
    start = time.perf_counter_ns()
    run(count)
    return (time.perf_counter_ns() - start) / count


def show(title: str, median_ns: float, fastest_ns: float | None = None) -> None:
    fastest = f"   fastest {fastest_ns:9.1f}" if fastest_ns is not None else ""
    print(f"{title:<58} {median_ns:9.1f} ns{fastest}   {1e3 / median_ns:9.2f} M/s", flush=True)
