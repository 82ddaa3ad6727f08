"""Clearing a dead worker's bit never undoes a bit that a living worker sets at the same time."""

import ctypes
import threading

from shardbroker.shm import sweep


def test_clears_one_bit_and_counts() -> None:
    words = (ctypes.c_uint64 * 1000)(*([0b1011] * 1000))
    words[3] = 0b1001
    assert sweep.clear_bit(memoryview(words).cast("B").cast("Q"), 1) == 999
    assert set(words) == {0b1001}
    words[0] = 1 << 63
    assert sweep.clear_bit(memoryview(words).cast("B").cast("Q"), 63) == 1
    assert words[0] == 0


def test_versions_are_raised_by_one() -> None:
    versions = (ctypes.c_uint64 * 100)(*range(100))
    sweep.raise_versions(memoryview(versions).cast("B").cast("Q"))
    assert list(versions) == list(range(1, 101))


def test_changes_of_others_are_kept() -> None:
    """Two threads hammer the same words without the GIL, each clearing its own bit: raising versions in a
    third must lose no count."""
    words = (ctypes.c_uint64 * 50_000)()
    view = memoryview(words).cast("B").cast("Q")
    threads = [
        threading.Thread(target=lambda: [sweep.raise_versions(view) for _ in range(20)]) for _ in range(3)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert set(words) == {60}
