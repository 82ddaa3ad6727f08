"""Every reason why a consumer does not deliver is found from a real state machine brought into that state.

A case builds a consumer with its stream, its pull requests and its flow control, and names the reason, its
severity and the verdict that must come out. Another test goes the other way: each function that finds reasons
has a case, so none can be lost without notice. The facts are gathered as a stream's owner gathers them; what
only a worker knows (who listens, what waits for its time) the case says itself.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

import pytest

from shardbroker.jetstream.consumer import Consumer
from shardbroker.jetstream.consumer_config import ConsumerConfig
from shardbroker.jetstream.consumer_explain import explain
from shardbroker.jetstream.consumer_face import ConsumerFace
from shardbroker.jetstream.consumer_facts import flow_facts, pull_facts, state_facts
from shardbroker.jetstream.consumer_requests import NextRequest
from shardbroker.jetstream.explain_clients import CLIENT_FINDINGS
from shardbroker.jetstream.explain_facts import ConsumerFacts, ago, at, listed, span
from shardbroker.jetstream.explain_state import STATE_FINDINGS
from shardbroker.jetstream.go_time import format_time
from shardbroker.jetstream.push_flow import PushFlow
from shardbroker.jetstream.waiting_pulls import WaitingPulls

SECOND = 1_000_000_000  # ns
NOW = 1_000_000 * SECOND
#: Bytes of a reply subject and the numbers in it, as a worker adds them.
REPLY_SIZE = 50


class Scene:
    """A stream with messages on ``subjects``, and one consumer of it."""

    def __init__(self, *subjects: bytes, **fields: object):
        fields = {"ack_policy": "explicit", "ack_wait": 30 * SECOND, "max_waiting": 512, **fields}
        self.config = ConsumerConfig(**fields)
        self.face = ConsumerFace()
        for subject in subjects:
            self.face.store(subject, NOW - 60 * SECOND)
        self.consumer = Consumer("c", self.config, self.face.state, 1)
        self.face.consumers.add(self.consumer)
        self.pulls = WaitingPulls(
            self.config.max_waiting, self.config.priority_policy, self.config.priority_timeout,
            iter((b"PIN1", b"PIN2")).__next__,
        )  # fmt: skip
        self.flow = PushFlow(self.config.flow_control, self.config.idle_heartbeat, NOW)
        self.known: dict[str, object] = {"stream_subjects": [">"]}

    def take(self, count: int = 1000, seconds_ago: float = 60) -> "Scene":
        """Deliver messages, so long ago."""
        then = NOW - int(seconds_ago * SECOND)
        assert self.face.take(self.consumer, then, count)
        return self.knowing(last_delivery=then, active=then)

    def ask(self, seconds_ago: float = 60, **fields: object) -> "Scene":
        """A pull request that came so long ago."""
        then = NOW - int(seconds_ago * SECOND)
        assert self.pulls.put(b"reply", NextRequest(**fields), 1000, then) == 0
        return self

    def knowing(self, **facts: object) -> "Scene":
        """What the worker knows."""
        self.known.update(facts)
        return self

    def facts(self) -> ConsumerFacts:
        state = state_facts(self.consumer)
        charged = state["next_size"] + REPLY_SIZE if state["next_size"] else 0
        pulls = pull_facts(self.pulls, charged, state["num_pending"], state["ack_pending"], NOW)
        flow = flow_facts(self.flow)
        whole = {**state, **pulls, **flow, "stream": "S", "consumer": "c", "charged_size": charged}
        return ConsumerFacts(**{**whole, **self.known})

    def explain(self) -> dict:
        return explain(self.config, self.facts(), NOW)


def pull(*subjects: bytes, **fields: object) -> Scene:
    """A pull consumer whose client waits."""
    return Scene(*(subjects or (b"a", b"b")), **fields).ask(1, batch=100)


def push(*subjects: bytes, **fields: object) -> Scene:
    """A push consumer that somebody listens to."""
    return Scene(*(subjects or (b"a", b"b")), deliver_subject="d", **fields).knowing(is_bound=True)


# --- cases: each a consumer in the state that its name says ---------------------------------------------


def paused() -> Scene:
    scene = pull()
    scene.consumer.pause(NOW + 90 * SECOND)
    return scene


def counting() -> Scene:
    scene = Scene(*(b"a.%d" % number for number in range(25_000)), filter_subjects=["a.*", "b.*"])
    assert not scene.consumer.is_counted
    return scene.ask(1)


def ack_pending_full() -> Scene:
    return pull(b"a", b"b", b"c", max_ack_pending=2).take(2, seconds_ago=10)


def ack_pending_full_and_nothing_more() -> Scene:
    return pull(b"a", b"b", max_ack_pending=2).take(2)


def exhausted_only() -> Scene:
    scene = pull(b"a", b"b", max_deliver=1).take(2)
    assert scene.face.due(scene.consumer, NOW) == 0
    return scene


def exhausted_and_more() -> Scene:
    scene = exhausted_only()
    scene.face.store(b"c", NOW)
    return scene


def dead_letters() -> Scene:
    scene = pull(b"a", b"b", max_deliver=1, metadata={"shardbroker.dead_letter": "dead.s"}).take(2)
    assert scene.face.due(scene.consumer, NOW) == 0
    return scene


def expired_request() -> Scene:
    scene = Scene(b"a").ask(30, expires=10 * SECOND)
    assert len(scene.pulls.check(NOW, False)) == 1
    return scene


def served_a_moment_ago() -> Scene:
    scene = Scene(b"a", b"b").ask(2).take(1, seconds_ago=2)
    assert scene.pulls.serve(10, 2, 0, NOW - 2 * SECOND) == b"reply"
    return scene


def pinned(**of_pinned: object) -> Scene:
    """A client that was pinned; another one waits."""
    scene = Scene(b"a", priority_groups=["g"], priority_policy="pinned_client", priority_timeout=120 * SECOND)
    scene.ask(20, group="g")
    assert scene.pulls.serve(10, 2, 0, NOW - 20 * SECOND) == b"reply"
    if of_pinned:
        scene.ask(1, group="g", **of_pinned)
    return scene.ask(1, group="g")


def overflow(**asked: int) -> Scene:
    scene = Scene(b"a", b"b", priority_groups=["g"], priority_policy="overflow")
    return scene.ask(1, group="g", **asked)


def too_large_for_the_last_request() -> Scene:
    scene = Scene(b"a" * 100).ask(1, max_bytes=60)
    assert scene.pulls.serve(200, 1, 0, NOW - SECOND) is None
    return scene


def stalled_flow() -> Scene:
    scene = push(flow_control=True, idle_heartbeat=SECOND).knowing(last_delivery=NOW - 7 * SECOND)
    while not scene.flow.stalled:
        if scene.flow.deliver(500_000, NOW):
            scene.flow.ask(b"$JS.FC.S.c.0001")
    return scene


def refused_request() -> Scene:
    scene = Scene(b"a", max_batch=1)
    scene.pulls.refuse(b"NATS/1.0 409 Exceeded MaxRequestBatch of 1\r\n\r\n", NOW - 8 * SECOND)
    return scene


def refused_request_and_a_good_one() -> Scene:
    scene = refused_request().ask(1)
    assert scene.facts().last_refusal == ""
    scene.pulls.refuse(b"NATS/1.0 400 Bad Request - Priority Group missing\r\n\r\n", NOW)
    return scene.knowing(next_stored=NOW)


def full_of_requests() -> Scene:
    return Scene(b"a", max_waiting=2).ask(1).ask(1)


def nothing_matches_any_more() -> Scene:
    scene = pull(b"a", b"b", filter_subject="a").take(1, seconds_ago=10)
    scene.face.answer(scene.consumer, "ack", 1, 1)
    scene.face.delete(1)
    return scene


def all_gone() -> Scene:
    scene = pull(b"a")
    scene.face.purge()
    return scene


def all_acknowledged() -> Scene:
    scene = pull(b"a").take(1)
    scene.face.answer(scene.consumer, "ack", 1, 1)
    return scene


@dataclass
class Case:
    make: Callable[[], Scene]
    code: str
    severity: str
    verdict: str
    text: str  # a part of it
    facts: dict[str, object] = field(default_factory=dict)


CASES = {
    "paused": Case(paused, "paused", "blocks", "blocked", "(in 1m30s)", {"remaining": 90 * SECOND}),
    "counting": Case(counting, "counting", "limits", "limited", "are being counted"),
    "held": Case(lambda: pull().knowing(is_held=True), "counting", "limits", "limited", "was just made"),
    "nobody listens": Case(
        lambda: push().knowing(is_bound=False), "no_interest", "blocks", "blocked", "Nobody subscribes",
        {"deliver_subject": "d"},
    ),
    "nobody listens in the group": Case(
        lambda: push(deliver_group="workers").knowing(is_bound=False, others_listen=True), "no_interest",
        "blocks", "blocked", "in the queue group workers. Others do", {"deliver_group": "workers"},
    ),
    "nobody ever asked": Case(
        lambda: Scene(b"a"), "no_pull_requests", "blocks", "blocked", "none has come", {"requests": 0}
    ),
    "the last request expired": Case(
        expired_request, "no_pull_requests", "blocks", "blocked", "the last of 1 came 30s ago"
    ),
    "between two requests": Case(
        served_a_moment_ago, "no_pull_requests", "limits", "limited", "1 message is not acknowledged"
    ),
    "the last request was refused": Case(
        refused_request, "request_refused", "blocks", "blocked",
        "came 8.0s ago and was refused: 409 Exceeded MaxRequestBatch of 1.",
        {"status": "409 Exceeded MaxRequestBatch of 1"},
    ),
    "the last request was refused, and another waits": Case(
        refused_request_and_a_good_one, "request_refused", "note", "healthy", "400 Bad Request - Priority"
    ),
    "nobody asks and nothing is there": Case(
        lambda: Scene(), "no_pull_requests", "note", "idle", "No pull request waits"
    ),
    "too many unacknowledged": Case(
        ack_pending_full, "max_ack_pending", "blocks", "blocked",
        "The oldest is stream sequence 1, delivered 10s ago. The first ack wait ends",
        {"num_ack_pending": 2, "oldest_sequence": 1, "due_at": format_time(NOW + 20 * SECOND)},
    ),
    "too many unacknowledged, and all delivered": Case(
        ack_pending_full_and_nothing_more, "max_ack_pending", "note", "idle", "as many as max_ack_pending"
    ),
    "stalled flow control": Case(
        stalled_flow, "flow_control", "blocks", "blocked", "$JS.FC.S.c.0001. The last message went out 7.0s",
        {"window": 2 << 20, "request": "$JS.FC.S.c.0001"},
    ),
    "another client is pinned": Case(
        pinned, "pinned_client", "blocks", "blocked", "1 requests of others must wait",
        {"pinned_client_id": "PIN1", "waiting_of_others": 1,
         "pin_expires": format_time(NOW + 100 * SECOND)},
    ),
    "the pinned client waits too": Case(
        lambda: pinned(id="PIN1"), "pinned_client", "note", "healthy", "1 of its requests wait, and 1"
    ),
    "overflow by messages": Case(
        lambda: overflow(min_pending=10), "overflow_threshold", "blocks", "blocked",
        "for 10 messages to be there (there are 2)", {"min_pending": 10, "num_pending": 2},
    ),
    "overflow by acknowledgements": Case(
        lambda: overflow(min_ack_pending=7), "overflow_threshold", "blocks", "blocked",
        "for 7 not to be acknowledged (there are 0)", {"min_ack_pending": 7},
    ),
    "no request may be large enough": Case(
        lambda: pull(b"a" * 100, max_bytes=60), "max_bytes", "blocks", "blocked", "more than 60",
        {"size": 150, "max_bytes": 60, "next_sequence": 1},
    ),
    "the last request was too small": Case(
        too_large_for_the_last_request, "max_bytes", "blocks", "blocked", "409 Message Size Exceeds MaxBytes"
    ),
    "the waiting requests are too small": Case(
        lambda: Scene(b"a" * 100).ask(1, max_bytes=60), "max_bytes", "blocks", "blocked", "has 150 bytes"
    ),
    "all that is left failed too often": Case(
        exhausted_only, "max_deliver", "blocks", "blocked", "All that is left (2 messages, the first",
        {"exhausted": 2, "first_exhausted": 1, "max_deliver": 1},
    ),
    "some failed too often": Case(
        exhausted_and_more, "max_deliver", "note", "healthy", "Some messages (2 messages"
    ),
    "dead letters that nobody takes": Case(
        dead_letters, "dead_letters", "note", "idle", "2 messages that died wait until a stream has taken",
        {"dead_letters_waiting": 2, "dead_letter_subject": "dead.s"},
    ),
    "a start in the future": Case(
        lambda: pull(deliver_policy="by_start_sequence", opt_start_seq=10), "start_sequence_ahead", "blocks",
        "blocked", "the next 7 messages are passed over", {"next_sequence": 10, "stream_last_sequence": 2},
    ),
    "a filter that cannot match": Case(
        lambda: pull(b"a.1", filter_subject="b.*").knowing(stream_subjects=["a.*"]), "filter_outside_stream",
        "blocks", "blocked", "no message will ever match", {"filters": ["b.*"], "stream_subjects": ["a.*"]},
    ),
    "a filter that matches nothing": Case(
        lambda: pull(*(b"a.%d" % number for number in range(9)), filter_subjects=["b", "c.>"]),
        "filter_matches_nothing", "blocks", "blocked", "(b, c.>). Subjects there: a.0, a.1, a.2, a.3, a.4",
        {"num_subjects": 9},
    ),
    "a literal filter that matches nothing": Case(
        lambda: pull(b"a", filter_subject="b"), "filter_matches_nothing", "blocks", "blocked", "there: a."
    ),
    "a filter that matches nothing any more": Case(
        nothing_matches_any_more, "filter_matches_nothing", "note", "idle", "None of the 1 message"
    ),
    "a rate limit": Case(
        lambda: push(rate_limit_bps=8000).knowing(not_before=NOW + 3 * SECOND), "rate_limit", "limits",
        "limited", "(in 3.0s)", {"rate_limit_bps": 8000, "not_before": format_time(NOW + 3 * SECOND)},
    ),
    "an original replay": Case(
        lambda: push(replay_policy="original").knowing(not_before=NOW + 60 * SECOND), "replay_original",
        "limits", "limited", "(in 1m)", {"next_sequence": 1},
    ),
    "a slow receiver": Case(
        lambda: push().knowing(is_pressed=True), "receiver_slow", "limits", "limited", "reads slower"
    ),
    "as many requests as there may be": Case(
        full_of_requests, "max_waiting", "limits", "limited", "2 pull requests wait", {"max_waiting": 2}
    ),
    "backoff": Case(
        lambda: pull(backoff=[90 * SECOND, 300 * SECOND]).take(2), "backoff", "limits", "limited",
        "was delivered once and comes again", {"due_sequence": 1, "due_at": format_time(NOW + 30 * SECOND)},
    ),
    "acknowledgements are awaited": Case(
        lambda: pull().take(2, seconds_ago=10), "awaiting_acks", "note", "idle", "2 messages are not acknow",
        {"num_ack_pending": 2, "due_deliveries": 1},
    ),
    "an empty stream": Case(lambda: Scene().ask(1), "stream_empty", "note", "idle", "The stream is empty."),
    "an emptied stream": Case(all_gone, "stream_empty", "note", "idle", "all up to sequence 1 are gone"),
    "all is done": Case(
        all_acknowledged, "all_delivered", "note", "idle", "the last 1m ago, and acknowledged",
        {"delivered_stream_sequence": 1},
    ),
    "new messages only, and none came": Case(
        lambda: pull(deliver_policy="new"), "all_delivered", "note", "idle", "(deliver policy new)"
    ),
    "a start time in the future": Case(
        lambda: pull(deliver_policy="by_start_time", opt_start_time=format_time(NOW + 3600 * SECOND)),
        "start_time_ahead", "note", "healthy", "(in 1h)",
    ),
    "nobody uses it": Case(
        lambda: Scene(b"a", inactive_threshold=300 * SECOND).knowing(active=NOW - 100 * SECOND),
        "inactive_threshold", "note", "blocked", "(in 3m20s)",
        {"deleted_at": format_time(NOW + 200 * SECOND)},
    ),
    "headers only": Case(lambda: pull(headers_only=True), "headers_only", "note", "healthy", "are left out"),
    "messages flow": Case(
        lambda: pull().take(1, seconds_ago=1).knowing(last_ack=NOW - SECOND // 2), "flows", "note", "healthy",
        "the last delivery was 1.0s ago, the last acknowledgement 0.5s ago",
    ),
    "the first is on its way": Case(push, "flows", "note", "healthy", "about to be delivered"),
    "nothing holds it back and it stands": Case(
        lambda: push().take(1, seconds_ago=59).knowing(next_stored=NOW - 70 * SECOND), "unexplained",
        "blocks", "blocked", "for 59s none went out", {"next_sequence": 2},
    ),
}  # fmt: skip
#: So fresh that it needs no reason yet.
for _name in ("the first is on its way", "a start time in the future", "headers only"):
    CASES[_name].make = lambda make=CASES[_name].make: make().knowing(next_stored=NOW - SECOND)


@pytest.mark.parametrize("name", CASES)
def test_the_reason_is_found(name: str) -> None:
    case = CASES[name]
    answer = case.make().explain()
    (reason,) = [reason for reason in answer["reasons"] if reason["code"] == case.code]
    assert (reason["severity"], answer["verdict"]) == (case.severity, case.verdict), answer
    assert case.text in reason["text"]
    assert case.facts.items() <= reason["facts"].items()
    # What blocks stands first, and says what to do.
    order = [("blocks", "limits", "note").index(reason["severity"]) for reason in answer["reasons"]]
    assert order == sorted(order)
    assert all(reason["what_to_do"] for reason in answer["reasons"] if reason["severity"] != "note")


def test_every_finding_has_a_case() -> None:
    """So none of them can be taken out, or fail to be called, without a case that notices."""
    made = [(scene.config, scene.facts()) for scene in (case.make() for case in CASES.values())]
    for finding in (*STATE_FINDINGS, *CLIENT_FINDINGS):
        assert any(finding(config, facts, NOW) is not None for config, facts in made), finding.__name__


def test_a_consumer_that_delivers_is_not_accused() -> None:
    """Nothing is found that blocks or limits, whichever kind it is."""
    for scene in (pull(), push(), pull(filter_subject="a"), push(deliver_group="g", ack_policy="none")):
        answer = scene.take(1, seconds_ago=0.1).explain()
        assert answer["verdict"] in ("healthy", "idle")
        assert {reason["severity"] for reason in answer["reasons"]} == {"note"}


def test_who_has_just_come_is_not_a_riddle() -> None:
    """Somebody began to listen, and the consumer will notice in a moment."""
    scene = push().take(1, seconds_ago=59).knowing(next_stored=NOW - 70 * SECOND)
    assert scene.explain()["verdict"] == "blocked"
    assert scene.knowing(is_new_listener=True).explain()["verdict"] == "healthy"


def test_looking_changes_nothing() -> None:
    for case in CASES.values():
        scene = case.make()
        first = scene.explain()
        assert scene.explain() == first
        for number in (
            "position",
            "num_pending",
            "next_consumer_sequence",
            "floor_stream",
            "delivered_stream",
        ):
            before = getattr(scene.consumer, number)
            scene.explain()
            assert getattr(scene.consumer, number) == before


def test_what_is_due_again_comes_before_what_is_new() -> None:
    scene = pull(b"a", b"b").take(1)
    scene.face.answer(scene.consumer, "nak", 1, 1, NOW)
    facts = scene.facts()
    assert (facts.redelivery_due, facts.next_sequence, facts.num_pending) == (1, 1, 1)
    assert facts.has_next


def test_the_next_of_chosen_messages_is_found() -> None:
    scene = Scene(b"a", b"a", b"b", b"a", deliver_policy="last_per_subject", filter_subject=">")
    assert scene.facts().next_sequence == 3


def test_the_soonest_deadline_is_found_wherever_it_waits() -> None:
    """Deadlines that fall in many ways fill all lanes and the heap."""
    scene = Scene(*[b"a"] * 12).take(12)
    for sequence in range(12, 0, -1):
        scene.face.answer(scene.consumer, "nak", sequence, sequence, NOW, delay_ns=(sequence + 5) * SECOND)
    facts = scene.facts()
    assert (facts.due_sequence, facts.due_at) == (1, NOW + 6 * SECOND)
    assert facts.due_at == scene.face.next_due(scene.consumer)


def test_figures_are_those_of_the_consumer() -> None:
    scene = pull(b"a", b"b", b"c", max_ack_pending=5).take(2)
    scene.face.answer(scene.consumer, "ack", 1, 1)
    figures = scene.explain()["figures"]
    assert (figures["kind"], figures["num_pending"], figures["num_ack_pending"]) == ("pull", 1, 1)
    assert figures["delivered"] == {"consumer_seq": 2, "stream_seq": 2}
    assert figures["ack_floor"] == {"consumer_seq": 1, "stream_seq": 1}
    assert (figures["num_waiting"], figures["next_sequence"], figures["stream_messages"]) == (1, 3, 3)
    assert (figures["last_ack"], figures["now"]) == (None, format_time(NOW))


@pytest.mark.parametrize(
    ("ns", "text"),
    [
        (0, "0.0s"), (1_540_000_000, "1.5s"), (12 * SECOND, "12s"), (60 * SECOND, "1m"),
        (185 * SECOND, "3m5s"), (7380 * SECOND, "2h3m"), (439_300 * SECOND, "5d2h"), (-5, "0.0s"),
    ],
)  # fmt: skip
def test_durations_in_words(ns: int, text: str) -> None:
    assert span(ns) == text


def test_moments_and_lists_in_words() -> None:
    assert at(NOW + 2 * SECOND + 1234, NOW) == "at 1970-01-12T13:46:42Z (in 2.0s)"
    assert at(NOW - 2 * SECOND, NOW) == "at 1970-01-12T13:46:38Z (2.0s ago)"
    assert (ago(0, NOW), ago(NOW - 61 * SECOND, NOW)) == ("never", "1m1s ago")
    assert listed(list("abcdefg")) == "a, b, c, d, e and 2 more"
