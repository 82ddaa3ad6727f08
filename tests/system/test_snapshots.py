"""Backups of streams over the API: what goes into one comes out of it, on either server, or nothing does.

Properties: a stream that was backed up and restored has the same messages under the same sequences, times
and headers, the same gaps, first and last sequence; it goes on from there, and outlives a restart. Archives
move between shardbroker and nats-server in both directions, also with the nats CLI. A broken archive, an
upload that stops, and the death of any process leave no stream, no log and no name that is taken. Refusals
and advisories are nats-server's: literally where the text is here, else compared with the real one.
"""

import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from shardbroker.jetstream.archive import ArchiveReader, ArchiveWriter
from shardbroker.jetstream.archive_events import ArchiveMessage, ArchiveState
from tests.conformance.servers import nats_server_path
from tests.jetstream.backup_client import ARCHIVE, BackupClient, JetStreamReference
from tests.support.broker_process import REPOSITORY, BrokerProcess, is_shardbroker, wait_until
from tests.support.raw_client import RawClient
from tests.system.mirror_client import name_on

pytestmark = [
    pytest.mark.skipif(not is_shardbroker(), reason="shardbroker's own side of backups is tested"),
    pytest.mark.skipif(nats_server_path() is None, reason="no nats-server to compare with"),
]

NOISE = os.urandom(1 << 20)  # does not compress: sizes of archives are as one thinks
ID_HEADER = b"NATS/1.0\r\nA: b\r\nNats-Msg-Id: id-%d\r\n\r\n"


@pytest.fixture(scope="module")
def ours(tmp_path_factory) -> Iterator[BrokerProcess]:
    store = tmp_path_factory.mktemp("store")
    with BrokerProcess(workers=2, jetstream="true", store_dir=store) as broker:
        broker.store = store
        yield broker


@pytest.fixture(scope="module")
def theirs() -> Iterator[JetStreamReference]:
    server = JetStreamReference().start()
    yield server
    server.remove()


@pytest.fixture
def client(ours) -> Iterator[BackupClient]:
    with BackupClient(ours.port) as one:
        yield one
        delete_all(one)


def noise(number: int, size: int = 700) -> bytes:
    """Different for each number, unless somebody looks closely."""
    start = number * 701 % (len(NOISE) - size)
    return NOISE[start : start + size]


def delete_all(client: BackupClient) -> None:
    for name in client.api("STREAM.NAMES")["streams"] or ():
        client.api(f"STREAM.DELETE.{name}")


def logs_of(broker: BrokerProcess) -> list[str]:
    """Names of the logs in the store."""
    directory = next(broker.store.glob("**/logs"), None)
    names = [] if directory is None else os.listdir(directory)
    return sorted(name for name in names if not name.endswith(".dead"))  # those are unlinked bit by bit


def publish(client: BackupClient, subject: str, payload: bytes, headers: bytes = b"") -> int:
    answer = json.loads(client.request(subject, payload, headers).payload)
    assert "error" not in answer, answer
    return answer["seq"]


def make_stream(client: BackupClient, name: str, count: int = 60, **config: object) -> dict:
    """A stream with everything that a backup has to keep; its configuration."""
    config = {"name": name, "subjects": [f"{name}.>"], **config}
    client.api(f"STREAM.CREATE.{name}", **config)
    for number in range(1, count + 1):
        headers = ID_HEADER % number if number % 3 == 0 else b""
        publish(client, f"{name}.s{number % 7}", noise(number, number * 11 % 700), headers)
    for sequence in (7, 8, 9, 30, count):
        client.api(f"STREAM.MSG.DELETE.{name}", seq=sequence)
    client.api(f"STREAM.PURGE.{name}", seq=4)
    return client.api(f"STREAM.INFO.{name}")["config"]


def plain(config: dict) -> dict:
    """A configuration without what the answering server adds to it."""
    metadata = {key: value for key, value in (config.get("metadata") or {}).items() if "_nats" not in key}
    return {**config, "metadata": metadata}


def state_of(client: BackupClient, name: str) -> dict:
    return client.api(f"STREAM.INFO.{name}", deleted_details=True)["state"]


def pieces(archive: bytes, size: int = 20_000) -> list[bytes]:
    return [archive[at : at + size] for at in range(0, len(archive), size)]


