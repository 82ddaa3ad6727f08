"""Property: what is told of a consumer has nats-server's fields in its order; status blocks are its bytes.

A real nats-server makes, delivers, naks, terminates, pauses, resets; its answers and events are made again
from the values in them.
"""

import json
from collections.abc import Iterator

import pytest

from shardbroker.jetstream import consumer_statuses, consumer_types
from shardbroker.jetstream.api_types import list_page, names_page, success
from shardbroker.jetstream.go_encoding import encode, parse_time
from tests.jetstream.reference_stream import NO_NATS_SERVER, NO_NATS_SERVER_REASON, ReferenceStream
from tests.support.raw_client import Message

needs_nats_server = pytest.mark.skipif(NO_NATS_SERVER, reason=NO_NATS_SERVER_REASON)
SECOND = 1_000_000_000


@pytest.fixture(scope="module")
def server() -> Iterator[ReferenceStream]:
    with ReferenceStream() as running:
        yield running


def info_again(info: dict) -> dict:
    """The same info, from its values."""

    def pair(given: dict) -> dict:
        last = given.get("last_active")
        last_ns = None if last is None else parse_time(last)
        return consumer_types.sequences(given["consumer_seq"], given["stream_seq"], last_ns)

    now = parse_time(info["ts"])
    groups = [
        consumer_types.priority_group(
            one["group"], one.get("pinned_client_id", ""), parse_time(one["pinned_ts"])
        )
        for one in info.get("priority_groups", ())
    ]
    return consumer_types.consumer_info(
        stream=info["stream_name"],
        name=info["name"],
        created=parse_time(info["created"]),
        config=info["config"],
        delivered=pair(info["delivered"]),
        ack_floor=pair(info["ack_floor"]),
        ack_pending=info["num_ack_pending"],
        redelivered=info["num_redelivered"],
        waiting=info["num_waiting"],
        pending=info["num_pending"],
        now=now,
        push_bound=info.get("push_bound", False),
        pause_until=now + info["pause_remaining"] if info.get("paused") else None,
        priority_groups=groups,
    )


def pull(server: ReferenceStream, consumer: str, body: bytes) -> Message:
    """The first message that a pull request brings."""
    server.publish(f"$JS.API.CONSUMER.MSG.NEXT.S.{consumer}", body, reply="pulled")
    (message,) = server.client.read_messages(1)
    return message


@needs_nats_server
def test_answers(server: ReferenceStream) -> None:
    server.create("S", subjects=["s"])
    server.client.subscribe("pulled", "pull")
    for _ in range(3):
        server.store("s", b"text")
    configs = {
        "paused": {"pause_until": "2100-01-01T00:00:00Z"},
        "pinned": {"ack_policy": "explicit", "priority_policy": "pinned_client", "priority_groups": ["a"]},
        "plain": {"ack_policy": "explicit"},
        "push": {"deliver_subject": "pushed"},
    }
    server.client.subscribe("pushed", "push")
    for name, config in configs.items():
        body = json.dumps({"stream_name": "S", "config": {"durable_name": name, **config}}).encode()
        answer = server.ask(f"$JS.API.CONSUMER.CREATE.S.{name}", body).payload
        assert encode(consumer_types.create_answer(info_again(json.loads(answer)))) == answer
    server.client.read_messages(3)
    assert pull(server, "plain", b"1").payload == b"text"
    server.ask(pull(server, "plain", b"1").reply.decode(), b"+ACK")
    pull(server, "pinned", b'{"batch":1,"group":"a"}')
    infos = []
    for name in configs:
        answer = server.ask(f"$JS.API.CONSUMER.INFO.S.{name}").payload
        assert encode(consumer_types.info_answer(info_again(json.loads(answer)))) == answer
    answer = server.ask("$JS.API.CONSUMER.LIST.S").payload
    infos = [info_again(one) for one in json.loads(answer)["consumers"]]
    assert len(infos) == 4
    assert encode(list_page("CONSUMER.LIST", infos, total=4, offset=0)) == answer
    answer = server.ask("$JS.API.CONSUMER.NAMES.S").payload
    assert encode(names_page("CONSUMER.NAMES", sorted(configs), 0)) == answer
    answer = server.ask("$JS.API.CONSUMER.RESET.S.plain", b'{"seq":2}').payload
    assert encode(consumer_types.reset_answer(info_again(json.loads(answer)), 2)) == answer
    answer = server.ask("$JS.API.CONSUMER.PAUSE.S.plain", b'{"pause_until":"2100-01-01T00:00:00Z"}').payload
    until = parse_time("2100-01-01T00:00:00Z")
    now = until - json.loads(answer)["pause_remaining"]
    assert encode(consumer_types.pause_answer(until, now)) == answer
    answer = server.ask("$JS.API.CONSUMER.UNPIN.S.pinned", b'{"group":"a"}').payload
    assert encode(consumer_types.unpin_answer()) == answer
    answer = server.ask("$JS.API.CONSUMER.DELETE.S.plain").payload
    assert encode(success("CONSUMER.DELETE")) == answer


