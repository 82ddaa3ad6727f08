"""Property: the nats command manages consumers, buckets, object stores and services, with two workers.

Followers (``kv watch``, ``object watch``) are processes of their own: what they print is read until it is
there.
"""

import json
import threading
import time
from pathlib import Path

import pytest

from tests.conformance.servers import Server
from tests.conformance.test_nats_cli import WAIT_S, Tool


@pytest.fixture
def tool(jetstream_broker: Server) -> Tool:
    """The command against the shared server."""
    return Tool(jetstream_broker)


class Follower:
    """Lines of a running tool, as they come."""

    def __init__(self, process) -> None:
        self.text = ""
        self._process = process
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        for line in self._process.stdout:
            self.text += line

    def until(self, wanted: str, repeat=lambda: None) -> str:
        """Wait for a text, doing something again and again meanwhile; all that has come."""
        deadline = time.monotonic() + WAIT_S
        while wanted not in self.text:
            assert time.monotonic() < deadline, f"{wanted!r} did not come:\n{self.text}"
            repeat()
            time.sleep(0.05)
        return self.text


def filled(tool: Tool, name: str, count: int = 5) -> None:
    """A stream with messages."""
    tool.run("stream", "add", name, "--subjects", f"{name}.>", "--defaults")
    tool.run("pub", "--jetstream", f"{name}.x", "body {{Count}}", "--count", str(count))


def info(tool: Tool, stream: str, name: str) -> dict:
    """``nats consumer info`` as JSON."""
    return json.loads(tool.run("consumer", "info", stream, name, "--json"))


def test_a_pull_consumer(tool: Tool) -> None:
    """Add, next, edit, pause, resume, list, report, remove."""
    filled(tool, "CLICP")
    assert "c" in tool.run("consumer", "add", "CLICP", "c", "--pull", "--defaults")
    assert "body 1" in tool.run("consumer", "next", "CLICP", "c", "--ack")
    output = tool.run("consumer", "next", "CLICP", "c", "--count", "2", "--no-ack")
    assert "body 2" in output and "body 3" in output
    state = info(tool, "CLICP", "c")
    assert (state["num_pending"], state["num_ack_pending"], state["ack_floor"]["stream_seq"]) == (2, 2, 1)
    tool.run("consumer", "edit", "CLICP", "c", "--description", "edited", "-f")
    assert info(tool, "CLICP", "c")["config"]["description"] == "edited"
    tool.run("consumer", "pause", "CLICP", "c", "1h", "-f")
    assert info(tool, "CLICP", "c")["paused"]
    tool.run("consumer", "resume", "CLICP", "c", "-f")
    assert not info(tool, "CLICP", "c").get("paused")
    tool.run("consumer", "copy", "CLICP", "c", "d")
    assert {"c", "d"} <= set(tool.run("consumer", "ls", "CLICP", "--names").split())
    assert "c" in tool.run("consumer", "report", "CLICP")
    what = ("--stream", "CLICP", "--consumer", "c")
    report = tool.run("server", "check", "consumer", *what, "--format", "json")
    assert json.loads(report)["status"] == "OK"
    tool.run("consumer", "rm", "CLICP", "c", "-f")
    assert tool.run("consumer", "ls", "CLICP", "--names").split() == ["d"]


def test_a_push_consumer(tool: Tool) -> None:
    """Its messages are shown by ``consumer sub``."""
    filled(tool, "CLICQ", 3)
    tool.run("consumer", "add", "CLICQ", "q", "--target", "cli.pushed", "--defaults")
    with tool.started("consumer", "sub", "CLICQ", "q", "--ack") as process:
        assert "body 1" in Follower(process).until("body 3")


def test_a_pinned_consumer(tool: Tool) -> None:
    """``--pinned-groups``."""
    filled(tool, "CLICG", 2)
    pins = ("--pinned-groups", "one", "--pinned-ttl", "1m")
    tool.run("consumer", "add", "CLICG", "g", "--pull", *pins, "--defaults")
    config = info(tool, "CLICG", "g")["config"]
    assert (config["priority_policy"], config["priority_groups"]) == ("pinned_client", ["one"])