def refusal(client: BackupClient, call: str, request: object) -> dict:
    """The whole answer to a request that is refused."""
    body = request if isinstance(request, bytes) else json.dumps(request).encode()
    answer = json.loads(client.request(f"$JS.API.{call}", body).payload)
    assert "error" in answer, answer
    return answer


# --- there and back ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("storage", ["file", "memory"])
@pytest.mark.parametrize(("source", "target"), [("ours", "ours"), ("ours", "theirs"), ("theirs", "ours")])
def test_a_stream_moves_as_it_is(request, source, target, storage):
    with BackupClient(request.getfixturevalue(source).port) as there:
        make_stream(there, "MOVE", storage=storage)
        before, expected = state_of(there, "MOVE"), there.messages("MOVE", 60)
        answer, archive = there.backup("MOVE", chunk_size=4096)
        there.api("STREAM.DELETE.MOVE")
    assert len(archive) > 4096, "several chunks"
    assert len(expected) == 60 - 3 - 5
    with BackupClient(request.getfixturevalue(target).port) as here:
        told = here.restore(answer["config"], answer["state"], pieces(archive, 3000))
        assert told["type"] == "io.nats.jetstream.api.v1.stream_create_response"
        assert plain(told["config"]) == plain(answer["config"])
        assert here.messages("MOVE", 60) == expected
        after = state_of(here, "MOVE")
        # The last message was deleted: its time is not in the archive.
        assert {**after, "last_ts": before["last_ts"]} == before
        assert publish(here, "MOVE.on", b"x") == 61
        here.api("STREAM.DELETE.MOVE")


def test_a_restored_stream_is_a_stream_like_any_other(tmp_path):
    """It knows its message ids, keeps its limits, gives new sequences, and is there after a restart."""
    with BrokerProcess(workers=2, jetstream="true", store_dir=tmp_path) as broker:
        with BackupClient(broker.port) as client:
            make_stream(client, "GO", count=300)
            answer, archive = client.backup("GO")
            client.api("STREAM.DELETE.GO")
            config = {**answer["config"], "max_msgs": 100}
            told = client.restore(config, answer["state"], [archive])
            assert (told["state"]["messages"], told["state"]["last_seq"]) == (100, 300)
            again = json.loads(client.request("GO.x", b"", ID_HEADER % 297).payload)
            assert (again["seq"], again["duplicate"]) == (297, True)
            assert publish(client, "GO.x", b"new") == 301
            before, expected = state_of(client, "GO"), client.messages("GO", 301)
        broker.stop()
        broker.start()
        with BackupClient(broker.port) as client:
            assert state_of(client, "GO") == before
            assert client.messages("GO", 301) == expected
            assert publish(client, "GO.x", b"new") == 302


def test_an_empty_stream_keeps_its_place(client):
    """Nothing but the last sequence is left of it."""
    client.api("STREAM.CREATE.NIL", name="NIL", subjects=["nil"])
    for _ in range(5):
        publish(client, "nil", b"x")
    client.api("STREAM.PURGE.NIL")
    answer, archive = client.backup("NIL")
    client.api("STREAM.DELETE.NIL")
    told = client.restore(answer["config"], answer["state"], [archive])
    assert (told["state"]["messages"], told["state"]["first_seq"], told["state"]["last_seq"]) == (0, 6, 5)
    assert publish(client, "nil", b"x") == 6


def test_a_backup_is_of_one_moment(client):
    """What is published or deleted while it runs is not in it, or was read before."""
    client.api("STREAM.CREATE.NOW", name="NOW", subjects=["now"])
    for number in range(200):
        publish(client, "now", noise(number))
    client.client.publish("$JS.API.STREAM.SNAPSHOT.NOW", json.dumps(
        {"deliver_subject": ARCHIVE, "chunk_size": 1024, "window_size": 2048}
    ).encode(), "_INBOX.backup.now")  # fmt: skip
    answer = json.loads(client._next("_INBOX.backup").payload)
    assert answer["state"]["last_seq"] == 200
    chunk = client._next(ARCHIVE)
    publish(client, "now", b"x")
    client.api("STREAM.MSG.DELETE.NOW", seq=150)
    client.api("STREAM.PURGE.NOW", seq=120)
    reader, found = ArchiveReader(1 << 20), []
    while chunk.payload:
        found += [event.sequence for event in reader.feed(chunk.payload) if isinstance(event, ArchiveMessage)]
        if chunk.reply:
            client.client.publish(chunk.reply.decode())
        chunk = client._next(ARCHIVE)
    reader.finish()
    assert chunk.status == b"204"
    assert found[0] == 1
    assert found[-1] == 200
    assert 150 not in found
    assert 119 not in found, "it was purged before the window came so far"


