"""Who this server is: a public server nkey and a public curve key, new at each start, and its address.

An nkey is base32 of: prefix byte, 32 bytes of public key, CRC-16 (XMODEM) little-endian, without padding.
The prefix byte is chosen so that the first letter names the kind: N a server, X a curve key. Clients only
compare and print them, so random bytes serve as the public part for now: nothing is signed with them.
"""

import base64
import os

from shardbroker.config.options import Options

_PREFIX_SERVER = 13 << 3  # base32 "N"
_PREFIX_CURVE = 23 << 3  # base32 "X"


def new_server_id() -> str:
    """56 characters beginning with N."""
    return _encode(_PREFIX_SERVER, os.urandom(32))


def new_curve_key() -> str:
    """56 characters beginning with X."""
    return _encode(_PREFIX_CURVE, os.urandom(32))


def advertised_address(options: Options, port: int) -> tuple[str, int]:
    """Host and port that INFO and /varz tell: those of ``client_advertise``, else the ones listened on.

    ``port`` is the one listened on, taken where none is advertised.
    """
    advertised = options.client_advertise
    if not advertised:
        return options.host, port
    host, _, text = advertised.rpartition(":")
    if not host:
        host, text = advertised, ""
    return host.strip("[]"), int(text or 0) or port


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
