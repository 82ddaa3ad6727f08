"""What two servers may differ in, taken out of their answers; everything else must be equal.

Taken out: identities (server, client id, key, version strings), ports and addresses, the server's own PINGs,
the order of the copies of one message on one connection (nats-server's own is that of a hash map), and in
pooled scripts which member of a queue group was chosen.
"""

import json

from tests.conformance.script import Script
from tests.conformance.wire import Answer, Wire

# INFO fields whose value is this process's own. That they are there, and of which type, is compared.
OWN_VALUES = {"server_id", "server_name", "version", "host", "port", "client_id", "xkey", "nonce"}
# INFO fields which name the toolchain of a build; a server in another language has others, or none.
BUILD_FIELDS = {"go", "git_commit"}

Transcript = dict[str, list[str]]


def transcript(script: Script, wires: dict[str, Wire]) -> Transcript:
    """Connection name -> comparable answers; the last entry says whether the server closed it."""
    hung_up = {step.connection for step in script.steps if step.hang_up}
    result: Transcript = {}
    pool: list[str] = []
    for name, wire in wires.items():
        answers = wire.answers if script.first_info else wire.answers[1:]
        if not script.keep_pings:
            answers = [answer for answer in answers if answer.kind != "PING"]
        if script.pooled:
            pool += [
                without_sid(answer) for answer in answers if answer.body or answer.kind in ("MSG", "HMSG")
            ]
            answers = [answer for answer in answers if answer.kind not in ("MSG", "HMSG")]
        lines = [comparable(answer) for answer in in_settled_order(answers)]
        result[name] = [*lines, "we hung up" if name in hung_up else "closed" if wire.closed else "open"]
    if script.pooled:
        result["all connections"] = sorted(pool)
    return result


def comparable(answer: Answer) -> str:
    """One answer as text; INFO without its own values."""
    if answer.kind != "INFO":
        return str(answer)
    text = answer.line.removeprefix(b"INFO ").removesuffix(b" ")
    if b"INFO " + text + b" " != answer.line:
        return f"INFO framed otherwise: {answer.line!r}"
    info = {key: value for key, value in json.loads(text).items() if key not in BUILD_FIELDS}
    for key in OWN_VALUES & info.keys():
        info[key] = type(info[key]).__name__
    return "INFO " + json.dumps(info, sort_keys=True)


def without_sid(answer: Answer) -> str:
    """A delivered message without the subscription it went to."""
    words = answer.line.split()
    return str(Answer(answer.kind, b" ".join(words[:2] + words[3:]), answer.body))


def in_settled_order(answers: list[Answer]) -> list[Answer]:
    """Neighbouring copies of one message (several subscriptions matched) sorted by subscription."""
    result: list[Answer] = []
    run: list[Answer] = []
    for answer in answers:
        if run and (answer.kind not in ("MSG", "HMSG") or without_sid(answer) != without_sid(run[0])):
            result += sorted(run, key=lambda each: each.line)
            run = []
        if answer.kind in ("MSG", "HMSG"):
            run.append(answer)
        else:
            result.append(answer)
    return result + sorted(run, key=lambda each: each.line)
