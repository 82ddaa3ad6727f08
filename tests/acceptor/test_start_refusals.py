"""What a broker with JetStream cannot start with: told in one FTL line that says what to do, exit code 1."""

import os
import subprocess
import sys

import pytest

from tests.acceptor.running import ROOT, RunningBroker


def start_refused(*flags: str, workers: int = 1) -> str:
    """The only FTL line of a broker that must not start; its text behind the level."""
    command = [sys.executable, "-m", "shardbroker", "-a", "127.0.0.1", "-p", "-1", "-js"]
    command += ["--workers", str(workers), *flags]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=30, check=False)
    assert ended.returncode == 1, ended.stderr
    assert "Server is ready" not in ended.stderr
    lines = [line.partition("[FTL] ")[2] for line in ended.stderr.splitlines() if "[FTL]" in line]
    assert len(lines) == 1, ended.stderr
    return lines[0]


def test_a_store_below_what_is_no_directory(tmp_path) -> None:
    (tmp_path / "file").touch()
    line = start_refused("-sd", str(tmp_path / "file" / "store"))
    assert "(Not a directory): check its owner and mode, or give another --store_dir" in line


def test_a_store_that_may_not_be_written(tmp_path) -> None:
    directory = str(tmp_path)
    tmp_path.chmod(0o500)
    if os.geteuid() == 0:  # whom no mode stops; nobody makes directories in /sys
        directory = "/sys/kernel/shardbroker"
    line = start_refused("-sd", directory)
    assert "cannot open the store" in line and "check its owner and mode" in line


def test_a_store_in_use(tmp_path) -> None:
    flags = ("-js", "-sd", str(tmp_path / "store"))
    broker = RunningBroker(tmp_path, *flags, module="shardbroker")
    try:
        line = start_refused("-sd", str(tmp_path / "store"))
        assert "is in use by the process with pid" in line
        assert "stop that broker, or give another --store_dir" in line
    finally:
        broker.kill()


@pytest.mark.parametrize("mark", ["$G/streams", "$SYS/_js_"])
def test_a_store_of_nats_server(tmp_path, mark: str) -> None:
    (tmp_path / "jetstream" / mark).mkdir(parents=True)
    line = start_refused("-sd", str(tmp_path))
    assert f"is a store of nats-server (it has {mark.partition('/')[0]}/)" in line
    assert "another --store_dir" in line and "nats stream backup" in line
    # And nothing was put into it.
    assert os.listdir(tmp_path / "jetstream") == [mark.partition("/")[0]]


def test_too_little_shared_memory_for_the_lanes(tmp_path) -> None:
    status = os.statvfs("/dev/shm")
    workers = 64
    size = 1 << 21
    while size * workers < status.f_blocks * status.f_frsize and size < 1 << 31:
        size *= 2
    if size * workers < status.f_bavail * status.f_frsize:
        pytest.skip(f"/dev/shm has room for {workers} lanes of {size} bytes")
    line = start_refused("-sd", str(tmp_path), "--lane_size", str(max(size, 1 << 22)), workers=workers)
    assert line.startswith("/dev/shm has ") and "--lane_size" in line


@pytest.mark.parametrize(
    ("flags", "text"),
    [
        (("--lane_size", "5mb"), "lane_size 5242880 should be a power of two of at least 4194304 bytes"),
        (("--lane_size", "1mb"), "lane_size 1048576 should be a power of two of at least 4194304 bytes"),
        (("--lane_size", "4gb"), "lane_size 4294967296 cannot be higher than 2147483648"),
        (("--sync_interval", "0s"), "sync_interval should be a positive duration"),
        (("--max_file_store", "-2"), "max_file_store -2 should be a number of bytes, or -1"),
        (("--max_memory_store", "-2"), "max_memory_store -2 should be a number of bytes, or -1"),
    ],
)
def test_options_that_make_no_sense(flags: tuple[str, ...], text: str) -> None:
    from shardbroker.cli.arguments import parse_arguments
    from shardbroker.config.validation import validate
    from shardbroker.errors import ConfigError

    with pytest.raises(ConfigError, match=text):
        validate(parse_arguments(["-js", *flags]).options)
