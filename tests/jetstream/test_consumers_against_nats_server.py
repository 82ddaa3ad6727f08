"""Property: consumers are made, changed and refused as by nats-server, with the same words.

The same bodies go to a real nats-server and through `read_create` and `check_create`, one after the other, so
that consumers see each other. Compared are error code and text, or the bytes of the whole configuration in
the answer. A table holds what is known to be delicate; random combinations of fields, with fixed seeds, hold
what nobody thought of. Streams of all retentions, with and without limits, of account and server too.
"""

import json
import random
import re
from collections.abc import Iterator

import pytest

from shardbroker.jetstream import api_errors
from shardbroker.jetstream.ack_tokens import account_hash
from shardbroker.jetstream.js_limits import JetStreamLimits
from tests.jetstream.consumer_judge import ConsumerPair
from tests.jetstream.reference_stream import NO_NATS_SERVER, NO_NATS_SERVER_REASON

pytestmark = pytest.mark.skipif(NO_NATS_SERVER, reason=NO_NATS_SERVER_REASON)

SECOND = 1_000_000_000
STREAMS = [
    {"name": "L", "subjects": ["l.>"], "storage": "memory"},
    {"name": "I", "subjects": ["i.>"], "storage": "memory", "retention": "interest"},
    {"name": "W", "subjects": ["w.>"], "storage": "memory", "retention": "workqueue"},
    {
        "name": "B", "subjects": ["b.*"], "storage": "memory", "max_consumers": 3,
        "consumer_limits": {"inactive_threshold": 10 * SECOND, "max_ack_pending": 50},
    },
]  # fmt: skip
LIMITED = """
jetstream: {limits: {max_ack_pending: 200, max_request_batch: 30, default_max_consumers: 4}}
accounts {
  A {
    users: [{user: a, password: a}]
    jetstream: {max_mem: 1048576, max_file: 2097152, max_ack_pending: 100, max_consumers: 3}
  }
}
"""


@pytest.fixture(scope="module")
def plain() -> Iterator[ConsumerPair]:
    pair = ConsumerPair(STREAMS)
    pair.subscribe("bound.to")
    yield pair
    pair.close()


@pytest.fixture(scope="module")
def limited() -> Iterator[ConsumerPair]:
    limits = JetStreamLimits(
        max_memory=1 << 20,
        max_storage=2 << 20,
        max_consumers=3,
        max_ack_pending=100,
        server_max_ack_pending=200,
        server_max_request_batch=30,
        server_consumers_max=4,
    )
    pair = ConsumerPair(STREAMS, LIMITED, limits, user="a", **{"pass": "a"})
    yield pair
    pair.close()


