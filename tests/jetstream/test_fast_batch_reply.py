"""Property: reply subjects of fast batches, and the bodies sent to them, are those of nats-server 2.15.1."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shardbroker.jetstream import fast_batch_reply
from shardbroker.jetstream.api_error import ApiError
from shardbroker.jetstream.fast_batch_reply import FastBatchError, FastBatchReply, parse
from tests.jetstream.reference_stream import NO_NATS_SERVER, NO_NATS_SERVER_REASON, ReferenceStream

# reply, (batch, flow, gap ok, sequence, operation)
GOOD = [
    (b"fi.a.10.ok.1.0.$FI", (b"a", 10, True, 1, 0)),
    (b"_INBOX.x.y.b.2.fail.7.1.$FI", (b"b", 2, False, 7, 1)),
    (b"fi.c.1.ok.1.2.$FI", (b"c", 1, True, 1, 2)),
    (b"fi.c.1.ok.2.3.$FI", (b"c", 1, True, 2, 3)),
    (b"fi.c.1.ok.1.4.$FI", (b"c", 1, True, 1, 4)),
    (b"fi.d.0.ok.1.0.$FI", (b"d", 10, True, 1, 0)),
    (b"fi.d.x.ok.1.0.$FI", (b"d", 10, True, 1, 0)),
    (b"fi.d.-5.ok.1.0.$FI", (b"d", 10, True, 1, 0)),
    (b"fi.d.70000.ok.1.0.$FI", (b"d", 65535, True, 1, 0)),
    (b"fi.d.99999999999999999999.ok.1.0.$FI", (b"d", 65535, True, 1, 0)),
    (b"fi.d.0005.ok.01.00.$FI", (b"d", 5, True, 1, 0)),
    (b"fi.d.1.ok.18446744073709551614.1.$FI", (b"d", 1, True, 2**64 - 2, 1)),
    (b"fi." + b"k" * 64 + b".1.ok.1.0.$FI", (b"k" * 64, 1, True, 1, 0)),
]
INVALID = [
    b"fi.c.1.ok.1.3.$FI",
    b"fi.c.1.ok.1.1.$FI",
    b"fi.c.1.ok.2.0.$FI",
    b"fi.i.1.maybe.1.0.$FI",
    b"fi.i.1.OK.1.0.$FI",
    b"fi.k.1.ok.1.5.$FI",
    b"fi.k.1.ok.1..$FI",
    b"fi.k.1.ok.x.0.$FI",
    b"fi.k.1.ok.0.0.$FI",
    b"fi.k.1.ok.+1.0.$FI",
    b"fi.k.1.ok.18446744073709551615.1.$FI",
    b"fi.k.1.ok.18446744073709551617.0.$FI",
    b"fi.1.ok.1.0.$FI",
    b"fi.$FI",
]


@pytest.mark.parametrize(("reply", "fields"), GOOD)
def test_parse(reply, fields):
    assert parse(reply) == FastBatchReply(*fields)


@pytest.mark.parametrize("reply", INVALID)
def test_invalid(reply):
    with pytest.raises(FastBatchError) as caught:
        parse(reply)
    assert caught.value.err_code == 10206


def test_long_name():
    with pytest.raises(FastBatchError) as caught:
        parse(b"fi." + b"k" * 65 + b".1.ok.1.0.$FI")
    assert caught.value.err_code == 10207


@pytest.mark.parametrize("reply", [b"", b".$FI", b"_INBOX.a", b"fi.a.10.ok.1.0.$FX", b"fi.a.10.ok.1.0"])
def test_other_replies(reply):
    assert parse(reply) is None


def test_commits_and_starts():
    kinds = [parse(b"fi.c.1.ok.2.%d.$FI" % operation) for operation in (1, 2, 3, 4)]
    assert [kind.is_commit for kind in kinds] == [False, True, True, False]
    assert [parse(b"fi.c.1.ok.1.%d.$FI" % operation).may_start for operation in (0, 2, 4)] == [
        True,
        True,
        False,
    ]


def test_bodies():
    assert fast_batch_reply.ack_body(0, 10) == b'{"type":"ack","seq":0,"msgs":10}'
    assert fast_batch_reply.gap_body(3, 5) == b'{"type":"gap","last_seq":3,"seq":5}'
    error = ApiError(400, 10060, "expected stream does not match")
    assert fast_batch_reply.error_body(2, error) == (
        b'{"type":"err","seq":2,"error":{"code":400,"err_code":10060,'
        b'"description":"expected stream does not match"}}'
    )
    assert fast_batch_reply.commit_body(b"F", 6, b"b", 3) == b'{"stream":"F","seq":6,"batch":"b","count":3}'
    assert fast_batch_reply.commit_body(b"F", 6, b"b", 3, b"hub") == (
        b'{"stream":"F","domain":"hub","seq":6,"batch":"b","count":3}'
    )


def test_flow():
    assert fast_batch_reply.first_flow(10, 1) == 10
    assert fast_batch_reply.first_flow(65535, 1) == 500
    assert fast_batch_reply.first_flow(10, 2) == 1
    flows = [1]
    while len(flows) < 9:
        flows.append(fast_batch_reply.next_flow(flows[-1], 65535, 3))
    assert flows == [1, 2, 4, 8, 16, 32, 64, 128, 166]
    assert fast_batch_reply.next_flow(500, 65535, 4) == 250
    assert fast_batch_reply.next_flow(500, 65535, 1000) == 250
    assert fast_batch_reply.next_flow(2, 2, 1) == 2


@given(st.from_regex(rb"[a.]{0,3}\.[ab]\.[0-9x]{0,2}\.(ok|fail)\.[0-3]\.[0-6]\.\$FI", fullmatch=True))
def test_parse_takes_or_refuses_everything(reply):
    try:
        assert parse(reply).sequence >= 1
    except FastBatchError as error:
        assert error.err_code == 10206


@pytest.mark.skipif(NO_NATS_SERVER, reason=NO_NATS_SERVER_REASON)
def test_against_nats_server():
    """Each reply subject alone; and a batch whose bodies are all known."""
    with ReferenceStream() as judge:
        judge.create("F", allow_batched=True)
        other_stream = b"NATS/1.0\r\nNats-Expected-Stream: X\r\n\r\n"
        judge.client.subscribe("fi.>", 5)

        def send(reply: bytes, body: bytes = b"x", block: bytes = b"") -> list[bytes]:
            judge.publish("F.a", body, block, reply.decode())
            # The refusal of another message comes after everything that the stream has sent before.
            assert judge.store("F.z", b"", other_stream) == {"err_code": 10060}
            return [message.payload for message in judge.client.take_messages()]

        for reply in INVALID:
            if b".." in reply:
                continue  # an answer to it would go to nobody
            assert b'"err_code":10206' in send(reply)[0], reply
        error = ApiError(400, 10060, "expected stream does not match")
        assert send(b"fi.s.2.fail.1.0.$FI") == [fast_batch_reply.ack_body(0, 2)]
        assert send(b"fi.s.2.fail.2.1.$FI") == [fast_batch_reply.ack_body(2, 2)]
        assert send(b"fi.t.9.ok.1.0.$FI")[0] == fast_batch_reply.ack_body(
            0, fast_batch_reply.first_flow(9, 2)
        )
        assert send(b"fi.t.9.ok.4.1.$FI")[0] == fast_batch_reply.gap_body(2, 4)
        assert send(b"fi.t.9.ok.5.1.$FI", b"x", other_stream)[0] == fast_batch_reply.error_body(5, error)
        assert send(b"fi.s.2.fail.4.1.$FI") == [
            fast_batch_reply.gap_body(3, 4),
            fast_batch_reply.commit_body(b"F", 2, b"s", 2),
        ]
