"""The 64 bytes a segment file begins with (struct SegmentHead in frame.pxd), for Python code."""

import struct
from dataclasses import dataclass

from shardbroker.storage.checksum import checksum

SIZE = 64
_MAGIC = 0x31534253
_VERSION = 1
_CHECKED = struct.Struct("<II")
_FIELDS = struct.Struct("<IIQQQIIQQ")

assert _CHECKED.size + _FIELDS.size == SIZE


class DamagedHead(ValueError):
    """Not a segment head that can be believed; the text says why."""


@dataclass(frozen=True, slots=True)
class SegmentHead:
    """What a segment says of itself; the fields are explained in frame.pxd."""

    log_id: int
    base: int
    first_index: int
    capacity: int
    term: int
    previous_crc: int
    created_ns: int

    def encode(self) -> bytes:
        """The bytes on disk."""
        fields = _FIELDS.pack(
            _VERSION, self.log_id, self.base, self.first_index, self.capacity,
            self.term, self.previous_crc, self.created_ns, 0,
        )  # fmt: skip
        return _CHECKED.pack(_MAGIC, checksum(fields)) + fields


def decode(data: bytes) -> SegmentHead:
    """The head in the first bytes of a segment file. Raises DamagedHead."""
    if len(data) < SIZE:
        raise DamagedHead(f"the file has only {len(data)} bytes of its head")
    magic, crc = _CHECKED.unpack_from(data)
    if magic != _MAGIC:
        raise DamagedHead("the file does not begin like a segment")
    if checksum(data[_CHECKED.size : SIZE]) != crc:
        raise DamagedHead("the head has a wrong checksum")
    version, log_id, base, first_index, capacity, term, previous_crc, created_ns, _ = _FIELDS.unpack_from(
        data, _CHECKED.size
    )
    if version != _VERSION:
        raise DamagedHead(f"the head has version {version}, this program knows {_VERSION}")
    return SegmentHead(log_id, base, first_index, capacity, term, previous_crc, created_ns)
