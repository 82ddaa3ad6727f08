"""The clock of the micro benchmarks: it divides by the number of operations."""

import time

from loadtests.benchmarks.timing import measure, once


def test_measure_divides_by_the_count():
    median_ns, fastest_ns = measure(lambda count: time.sleep(count * 20e-6), first_count=100)
    assert 20_000 <= fastest_ns <= median_ns < 200_000


def test_once():
    assert 1_000_000 <= once(lambda: time.sleep(0.01), 10) < 50_000_000
