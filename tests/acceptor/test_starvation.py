"""A process that wants to run and is not let is told from one that hangs, sleeps, loops or is gone."""

import os
import subprocess
import sys
import time

import pytest

from shardbroker import limits
from shardbroker.acceptor.starvation import Look, Starvation, look_at

MS = 1_000_000


def explains(looks: list[Look | None], step_s: float = 0.2) -> list[bool]:
    """What is said at each of the watches, `step_s` apart."""
    starvation = Starvation()
    return [starvation.explains(-1, 100 + number * step_s, look) for number, look in enumerate(looks)]


def test_one_that_is_runnable_and_does_not_run_starves():
    assert explains([Look("R", 500 * MS), Look("R", 500 * MS), Look("R", 520 * MS)]) == [True] * 3


def test_one_that_runs_without_a_sign_hangs():
    assert explains([Look("R", 0), Look("R", 99 * MS), Look("R", 101 * MS)]) == [True, True, False]


def test_one_that_sleeps_or_is_stopped_hangs():
    assert explains([Look("S", 0), Look("T", 0), Look("D", 0)]) == [False] * 3


def test_one_of_which_nothing_is_known_hangs():
    assert explains([None, Look("R", 0), None]) == [False, True, False]


def test_it_is_no_excuse_for_ever():
    watches = int(limits.starved_s_max) + 2
    said = explains([Look("R", 0)] * watches, step_s=1.0)
    assert said == [True] * int(limits.starved_s_max) + [False] * (watches - int(limits.starved_s_max))


def test_after_a_sign_the_next_silence_is_another_one():
    starvation = Starvation()
    assert starvation.explains(-1, 100.0, Look("R", 0))
    starvation.forget()
    assert starvation.explains(-1, 200.0, Look("R", 5000 * MS))


@pytest.mark.skipif(not os.path.exists("/proc/self/schedstat"), reason="this kernel does not count")
def test_the_kernel_tells_of_a_process():
    asleep = subprocess.Popen([sys.executable, "-c", "print(flush=True); input()"],
                              stdin=subprocess.PIPE, stdout=subprocess.PIPE)  # fmt: skip
    with asleep:
        asleep.stdout.readline()
        deadline = time.monotonic() + 30
        while (look := look_at(asleep.pid)).state != "S" and time.monotonic() < deadline:
            time.sleep(0.01)
        assert look.state == "S"
        assert look.ran_ns > 0
        asleep.stdin.close()
    assert look_at(asleep.pid) is None
    before = look_at(os.getpid())
    start = time.thread_time_ns()
    while time.thread_time_ns() < start + 20 * MS:
        pass
    assert look_at(os.getpid()).ran_ns > before.ran_ns
    assert look_at(os.getpid()).state == "R"
