"""Consumers of all workers come together on one page: whole, in order, once each, and whatever a worker does.

That each ConsumerInfo is nats-server's is in test_monitor_jetstream.py. Here: streams of two workers, more
consumers than a worker describes in one answer, and workers that are silent, gone or endless. The latter are
played by the test, with the acceptor's own event loop, so that nothing depends on a slow machine.
"""

import contextlib
import json
import os
import signal
import socket
from types import SimpleNamespace

import orjson
import pytest

from shardbroker import limits
from shardbroker.acceptor.event_loop import EventLoop
from shardbroker.acceptor.monitor.consumer_details import ConsumerDetails, collect
from shardbroker.acceptor.queries import Queries
from shardbroker.acceptor.worker import DRAINING, UP
from shardbroker.control.messages import Answer, Query
from tests.acceptor.running import RunningBroker

#: More than two answers of a worker.
MANY = 2 * limits.consumers_answered_max + 30

SILENT = "worker {} gives no answer about its consumers"


def request_all(port: int, requests: list[tuple[str, dict]]) -> None:
    """Send requests without waiting in between; none of them may fail."""
    with socket.create_connection(("127.0.0.1", port), timeout=20) as sock:
        data = b'CONNECT {"verbose":false}\r\nSUB r 1\r\n'
        for subject, body in requests:
            payload = json.dumps(body).encode()
            data += b"PUB %b r %d\r\n%b\r\n" % (subject.encode(), len(payload), payload)
        sock.sendall(data)
        lines = sock.makefile("rb")
        for _ in requests:
            while not (line := lines.readline()).startswith(b"MSG"):
                assert line, "closed without an answer"
            answer = json.loads(lines.read(int(line.split()[-1])))
            assert "error" not in answer, answer


def new_stream(name: str) -> tuple[str, dict]:
    body = {"name": name, "subjects": [name.lower()], "storage": "memory", "max_consumers": -1}
    return f"$JS.API.STREAM.CREATE.{name}", body


def new_consumer(stream: str, name: str) -> tuple[str, dict]:
    config = {"durable_name": name, "ack_policy": "explicit"}
    return f"$JS.API.CONSUMER.DURABLE.CREATE.{stream}.{name}", {"stream_name": stream, "config": config}


@pytest.fixture(scope="module")
def broker(tmp_path_factory):
    """Twelve streams with a consumer each, and one with many."""
    directory = tmp_path_factory.mktemp("broker")
    broker = RunningBroker(directory, "-js", "-sd", str(directory / "store"), module="shardbroker")
    streams = [f"S{number}" for number in range(12)]
    request_all(broker.port, [new_stream(name) for name in (*streams, "MANY")])
    consumers = [(stream, f"of-{stream}") for stream in streams]
    consumers += [("MANY", f"c{number}") for number in range(MANY)]
    request_all(broker.port, [new_consumer(*each) for each in consumers])
    yield broker
    broker.kill()


def streams_of(page: dict) -> dict[str, dict]:
    return {stream["name"]: stream for stream in page["account_details"][0]["stream_detail"]}


def test_the_consumers_of_two_workers_stand_with_their_streams(broker) -> None:
    page = broker.json("/jsz?consumers=1")
    streams = streams_of(page)
    assert {stream["log"]["worker"] for stream in streams.values()} == {0, 1}
    for name, stream in streams.items():
        names = [consumer["name"] for consumer in stream["consumer_detail"]]
        wanted = sorted(f"c{number}" for number in range(MANY)) if name == "MANY" else [f"of-{name}"]
        assert names == wanted
        assert all(consumer["stream_name"] == name for consumer in stream["consumer_detail"])
        assert stream["state"]["consumer_count"] == len(wanted)
    assert page["consumers"] == 12 + MANY
    assert "missing" not in page


def test_a_worker_that_stands_still_does_not_hold_the_pages_up(broker) -> None:
    worker = next(shard for shard in broker.shards() if shard["streams"])
    os.kill(worker["pid"], signal.SIGSTOP)
    try:
        page = broker.json("/jsz?consumers=1")
        streams = streams_of(page)
        status, body = broker.get("/healthz?account=$G&stream=MANY&consumer=c7")
    finally:
        # The acceptor may have ended it already: standing still is an illness of its own.
        with contextlib.suppress(ProcessLookupError):
            os.kill(worker["pid"], signal.SIGCONT)
    absent = {stream["log"]["worker"] for stream in streams.values() if "consumer_detail" not in stream}
    # None: on a machine this slow, its successor is at work already.
    assert absent in (set(), {worker["worker"]})
    assert len(page.get("missing", [])) == len(absent)
    assert status in (200, 503), body
    assert len(streams) == 13


# --- workers that the test plays ------------------------------------------------------------------------


