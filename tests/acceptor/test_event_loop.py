"""The loop calls what is ready, in time order, and neither a raising callback nor a removed one stops it."""

import os
import socket
import time

import pytest

from shardbroker.acceptor.event_loop import EventLoop


@pytest.fixture
def errors() -> list[Exception]:
    return []


@pytest.fixture
def loop(errors):
    loop = EventLoop(errors.append)
    yield loop
    loop.close()


def test_timers_run_in_order_and_cancelled_ones_never(loop) -> None:
    seen = []
    loop.call_later(0.03, lambda: seen.append("third"))
    loop.call_later(0.03, lambda: seen.append("fourth"))
    loop.call_later(0.01, lambda: seen.append("second"))
    loop.call_later(0.02, lambda: seen.append("never")).cancel()
    loop.call_later(0, lambda: seen.append("first"))
    loop.call_later(0.05, loop.stop)
    before = time.monotonic()
    loop.run()
    assert seen == ["first", "second", "third", "fourth"]
    assert time.monotonic() - before >= 0.05


def test_readers_and_writers(loop) -> None:
    left, right = socket.socketpair()
    got = bytearray()

    def readable() -> None:
        data = os.read(right.fileno(), 100)
        got.extend(data)
        if not data:
            loop.stop()

    def writable() -> None:
        left.send(b"x")
        loop.remove_writer(left.fileno())
        left.shutdown(socket.SHUT_WR)

    loop.add_reader(right.fileno(), readable)
    loop.add_writer(left.fileno(), writable)
    loop.run()
    assert got == b"x"
    left.close()
    right.close()


def test_a_callback_that_raises_is_told_and_the_loop_goes_on(loop, errors) -> None:
    def bad() -> None:
        raise ValueError("bug")

    loop.call_later(0, bad)
    loop.call_later(0.01, loop.stop)
    loop.run()
    assert [str(error) for error in errors] == ["bug"]


def test_a_reader_removed_in_the_same_turn_is_not_called(loop) -> None:
    pairs = [socket.socketpair() for _ in range(2)]
    called = []
    for index, (left, right) in enumerate(pairs):
        left.send(b"x")

        def readable(index=index) -> None:
            called.append(index)
            for _, other in pairs:
                loop.remove_reader(other.fileno())

        loop.add_reader(right.fileno(), readable)
    loop.call_later(0.02, loop.stop)
    loop.run()
    assert len(called) == 1
    for pair in pairs:
        for sock in pair:
            sock.close()
