"""Who gets the next message, and how requests end: the rules of nats-server 2.15.1 (spec 04, 7 and 8)."""

import itertools

import pytest

from shardbroker.jetstream.consumer_requests import NextRequest
from shardbroker.jetstream.waiting_pulls import WaitingPulls

# WaitingPulls.ended
HEARTBEAT, TIMEOUT, NO_MESSAGES, TOO_LARGE, COMPLETED, WRONG_PIN, NO_INTEREST = range(7)
# WaitingPulls.put
ADDED, EXCEEDS_WAITING, SILENTLY_LOST, NONE_THERE, REQUESTS_PENDING = range(5)


def ask(pulls: WaitingPulls, reply: bytes, now: int = 0, pending: int = 0, **fields: object) -> int:
    return pulls.put(reply, NextRequest(**fields), pending, now)


def served(pulls: WaitingPulls, times: int, size: int = 10, now: int = 1, pending: int = 9) -> list[bytes]:
    return [pulls.serve(size, pending, 0, now) for _ in range(times)]


def test_requests_are_served_in_turn_and_end_without_a_word() -> None:
    pulls = WaitingPulls(10)
    assert ask(pulls, b"a", batch=2) == ask(pulls, b"b", batch=1) == ask(pulls, b"c", batch=3) == ADDED
    assert served(pulls, 7) == [b"a", b"b", b"c", b"a", b"c", b"c", None]
    assert pulls.take_ended() == []
    assert len(pulls) == 0


def test_a_batch_of_nothing_gets_one() -> None:
    pulls = WaitingPulls(10)
    ask(pulls, b"a", batch=0)
    assert served(pulls, 2) == [b"a", None]


def test_a_full_queue_refuses_and_says_so_unless_heartbeats_will() -> None:
    pulls = WaitingPulls(1)
    assert ask(pulls, b"a", expires=100) == ADDED
    assert ask(pulls, b"b") == EXCEEDS_WAITING
    assert ask(pulls, b"c", idle_heartbeat=10) == SILENTLY_LOST
    # What has expired makes room.
    assert ask(pulls, b"d", now=100) == ADDED
    assert pulls.take_ended() == [(TIMEOUT, b"a", 0, 1, 0)]


def test_bytes_are_charged_and_what_is_too_large_ends_the_request() -> None:
    pulls = WaitingPulls(10)
    ask(pulls, b"a", batch=10, max_bytes=100)
    ask(pulls, b"b", batch=10, max_bytes=1000)
    assert pulls.serve(73, 5, 0, 1) == b"a"
    assert pulls.serve(73, 5, 0, 1) == b"b"
    assert pulls.serve(73, 5, 0, 1) == b"b"
    assert pulls.take_ended() == [(TOO_LARGE, b"a", 0, 9, 27)]


def test_bytes_that_are_used_up_end_the_request_and_left_ones_are_told() -> None:
    pulls = WaitingPulls(10)
    ask(pulls, b"a", batch=5, max_bytes=20)
    assert served(pulls, 3) == [b"a", b"a", None]
    assert pulls.take_ended() == []
    ask(pulls, b"b", batch=1, max_bytes=1000)
    assert pulls.serve(73, 5, 0, 1) == b"b"
    assert pulls.take_ended() == [(COMPLETED, b"b", 0, 0, 927)]


def test_no_wait_takes_what_is_there() -> None:
    pulls = WaitingPulls(10)
    assert ask(pulls, b"a", no_wait=True, batch=5) == NONE_THERE
    assert ask(pulls, b"b", no_wait=True, batch=5, pending=2) == ADDED
    assert ask(pulls, b"c", no_wait=True, batch=1, pending=2) == REQUESTS_PENDING
    assert served(pulls, 2) == [b"b", b"b"]
    assert pulls.check(5, True) == [(NO_MESSAGES, b"b", 0, 3, 0)]


def test_no_wait_with_an_expiry_waits_for_the_first_message() -> None:
    pulls = WaitingPulls(10)
    assert ask(pulls, b"a", no_wait=True, batch=5, expires=100) == ADDED
    assert pulls.check(50, True) == []
    assert served(pulls, 1, now=60) == [b"a"]
    assert pulls.check(61, False) == []
    assert pulls.check(61, True) == [(NO_MESSAGES, b"a", 0, 4, 0)]
    assert ask(pulls, b"b", no_wait=True, batch=5, expires=100) == ADDED
    assert pulls.check(100, True) == [(TIMEOUT, b"b", 0, 5, 0)]


def test_expiry_and_heartbeats_come_in_time() -> None:
    pulls = WaitingPulls(10)
    ask(pulls, b"a", batch=3, expires=100, idle_heartbeat=30)
    assert pulls.soonest() == 30
    assert pulls.check(29, False) == []
    assert pulls.check(30, False) == [(HEARTBEAT, b"a", 0, 3, 0)]
    assert pulls.soonest() == 60
    assert served(pulls, 1, now=50) == [b"a"]
    assert pulls.soonest() == 80
    assert pulls.check(100, False) == [(TIMEOUT, b"a", 0, 2, 0)]
    assert pulls.soonest() == 0
    assert pulls.last_ns == 100