TIME = "2026-01-02T03:04:05Z"
# Configurations that are delicate; each is tried on every stream, plain and pedantic.
CREATE_TABLE = [
    {},
    {"durable_name": "c"},
    {"durable_name": "d"},
    {"name": "d"},
    {"durable_name": "c", "ack_policy": "explicit"},
    {"ack_policy": "all"},
    {"ack_policy": "flow_control"},
    {"ack_policy": "flow_control", "deliver_subject": "to"},
    {"ack_policy": "flow_control", "deliver_subject": "to", "durable_name": "c", "ack_wait": 5},
    {"ack_policy": "flow_control", "deliver_subject": "to", "backoff": [5]},
    {"ack_policy": "flow_control", "deliver_subject": "to", "max_deliver": 5},
    {"ack_policy": "flow_control", "deliver_subject": "to", "flow_control": True, "idle_heartbeat": SECOND},
    {"ack_policy": "flow_control", "deliver_subject": "to", "max_ack_pending": -1},
    {"ack_policy": "flow_control", "deliver_subject": "to", "flow_control": True, "idle_heartbeat": 5},
    {"ack_policy": "bogus"},
    {"ack_policy": None},
    {"ack_policy": "explicit", "deliver_policy": "undefined"},
    {"deliver_policy": "nope"},
    {"replay_policy": "original", "ack_policy": "explicit"},
    {"replay_policy": "x"},
    {"priority_policy": "x"},
    {"priority_policy": None},
    {"ack_policy": "explicit", "ack_wait": -1},
    {"ack_policy": "explicit", "ack_wait": 1},
    {"ack_policy": "explicit", "backoff": [-1]},
    {"ack_policy": "explicit", "backoff": [5, 6], "max_deliver": 2, "ack_wait": 5},
    {"ack_policy": "explicit", "backoff": [5, 6, 7], "max_deliver": 2},
    {"ack_policy": "explicit", "backoff": [5, 6, 7], "max_deliver": -1},
    {"ack_policy": "explicit", "backoff": []},
    {"ack_policy": "explicit", "max_deliver": -5},
    {"ack_policy": "explicit", "max_deliver": 5},
    {"ack_policy": "explicit", "max_waiting": -5},
    {"ack_policy": "explicit", "max_waiting": 5},
    {"ack_policy": "explicit", "max_ack_pending": -5},
    {"ack_policy": "explicit", "max_ack_pending": -1},
    {"ack_policy": "explicit", "max_ack_pending": 51},
    {"ack_policy": "explicit", "max_ack_pending": 101},
    {"ack_policy": "explicit", "max_ack_pending": 201},
    {"ack_policy": "explicit", "max_batch": -5},
    {"ack_policy": "explicit", "max_batch": 31},
    {"ack_policy": "explicit", "max_expires": -5},
    {"ack_policy": "explicit", "max_expires": 5},
    {"ack_policy": "explicit", "max_expires": 1_000_000},
    {"ack_policy": "explicit", "max_bytes": -5},
    {"ack_policy": "explicit", "max_bytes": 5},
    {"ack_policy": "explicit", "inactive_threshold": -5},
    {"ack_policy": "explicit", "inactive_threshold": 11 * SECOND},
    {"ack_policy": "explicit", "durable_name": "c", "inactive_threshold": 9 * SECOND},
    {"ack_policy": "explicit", "idle_heartbeat": -5},
    {"ack_policy": "explicit", "idle_heartbeat": 5},
    {"ack_policy": "explicit", "flow_control": True},
    {"ack_policy": "explicit", "rate_limit_bps": 5},
    {"ack_policy": "explicit", "num_replicas": -1},
    {"ack_policy": "explicit", "num_replicas": 1},
    {"ack_policy": "explicit", "num_replicas": 2},
    {"ack_policy": "explicit", "description": "x" * 4096},
    {"ack_policy": "explicit", "description": "x" * 4097},
    {"ack_policy": "explicit", "metadata": {"a": "b", "_nats.level": "9", "_nats.req.level": "7"}},
    {"ack_policy": "explicit", "metadata": {"a": "x" * 131072}},
    {"ack_policy": "explicit", "metadata": {}},
    {"deliver_subject": "to"},
    {"deliver_subject": "to", "ack_policy": "explicit"},
    {"deliver_subject": "to", "ack_policy": "explicit", "deliver_group": "g", "headers_only": True},
    {"deliver_subject": "to.*"},
    {"deliver_subject": "to.>"},
    {"deliver_subject": "to..x"},
    {"deliver_subject": "to x"},
    {"deliver_subject": "."},
    {"deliver_subject": "l.x", "ack_policy": "explicit"},
    {"deliver_subject": "w.x", "ack_policy": "explicit"},
    {"deliver_subject": "b.x", "ack_policy": "explicit"},
    {"deliver_subject": "to", "max_waiting": 5},
    {"deliver_subject": "to", "max_ack_pending": 5},
    {"deliver_subject": "to", "idle_heartbeat": 5},
    {"deliver_subject": "to", "idle_heartbeat": SECOND, "flow_control": True},
    {"deliver_subject": "to", "flow_control": True},
    {"deliver_subject": "to", "rate_limit_bps": 1024, "max_batch": 5, "max_expires": 5, "max_bytes": 5},
    {"direct": True},
    {"direct": True, "deliver_subject": "to", "durable_name": "c"},
    {"direct": True, "deliver_subject": "to", "name": "c"},
    {"filter_subject": "a", "ack_policy": "explicit"},
    {"filter_subject": "a..b", "ack_policy": "explicit"},
    {"filter_subject": "a", "filter_subjects": ["b"], "ack_policy": "explicit"},
    {"filter_subject": "", "filter_subjects": [], "ack_policy": "explicit"},
    {"filter_subjects": [""], "ack_policy": "explicit"},
    {"filter_subjects": ["a", "b"], "ack_policy": "explicit"},
    {"filter_subjects": ["a", "a"], "ack_policy": "explicit"},
    {"filter_subjects": ["a.*", "a.b"], "ack_policy": "explicit"},
    {"filter_subjects": ["a.*", "*.b"], "ack_policy": "explicit"},
    {"filter_subjects": ["a.b", "a..b"], "ack_policy": "explicit"},
    {"filter_subjects": ["a.>", "a..b"], "ack_policy": "explicit"},
    {"filter_subjects": [f"a.{number}" for number in range(40)], "ack_policy": "explicit"},
    {"filter_subjects": [*(f"a.{number}" for number in range(40)), "a.*"], "ack_policy": "explicit"},
    {"ack_policy": "explicit", "opt_start_seq": 5},
    {"ack_policy": "explicit", "opt_start_time": TIME},
    {"ack_policy": "explicit", "deliver_policy": "last"},
    {"ack_policy": "explicit", "deliver_policy": "last", "opt_start_seq": 5},
    {"ack_policy": "explicit", "deliver_policy": "last", "opt_start_time": TIME},
    {"ack_policy": "explicit", "deliver_policy": "new"},
    {"ack_policy": "explicit", "deliver_policy": "new", "opt_start_seq": 5},
    {"ack_policy": "explicit", "deliver_policy": "new", "opt_start_time": TIME},
    {"ack_policy": "explicit", "deliver_policy": "last_per_subject"},
    {"ack_policy": "explicit", "deliver_policy": "last_per_subject", "filter_subject": "a"},
    {"ack_policy": "explicit", "deliver_policy": "last_per_subject", "filter_subjects": ["a"]},
    {"ack_policy": "explicit", "deliver_policy": "last_per_subject", "opt_start_seq": 5},
    {"ack_policy": "explicit", "deliver_policy": "last_per_subject", "opt_start_time": TIME},
    {"ack_policy": "explicit", "deliver_policy": "by_start_sequence"},
    {"ack_policy": "explicit", "deliver_policy": "by_start_sequence", "opt_start_seq": 5},
    {
        "ack_policy": "explicit", "deliver_policy": "by_start_sequence", "opt_start_seq": 5,
        "opt_start_time": TIME,
    },
    {"ack_policy": "explicit", "deliver_policy": "by_start_time"},
    {
        "ack_policy": "explicit", "deliver_policy": "by_start_time",
        "opt_start_time": "2026-01-02T03:04:05+02:00",
    },
    {"ack_policy": "explicit", "deliver_policy": "by_start_time", "opt_start_time": TIME, "opt_start_seq": 5},
    {"ack_policy": "explicit", "sample_freq": "100%"},
    {"ack_policy": "explicit", "sample_freq": "+5"},
    {"ack_policy": "explicit", "sample_freq": "%"},
    {"ack_policy": "explicit", "sample_freq": "x\"y%"},
    {"ack_policy": "explicit", "sample_freq": "5%%"},
    {"ack_policy": "explicit", "sample_freq": "99999999999999999999"},
    {"ack_policy": "explicit", "sample_freq": "-3"},
    {"ack_policy": "explicit", "priority_groups": ["a"]},
    {"ack_policy": "explicit", "priority_groups": []},
    {"ack_policy": "explicit", "priority_timeout": 5},
    {"ack_policy": "explicit", "priority_timeout": -5},
    {"ack_policy": "explicit", "priority_policy": "overflow"},
    {"ack_policy": "explicit", "priority_policy": "overflow", "priority_groups": ["a"]},
    {"ack_policy": "explicit", "priority_policy": "prioritized", "priority_groups": ["a", "b"]},
    {"ack_policy": "explicit", "priority_policy": "pinned_client", "priority_groups": ["a"]},
    {"ack_policy": "explicit", "priority_policy": "overflow", "priority_groups": [""]},
    {"ack_policy": "explicit", "priority_policy": "overflow", "priority_groups": ["a b"]},
    {"ack_policy": "explicit", "priority_policy": "overflow", "priority_groups": ["a" * 17]},
    {"ack_policy": "explicit", "priority_policy": "overflow", "priority_groups": ["a\n"]},
    {"ack_policy": "explicit", "priority_policy": "overflow", "deliver_subject": "to"},
    {"ack_policy": "explicit", "pause_until": "2030-01-01T00:00:00+01:00"},
    {"ack_policy": "explicit", "pause_until": "0001-01-01T00:00:00Z"},
    {"ack_policy": "explicit", "pause_until": "x"},
    {"ack_policy": "explicit", "mem_storage": True, "unknown": 1},
    {"ack_policy": "explicit", "mem_storage": True},
]  # fmt: skip


