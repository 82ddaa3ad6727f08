"""Property: a configuration keeps its values on all ways: request, checks, store, answer.

What each check says is compared with nats-server in test_config_against_nats_server.py; here are the things
that one server does not show: that requests are left alone, that what is stored comes back equal, restores,
and how long it takes.
"""

import json
import time
from dataclasses import fields

import pytest

from shardbroker.jetstream import api_errors
from shardbroker.jetstream.api_error import ApiError
from shardbroker.jetstream.config_checks import check_create, check_restore
from shardbroker.jetstream.config_updates import check_update
from shardbroker.jetstream.go_encoding import encode
from shardbroker.jetstream.js_limits import JetStreamLimits
from shardbroker.jetstream.stream_config import STREAM_CONFIG, StreamConfig, read_config_request
from tests.jetstream.judge import DictAccount

UNLIMITED = JetStreamLimits()
RICH = {
    "name": "rich",
    "description": "<é>",
    "subjects": ["a.*", "b.>"],
    "retention": "interest",
    "max_msgs": 10,
    "max_msg_size": 1000,
    "discard": "new",
    "storage": "memory",
    "duplicate_window": 500_000_000,
    "placement": {"cluster": "c", "tags": ["t"]},
    "sources": [
        {
            "name": "q",
            "opt_start_time": "2020-01-01T00:00:00.5+01:00",
            "subject_transforms": [{"src": "x.*", "dest": "y.$1"}],
            "external": {"api": "$JS.hub.API", "deliver": ""},
        },
        {"name": "r", "consumer": {"name": "c", "deliver_subject": "d"}},
    ],
    "compression": "s2",
    "first_seq": 18446744073709551615,
    "subject_transform": {"src": "a.*", "dest": "t.$1"},
    "republish": {"src": "a.*", "dest": "r.$1", "headers_only": True},
    "allow_direct": True,
    "consumer_limits": {"inactive_threshold": 5, "max_ack_pending": 6},
    "allow_msg_ttl": True,
    "subject_delete_marker_ttl": 1_000_000_000,
    "allow_atomic": True,
    "allow_batched": True,
    "metadata": {"b": "1", "a": "2", "_nats.ver": "forged"},
}


def test_fields_are_those_that_are_decoded() -> None:
    """The dataclass and the shape of requests name the same fields in the same order."""
    assert [field.name for field in fields(StreamConfig)] == list(STREAM_CONFIG.fields)


def test_there_and_back() -> None:
    """What is stored comes back equal, and an answer tells the server besides."""
    config, pedantic = read_config_request(json.dumps(RICH).encode())
    assert not pedantic
    accepted = check_create("rich", config, UNLIMITED, DictAccount())
    stored = encode(accepted.to_json_dict())
    again = StreamConfig.from_stored(stored)
    assert again == accepted
    assert again.metadata == {"a": "2", "b": "1", "_nats.req.level": "4"}
    shown = accepted.to_json_dict("2.15.1")
    assert list(shown["metadata"].items()) == [
        ("_nats.level", "5"),
        ("_nats.req.level", "4"),
        ("_nats.ver", "2.15.1"),
        ("a", "2"),
        ("b", "1"),
    ]
    assert shown["sources"][0]["opt_start_time"] == "2020-01-01T00:00:00.5+01:00"
    assert shown["first_seq"] == 18446744073709551615


def test_fields_of_later_versions_are_skipped() -> None:
    """A store written by a newer server can be read."""
    assert StreamConfig.from_stored(b'{"name":"a","of_the_future":{"x":[1]}}') == StreamConfig(name="a")


def test_requests_are_left_alone() -> None:
    """Checks fill defaults into a copy: the same request may be tried again."""
    config, _ = read_config_request(b'{"name":"a","republish":{"dest":"r.>"},"metadata":{"k":"v"}}')
    before, _ = read_config_request(b'{"name":"a","republish":{"dest":"r.>"},"metadata":{"k":"v"}}')
    account = DictAccount()
    account.put(check_create("a", config, UNLIMITED, account))
    check_update("a", config, UNLIMITED, account)
    assert config == before


def test_creating_again_gives_the_existing_one() -> None:
    """The caller sees by identity that there is nothing to make."""
    account = DictAccount()
    config = StreamConfig(name="a")
    first = check_create("a", config, UNLIMITED, account)
    account.put(first)
    assert check_create("a", config, UNLIMITED, account) is first


