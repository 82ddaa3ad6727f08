"""A listening socket takes what nats-server's takes: both families where no host is named, else that host."""

import contextlib
import socket

import pytest

from shardbroker.acceptor import listener
from shardbroker.acceptor.event_loop import EventLoop
from shardbroker.acceptor.listener import Listener, host_port, open_listener, peer_address
from shardbroker.errors import StartError


@contextlib.contextmanager
def listening(host: str):
    with contextlib.closing(open_listener(host, -1)) as sock:
        yield sock, sock.getsockname()[1]


def has_ipv6() -> bool:
    try:
        with socket.socket(socket.AF_INET6) as sock:
            sock.bind(("::1", 0))
    except OSError:
        return False
    return True


def answers(host: str, port: int) -> bool:
    try:
        socket.create_connection((host, port), timeout=5).close()
    except OSError:
        return False
    return True


@pytest.mark.skipif(not has_ipv6(), reason="this machine has no IPv6")
@pytest.mark.parametrize(
    ("host", "four", "six"),
    [
        ("", True, True),
        ("0.0.0.0", True, True),
        ("::", True, True),
        ("127.0.0.1", True, False),
        ("::1", False, True),
    ],
)
def test_which_families_are_taken(host: str, four: bool, six: bool) -> None:
    with listening(host) as (_, port):
        assert (answers("127.0.0.1", port), answers("::1", port)) == (four, six)


@pytest.mark.parametrize("host", ["0.0.0.0", "::"])
def test_without_ipv6_it_is_ipv4(host: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listener.socket, "AF_INET6", 12345)  # what a kernel without IPv6 makes of it
    with listening(host) as (sock, port):
        assert sock.family == socket.AF_INET
        assert answers("127.0.0.1", port)


def test_the_port_in_use_is_told_in_go_words() -> None:
    with listening("127.0.0.1") as (_, port):
        expected = f"listen tcp 127.0.0.1:{port}: bind: address already in use"
        with pytest.raises(StartError, match=expected):
            open_listener("127.0.0.1", port)
        with pytest.raises(StartError, match=f"0.0.0.0:{port}: bind: address already in use"):
            open_listener("0.0.0.0", port)


@pytest.mark.parametrize("host", ["0.0.0.0", "127.0.0.1"])
def test_accepted_connections_are_plain(host: str) -> None:
    """No Nagle, and an IPv4 peer of a socket for both families has an IPv4 address."""
    taken: list[tuple[int, str, int]] = []
    loop = EventLoop(on_error=lambda error: pytest.fail(str(error)))
    sock = open_listener(host, -1)
    server = Listener(
        sock,
        loop,
        take=lambda *connection: (taken.append(connection), loop.stop()),
        has_room=lambda: True,
        complain=pytest.fail,
    )
    server.start()
    with socket.create_connection(("127.0.0.1", server.port), timeout=5) as client:
        loop.run()
        ((fd, ip, port),) = taken
        assert (ip, port) == client.getsockname()
        with socket.socket(fileno=fd) as accepted:
            assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
    server.close()
    loop.close()


def test_how_addresses_are_written() -> None:
    assert peer_address("::ffff:1.2.3.4") == "1.2.3.4"
    assert peer_address("::ffff:1:2") == "::ffff:1:2"
    assert peer_address("::1") == "::1"
    assert peer_address("1.2.3.4") == "1.2.3.4"
    assert host_port("::1", 5) == "[::1]:5"
    assert host_port("a.example", 5) == "a.example:5"