@pytest.mark.parametrize("stream", ["L", "I", "W", "B"])
def test_table(plain: ConsumerPair, stream: str) -> None:
    for config in CREATE_TABLE:
        plain.reset()
        for pedantic in (False, True):
            plain.create(stream, "c", pedantic=pedantic, **config)


def test_table_with_limits_of_account_and_server(limited: ConsumerPair) -> None:
    for stream in ("L", "B"):
        for config in CREATE_TABLE:
            limited.reset()
            for pedantic in (False, True):
                limited.create(stream, "c", pedantic=pedantic, **config)


def test_counts_are_limited(plain: ConsumerPair, limited: ConsumerPair) -> None:
    for pair in (plain, limited):
        pair.reset()
        answers = [pair.create("B", f"c{number}") for number in range(5)]
        assert answers[3] == (400, 10026, "maximum consumers limit reached")
        pair.create("B", "c9", direct=True, deliver_subject="to")
        pair.create("B", "c1", description="changed")
    limited.reset()
    assert limited.create("L", "a3") != limited.create("L", "a4")
    for number in range(5):
        limited.create("L", f"c{number}", ack_policy="explicit")


# Subjects and bodies of the older forms, and what does not fit together.
FORMS = [
    ("CREATE.L", {"stream_name": "L", "config": {}}),
    ("CREATE.L", {"stream_name": "L", "config": {"name": "n"}}),
    ("CREATE.L", {"stream_name": "L", "config": {"name": "n"}}),
    ("CREATE.L", {"stream_name": "L", "config": {"name": "n.m"}}),
    ("CREATE.L", {"stream_name": "L", "config": {"name": "n/m"}}),
    ("CREATE.L", {"stream_name": "L", "config": {"name": "n m"}}),
    ("CREATE.L", {"stream_name": "L", "config": {"durable_name": "d"}}),
    ("CREATE.L", {"stream_name": "L", "config": {"durable_name": "d", "name": "d"}}),
    ("CREATE.L", {"stream_name": "L"}),
    ("CREATE.L", {"stream_name": "X"}),
    ("CREATE.X", {"stream_name": "X"}),
    ("CREATE.X", {"stream_name": "X", "config": {"num_replicas": 3}}),
    ("CREATE.L", b""),
    ("CREATE.L", b"{}"),
    ("CREATE.L", b"null"),
    ("CREATE.L", b"[]"),
    ("CREATE.L", b"x"),
    ("CREATE.L", b'{"stream_name":"L","config":null}'),
    ("CREATE.L", b'{"stream_name":"L","config":5}'),
    ("CREATE.L", b'{"stream_name":"L","config":{"ack_wait":"5s"}}'),
    ("CREATE.L", b'{"stream_name":"L","config":{"backoff":[1,"2"]}}'),
    ("CREATE.L", b'{"stream_name":"L","config":{"filter_subjects":"a"}}'),
    ("CREATE.L", b'{"stream_name":"L","config":{"rate_limit_bps":-1}}'),
    ("CREATE.L", b'{"stream_name":"L","config":{"opt_start_time":5}}'),
    ("CREATE.L", b'{"stream_name":"L","action":"zz"}'),
    ("CREATE.L", b'{"stream_name":"L","action":null}'),
    ("CREATE.L", b'{"stream_name":"L","action":5}'),
    ("CREATE.L", b'{"stream_name":"L","action":"update"}'),
    ("CREATE.L", b'{"stream_name":"L","pedantic":1}'),
    ("CREATE.L", b'{"stream_name":"L","extra":1}'),
    ("CREATE.L.c", {"stream_name": "L", "config": {"durable_name": "x"}}),
    ("CREATE.L.c", {"stream_name": "L", "config": {"durable_name": "c", "name": "other"}}),
    ("CREATE.L.c/d", {"stream_name": "L", "config": {}}),
    ("CREATE.L.c\\d", {"stream_name": "L", "config": {}}),
    ("CREATE.L.f.a", {"stream_name": "L", "config": {"filter_subject": "a"}}),
    ("CREATE.L.f.a.b.>", {"stream_name": "L", "config": {"filter_subject": "a.b.>"}}),
    ("CREATE.L.f.a.b", {"stream_name": "L", "config": {"filter_subject": "a"}}),
    ("CREATE.L.f.a", {"stream_name": "L", "config": {}}),
    ("CREATE.L.f.a", {"stream_name": "L", "config": {"filter_subjects": ["a"]}}),
    ("CREATE.L.f", {"stream_name": "L", "config": {"filter_subjects": ["a"]}}),
    ("CREATE.L." + "n" * 255, {"stream_name": "L", "config": {"durable_name": "n" * 255}}),
    ("CREATE.L." + "n" * 256, {"stream_name": "L", "config": {"durable_name": "n" * 256}}),
    ("DURABLE.CREATE.L.c", {"stream_name": "L", "config": {"durable_name": "c"}}),
    ("DURABLE.CREATE.L.c", {"stream_name": "L", "config": {"durable_name": "d"}}),
    ("DURABLE.CREATE.L.c", {"stream_name": "L", "config": {}}),
    ("DURABLE.CREATE.L.c", {"stream_name": "L", "config": {"name": "c"}}),
    ("DURABLE.CREATE.L.c", {"stream_name": "L", "config": {"durable_name": "c", "name": "d"}}),
    ("DURABLE.CREATE.L.c/d", {"stream_name": "L", "config": {"durable_name": "c/d"}}),
    ("DURABLE.CREATE.L.g", {"stream_name": "L", "config": {"durable_name": "g", "filter_subjects": ["a"]}}),
    ("DURABLE.CREATE.X.c", {"stream_name": "X", "config": {"durable_name": "c"}}),
]  # fmt: skip


