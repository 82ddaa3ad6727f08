"""What is published again after a message was stored: the same bytes that nats-server sends."""

import re

import pytest

from shardbroker.jetstream.republish import Republish
from tests.jetstream.publish_judge import PublishJudge, block_of
from tests.jetstream.reference_stream import NO_NATS_SERVER, NO_NATS_SERVER_REASON
from tests.jetstream.stream_cases import NOW, face_of

STAMP = re.compile(rb"Nats-Time-Stamp: [^\r]*")


@pytest.mark.skipif(NO_NATS_SERVER, reason=NO_NATS_SERVER_REASON)
@pytest.mark.parametrize("headers_only", [False, True])
def test_republished_messages_are_those_of_nats_server(headers_only: bool) -> None:
    republish = {"src": "A.*", "dest": "_R.again.{{wildcard(1)}}", "headers_only": headers_only}
    with PublishJudge() as judge:
        face = judge.make("A", republish=republish)
        sent = []
        face.stream.republish = Republish(face.stream.config, lambda *message: sent.append(message))
        messages = [
            ("A.x", "", b"", b"one"),
            ("A.y", "", block_of(Key="value"), b"two"),
            ("A.x", "", block_of(Nats_Msg_Id="id"), b""),
            ("A.deep.er", "", b"", b"no match"),
            ("A.y", "_R.ack", b"", b"three"),
        ]
        for subject, reply, block, payload in messages:
            judge.publish(subject, payload, block, reply)
            face.offer(subject.encode(), reply.encode(), block, payload, NOW)
        face.settle(NOW)
        received = [m for m in judge.client.read_messages(5) if m.subject != b"_R.ack"]
    assert [(m.subject, STAMP.sub(b"", m.headers), m.payload) for m in received] == [
        (subject, STAMP.sub(b"", block), payload) for subject, block, payload in sent
    ]


def test_the_time_is_that_of_the_message() -> None:
    face = face_of("A")
    face.stream.config.republish = type(
        "RePublish", (), {"src": ">", "dest": "again.>", "headers_only": False}
    )
    sent = []
    face.stream.republish = Republish(face.stream.config, lambda *message: sent.append(message))
    face.offer(b"A.x", b"", b"", b"one", NOW + 120)
    face.settle(NOW)
    block = block_of(
        Nats_Stream="A",
        Nats_Subject="A.x",
        Nats_Sequence=1,
        Nats_Time_Stamp="2026-09-21T14:13:20.00000012Z",
        Nats_Last_Sequence=0,
    )
    assert sent == [(b"again.A.x", block, b"one")]


def test_nothing_is_published_again_before_it_is_stored() -> None:
    face = face_of("A")
    sent = []
    face.stream.republish = lambda *stored: sent.append(stored)
    face.offer(b"A.x", b"", b"", b"lost", NOW)
    face.append(NOW)
    face.fail()
    face.offer(b"A.x", b"", b"", b"kept", NOW)
    face.append(NOW)
    assert sent == []
    face.commit()
    assert sent == [(b"A.x", b"", b"kept", 1, NOW, 0)]
