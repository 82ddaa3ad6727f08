"""The consumer cases, very small, against a real server: none may fail; a wrong outcome must be noticed."""

import json

import pytest

from loadtests.compare import consuming, delivery_latency, roles
from loadtests.compare.__main__ import main
from loadtests.compare.consumer_create import a_group, filters, messages_of
from loadtests.compare.consumer_pull import measure_pull
from loadtests.compare.consuming import check_consumer, consumer_name, create_consumer, stream
from loadtests.compare.groups import choose
from loadtests.compare.key_value import check_bucket, fill_bucket
from loadtests.compare.run import spec_of
from loadtests.compare.stream_api import StreamApi
from loadtests.compare.stream_fill import fill
from loadtests.compare.wire import LoadError
from loadtests.servers import ServerSpec, Store

#: One of each kind of work.
kinds = (
    "pull_500_workers,push_ordered_4,push_explicit_1000,kv_put,kv_get_1,kv_watch_initial,kv_watch_live,"
    "latency_push_memory,latency_pull_memory,consumer_creates,consumer_filters"
)
smallest = ["--stored-messages", "1000", "--stored-subjects", "300"]
smallest += ["--consumers", "5", "--consumer-messages", "50", "--keys", "100"]
short = ["--quick", "--seconds", "0.01", "--no-plots", "--name", "smoke", *smallest]


def test_each_kind_of_case_runs(nats_server, tmp_path, monkeypatch):
    """nats-server against itself."""
    monkeypatch.setattr(roles, "settle_s", 0.01)
    monkeypatch.setattr(delivery_latency, "seconds_least", 0.05)
    monkeypatch.setattr(consuming, "trial_count", 500)
    server = f"ours={nats_server.command[0]}"
    assert main(["--server", server, "--cases", kinds, *short, "--out", str(tmp_path)]) == 0
    results = json.loads((tmp_path / "smoke.json").read_text())
    samples = [each for case in results["cases"] for side in case["samples"].values() for each in side]
    assert len(samples) == 2 * len(kinds.split(","))
    assert not [sample["failure"] for sample in samples if "failure" in sample]
    missing = [
        (case["name"], goal["figure"])
        for case in results["cases"]
        for goal in case["goals"]
        if goal["figure"] not in case["samples"]["peer"][0]
    ]
    assert not missing


def test_a_consumer_with_a_rest_is_noticed(nats_server, tmp_path, monkeypatch):
    monkeypatch.setattr(consuming, "settle_s_max", 0.01)
    with nats_server.running(store=Store(tmp_path / "store")) as server, StreamApi(server) as api:
        fill(server, 3)
        create_consumer(api, stream, consumer_name(0), ack_policy="explicit")
        with pytest.raises(LoadError, match="'num_pending': 3"):
            check_consumer(api, stream, consumer_name(0), 3)


def test_an_acknowledgement_that_is_missing_is_noticed(nats_server, tmp_path, monkeypatch):
    """Of a pass that acknowledges nothing but the last message, which is confirmed."""
    monkeypatch.setattr(consuming, "settle_s_max", 0.01)
    monkeypatch.setattr(consuming, "trial_count", 50)
    monkeypatch.setattr("loadtests.compare.deliveries.acknowledgements", lambda subjects: b"")
    with (
        nats_server.running(store=Store(tmp_path / "store")) as server,
        pytest.raises(LoadError, match="'num_ack_pending': 49"),
    ):
        measure_pull(server, 10, 1, 0.01)


def test_a_bucket_without_a_key_is_noticed(nats_server, tmp_path):
    with nats_server.running(store=Store(tmp_path / "store")) as server:
        fill_bucket(server, 20)
        with pytest.raises(LoadError, match="20 puts to 21 keys"):
            check_bucket(server, 20, 21)


@pytest.mark.parametrize(("messages", "subjects"), [(1000, 300), (999, 1000), (10_000, 143)])
def test_what_a_filter_must_find_is_counted_right(messages, subjects):
    keys = [number % subjects for number in range(messages)]
    middle = messages // 2
    found = {each.figure: each.matching for each in filters(messages, subjects)}
    assert found == {
        "group_ms": sum(key % 100 == a_group for key in keys),
        "one_ms": sum(key == a_group for key in keys),
        "every_ms": messages,
        "later_ms": sum(key % 100 == a_group for key in keys[middle:]),
    }
    assert messages_of(range(subjects), messages, subjects) == messages


def test_flags_are_for_our_side_only():
    servers = {"ours": ServerSpec("a", ("one",)), "peer": ServerSpec("b", ("two", "-x"))}
    (case,) = choose("latency_push_file")
    assert spec_of(case, "ours", servers).command == ("one", "--sync", "interval")
    assert spec_of(case, "peer", servers).command == ("two", "-x")
    (plain,) = choose("latency_push_memory")
    assert spec_of(plain, "ours", servers) == servers["ours"]
