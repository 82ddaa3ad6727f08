"""Slots: small values that are always there, whatever happens while they are written.

A value lives in two files, A and B. Writing overwrites the one with the older generation and syncs it, so the
newer one is untouched until the older one is whole. Reading takes the valid slot with the higher generation.

    magic 8 bytes, version u32, crc u32 (of everything behind it), generation u64, body size u32, 0 u32, body

Bytes behind the body are left over from a longer one and mean nothing. The body is JSON, but that is the
business of whoever made it: this file neither reads nor writes files, and does not look inside.
"""

import struct

from shardbroker.storage.checksum import checksum

MAGIC = b"SBslot\r\n"
VERSION = 1
#: Bytes of a body; a stream's configuration with 10,000 subjects is well below.
BODY_SIZE_MAX = 16 << 20

_HEAD = struct.Struct("<8sII")
_COVERED = struct.Struct("<QII")
HEAD_SIZE = _HEAD.size + _COVERED.size


class DamagedSlot(ValueError):
    """Not a slot that can be believed; the text says why."""


def encode(generation: int, body: bytes) -> bytes:
    """The bytes of one slot."""
    assert len(body) <= BODY_SIZE_MAX
    covered = _COVERED.pack(generation, len(body), 0) + body
    return _HEAD.pack(MAGIC, VERSION, checksum(covered)) + covered


def decode(data: bytes) -> tuple[int, bytes]:
    """Generation and body. Raises DamagedSlot."""
    if len(data) < HEAD_SIZE:
        raise DamagedSlot(f"has {len(data)} bytes, which is too short")
    magic, version, crc = _HEAD.unpack_from(data)
    if magic != MAGIC:
        raise DamagedSlot("does not begin like a slot")
    if version != VERSION:
        raise DamagedSlot(f"has version {version}, this program knows {VERSION}")
    generation, size, zero = _COVERED.unpack_from(data, _HEAD.size)
    if size > BODY_SIZE_MAX or zero or len(data) < HEAD_SIZE + size:
        raise DamagedSlot(f"says its body has {size} bytes, which are not there")
    if checksum(memoryview(data)[_HEAD.size : HEAD_SIZE + size]) != crc:
        raise DamagedSlot("has a wrong checksum")
    return generation, data[HEAD_SIZE : HEAD_SIZE + size]


class Slots:
    """What two slots together say. ``contents``: the bytes of A and B, None for a file that is not there."""

    def __init__(self, contents: list[bytes | None] | tuple[bytes | None, bytes | None]):
        self.generation = 0
        self.body: bytes | None = None
        #: Which of the two is the newest valid one; -1: none is.
        self.newest = -1
        self.damage: list[str] = []
        for slot, data in enumerate(contents):
            if data is None:
                continue
            try:
                generation, body = decode(data)
            except DamagedSlot as error:
                self.damage.append(f"slot {'AB'[slot]} {error}")
                continue
            if self.newest < 0 or generation > self.generation:
                self.generation, self.body, self.newest = generation, body, slot

    @property
    def next_slot(self) -> int:
        """The one to overwrite: never the newest valid one."""
        return 1 - self.newest if self.newest >= 0 else 0
