"""Consumers for the monitoring pages, asked of the workers that own their streams.

Only workers that have consumers are asked, each for a bounded piece and then for the one behind it, all at
the same time. One that gives no answer within a second is not asked again: what it has is left out, and the
page says so. So a worker that stands still costs a page a second, and never more than that.
"""

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from shardbroker import limits
from shardbroker.control.messages import QUERY_CONSUMERS


@dataclass(slots=True)
class ConsumerDetails:
    """ConsumerInfos by (account, stream), by name; ``missing`` says in words what is not there."""

    by_stream: dict[tuple[str, str], list[dict]] = field(default_factory=dict)
    count: int = 0
    missing: list[str] = field(default_factory=list)


def collect(broker, owners: Iterable[int], arguments: dict, done: Callable[[ConsumerDetails], None]) -> None:
    """Ask the workers in ``owners`` (QUERY_CONSUMERS with ``arguments``); ``done(details)`` follows soon."""
    collection = _Collection(broker, sorted(set(owners)), arguments, done)
    collection.begin()


class _Collection:
    """The questions for one page."""

    def __init__(self, broker, owners: list[int], arguments: dict, done: Callable[[ConsumerDetails], None]):
        self._broker = broker
        self._owners = owners
        self._arguments = arguments
        self._done = done
        self._details = ConsumerDetails()
        self._open = len(owners)
        self._deadline = time.monotonic() + limits.consumers_wait_s_max

    def begin(self) -> None:
        for worker in self._owners:
            self._ask(worker, None)
        if not self._owners:
            self._done(self._details)

    def _ask(self, worker: int, after: list[str] | None) -> None:
        arguments = self._arguments if after is None else {**self._arguments, "after": after}
        self._broker.queries.ask(
            QUERY_CONSUMERS, arguments, lambda answers: self._answered(worker, answers), worker=worker
        )

    def _answered(self, worker: int, answers: list[dict]) -> None:
        if not answers:
            self._finish(f"worker {worker} gives no answer about its consumers")
            return
        found = answers[0]["consumers"]
        for account, stream, info in found:
            self._details.by_stream.setdefault((account, stream), []).append(info)
        self._details.count += len(found)
        if not answers[0]["more"]:
            self._finish("")
        elif self._details.count >= limits.consumers_shown_max:
            self._finish(f"worker {worker} has more consumers than a page shows")
        elif time.monotonic() >= self._deadline:
            self._finish(f"worker {worker} has more consumers than it could describe in time")
        else:
            account, stream, info = found[-1]
            self._ask(worker, [account, stream, info["name"]])

    def _finish(self, missing: str) -> None:
        """One worker is done."""
        if missing:
            self._details.missing.append(missing)
        self._open -= 1
        if self._open == 0:
            self._done(self._details)
