"""The parser agrees with nats-server, byte for byte and moment for moment.

Each case of ``wire_cases.py`` is sent to a real nats-server over a raw socket, whole and cut in two at every
place. After the first part and after the second, what the server has answered, and whether it has closed,
must be what ``OneClientModel`` makes of the parser's records. So an error that one of them reports at another
byte is seen, as are a different subject, size, sid or count.

Connections are made by the hundred and all wait together; the module takes about ten seconds.
"""

import random
import re
import selectors
import socket
import time

import pytest

from tests.conformance.servers import Reference, nats_server_path
from tests.protocol import wire_cases
from tests.protocol.modes import load_compiled
from tests.protocol.one_client_model import OneClientModel

BATCH_SIZE = 300  # connections at one time
ANSWER_TIMEOUT_S = 2.0
SETTLE_S = 0.02  # for what the server should not send
# Sent before every case; the user is a number, so that each connection of a batch is alone in its account.
PROLOGUE = b'CONNECT {"verbose":true,"pedantic":false,"headers":true,"user":"%d"}\r\nSUB > 1\r\n'

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


def expected_after(modules, parts: list[bytes]) -> list[tuple[bytes, bool]]:
    """What the model has sent and whether it has closed, after each part."""
    model = OneClientModel(modules, wire_cases.CONTROL_LINE_SIZE_MAX, wire_cases.PAYLOAD_SIZE_MAX)
    result = []
    for part in parts:
        model.receive(part)
        result.append((model.output, model.closed))
    return result


class Probe:
    """One connection to the real server."""

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.received = b""
        self.closed = False

    def send(self, part: bytes) -> None:
        try:
            self.socket.sendall(part)
        except OSError:
            self.closed = True

    def receive(self) -> None:
        try:
            data = self.socket.recv(65536)
        except OSError:
            data = b""
        self.received += data
        self.closed = self.closed or not data

    def state(self) -> tuple[bytes, bool]:
        """All after the INFO but the server's own PINGs, and whether it has closed."""
        return self.received.partition(b"\r\n")[2].replace(b"PING\r\n", b""), self.closed


def receive_until(probes: list[Probe], expected: list[tuple[bytes, bool]]) -> None:
    """Read from all until each has what is expected or the time is over, and then a little longer."""
    with selectors.DefaultSelector() as selector:
        for probe in probes:
            if not probe.closed:
                selector.register(probe.socket, selectors.EVENT_READ, probe)
        deadline = time.monotonic() + ANSWER_TIMEOUT_S
        while time.monotonic() < deadline and selector.get_map():
            if all(probe.state() == state for probe, state in zip(probes, expected, strict=True)):
                deadline = min(deadline, time.monotonic() + SETTLE_S)
            for key, _events in selector.select(SETTLE_S / 4):
                key.data.receive()
                if key.data.closed:
                    selector.unregister(key.fileobj)


def differences(port: int, modules, scripts: list[list[bytes]], prologue: bytes = PROLOGUE) -> list[str]:
    """Run each script, a list of parts, on a connection of its own; a line for each that differs."""
    lines = []
    for first in range(0, len(scripts), BATCH_SIZE):
        batch = [list(parts) for parts in scripts[first : first + BATCH_SIZE]]
        for user, parts in enumerate(batch):
            parts[0] = prologue.replace(b"%d", b"%d" % user) + parts[0]
        lines += batch_differences(port, batch, [expected_after(modules, parts) for parts in batch])
    return lines


def batch_differences(port: int, batch: list[list[bytes]], expected: list[list[tuple]]) -> list[str]:
    """The same for scripts that run at one time."""
    lines = {}
    probes = [Probe(port) for _parts in batch]
    for step in range(max(map(len, batch))):
        for probe, parts in zip(probes, batch, strict=True):
            if step < len(parts) and not probe.closed:
                probe.send(parts[step])
        now = [states[min(step, len(states) - 1)] for states in expected]
        receive_until(probes, now)
        for index, (probe, state) in enumerate(zip(probes, now, strict=True)):
            if probe.state() != state and index not in lines:
                lines[index] = f"{batch[index]} step {step}:\n  server {probe.state()}\n  parser {state}"
    for probe in probes:
        probe.socket.close()
    return list(lines.values())


def report(lines: list[str]) -> str:
    return f"{len(lines)} differ:\n" + "\n".join(lines[:20])


def test_whole(server, modules):
    cases = wire_cases.ORDINARY + wire_cases.UNUSUAL + wire_cases.WRONG + wire_cases.WHOLE_ONLY
    lines = differences(server.port, modules, [[case] for case in cases])
    assert not lines, report(lines)


def test_cut_at_every_byte(server, modules):
    cases = wire_cases.ORDINARY + wire_cases.UNUSUAL + wire_cases.WRONG
    scripts = [[case[:cut], case[cut:]] for case in cases for cut in wire_cases.cuts(case)]
    lines = differences(server.port, modules, scripts)
    assert not lines, report(lines)


def test_connect_and_info(server, modules):
    """The JSON of CONNECT and INFO: what is taken, what it changes, what closes the connection."""
    probe = b"SUB > 1\r\nHPUB foo 12 12\r\nNATS/1.0\r\n\r\n\r\n"
    scripts = [[b"CONNECT " + argument + b"\r\n", probe] for argument in wire_cases.CONNECT_ARGUMENTS]
    scripts += [[b"INFO " + argument + b"\r\n", probe] for argument in wire_cases.INFO_ARGUMENTS]
    lines = differences(server.port, modules, scripts)
    assert not lines, report(lines)


def test_without_connect(server, modules):
    """Without CONNECT, and with headers not asked for, HPUB closes without a word."""
    hpub = b"HPUB foo 12 14\r\nNATS/1.0\r\n\r\nhi\r\n"
    refused = b'CONNECT {"verbose":true,"pedantic":false}\r\n' + hpub
    scripts = [[hpub], [b"hpub x\r\n"], [refused], [refused[:-20], refused[-20:]], [b"PING\r\n" + hpub]]
    lines = differences(server.port, modules, scripts, prologue=b"")
    assert not lines, report(lines)


def test_refused_here_only(server, modules):
    """The documented differences: each is an argument error here, and still none there."""
    cases = wire_cases.REFUSED_HERE
    assert all(expected_after(modules, [PROLOGUE + case])[0][1] for case in cases)
    lines = differences(server.port, modules, [[case] for case in cases])
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
    lines = differences(server.port, modules, scripts)
    assert not lines, report(lines)


def has_documented_difference(data: bytes) -> bool:
    """Whether a stream leaves the ground on which the parser or the model means to agree with the server."""
    return re.search(rb"\r(?!\n)|(?i:pub)[ \t]+[\r\n]|(?i:hm)", data) is not None
