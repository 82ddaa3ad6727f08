"""Server ids look like nkeys to anybody who checks them; the address told is the advertised one."""

import base64

import pytest

from shardbroker.acceptor.identity import advertised_address, crc16, new_curve_key, new_server_id
from shardbroker.config.options import Options


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


@pytest.mark.parametrize(
    ("advertised", "expected"),
    [
        ("", ("0.0.0.0", 4333)),
        ("example.org", ("example.org", 4333)),
        ("example.org:9999", ("example.org", 9999)),
        ("example.org:0", ("example.org", 4333)),
        ("[::1]:9999", ("::1", 9999)),
    ],
)
def test_the_advertised_address_goes_before_the_own(advertised: str, expected: tuple[str, int]) -> None:
    options = Options(client_advertise=advertised)
    assert advertised_address(options, 4333) == expected
