"""A planted bug: a reader that believes leftovers of another log (or of an earlier use) where a log ends."""

from shardbroker.storage import codec
from shardbroker.storage.checksum import checksum

_HEAD = 64


def believe_leftovers(log_id: int, files: list[tuple[int, str]]) -> None:
    """Make every whole frame behind the end of the last segment one of this log."""
    if not files:
        return
    _base, path = max(files)
    with open(path, "r+b") as file:
        data = bytearray(file.read())
        at, index, term, crc = _HEAD, None, 0, 0
        while at + _HEAD <= len(data):
            try:
                frame = codec.parse_frame(bytes(data[at:]))
            except codec.DamagedFrame:
                break
            if frame.log_id != log_id or (index is not None and frame.index != index + 1):
                if index is None:
                    break
                adopt(data, at, log_id, index + 1, term, crc)
                frame = codec.parse_frame(bytes(data[at:]))
            index, term, crc = frame.index, frame.term, frame.head_crc
            at += _HEAD + len(frame.body)
        file.seek(0)
        file.write(data)


def adopt(data: bytearray, at: int, log_id: int, index: int, term: int, previous_crc: int) -> None:
    """Give a frame the identity that the log expects."""
    for offset, value, size in ((8, log_id, 4), (12, log_id, 4), (24, previous_crc, 4), (32, index, 8),
                                (56, term, 4), (60, 1, 4)):  # fmt: skip
        data[at + offset : at + offset + size] = value.to_bytes(size, "little")
    data[at + 4 : at + 8] = checksum(bytes(data[at + 8 : at + _HEAD])).to_bytes(4, "little")
