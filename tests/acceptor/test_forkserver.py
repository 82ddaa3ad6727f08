"""A worker is not told of the program that was started: one without a guard starts one broker, not many."""

import subprocess
import sys

from tests.acceptor.running import ROOT, processes_with, wait_until

UNGUARDED = """\
import sys
sys.path.insert(0, {root!r})
with open({runs!r}, "a") as runs:
    runs.write("run\\n")
from shardbroker.acceptor import process
from tests.acceptor import stub_worker
process.run_worker = stub_worker.main
from shardbroker.cli.main import main
sys.exit(main(["-a", "127.0.0.1", "-p", "-1", "--workers", "3"]))
"""


def test_a_program_without_a_guard_starts_one_broker(tmp_path) -> None:
    program, runs, log = tmp_path / "unguarded.py", tmp_path / "runs", tmp_path / "log"
    program.write_text(UNGUARDED.format(root=str(ROOT), runs=str(runs)))
    with log.open("wb") as stderr:
        broker = subprocess.Popen([sys.executable, str(program)], stderr=stderr)
    try:
        wait_until(lambda: "Server is ready" in log.read_text() or broker.poll() is not None)
        assert broker.poll() is None, log.read_text()
        broker.terminate()
        assert broker.wait(timeout=10) == 0
    finally:
        broker.kill()
        broker.wait()
    assert runs.read_text() == "run\n"
    assert log.read_text().count("Starting nats-server") == 1
    wait_until(lambda: not processes_with(f"SHARDBROKER_ACCEPTOR_PID={broker.pid}"), timeout_s=2)
