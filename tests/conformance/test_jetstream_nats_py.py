"""Property: nats-py's JetStream calls about streams and publishing work unchanged, with two workers.

Each test has a stream name of its own, so that streams of both workers are met.
"""

import asyncio

import nats
import pytest
from nats.js.api import (
    DiscardPolicy,
    RePublish,
    RetentionPolicy,
    StorageType,
    StreamConfig,
    StreamSource,
    SubjectTransform,
)
from nats.js.errors import APIError, BadRequestError, NotFoundError

from tests.conformance.servers import Server

pytestmark = [
    pytest.mark.asyncio,
    pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning"),
]
WAIT_S = 10.0


async def connect(server: Server) -> tuple[nats.NATS, nats.js.JetStreamContext]:
    """A client and its JetStream context."""
    client = await nats.connect(f"nats://127.0.0.1:{server.port}")
    return client, client.jetstream(timeout=WAIT_S)


async def test_a_stream_from_birth_to_death(jetstream_broker: Server) -> None:
    """Made, found by its subject, changed, listed, deleted."""
    client, js = await connect(jetstream_broker)
    made = await js.add_stream(name="PYLIFE", subjects=["pylife.*"], max_msgs=100)
    assert (made.config.name, made.config.max_msgs, made.state.messages) == ("PYLIFE", 100, 0)
    assert await js.find_stream_name_by_subject("pylife.x") == "PYLIFE"
    changed = await js.update_stream(name="PYLIFE", subjects=["pylife.*", "pymore"], max_msgs=5)
    assert changed.config.subjects == ["pylife.*", "pymore"]
    assert "PYLIFE" in [info.config.name for info in await js.streams_info()]
    with pytest.raises(BadRequestError) as refused:
        await js.add_stream(name="PYOTHER", subjects=["pymore"])
    assert refused.value.err_code == 10065
    assert await js.delete_stream("PYLIFE")
    with pytest.raises(NotFoundError):
        await js.stream_info("PYLIFE")
    await client.close()


async def test_publishing_gives_sequences_in_order(jetstream_broker: Server) -> None:
    """One at a time, and a thousand at once; duplicates are told."""
    client, js = await connect(jetstream_broker)
    await js.add_stream(name="PYPUB", subjects=["pypub.>"])
    for number in range(1, 11):
        ack = await js.publish("pypub.one", b"%d" % number)
        assert (ack.stream, ack.seq, ack.duplicate) == ("PYPUB", number, None)
    futures = [
        await js.publish_async("pypub.many", b"%d" % number, wait_stall=WAIT_S) for number in range(1000)
    ]
    acks = await asyncio.wait_for(asyncio.gather(*futures), WAIT_S)
    assert [ack.seq for ack in acks] == list(range(11, 1011))
    first = await js.publish("pypub.id", b"", headers={"Nats-Msg-Id": "x"})
    again = await js.publish("pypub.id", b"", headers={"Nats-Msg-Id": "x"})
    assert (again.seq, again.duplicate) == (first.seq, True)
    with pytest.raises(APIError) as refused:
        await js.publish("pypub.one", b"", headers={"Nats-Expected-Last-Sequence": "5"})
    assert refused.value.err_code == 10071
    assert (await js.stream_info("PYPUB")).state.messages == 1011
    await client.close()


@pytest.mark.parametrize("storage", [StorageType.FILE, StorageType.MEMORY])
@pytest.mark.parametrize("direct", [False, True])
async def test_messages_are_read_and_deleted(jetstream_broker: Server, storage, direct: bool) -> None:
    """By sequence, last and next of a subject, over the API and directly."""
    client, js = await connect(jetstream_broker)
    name = f"PYGET-{storage.value}-{direct}"
    await js.add_stream(name=name, subjects=[f"{name}.>"], storage=storage, allow_direct=direct)
    for number in range(6):
        await js.publish(f"{name}.{number % 2}", b"%d" % number, headers={"n": str(number)})
    read = await js.get_msg(name, 3, direct=direct)
    assert (read.subject, read.data, read.headers["n"]) == (f"{name}.0", b"2", "2")
    assert (await js.get_last_msg(name, f"{name}.1", direct=direct)).seq == 6
    assert (await js.get_msg(name, seq=4, subject=f"{name}.0", direct=direct, next=True)).seq == 5
    assert await js.delete_msg(name, 3)
    with pytest.raises(NotFoundError):
        await js.get_msg(name, 3, direct=direct)
    await client.close()