def test_forms_of_requests(plain: ConsumerPair) -> None:
    plain.reset()
    for subject, body in FORMS:
        plain.compare(f"$JS.API.CONSUMER.{subject}", body)


# From the first to the second, with each action.
PUSH = {"deliver_subject": "to", "ack_policy": "explicit"}
PULL = {"ack_policy": "explicit", "durable_name": "c"}
UPDATES = [
    (PULL, PULL),
    ({"ack_policy": "explicit"}, {"ack_policy": "explicit"}),
    ({**PULL, "backoff": []}, PULL),
    ({**PULL, "filter_subjects": []}, PULL),
    (PULL, {**PULL, "metadata": {"_nats.req.level": "0", "_nats.ver": "x"}}),
    (PULL, {**PULL, "metadata": {"a": "b"}}),
    (PULL, {**PULL, "description": "new", "headers_only": True, "sample_freq": "5"}),
    (PULL, {**PULL, "ack_policy": "all"}),
    (PULL, {**PULL, "ack_policy": "none"}),
    (PULL, {**PULL, "deliver_policy": "new"}),
    (PULL, {**PULL, "mem_storage": True}),
    (PULL, {**PULL, "replay_policy": "original"}),
    (PULL, {**PULL, "max_waiting": 5}),
    (PULL, {**PULL, "ack_wait": 5, "max_deliver": 3, "max_ack_pending": 5, "inactive_threshold": 5 * SECOND}),
    (PULL, {**PULL, "max_batch": 5, "max_expires": SECOND, "max_bytes": 5, "num_replicas": 1}),
    (PULL, {**PULL, "filter_subject": "w.a"}),
    (PULL, {**PULL, "filter_subjects": ["w.a", "w.b"]}),
    (PULL, {**PULL, "backoff": [1, 2]}),
    (PULL, {**PULL, "backoff": [1, 2], "max_deliver": 1}),
    (PULL, {**PULL, "pause_until": "2030-01-01T00:00:00Z"}),
    ({**PULL, "pause_until": "2030-01-01T00:00:00+01:00"}, PULL),
    ({**PULL, "pause_until": "2030-01-01T00:00:00Z"}, {**PULL, "pause_until": "2031-01-01T00:00:00Z"}),
    (PULL, {**PULL, "priority_policy": "pinned_client", "priority_groups": ["a"]}),
    (PULL, {"ack_policy": "explicit"}),
    ({"ack_policy": "explicit"}, PULL),
    ({"ack_policy": "explicit"}, {"ack_policy": "explicit", "inactive_threshold": 5 * SECOND}),
    ({"ack_policy": "explicit"}, {"ack_policy": "explicit", "inactive_threshold": 7 * SECOND}),
    (PULL, PUSH),
    (PUSH, PULL),
    (PUSH, {**PUSH, "deliver_subject": "other"}),
    (PUSH, {**PUSH, "deliver_group": "g", "rate_limit_bps": 5}),
    ({**PUSH, "deliver_subject": "bound.to"}, PUSH),
    ({**PUSH, "deliver_subject": "bound.to"}, {**PUSH, "deliver_subject": "bound.to", "description": "x"}),
    (PUSH, {**PUSH, "idle_heartbeat": SECOND}),
    ({**PUSH, "idle_heartbeat": SECOND}, {**PUSH, "idle_heartbeat": SECOND, "flow_control": True}),
    (PUSH, {**PUSH, "direct": True}),
    (
        {**PULL, "deliver_policy": "by_start_sequence", "opt_start_seq": 1},
        {**PULL, "deliver_policy": "by_start_sequence", "opt_start_seq": 2},
    ),
    (
        {**PULL, "deliver_policy": "by_start_time", "opt_start_time": TIME},
        {**PULL, "deliver_policy": "by_start_time", "opt_start_time": "2026-01-02T04:04:05+01:00"},
    ),
    (
        {**PULL, "deliver_policy": "by_start_time", "opt_start_time": TIME},
        {**PULL, "deliver_policy": "by_start_time", "opt_start_time": "2026-01-02T04:04:06+01:00"},
    ),
]  # fmt: skip


