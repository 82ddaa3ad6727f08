"""The transition table holds the names of the operations and nothing else; the two lists of numbers agree."""

import re
from pathlib import Path

from shardbroker.protocol import states

NAMES = {
    b"PUB ": states.PUB_SPACE,
    b"HPUB\t": states.HPUB_SPACE,
    b"SUB ": states.SUB_SPACE,
    b"UNSUB\t": states.UNSUB_SPACE,
    b"CONNECT": states.CONNECT_SPACE,
    b"INFO": states.INFO_SPACE,
    b"-ERR ": states.ERROR_SPACE,
    b"PING": states.PING_LINE,
    b"PONG": states.PONG_LINE,
    b"+OK": states.OK_LINE,
}


def walk(data: bytes) -> int:
    state = states.START
    for byte in data:
        state = states.TRANSITIONS[state * 256 + byte]
    return state


def test_names_in_any_case():
    for name, state in NAMES.items():
        assert walk(name) == walk(name.lower()) == walk(name.swapcase().title()) == state


def test_every_other_letter_is_wrong():
    for name in NAMES:
        for length in range(len(name)):
            others = {other[length : length + 1] for other in NAMES if other[:length] == name[:length]}
            right = {byte for other in others for byte in other.upper() + other.lower()}
            if name[length : length + 1] in (b" ", b"\t"):
                right = {0x20, 0x09}
            for byte in set(range(256)) - right:
                assert walk(name[:length] + bytes([byte])) == states.WRONG


def test_any_byte_but_a_blank_starts_the_argument():
    for space in range(states.PUB_SPACE, states.ERROR_SPACE + 1):
        for byte in range(256):
            expected = space if byte in b" \t" else space + states.SPACE_TO_ARGUMENT
            assert states.TRANSITIONS[space * 256 + byte] == expected


def test_constants_of_cython_code():
    text = Path(states.__file__).with_name("constants.pxd").read_text()
    constants = re.findall(r"^    (\w+) = (\d+)", text, re.MULTILINE)
    assert {"PROCEED", "PARK", "STOP", "ERROR_ARGUMENT"} <= {name for name, _value in constants}
    for name, value in constants:
        assert getattr(states, name) == int(value), name
