"""Property: acknowledgements are read as by nats-server, and reply subjects are written as it writes them.

Literal expectations are what nats-server 2.15.1 sends or does. What a payload means is also seen at a real
one: messages come again, or not, or later.
"""

import random

import pytest

from shardbroker.jetstream.ack_tokens import (
    account_hash,
    ack_prefix,
    ack_prefix_v2,
    ack_reply,
    flow_control_prefix,
    parse_ack_subject,
    parse_ack_word,
)
from tests.jetstream.reference_stream import NO_NATS_SERVER, NO_NATS_SERVER_REASON, ReferenceStream
from tests.support.raw_client import Message

NO_NUMBER = (1 << 64) - 1


def test_reply_subjects_are_written_like_nats_server() -> None:
    prefix = ack_prefix("S", "C1")
    assert prefix == b"$JS.ACK.S.C1."
    subject = b"$JS.ACK.S.C1.1.2.3.1795415689650947478.2"
    assert ack_reply(prefix, 1, 2, 3, 1795415689650947478, 2) == subject
    largest = (1 << 64) - 1
    assert ack_reply(prefix, *[largest] * 5) == prefix + b".".join([b"18446744073709551615"] * 5)
    assert ack_reply(prefix, *[0] * 5) == b"$JS.ACK.S.C1.0.0.0.0.0"
    assert flow_control_prefix("S", "C1") == b"$JS.FC.S.C1."


def test_second_version_names_domain_and_account() -> None:
    assert account_hash("$G") == "szMpdrwD"
    assert account_hash("c1") == "MynGTXiX"
    assert ack_prefix_v2("V", "C", "hub", "$G") == b"$JS.ACK.hub.szMpdrwD.V.C."
    assert ack_prefix_v2("V", "C", "", "$G") == b"$JS.ACK._.szMpdrwD.V.C."


@pytest.mark.parametrize(
    ("subject", "expected"),
    [
        (b"$JS.ACK.S.C1.1.2.3.1795415689650947478.4", (b"S", b"C1", 1, 2, 3, 1795415689650947478, 4)),
        (b"$JS.ACK.hub.szMpdrwD.V.C.1.2.3.4.5", (b"V", b"C", 1, 2, 3, 4, 5)),
        (b"$JS.ACK._.szMpdrwD.V.C.1.2.3.4.5.random", (b"V", b"C", 1, 2, 3, 4, 5)),
        (b"$JS.ACK._.szMpdrwD.V.C.1.2.3.4.5.a.b.c.d", (b"V", b"C", 1, 2, 3, 4, 5)),
        (b"$JS.ACK.S.C1.1.2.3.4", None),
        (b"$JS.ACK.S.C1.1.2.3.4.5.6", None),  # ten tokens are neither version
        (b"$JS.FC.S.C1.1.2.3.4.5", None),
        (b"$JS.ACK.", None),
        (b"$JS.ACK", None),
        (b"", None),
        (b"$JS.ACK.S.C1.x.2.-3..5", (b"S", b"C1", NO_NUMBER, 2, NO_NUMBER, NO_NUMBER, 5)),
        (b"$JS.ACK.S.C1.1.99999999999999999999.3.4.5", (b"S", b"C1", 1, NO_NUMBER, 3, 4, 5)),
        (b"$JS.ACK.S.C1.1.2.3.4.", (b"S", b"C1", 1, 2, 3, 4, NO_NUMBER)),
    ],
)
def test_subjects(subject: bytes, expected: tuple | None) -> None:
    assert parse_ack_subject(subject) == expected


def test_what_is_written_is_read() -> None:
    chance = random.Random(1)
    for _ in range(500):
        numbers = [chance.randrange(10 ** chance.randint(1, 19)) for _ in range(5)]
        assert parse_ack_subject(ack_reply(ack_prefix("stream", "c"), *numbers)) == (
            b"stream",
            b"c",
            *numbers,
        )


