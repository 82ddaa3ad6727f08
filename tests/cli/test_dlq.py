"""Property: `shardbroker dlq` shows what a collecting stream has, and sends it once more without losing any.

Against a broker with two workers, and letters that it has made of terminated messages.
"""

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import nats
import pytest
from nats.js.api import ConsumerConfig, StreamConfig

from shardbroker.cli.dlq import dlq
from shardbroker.cli.stream_client import RepeatedHeaders, StreamClient
from shardbroker.jetstream import header_block
from tests.support.broker_process import BrokerProcess

pytestmark = pytest.mark.filterwarnings(
    "ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning"
)
WAIT_S = 20.0
LETTERS = 6


async def fill(server: str) -> None:
    """A stream D with letters of two consumers, and one message that is no letter."""
    client = await nats.connect(server)
    js = client.jetstream(timeout=WAIT_S)
    await js.add_stream(name="S", subjects=["s.>"])
    await js.add_stream(name="D", subjects=["d.>"])
    for name in ("one", "two"):
        config = ConsumerConfig(
            durable_name=name, ack_policy="explicit", filter_subject=f"s.{name}",
            metadata={"shardbroker.dead_letter": "d.letters"},
        )  # fmt: skip
        await js.add_consumer("S", config)
    for number in range(LETTERS):
        name = ("one", "two")[number % 2]
        pairs = [("Number", str(number)), ("Nats-Expected-Stream", "S"), ("Twice", "ö"), ("Twice", "2")]
        payload = b"%d \x00" % number if number == 3 else b"%d" % number
        await client.request(f"s.{name}", payload, headers=RepeatedHeaders(pairs), timeout=WAIT_S)
        sub = await js.pull_subscribe_bind(name, stream="S")
        [message] = await sub.fetch(1, timeout=WAIT_S)
        await client.request(message.reply, b"+TERM not today", timeout=WAIT_S)
    await js.publish("d.other", b"no letter")
    await client.close()


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[BrokerProcess]:
    with BrokerProcess(workers=2, jetstream="true", store_dir=tmp_path) as broker:
        asyncio.run(fill(address(broker)))
        yield broker


def address(broker: BrokerProcess) -> str:
    return f"nats://{broker.host}:{broker.port}"


class Done:
    """What the command has said."""

    def __init__(self, code: int, out: bytes, err: bytes) -> None:
        self.code, self.out, self.err = code, out.decode(), err.decode()

    def text(self, code: int = 0) -> str:
        """Of the output, or of the errors if ``code`` is one."""
        assert self.code == code, (self.out, self.err)
        return self.out if code == 0 else self.err


class Shell:
    """Runs the command; in this process, for starting one takes longer than the command."""

    def __init__(self, broker: BrokerProcess, capfdbinary: pytest.CaptureFixture) -> None:
        self.server = address(broker)
        self._capture = capfdbinary

    def __call__(self, action: str, *arguments: str) -> Done:
        self._capture.readouterr()
        try:
            code = dlq([action, "-s", self.server, *arguments])
        except SystemExit as ended:
            code = int(ended.code)
        sys.stdout.flush()
        return Done(code, *self._capture.readouterr())

    def numbers(self) -> list[int]:
        """Letters in the collecting stream."""
        return [one["seq"] for one in json.loads(self("ls", "D", "--json").text())["last"]]


@pytest.fixture
def shell(broker: BrokerProcess, capfdbinary: pytest.CaptureFixture) -> Shell:
    return Shell(broker, capfdbinary)


async def messages_of(server: str, stream: str, first: int) -> list[tuple[str, bytes, list]]:
    """(subject, payload, headers) from that sequence on."""
    async with StreamClient(server) as client:
        last = (await client.stream_info(stream))["state"]["last_seq"]
        return [
            (one.subject, one.payload, header_block.parse_pairs(one.block))
            async for one in client.messages(stream, first, last)
        ]


def test_ls_and_show(shell: Shell) -> None:
    """Counts, lines, one letter; text and what is none."""
    text = shell("ls", "D", "-n", "2").text()
    lines = [line.split() for line in text.splitlines()]
    assert lines[0][:5] == ["6", "dead", "letters", "in", "D;"] and "1 other messages" in text
    assert ["3", "S", "one", "terminated"] in lines and ["3", "S", "two", "terminated"] in lines
    assert [line[0] for line in lines if "today" in line] == ["5", "6"]
    found = json.loads(shell("ls", "D", "--json").text())
    assert (found["dead_letters"], found["others"]) == (6, 1)
    assert found["origins"][0] == {"stream": "S", "consumer": "one", "reason": "terminated", "count": 3}
    assert {one["stream_seq"] for one in found["last"]} == set(range(1, 7))
    shown = shell("show", "D", "1").text()
    for part in ("terminated, delivered 1 time\n", "not today", "S > one", "message 1 on s.one", "Number: 0"):
        assert part in shown
    assert shown.endswith("payload: 1 bytes\n0\n")
    assert "00000000  33 20 00" in shell("show", "D", "4").text()
    assert "00000000  30" in shell("show", "D", "1", "--hex").text()
    assert shell("show", "D", "4", "--raw").text() == "3 \x00"
    assert "this is no dead letter" in shell("show", "D", "7").text()


