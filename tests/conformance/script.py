"""Scripts: what is sent to a server, as data; and the playing of one against a running server.

A script is a list of steps on one or several named connections. After a step which sends, the harness
sends a PING of its own and reads until that PONG or until the server closes, so no test waits for silence:
both servers answer in order, hence everything a step causes on its own connection stands before the PONG.
What it causes on *other* connections is in their buffers by then too, and is read by their next step, or at
the end, when every connection still open is asked once more.

One script is played in several ways (`Manner`): in one piece, byte by byte, cut in two at each offset.
"""

import re
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

from tests.conformance.wire import Wire

# The usual first line of a modern client, without +OK noise.
QUIET = b'CONNECT {"verbose":false,"pedantic":false,"headers":true,"no_responders":true,"protocol":1}\r\n'
# The same without headers and without the second INFO.
PLAIN = b'CONNECT {"verbose":false,"pedantic":false}\r\n'
PING_LINE = re.compile(rb"^ping\b[^\n]*\n", re.IGNORECASE | re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Step:
    """One act on one connection. Only what differs from the ordinary case is given."""

    data: bytes = b""
    connection: str = "a"
    sync: bool = True  # PING after it, and read until the PONG or the close
    pings: int | None = None  # PINGs in data which the server answers; None: count lines that start with PING
    rest_s: float = 0.0  # only read, for this long
    await_close_s: float = 0.0  # only read, until the server closes, at most this long
    hang_up: bool = False  # close the connection from our side


@dataclass(frozen=True, slots=True)
class Script:
    """Steps with a name; ``options`` are server options by their nats-server names."""

    name: str
    steps: tuple[Step, ...]
    options: dict[str, object] = field(default_factory=dict)
    whole_only: bool = False  # cutting changes the answer of nats-server itself, or only costs time
    pooled: bool = False  # who of a queue group gets a message is chance: compare the sum over connections
    keep_pings: bool = False  # the server's own PINGs are the point of the script
    first_info: bool = False  # the first INFO is the point of the script

    @property
    def size(self) -> int:
        """Bytes sent in all."""
        return sum(len(step.data) for step in self.steps)


def one(name: str, *sends: bytes | Step, **keywords) -> Script:
    """A script on a single connection: each argument is sent, then answered."""
    steps = tuple(send if isinstance(send, Step) else Step(send) for send in sends)
    return Script(name, steps, **keywords)


def talk(name: str, *sends: tuple[str, bytes] | Step, **keywords) -> Script:
    """A script on several connections: pairs of connection name and bytes, in the order of time."""
    steps = tuple(send if isinstance(send, Step) else Step(send[1], send[0]) for send in sends)
    return Script(name, steps, **keywords)


@dataclass(frozen=True, slots=True)
class Manner:
    """How the bytes of each step are cut: not at all, at every byte, or at one offset of the whole script."""

    name: str
    every_byte: bool = False
    offset: int = -1

    def cuts(self, start: int, size: int) -> list[int]:
        """Offsets inside a step of ``size`` bytes that begins at ``start`` of the script."""
        if self.every_byte:
            return list(range(1, size))
        inside = self.offset - start
        return [inside] if 0 < inside < size else []


WHOLE = Manner("whole")
BYTEWISE = Manner("bytewise", every_byte=True)


def halves(script: Script) -> Iterator[Manner]:
    """The script cut in two, once for each offset."""
    for offset in range(1, script.size):
        yield Manner(f"cut at {offset}", offset=offset)


def play(script: Script, port: int, manner: Manner = WHOLE, *, pause_s: float = 0.0005) -> dict[str, Wire]:
    """Play ``script`` against the server on ``port``; the connections in order of first use."""
    wires: dict[str, Wire] = {}
    pings: dict[str, int] = {}
    start = 0
    for step in script.steps:
        if step.connection not in wires:
            wires[step.connection] = wire = Wire(port)
            pings[step.connection] = 0
            wire.read_answers(1)
        wire = wires[step.connection]
        if step.hang_up:
            wire.close()
            wire.closed = True
        elif step.rest_s:
            wire.read_for(step.rest_s)
        elif step.await_close_s:
            wire.read_to_close(step.await_close_s)
        else:
            pings[step.connection] += len(PING_LINE.findall(step.data)) if step.pings is None else step.pings
            data = step.data
            if step.sync:
                data += b"PING\r\n"
                pings[step.connection] += 1
            wire.send(data, pieces=manner.cuts(start, len(step.data)), pause_s=pause_s)
            start += len(step.data)
            if step.sync:
                wire.read_pongs(pings[step.connection])
    finish(wires, pings)
    return wires


def finish(wires: dict[str, Wire], pings: dict[str, int]) -> None:
    """Ask every connection still open once more, so that late deliveries are seen; then close all."""
    for name, wire in wires.items():
        if not wire.closed:
            wire.send(b"PING\r\n")
            wire.read_pongs(pings[name] + 1)
    for wire in wires.values():
        wire.close()


def settle(seconds: float) -> None:
    """A pause with a name: the server is removing the interest of closed connections."""
    time.sleep(seconds)
