"""A channel keeps borders and descriptors, never waits, and tells the peer's end; whatever the size."""

import os
import resource
import socket

import pytest

from shardbroker.control.channel import DATAGRAM_SIZE_MAX, Channel
from shardbroker.control.messages import Answer, PeerUp, Ready, Stop, TakeSocket
from shardbroker.errors import ProtocolError


@pytest.fixture
def pair():
    left, right = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    channels = Channel(left), Channel(right)
    yield channels
    for channel in channels:
        channel.close()


def test_messages_arrive_in_order_with_their_descriptors(pair) -> None:
    sender, receiver = pair
    assert receiver.receive() is None
    read_end, write_end = os.pipe()
    assert sender.send(PeerUp(1, 2), (read_end, write_end))
    assert sender.send(Ready(1))
    message, fds = receiver.receive()
    assert message == PeerUp(1, 2)
    assert len(fds) == 2
    os.write(fds[1], b"through")
    assert os.read(read_end, 10) == b"through"
    assert not os.get_inheritable(fds[0])
    assert receiver.receive() == (Ready(1), [])
    assert receiver.receive() is None
    for fd in (read_end, write_end, *fds):
        os.close(fd)


def test_full_channel_says_false_and_loses_nothing(pair) -> None:
    sender, receiver = pair
    sent = 0
    while sender.send(TakeSocket(cid=sent, flags=0, port=1, ip="127.0.0.1")):
        sent += 1
        assert sent < 100_000
    assert sent > 10
    got = []
    while (item := receiver.receive()) is not None:
        got.append(item[0].cid)
    assert got == list(range(sent))
    assert sender.send(Stop())


@pytest.mark.parametrize("size", [0, DATAGRAM_SIZE_MAX - 9, DATAGRAM_SIZE_MAX, 5_000_000])
def test_any_size_passes(pair, size: int) -> None:
    sender, receiver = pair
    fd = os.open(os.devnull, os.O_RDONLY)
    assert sender.send(Answer(1, b"a" * size), (fd,))
    message, fds = receiver.receive()
    assert message == Answer(1, b"a" * size)
    assert len(fds) == 1
    os.close(fd)
    os.close(fds[0])


def test_end_of_the_peer_is_told_after_its_last_message(pair) -> None:
    sender, receiver = pair
    sender.send(Ready(0))
    sender.close()
    assert receiver.receive() == (Ready(0), [])
    with pytest.raises(EOFError):
        receiver.receive()
    with pytest.raises(EOFError):
        receiver.send(Stop())


def test_garbage_is_refused_and_its_descriptors_are_closed(pair) -> None:
    sender, receiver = pair
    before = len(os.listdir("/proc/self/fd"))
    fd = os.open(os.devnull, os.O_RDONLY)
    socket.send_fds(sender._sock, [b"\x63nonsense"], [fd])
    os.close(fd)
    with pytest.raises(ProtocolError):
        receiver.receive()
    assert len(os.listdir("/proc/self/fd")) == before


def test_descriptors_that_do_not_fit_are_told(pair) -> None:
    sender, receiver = pair
    fd = os.open(os.devnull, os.O_RDONLY)
    assert sender.send(PeerUp(1, 2), (fd,) * 3)
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, limits[1]))
    try:
        with pytest.raises(ProtocolError):
            receiver.receive()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
    os.close(fd)