@pytest.mark.parametrize("stream", ["L", "W"])
def test_updates(plain: ConsumerPair, stream: str) -> None:
    for before, after in UPDATES:
        for action in ("", "create", "update"):
            plain.reset()
            plain.create(stream, "c", **before)
            plain.create(stream, "c", action, **after)
            plain.create(stream, "c", "update", **before)


def test_work_queue_consumers_share_nothing(plain: ConsumerPair) -> None:
    filters = [[], ["w.a"], ["w.b"], ["w.a.>"], ["w.*"], ["w.a.b", "w.c"], ["w.>"], ["x"], ["w.b.*", "w.b"]]
    chance = random.Random(7)
    for _ in range(4):
        plain.reset()
        for number in range(25):
            chosen = chance.choice(filters)
            config = {"filter_subjects": chosen} if len(chosen) > 1 else {"filter_subject": "".join(chosen)}
            plain.create(
                "W",
                f"c{number % 6}",
                chance.choice(["", "create", "update"]),
                ack_policy="explicit",
                **config,
            )


def test_consumers_that_feed_other_streams(plain: ConsumerPair) -> None:
    plain.reset()
    config = {
        "direct": True, "sourcing": True, "deliver_subject": "to", "flow_control": True,
        "idle_heartbeat": SECOND, "ack_wait": 22 * SECOND, "max_deliver": 1, "name": "c",
    }  # fmt: skip
    for stream in ("I", "W", "I"):
        assert isinstance(plain.create(stream, "c", **config), bytes)
    # Otherwise the name ends in eight letters of chance.
    body = json.dumps({"stream_name": "L", "config": config}).encode()
    theirs, ours = (
        plain.theirs("$JS.API.CONSUMER.CREATE.L.c", body),
        plain.ours("$JS.API.CONSUMER.CREATE.L.c", body),
    )
    plain.judge.ask(f"$JS.API.CONSUMER.DELETE.L.{plain.last_name}")
    assert re.sub(rb'"name":"c-\w{8}"', b'"name":"c-FRESHNAM"', theirs) == ours


