"""Raw connections to a server, many at a time, and what the model expects them to receive."""

import selectors
import socket
import time

from tests.protocol import wire_cases
from tests.protocol.one_client_model import OneClientModel

ANSWER_TIMEOUT_S = 2.0
SETTLE_S = 0.02  # for what the server should not send
# Sent before every case; the user is a number, so that each connection of a batch is alone in its account.
PROLOGUE = b'CONNECT {"verbose":true,"pedantic":false,"headers":true,"user":"%d"}\r\nSUB > 1\r\n'


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


def differences(
    port: int, modules, scripts: list[list[bytes]], *, batch_size: int, prologue: bytes = PROLOGUE
) -> list[str]:
    """Run each script, a list of parts, on a connection of its own; a line for each that differs."""
    lines = []
    for first in range(0, len(scripts), batch_size):
        batch = [list(parts) for parts in scripts[first : first + batch_size]]
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
