"""Who this server is: a public server nkey and a public curve key, new at each start.

An nkey is base32 of: prefix byte, 32 bytes of public key, CRC-16 (XMODEM) little-endian, without padding.
The prefix byte is chosen so that the first letter names the kind: N a server, X a curve key. Clients only
compare and print them, so random bytes serve as the public part for now: nothing is signed with them.
"""

import base64
import os

_PREFIX_SERVER = 13 << 3  # base32 "N"
_PREFIX_CURVE = 23 << 3  # base32 "X"


def new_server_id() -> str:
    """56 characters beginning with N."""
    return _encode(_PREFIX_SERVER, os.urandom(32))


def new_curve_key() -> str:
    """56 characters beginning with X."""
    return _encode(_PREFIX_CURVE, os.urandom(32))


def _encode(prefix: int, key: bytes) -> str:
    raw = bytes((prefix,)) + key
    return base64.b32encode(raw + crc16(raw).to_bytes(2, "little")).decode().rstrip("=")


def crc16(data: bytes) -> int:
    """CRC-16/XMODEM: polynomial 0x1021, start 0."""
    crc = 0
    for byte in data:
        crc ^= byte << 8
        for _ in range(8):
            crc = (crc << 1 ^ 0x1021 if crc & 0x8000 else crc << 1) & 0xFFFF
    return crc