def test_the_identity_of_a_stream_is_a_hash_of_its_age(plain: ConsumerPair) -> None:
    created = json.loads(plain.judge.ask("$JS.API.STREAM.INFO.L"))["created"]
    body = json.dumps({"stream_name": "L", "config": {"direct": True, "deliver_subject": "to"}}).encode()
    headers = b"NATS/1.0\r\nNats-Stream-Identity: other\r\n\r\n"
    answer = plain.judge.ask("$JS.API.CONSUMER.CREATE.L.c", body, headers)
    expected = api_errors.CONSUMER_STREAM_IDENTITY_MISMATCH(msg=account_hash(created))
    assert json.loads(answer)["error"] == expected.as_dict()


RANDOM_VALUES: dict[str, list] = {
    "durable_name": ["c", "c", "c", "d", "a.b"],
    "description": ["", "text"],
    "deliver_policy": ["all", "all", "all", "last", "new", "by_start_sequence", "last_per_subject"],
    "opt_start_seq": [0, 5],
    "opt_start_time": [TIME],
    "ack_policy": ["none", "all", "explicit", "explicit", "explicit", "flow_control"],
    "ack_wait": [-1, 0, 5, SECOND],
    "max_deliver": [-2, 0, 1, 3],
    "backoff": [[], [5], [5, 6], [-1]],
    "filter_subject": ["", "w.a", "l.x.>", "w.*"],
    "filter_subjects": [[], ["w.a", "w.b"], ["x", "x"], ["l.>"]],
    "replay_policy": ["instant", "original"],
    "rate_limit_bps": [0, 1024],
    "sample_freq": ["", "50%", "x"],
    "max_waiting": [-1, 0, 5],
    "max_ack_pending": [-2, -1, 0, 5, 51],
    "flow_control": [False, True],
    "headers_only": [False, True],
    "max_batch": [-1, 0, 5],
    "max_expires": [-1, 0, 5, SECOND],
    "max_bytes": [-1, 0, 5],
    "deliver_subject": ["to", "to", "other", "l.x", "bound.to", "a..b"],
    "deliver_group": ["", "g"],
    "idle_heartbeat": [-1, 0, 5, SECOND],
    "inactive_threshold": [-1, 0, SECOND, 11 * SECOND],
    "num_replicas": [-1, 0, 1],
    "mem_storage": [False, True],
    "metadata": [{}, {"k": "v"}],
    "priority_groups": [[], ["a"], ["a b"]],
    "priority_policy": ["none", "overflow", "pinned_client", "prioritized"],
    "priority_timeout": [-1, 0, SECOND],
}  # fmt: skip


@pytest.mark.parametrize("seed", range(4))
def test_random(plain: ConsumerPair, seed: int) -> None:
    chance = random.Random(seed)
    plain.reset()
    accepted = 0
    for number in range(400):
        if number % 40 == 0:
            plain.reset()
        fields = chance.sample(sorted(RANDOM_VALUES), chance.randint(0, 5))
        config = {field: chance.choice(RANDOM_VALUES[field]) for field in fields}
        if chance.random() < 0.6:
            config["ack_policy"] = "explicit"
        stream = chance.choice("LIWB")
        action = chance.choice(["", "", "create", "update"])
        answer = plain.create(stream, chance.choice("ccd"), action, chance.random() < 0.2, **config)
        accepted += isinstance(answer, bytes)
    assert accepted > 50  # or most of what there is to compare would be missed
