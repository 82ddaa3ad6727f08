"""How mirrors and sources of other workers' streams get on: STREAM.LIST shows them, and only the owners know.

The worker that answers a LIST asks the owners of the page's streams, in the account of control messages
(stream_feed.py), and goes on when all have told or after half a second; a stream whose owner is just being
restarted is then shown without its mirror and sources.
"""

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

import orjson

from shardbroker.workers.hosted import SERVICE_CALL
from shardbroker.workers.stream_feed import CONTROL_ACCOUNT

if TYPE_CHECKING:
    from shardbroker.workers.jetstream import JetStream
    from shardbroker.workers.stream_opening import StreamEntry

PATIENCE_NS = 500_000_000

#: name of a stream -> {"mirror": StreamSourceInfo or None, "sources": [StreamSourceInfo]}
Flows = dict[str, dict]


class _Question:
    """One LIST that waits. ``workers`` have not told yet."""

    def __init__(self, workers: set[int], done: Callable[[Flows], None], until_ns: int):
        self.workers = workers
        self.done = done
        self.until_ns = until_ns
        self.flows: Flows = {}


class FlowInfos:
    """Asks other workers, and answers them."""

    def __init__(self, js: "JetStream"):
        self._js = js
        self._questions: dict[int, _Question] = {}
        self._next = 1
        index = js.host.new_call_target(CONTROL_ACCOUNT, self._told)
        js.host.subscribe(None, SERVICE_CALL, _subject(js.worker_index), CONTROL_ACCOUNT, index)
        js.host.ticking.append(self._tick)

    def ask(self, entries: "Iterable[StreamEntry]", done: Callable[[Flows], None]) -> None:
        """Call ``done(flows)`` with what the owners say; at once when no other worker is concerned."""
        names: dict[int, list[tuple[str, str]]] = {}
        for entry in entries:
            flows = entry.config.mirror is not None or entry.config.sources
            if flows and entry.hosted is None and not entry.damaged:
                names.setdefault(entry.owner, []).append((entry.account, entry.name))
        number, self._next = self._next, self._next + 1
        workers = {
            worker
            for worker, wanted in names.items()
            if self._tell(worker, {"ask": number, "worker": self._js.worker_index, "names": wanted})
        }
        if workers:
            until_ns = self._js.host.wall_ns() + PATIENCE_NS
            self._questions[number] = _Question(workers, done, until_ns)
        else:
            done({})

    def _tell(self, worker: int, body: dict) -> bool:
        return self._js.host.send(CONTROL_ACCOUNT, _subject(worker), orjson.dumps(body))

    def _told(
        self, _account: int, _subject: bytes, _reply: bytes, _block: bytes, payload: bytes, _cid: int
    ) -> None:
        body = orjson.loads(payload)
        if "ask" in body:
            flows = {}
            for account, name in body["names"]:
                entry = self._js.account(account).get(name)
                if entry is not None and entry.hosted is not None:
                    details = entry.hosted.details
                    flows[name] = {"mirror": details.mirror_info(), "sources": details.source_infos()}
            self._tell(
                body["worker"], {"answer": body["ask"], "worker": self._js.worker_index, "flows": flows}
            )
            return
        question = self._questions.get(body["answer"])
        if question is None:
            return
        question.flows |= body["flows"]
        question.workers.discard(body["worker"])
        if not question.workers:
            del self._questions[body["answer"]]
            question.done(question.flows)

    def _tick(self, now_ns: int) -> None:
        for number, question in list(self._questions.items()):
            if now_ns > question.until_ns:
                del self._questions[number]
                question.done(question.flows)


def _subject(worker: int) -> bytes:
    return b"flows.%d" % worker
