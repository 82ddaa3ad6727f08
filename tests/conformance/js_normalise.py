"""What two servers may differ in, taken out of JetStream answers; every other byte must be equal.

Taken out: times (but not Go's zero time), event ids, the server's name, pins, numbers of flow control
requests, counts of the API since the server started, and a client's number, round trip and start in
advisories.
"""

import re

from tests.conformance.js_script import JetStreamScript, heard_by
from tests.conformance.wire import Answer

_TIME = re.compile(rb"(?!0001-01-01)[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,9})?Z")
_ACK_TIME = re.compile(rb"(\$JS\.ACK\.[^.]+\.[^.]+\.[0-9]+\.[0-9]+\.[0-9]+\.)[0-9]+(\.[0-9]+)$")
_FLOW = re.compile(rb"^(\$JS\.FC\.[^.]+\.[^.]+\.)[0-9A-Za-z]{4}$")
_RULES = [
    (_TIME, b"<time>"),
    (re.compile(rb'"id":"[0-9A-Za-z]{22}"'), b'"id":"<id>"'),
    (re.compile(rb'(total\\?":)[0-9]+(,\\?"errors\\?":)[0-9]+'), rb"\1<n>\2<n>"),
    (re.compile(rb'"id":[0-9]+,"acc"'), b'"id":<n>,"acc"'),
    (re.compile(rb'"ack_time":[0-9]+'), b'"ack_time":<ns>'),
    (re.compile(rb'"pause_remaining":[0-9]+'), b'"pause_remaining":<ns>'),
    (re.compile(rb',"_shardbroker[^"]*":"[^"]*"'), b""),  # what is done in another way is told there
    (re.compile(rb'(Nats-Pin-Id: |pinned_(client_)?id":")[0-9A-Za-z]{22}'), rb"\1<pin>"),
    (re.compile(rb"(Nats-Consumer-Stalled: .*\.)[0-9A-Za-z]{4}"), rb"\1<id>"),
    (re.compile(rb'"rtt":[0-9]+,'), b""),  # there once it was measured
]


def comparable(answer: Answer, server_name: str) -> str:
    """One message as text, without the reply subject's number."""
    body = answer.body.replace(server_name.encode(), b"<server>")
    for pattern, text in _RULES:
        body = pattern.sub(text, body)
    words = answer.line.split()
    # The time in an ack subject, the number of a flow control request.
    words = [_FLOW.sub(rb"\1<id>", _ACK_TIME.sub(rb"\1<ns>\2", word)) for word in words]
    if words[1].startswith(b"_R"):
        words[1] = b"_R"
    # Sizes follow from the body, and times have more or fewer digits.
    sizes = 2 if answer.kind == "HMSG" else 1
    return f"{b' '.join(words[:-sizes]).decode()} {body.decode('latin-1')}"


def transcript(
    played: JetStreamScript, answers: list[list[Answer]], heard: list[Answer], server_name: str
) -> list[str]:
    """One line for each answer, behind the step that it belongs to; then what the listeners heard."""
    lines = []
    for number, (step, found) in enumerate(zip(played.steps, answers, strict=True)):
        what = step.listen or f"{step.subject} {step.headers.decode('latin-1')!r} {step.payload[:300]!r}"
        lines.append(f"{number}: {what}")
        lines += [f"    {comparable(one, server_name)}" for one in found]
    heard_lines = [f"heard {comparable(one, server_name)}" for one in sorted(heard, key=heard_by)]
    return lines + (sorted(heard_lines) if played.any_order else heard_lines)
