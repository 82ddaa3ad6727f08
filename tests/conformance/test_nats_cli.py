"""Property: the nats command line tool, the operators' own, works unchanged.

A subscriber is a process of its own, and nothing tells when it has subscribed; so publishers repeat until the
subscriber has what it waits for.
"""

import json
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.conformance import clients
from tests.conformance.servers import Server

WAIT_S = 30.0


class Tool:
    """The nats command with the address of a server."""

    def __init__(self, server: Server) -> None:
        self.prefix = [clients.nats_cli(), "--server", f"nats://127.0.0.1:{server.port}"]

    def run(self, *arguments: str, data: bytes | None = None) -> str:
        """Run to the end; what it printed."""
        return clients.run([*self.prefix, *arguments], data=data)

    @contextmanager
    def started(self, *arguments: str) -> Iterator[subprocess.Popen]:
        """A running tool, ended on leaving."""
        process = subprocess.Popen(
            [*self.prefix, *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        try:
            yield process
        finally:
            if process.poll() is None:
                process.terminate()
            process.communicate(timeout=10)

    def until_ended(self, process: subprocess.Popen, *arguments: str) -> str:
        """Repeat a command until ``process`` has ended; what ``process`` printed."""
        deadline = time.monotonic() + WAIT_S
        while process.poll() is None:
            assert time.monotonic() < deadline, f"{process.args} goes on; ran {arguments} again and again"
            self.run(*arguments)
            time.sleep(0.05)
        output = process.stdout.read()
        assert process.returncode == 0, output
        return output


@pytest.fixture
def tool(broker: Server) -> Tool:
    """The command against the shared server."""
    return Tool(broker)


def test_publish_and_subscribe(tool: Tool) -> None:
    """Three messages to a wildcard."""
    with tool.started("sub", "cli.>", "--count", "3") as subscriber:
        output = tool.until_ended(subscriber, "pub", "cli.news", "hello from the tool")
    assert output.count("hello from the tool") == 3
    assert "cli.news" in output


def test_publish_from_standard_input_with_headers(tool: Tool) -> None:
    """Headers are shown by the subscriber."""
    with tool.started("sub", "cli.headers", "--count", "1") as subscriber:
        output = tool.until_ended(
            subscriber, "pub", "cli.headers", "-H", "Color: blue", "-H", "Size: 7", "body"
        )
    assert "Color: blue" in output and "Size: 7" in output and "body" in output


def test_request_and_reply(tool: Tool) -> None:
    """An answering service of two processes in a queue group."""
    with (
        tool.started("reply", "cli.service", "the answer"),
        tool.started("reply", "cli.service", "the answer"),
    ):
        deadline = time.monotonic() + WAIT_S
        while "the answer" not in (output := tool.run("request", "cli.service", "a question")):
            assert time.monotonic() < deadline, output
            time.sleep(0.05)
        for _ in range(3):
            assert "the answer" in tool.run("request", "cli.service", "a question")


def test_request_without_responders(tool: Tool) -> None:
    """Said at once."""
    started = time.monotonic()
    output = tool.run("request", "cli.nobody", "a question", "--timeout", "20s")
    assert "no responders" in output.lower()
    assert time.monotonic() - started < 10


def test_round_trip_time(tool: Tool) -> None:
    """``nats rtt``."""
    assert "127.0.0.1" in tool.run("rtt")


def test_check_connection(tool: Tool) -> None:
    """``nats server check connection``: connect, round trip, publish and receive."""
    report = json.loads(tool.run("server", "check", "connection", "--format", "json"))
    assert report["status"] == "OK", report


def test_bench_publish(tool: Tool) -> None:
    """A short run of the tool's load generator."""
    output = tool.run("bench", "pub", "cli.bench", "--msgs", "20000", "--size", "128", "--no-progress")
    assert "publisher stats" in output


def test_bench_publish_and_subscribe(tool: Tool) -> None:
    """Two subscribers get every message."""
    arguments = ("bench", "sub", "cli.load", "--msgs", "5000", "--clients", "2", "--no-progress")
    with tool.started(*arguments) as subscriber:
        output = tool.until_ended(
            subscriber, "bench", "pub", "cli.load", "--msgs", "5000", "--size", "64", "--no-progress"
        )
    assert "subscriber aggregated stats" in output


def test_bench_service(tool: Tool) -> None:
    """Requests at full speed against a service."""
    with tool.started("bench", "service", "serve", "cli.echo", "--size", "16", "--no-progress"):
        deadline = time.monotonic() + WAIT_S
        while "no responders" in tool.run("request", "cli.echo", "x", "--timeout", "2s").lower():
            assert time.monotonic() < deadline
            time.sleep(0.05)
        output = tool.run("bench", "service", "request", "cli.echo", "--msgs", "500", "--no-progress")
    assert "stats" in output
