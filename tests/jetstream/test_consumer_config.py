"""Property: a consumer's configuration keeps every field, in nats-server's order, and knows its level.

What differs between accepted and refused is compared with nats-server elsewhere
(test_consumers_against_nats_server.py); here is what a single server cannot show: consumers that feed the
streams of other servers, identities, what is stored and read back.
"""

from dataclasses import fields

import pytest

from shardbroker.jetstream.api_error import ApiError
from shardbroker.jetstream.consumer_checks import CheckedConsumer, check_create
from shardbroker.jetstream.consumer_config import CONSUMER_CONFIG, ConsumerConfig
from shardbroker.jetstream.consumer_index import ConsumerIndex
from shardbroker.jetstream.consumer_updates import set_pause
from shardbroker.jetstream.go_encoding import encode
from shardbroker.jetstream.js_limits import JetStreamLimits
from shardbroker.jetstream.stream_config import StreamConfig
from shardbroker.jetstream.strict_json import RequestJsonError
from tests.jetstream.consumer_judge import Interest

SECOND = 1_000_000_000
FULL = (
    b'{"durable_name":"c","name":"c","description":"text","deliver_policy":"by_start_time","opt_start_seq":5,'
    b'"opt_start_time":"2026-01-02T03:04:05+02:00","ack_policy":"explicit","ack_wait":5,"max_deliver":3,'
    b'"backoff":[5,6],"filter_subject":"a","filter_subjects":["b","c"],"replay_policy":"original",'
    b'"rate_limit_bps":18446744073709551615,"sample_freq":"50%","max_waiting":1,"max_ack_pending":2,'
    b'"flow_control":true,"headers_only":true,"max_batch":3,"max_expires":4,"max_bytes":5,'
    b'"deliver_subject":"to","deliver_group":"g","idle_heartbeat":6,"inactive_threshold":7,"num_replicas":1,'
    b'"mem_storage":true,"direct":true,"sourcing":true,"metadata":{"a":"b"},'
    b'"pause_until":"2030-01-01T00:00:00Z","priority_groups":["x"],"priority_policy":"pinned_client",'
    b'"priority_timeout":8}'
)


def test_every_field_is_kept_in_order() -> None:
    config = ConsumerConfig.from_stored(FULL)
    assert encode(config.to_json_dict()) == FULL
    assert [one.name for one in fields(ConsumerConfig)] == list(CONSUMER_CONFIG.fields)


def test_what_is_empty_is_left_out() -> None:
    expected = b'{"deliver_policy":"all","ack_policy":"none","replay_policy":"instant","num_replicas":0}'
    assert encode(ConsumerConfig().to_json_dict()) == expected
    lists = ConsumerConfig(backoff=[], filter_subjects=[], priority_groups=[], metadata={})
    assert encode(lists.to_json_dict()) == expected


def test_what_was_stored_by_a_later_version_is_read() -> None:
    config = ConsumerConfig.from_stored(b'{"durable_name":"c","later":{"a":1}}')
    assert config == ConsumerConfig(durable_name="c")
    with pytest.raises(RequestJsonError):
        ConsumerConfig.from_stored(b"{")


def test_answers_say_who_answers() -> None:
    config = ConsumerConfig(metadata={"z": "1", "_nats.ver": "old", "_nats.level": "0"})
    config.set_stored_metadata()
    assert config.metadata == {"z": "1", "_nats.req.level": "0"}
    shown = config.to_json_dict("2.15.1")["metadata"]
    expected = {"_nats.level": "5", "_nats.req.level": "0", "_nats.ver": "2.15.1", "z": "1"}
    assert list(shown.items()) == list(expected.items())
    assert config.to_json_dict()["metadata"] == {"z": "1", "_nats.req.level": "0"}


@pytest.mark.parametrize(
    ("given", "level"),
    [
        ({}, 0),
        ({"pause_until": "2030-01-01T00:00:00Z"}, 1),
        ({"pause_until": "0001-01-01T00:00:00Z"}, 0),
        ({"priority_groups": ["a"]}, 1),
        ({"priority_policy": "prioritized"}, 1),
        ({"priority_timeout": 1}, 1),
        ({"ack_policy": "flow_control"}, 4),
    ],
)
def test_required_level(given: dict, level: int) -> None:
    assert ConsumerConfig(**given).required_level() == level


def test_a_copy_shares_nothing_that_changes() -> None:
    config = ConsumerConfig.from_stored(FULL)
    copy = config.copy()
    assert copy == config
    copy.backoff.append(1)
    copy.filter_subjects.append("d")
    copy.priority_groups.append("y")
    copy.metadata["c"] = "d"
    assert config == ConsumerConfig.from_stored(FULL)


def test_replicas_are_the_streams_unless_said() -> None:
    assert ConsumerConfig(num_replicas=1).replicas(3, "limits") == 1
    assert ConsumerConfig(durable_name="c").replicas(3, "limits") == 3
    assert ConsumerConfig().replicas(3, "limits") == 1
    assert ConsumerConfig().replicas(3, "interest") == 3


