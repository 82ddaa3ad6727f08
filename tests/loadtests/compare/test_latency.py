"""Matching sends with arrivals: the i-th arrival belongs to the i-th send, and waiting counts."""

from loadtests.compare.latency import match_logs


def test_one_by_one():
    sent = [(1, 0.0), (2, 1.0), (3, 2.0)]
    arrived = [(1, 0.5), (2, 1.25), (3, 2.125)]
    assert match_logs(sent, arrived) == [(0.5, 1), (0.25, 1), (0.125, 1)]


def test_a_read_that_brings_several_sends_and_a_send_that_takes_several_reads():
    sent = [(10, 0.0), (20, 1.0)]
    assert match_logs(sent, [(4, 1.5), (20, 2.0)]) == [(1.5, 4), (2.0, 6), (1.0, 10)]


def test_messages_that_were_due_during_a_stop_pay_for_it():
    """No coordinated omission: the timetable goes on while the server stands still."""
    timetable = [(tick + 1, tick * 1.0) for tick in range(10)]
    stopped_until_9 = [(10, 9.0)]
    latencies = [latency for latency, _ in match_logs(timetable, stopped_until_9)]
    assert latencies == [9 - tick for tick in range(10)]


def test_the_first_messages_can_be_left_out():
    sent = [(10, 0.0), (20, 1.0)]
    assert match_logs(sent, [(20, 2.0)], skip=5) == [(2.0, 5), (1.0, 10)]
    assert match_logs(sent, [(20, 2.0)], skip=10) == [(1.0, 10)]
