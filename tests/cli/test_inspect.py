"""Property: `shardbroker inspect` reads a store, says what is wrong with it, and changes nothing."""

import errno
import json
import os
import struct
import subprocess
import sys
from pathlib import Path

import pytest

from shardbroker.cli.inspect import inspect
from shardbroker.storage import codec, layout, metadata
from shardbroker.storage.disk import Disk
from shardbroker.storage.store import Store
from shardbroker.storage.watermark import write_watermark
from tests.storage.log_files import LOG_ID, LogBuilder, mixed_log


@pytest.fixture
def store(tmp_path) -> Path:
    """A store with one stream."""
    store = Store(Disk(), str(tmp_path))
    store.open()
    store.create_log(LOG_ID, b'{"account":"$G","name":"ORDERS"}')
    store.close()
    mixed_log(Path(store.log_path(LOG_ID))).finish()
    return tmp_path


def log_path(store: Path) -> Path:
    return store / layout.STORE_DIRECTORY / layout.LOGS / layout.log_name(LOG_ID)


def contents(store: Path) -> dict[str, bytes]:
    """Everything, to see that nothing changes."""
    return {str(path): path.read_bytes() for path in sorted(store.rglob("*")) if path.is_file()}


def test_whole_store(store, capsys) -> None:
    """A table, and the same as JSON."""
    before = contents(store)
    assert inspect([str(store)]) == 0
    text = capsys.readouterr().out
    assert "ORDERS" in text and "1 logs, all good" in text
    assert inspect([str(store / layout.STORE_DIRECTORY), "--json", "--verify"]) == 0
    found = json.loads(capsys.readouterr().out)
    [log] = found["logs"]
    assert found["good"] and (log["account"], log["stream"], log["state"]) == ("$G", "ORDERS", "good")
    assert log["records"] == log["last_sequence"] > 100 and log["first_sequence"] == 1
    assert contents(store) == before


def test_nothing_is_opened_for_writing(store, capsys, monkeypatch) -> None:
    """Or a read-only mount would hide what the watermark knows: that the end of the log is gone."""
    directory = log_path(store)
    write_watermark(Disk(), str(directory), 1 << 20)
    real_open = os.open

    def open_on_a_read_only_mount(path, flags, *rest, **more):
        if flags & os.O_ACCMODE != os.O_RDONLY:
            raise OSError(errno.EROFS, os.strerror(errno.EROFS), path)
        return real_open(path, flags, *rest, **more)

    monkeypatch.setattr(os, "open", open_on_a_read_only_mount)
    assert inspect([str(store)]) == 1
    assert "lost: sequences from" in capsys.readouterr().out


def test_a_log_that_is_being_cut_is_told_and_not_read(store, capsys) -> None:
    """Half of its end may be gone, which is no damage."""
    directory = store / layout.STORE_DIRECTORY / layout.CUTS
    (directory / layout.log_name(LOG_ID)).write_bytes(b"")
    assert inspect([str(store)]) == 0
    text = capsys.readouterr().out
    assert "note: not read: its end is being cut off" in text and "lost" not in text


def test_lost_message(store, capsys) -> None:
    """A flipped bit is told with its sequence, and is no secret to scripts."""
    [path, *_] = sorted(log_path(store).glob("*.seg"))
    data = bytearray(path.read_bytes())
    data[64 + 64 + 60] ^= 1
    path.write_bytes(data)
    assert inspect([str(store)]) == 1
    text = capsys.readouterr().out
    assert "lost: sequence 1 (" in text and "1 logs, 1 with damage" in text
    assert inspect([str(store), "--json"]) == 1
    assert json.loads(capsys.readouterr().out)["logs"][0]["lost"][0][:2] == [1, 1]


def test_deleted_message(tmp_path, capsys) -> None:
    """What was overwritten because it was deleted is no loss; what is damaged beside it is."""
    store = Store(Disk(), str(tmp_path))
    store.open()
    store.create_log(LOG_ID, b'{"account":"$G","name":"ORDERS"}')
    store.close()
    builder = LogBuilder(Path(store.log_path(LOG_ID)))
    placed = builder.messages([100] * 6)
    builder.other(codec.DELETE, struct.pack("<QQ", 2, 2))
    builder.finish()
    write_watermark(Disk(), str(log_path(tmp_path)), 2)
    [path, *_] = sorted(log_path(tmp_path).glob("*.seg"))
    data = bytearray(path.read_bytes())
    for _record, offset in placed.records[1:3]:
        data[offset : offset + 120] = bytes(120)
    path.write_bytes(data)
    assert inspect([str(tmp_path), "--verify"]) == 0
    assert "all good" in capsys.readouterr().out
    data[placed.records[3][1] + 60] ^= 1
    path.write_bytes(data)
    assert inspect([str(tmp_path), "--verify"]) == 1
    assert "lost: sequence 4 (" in capsys.readouterr().out


def test_lost_end(store, capsys) -> None:
    """A log that ends before what its watermark says was durable has lost its end."""
    path = sorted(log_path(store).glob("*.seg"))[-1]
    path.write_bytes(path.read_bytes()[:300])
    assert inspect([str(store)]) == 0  # for all that is known, it was never acknowledged
    write_watermark(Disk(), str(log_path(store)), 80)
    assert inspect([str(store)]) == 1
    assert "on (" in capsys.readouterr().out


def test_damaged_metadata(store, capsys) -> None:
    """One slot is a note, both are damage; the messages are counted all the same."""
    one, two = (log_path(store) / name for name in layout.CONFIG_SLOTS)
    two.write_bytes(one.read_bytes()[:20])
    assert inspect([str(store)]) == 0
    assert "note: slot B" in capsys.readouterr().out
    one.write_bytes(b"")
    assert inspect([str(store), "--json"]) == 1
    [log] = json.loads(capsys.readouterr().out)["logs"]
    assert log["state"] == "damaged" and log["records"] > 100


def test_log_by_name(store, capsys) -> None:
    """By stream, by account and stream, by id; an unknown one is an error of its own."""
    other = log_path(store).with_name(layout.log_name(9))
    other.mkdir()
    (other / "config.a").write_bytes(metadata.encode(1, b'{"account":"$G","name":"A\\u001b[2J"}'))
    LogBuilder(other, log_id=9).finish()
    for name in ("ORDERS", "$G/ORDERS", layout.log_name(LOG_ID)):
        assert inspect([str(store), "--json", "--log", name]) == 0
        assert [log["stream"] for log in json.loads(capsys.readouterr().out)["logs"]] == ["ORDERS"]
    assert inspect([str(store), "--log", "nothing"]) == 2
    assert inspect([str(store)]) == 0
    assert "\x1b" not in capsys.readouterr().out


def test_no_store(tmp_path, capsys) -> None:
    """The remedy is in the text."""
    assert inspect([str(tmp_path / "nothing")]) == 2
    assert "-sd" in capsys.readouterr().err


def test_store_in_use(store, capsys) -> None:
    """A running broker is no hindrance."""
    running = Store(Disk(), str(store))
    running.open()
    assert inspect([str(store)]) == 0
    assert "running" in capsys.readouterr().err
    running.close()


def test_command(store) -> None:
    """From the command line."""
    command = [sys.executable, "-m", "shardbroker", "inspect", str(store)]
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ, check=False)
    assert done.returncode == 0 and "ORDERS" in done.stdout, done