def test_a_bucket(tool: Tool) -> None:
    """Put, get, create, update, history, watch, delete, purge, compact, remove."""
    tool.run("kv", "add", "CLIKV", "--history", "5")
    tool.run("kv", "put", "CLIKV", "a", "one")
    tool.run("kv", "update", "CLIKV", "a", "two", "1")
    with pytest.raises(AssertionError, match="wrong last sequence"):
        tool.run("kv", "update", "CLIKV", "a", "three", "1")
    tool.run("kv", "create", "CLIKV", "b", "first")
    with pytest.raises(AssertionError):
        tool.run("kv", "create", "CLIKV", "b", "second")
    assert tool.run("kv", "get", "CLIKV", "a", "--raw").strip() == "two"
    output = tool.run("kv", "history", "CLIKV", "a")
    assert "one" in output and "two" in output
    assert set(tool.run("kv", "ls", "CLIKV").split()) == {"a", "b"}
    with tool.started("kv", "watch", "CLIKV") as process:
        follower = Follower(process)
        follower.until("two")
        follower.until("live", lambda: tool.run("kv", "put", "CLIKV", "c", "live"))
        tool.run("kv", "del", "CLIKV", "b", "-f")
        tool.run("kv", "purge", "CLIKV", "a", "-f")
        follower.until("DEL")
        follower.until("PURGE")
    assert tool.run("kv", "ls", "CLIKV").split() == ["c"]
    with pytest.raises(AssertionError, match=r"not found|deleted"):
        tool.run("kv", "get", "CLIKV", "a", "--raw")
    assert "CLIKV" in tool.run("kv", "status", "CLIKV")
    assert "CLIKV" in tool.run("kv", "ls")
    tool.run("kv", "compact", "CLIKV", "-f")
    report = json.loads(tool.run("server", "check", "kv", "--bucket", "CLIKV", "--format", "json"))
    assert report["status"] == "OK", report
    tool.run("kv", "rm", "CLIKV", "-f")
    assert "CLIKV" not in tool.run("kv", "ls")


def test_an_object_store(tool: Tool, tmp_path: Path) -> None:
    """Put, list, get, watch, remove, seal."""
    data = bytes(number * 7919 & 255 for number in range(400_000))
    source, target = tmp_path / "large.bin", tmp_path / "back.bin"
    source.write_bytes(data)
    tool.run("object", "add", "CLIOBJ")
    with tool.started("object", "watch", "CLIOBJ") as process:
        follower = Follower(process)
        put = ("object", "put", "CLIOBJ", str(source), "-f")
        follower.until("large", lambda: tool.run(*put, "--name", "large"))
        tool.run("object", "get", "CLIOBJ", "large", "-O", str(target), "-f")
        assert target.read_bytes() == data
        assert "large" in tool.run("object", "ls", "CLIOBJ")
        assert "391 KiB" in tool.run("object", "info", "CLIOBJ", "large")
        tool.run("object", "put", "CLIOBJ", "--name", "small", "-f", data=b"small")
        tool.run("object", "rm", "CLIOBJ", "small", "-f")
        follower.until("DEL")
    assert "small" not in tool.run("object", "ls", "CLIOBJ")
    tool.run("object", "seal", "CLIOBJ", "-f")
    with pytest.raises(AssertionError):
        tool.run(*put, "--name", "late")
    tool.run("object", "rm", "CLIOBJ", "-f")
    assert "CLIOBJ" not in tool.run("object", "ls")


def is_listed(tool: Tool, name: str) -> bool:
    """Whether a service is found. The command fails where there is none."""
    try:
        return name in tool.run("service", "list")
    except AssertionError:
        return False


def test_services(tool: Tool) -> None:
    """``nats service serve`` is found by list, info, ping and stats."""
    with tool.started("service", "serve", "cli-clock"):
        deadline = time.monotonic() + WAIT_S
        while not is_listed(tool, "cli-clock"):
            assert time.monotonic() < deadline
            time.sleep(0.05)
        assert "cli-clock" in tool.run("service", "info", "cli-clock")
        assert "cli-clock" in tool.run("service", "ping", "cli-clock")
        assert "cli-clock" in tool.run("service", "stats", "cli-clock")
