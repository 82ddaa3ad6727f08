"""Runs the load processes of one sample: fork, connect, wait at the gate, work, report.

Each role is a function `role(gate, ...)` in a process of its own: it prepares (connects, subscribes, builds
its records), calls `gate()`, works, and returns a dictionary. The gate opens for all at once when the last
one is ready, so that connecting is never part of the measurement. A role that fails ends the sample.
"""

import multiprocessing
import time
from collections.abc import Callable
from multiprocessing.connection import Connection, wait
from typing import Any

from loadtests.compare.meter import CpuMeter
from loadtests.compare.wire import LoadError

# Fork: roles share memory cells and inherit open sockets. We have no threads, so it is safe.
fork = multiprocessing.get_context("fork")

ready_timeout_s = 60.0
settle_s = 0.1  # between "all ready" and "go": lets the server finish what connecting left behind

Gate = Callable[[], None]
Role = tuple[Callable[..., dict], tuple]


class Sample:
    """What came back: `results` in the order of the roles, CPU of the server meanwhile."""

    def __init__(self, results: list[dict[str, Any]], meter: CpuMeter):
        self.results = results
        self.meter = meter


def run_roles(server_pid: int, roles: list[Role], *, timeout_s: float = 120.0) -> Sample:
    """Run all roles together; raise LoadError if one of them fails or the time is over."""
    go = fork.Event()
    ready = fork.Semaphore(0)
    processes, pipes = [], []
    for function, arguments in roles:
        receiving, sending = fork.Pipe(duplex=False)
        process = fork.Process(target=_run, args=(function, arguments, go, ready, sending), daemon=True)
        process.start()
        sending.close()
        processes.append(process)
        pipes.append(receiving)
    try:
        for _ in processes:
            if not ready.acquire(timeout=ready_timeout_s):
                raise LoadError("a load process did not get ready")
        failed_early = [pipe.recv() for pipe in pipes if pipe.poll()]
        _raise_failures(failed_early)
        time.sleep(settle_s)
        meter = CpuMeter(server_pid)
        meter.start()
        go.set()
        results = _collect(pipes, timeout_s)
        meter.stop()
        return Sample(results, meter)
    finally:
        for process in processes:
            if process.is_alive():
                process.terminate()
            process.join()


def _run(function: Callable, arguments: tuple, go, ready, sending: Connection) -> None:
    passed = False

    def gate() -> None:
        nonlocal passed
        passed = True
        ready.release()
        go.wait()

    try:
        result = function(gate, *arguments)
    except Exception as error:
        result = {"failure": f"{function.__name__}: {type(error).__name__}: {error}"}
    sending.send(result)
    if not passed:
        ready.release()


def _collect(pipes: list[Connection], timeout_s: float) -> list[dict]:
    deadline = time.monotonic() + timeout_s
    results: dict[int, dict] = {}
    index_of = {pipe: index for index, pipe in enumerate(pipes)}
    while index_of:
        answered = wait(list(index_of), timeout=max(0.0, deadline - time.monotonic()))
        if not answered:
            raise LoadError(f"{len(index_of)} load processes did not finish within {timeout_s:g} s")
        for pipe in answered:
            try:
                result = pipe.recv()
            except EOFError:
                raise LoadError("a load process died without a word") from None
            _raise_failures([result])
            results[index_of.pop(pipe)] = result
    return [results[index] for index in range(len(pipes))]


def _raise_failures(results: list[dict]) -> None:
    for result in results:
        if "failure" in result:
            raise LoadError(result["failure"])
