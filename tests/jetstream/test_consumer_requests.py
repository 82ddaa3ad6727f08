"""Property: requests about consumers are read and refused as by nats-server.

Pull requests go to a real nats-server for consumers of an empty stream, with forms that make it answer at
once: what it refuses, and with which words, is compared. The fast reader is compared with the slow one on
bodies that are made by chance. Requests to pause, unpin and reset are compared for a consumer that is there.
"""

import json
import random
from collections.abc import Iterator

import pytest

from shardbroker.jetstream import api_types, consumer_types
from shardbroker.jetstream.api_error import ApiError
from shardbroker.jetstream.consumer_config import ConsumerConfig
from shardbroker.jetstream.consumer_next import read_next
from shardbroker.jetstream.consumer_requests import (
    NextRequest,
    PullRefused,
    check_next,
    read_create,
    read_next_slowly,
    read_page,
    read_pause,
    read_reset,
    read_unpin,
)
from shardbroker.jetstream.go_encoding import encode
from tests.jetstream.judge import Judge
from tests.jetstream.reference_stream import NO_NATS_SERVER, NO_NATS_SERVER_REASON

SECOND = 1_000_000_000
CONSUMERS = {
    "plain": {},
    "limited": {"max_batch": 5, "max_expires": 50_000_000, "max_bytes": 100},
    "overflow": {"priority_policy": "overflow", "priority_groups": ["a"]},
    "pinned": {"priority_policy": "pinned_client", "priority_groups": ["a"]},
    "prioritized": {"priority_policy": "prioritized", "priority_groups": ["a", "b"]},
    "push": {"deliver_subject": "x"},
}


@pytest.fixture(scope="module")
def judge() -> Iterator[Judge]:
    running = Judge()
    body = {"name": "S", "subjects": ["s"], "storage": "memory"}
    assert b'"error"' not in running.ask("$JS.API.STREAM.CREATE.S", json.dumps(body).encode())
    for name, config in CONSUMERS.items():
        config = {"ack_policy": "explicit", "durable_name": name, **config}
        body = {"stream_name": "S", "config": config}
        answer = running.ask(f"$JS.API.CONSUMER.CREATE.S.{name}", json.dumps(body).encode())
        assert b'"error"' not in answer, answer
    yield running
    running.close()


# Bodies that a consumer without messages answers at once.
NEXT_BODIES = [
    b'{"no_wait":true}', b'{"batch":1,"no_wait":true}', b'{"batch":"x"}', b'{"group":5}', b'{"batch":1.5}',
    b'{"batch":99999999999999999999}', b'{"priority":"a"}', b'{"no_wait":true,"x":1}', b'{"NO_WAIT":true}',
    b'{"batch":1,"expires":1000000}', b'{"expires":1000000}', b'{"batch":-3,"expires":1000000}',
    b'{"batch":10,"max_bytes":50,"expires":1000000}', b'{"expires":100,"idle_heartbeat":51}',
    b'{"expires":100,"idle_heartbeat":50}', b'{"expires":100,"idle_heartbeat":-50}',
    b'{"expires":100,"idle_heartbeat":5000000000000000000}', b'{"idle_heartbeat":1}', b"{} x",
    b'{"no_wait":true', b"{no", b'{"id":"x","no_wait":true}', b'{"min_pending":1,"no_wait":true}',
    b'{"min_ack_pending":1,"no_wait":true}', b'{"min_pending":-1,"group":"a","no_wait":true}',
    b'{"priority":10,"no_wait":true}', b'{"priority":-1,"no_wait":true}', b'{"batch":6,"no_wait":true}',
    b'{"batch":5,"no_wait":true}', b'{"batch":6,"expires":60000000}', b'{"expires":60000000}',
    b'{"max_bytes":101,"no_wait":true}',
    b'{"max_bytes":100,"no_wait":true}', b'{"group":"a","no_wait":true}', b'{"group":"b","no_wait":true}',
    b'{"group":"a","priority":3,"no_wait":true}', b'{"group":"a","id":"x","no_wait":true}',
    b'{"group":"a","min_pending":3,"no_wait":true}', b'{"expires":-5}', b'{"expires":1.5}',
    b'{"no_wait":null,"batch":null,"expires":1000000}', b' {"no_wait":true}\n', b'{"no_wait":"x"}',
    b'{"batch":1,"batch":2,"expires":1000000}', b'{"max_bytes":"1"}', b'{"a":}',
]  # fmt: skip


