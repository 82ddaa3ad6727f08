"""Signals reach the process meant, by pid, pid file or beginning of a pid, and no other."""

import os
import signal
import subprocess
import sys

import pytest

from shardbroker.cli.signal_server import is_acceptor, running_brokers, send_signal
from shardbroker.errors import ConfigError


@pytest.fixture
def sleeper():
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"]) as process:
        yield process
        process.kill()


def test_by_pid_and_by_pid_file(sleeper, tmp_path) -> None:
    pid_file = tmp_path / "pid"
    pid_file.write_text(f"{sleeper.pid}\n")
    send_signal(f"term={pid_file}", "shardbroker")
    assert sleeper.wait(timeout=10) == -signal.SIGTERM


def test_stop_is_kill(sleeper) -> None:
    send_signal(f"stop={sleeper.pid}", "shardbroker")
    assert sleeper.wait(timeout=10) == -signal.SIGKILL


def test_nobody_there() -> None:
    with pytest.raises(ConfigError, match="no such process"):
        send_signal("quit=999999999", "shardbroker")
    with pytest.raises(ConfigError, match="no shardbroker processes running"):
        send_signal("quit=999999999*", "shardbroker")


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["/usr/bin/python3", "/usr/bin/shardbroker", "-p", "1"], True),
        (["python3.11", "-m", "shardbroker"], True),
        (["python", "-X", "-u", "/x/nats-server"], True),
        (["python", "-P", "-c", "shardbroker"], False),
        (["python", "-m", "pytest", "shardbroker"], False),
        (["vi", "shardbroker"], False),
        (["tail", "-f", "/var/log/shardbroker"], False),
        ([""], False),
        (["python"], False),
    ],
)
def test_recognises_an_acceptor_and_nothing_else(words: list[str], expected: bool) -> None:
    assert is_acceptor([word.encode() for word in words]) is expected


def test_this_process_is_no_broker() -> None:
    assert os.getpid() not in running_brokers()
