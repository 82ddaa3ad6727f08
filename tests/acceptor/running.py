"""Start the acceptor with stub workers as a real process, and talk to it as clients and viewers do."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).parents[2]


def wait_until(condition: Callable[[], object], timeout_s: float = 15.0) -> object:
    """The first true value of ``condition()``; fails when there is none in time."""
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        value = condition()
        if value:
            return value
        time.sleep(0.02)
    raise AssertionError("it did not happen in time")


class RunningBroker:
    """One broker process on free ports of 127.0.0.1; its log is in ``log``."""

    def __init__(self, directory: Path, *flags: str, module: str = "tests.acceptor.stub_broker"):
        self._log_path = directory / "stderr"
        command = [sys.executable, "-m", module, "-a", "127.0.0.1", "-p", "-1", "-m", "-1"]
        command += ["--ports_file_dir", str(directory), "--workers", "2", *flags]
        with open(self._log_path, "wb") as stderr:
            self.process = subprocess.Popen(command, cwd=ROOT, stderr=stderr)
        self.ports_file = directory / f"shardbroker_{self.process.pid}.ports"
        try:
            wait_until(lambda: self.ports_file.exists() or self.process.poll() is not None)
            assert self.process.poll() is None, self.log
        except BaseException:
            self.kill()
            raise
        ports = json.loads(self.ports_file.read_text())
        self.port = int(ports["nats"][0].rpartition(":")[2])
        self.http = ports["monitoring"][0]

    @property
    def log(self) -> str:
        return self._log_path.read_text()

    def connect(self) -> "Client":
        return Client(self.port)

    def get(self, path: str) -> tuple[int, bytes]:
        """Status and body."""
        try:
            with urllib.request.urlopen(self.http + path, timeout=10) as response:
                return response.status, response.read()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read()

    def json(self, path: str) -> dict:
        status, body = self.get(path)
        assert status == 200, body
        return json.loads(body)

    def shards(self) -> list[dict]:
        return self.json("/shardz?format=json")["shards"]

    def signal(self, number: signal.Signals) -> None:
        os.kill(self.process.pid, number)

    def stop(self) -> int:
        """SIGTERM; the exit code."""
        self.signal(signal.SIGTERM)
        return self.process.wait(timeout=20)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()


class Client:
    """A line-oriented connection to a stub worker."""

    def __init__(self, port: int):
        self.sock = socket.create_connection(("127.0.0.1", port), timeout=10)
        self.lines = self.sock.makefile("rb")
        self.greeting = self.lines.readline().split()

    @property
    def cid(self) -> int:
        return int(self.greeting[1])

    @property
    def worker(self) -> int:
        return int(self.greeting[2])

    def ask(self, line: str) -> str:
        self.send(line)
        return self.lines.readline().decode().strip()

    def send(self, line: str) -> None:
        self.sock.sendall(f"{line}\r\n".encode())

    @property
    def at_end(self) -> bool:
        """Whether the broker closed this connection; waits for it."""
        try:
            return self.lines.readline() == b""
        except ConnectionError:
            return True

    def close(self) -> None:
        self.lines.close()
        self.sock.close()


def processes_with(word: str) -> list[int]:
    """Pids of live processes whose environment or command line has ``word``."""
    found = []
    for name in os.listdir("/proc"):
        if name.isdecimal():
            try:
                text = Path(f"/proc/{name}/environ").read_bytes() + Path(f"/proc/{name}/cmdline").read_bytes()
            except OSError:
                continue
            if word.encode() in text:
                found.append(int(name))
    return found