def answer_to(body: bytes, config: ConsumerConfig) -> bytes:
    """What a consumer without messages answers."""
    if not config.is_pull:
        return b"NATS/1.0 409 Consumer is push based\r\n\r\n"
    try:
        request = read_next(body)
    except PullRefused as refused:
        return refused.block
    if (block := check_next(request, config)) is not None:
        return block
    if request.no_wait and not request.expires:
        return b"NATS/1.0 404 No Messages\r\n\r\n"
    return b"NATS/1.0 408 Request Timeout\r\nNats-Pending-Messages: %d\r\nNats-Pending-Bytes: %d\r\n\r\n" % (
        request.batch,
        request.max_bytes,
    )


@pytest.mark.skipif(NO_NATS_SERVER, reason=NO_NATS_SERVER_REASON)
@pytest.mark.parametrize("name", CONSUMERS)
def test_pull_requests_are_answered_alike(judge: Judge, name: str) -> None:
    config = ConsumerConfig(**CONSUMERS[name])
    for body in NEXT_BODIES:
        assert answer_to(body, config) == judge.ask(f"$JS.API.CONSUMER.MSG.NEXT.S.{name}", body), body


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b"", NextRequest()),
        (b"  ", NextRequest()),
        (b"10", NextRequest(10)),
        (b" 10\n", NextRequest(10)),
        (b"+10", NextRequest(10)),
        (b"-10", NextRequest(-10)),
        (b"007", NextRequest(7)),
        (b"0", NextRequest(0)),
        (b"1x", NextRequest()),
        (b"[]", NextRequest()),
        (b"null", NextRequest()),
        (b"\xff", NextRequest()),
        (b"99999999999999999999", NextRequest()),
        (b"9223372036854775807", NextRequest(9223372036854775807)),
        (b"{}", NextRequest(0, is_object=True)),
        (b'{"batch":5}', NextRequest(5, is_object=True)),
        (b'{"batch":5,"expires":5000000000}', NextRequest(5, 5 * SECOND, is_object=True)),
        (
            b'{ "expires" : 9 , "no_wait" : true , "max_bytes" : 7, "idle_heartbeat" : 4 , "batch" : 3 }',
            NextRequest(3, 9, True, 7, 4, is_object=True),
        ),
        (b'{"no_wait":false,"batch":2}', NextRequest(2, is_object=True)),
        (
            b'{"batch":1,"group":"a","min_pending":2,"min_ack_pending":3,"id":"x","priority":4}',
            NextRequest(1, group="a", min_pending=2, min_ack_pending=3, id="x", priority=4, is_object=True),
        ),
    ],
)
def test_pull_requests_that_are_good(body: bytes, expected: NextRequest) -> None:
    assert read_next(body) == expected
    assert read_next_slowly(body) == expected


def test_the_pin_is_compared() -> None:
    config = ConsumerConfig(**CONSUMERS["pinned"])
    request = read_next(b'{"group":"a","id":"x"}')
    assert check_next(request, config) is None
    assert check_next(request, config, "x") is None
    assert check_next(request, config, "y") == b"NATS/1.0 423 Nats-Pin-Id mismatch\r\n\r\n"
    assert check_next(read_next(b'{"group":"a"}'), config, "y") is None
    # Without JSON there is no group to miss.
    assert check_next(read_next(b"5"), config, "y") is None


def test_fast_and_slow_reader_agree() -> None:
    chance = random.Random(3)
    keys = [
        '"batch"',
        '"expires"',
        '"no_wait"',
        '"max_bytes"',
        '"idle_heartbeat"',
        '"Batch"',
        '"group"',
        "batch",
    ]
    values = ["0", "1", "17", "5000000000", "999999999999999999", "9999999999999999999"]
    values += ["-1", "01", "1.5", "1e3", "true", "false", "null", '"1"', "", "tru", "{}"]
    good = 0
    for _ in range(5000):
        members = []
        for _ in range(chance.randint(0, 3)):
            key = chance.choice(keys[:5] * 6 + keys)
            value = (
                chance.choice(["true", "false"])
                if key == '"no_wait"'
                else chance.choice(values[:5] * 6 + values)
            )
            members.append(f"{key}{chance.choice([':', ': ', ' :', ':', ''])}{value}")
        body = (
            "{" + chance.choice([",", ", ", " ,"]).join(members) + chance.choice(["}"] * 8 + ["} ", "", "}}"])
        )
        body = chance.choice(["", "", "", " "]) + body
        outcome = _outcome(read_next, body.encode())
        assert outcome == _outcome(read_next_slowly, body.encode()), body
        good += isinstance(outcome, NextRequest)
    assert 1000 < good < 4500