@pytest.mark.parametrize(
    ("given", "level"),
    [
        ({}, 0),
        ({"allow_msg_ttl": True}, 1),
        ({"subject_delete_marker_ttl": 1}, 1),
        ({"allow_msg_counter": True}, 2),
        ({"allow_atomic": True}, 2),
        ({"allow_msg_schedules": True}, 2),
        ({"persist_mode": "async"}, 2),
        ({"allow_batched": True, "allow_msg_ttl": True}, 4),
    ],
)
def test_required_levels(given: dict, level: int) -> None:
    """What a feature needs of a server (ADR-44)."""
    assert StreamConfig(name="a", **given).required_level() == level


def test_restores() -> None:
    """The name may be left out; a stream that exists is not overwritten."""
    account = DictAccount()
    config = check_restore("a", StreamConfig(), UNLIMITED, account)
    assert (config.name, config.subjects, config.num_replicas) == ("a", ["a"], 1)
    account.put(config)
    for name, given, error in (
        ("a", StreamConfig(), api_errors.STREAM_NAME_EXIST_RESTORE_FAILED),
        ("a", StreamConfig(name="b"), api_errors.STREAM_MISMATCH),
        ("a/b", StreamConfig(), api_errors.STREAM_NAME_CONTAINS_PATH_SEPARATORS),
        ("b", StreamConfig(max_age=-1), api_errors.STREAM_INVALID_CONFIG(err="max age can not be negative")),
    ):
        with pytest.raises(ApiError) as caught:
            check_restore(name, given, UNLIMITED, account)
        assert caught.value == error
    with pytest.raises(ApiError, match="maximum number of streams reached"):
        check_restore("b", StreamConfig(), JetStreamLimits(max_streams=1), account)


def test_the_server_s_room_counts_for_all_accounts() -> None:
    """One account has no limit, and the server has."""
    account = DictAccount()
    limits = JetStreamLimits(server_storage_max=1000, server_memory_max=10)
    account.put(check_create("a", StreamConfig(name="a", max_bytes=900), limits, account))
    with pytest.raises(ApiError) as caught:
        check_create("b", StreamConfig(name="b", max_bytes=101), limits, account)
    assert caught.value == api_errors.STORAGE_RESOURCES_EXCEEDED
    check_create("b", StreamConfig(name="b", max_bytes=10, storage="memory"), limits, account)
    check_update("a", StreamConfig(name="a", max_bytes=1000), limits, account)
    with pytest.raises(ApiError):
        check_update("a", StreamConfig(name="a", max_bytes=1001), limits, account)


def test_many_ways_between_streams_end() -> None:
    """Each of forty streams has the next one as two sources: a trillion ways to walk."""
    account = DictAccount()
    for number in range(40):
        space = f"f{number}"
        sources = [{"name": f"s{number + 1}", "filter_subject": f"{space}.{which}"} for which in range(2)]
        fields_given = {"name": f"s{number}", "subjects": [f"{space}.*"], "sources": sources}
        config = StreamConfig.from_fields(fields_given)
        account.put(check_create(config.name, config, UNLIMITED, account))
    started = time.perf_counter()
    for target, circle in (("s99", False), ("s0", True)):
        last = StreamConfig.from_fields({"name": "s40", "sources": [{"name": target}]})
        try:
            check_create("s40", last, UNLIMITED, account)
            assert not circle
        except ApiError as error:
            assert circle and error.description == "detected cycle"
    assert time.perf_counter() - started < 2.0


def test_many_transforms_of_a_source() -> None:
    """Thousands of filters are compared without looking at each pair."""
    transforms = [{"src": f"a.{number}.*", "dest": ""} for number in range(5000)]
    started = time.perf_counter()
    for key, error in (("mirror", 10152), ("sources", 10147)):
        upstream = {"name": "q", "subject_transforms": transforms}
        for extra, expected in (([], None), ([{"src": "a.4999.*", "dest": ""}], error)):
            upstream["subject_transforms"] = transforms + extra
            config = StreamConfig.from_fields({"name": "x", key: upstream if key == "mirror" else [upstream]})
            try:
                check_create("x", config, UNLIMITED, DictAccount())
                assert expected is None
            except ApiError as refused:
                assert refused.err_code == expected
    assert time.perf_counter() - started < 3.0