def test_redrive(shell: Shell) -> None:
    """Some, those of a consumer, all; to another subject; each is there again and gone from D."""
    assert "2 dead letters would be sent" in shell("redrive", "D", "--seq", "1", "2", "--dry-run").text()
    assert shell.numbers() == [1, 2, 3, 4, 5, 6]
    assert "1 dead letters were sent" in shell("redrive", "D", "--seq", "2").text()
    assert "3 dead letters were sent" in shell("redrive", "D", "--from-consumer", "S/one").text()
    assert shell.numbers() == [4, 6]
    again = asyncio.run(messages_of(shell.server, "S", LETTERS + 1))
    assert [(subject, data) for subject, data, _ in again] == [
        ("s.two", b"1"), ("s.one", b"0"), ("s.one", b"2"), ("s.one", b"4"),
    ]  # fmt: skip
    for _, data, headers in again:
        assert headers[:3] == [(b"Number", data), (b"Twice", "ö".encode()), (b"Twice", b"2")]
        [(name, value)] = headers[3:]
        assert name == b"Nats-Msg-Id" and value.startswith(b"redrive.D.")
    done = shell("redrive", "D", "--all", "--to", "d.moved")
    assert "2 dead letters were sent" in done.text()
    assert "1 messages of D are no dead letters" in done.err
    assert shell.numbers() == []
    moved = asyncio.run(messages_of(shell.server, "D", 8))
    assert [(subject, data) for subject, data, _ in moved] == [("d.moved", b"3 \x00"), ("d.moved", b"5")]


def test_what_was_sent_already_is_only_removed(shell: Shell) -> None:
    """As when the command died in between: the stream knows the id."""

    async def die_in_between() -> None:
        client = await nats.connect(shell.server)
        info = json.loads((await client.request("$JS.API.STREAM.INFO.D", timeout=WAIT_S)).data)
        identity = f"redrive.D.{info['created']}.2"
        await client.jetstream(timeout=WAIT_S).publish("s.two", b"1", headers={"Nats-Msg-Id": identity})
        await client.close()

    asyncio.run(die_in_between())
    assert "removed from D, 1 of them were there already" in shell("redrive", "D", "--seq", "2").text()
    assert len(asyncio.run(messages_of(shell.server, "S", 1))) == LETTERS + 1
    assert shell.numbers() == [1, 3, 4, 5, 6]


def test_what_is_refused_stays(shell: Shell) -> None:
    """The stream is full after two; and one lets nothing be removed."""

    async def change(config: StreamConfig) -> None:
        client = await nats.connect(shell.server)
        js = client.jetstream(timeout=WAIT_S)
        await js.purge_stream("S")
        await js.update_stream(config)
        await client.close()

    asyncio.run(change(StreamConfig(name="S", subjects=["s.>"], max_msgs=2, discard="new")))
    done = shell("redrive", "D", "--all")
    assert "4 still in D, not sent: maximum messages exceeded (10077)" in done.text(1)
    assert "2 dead letters were sent once more and removed from D; 4 are still there" in done.out
    assert shell.numbers() == [3, 4, 5, 6]
    asyncio.run(change(StreamConfig(name="D", subjects=["d.>"], deny_delete=True)))
    assert "nothing was sent" in shell("redrive", "D", "--all").text(2)


def test_problems_are_told(shell: Shell) -> None:
    """What, where, why, and what to do."""
    assert "there is no stream NOPE at nats://" in shell("ls", "NOPE").text(2)
    assert "'a.b' is no name of a stream" in shell("ls", "a.b").text(2)
    assert "stream D has no message 99" in shell("show", "D", "99").text(2)
    assert "not in D: 99" in shell("redrive", "D", "--seq", "99").text(1)
    nowhere = shell("redrive", "D", "--all", "--to", "nowhere")
    assert "6 still in D, not sent: no stream takes messages on nowhere" in nowhere.text(1)
    assert "is no subject without wildcards" in shell("redrive", "D", "--all", "--to", "a.*").text(2)
    assert shell.numbers() == [1, 2, 3, 4, 5, 6]
    assert "Give its address with -s" in shell("ls", "D", "-s", "nats://127.0.0.1:1").text(2)
    assert "is required" in shell("redrive", "D").text(2)
    assert "is no sequence" in shell("show", "D", "0").text(2)


def test_the_whole_command_takes_its_server_from_the_environment(broker: BrokerProcess) -> None:
    command = [sys.executable, "-m", "shardbroker", "dlq", "ls", "D"]
    environment = {**os.environ, "NATS_URL": address(broker)}
    done = subprocess.run(command, capture_output=True, env=environment, timeout=60, check=True)
    assert done.stdout.startswith(b"6 dead letters in D")


def test_the_command_line_of_a_broker_does_not_import_a_client() -> None:
    """nats-py is for `dlq` and `consumer explain` alone."""
    code = "import sys, shardbroker.cli.main; print('nats' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout == "False\n"
