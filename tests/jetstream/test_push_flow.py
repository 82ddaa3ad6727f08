"""Flow control of push consumers: the window, its requests and answers, and heartbeats (spec 04, part 6)."""

from shardbroker.jetstream.push_flow import PushFlow

MIB = 1 << 20
MESSAGE = 100_000  # bytes


def test_without_flow_control_nothing_stalls() -> None:
    flow = PushFlow(False, 0, 0)
    assert not any(flow.deliver(100 * MIB, 0) for _ in range(10))
    assert not flow.stalled
    assert not flow.beat(1 << 60)


def test_a_request_after_half_the_window_and_a_stall_behind_it() -> None:
    """As seen with nats-server: messages of 100 kB, no answer, delivery stops after 21 or 22."""
    flow = PushFlow(True, 0, 0)
    sent = 0
    while not flow.stalled:
        sent += 1
        if flow.deliver(MESSAGE, 0):
            assert sent == 11  # more than 1 MiB
            flow.ask(b"fc")
    assert sent == 21
    assert flow.request == b"fc"


def test_an_answer_opens_a_window_of_twice_the_size() -> None:
    flow = PushFlow(True, 0, 0)
    assert flow.deliver(2 * MIB, 0)
    flow.ask(b"fc")
    assert not flow.answered(b"other")
    assert flow.answered(b"fc")
    assert (flow.window, flow.outstanding, flow.request) == (4 * MIB, 0, b"")
    assert not flow.answered(b"fc")
    for _ in range(5):
        flow.deliver(flow.window, 0)
        flow.ask(b"fc")
        flow.answered(b"fc")
    assert flow.window == 32 * MIB


def test_what_was_sent_behind_the_request_stays_outstanding() -> None:
    flow = PushFlow(True, 0, 0)
    assert flow.deliver(MIB + 1, 0)
    flow.ask(b"fc")
    assert not flow.deliver(1000, 0)
    flow.answered(b"fc")
    assert flow.outstanding == 1000


def test_heartbeats_come_after_silence() -> None:
    flow = PushFlow(False, 100, 0)
    assert not flow.beat(99)
    assert flow.beat(100)
    assert not flow.beat(150)
    flow.deliver(1, 180)
    assert not flow.beat(200)
    assert flow.heartbeat_due_ns == 280
    assert flow.beat(280)
