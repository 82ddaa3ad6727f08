"""The broker as a whole answers a single client as nats-server does: the same cases, through a socket.

``test_against_nats_server.py`` proves that the parser and ``OneClientModel`` agree with nats-server; here the
broker must agree with the model. It has no accounts to keep clients apart, so they come one after the other.
"""

import pytest

from tests.conformance.servers import Subject
from tests.protocol import wire_cases
from tests.protocol.modes import load_compiled
from tests.protocol.wire_probe import differences


@pytest.fixture(scope="module")
def broker():
    """A broker of two workers with the small limits that the cases are written for."""
    options = {
        "max_control_line": wire_cases.CONTROL_LINE_SIZE_MAX,
        "max_payload": wire_cases.PAYLOAD_SIZE_MAX,
    }
    server = Subject(options, workers=2).start()
    yield server
    server.remove()


def check(broker, scripts: list[list[bytes]]) -> None:
    lines = differences(broker.port, load_compiled(), scripts, batch_size=1)
    assert not lines, f"{len(lines)} differ:\n" + "\n".join(lines[:20])


def test_commands(broker):
    # The empty first part lets the answers to the prologue arrive before the case is sent.
    check(broker, [[b"", case] for case in wire_cases.ALL])


def test_cut(broker):
    cases = wire_cases.ORDINARY[:10] + wire_cases.UNUSUAL[:10]
    check(broker, [[case[:cut], case[cut:]] for case in cases for cut in range(3, len(case), 9)])


def test_connect_and_info(broker):
    probe = b"SUB > 1\r\nHPUB foo 12 12\r\nNATS/1.0\r\n\r\n\r\n"
    scripts = [[b"CONNECT " + argument + b"\r\n", probe] for argument in wire_cases.CONNECT_ARGUMENTS]
    scripts += [[b"INFO " + argument + b"\r\n", probe] for argument in wire_cases.INFO_ARGUMENTS]
    check(broker, scripts)
