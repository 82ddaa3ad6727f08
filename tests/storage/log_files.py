"""Builds logs for the tests of recovery, and compares what a scan gives with what was in them."""

import random
from dataclasses import dataclass
from pathlib import Path

from shardbroker.storage import codec
from shardbroker.storage.codec import Record
from shardbroker.storage.collecting_sink import CollectingSink
from shardbroker.storage.log_scan import LogScan, ScanResult

LOG_ID = 0x5EED
SEGMENT_CAPACITY = 16 << 10  # bytes: small, so that a log of some hundred messages has several segments
HEAD = 64


@dataclass(frozen=True)
class Placed:
    """A frame, and where it is: `segment` counts from 0, `offset` is in the file."""

    index: int
    kind: int
    segment: int
    offset: int
    size: int
    records: tuple[tuple[Record, int], ...]  # with offsets in the file


class LogBuilder:
    """Writes frames one behind the other; `durable_lag` says how far behind the durable index is."""

    def __init__(self, folder: Path, log_id: int = LOG_ID, capacity: int = SEGMENT_CAPACITY, term: int = 1):
        self.folder, self.log_id, self.capacity, self.term = folder, log_id, capacity, term
        self.index, self.crc, self.sequence = 1, 0, 1
        self.base, self.used, self.first_index, self.first_crc = 0, 0, 1, 0
        self.parts: list[bytes] = []
        self.files: list[tuple[int, str]] = []
        self.placed: list[Placed] = []
        self.durable = 0  # index

    def messages(self, sizes: list[int], kind: int = codec.MESSAGES, headers: bytes = b"") -> Placed:
        """A frame of new records with payloads of these sizes."""
        records = [
            Record(
                self.sequence + i, b"s.%d" % (i % 7), payload_of(self.sequence + i, size), headers, 1000 + i
            )
            for i, size in enumerate(sizes)
        ]
        self.sequence += len(records)
        return self.records(records, kind)

    def records(self, records: list[Record], kind: int) -> Placed:
        """A frame of the given records."""
        body = b"".join(codec.build_record(record) for record in records)
        return self.add(kind, body, records[0].sequence, records)

    def other(self, kind: int, body: bytes) -> Placed:
        """A frame without records."""
        return self.add(kind, body, self.sequence - 1, [])

    def add(self, kind: int, body: bytes, first_sequence: int, records: list[Record]) -> Placed:
        """Append one frame, to a new segment if it does not fit."""
        frame = codec.build_frame(
            kind, self.log_id, self.index, self.term, self.crc, body, first_sequence=first_sequence,
            count=len(records), durable_lag=self.index - self.durable,
        )  # fmt: skip
        if self.used + len(frame) > self.capacity:
            self.roll()
        offset = HEAD + self.used
        at, placed = offset + HEAD, []
        for record in records:
            placed.append((record, at))
            at += len(codec.build_record(record))
        result = Placed(self.index, kind, len(self.files), offset, len(frame), tuple(placed))
        self.placed.append(result)
        self.parts.append(frame)
        self.used += len(frame)
        self.crc = int.from_bytes(frame[4:8], "little")
        self.index += 1
        return result

    def roll(self) -> None:
        """Write the segment, and begin the next."""
        path = self.folder / f"{self.base:016x}.seg"
        head = codec.segment_head(
            self.log_id, self.base, self.first_index, self.capacity, self.term, self.first_crc
        )
        data = head + b"".join(self.parts)
        path.write_bytes(data + bytes(HEAD + self.capacity - len(data)))
        self.files.append((self.base, str(path)))
        self.base += self.used
        self.used, self.parts, self.first_index, self.first_crc = 0, [], self.index, self.crc

    def finish(self) -> list[tuple[int, str]]:
        """Write the last segment; gives (base, path) of all."""
        self.roll()
        return self.files


def payload_of(sequence: int, size: int) -> bytes:
    """Bytes that only this sequence has."""
    return random.Random(sequence).randbytes(size)


def mixed_log(folder: Path, frames: int = 60, seed: int = 1, all_durable: bool = True) -> LogBuilder:
    """A log of all kinds of frames over several segments. The last frames may not be known durable."""
    builder = LogBuilder(folder)
    chance = random.Random(seed)
    for number in range(frames):
        builder.durable = builder.index - 1 if all_durable or number < frames * 2 // 3 else builder.durable
        if number % 11 == 5:
            builder.other(codec.NOTE, b"\1\0\0\0\4\0\0\0note")
        elif number % 17 == 9:
            builder.other(codec.SKIP, (builder.sequence).to_bytes(8, "little"))
        elif number % 13 == 7:
            builder.messages([chance.randrange(300) for _ in range(3)], codec.BATCH)
            builder.messages([chance.randrange(300) for _ in range(2)], codec.BATCH)
            builder.messages([chance.randrange(300)], codec.BATCH_COMMIT, b"NATS/1.0\r\nA: b\r\n\r\n")
        else:
            builder.messages([chance.randrange(400) for _ in range(chance.randrange(1, 7))])
    return builder


def scan(files: list[tuple[int, str]], known_durable: int = 0) -> tuple[CollectingSink, ScanResult]:
    """Read a log into lists."""
    sink = CollectingSink()
    return sink, LogScan(LOG_ID, files, known_durable, make_durable=False).run(sink)


def flip(path: str, bit: int) -> None:
    """Turn one bit of a file over."""
    with open(path, "r+b") as file:
        file.seek(bit >> 3)
        byte = file.read(1)[0]
        file.seek(bit >> 3)
        file.write(bytes([byte ^ (1 << (bit & 7))]))


def lost_sequences(sink: CollectingSink, highest: int) -> set[int]:
    """What the sink was told; an open end goes up to `highest`."""
    return {
        sequence
        for first, last, _reason in sink.lost
        if first
        for sequence in range(first, (last or highest) + 1)
    }


def check_invariants(
    builder: LogBuilder, sink: CollectingSink, result: ScanResult, may_be_cut: int, lost_at_most: int
) -> set[int]:
    """No wrong bytes, no record twice, at most so many lost, each told, none to be given again.

    Sequences from `may_be_cut` on were not known durable: the end of the log may lie before them. Gives the
    sequences that are gone without being cut.
    """
    stored = {record.sequence: record for placed in builder.placed for record, _ in placed.records}
    found: set[int] = set()
    for _kind, _index, record, position in sink.records:
        assert stored[record.sequence] == record, f"wrong bytes at {position}"
        assert record.sequence not in found, f"{record.sequence} is there twice"
        found.add(record.sequence)
    durable = {sequence for sequence in stored if sequence < may_be_cut}
    gone = durable - found
    told = lost_sequences(sink, builder.sequence)
    assert len(gone) <= lost_at_most, f"lost {sorted(gone)}, told {sink.lost}"
    assert gone <= told, f"{sorted(gone - told)} not told, but {sink.lost}"
    assert not told & found, f"told as lost and there: {told & found}"
    assert result.last_sequence >= max(durable, default=0) or result.sequence_in_doubt
    return gone