async def test_purge(jetstream_broker: Server) -> None:
    """Of a subject, all but the newest, and everything."""
    client, js = await connect(jetstream_broker)
    await js.add_stream(name="PYPURGE", subjects=["pypurge.>"])
    for number in range(9):
        await js.publish(f"pypurge.{number % 3}", b"x")
    assert await js.purge_stream("PYPURGE", subject="pypurge.1")
    assert (await js.stream_info("PYPURGE", subjects_filter=">")).state.subjects == {
        "pypurge.0": 3,
        "pypurge.2": 3,
    }
    assert await js.purge_stream("PYPURGE", keep=2)
    assert (await js.stream_info("PYPURGE")).state.messages == 2
    assert await js.purge_stream("PYPURGE")
    state = (await js.stream_info("PYPURGE")).state
    assert (state.messages, state.first_seq, state.last_seq) == (0, 10, 9)
    await client.close()


async def test_a_rich_configuration(jetstream_broker: Server) -> None:
    """What the client sends comes back; a republished message is heard; discard new refuses."""
    client, js = await connect(jetstream_broker)
    config = StreamConfig(
        name="PYRICH",
        subjects=["pyrich.>"],
        retention=RetentionPolicy.LIMITS,
        discard=DiscardPolicy.NEW,
        max_msgs=2,
        metadata={"owner": "me"},
        republish=RePublish(src="pyrich.>", dest="pyheard.>"),
        subject_transform=SubjectTransform(src="pyrich.*", dest="pyrich.in.{{wildcard(1)}}"),
    )
    shown = (await js.add_stream(config)).config
    assert (shown.discard, shown.metadata["owner"]) == (DiscardPolicy.NEW, "me")
    heard = await client.subscribe("pyheard.>")
    await client.flush()
    await js.publish("pyrich.a", b"one")
    message = await heard.next_msg(timeout=WAIT_S)
    assert (message.subject, message.headers["Nats-Subject"]) == ("pyheard.in.a", "pyrich.in.a")
    await js.publish("pyrich.b", b"two")
    with pytest.raises(APIError) as refused:
        await js.publish("pyrich.c", b"three")
    assert (refused.value.err_code, refused.value.description) == (10077, "maximum messages exceeded")
    await client.close()


async def test_mirror_and_source_copy_messages(jetstream_broker: Server) -> None:
    """Streams of both workers, copied by streams of both workers."""
    client, js = await connect(jetstream_broker)
    await js.add_stream(name="PYORIGIN", subjects=["pyorigin.>"])
    for number in range(20):
        await js.publish(f"pyorigin.{number % 2}", b"%d" % number)
    copies = [f"PYM{number}" for number in range(3)] + ["PYS"]
    for name in copies[:3]:
        await js.add_stream(name=name, mirror=StreamSource(name="PYORIGIN"))
    await js.add_stream(name="PYS", sources=[StreamSource(name="PYORIGIN", filter_subject="pyorigin.1")])
    wanted = dict.fromkeys(copies, 20) | {"PYS": 10}
    for _ in range(200):
        counts = {name: (await js.stream_info(name)).state.messages for name in copies}
        if counts == wanted:
            break
        await asyncio.sleep(0.05)
    assert counts == wanted
    assert (await js.get_msg("PYM1", 7)).data == b"6"
    await client.close()


async def test_account_info_counts(jetstream_broker: Server) -> None:
    """Requests and errors, streams and bytes; each by as much as was done."""
    client, js = await connect(jetstream_broker)
    before = await js.account_info()
    await js.add_stream(name="PYCOUNT", subjects=["pycount"], max_bytes=1 << 20)
    await js.publish("pycount", b"x" * 100)
    with pytest.raises(NotFoundError):
        await js.stream_info("PYABSENT")
    after = await js.account_info()
    assert after.streams == before.streams + 1
    assert after.api.total == before.api.total + 3  # the account's own info, too
    assert after.api.errors == before.api.errors + 1
    assert after.storage == before.storage + (await js.stream_info("PYCOUNT")).state.bytes
    await client.close()
