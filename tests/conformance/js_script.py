"""JetStream scripts: requests and publishes as data, and the playing of them against a running server.

Core scripts mark the end of a step with a PING, which is not enough here: a server answers requests and
publishes when it has stored something, and that may be after the PONG. So each step has a reply subject of
its own and ends with its answer; the few steps which are answered with nothing wait for a moment, and those
with several answers end with a message that has a status.

Before each script all streams are deleted. A script may be played over two connections in turn: what one
has been told must be true for the other, also when another worker process serves it.
"""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from tests.conformance.wire import Answer, Wire

CONNECT = b'CONNECT {"verbose":false,"pedantic":false,"headers":true,"no_responders":true,"protocol":1}\r\n'
API = "$JS.API."
#: How long an answer that must not come is waited for.
SILENCE_S = 0.08
#: How long to read after a script with listeners: what is sent after an answer has no end mark.
LISTEN_S = 0.15
#: nats-server deletes files after its answer, and finds those that are left when the name is used again.
REMAINS_S = 0.03

#: How long to wait for what comes to listeners before something that depends on it.
SETTLE_S = 0.05
#: In a payload: the pin that a client was given last.
PIN = b"<pin>"
_PIN_HEADER = re.compile(rb"Nats-Pin-Id: ([^\r]+)\r\n")

Headers = dict[str, str] | bytes | None


@dataclass(frozen=True, slots=True)
class Step:
    """One message to the server, or a subscription, or a rest."""

    subject: str = ""
    payload: bytes = b""
    headers: bytes = b""
    listen: str = ""  # subscribe to this instead of sending
    group: str = ""  # as a member of this queue group
    many: bool = False  # answers until one with a status
    silent: bool = False  # no answer is expected
    reply: bool = True  # send a reply subject
    to: str = ""  # the answers go to this subject, where a listener may hear them; none is waited for
    rest_s: float = 0.0


@dataclass(frozen=True, slots=True)
class JetStreamScript:
    """Steps with a name."""

    name: str
    steps: tuple[Step, ...]
    one_connection: bool = False  # the client's identity is shown
    any_order: bool = False  # what is heard comes from several workers
    options: dict[str, object] = field(default_factory=dict)

    @property
    def listens(self) -> bool:
        """Whether messages come that are no answers."""
        return any(step.listen for step in self.steps)


def script(name: str, *steps: Step | tuple, **keywords) -> JetStreamScript:
    """A script; a tuple among the steps is several steps."""
    flat: list[Step] = []
    for step in steps:
        flat.extend(step) if isinstance(step, tuple) else flat.append(step)
    return JetStreamScript(name, tuple(flat), **keywords)


def block(headers: Headers) -> bytes:
    """A header block; bytes are taken as they are."""
    if isinstance(headers, bytes):
        return headers
    if not headers:
        return b""
    return (
        b"NATS/1.0\r\n" + "".join(f"{key}: {value}\r\n" for key, value in headers.items()).encode() + b"\r\n"
    )


def text(body: object) -> bytes:
    """A request's body: bytes as they are, None for nothing, else JSON."""
    if body is None:
        return b""
    return body if isinstance(body, bytes) else json.dumps(body, separators=(",", ":")).encode()


def api(call: str, body: object = None, headers: Headers = None, **keywords) -> Step:
    """A request to the API: ``api("STREAM.INFO.A")``."""
    return Step(API + call, text(body), block(headers), **keywords)


def make(name: str, /, **config: object) -> Step:
    """STREAM.CREATE, subjects ``NAME.>`` unless told otherwise."""
    return api(f"STREAM.CREATE.{name}", {"name": name, "subjects": [f"{name}.>"], **config})


def change(name: str, /, **config: object) -> Step:
    """STREAM.UPDATE, likewise."""
    return api(f"STREAM.UPDATE.{name}", {"name": name, "subjects": [f"{name}.>"], **config})


def info(name: str, /, **body: object) -> Step:
    """STREAM.INFO."""
    return api(f"STREAM.INFO.{name}", body or None)


def get(name: str, /, **body: object) -> Step:
    """STREAM.MSG.GET."""
    return api(f"STREAM.MSG.GET.{name}", body)


def direct(name: str, body: object = None, headers: Headers = None, **keywords) -> Step:
    """DIRECT.GET with a body; ``many=True`` for batches."""
    return api(f"DIRECT.GET.{name}", body, headers, **keywords)


def pub(subject: str, payload: bytes = b"", headers: Headers = None, **keywords) -> Step:
    """A publish that waits for its PubAck."""
    return Step(subject, payload, block(headers), **keywords)


