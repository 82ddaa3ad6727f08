"""The JetStream cases, very small, against a real server: none may fail; a wrong outcome must be noticed."""

import json

import pytest

from loadtests.compare import disk
from loadtests.compare.__main__ import main
from loadtests.compare.stream_api import StreamApi, create_streams
from loadtests.compare.stream_fill import fill
from loadtests.compare.stream_publish import Publishing, measure_publishing
from loadtests.compare.wire import LoadError
from loadtests.servers import Store

#: One of each kind of work: all would take a minute.
kinds = (
    "js_128,js_sync_16,js_message_ids,js_streams,js_fast_batch,js_atomic_batch,js_get_last,js_cold,js_start"
)
smallest = ["--streams", "5", "--read-messages", "200", "--stored-messages", "500"]
smallest += ["--stored-subjects", "500", "--empty-streams", "5", "--cold-messages", "200", "--stall-s", "0.2"]
short = ["--quick", "--seconds", "0.01", "--no-plots", "--name", "smoke", *smallest]


def measured(arguments, tmp_path):
    """The results document, and the table's values of the left server by case title and figure."""
    assert main([*arguments, *short, "--out", str(tmp_path)]) == 0
    rows = [line.split("|") for line in (tmp_path / "smoke.md").read_text().splitlines() if "|" in line]
    return json.loads((tmp_path / "smoke.json").read_text()), {row[2].strip(): row[3].strip() for row in rows}


def failures(results):
    every = [each for case in results["cases"] for samples in case["samples"].values() for each in samples]
    return [sample["failure"] for sample in every if "failure" in sample]


def test_each_kind_of_case_runs(nats_server, tmp_path, capfd, monkeypatch):
    """nats-server against itself: what only our own processes have is shown as "-"."""
    monkeypatch.setattr(disk, "probe_s", 0.02)
    arguments = ["--server", f"ours={nats_server.command[0]}", "--cases", kinds]
    results, values = measured(arguments, tmp_path)
    assert not failures(results)
    assert values["fdatasyncs for 1,000"] == "-"
    assert "proves nothing" in capfd.readouterr().out
    assert not list((tmp_path / "store").iterdir())


def test_our_own_processes_are_stopped_and_killed(nats_server, tmp_path):
    results, values = measured(["--cases", "js_stall,js_take_over"], tmp_path)
    assert not failures(results)
    assert float(values["without answers, ms"]) > 0
    assert values["all acknowledged after, ms"] != "-"


def test_a_lost_message_is_noticed(nats_server, tmp_path, monkeypatch):
    """A stream that keeps one message of each subject acknowledges all the same."""
    monkeypatch.setattr(
        "loadtests.compare.stream_publish.create_streams",
        lambda server, count, **options: create_streams(server, count, max_msgs_per_subject=1, **options),
    )
    with nats_server.running(store=Store(tmp_path / "store")) as server, pytest.raises(LoadError) as lost:
        measure_publishing(server, Publishing(window=1), 0.01)
    assert "acknowledged, 1 in the streams" in str(lost.value)


def test_what_was_stored_is_there_after_a_restart(nats_server, tmp_path):
    with nats_server.running(store=Store(tmp_path / "store")) as server:
        payload = fill(server, 30, stream_count=3, subject_count=2)
        assert disk.used_size(tmp_path / "store") > 30 * len(payload)
        server.restart()
        with StreamApi(server) as api:
            api.check_messages(30)
            headers, body = api.raw_request("$JS.API.DIRECT.GET.LOAD00002", b'{"seq":10}')
            assert body == payload and b"Nats-Subject: load.00002.0000001\r\n" in headers
            with pytest.raises(LoadError, match="30 in the streams"):
                api.check_messages(31)


def test_sync_always_is_in_force(nats_server, tmp_path):
    store = Store(tmp_path / "store", sync_always=True)
    with nats_server.running(store=store) as server, StreamApi(server) as api:
        api.create()
        assert "sync_interval: always" in (tmp_path / "store.conf").read_text()
        assert (tmp_path / "store" / "jetstream").is_dir()
