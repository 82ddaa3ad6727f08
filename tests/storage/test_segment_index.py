"""Property: a scan that takes indexes makes the calls of one that reads the segments, payloads apart; and an
index that is damaged, foreign or old is never believed.

Compared are all calls of the two scans, in order, with positions. Indexes are damaged at every byte, cut,
exchanged, and made of noise under a right checksum.
"""

import random
import struct
from dataclasses import replace
from pathlib import Path

import pytest

from shardbroker.storage import codec
from shardbroker.storage.checksum import checksum
from shardbroker.storage.codec import Record
from shardbroker.storage.collecting_sink import CollectingSink
from shardbroker.storage.index_files import build_index, index_path
from shardbroker.storage.log_scan import LogScan
from tests.storage.log_files import LOG_ID, LogBuilder, mixed_log

HEAD = struct.Struct("<IIIIQQQQQIIIIQ")


def add_indexes(files: list[tuple[int, str]]) -> int:
    """Write the indexes of all but the last segment; gives how many there are."""
    count = 0
    for base, path in files[:-1]:
        data = build_index(LOG_ID, base, path)
        if data is not None:
            Path(index_path(path)).write_bytes(data)
            count += 1
    return count


def run(files: list[tuple[int, str]], use_indexes: bool) -> tuple:
    """(records without payload, frames, losses, result)."""
    sink = CollectingSink()
    result = LogScan(LOG_ID, files, use_indexes=use_indexes, make_durable=False).run(sink)
    records = [(kind, index, outline(record), position) for kind, index, record, position in sink.records]
    return records, sink.frames, sink.lost, result


def outline(record: Record) -> Record:
    """What an index keeps of a record."""
    headers = record.headers if record.flags else b""
    return replace(record, payload=bytes(len(record.payload)), headers=headers)


@pytest.fixture
def files(tmp_path) -> list[tuple[int, str]]:
    """A log of several segments with all that a record may have."""
    builder = mixed_log(tmp_path)
    chance = random.Random(4)
    for number in range(40):
        records = [
            Record(
                builder.sequence + n,
                chance.choice(
                    [b"a", b"orders.%d" % chance.randrange(20), b"x" * 5000 if number == 7 else b"b"]
                ),
                bytes(chance.randrange(200)),
                chance.choice([b"", b"NATS/1.0\r\nNats-Msg-Id: %d\r\n\r\n" % number]),
                1_700_000_000_000_000_000 + number * 1_000_000 + n,
                chance.choice([0, 0, codec.HAS_ID, codec.HAS_TTL | codec.MARKER]),
                chance.choice([0, 0, 3600]),
            )
            for n in range(3)
        ]
        builder.sequence += 3
        builder.records(records, codec.MESSAGES)
        if number % 5 == 0:
            builder.records(records[:1], codec.RELOCATED)
            builder.other(codec.DELETE, struct.pack("<QQ", builder.sequence - 1, 1))
    return builder.finish()


def test_same_calls(files) -> None:
    """With indexes and without."""
    assert add_indexes(files) >= 4
    with_indexes, without = run(files, True), run(files, False)
    assert with_indexes == without and with_indexes[3].notes == []
    # The indexes were taken: payloads are zeros.
    sink = CollectingSink()
    LogScan(LOG_ID, files, make_durable=False).run(sink)
    assert sum(not any(record.payload) for _k, _i, record, _p in sink.records) > len(sink.records) // 3


def test_every_byte(files) -> None:
    """Any changed byte, and any cut, of an index: told as a note, and the segment is read."""
    add_indexes(files)
    expected = run(files, False)
    path = Path(index_path(files[0][1]))
    data = path.read_bytes()
    damaged = [data[:at] + bytes([data[at] ^ 0x10]) + data[at + 1 :] for at in range(0, len(data), 7)]
    damaged += [data[:size] for size in range(0, len(data), 97)] + [data + b"\0"]
    for number, changed in enumerate(damaged):
        path.write_bytes(changed)
        found = run(files, True)
        assert found[:3] == expected[:3], number
        assert len(found[3].notes) == 1 and "index" in found[3].notes[0], number
        assert replace(found[3], notes=[]) == expected[3], number


def test_index_of_another_segment(files) -> None:
    """Exchanged, or of another log: it does not fit."""
    add_indexes(files)
    expected = run(files, False)
    one, two = [path for _base, file in files if (path := Path(index_path(file))).exists()][:2]
    first, second = one.read_bytes(), two.read_bytes()
    one.write_bytes(second)
    two.write_bytes(first)
    found = run(files, True)
    assert found[:3] == expected[:3] and 1 <= len(found[3].notes) <= 2


def test_segment_gone_but_its_index_there(files) -> None:
    """Nothing of an index is believed without the payloads: the loss is told."""
    add_indexes(files)
    Path(files[1][1]).unlink()
    _records, _frames, lost, result = run(files, True)
    assert lost == run(files, False)[2] != []
    with open(files[2][1], "r+b") as file:
        file.truncate(5000)
    assert len(run(files, True)[2]) > len(lost) and result.notes


def test_no_index_of_what_is_not_whole(tmp_path) -> None:
    """A damaged segment, and one within whose last batch the next one begins."""
    builder = LogBuilder(tmp_path)
    builder.messages([100])
    builder.messages([100], codec.BATCH)
    builder.roll()
    builder.messages([100], codec.BATCH_COMMIT)
    builder.durable = 3
    builder.messages([100])
    builder.roll()
    builder.messages([100])
    files = builder.finish()
    assert build_index(LOG_ID, *files[0]) is None
    assert build_index(LOG_ID, *files[1]) is not None
    data = bytearray(Path(files[1][1]).read_bytes())
    data[150] ^= 1
    Path(files[1][1]).write_bytes(data)
    assert build_index(LOG_ID, *files[1]) is None
    assert build_index(LOG_ID, 0, str(tmp_path / "nothing")) is None


def test_noise_under_a_right_checksum(files) -> None:
    """Whatever an index says, the scan comes to an end; what makes no sense is told."""
    add_indexes(files)
    chance = random.Random(9)
    path = Path(index_path(files[0][1]))
    whole = path.read_bytes()
    expected = run(files, False)[3]
    senseless = 0
    for number in range(1500):
        body = bytearray(whole[HEAD.size :])
        if number % 3 == 0:
            body = bytearray(chance.randbytes(chance.randrange(3000)))
        for _ in range(chance.randrange(1, 6)):
            if body:
                body[chance.randrange(len(body))] = chance.randrange(256)
        fields = list(HEAD.unpack_from(whole))
        fields[12], fields[13] = checksum(bytes(body)), len(body)
        head = HEAD.pack(*fields)
        path.write_bytes(head[:4] + struct.pack("<I", checksum(head[8:])) + head[8:] + body)
        sink = CollectingSink()
        result = LogScan(LOG_ID, files, make_durable=False).run(sink)
        assert result.last_index == expected.last_index
        senseless += bool(sink.lost)
    assert senseless > 300