def listen(subject: str) -> Step:
    """Subscribe; what comes to one subscription is compared in the order in which it came."""
    return Step(listen=subject)


def rest(seconds: float) -> Step:
    """Let time pass."""
    return Step(rest_s=seconds)


class Session:
    """One or two connections to a server, and the answers that came."""

    def __init__(self, port: int, connections: int = 1) -> None:
        self.wires = [Wire(port) for _ in range(connections)]
        self.server_name = ""
        self._pin = b""  # the last one that was seen
        self._number = self._listeners = 0
        for index, wire in enumerate(self.wires):
            wire.read_answers(1)
            self.server_name = json.loads(wire.answers[0].line.removeprefix(b"INFO "))["server_name"]
            wire.send(CONNECT + b"SUB _R%d.> r\r\nPING\r\n" % index)
            wire.read_pongs(1)

    def close(self) -> None:
        """End the connections."""
        for wire in self.wires:
            wire.close()

    def run(self, step: Step) -> list[Answer]:
        """Do one step; its answers."""
        if step.rest_s:
            self.wires[0].read_for(step.rest_s)
            return []
        if step.listen:
            self._listeners += 1
            subject = f"{step.listen} {step.group}".strip().encode()
            self.wires[0].send(b"SUB %s l%d\r\nPING\r\n" % (subject, self._listeners))
            self.wires[0].read_pongs(self.wires[0].pong_count + 1)
            return []
        index = self._number % len(self.wires)
        wire = self.wires[index]
        self._number += 1
        if PIN in step.payload:
            self._find_pin()
        if step.to:
            wire.send(self._text(step, step.to.encode()) + b"PING\r\n")
            wire.read_pongs(wire.pong_count + 1)
            return []
        reply = b"_R%d.%d" % (index, self._number)
        wire.send(self._text(step, reply if step.reply else b""))
        found = self._answers(wire, reply)
        if step.silent or not step.reply:
            wire.read_pongs(wire.pong_count + 1)
            if step.reply:
                wire.read_for(SILENCE_S)
        elif step.many:
            wire.read_until(lambda: any(is_status(one) for one in found()), f"end of {step}")
        else:
            wire.read_until(lambda: bool(list(found())), f"answer to {step}")
        return list(found())

    def _find_pin(self) -> None:
        """Look at the latest messages, which may not have been read yet."""
        self.wires[0].read_for(SETTLE_S)
        for answer in (one for wire in self.wires for one in wire.answers):
            found = _PIN_HEADER.search(answer.body)
            self._pin = found[1] if found else self._pin

    def _text(self, step: Step, reply: bytes) -> bytes:
        payload = step.payload.replace(PIN, self._pin)
        ping = b"PING\r\n" if step.silent or not step.reply else b""
        head = step.subject.encode() + b" " + reply
        size = len(step.headers) + len(payload)
        if step.headers:
            line = b"HPUB %s %d %d\r\n" % (head, len(step.headers), size)
        else:
            line = b"PUB %s %d\r\n" % (head, size)
        return line + step.headers + payload + b"\r\n" + ping

    @staticmethod
    def _answers(wire: Wire, reply: bytes):
        start = len(wire.answers)

        def found() -> Iterator[Answer]:
            return (one for one in wire.answers[start:] if one.line.split()[1:2] == [reply])

        return found

    def delete_all(self) -> None:
        """Leave no stream behind."""
        names = json.loads(self.run(api("STREAM.NAMES"))[0].body)["streams"] or []
        for name in names:
            self.run(api(f"STREAM.DELETE.{name}"))
        if names:
            self.wires[0].read_for(REMAINS_S)


def heard_by(answer: Answer) -> bytes:
    """The sid of a message."""
    return answer.line.split()[2]


def is_status(answer: Answer) -> bool:
    """Whether a message has a status in its first header line."""
    return answer.kind == "HMSG" and answer.body.startswith(b"NATS/1.0 ")


def play(
    steps: JetStreamScript, port: int, connections: int = 1
) -> tuple[list[list[Answer]], list[Answer], str]:
    """Answers of each step, what the listeners got, and the server's name."""
    session = Session(port, 1 if steps.one_connection else connections)
    try:
        session.delete_all()
        answers = [session.run(step) for step in steps.steps]
        first = session.wires[0]
        if steps.listens:
            first.read_for(LISTEN_S)
        heard = [one for one in first.answers if one.kind in ("MSG", "HMSG") and heard_by(one) != b"r"]
        return answers, heard, session.server_name
    finally:
        session.close()