def test_pausing_changes_the_required_level() -> None:
    config = ConsumerConfig()
    set_pause(config, 1_893_456_000 * SECOND)
    assert (config.pause_until, config.metadata) == ("2030-01-01T00:00:00Z", {"_nats.req.level": "1"})
    set_pause(config, None)
    assert (config.pause_until, config.metadata) == (None, {"_nats.req.level": "0"})


def check(stream: StreamConfig, index: ConsumerIndex | None = None, **given: object) -> CheckedConsumer:
    """CONSUMER.CREATE with `given` as arguments where they are some, and as fields else."""
    names = ("action", "identity", "expected_identity")
    arguments = {name: given.pop(name) for name in names if name in given}
    return check_create(
        ConsumerConfig(**given),
        stream,
        JetStreamLimits(),
        ConsumerIndex() if index is None else index,
        Interest(),
        fresh_name="FRESHNAM",
        **arguments,
    )


def stream_of(retention: str) -> StreamConfig:
    return StreamConfig(name="S", subjects=["s.>"], retention=retention, num_replicas=1, max_consumers=-1)


SOURCING = {
    "name": "c", "direct": True, "sourcing": True, "deliver_subject": "to", "flow_control": True,
    "idle_heartbeat": SECOND, "ack_wait": 22 * SECOND, "max_deliver": 1,
}  # fmt: skip


def test_consumers_that_feed_other_streams() -> None:
    checked = check(stream_of("limits"), **SOURCING)
    assert (checked.name, checked.config.name, checked.config.direct) == ("c-FRESHNAM", "c-FRESHNAM", True)
    assert checked.config.ack_policy == "none"
    # What is removed when it is acknowledged must be remembered, and acknowledged.
    for retention in ("interest", "workqueue"):
        checked = check(stream_of(retention), **SOURCING)
        config = checked.config
        assert (checked.name, config.durable_name, config.direct) == ("c", "c", False)
        assert (config.ack_policy, config.ack_wait, config.max_deliver) == ("flow_control", 0, -1)
        assert config.metadata == {"_nats.req.level": "4"}


def test_one_that_comes_back_goes_on_where_it_was() -> None:
    index = ConsumerIndex()
    first = check(stream_of("interest"), index, **SOURCING)
    index.put(first.name, first.config)
    again = check(
        stream_of("interest"), index, **SOURCING, deliver_policy="by_start_sequence", opt_start_seq=7
    )
    assert (again.name, again.config.deliver_policy, again.config.opt_start_seq) == ("c", "all", 0)
    assert again.old is first.config
    assert again.is_same


def test_the_identity_of_the_stream_is_compared() -> None:
    identities = {"identity": "AAAAAAAA", "expected_identity": "BBBBBBBB"}
    with pytest.raises(ApiError) as refused:
        check(stream_of("limits"), **SOURCING, **identities)
    text = "consumer's stream identity does not match: AAAAAAAA"
    assert refused.value.args == (400, 10225, text)
    # Ordinary consumers do not ask.
    assert check(stream_of("limits"), name="c", **identities).name == "c"


def test_a_consumer_without_a_name_gets_one_beside_its_configuration() -> None:
    checked = check(stream_of("limits"))
    assert (checked.name, checked.config.name, checked.config.inactive_threshold) == (
        "FRESHNAM",
        "",
        5 * SECOND,
    )
    assert (checked.old, checked.is_same) == (None, False)


def test_the_request_is_left_as_it_is() -> None:
    config = ConsumerConfig(ack_policy="explicit", backoff=[5])
    check_create(config, stream_of("limits"), JetStreamLimits(), ConsumerIndex(), Interest(), fresh_name="n")
    assert config == ConsumerConfig(ack_policy="explicit", backoff=[5])


def test_the_index_knows_who_wants_what() -> None:
    index = ConsumerIndex()
    index.put("a", ConsumerConfig(filter_subjects=["s.a", "s.b.*"]))
    index.put("d", ConsumerConfig(direct=True))
    index.put("f", ConsumerConfig(sourcing=True, filter_subject="s.>"))
    assert (len(index), index.limited_count(), sorted(index)) == (3, 2, ["a", "d", "f"])
    assert index.is_wanted_by_others(["x", "s.*"], "")
    assert not index.is_wanted_by_others(["s.*"], "a")
    assert not index.is_wanted_by_others(["s.c"], "")
    index.put("a", ConsumerConfig(filter_subject="s.c"))
    assert index.is_wanted_by_others(["s.c"], "")
    assert not index.is_wanted_by_others(["s.a"], "")
    index.put("a", ConsumerConfig())
    assert index.is_wanted_by_others(["anything"], "other")
    assert not index.is_wanted_by_others(["anything"], "a")
    assert not index.is_wanted_by_others([], "other")
    for name in ("a", "d", "f", "unknown"):
        index.drop(name)
    assert (len(index), index.limited_count(), index.config_of("a")) == (0, 0, None)
