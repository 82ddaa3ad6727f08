"""What the command prints for version and help, and its exit codes."""

import os
import subprocess
import sys

import pytest

from shardbroker import limits
from shardbroker.cli.main import program_name
from shardbroker.cli.usage import USAGE
from shardbroker.version import NATS_VERSION, __version__


def run(*arguments: str) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "shardbroker", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)


def test_version_begins_with_nats_servers_line() -> None:
    for flag in ("-v", "--version", "version"):
        done = run(flag)
        assert done.returncode == 0
        assert done.stdout == f"nats-server: v{NATS_VERSION}\nshardbroker: v{__version__}\n"


def test_help() -> None:
    done = run("-h")
    assert done.returncode == 0
    assert "Usage: shardbroker [options]" in done.stdout
    assert done.stderr == ""


def test_impossible_options_end_with_one() -> None:
    done = run("-n", "a b")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "shardbroker: server name cannot contain spaces\n"


def test_the_name_is_nats_servers_only_when_started_so() -> None:
    assert program_name("/usr/bin/nats-server") == "nats-server"
    assert program_name("/usr/bin/shardbroker") == "shardbroker"
    assert program_name("/lib/shardbroker/__main__.py") == "shardbroker"


def test_the_default_budget_is_the_one_in_force() -> None:
    assert f"together (default: {limits.outbound_budget_size_default >> 20}mb)" in USAGE


@pytest.mark.parametrize("flag", ["--help", "--version", "--nonsense"])
def test_a_reader_that_has_seen_enough_is_no_error(flag: str) -> None:
    command = [sys.executable, "-m", "shardbroker", flag]
    read_fd, write_fd = os.pipe()
    os.close(read_fd)
    try:
        done = subprocess.run(
            command, stdout=write_fd, stderr=subprocess.PIPE, text=True, timeout=20, check=False
        )
    finally:
        os.close(write_fd)
    assert done.returncode == 0
    assert "Traceback" not in done.stderr and "BrokenPipe" not in done.stderr