class _Played:
    """A worker that answers with ``answers``, one for each question; then it is silent."""

    def __init__(self, index: int, answers: list[dict], state: int = UP):
        self.index = index
        self.state = state
        self.asked: list[dict] = []
        self._answers = answers
        self.queries: Queries | None = None
        self.loop: EventLoop | None = None

    def send(self, query: Query) -> None:
        self.asked.append(query.arguments)
        if self._answers:
            answer = Answer(query.request, orjson.dumps(self._answers.pop(0)))
            self.loop.call_later(0, lambda: self.queries.answered(self, answer))


def collected(*workers: _Played) -> ConsumerDetails:
    """What `collect` makes of their answers."""
    errors: list[Exception] = []
    loop = EventLoop(errors.append)
    queries = Queries(loop, list(workers))
    for worker in workers:
        worker.queries, worker.loop = queries, loop
    found: list[ConsumerDetails] = []

    def done(details: ConsumerDetails) -> None:
        found.append(details)
        loop.stop()

    loop.call_later(
        0, lambda: collect(SimpleNamespace(queries=queries), [each.index for each in workers], {}, done)
    )
    loop.call_later(20, loop.stop)
    loop.run()
    loop.close()
    assert not errors
    (details,) = found
    return details


def answer(*names: str, more: bool = False) -> dict:
    return {"consumers": [("$G", "S", {"name": name}) for name in names], "more": more}


def test_a_worker_is_asked_for_what_comes_behind_its_last_answer() -> None:
    worker = _Played(0, [answer("a", "b", more=True), answer("c")])
    details = collected(worker)
    assert [info["name"] for info in details.by_stream["$G", "S"]] == ["a", "b", "c"]
    assert (details.count, details.missing) == (3, [])
    assert worker.asked == [{}, {"after": ["$G", "S", "b"]}]


def test_what_a_silent_worker_has_is_left_out(monkeypatch) -> None:
    monkeypatch.setattr(limits, "query_wait_s_max", 0.05)
    details = collected(_Played(0, []), _Played(1, [answer("a", more=True)]))
    assert details.count == 1
    assert sorted(details.missing) == [SILENT.format(0), SILENT.format(1)]


def test_a_worker_that_is_away_is_not_waited_for(monkeypatch) -> None:
    monkeypatch.setattr(limits, "query_wait_s_max", 1000.0)
    gone = _Played(0, [answer("a")], state=DRAINING)
    details = collected(gone)
    assert not gone.asked
    assert details.missing == [SILENT.format(0)]


@pytest.mark.parametrize(("limit", "text"), [("consumers_shown_max", "a page shows"),
                                             ("consumers_wait_s_max", "describe in time")])  # fmt: skip
def test_the_endless_answers_of_a_worker_have_an_end(monkeypatch, limit: str, text: str) -> None:
    monkeypatch.setattr(limits, limit, 0)
    worker = _Played(0, [answer("a", "b", more=True)] * 10)
    details = collected(worker)
    assert (details.count, len(worker.asked)) == (2, 1)
    assert text in details.missing[0]


def test_nobody_is_asked_where_there_are_no_consumers() -> None:
    assert collected() == ConsumerDetails()


@pytest.mark.parametrize(
    ("answers", "status", "text"),
    [
        ([answer("c")], 200, ""),
        ([answer()], 404, 'JetStream consumer "c" not found for stream "S" on account "$G"'),
        (
            [],
            503,
            'JetStream consumer "c" could not be looked at: worker 0 gives no answer about its consumers',
        ),
    ],
)
def test_health_of_a_consumer_is_what_its_owner_says(answers: list[dict], status: int, text: str) -> None:
    from shardbroker.acceptor.catalog import LIVE
    from shardbroker.acceptor.monitor.healthz import healthz

    asked = []

    def ask(kind: str, arguments: dict, done, *, worker: int) -> None:
        asked.append((arguments, worker))
        done(answers)

    entry = SimpleNamespace(state=LIVE, owner=0)
    account = SimpleNamespace(entries={"S": entry})
    jetstream = SimpleNamespace(
        writer=SimpleNamespace(faults=[]),
        catalog=SimpleNamespace(accounts={"$G": account}, account=lambda _name: account),
        damaged=list,
    )
    broker = SimpleNamespace(
        jetstream=jetstream,
        workers=[SimpleNamespace(state=UP)],
        log=SimpleNamespace(warn=lambda _text: None),
        queries=SimpleNamespace(ask=ask),
    )
    query = {"account": "$G", "stream": "S", "consumer": "c"}
    responses = []
    healthz(SimpleNamespace(broker=broker), SimpleNamespace(query=query), responses.append)
    assert asked == [(query, 0)]
    assert responses[0].status == status
    page = json.loads(responses[0].body)
    assert page == ({"status": "ok"} if status == 200 else {"status": "unavailable", "error": text})