def event_again(body: dict) -> consumer_types.Event:
    """The same event, from its values."""
    given = dict(body)
    kind = given.pop("type").rsplit(".", 1)[-1]
    del given["id"]
    now = parse_time(given.pop("timestamp"))
    stream, consumer = given.pop("stream"), given.pop("consumer")
    if kind == "consumer_action":
        maker = consumer_types.created if given["action"] == "create" else consumer_types.deleted
        return maker(stream, consumer)
    if kind == "consumer_pause":
        return consumer_types.paused(stream, consumer, parse_time(given["pause_until"]), now)
    makers = {
        "max_deliver": consumer_types.max_deliveries,
        "nak": consumer_types.naked,
        "terminated": consumer_types.terminated,
        "consumer_group_pinned": consumer_types.pinned,
        "consumer_group_unpinned": consumer_types.unpinned,
        "consumer_ack": consumer_types.ack_metric,
    }
    return makers[kind](stream, consumer, **given)


@needs_nats_server
def test_events(server: ReferenceStream) -> None:
    server.create("E", subjects=["e"])
    server.client.subscribe("$JS.EVENT.ADVISORY.CONSUMER.>", "events")
    server.client.subscribe("$JS.EVENT.METRIC.>", "events2")
    server.client.subscribe("taken", "taken")
    for _ in range(3):
        server.store("e", b"text")
    config = {
        "durable_name": "c", "ack_policy": "explicit", "max_deliver": 2, "sample_freq": "100",
        "priority_policy": "pinned_client", "priority_groups": ["a"], "ack_wait": 50_000_000,
    }  # fmt: skip
    events: list[Message] = []

    def wait_for(kind: bytes) -> Message:
        """The next event of a kind, or the next delivery; events on the way are kept."""
        while True:
            (message,) = server.client.read_messages(1)
            if message.sid.startswith(b"events"):
                events.append(message)
            if kind in message.subject or (kind == b"delivery" and message.sid == b"taken"):
                return message

    def take(pin: str = "") -> Message:
        body = json.dumps({"batch": 1, "group": "a", **({"id": pin} if pin else {})}).encode()
        server.publish("$JS.API.CONSUMER.MSG.NEXT.E.c", body, reply="taken")
        return wait_for(b"delivery")

    server.api("CONSUMER.CREATE.E.c", stream_name="E", config=config)
    first = take()
    pin = first.headers.split(b"Nats-Pin-Id: ")[1].split(b"\r\n")[0].decode()
    server.ask(first.reply.decode(), b"-NAK")
    again = take(pin)
    assert again.reply.split(b".")[4:6] == [b"2", b"1"]
    server.ask(take(pin).reply.decode(), b"+ACK")
    server.ask(take(pin).reply.decode(), b"+TERM because")
    # Only when the message would be delivered again is it found that it may not.
    body = json.dumps({"batch": 1, "group": "a", "id": pin, "expires": 5 * SECOND}).encode()
    server.publish("$JS.API.CONSUMER.MSG.NEXT.E.c", body, reply="taken")
    wait_for(b".MAX_DELIVERIES.")
    server.publish("$JS.API.CONSUMER.PAUSE.E.c", b'{"pause_until":"2100-01-01T00:00:00Z"}')
    server.publish("$JS.API.CONSUMER.PAUSE.E.c", b"{}")
    server.publish("$JS.API.CONSUMER.UNPIN.E.c", b'{"group":"a"}')
    server.publish("$JS.API.CONSUMER.DELETE.E.c", b"")
    wait_for(b".DELETED.")
    for message in events:
        body = json.loads(message.payload)
        event = event_again(body)
        head = {"type": event.type, "id": body["id"], "timestamp": body["timestamp"]}
        assert encode({**head, **event.fields}) == message.payload
        assert event.subject.encode() == message.subject
    kinds = {message.subject.split(b".E.c")[0].rsplit(b".", 1)[-1] for message in events}
    assert kinds == {
        b"CREATED", b"PINNED", b"MSG_NAKED", b"MAX_DELIVERIES", b"ACK", b"MSG_TERMINATED", b"PAUSE",
        b"UNPINNED", b"DELETED",
    }  # fmt: skip


def test_the_domain_stands_before_a_group_and_last_elsewhere() -> None:
    event = consumer_types.unpinned("S", "c", "a", consumer_types.UNPINNED_BY_TIME, account="A", domain="d")
    assert list(event.fields) == ["account", "stream", "consumer", "domain", "group", "reason"]
    assert event.subject == "$JS.EVENT.ADVISORY.CONSUMER.UNPINNED.S.c"
    event = consumer_types.terminated("S", "c", 1, 2, 3, "why", "d")
    assert list(event.fields.items())[-2:] == [("reason", "why"), ("domain", "d")]
    assert "reason" not in consumer_types.terminated("S", "c", 1, 2, 3).fields