def test_chunks_are_numbered_and_wait_for_acknowledgements(client):
    """Literal, as nats-server sends them: the last short one has no reply subject."""
    client.api("STREAM.CREATE.CH", name="CH", subjects=["ch"])
    for number in range(5):
        publish(client, "ch", noise(number))
    client.client.publish("$JS.API.STREAM.SNAPSHOT.CH", json.dumps(
        {"deliver_subject": ARCHIVE, "chunk_size": 1024, "window_size": 2048}
    ).encode(), "_INBOX.backup.ch")  # fmt: skip
    assert b"stream_snapshot_response" in client._next("_INBOX.backup").payload
    first, second = client._next(ARCHIVE), client._next(ARCHIVE)
    prefix, _, tail = first.reply.decode().rpartition(".1024.")
    assert prefix.startswith("$JS.SNAPSHOT.ACK.CH.")
    assert (tail, second.reply.decode()) == ("1", f"{prefix}.1024.2")
    assert client.client.read_available(0.3) == [], "the window is full"
    client.client.publish(second.reply.decode())
    client.client.publish(second.reply.decode())  # counts once
    third = client._next(ARCHIVE)
    assert third.reply.decode() == f"{prefix}.1024.3"
    assert client.client.read_available(0.2) == []
    client.client.publish(first.reply.decode())
    last, end = client._next(ARCHIVE), client._next(ARCHIVE)
    assert (last.reply, len(last.payload) < 1024, end.payload, end.headers) == (
        b"", True, b"", b"NATS/1.0 204\r\n\r\n",
    )  # fmt: skip


def test_a_large_stream_is_no_burden(ours, client):
    """24 MB both ways, while others get their PONG in time; memory streams, too."""
    other, publisher = ours.client(), ours.client()
    client.api("STREAM.CREATE.BIG", name="BIG", subjects=["big.>"])
    text = b"".join(b"PUB big.%d %d\r\n%b\r\n" % (n % 50, 700, noise(n)) for n in range(1000))
    for _ in range(34):
        publisher.send(text)
    publisher.flush()
    wait_until(lambda: state_of(client, "BIG")["messages"] == 34_000, 10, "all are stored")
    answer, archive = client.backup("BIG", jsck=True)
    client.api("STREAM.DELETE.BIG")
    assert len(archive) > 5_000_000
    for storage in ("file", "memory"):
        deliver = client.api("STREAM.RESTORE.BIG", config={**answer["config"], "storage": storage})
        slowest = 0.0
        for number, chunk in enumerate(pieces(archive, 128 << 10)):
            assert client.request(deliver["deliver_subject"], chunk).payload == b""
            if number % 4 == 0:
                started = time.monotonic()
                other.flush()
                slowest = max(slowest, time.monotonic() - started)
        told = json.loads(client.request(deliver["deliver_subject"]).payload)
        assert told["state"]["messages"] == 34_000
        assert slowest < 1.0
        client.api("STREAM.DELETE.BIG")


# --- refusals ---------------------------------------------------------------------------------------------

FAIRLY = {"deliver_subject": ARCHIVE}
REFUSED = [
    ("STREAM.SNAPSHOT.NONE", b""),
    ("STREAM.SNAPSHOT.NONE", b"{"),
    ("STREAM.SNAPSHOT.NONE", FAIRLY),
    ("STREAM.SNAPSHOT.HERE", b""),
    ("STREAM.SNAPSHOT.HERE", b"{"),
    ("STREAM.SNAPSHOT.HERE", {"deliver_subject": ""}),
    ("STREAM.SNAPSHOT.HERE", {"deliver_subject": "a.*"}),
    ("STREAM.SNAPSHOT.HERE", {**FAIRLY, "other": 1}),
    ("STREAM.RESTORE.NEW", b""),
    ("STREAM.RESTORE.NEW", b"{"),
    ("STREAM.RESTORE.NEW", {"config": {"name": "HERE"}, "state": {}}),
    ("STREAM.RESTORE.NEW", {"config": {"name": "NEW"}, "state": {}, "other": 1}),
    ("STREAM.RESTORE.NEW", {"config": {"name": "NEW", "max_age": 1}, "state": {}}),
    ("STREAM.RESTORE.HERE", {"config": {"name": "HERE", "subjects": ["a"]}, "state": {}}),
]


