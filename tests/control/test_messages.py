"""Every message survives encode and decode, and bytes that are no message raise ProtocolError only."""

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shardbroker.control import messages
from shardbroker.errors import ProtocolError

EXAMPLES = [
    messages.Attach(
        1, 2, "NID", "name", "XKEY", "0.0.0.0", 4222, 123, 1, [1, 0], 10, 5, 1 << 20, 1 << 28, 10
    ),
    messages.TakeSocket(cid=2**63, flags=messages.REJECT, port=65535, ip="2001:db8::1"),
    messages.TakeSocket(cid=1, flags=0, port=1, ip="127.0.0.1", state=b"\x00\xffstate"),
    messages.PeerDown(3, 7),
    messages.PeerUp(3, 8),
    messages.LameDuck(messages.LAME_DUCK_CLOSE, 12),
    messages.Stop(),
    messages.Query(9, messages.QUERY_SUBSCRIPTIONS, {"cids": [1, 2], "limit": 10}),
    messages.ReopenLog(),
    messages.Ready(0),
    messages.PeerDownDone(3, 7),
    messages.MoveSocket(cid=5, target_worker=63, port=9, ip="", state=b"x" * 1000),
    messages.Answer(2**64 - 1, b"{}"),
    messages.WriterAttach(4, 32 << 20, 7),
    messages.WriterPeer(3),
    messages.Fence(3),
    messages.WriterReady(8, 140, "/store", [{"log_id": 1, "metadata": None, "damaged": "x"}]),
    messages.WriterFailed("the store is in use"),
    messages.WriterReport("warn", "the disk is slow"),
    messages.LaneBroken(63),
    messages.Fenced(3, 2**32 - 1, 1),
    messages.WriterHealth(["the disk is full, publishes are refused"]),
    messages.StreamAttach(32 << 20, 1 << 16, 3),
    messages.StreamNews("put", {"name": "A", "config": {"subjects": ["a.>"]}}),
    messages.StreamAsk(7, "create", {"account": "$G", "name": "A"}),
    messages.StreamReply(7, {"error": [400, 10058, "stream name already in use"]}),
    messages.Progress(1, "reading the log of stream A"),
]


@pytest.mark.parametrize("message", EXAMPLES, ids=lambda message: type(message).__name__)
def test_round_trip(message: messages.Message) -> None:
    assert messages.decode(messages.encode(message)) == message


def test_every_class_has_an_example() -> None:
    assert {type(message) for message in EXAMPLES} == set(messages._CLASSES)


@given(st.binary(max_size=200))
def test_garbage_raises_protocol_error_only(data: bytes) -> None:
    with contextlib.suppress(ProtocolError):
        messages.decode(data)
