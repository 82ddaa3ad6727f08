"""Server ids look like nkeys to anybody who checks them: letter, alphabet, length and checksum."""

import base64

import pytest

from shardbroker.acceptor.identity import crc16, new_curve_key, new_server_id


@pytest.mark.parametrize(("make", "letter"), [(new_server_id, "N"), (new_curve_key, "X")])
def test_keys_decode_as_nkeys(make, letter: str) -> None:
    key = make()
    assert len(key) == 56
    assert key[0] == letter
    raw = base64.b32decode(key)  # 35 bytes need no padding
    assert crc16(raw[:-2]) == int.from_bytes(raw[-2:], "little")
    assert make() != key


def test_checksum_is_xmodem() -> None:
    assert crc16(b"123456789") == 0x31C3
