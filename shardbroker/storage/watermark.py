"""The watermark of a log: an index that was durable for sure, kept outside the log itself.

A bad frame is rot and not a torn tail if a later frame says that it was durable. The last frames of a log
have none behind them, so the writer puts down how far an idle log is. Without it the rot of a log's end would
pass for what a power failure cuts off, and be told to nobody.

The file holds two records, written in turn and not synced: the claim is true already when it is written, and
an older one that a power failure leaves is true as well. Only when the end of the log is cut off the claims
are lowered, both, and synced.

    record: magic u32, crc u32 of the rest, index u64; at 0 and at 512, for a sector is written whole
"""

import struct

from shardbroker.storage.checksum import checksum
from shardbroker.storage.disk import Disk, read_file, write_all

FILE = "watermark"
_MAGIC = 0x4D574253
_RECORD = struct.Struct("<IIQ")
_PLACES = (0, 512)


def read_watermark(disk: Disk, directory: str) -> int:
    """The index; 0 when nothing is known. Never raises for what is in the file, or that it is not there."""
    try:
        data = read_file(disk, f"{directory}/{FILE}") or b""
    except OSError:
        return 0
    return max(_index(data, place) for place in _PLACES)


def write_watermark(disk: Disk, directory: str, index: int) -> None:
    """Put ``index`` down, over the older record. Raises OSError."""
    path = f"{directory}/{FILE}"
    data = read_file(disk, path)
    fd = disk.create(path) if data is None else disk.open(path)
    try:
        place = min(_PLACES, key=lambda place: _index(data or b"", place))
        write_all(disk, fd, _record(index), place)
    finally:
        disk.close(fd)


def lower_watermark(disk: Disk, directory: str, index: int) -> None:
    """Claim ``index``, which is durable, and nothing above it any more: what is behind it is cut off.

    Durable when it returns. What is no whole record is overwritten too: it may be the half of a higher claim,
    which a later write that is torn would complete. Raises OSError.
    """
    path = f"{directory}/{FILE}"
    if not disk.exists(path):
        return
    fd = disk.open(path)
    try:
        for place in _PLACES:
            write_all(disk, fd, _record(index), place)
        disk.fdatasync(fd)
    finally:
        disk.close(fd)


def _record(index: int) -> bytes:
    rest = struct.pack("<Q", index)
    return struct.pack("<II", _MAGIC, checksum(rest)) + rest


def _index(data: bytes, place: int) -> int:
    if len(data) < place + _RECORD.size:
        return 0
    magic, crc, index = _RECORD.unpack_from(data, place)
    rest = data[place + 8 : place + _RECORD.size]
    return index if magic == _MAGIC and checksum(rest) == crc else 0
