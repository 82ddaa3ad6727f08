"""``shardbroker dlq ls``: dead letters by where they come from, and the last of them."""

import heapq
import json
from collections import Counter
from dataclasses import dataclass, field

from shardbroker.cli.broker_client import together
from shardbroker.cli.progress import Progress
from shardbroker.cli.stream_client import StoredMessage, StreamClient
from shardbroker.cli.tables import print_table
from shardbroker.jetstream import dead_letters as names

DEFAULT_LAST = 20
#: The stream is read at so many places at the same time: a request must not wait for the one before.
_READERS = 16


@dataclass
class Found:
    """What is in the stream. ``last`` has the highest sequences; a heap, the lowest of them first."""

    by_origin: Counter = field(default_factory=Counter)  # (stream, consumer, reason)
    others: int = 0  # messages that are no dead letters
    last: list[tuple[int, StoredMessage]] = field(default_factory=list)

    def take(self, message: StoredMessage, last_count: int) -> None:
        """Count one."""
        if not message.header(names.SUBJECT):
            self.others += 1
            return
        origin = (
            message.header(names.STREAM), message.header(names.CONSUMER), message.header(names.REASON),
        )  # fmt: skip
        self.by_origin[origin] += 1
        if last_count:
            push = heapq.heappush if len(self.last) < last_count else heapq.heappushpop
            push(self.last, (message.sequence, message))


async def ls(client: StreamClient, stream: str, last_count: int, *, as_json: bool) -> int:
    """Read the stream, and print what is there. Raises ClientProblem."""
    info = await client.stream_info(stream)
    state = info["state"]
    found = Found()
    bar = Progress(state["messages"], "messages read")
    first, last = state["first_seq"], state["last_seq"]
    share = (last - first) // _READERS + 1
    done = 0

    async def read(start: int) -> None:
        nonlocal done
        async for message in client.messages(stream, start, min(start + share - 1, last)):
            found.take(message, last_count)
            done += 1
            bar.show(done)

    try:
        await together(read(start) for start in range(first, last + 1, share) if state["messages"])
    finally:
        bar.clear()
    (_tell_json if as_json else _tell)(stream, found)
    return 0


def _tell(stream: str, found: Found) -> None:
    total = found.by_origin.total()
    others = f"; {found.others} other messages are no dead letters" if found.others else ""
    print(f"{total} dead letters in {stream}{others}")
    if not total:
        return
    print()
    rows = [
        (str(count), *(cell or "?" for cell in origin)) for origin, count in sorted(found.by_origin.items())
    ]
    print_table(("COUNT", "STREAM", "CONSUMER", "REASON"), rows)
    if not found.last:
        return
    print(f"\nthe last {len(found.last)}:" if len(found.last) < total else "")
    print_table(
        ("SEQUENCE", "TIME", "STREAM > CONSUMER", "SUBJECT", "REASON", "DELIVERIES", "BYTES"),
        [_row(message) for _sequence, message in sorted(found.last, key=lambda one: one[0])],
    )


def _row(message: StoredMessage) -> tuple[str, ...]:
    return (
        str(message.sequence),
        message.header(names.TIME)[:19].replace("T", " "),
        f"{message.header(names.STREAM)} > {message.header(names.CONSUMER)}",
        message.header(names.SUBJECT),
        message.header(names.DESCRIPTION) or message.header(names.REASON),
        message.header(names.DELIVERIES),
        str(len(message.payload)),
    )


def _tell_json(stream: str, found: Found) -> None:
    origins = [
        {"stream": origin[0], "consumer": origin[1], "reason": origin[2], "count": count}
        for origin, count in sorted(found.by_origin.items())
    ]
    last = [
        {
            "seq": message.sequence,
            "time": message.header(names.TIME),
            "stream": message.header(names.STREAM),
            "consumer": message.header(names.CONSUMER),
            "subject": message.header(names.SUBJECT),
            "stream_seq": int(message.header(names.SEQUENCE) or 0),
            "reason": message.header(names.REASON),
            "description": message.header(names.DESCRIPTION),
            "deliveries": int(message.header(names.DELIVERIES) or 0),
            "bytes": len(message.payload),
        }
        for _sequence, message in sorted(found.last, key=lambda one: one[0])
    ]
    whole = {
        "stream": stream,
        "dead_letters": found.by_origin.total(),
        "others": found.others,
        "origins": origins,
        "last": last,
    }
    print(json.dumps(whole, indent=2, ensure_ascii=False))
