"""Property: the nats command line tool manages streams and publishes to them, with two workers."""

import json

import pytest

from tests.conformance.servers import Server
from tests.conformance.test_nats_cli import Tool


@pytest.fixture
def tool(jetstream_broker: Server) -> Tool:
    """The command against the shared server."""
    return Tool(jetstream_broker)


def add(tool: Tool, name: str, *more: str) -> str:
    """``nats stream add`` with defaults."""
    return tool.run("stream", "add", name, "--subjects", f"{name}.>", "--defaults", *more)


def state(tool: Tool, name: str) -> dict:
    """``nats stream info`` as JSON, the state in it."""
    return json.loads(tool.run("stream", "info", name, "--json"))["state"]


def test_add_edit_list_remove(tool: Tool) -> None:
    """A stream's life."""
    assert "Stream CLIA was created" in add(tool, "CLIA")
    assert "Maximum Messages: unlimited" in tool.run("stream", "info", "CLIA")
    assert "1,234" in tool.run("stream", "edit", "CLIA", "--max-msgs", "1234", "-f")
    assert "CLIA" in tool.run("stream", "ls", "--all")
    assert "CLIA" in tool.run("stream", "report")
    assert "CLIA" in tool.run("stream", "find")
    tool.run("stream", "rm", "CLIA", "-f")
    assert "CLIA" not in tool.run("stream", "ls", "--all", "--names")
    with pytest.raises(AssertionError, match="could not pick a Stream"):
        tool.run("stream", "info", "CLIA")


def test_publish_get_purge(tool: Tool) -> None:
    """Messages go in, are shown, and are removed."""
    add(tool, "CLIM")
    assert "Stored in Stream: CLIM Sequence: 1" in tool.run("pub", "--jetstream", "CLIM.a", "hello")
    tool.run("pub", "--jetstream", "CLIM.b", "body {{Count}}", "--count", "5")
    assert "hello" in tool.run("stream", "get", "CLIM", "1")
    assert "body 5" in tool.run("stream", "get", "CLIM", "--last-for", "CLIM.b")
    assert "CLIM.b" in tool.run("stream", "subjects", "CLIM")
    tool.run("stream", "rmm", "CLIM", "2", "-f")
    assert state(tool, "CLIM")["num_deleted"] == 1
    tool.run("stream", "purge", "CLIM", "-f", "--subject", "CLIM.b")
    assert state(tool, "CLIM")["messages"] == 1
    tool.run("stream", "purge", "CLIM", "-f")
    assert state(tool, "CLIM")["messages"] == 0
    assert "CLIM" in tool.run("stream", "state", "CLIM")
    tool.run("stream", "seal", "CLIM", "-f")
    with pytest.raises(AssertionError, match="invalid operation on sealed stream"):
        tool.run("pub", "--jetstream", "CLIM.a", "hello")


def test_account_and_checks(tool: Tool) -> None:
    """What an operator looks at."""
    add(tool, "CLIC")
    assert "JetStream Account Information" in tool.run("account", "info")
    report = json.loads(tool.run("server", "check", "jetstream", "--format", "json"))
    assert report["status"] == "OK", report
    report = json.loads(tool.run("server", "check", "stream", "--stream", "CLIC", "--format", "json"))
    assert report["status"] == "OK", report


@pytest.mark.parametrize("way", ["sync", "async", "batch"])
@pytest.mark.parametrize("storage", ["file", "memory"])
def test_bench(tool: Tool, way: str, storage: str) -> None:
    """``nats bench js pub`` in all its ways; every message is stored."""
    name = f"CLIB{way}{storage}"
    count = 200 if way == "sync" else 5000
    more = ["--batch", "100"] if way != "sync" else []
    flags = ["--create", "--stream", name, "--storage", storage, "--no-progress", "--msgs", str(count)]
    output = tool.run("bench", "js", "pub", way, f"bench.{name}", "--size", "64", *flags, *more)
    assert "publisher stats" in output, output
    assert state(tool, name)["messages"] == count
