"""Questions of the monitoring pages to all workers, and the collecting of their answers.

A page never waits longer than a second: what has not answered by then is left out.
"""

import contextlib
import itertools
from collections.abc import Callable

import orjson

from shardbroker import limits
from shardbroker.acceptor.event_loop import EventLoop, Timer
from shardbroker.acceptor.worker import UP, Worker
from shardbroker.control.messages import Answer, Query


class _Pending:
    """One question under way."""

    def __init__(self, waiting_for: set[int], done: Callable[[list], None]):
        self.waiting_for = waiting_for
        self.done = done
        self.answers: list = []
        self.timer: Timer | None = None


class Queries:
    """Asks ``workers`` and matches answers to questions by number."""

    def __init__(self, loop: EventLoop, workers: list[Worker]):
        self._loop = loop
        self._workers = workers
        self._numbers = itertools.count(1)
        self._pending: dict[int, _Pending] = {}

    def ask(
        self, kind: str, arguments: dict, done: Callable[[list], None], *, worker: int | None = None
    ) -> None:
        """``done(answers)`` is called with the decoded answers of all workers that gave one in time.

        ``worker``: only the one with this index is asked.
        """
        chosen = self._workers if worker is None else [self._workers[worker]]
        asked = [each for each in chosen if each.state == UP]
        request = next(self._numbers)
        pending = _Pending({each.index for each in asked}, done)
        self._pending[request] = pending
        for each in asked:
            each.send(Query(request, kind, arguments))
        pending.timer = self._loop.call_later(
            limits.query_wait_s_max if asked else 0, lambda: self._finish(request)
        )

    def answered(self, worker: Worker, message: Answer) -> None:
        """An answer came; one that is too late or makes no sense is ignored."""
        pending = self._pending.get(message.request)
        if pending is None or worker.index not in pending.waiting_for:
            return
        pending.waiting_for.discard(worker.index)
        with contextlib.suppress(orjson.JSONDecodeError):
            pending.answers.append(orjson.loads(message.body))
        if not pending.waiting_for:
            self._finish(message.request)

    def _finish(self, request: int) -> None:
        pending = self._pending.pop(request, None)
        if pending is not None:
            pending.timer.cancel()
            pending.done(pending.answers)