def _outcome(reader: object, body: bytes) -> object:
    try:
        return reader(body)
    except PullRefused as refused:
        return refused.block


OTHER_BODIES = [
    b"", b"{}", b" {} ", b"null", b"[]", b"x", b"1", b'"a"', b"{", b'{"nope":1}', b'{"group":""}',
    b'{"group":"a"}', b'{"group":"zz"}', b'{"group":"a b"}', b'{"group":5}', b'{"GROUP":"a","x":1}',
    b'{"seq":0}', b'{"seq":5}', b'{"seq":-1}', b'{"seq":"a"}', b'{"seq":1,"x":2}',
    b'{"pause_until":"0001-01-01T00:00:00Z"}', b'{"pause_until":"2020-01-01T00:00:00Z"}',
    b'{"pause_until":"x"}', b'{"pause_until":5}', b'{"pause_until":null}',
    b'{"pause_until":"2020-01-01T02:00:00.5+02:00"}', b'{"pause_until":"2020-01-01T00:00:00Z","x":1}',
]  # fmt: skip


@pytest.mark.skipif(NO_NATS_SERVER, reason=NO_NATS_SERVER_REASON)
def test_pause_is_answered_alike(judge: Judge) -> None:
    for body in OTHER_BODIES:
        try:
            ours = consumer_types.pause_answer(read_pause(body), 1_790_000_000 * SECOND)
        except ApiError as error:
            ours = api_types.refusal("CONSUMER.PAUSE", error)
        assert encode(ours) == judge.ask("$JS.API.CONSUMER.PAUSE.S.plain", body), body


@pytest.mark.skipif(NO_NATS_SERVER, reason=NO_NATS_SERVER_REASON)
def test_unpin_is_answered_alike(judge: Judge) -> None:
    for body in OTHER_BODIES:
        try:
            ours = consumer_types.unpin_answer()
            if read_unpin(body) != "a":
                ours = {**ours, "error": {"code": 400, "err_code": 10160}}
        except ApiError as error:
            ours = api_types.refusal("CONSUMER.UNPIN", error)
        theirs = judge.ask("$JS.API.CONSUMER.UNPIN.S.pinned", body)
        if ours.get("error", {}).get("err_code") == 10160:
            assert json.loads(theirs)["error"]["err_code"] == 10160
        else:
            assert encode(ours) == theirs, body


@pytest.mark.skipif(NO_NATS_SERVER, reason=NO_NATS_SERVER_REASON)
def test_reset_is_read_alike(judge: Judge) -> None:
    for body in OTHER_BODIES:
        theirs = judge.ask("$JS.API.CONSUMER.RESET.S.plain", body)
        try:
            # The stream is empty: the ack floor is 0, so that 0 stands for 1.
            assert (read_reset(body) or 1) == json.loads(theirs)["reset_seq"], body
        except ApiError as error:
            assert encode(api_types.refusal("CONSUMER.RESET", error)) == theirs, body


def test_create_takes_names_from_the_subject() -> None:
    config = b'{"name":"own","filter_subject":"a.b"}'
    body = b'{"stream_name":"S","config":' + config + b',"action":"create","pedantic":true}'
    request = read_create("CONSUMER.CREATE", ("S", "c", "a.b"), body)
    assert (request.stream, request.config.name, request.action, request.pedantic) == (
        "S",
        "c",
        "create",
        True,
    )
    request = read_create("CONSUMER.CREATE", ("S",), b'{"stream_name":"S","config":{"name":"own"}}')
    assert (request.config.name, request.action, request.pedantic) == ("own", "", False)
    body = b'{"stream_name":"S","config":{"durable_name":"d"}}'
    assert read_create("CONSUMER.DURABLE.CREATE", ("S", "d"), body).config.name == "d"


def test_fields_of_later_versions_are_skipped_when_not_strict() -> None:
    body = b'{"stream_name":"S","later":1,"config":{"later":2,"durable_name":"d"}}'
    assert read_create("CONSUMER.CREATE", ("S", "d"), body, strict=False).config.durable_name == "d"
    with pytest.raises(ApiError) as refused:
        read_create("CONSUMER.CREATE", ("S", "d"), body)
    assert refused.value.err_code == 10025


def test_pages() -> None:
    assert read_page(b'{"offset":7}').offset == 7
    assert read_page(b"").offset == 0
