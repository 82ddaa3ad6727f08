"""A reader of logs with mistakes for test_crash_states.py to find: no checksums, or an end at any error."""

from dataclasses import dataclass, field

from shardbroker.storage import codec
from shardbroker.storage.codec import Record


@dataclass
class NaiveResult:
    last_index: int = 0
    last_crc: int = 0
    last_sequence: int = 0
    end_position: int = 0
    lost: list = field(default_factory=list)
    leftover_paths: list = field(default_factory=list)


class NaiveSink:
    def __init__(self):
        self.records = []


def naive_scan(log_id: int, files: list[tuple[int, str]], checked: bool) -> tuple[NaiveSink, NaiveResult]:
    """A reader that trusts sizes, or that stops at whatever is wrong."""
    sink, result = NaiveSink(), NaiveResult()
    for base, path in sorted(files):
        with open(path, "rb") as file:
            data = file.read()
        at = 64
        while at + 64 <= len(data):
            head = data[at : at + 64]
            size = int.from_bytes(head[16:20], "little")
            if head[:4] != b"SBF1" or head[8:12] != log_id.to_bytes(4, "little"):
                break
            frame = data[at : at + 64 + size]
            try:
                parsed = codec.parse_frame(frame if checked else resealed(frame))
            except codec.DamagedFrame:
                break
            at += 64
            for record in parsed.records:
                sink.records.append((parsed.kind, parsed.index, record, base + at - 64))
                result.last_sequence = max(result.last_sequence, record.sequence)
                at += len(codec.build_record(record))
            result.last_index = parsed.index
            at = at if parsed.records else at + size
    return sink, result


def resealed(frame: bytes) -> bytes:
    """The frame with whatever checksums make it pass: reading without a check."""
    head = frame[:64]
    kind, count = int.from_bytes(head[28:30], "little"), int.from_bytes(head[30:32], "little")
    index, first = int.from_bytes(head[32:40], "little"), int.from_bytes(head[40:48], "little")
    records, at = [], 64
    while at + 40 <= len(frame) and kind == codec.MESSAGES:
        size, header, payload, subject = (
            int.from_bytes(frame[at + a : at + b], "little")
            for a, b in ((0, 4), (24, 28), (28, 32), (32, 34))
        )
        if not 40 <= size <= len(frame) - at:
            break
        start = at + 40 + subject + header
        sequence = int.from_bytes(frame[at + 8 : at + 16], "little")
        text = frame[at + 40 : at + 40 + subject]
        records.append(Record(sequence, text, frame[start : start + payload], b"", 7))
        at += size
    body = b"".join(map(codec.build_record, records)) if records else frame[64:]
    log_id = int.from_bytes(head[8:12], "little")
    return codec.build_frame(
        kind, log_id, index, 1, 0, body, first_sequence=first, count=len(records) if records else count
    )
