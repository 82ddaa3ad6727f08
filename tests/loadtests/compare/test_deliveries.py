"""Deliveries are counted and answered exactly, wherever reads cut them; what is wrong is noticed."""

import socket

import pytest

from loadtests.compare import deliveries as module
from loadtests.compare.deliveries import (
    Deliveries,
    Reader,
    Words,
    acknowledgements,
    check_deliveries,
    confirm,
    receive_all,
)
from loadtests.compare.wire import LoadError

payload = b"0123456789abcdef"
flow = b"HMSG d.C 1 $JS.FC.LOAD.C.x1 38 38\r\nNATS/1.0 100 FlowControl Request\r\n\r\n\r\n"
stalled = (
    b"HMSG d.C 1 68 68\r\nNATS/1.0 100 Idle Heartbeat\r\nNats-Last-Consumer: 3\r\n"
    b"Nats-Consumer-Stalled: $JS.FC.LOAD.C.x1\r\n\r\n\r\n"
)
steps = [1, 2, 3, 7, 8, 9, 50, 61, 1000, 100_000]


def reply(sequence: int, times: int = 1) -> bytes:
    return b"$JS.ACK.LOAD.C.%d.%d.%d.1795451454214439612.%d" % (times, sequence, sequence, 100 - sequence)


def message(sequence: int, times: int = 1, body: bytes = payload) -> bytes:
    return b"MSG load.0 1 %s %d\r\n%s\r\n" % (reply(sequence, times), len(body), body)


def pieces(data: bytes, step: int) -> list[bytes]:
    return [data[start : start + step] for start in range(0, len(data), step)]


@pytest.mark.parametrize("step", steps)
def test_words_are_found_over_the_borders_of_reads(step):
    data = b"a $JS.ACK.x 1 $JS.ACK. $JS.AC $JS.ACK.yy\r\n$$JS.ACK.z " * 5
    words = Words(b"$JS.ACK.", b"$")
    assert [word for piece in pieces(data, step) for word in words(piece)] == [
        b"$JS.ACK.x",
        b"$JS.ACK.yy",
        b"$JS.ACK.z",
    ] * 5


@pytest.mark.parametrize("step", steps)
def test_each_delivery_is_acknowledged_once(step):
    take = Deliveries("LOAD", "C", acknowledges=True)
    data = b"".join(message(sequence) for sequence in range(1, 31))
    answer = b"".join(take(piece) for piece in pieces(data, step))
    assert answer == b"".join(b"PUB %s 4\r\n+ACK\r\n" % reply(sequence) for sequence in range(1, 31))
    assert (take.count, take.last_ack) == (30, reply(30))


@pytest.mark.parametrize("step", steps)
def test_first_deliveries_are_counted_and_flow_control_is_answered_once(step):
    take = Deliveries("LOAD", "C", acknowledges=False)
    data = message(1) + message(2) + message(1, times=2) + flow + message(3) + stalled + message(4)
    answers = [answer for piece in pieces(data, step) if (answer := take(piece))]
    assert answers == [b"PUB $JS.FC.LOAD.C.x1 0\r\n\r\n"]
    assert (take.count, take.flow_controls) == (4, 1)


def test_a_status_ends_the_sample():
    with pytest.raises(LoadError, match="408 Request Timeout"):
        Deliveries("LOAD", "C", acknowledges=True)(
            b"HMSG i 1 33 33\r\nNATS/1.0 408 Request Timeout\r\n\r\n\r\n"
        )


def test_nothing_is_acknowledged_with_nothing():
    assert acknowledgements([]) == b""


def test_whole_deliveries_pass_in_any_order_and_over_several_connections():
    check_deliveries([message(2) + flow + message(3), message(1)], range(1, 4), payload)


@pytest.mark.parametrize(
    ("received", "told"),
    [
        (message(1) + message(3), "missing 1 from 2"),
        (message(1) + message(2) + message(3) + message(2), "doubled 1 from 2"),
        (message(1) + message(2) + message(3) + message(9), "foreign 1 from 9"),
        (message(1) + message(2, times=2), "not the first delivery"),
        (message(1, body=b"0123456789abcdeX"), "another payload"),
    ],
)
def test_what_is_lost_doubled_or_altered_is_told(received, told):
    with pytest.raises(LoadError, match=told):
        check_deliveries([received], range(1, 4), payload)


@pytest.fixture(name="pair")
def fixture_pair():
    near, far = socket.socketpair()
    with near, far:
        yield near, far


def test_all_are_received_and_kept(pair):
    near, far = pair
    far.sendall(message(1) + message(2))
    reader = Reader(near, keep=True)
    receive_all(near, Deliveries("LOAD", "C", acknowledges=True), reader, 2)
    far.sendall(b"PONG\r\n")
    assert reader.kept() == message(1) + message(2) + b"PONG\r\n"
    assert far.recv(1000) == acknowledgements([reply(1), reply(2)]) + b"PING\r\n"


def test_more_deliveries_than_messages_silence_and_a_closed_connection_are_errors(pair, monkeypatch):
    near, far = pair
    far.sendall(message(1) + message(2))
    with pytest.raises(LoadError, match="2 deliveries of 1 messages"):
        receive_all(near, Deliveries("LOAD", "C", acknowledges=False), Reader(near), 1)
    monkeypatch.setattr(module, "silence_s_max", 0.01)
    with pytest.raises(LoadError, match="silence after 0 of 1"):
        receive_all(near, Deliveries("LOAD", "C", acknowledges=False), Reader(near), 1)
    far.sendall(b"-ERR 'Slow Consumer'\r\n")
    far.shutdown(socket.SHUT_WR)
    with pytest.raises(LoadError, match=r"disconnected after .*Slow Consumer"):
        receive_all(near, Deliveries("LOAD", "C", acknowledges=False), Reader(near), 1)


def test_the_last_acknowledgement_is_confirmed(pair):
    near, far = pair
    far.sendall(b"MSG _INBOX.x.confirmed 1 0\r\n\r\n")
    confirm(near, b"_INBOX.x", reply(7))
    assert far.recv(1000) == b"PUB %s _INBOX.x.confirmed 4\r\n+ACK\r\n" % reply(7)
