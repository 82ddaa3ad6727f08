"""Start and end of the broker: what it says, what it leaves behind (nothing), and its exit codes."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time

import pytest

from tests.acceptor.running import ROOT, processes_with, wait_until


def names_of(pid: int) -> list[str]:
    """What the broker with this pid has in /dev/shm."""
    return [name for name in os.listdir("/dev/shm") if name.startswith(f"shardbroker-{pid}-")]


def descriptors_of(pid: int) -> int:
    return len(os.listdir(f"/proc/{pid}/fd"))


def test_start_lines_are_those_tools_look_for(start) -> None:
    log = start("-n", "me").log
    patterns = [
        r"\[INF\] Starting nats-server",
        r"\[INF\]   Version:  \d+\.\d+\.\d+",
        r"\[INF\]   Name:     me",
        r"\[INF\]   ID:       N[A-Z2-7]{55}",
        r"\[INF\] Starting http monitor on 127\.0\.0\.1:\d+",
        r"\[INF\] Listening for client connections on 127\.0\.0\.1:\d+",
        r"\[INF\] Server is ready",
    ]
    positions = [re.search(pattern, log).start() for pattern in patterns]
    assert positions == sorted(positions)


@pytest.mark.parametrize(
    ("number", "name"), [(signal.SIGTERM, "terminated"), (signal.SIGINT, "interrupt")], ids=["TERM", "INT"]
)
def test_signals_end_it_cleanly(start, number, name) -> None:
    broker = start()
    before = time.monotonic()
    broker.signal(number)
    assert broker.process.wait(timeout=10) == 0
    assert time.monotonic() - before < 2
    lines = [line.partition("] ")[2] for line in broker.log.splitlines()][-3:]
    assert [line.rpartition("[INF] ")[2] for line in lines] == [
        f'Trapped "{name}" signal',
        "Initiating Shutdown...",
        "Server Exiting..",
    ]
    assert not broker.ports_file.exists()


def test_nothing_has_a_name_while_it_runs(start) -> None:
    assert names_of(start().process.pid) == []


def test_kill_of_the_acceptor_ends_everything_at_once(start, connect) -> None:
    broker = start()
    client = connect(broker)
    mark = f"SHARDBROKER_ACCEPTOR_PID={broker.process.pid}"
    assert len(processes_with(mark)) >= 3
    broker.process.kill()
    broker.process.wait()
    with socket.socket() as again:
        again.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        again.bind(("127.0.0.1", broker.port))
        again.listen()
    assert client.at_end
    wait_until(lambda: not processes_with(mark), timeout_s=2)
    assert names_of(broker.process.pid) == []


def test_hangup_and_log_reopen_do_not_end_it(start, tmp_path) -> None:
    log = tmp_path / "the.log"
    broker = start("-l", str(log))
    broker.signal(signal.SIGHUP)
    wait_until(lambda: "can only reload config when a file is provided" in log.read_text())
    log.rename(tmp_path / "rotated.log")
    broker.signal(signal.SIGUSR1)
    wait_until(lambda: log.exists() and "File log re-opened" in log.read_text())
    assert broker.stop() == 0
    assert "Server Exiting.." in log.read_text()


def test_reopen_without_a_file_is_told(start) -> None:
    broker = start()
    broker.signal(signal.SIGUSR1)
    wait_until(lambda: "File log re-open ignored, not a file logger" in broker.log)


def test_pid_and_ports_files(start, tmp_path) -> None:
    pid_file = tmp_path / "the.pid"
    broker = start("-P", str(pid_file))
    assert pid_file.read_text() == str(broker.process.pid)
    ports = json.loads(broker.ports_file.read_text())
    assert list(ports) == ["nats", "monitoring"]


def run(*flags: str) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "tests.acceptor.stub_broker", "-a", "127.0.0.1", *flags]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=30, check=False)


def test_port_in_use_is_told_in_nats_servers_words() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = run("-p", str(port))
        assert done.returncode == 1
        text = f"listen tcp 127.0.0.1:{port}: bind: address already in use"
        assert f'[FTL] Error listening on port: 127.0.0.1:{port}, "{text}"' in done.stderr
        done = run("-p", "-1", "-m", str(port))
        assert done.returncode == 1
        assert f"[FTL] Can't start monitoring: can't listen to the monitor port: {text}" in done.stderr


def test_files_that_cannot_be_written() -> None:
    done = run("-p", "-1", "-l", "/nowhere/log")
    assert done.returncode == 1
    assert re.fullmatch(
        r"[\d/]+ [\d:]+ error opening file: open /nowhere/log: no such file or directory\n", done.stderr
    )
    done = run("-p", "-1", "-P", "/nowhere/pid")
    assert done.returncode == 1
    assert "[FTL] Could not write pidfile: open /nowhere/pid" in done.stderr


def test_lame_duck_announces_waits_and_lets_clients_go(start, connect) -> None:
    broker = start("--lame_duck_duration", "2s", "--lame_duck_grace_period", "500ms")
    clients = [connect(broker) for _ in range(10)]
    before = time.monotonic()
    broker.signal(signal.SIGUSR2)
    for client in clients:
        assert client.lines.readline() == b"LDM\r\n"
    with pytest.raises(OSError):
        socket.create_connection(("127.0.0.1", broker.port), timeout=1)
    broker.signal(signal.SIGTERM)  # does not cut it short, as in nats-server
    ends = []
    for client in clients:
        assert client.at_end
        ends.append(time.monotonic() - before)
    assert min(ends) > 0.4
    # Evenly: no half of the clients goes in a quarter of the time (0.5 s to 2 s).
    ends.sort()
    assert ends[7] - ends[2] > 0.4
    assert broker.process.wait(timeout=10) == 0
    assert time.monotonic() - before < 5
    assert "Entering lame duck mode, stop accepting new clients" in broker.log


def test_lame_duck_without_clients_ends_at_once(start) -> None:
    broker = start()
    broker.signal(signal.SIGUSR2)
    assert broker.process.wait(timeout=5) == 0


def test_a_client_that_comes_before_the_workers_are_ready_is_served(tmp_path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "tests.acceptor.stub_broker", "-a", "127.0.0.1", "-p", str(port)]
    with subprocess.Popen(command, cwd=ROOT, stderr=subprocess.DEVNULL) as process:
        try:

            def early():
                try:
                    return socket.create_connection(("127.0.0.1", port), timeout=10)
                except ConnectionRefusedError:
                    return None

            with wait_until(early) as sock:
                assert sock.recv(100).startswith(b"HELLO 1 ")
        finally:
            process.terminate()


def test_restarts_do_not_leak_descriptors(start) -> None:
    broker = start()
    counts = []
    for generation in range(2, 7):
        os.kill(broker.shards()[0]["pid"], signal.SIGKILL)
        wait_until(lambda generation=generation: broker.shards()[0]["generation"] == generation
                   and broker.shards()[0]["state"] == "up")  # fmt: skip
        counts.append(descriptors_of(broker.process.pid))
    # The connection of the last request may not be closed yet.
    wait_until(lambda: descriptors_of(broker.process.pid) <= counts[1])


def test_workers_that_never_start_end_it_with_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STUB_FAILS", "1")
    done = run("-p", "-1", "--workers", "2")
    assert done.returncode == 1
    assert re.search(r"\[FTL\] Cannot start: worker \d ended 4 times before it was ready", done.stderr)
    assert "Server is ready" not in done.stderr


def test_signal_before_it_is_ready_ends_it(tmp_path) -> None:
    for delay in (0.1, 0.2, 0.3):
        command = [sys.executable, "-m", "tests.acceptor.stub_broker", "-a", "127.0.0.1", "-p", "-1"]
        with subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True) as process:
            time.sleep(delay)
            process.terminate()
            _, text = process.communicate(timeout=10)
        # Before the handlers are set, the default ends it; nothing else may.
        assert process.returncode in (0, -signal.SIGTERM), text
        assert "Acceptor:" not in text
