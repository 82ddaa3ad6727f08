"""The parser agrees with nats-server, byte for byte and moment for moment.

Each case of ``wire_cases.py`` is sent to a real nats-server over a raw socket, whole and cut in two at every
place. After the first part and after the second, what the server has answered, and whether it has closed,
must be what ``OneClientModel`` makes of the parser's records. So an error that one of them reports at another
byte is seen, as are a different subject, size, sid or count.

Connections are made by the hundred and all wait together; the module takes about ten seconds.
"""

import random
import re

import pytest

from tests.conformance.servers import Reference, nats_server_path
from tests.protocol import wire_cases
from tests.protocol.modes import load_compiled
from tests.protocol.wire_probe import PROLOGUE, differences, expected_after

BATCH_SIZE = 300  # connections at one time

pytestmark = pytest.mark.skipif(nats_server_path() is None, reason="nats-server is not installed")


@pytest.fixture(scope="module")
def server():
    """A nats-server with the small limits that the cases are written for."""
    accounts = {f"A{user}": {"users": [{"user": str(user), "password": ""}]} for user in range(BATCH_SIZE)}
    options = {
        "max_control_line": wire_cases.CONTROL_LINE_SIZE_MAX,
        "max_payload": wire_cases.PAYLOAD_SIZE_MAX,
        "accounts": accounts,
        "no_auth_user": "0",
    }
    server = Reference(options).start()
    yield server
    server.remove()


@pytest.fixture(scope="module")
def modules():
    """The compiled parser; that the interpreted one is the same is proved elsewhere, without a server."""
    return load_compiled()


def report(lines: list[str]) -> str:
    return f"{len(lines)} differ:\n" + "\n".join(lines[:20])


def test_whole(server, modules):
    cases = wire_cases.ORDINARY + wire_cases.UNUSUAL + wire_cases.WRONG + wire_cases.WHOLE_ONLY
    lines = differences(server.port, modules, [[case] for case in cases], batch_size=BATCH_SIZE)
    assert not lines, report(lines)


def test_cut_at_every_byte(server, modules):
    cases = wire_cases.ORDINARY + wire_cases.UNUSUAL + wire_cases.WRONG
    scripts = [[case[:cut], case[cut:]] for case in cases for cut in wire_cases.cuts(case)]
    lines = differences(server.port, modules, scripts, batch_size=BATCH_SIZE)
    assert not lines, report(lines)


def test_connect_and_info(server, modules):
    """The JSON of CONNECT and INFO: what is taken, what it changes, what closes the connection."""
    probe = b"SUB > 1\r\nHPUB foo 12 12\r\nNATS/1.0\r\n\r\n\r\n"
    scripts = [[b"CONNECT " + argument + b"\r\n", probe] for argument in wire_cases.CONNECT_ARGUMENTS]
    scripts += [[b"INFO " + argument + b"\r\n", probe] for argument in wire_cases.INFO_ARGUMENTS]
    lines = differences(server.port, modules, scripts, batch_size=BATCH_SIZE)
    assert not lines, report(lines)


def test_without_connect(server, modules):
    """Without CONNECT, and with headers not asked for, HPUB closes without a word."""
    hpub = b"HPUB foo 12 14\r\nNATS/1.0\r\n\r\nhi\r\n"
    refused = b'CONNECT {"verbose":true,"pedantic":false}\r\n' + hpub
    scripts = [[hpub], [b"hpub x\r\n"], [refused], [refused[:-20], refused[-20:]], [b"PING\r\n" + hpub]]
    lines = differences(server.port, modules, scripts, batch_size=BATCH_SIZE, prologue=b"")
    assert not lines, report(lines)


def test_refused_here_only(server, modules):
    """The documented differences: each is an argument error here, and still none there."""
    cases = wire_cases.REFUSED_HERE
    assert all(expected_after(modules, [PROLOGUE + case])[0][1] for case in cases)
    lines = differences(server.port, modules, [[case] for case in cases], batch_size=BATCH_SIZE)
    assert len(lines) == len(cases), report(lines)


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_mutated(server, modules, seed):
    """Ordinary streams with a few bytes changed, dropped, doubled or inserted."""
    chance = random.Random(seed)
    letters = b" \t\n0123459-+PUBHSNIGOKERCpub.xX{}\"'>*\x00\xff"
    scripts = []
    while len(scripts) < 600:
        data = bytearray(b"".join(chance.choices(wire_cases.ORDINARY + wire_cases.UNUSUAL, k=3)))
        for _change in range(chance.randint(1, 3)):
            place = chance.randrange(len(data))
            kind = chance.randrange(4)
            if kind == 0:
                data[place] = chance.choice(letters)
            elif kind == 1:
                del data[place]
            elif kind == 2:
                data.insert(place, data[place])
            else:
                data.insert(place, chance.choice(letters))
        scripts.append([bytes(data)])
    scripts = [parts for parts in scripts if not has_documented_difference(parts[0])]
    lines = differences(server.port, modules, scripts, batch_size=BATCH_SIZE)
    assert not lines, report(lines)


def has_documented_difference(data: bytes) -> bool:
    """Whether a stream leaves the ground on which the parser or the model means to agree with the server."""
    return re.search(rb"\r(?!\n)|(?i:pub)[ \t]+[\r\n]|(?i:hm)", data) is not None
