"""Property: bytes made by somebody clever, or by nobody, end a scan neither late nor wrong.

The last cases of the table in test_log_scan.py: payloads that are frames, heads that promise long records,
noise.
"""

import random
import time
from pathlib import Path

from shardbroker.storage import codec
from shardbroker.storage.codec import Record
from tests.storage.log_files import LOG_ID, LogBuilder, flip, mixed_log, scan


def test_crafted_payloads(tmp_path: Path) -> None:
    """A whole frame of this log within a payload is not taken for one, even in a damaged frame."""
    builder = LogBuilder(tmp_path)
    builder.messages([10])
    inner = codec.build_message_frame(LOG_ID, 3, 1, 0, [Record(3, b"evil", b"evil")], durable_lag=1)
    record = Record(2, b"s", b"12345678" * 4 + inner * 4)
    builder.sequence = 3
    builder.records([record, Record(3, b"s", b"last")], codec.MESSAGES)
    builder.sequence = 4
    builder.durable = 2
    builder.messages([20, 20])
    files = builder.finish()
    second = builder.placed[1]
    # Two bits, so that the head is not put right.
    flip(files[0][1], (second.offset + 3) * 8)
    flip(files[0][1], (second.offset + 20) * 8)
    sink, result = scan(files)
    assert all(found.subject != b"evil" for _k, _i, found, _p in sink.records)
    assert [found.sequence for _k, _i, found, _p in sink.records] == [1, 2, 3, 4, 5]
    assert result.last_index == 3


def test_crafted_bytes_take_linear_time(tmp_path: Path) -> None:
    """Megabytes of heads that promise long records: no square time."""
    builder = LogBuilder(tmp_path, capacity=8 << 20)
    builder.messages([10])
    files = builder.finish()
    trap = b"".join(
        int(size).to_bytes(4, "little")
        + b"\1\2\3\4"
        + bytes(16)
        + int(size - 40).to_bytes(8, "little")
        + bytes(8)
        for size in range(8 << 20, 48, -48)
        if size % 8 == 0
    )
    with open(files[0][1], "r+b") as file:
        file.seek(64 + builder.base)
        file.write(trap[: (8 << 20) - builder.base])
    start = time.perf_counter()
    sink, result = scan(files)
    assert time.perf_counter() - start < 3
    assert len(sink.records) == 1 and result.end_position == builder.base


def test_random_bytes(tmp_path: Path) -> None:
    """Segments of noise: an end, no exception, and no records but true ones."""
    chance = random.Random(7)
    builder = mixed_log(tmp_path)
    files = builder.finish()
    for _ in range(100):
        path = chance.choice(files)[1]
        whole = Path(path).read_bytes()
        data = bytearray(whole)
        for _ in range(chance.randrange(1, 30)):
            at, size = chance.randrange(len(data)), chance.randrange(1, 2000)
            data[at : at + size] = chance.choice(
                [bytes(size), chance.randbytes(size), data[chance.randrange(len(data)) :][:size]]
            )
        Path(path).write_bytes(data)
        sink, _result = scan(files, known_durable=chance.choice([0, builder.index - 1]))
        stored = {record.sequence: record for placed in builder.placed for record, _ in placed.records}
        assert all(stored[record.sequence] == record for _k, _i, record, _p in sink.records)
        Path(path).write_bytes(whole)