def test_an_expired_request_is_not_served() -> None:
    pulls = WaitingPulls(10)
    ask(pulls, b"a", expires=100)
    ask(pulls, b"b")
    assert served(pulls, 1, now=100) == [b"b"]
    assert pulls.take_ended() == [(TIMEOUT, b"a", 0, 1, 0)]


def test_everybody_is_told_when_the_consumer_goes() -> None:
    pulls = WaitingPulls(10)
    ask(pulls, b"a", batch=3)
    pulls.put(b"b", NextRequest(batch=2, max_bytes=9), 0, 0, account=4, asker=77)
    assert pulls.drop_asker(78) == 0
    assert pulls.drop_asker(77) == 1
    assert pulls.end_all() == [(b"a", 0, 3, 0)]
    assert (len(pulls), pulls.take_ended()) == (0, [])


@pytest.mark.parametrize(
    ("fields", "pending", "ack_pending", "is_served"),
    [
        ({}, 1, 0, True),
        ({"min_pending": 10}, 9, 100, False),
        ({"min_pending": 10}, 10, 0, True),
        ({"min_ack_pending": 5}, 100, 4, False),
        ({"min_ack_pending": 5}, 1, 5, True),
        ({"min_pending": 10, "min_ack_pending": 5}, 1, 5, True),
    ],
)
def test_overflow_serves_from_a_threshold_on(
    fields: dict[str, int], pending: int, ack_pending: int, is_served: bool
) -> None:
    pulls = WaitingPulls(10, "overflow")
    ask(pulls, b"a", group="g", **fields)
    assert pulls.serve(10, pending, ack_pending, 1) == (b"a" if is_served else None)


def test_lower_priorities_come_first_and_those_without_a_group_last() -> None:
    pulls = WaitingPulls(10, "prioritized")
    ask(pulls, b"none")
    ask(pulls, b"two", group="g", priority=2, batch=2)
    ask(pulls, b"one", group="g", priority=1)
    ask(pulls, b"two again", group="g", priority=2)
    assert pulls.replies() == [b"one", b"two", b"two again", b"none"]
    assert served(pulls, 6) == [b"one", b"two", b"two again", b"two", b"none", None]


def pinned_queue() -> WaitingPulls:
    ids = itertools.count(1)
    return WaitingPulls(10, "pinned_client", 1000, lambda: b"pin%d" % next(ids))


def test_the_first_request_pins_its_client() -> None:
    pulls = pinned_queue()
    ask(pulls, b"a", group="g", batch=2)
    ask(pulls, b"b", group="g", batch=2)
    assert served(pulls, 3) == [b"a", b"a", None]
    assert pulls.pinned == b"pin1"
    ask(pulls, b"c", group="g", id="pin1")
    ask(pulls, b"d", group="g", id="old")
    assert served(pulls, 2) == [b"c", None]
    assert pulls.take_ended() == [(WRONG_PIN, b"d", 0, 1, 0)]
    assert pulls.replies() == [b"b"]
    assert pulls.pin_events == [("pinned", b"pin1")]


def test_a_pin_is_lost_when_its_client_asks_no_more() -> None:
    pulls = pinned_queue()
    ask(pulls, b"a", group="g")
    ask(pulls, b"b", group="g", batch=2)
    assert served(pulls, 1, now=1) == [b"a"]
    assert ask(pulls, b"c", now=900, group="g", id="pin1") == ADDED
    assert served(pulls, 2, now=1500) == [b"c", None]
    assert pulls.soonest() == 1900
    assert served(pulls, 1, now=1900) == [b"b"]
    assert pulls.pin_events == [("pinned", b"pin1"), ("unpinned", "timeout"), ("pinned", b"pin2")]


def test_unpinned_by_an_operator() -> None:
    pulls = pinned_queue()
    assert not pulls.unpin("admin")
    ask(pulls, b"a", group="g", batch=5)
    ask(pulls, b"b", group="g")
    assert served(pulls, 1) == [b"a"]
    assert pulls.unpin("admin")
    # The request of the client that was pinned has a stale id now.
    assert served(pulls, 2) == [b"b", None]
    assert pulls.take_ended() == [(WRONG_PIN, b"a", 0, 4, 0)]


def test_nothing_is_due_before_the_time_that_is_told() -> None:
    """The host sleeps until `due_ns`: it may be too early, and never too late."""
    pulls = WaitingPulls(10)
    assert pulls.due_ns == 0
    ask(pulls, b"a", expires=100)
    assert pulls.due_ns == 100
    ask(pulls, b"b", expires=90, idle_heartbeat=30)
    assert pulls.due_ns == 30
    assert served(pulls, 2, now=20) == [b"a", b"b"]
    assert pulls.due_ns == 30  # too early: both are done
    assert pulls.check(30, False) == []
    assert pulls.due_ns == 0
    pinned = pinned_queue()
    ask(pinned, b"a", group="g")
    assert served(pinned, 1, now=5) == [b"a"]
    assert pinned.due_ns == pinned.soonest() != 0