@pytest.mark.parametrize(("call", "request_body"), REFUSED)
def test_requests_are_refused_as_there(client, theirs, call, request_body):
    with BackupClient(theirs.port) as reference:
        for one in (client, reference):
            one.api("STREAM.CREATE.HERE", name="HERE", subjects=["here"], storage="memory")
        assert refusal(client, call, request_body) == refusal(reference, call, request_body)
        delete_all(reference)


def small_archive(*sequences: int, **state: int) -> bytes:
    """An archive with these messages."""
    known = {"messages": len(sequences), "bytes": 1, "first_seq": min(sequences, default=1), "last_seq": 9}
    writer = ArchiveWriter(ArchiveState(**{**known, **state}), 1)
    for sequence in sequences:
        writer.message(sequence, 10**18 + sequence, b"new.x", b"", b"text")
    writer.finish()
    return b"".join(writer.chunks())


GOOD = small_archive(1, 2, 5)
NEW = {"name": "NEW", "subjects": ["new.>"], "storage": "file"}
BROKEN = {
    "nothing": ([], NEW, "EOF", True),
    "cut": ([GOOD[:-8]], NEW, None, True),
    "half": ([GOOD[: len(GOOD) // 2]], NEW, None, True),
    "garbage": ([b"no archive at all" * 90], NEW, None, True),
    "flipped": ([GOOD[:60] + bytes([GOOD[60] ^ 1]) + GOOD[61:]], NEW, None, True),
    "size": ([GOOD], {**NEW, "max_msg_size": 3}, "message sequence 1 exceeds maximum message size", True),
    "first": (
        [GOOD], {**NEW, "first_seq": 4},
        "failed to store message sequence 1: expected sequence does not match store", True,
    ),
    "overlap": (
        [GOOD], {**NEW, "subjects": ["here.*"]},
        "error adding stream: subjects overlap with an existing stream (10065)", True,
    ),
    # nats-server takes these two.
    "far": ([small_archive(1, 1 << 40, last_seq=1 << 40)], NEW, None, False),
    "farther": ([small_archive(1, last_seq=(1 << 64) - 1)], NEW, None, False),
}  # fmt: skip


@pytest.mark.parametrize("case", BROKEN)
@pytest.mark.parametrize("storage", ["file", "memory"])
def test_a_broken_restore_leaves_nothing(ours, client, theirs, case, storage):
    chunks, config, text, compared = BROKEN[case]
    config = {**config, "storage": storage}
    client.api("STREAM.CREATE.HERE", name="HERE", subjects=["here.>"])
    logs = logs_of(ours)
    error = client.restore(config, {}, chunks)["error"]
    assert (error["code"], error["err_code"]) == (500, 10062)
    assert error["description"].startswith("restore failed: ")
    assert text is None or error["description"] == f"restore failed: {text}"
    assert logs_of(ours) == logs, "the log is gone"
    assert refusal(client, "STREAM.INFO.NEW", b"")["error"]["err_code"] == 10059
    told = client.restore(NEW, {}, [GOOD])
    assert (told["state"]["messages"], told["state"]["last_seq"]) == (3, 9), "the name is free"
    if compared:
        with BackupClient(theirs.port) as reference:
            reference.api("STREAM.CREATE.HERE", name="HERE", subjects=["here.>"])
            there = reference.restore(config, {}, chunks)["error"]
            assert (there["code"], there["err_code"]) == (500, 10062)
            assert text is None or there == error
            delete_all(reference)


def test_a_name_is_taken_while_its_stream_is_uploaded(client):
    deliver = client.api("STREAM.RESTORE.NEW", config=NEW, state={})["deliver_subject"]
    assert refusal(client, "STREAM.RESTORE.NEW", {"config": NEW, "state": {}})["error"]["err_code"] == 10130
    assert refusal(client, "STREAM.CREATE.NEW", NEW)["error"]["err_code"] == 10058
    assert client.api("STREAM.NAMES")["streams"] is None
    assert client.request(deliver, GOOD).payload == b""
    assert refusal(client, "STREAM.INFO.NEW", b"")["error"]["err_code"] == 10059
    client.client.publish("new.x", b"lost: there is no stream yet")
    told = json.loads(client.request(deliver).payload)
    assert told["state"]["messages"] == 3
    assert client.api("STREAM.NAMES")["streams"] == ["NEW"]
    client.client.publish(deliver, b"x", "_INBOX.backup.late")
    assert client._next("_INBOX.backup").status == b"503", "nobody takes chunks any more"


def test_a_chunk_without_reply_subject_ends_the_upload(ours, client):
    deliver = client.api("STREAM.RESTORE.NEW", config=NEW, state={})["deliver_subject"]
    client.client.publish(deliver, GOOD)
    wait_until(lambda: logs_of(ours) == [], 2, "the log is gone")
    assert client.request(deliver).status == b"503"
    client.api("STREAM.NAMES")  # the catalog has heard of it by now
    assert client.restore(NEW, {}, [GOOD])["state"]["messages"] == 3


def test_whoever_falls_silent_is_given_up(ours, client):
    """A receiver that does not acknowledge, one that is not there, an upload that stops: all at once."""
    make_stream(client, "SLOW")
    advisories = ours.client()
    advisories.subscribe("$JS.EVENT.ADVISORY.STREAM.SNAPSHOT_COMPLETE.*", 1)
    advisories.flush()
    client.api("STREAM.SNAPSHOT.SLOW", deliver_subject="nobody.listens")
    stalled = client.api("STREAM.RESTORE.NEW", config=NEW, state={})["deliver_subject"]
    assert client.request(stalled, GOOD[:50]).payload == b""
    started = time.monotonic()
    client.api("STREAM.SNAPSHOT.SLOW", deliver_subject=ARCHIVE, chunk_size=1024, window_size=1024)
    assert len(client._next(ARCHIVE).payload) == 1024
    end = client._next(ARCHIVE)
    assert (end.payload, end.headers) == (b"", b"NATS/1.0 408 No Flow Response\r\n\r\n")
    assert 4.5 < time.monotonic() - started < 7
    assert len(advisories.read_messages(2)) == 2, "also of the one that nobody listened to"
    wait_until(lambda: len(logs_of(ours)) == 1, 3, "the upload is given up")
    assert client.request(stalled, b"x").status == b"503"
    told = client.restore(NEW, {}, [GOOD])
    assert told["state"]["messages"] == 3


def test_advisories_are_those_of_nats_server(theirs, ours):
    """Subjects, types and fields of a backup, a restore and one that fails."""
    heard = []
    for server in (ours, theirs):
        with RawClient(server.port) as listener, BackupClient(server.port) as one:
            listener.subscribe("$JS.EVENT.ADVISORY.STREAM.>", 1)
            listener.flush()
            one.api("STREAM.CREATE.ADV", name="ADV", subjects=["adv"])
            publish(one, "adv", b"x")
            answer, archive = one.backup("ADV")
            wait_until(lambda one=listener: len(peek(one)) == 3, 3, "the backup is told")
            one.api("STREAM.DELETE.ADV")
            one.restore(answer["config"], answer["state"], [archive])
            one.api("STREAM.DELETE.ADV")
            one.restore(answer["config"], answer["state"], [archive[:60]])
            told = [(message.subject, json.loads(message.payload)) for message in listener.read_messages(9)]
        described = [
            (subject, body["type"], sorted(body), body.get("bytes", 0) > 0) for subject, body in told
        ]
        # Ours says that the stream is there when its subscriptions are; the order of these two is chance.
        heard.append(sorted(described))
    assert heard[0] == heard[1]


def peek(client: RawClient) -> list:
    """What has come so far; it stays to be read."""
    client.messages = client.read_available(0.01)
    return client.messages


# --- death ------------------------------------------------------------------------------------------------


def half_upload(client: BackupClient, name: str) -> str:
    """Send most of an archive, so that messages of it are in the log; the deliver subject."""
    config = {"name": name, "subjects": [f"{name}.>"], "storage": "file"}
    writer = ArchiveWriter(ArchiveState(300, 1, 1, 300), 1)
    for sequence in range(1, 301):
        writer.message(sequence, 10**18, f"{name}.x".encode(), b"", os.urandom(1000))
    deliver = client.api(f"STREAM.RESTORE.{name}", config=config, state={})["deliver_subject"]
    for chunk in writer.chunks():
        assert client.request(deliver, chunk).payload == b""
    return deliver


def kill_owner(broker: BrokerProcess) -> None:
    """End worker 1 and wait for its successor."""
    pid = broker.worker_pids()[1]
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: broker.worker_pids().get(1, pid) != pid, 5, "the successor is up")


@pytest.mark.parametrize("whole", [False, True], ids=["owner", "broker"])
def test_death_during_a_restore_leaves_no_half_stream(tmp_path, whole):
    name = name_on(1, 2, "HALF")
    with BrokerProcess(workers=2, jetstream="true", store_dir=tmp_path) as broker:
        broker.store = tmp_path
        with BackupClient(broker.port) as uploader:
            half_upload(uploader, name)
            wait_until(lambda: log_size(tmp_path) > 100_000, 5, "messages are in the log")
            if whole:
                broker.kill()
            else:
                kill_owner(broker)
        if whole:
            broker.start()
        wait_until(lambda: logs_of(broker) == [], 5, "the log is gone")
        with BackupClient(broker.port) as one:
            assert one.api("STREAM.NAMES")["streams"] is None
            config = json.dumps({"name": name, "subjects": [f"{name}.>"]}).encode()

            def made() -> bool:
                answer = json.loads(one.request(f"$JS.API.STREAM.CREATE.{name}", config).payload)
                return "error" not in answer and answer["state"]["messages"] == 0

            wait_until(made, 2, "the name is free, and the stream is a new one")
            assert publish(one, f"{name}.x", b"") == 1


def log_size(store: Path) -> int:
    """Bytes in the segments of all logs that are really used."""
    return sum(path.stat().st_blocks * 512 for path in store.glob("**/logs/*/*") if path.is_file())


def test_an_owner_that_dies_after_the_restore_takes_nothing_along(tmp_path):
    name = name_on(1, 2, "DONE")
    config = {"name": name, "subjects": ["new.>"], "storage": "file"}
    with BrokerProcess(workers=2, jetstream="true", store_dir=tmp_path) as broker:
        with BackupClient(broker.port) as one:
            assert one.restore(config, {}, [GOOD])["state"]["messages"] == 3
        kill_owner(broker)
        with BackupClient(broker.port) as one:
            assert list(one.messages(name, 9)) == [1, 2, 5]
            assert publish(one, "new.x", b"") == 10


# --- the command line tool --------------------------------------------------------------------------------


def nats_cli() -> str | None:
    cached = REPOSITORY / ".cache" / "bin" / "nats"
    return str(cached) if cached.exists() else shutil.which("nats")


@pytest.mark.skipif(nats_cli() is None, reason="no nats CLI in .cache/bin or on PATH")
@pytest.mark.parametrize(("source", "target"), [("ours", "ours"), ("ours", "theirs"), ("theirs", "ours")])
def test_the_nats_cli_backs_up_and_restores(request, tmp_path, source, target):
    def run(server: str, *words: str) -> str:
        url = f"nats://127.0.0.1:{request.getfixturevalue(server).port}"
        command = [nats_cli(), "--server", url, "stream", *words]
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=20, env={"HOME": str(tmp_path)}
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    with BackupClient(request.getfixturevalue(source).port) as there:
        make_stream(there, "CLI")
        before, expected = state_of(there, "CLI"), there.messages("CLI", 60)
        run(source, "backup", "CLI", str(tmp_path / "backup"), "--no-progress")
        there.api("STREAM.DELETE.CLI")
    run(target, "restore", str(tmp_path / "backup"), "--no-progress")
    with BackupClient(request.getfixturevalue(target).port) as here:
        assert here.messages("CLI", 60) == expected
        assert {**state_of(here, "CLI"), "last_ts": before["last_ts"]} == before
        here.api("STREAM.DELETE.CLI")
