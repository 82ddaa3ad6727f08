"""Finding client tools that are not Python packages: a node module, a C library, a Go program.

They are optional. Where one is missing its tests are skipped with the command that brings it; ``make
clients`` brings them all. Everything is kept outside git, under ``.cache/`` of the repository.
"""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.conformance.servers import REPOSITORY

CACHE = Path(os.environ.get("SHARDBROKER_CLIENT_CACHE", REPOSITORY / ".cache"))
HERE = Path(__file__).resolve().parent
# A client program that hangs is a failure, not a test that never ends.
PROGRAM_TIMEOUT_S = 60.0


def node_environment(*modules_needed: str) -> dict[str, str]:
    """Environment for node with modules of ``@nats-io``; skips if node or one of them is missing."""
    if shutil.which("node") is None:
        pytest.skip("node is not installed (Debian: apt-get install nodejs npm)")
    modules = CACHE / "js" / "node_modules"
    for name in ("transport-node", *modules_needed):
        if not (modules / "@nats-io" / name).is_dir():
            pytest.skip(f"no @nats-io/{name} under {modules}: make clients")
    return {**os.environ, "NODE_PATH": str(modules)}


def nats_cli() -> str:
    """The nats command; skips if there is none."""
    cached = CACHE / "bin" / "nats"
    found = str(cached) if cached.exists() else shutil.which("nats")
    if found is None:
        pytest.skip("no nats command: make clients (needs Go)")
    return found


def compiled_c_client(directory: Path, source: str = "client.c") -> Path:
    """A C test program, compiled into ``directory``; skips without compiler or library."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        pytest.skip("no C compiler")
    program = directory / "c_client"
    command = [compiler, "-O1", "-Wall", str(HERE / "c" / source), "-o", str(program), "-lnats"]
    result = subprocess.run(command, capture_output=True, text=True, timeout=PROGRAM_TIMEOUT_S)
    if result.returncode != 0 and ("nats.h" in result.stderr or "-lnats" in result.stderr):
        pytest.skip("no libnats (Debian: apt-get install libnats-dev)")
    assert result.returncode == 0, result.stderr
    return program


def run(command: list[str], *, environment: dict[str, str] | None = None, data: bytes | None = None) -> str:
    """Run a client program to its end and return what it printed; fail with all of it if it failed."""
    result = subprocess.run(
        command, input=data, stdin=subprocess.DEVNULL if data is None else None, capture_output=True,
        timeout=PROGRAM_TIMEOUT_S, env=environment,
    )  # fmt: skip
    text = result.stdout.decode(errors="replace") + result.stderr.decode(errors="replace")
    assert result.returncode == 0, f"{' '.join(command)} ended with {result.returncode}:\n{text}"
    return text
