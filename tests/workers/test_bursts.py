"""Bursts of PUBs with one control line are executed as if each had been parsed (session.pyx, run_ahead).

Bursts of random length, with other control lines, counted UNSUBs and wrong payload ends in between, cut at
random places, are sent to shardbroker and to nats-server: every byte of the answers must be the same. After
an error a server may reset the connection, with input unread, and the reset takes bytes along that we had not
read: then what came must be the beginning of what the other one has sent.
"""

import random
import socket

from tests.support.broker_process import BrokerProcess

ROUNDS = 60
CONTROL_LINES = (
    b"PUB foo.a 4\r\n",
    b"PUB foo.b 4\r\n",
    b"PUB bar 4\r\n",
    b"PUB  foo.a 4\r\n",
    b"PUB foo.a reply.x 4\r\n",
    b"HPUB foo.a 12 16\r\n",
)


def conversation(chance: random.Random) -> bytes:
    """Two subscriptions, then bursts, then PING."""
    parts = [b'CONNECT {"verbose":false,"pedantic":false,"headers":true}\r\nSUB foo.* 1\r\nSUB bar 2\r\n']
    line = chance.choice(CONTROL_LINES)
    for number in range(chance.randrange(2, 80)):
        if chance.random() < 0.12:
            line = chance.choice(CONTROL_LINES)
        headers = b"NATS/1.0\r\n\r\n" if line.startswith(b"HPUB") else b""
        end = b"xx" if chance.random() < 0.004 else b"\r\n"
        parts.append(line + headers + b"%04d" % number + end)
        if chance.random() < 0.02:
            parts.append(b"UNSUB 1 %d\r\n" % chance.randrange(1, 40))
    return b"".join([*parts, b"PING\r\n"])


def answers(server: BrokerProcess, pieces: list[bytes]) -> tuple[bytes, bool]:
    """What comes back until PONG or the end of the connection, without INFO; whether that was a reset."""
    with socket.create_connection((server.host, server.port), 5) as connection:
        connection.settimeout(5)
        received = b""
        while b"\r\n" not in received:
            received += connection.recv(65536)
        received = b""
        try:
            for piece in pieces:
                connection.sendall(piece)
            while not received.endswith(b"PONG\r\n"):
                data = connection.recv(65536)
                if not data:
                    break
                received += data
        except ConnectionError:
            return received, True
        return received, False


def test_bursts(broker: BrokerProcess, oracle: BrokerProcess, seed: random.Random) -> None:
    messages = 0
    for _ in range(ROUNDS):
        data = conversation(seed)
        cuts = sorted(seed.sample(range(1, len(data)), seed.choice((0, 0, 3, 10))))
        pieces = [data[start:end] for start, end in zip([0, *cuts], [*cuts, len(data)], strict=True)]
        wanted, is_theirs_reset = answers(oracle, pieces)
        got, is_reset = answers(broker, pieces)
        is_cut = (is_theirs_reset and got.startswith(wanted)) or (is_reset and wanted.startswith(got))
        assert got == wanted or (b"xx" in data and is_cut), data
        messages += wanted.count(b"MSG ")
    assert messages > 10 * ROUNDS
