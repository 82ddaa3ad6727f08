"""``shardbroker dlq redrive``: dead letters go to their subjects once more, and leave the collecting stream.

A letter is removed after the PubAck for its message, never before. Whoever dies between the two leaves the
letter; sent again it has the same Nats-Msg-Id, so that the stream which has it already says so. Letters are
sent in their order, some at the same time: one after the other each would wait for two syncs of a disk.
"""

import sys
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from functools import partial

from shardbroker.cli.broker_client import ClientProblem, together
from shardbroker.cli.progress import Progress
from shardbroker.cli.stream_client import Refusal, StoredMessage, StreamClient
from shardbroker.cli.tables import visible
from shardbroker.jetstream import dead_letters as names
from shardbroker.jetstream import header_block
from shardbroker.jetstream.source_checks import is_literal_subject

#: Letters that are on their way at the same time.
_WINDOW = 32
#: Problems told in words; of further ones only the number.
_PROBLEMS_MAX = 20


@dataclass(frozen=True)
class Wish:
    """Which letters (``sequences``, those of a consumer, or all), and where ``to``; None: to their origin."""

    sequences: list[int] | None
    consumer: str | None
    to: str | None
    dry_run: bool

    def means(self, message: StoredMessage) -> bool:
        """Whether this letter is one of them."""
        consumer = message.header(names.CONSUMER)
        return self.consumer in (None, consumer, f"{message.header(names.STREAM)}/{consumer}")


@dataclass
class Report:
    """What has come of it."""

    sent: int = 0
    known: int = 0  # of these: the stream had them already
    others: int = 0  # messages that are no dead letters
    missing: list[int] = field(default_factory=list)
    problems: Counter = field(default_factory=Counter)

    @property
    def is_good(self) -> bool:
        return not self.problems and not self.missing


async def redrive(client: StreamClient, stream: str, wish: Wish) -> int:
    """Send letters once more; gives the exit code. Raises ClientProblem."""
    info = await client.stream_info(stream)
    config, state = info["config"], info["state"]
    if wish.to is not None and not is_literal_subject(wish.to):
        raise ClientProblem(f"--to {wish.to!r} is no subject without wildcards")
    if (config.get("deny_delete") or config.get("sealed")) and not wish.dry_run:
        raise ClientProblem(
            f"stream {stream} lets nothing be removed (deny_delete, sealed): a letter that was sent would "
            "stay there, to be sent again; nothing was sent"
        )
    report = Report()
    total = len(wish.sequences) if wish.sequences is not None else state["messages"]
    bar = Progress(total, "messages looked at")
    done = 0
    send = partial(_send, client, stream, info["created"], wish, report, bar)
    batch: list[StoredMessage] = []
    try:
        async for message in _letters(client, stream, wish, state["last_seq"], report):
            done += 1
            if not message.header(names.SUBJECT):
                report.others += 1
            elif wish.means(message):
                batch.append(message)
            if len(batch) >= _WINDOW:
                await together(map(send, batch))
                batch = []
            bar.show(done)
        await together(map(send, batch))
    finally:
        bar.clear()
        _tell(stream, wish, report)
    return 0 if report.is_good else 1


async def _letters(
    client: StreamClient, stream: str, wish: Wish, last: int, report: Report
) -> AsyncIterator[StoredMessage]:
    """What there is to look at, in order."""
    if wish.sequences is None:
        async for message in client.messages(stream, 1, last):
            yield message
        return
    for sequence in wish.sequences:
        message = await client.message(stream, sequence)
        if message is None:
            report.missing.append(sequence)
        else:
            yield message


async def _send(
    client: StreamClient,
    stream: str,
    created: str,
    wish: Wish,
    report: Report,
    bar: Progress,
    message: StoredMessage,
) -> None:
    subject = wish.to or message.header(names.SUBJECT)
    if wish.dry_run:
        bar.clear()
        print(f"{message.sequence}: {len(message.payload)} bytes to {visible(subject)}")
        report.sent += 1
        return
    identity = f"redrive.{stream}.{created}.{message.sequence}".encode()
    headers = [*names.original_headers(message.block), (header_block.MSG_ID, identity)]
    try:
        answer = await client.publish(subject, message.payload, headers)
    except Refusal as refusal:
        report.problems[f"not sent: {refusal}"] += 1
        return
    try:
        await client.delete(stream, message.sequence)
    except Refusal as refusal:
        report.problems[f"sent, but not removed: {refusal}"] += 1
        return
    report.sent += 1
    report.known += bool(answer.get("duplicate"))


def _tell(stream: str, wish: Wish, report: Report) -> None:
    """What was done, and what was not."""
    for problem, count in report.problems.most_common(_PROBLEMS_MAX):
        print(f"shardbroker dlq: {count} still in {stream}, {visible(problem)}", file=sys.stderr)
    if len(report.problems) > _PROBLEMS_MAX:
        print(f"shardbroker dlq: and {len(report.problems) - _PROBLEMS_MAX} other problems", file=sys.stderr)
    if report.missing:
        text = ", ".join(map(str, report.missing[:_PROBLEMS_MAX]))
        more = ", ..." if len(report.missing) > _PROBLEMS_MAX else ""
        print(f"shardbroker dlq: not in {stream}: {text}{more}", file=sys.stderr)
    if report.others:
        print(f"shardbroker dlq: {report.others} messages of {stream} are no dead letters", file=sys.stderr)
    if wish.dry_run:
        print(f"{report.sent} dead letters would be sent; nothing was done")
        return
    known = f", {report.known} of them were there already" if report.known else ""
    failed = report.problems.total()
    left = f"; {failed} are still there" if failed else ""
    print(f"{report.sent} dead letters were sent once more and removed from {stream}{known}{left}")
