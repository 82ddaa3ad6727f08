"""The forkserver that is started on a guess ends with the command, whatever the command turns out to be."""

import subprocess
import sys
import time

import pytest

from shardbroker.cli.main import looks_like_serving
from tests.acceptor.running import processes_with, wait_until


@pytest.mark.parametrize(
    ("arguments", "serving"),
    [([], True), (["-p", "1"], True), (["-v"], False), (["--help"], False), (["version"], False),
     (["-sl", "stop=1"], False), (["--signal=ldm"], False), (["-D", "-js"], True)],
)  # fmt: skip
def test_guess(arguments: list[str], serving: bool) -> None:
    assert looks_like_serving(arguments) is serving


@pytest.mark.parametrize(
    "arguments", [["-nope"], ["-c", "x"], ["-n", "a b"], ["-p", "-1", "-l", "/nowhere/log"]]
)
def test_a_wrong_guess_leaves_nothing(arguments: list[str]) -> None:
    command = [sys.executable, "-m", "shardbroker", *arguments]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        before = time.monotonic()
        process.wait(timeout=20)
        assert time.monotonic() - before < 5
    wait_until(lambda: not processes_with(f"SHARDBROKER_ACCEPTOR_PID={process.pid}"), timeout_s=2)