def test_what_is_delivered_once_is_never_shown_as_redelivered() -> None:
    for max_deliver, shown in ((1, 0), (2, 7)):
        info = consumer_types.consumer_info(
            stream="S", name="c", created=0, config={"max_deliver": max_deliver}, delivered={}, ack_floor={},
            ack_pending=0, redelivered=7, waiting=0, pending=0, now=SECOND,
        )  # fmt: skip
        assert info["num_redelivered"] == shown


def test_a_pause_that_is_over_is_not_shown() -> None:
    answer = consumer_types.pause_answer(5 * SECOND, 5 * SECOND)
    assert answer["paused"] is False
    assert answer["pause_until"] == "1970-01-01T00:00:05Z"
    assert "pause_remaining" not in answer
    assert consumer_types.pause_answer(None, SECOND)["pause_until"] == "0001-01-01T00:00:00Z"


# What nats-server 2.15.1 sent, byte for byte.
STATUSES = [
    (consumer_statuses.FLOW_CONTROL, b"NATS/1.0 100 FlowControl Request\r\n\r\n"),
    (consumer_statuses.NO_MESSAGES, b"NATS/1.0 404 No Messages\r\n\r\n"),
    (consumer_statuses.CONSUMER_DELETED, b"NATS/1.0 409 Consumer Deleted\r\n\r\n"),
    (consumer_statuses.PUSH_BASED, b"NATS/1.0 409 Consumer is push based\r\n\r\n"),
    (consumer_statuses.EXCEEDED_MAX_WAITING, b"NATS/1.0 409 Exceeded MaxWaiting\r\n\r\n"),
    (consumer_statuses.PIN_ID_MISMATCH, b"NATS/1.0 423 Nats-Pin-Id mismatch\r\n\r\n"),
    (
        consumer_statuses.with_rest(consumer_statuses.REQUEST_TIMEOUT, 10, 0),
        b"NATS/1.0 408 Request Timeout\r\nNats-Pending-Messages: 10\r\nNats-Pending-Bytes: 0\r\n\r\n",
    ),
    (
        consumer_statuses.with_rest(consumer_statuses.SIZE_EXCEEDS_MAX_BYTES, 1, 10),
        b"NATS/1.0 409 Message Size Exceeds MaxBytes\r\n"
        b"Nats-Pending-Messages: 1\r\nNats-Pending-Bytes: 10\r\n\r\n",
    ),
    (
        consumer_statuses.with_rest(consumer_statuses.BATCH_COMPLETED, 0, 927),
        b"NATS/1.0 409 Batch Completed\r\nNats-Pending-Messages: 0\r\nNats-Pending-Bytes: 927\r\n\r\n",
    ),
    (
        consumer_statuses.idle_heartbeat(3, 4),
        b"NATS/1.0 100 Idle Heartbeat\r\nNats-Last-Consumer: 3\r\nNats-Last-Stream: 4\r\n\r\n",
    ),
    (
        consumer_statuses.idle_heartbeat(3, 4, b"$JS.FC.S.c.abcd"),
        b"NATS/1.0 100 Idle Heartbeat\r\nNats-Last-Consumer: 3\r\nNats-Last-Stream: 4\r\n"
        b"Nats-Consumer-Stalled: $JS.FC.S.c.abcd\r\n\r\n",
    ),
    (consumer_statuses.exceeded_max_batch(2), b"NATS/1.0 409 Exceeded MaxRequestBatch of 2\r\n\r\n"),
    (
        consumer_statuses.exceeded_max_expires(SECOND),
        b"NATS/1.0 409 Exceeded MaxRequestExpires of 1s\r\n\r\n",
    ),
    (consumer_statuses.exceeded_max_bytes(100), b"NATS/1.0 409 Exceeded MaxRequestMaxBytes of 100\r\n\r\n"),
]


@pytest.mark.parametrize(("block", "expected"), STATUSES)
def test_statuses(block: bytes, expected: bytes) -> None:
    assert block == expected


@needs_nats_server
def test_a_stalled_push_consumer_says_so(server: ReferenceStream) -> None:
    """Flow control requests that nobody answers show in heartbeats."""
    server.create("F", subjects=["f"])
    server.client.subscribe("flow", "flow")
    config = {"deliver_subject": "flow", "flow_control": True, "idle_heartbeat": 100_000_000, "name": "c"}
    server.api("CONSUMER.CREATE.F.c", stream_name="F", config=config)
    for _ in range(30):
        server.publish("f", b"x" * 100_000)
    request, reply, delivered = b"", b"", 0
    while True:
        (message,) = server.client.read_messages(1)
        if message.sid != b"flow":
            continue
        if message.subject == b"f":
            delivered += 1
        elif b"FlowControl" in message.headers:
            request, reply = message.headers, message.reply
        elif b"Stalled" in message.headers:
            break
    assert request == consumer_statuses.FLOW_CONTROL
    assert reply.startswith(b"$JS.FC.F.c.")
    assert message.headers == consumer_statuses.idle_heartbeat(delivered, delivered, reply)