PAYLOADS = [
    (b"", ("ack", None, b"")),
    (b"+ACK", ("ack", None, b"")),
    (b"+OK", ("ack", None, b"")),
    (b"+ACK ", ("", None, b"")),
    (b"+ack", ("", None, b"")),
    (b"-NAK", ("nak", None, b"")),
    (b"-NAK ", ("nak", None, b"")),
    (b'-NAK {"delay":5000000000}', ("nak", 5_000_000_000, b'{"delay":5000000000}')),
    (b'-NAK {"delay": 5000000000}', ("nak", 5_000_000_000, b'{"delay": 5000000000}')),
    (b'-NAK{ "delay":5 } \r\n', ("nak", 5, b'{ "delay":5 }')),
    (b'-NAK {"delay":0}', ("nak", 0, b'{"delay":0}')),
    (b'-NAK {"delay":-5}', ("nak", -5, b'{"delay":-5}')),
    (b'-NAK {"Delay":5,"other":1}', ("nak", 5, b'{"Delay":5,"other":1}')),
    (b"-NAK {}", ("nak", 0, b"{}")),
    (b'-NAK {"delay":"5s"}', ("nak", None, b'{"delay":"5s"}')),
    (b'-NAK {"delay":05}', ("nak", None, b'{"delay":05}')),
    (b'-NAK {"delay":1.5}', ("nak", None, b'{"delay":1.5}')),
    (b'-NAK {"delay":99999999999999999999}', ("nak", None, b'{"delay":99999999999999999999}')),
    (b'-NAK {"delay":}', ("nak", None, b'{"delay":}')),
    (b'-NAK {"delay"', ("nak", None, b'{"delay"')),
    (b"-NAK 5s", ("nak", 5_000_000_000, b"5s")),
    (b"-NAK 1m0.5s", ("nak", 60_500_000_000, b"1m0.5s")),
    (b"-NAK 5", ("nak", None, b"5")),
    (b"-NAK \xff", ("nak", None, b"\xff")),
    (b"+WPI", ("progress", None, b"")),
    (b"+WPI ", ("", None, b"")),
    (b"+TERM", ("term", None, b"")),
    (b"+TERM  because of this \n", ("term", None, b"because of this")),
    (b"+TERMx", ("term", None, b"x")),
    (b"+NXT", ("next", None, b"")),
    (b"+NXT 5", ("next", None, b"5")),
    (b'+NXT {"batch":5}', ("next", None, b'{"batch":5}')),
    (b"nonsense", ("", None, b"")),
]  # fmt: skip


@pytest.mark.parametrize(("payload", "expected"), PAYLOADS)
def test_payloads(payload: bytes, expected: tuple) -> None:
    assert parse_ack_word(payload) == expected


def pull(server: ReferenceStream, body: bytes) -> Message:
    """The first message that a pull request brings; it shows its own subject, not the one asked from."""
    server.publish("$JS.API.CONSUMER.MSG.NEXT.S.c", body, reply="pulled")
    (message,) = server.client.read_messages(1)
    return message


@pytest.mark.skipif(NO_NATS_SERVER, reason=NO_NATS_SERVER_REASON)
def test_nats_server_takes_payloads_for_the_same() -> None:
    """Each payload answers a message of its own; then the consumer's info tells what it was taken for."""
    with ReferenceStream() as server:
        server.create("S", subjects=["s"])
        server.client.subscribe("pulled", "pull")
        for payload, expected in PAYLOADS:
            if expected[0] == "next":
                continue  # an ack that also asks for more
            server.api("STREAM.PURGE.S")
            config = {"ack_policy": "explicit", "durable_name": "c", "sample_freq": "100"}
            server.api("CONSUMER.CREATE.S.c", stream_name="S", config=config)
            server.store("s", b"text")
            message = pull(server, b"1")
            place = parse_ack_subject(message.reply)
            assert place is not None
            assert place[:2] == (b"S", b"c")
            assert ack_reply(ack_prefix("S", "c"), *place[2:]) == message.reply
            assert server.ask(message.reply.decode(), payload).payload == b""
            info = server.api("CONSUMER.INFO.S.c")
            verb, delay, _ = expected
            is_done = verb in ("ack", "term")
            assert info["num_ack_pending"] == (0 if is_done else 1), payload
            # A message given back without a delay comes at once, and only then.
            comes_at_once = pull(server, b'{"batch":1,"no_wait":true}').payload == b"text"
            if verb == "nak" and (delay is None or delay > 10**9):
                assert comes_at_once == (delay is None), payload
            elif verb != "nak":
                assert not comes_at_once, payload
            server.api("CONSUMER.DELETE.S.c")
