"""Log lines look like nats-server's, and whatever happens to stderr, nothing blocks and nothing raises."""

import os
import re
import subprocess
import sys

from shardbroker.log import LINE_SIZE_MAX, Log

LINE = re.compile(r"\[(\d+)\] \d{4}/\d\d/\d\d \d\d:\d\d:\d\d\.\d{6} \[(INF|DBG|TRC|WRN|ERR|FTL)\] (.*)\n")


def test_lines_have_nats_server_format(tmp_path) -> None:
    path = tmp_path / "log"
    log = Log(path=str(path), debug=True)
    log.info("one")
    log.debug("two")
    log.trace("not enabled")
    log.error("three")
    log.close()
    found = [LINE.fullmatch(line).groups() for line in path.read_text().splitlines(keepends=True)]
    assert found == [(str(os.getpid()), level, text) for level, text in
                     (("INF", "one"), ("DBG", "two"), ("ERR", "three"))]  # fmt: skip


def test_without_logtime(tmp_path) -> None:
    path = tmp_path / "log"
    Log(path=str(path), logtime=False).warn("plain")
    assert path.read_text() == f"[{os.getpid()}] [WRN] plain\n"


def test_long_lines_are_cut_so_that_a_write_stays_atomic(tmp_path) -> None:
    path = tmp_path / "log"
    Log(path=str(path)).info("x" * 10_000)
    assert len(path.read_bytes()) == LINE_SIZE_MAX


def test_reopen_follows_a_rotated_file(tmp_path) -> None:
    path = tmp_path / "log"
    log = Log(path=str(path))
    log.info("before")
    path.rename(tmp_path / "log.1")
    assert log.reopen()
    log.info("after")
    assert "after" in path.read_text()
    assert "after" not in (tmp_path / "log.1").read_text()
    assert not Log().reopen()


def test_full_pipe_drops_counts_and_tells() -> None:
    program = """
import sys
from shardbroker.log import Log
log = Log()
for number in range(5000):
    log.info(f"line {number}")
print(log.dropped, flush=True)
sys.stdin.readline()
log.info("last")
"""
    with subprocess.Popen(
        [sys.executable, "-c", program],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        dropped = int(process.stdout.readline())  # comes only if the full pipe did not block
        assert dropped > 0
        read = os.read(process.stderr.fileno(), 1 << 20)
        process.stdin.close()
        read += process.stderr.read()
    lines = read.decode().splitlines()
    assert len(lines) == 5000 - dropped + 2
    assert f"[WRN] {dropped} log lines were dropped" in lines[-2]
    assert lines[-1].endswith("[INF] last")


def test_the_pipe_of_our_starter_keeps_its_flags() -> None:
    program = "from shardbroker.log import Log; import os; Log(); print(os.get_blocking(2))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True)
    assert done.stdout == b"True\n"


def test_closed_stderr_is_survived() -> None:
    program = "from shardbroker.log import Log; Log().info('nobody'); print('on')"
    done = subprocess.run(
        f'{sys.executable} -c "{program}" 2>&-', shell=True, capture_output=True, check=True
    )
    assert done.stdout == b"on\n"
