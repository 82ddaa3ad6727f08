"""Fuzzes the readers of the store: segments, their indexes and their heads, changed at random.

    python -m tests.fuzz.fuzz_log --executions 100000

The invariants: a scan ends, raises nothing, gives no record that was not written, tells each durable record
that it does not give, and finds the same when it is run again. A failure prints the seed; ``--seed S
--executions 1`` repeats it. It then belongs into tests/storage/test_log_scan.py.
"""

import argparse
import random
import sys
import tempfile
import time
from pathlib import Path

from shardbroker.storage.collecting_sink import CollectingSink
from shardbroker.storage.index_files import build_index, index_path
from shardbroker.storage.log_scan import LogScan
from tests.storage.log_files import LOG_ID, LogBuilder, lost_sequences, mixed_log

EXECUTIONS_PER_LOG = 200  # then another log is made


def run(folder: Path, executions: int, seed: int, report=lambda line: None) -> int:
    """Execute seeds from ``seed`` on; returns how many of them cost records."""
    start, with_losses = time.perf_counter(), 0
    builder: LogBuilder | None = None
    for number in range(executions):
        if number % EXECUTIONS_PER_LOG == 0:
            builder, files = new_log(folder, seed + number)
        with_losses += execute(builder, files, seed + number)
        if (number + 1) % 10_000 == 0:
            rate = (number + 1) / (time.perf_counter() - start)
            report(f"{number + 1} executions, {with_losses} with losses, {rate:.0f} executions/s")
    return with_losses


def new_log(folder: Path, seed: int) -> tuple[LogBuilder, list[tuple[int, str]]]:
    """A log with indexes for about half of its segments."""
    for path in folder.iterdir():
        path.unlink()
    builder = mixed_log(folder, frames=30, seed=seed)
    files = builder.finish()
    for base, path in files[:-1:2]:
        index = build_index(LOG_ID, base, path)
        if index is not None:
            Path(index_path(path)).write_bytes(index)
    return builder, files


def execute(builder: LogBuilder, files: list[tuple[int, str]], seed: int) -> bool:
    """Change some bytes, scan twice, put the files back. Whether records were lost."""
    chance = random.Random(seed)
    before: dict[Path, bytes] = {}
    for _ in range(chance.choice((1, 1, 1, 2, 5))):
        path = Path(chance.choice(files)[1])
        if chance.random() < 0.2 and Path(index_path(str(path))).exists():
            path = Path(index_path(str(path)))
        before.setdefault(path, path.read_bytes())
        path.write_bytes(changed(path.read_bytes(), chance))
    try:
        known = builder.index - 1
        first, second = scan(files, known), scan(files, known)
        assert first == second, f"seed {seed}: two scans differ"
        return check(builder, first, seed)
    finally:
        for path, data in before.items():
            path.write_bytes(data)


def changed(data: bytes, chance: random.Random) -> bytes:
    """One accident: a bit, a stretch of zeros or noise, a stretch from elsewhere, a cut."""
    if not data:
        return data
    result = bytearray(data)
    at, size = chance.randrange(len(data)), chance.randrange(1, 1500)
    match chance.randrange(5):
        case 0:
            result[at] ^= 1 << chance.randrange(8)
        case 1:
            result[at : at + size] = bytes(min(size, len(data) - at))
        case 2:
            result[at : at + size] = chance.randbytes(min(size, len(data) - at))
        case 3:
            other = chance.randrange(len(data) // 8 + 1) * 8
            piece = data[other : other + size]
            result[at : at + len(piece)] = piece[: len(data) - at]
        case 4:
            del result[at:]
    return bytes(result)


def scan(files: list[tuple[int, str]], known_durable: int) -> tuple:
    """All that a scan says."""
    sink = CollectingSink()
    result = LogScan(LOG_ID, files, known_durable, make_durable=False).run(sink)
    return sink.records, sink.frames, sink.lost, result


def check(builder: LogBuilder, found: tuple, seed: int) -> bool:
    """Nothing wrong, nothing twice, and everything that is not there told."""
    records, _frames, lost, result = found
    stored = {record.sequence: record for placed in builder.placed for record, _ in placed.records}
    seen = set()
    for _kind, _index, record, position in records:
        true = stored.get(record.sequence)
        same = true is not None and (record.subject, len(record.payload)) == (true.subject, len(true.payload))
        from_index = not any(record.payload)
        assert same and (from_index or record == true), f"seed {seed}: wrong bytes at {position}"
        assert record.sequence not in seen, f"seed {seed}: {record.sequence} is there twice"
        seen.add(record.sequence)
    sink = CollectingSink()
    sink.lost.extend(lost)
    gone = stored.keys() - seen
    told = lost_sequences(sink, builder.sequence)
    assert gone <= told, f"seed {seed}: {sorted(gone - told)} gone and not told"
    assert result.last_sequence >= max(stored) or result.sequence_in_doubt, f"seed {seed}: sequences again"
    return bool(gone)


def main() -> int:
    """The command line."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    arguments.add_argument("--executions", type=int, default=100_000)
    arguments.add_argument("--seed", type=int, default=random.randrange(1 << 32))
    options = arguments.parse_args()
    print(f"seed {options.seed}")
    with tempfile.TemporaryDirectory() as folder:
        losses = run(Path(folder), options.executions, options.seed, report=print)
    print(f"{losses} of {options.executions} executions cost records, all told")
    return 0


if __name__ == "__main__":
    sys.exit(main())
