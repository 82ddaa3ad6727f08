"""The HTTP server answers in order whatever the chunks, keeps connections, and is not to be exhausted by
viewers that talk nonsense, too much, too slowly or never."""

import socket

import pytest

from shardbroker import limits
from tests.acceptor.running import wait_until


@pytest.fixture
def base(start):
    broker = start()
    host, port = broker.http.removeprefix("http://").split(":")
    socks = []

    def open_one() -> socket.socket:
        socks.append(socket.create_connection((host, int(port)), timeout=10))
        return socks[-1]

    open_one.broker = broker
    yield open_one
    for sock in socks:
        sock.close()


def read_response(file) -> tuple[int, dict[str, str], bytes]:
    status = int(file.readline().split()[1])
    headers = {}
    while (line := file.readline().strip()) != b"":
        name, _, value = line.decode().partition(": ")
        headers[name.lower()] = value
    return status, headers, file.read(int(headers["content-length"]))


def test_keep_alive_and_pipelining_in_order(base) -> None:
    sock = base()
    paths = ["/healthz", "/nothing", "/subsz?subs=1", "/healthz", "/connz?sort=bogus"]
    sock.sendall(b"".join(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode() for path in paths))
    with sock.makefile("rb") as file:
        assert [read_response(file)[0] for _ in paths] == [200, 404, 200, 200, 400]
        sock.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
        status, headers, body = read_response(file)
    assert (status, body) == (200, b'{"status":"ok"}')
    assert headers["content-type"] == "application/json"
    assert headers["access-control-allow-origin"] == "*"
    assert headers["date"].endswith(" GMT")


def test_byte_by_byte(base) -> None:
    sock = base()
    for byte in b"GET /healthz?details=1 HTTP/1.1\r\nHost: x\r\nX-A: " + b"b" * 50 + b"\r\n\r\n":
        sock.sendall(bytes((byte,)))
    with sock.makefile("rb") as file:
        assert read_response(file)[0] == 200


def test_head_has_the_length_but_no_body(base) -> None:
    sock = base()
    sock.sendall(b"HEAD /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    with sock.makefile("rb") as file:
        answer = file.read()
    assert answer.startswith(b"HTTP/1.1 200 OK\r\n")
    assert b"Content-Length: 15\r\n" in answer
    assert answer.endswith(b"\r\n\r\n")


def test_http_1_0_is_closed_unless_asked(base) -> None:
    sock = base()
    sock.sendall(b"GET /healthz HTTP/1.0\r\n\r\n")
    with sock.makefile("rb") as file:
        assert file.read().endswith(b'{"status":"ok"}')
    sock = base()
    sock.sendall(b"GET /healthz HTTP/1.0\r\nConnection: keep-alive\r\n\r\n" * 2)
    with sock.makefile("rb") as file:
        assert [read_response(file)[0] for _ in range(2)] == [200, 200]


def test_post_with_a_body(base) -> None:
    sock = base()
    sock.sendall(b"POST /accstatz HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\nabcd")
    with sock.makefile("rb") as file:
        assert read_response(file)[0] == 200


@pytest.mark.parametrize(
    "data",
    [b"nonsense\r\n\r\n", b"GET\r\n\r\n", b"\x16\x03\x01\x02\x00\x01", b"GET /varz HTTP/9.9\r\n\r\n",
     b"GET http:// HTTP/1.1\r\n\r\n", b"GET /?" + b"a=1&" * 1000 + b" HTTP/1.1\r\n\r\n"],
    ids=["words", "short", "tls", "version", "url", "arguments"],
)  # fmt: skip
def test_what_is_no_request_is_refused_and_closed(base, data: bytes) -> None:
    sock = base()
    sock.sendall(data)
    with sock.makefile("rb") as file:
        assert file.read().startswith(b"HTTP/1.1 400 ")


def test_a_request_too_large_is_refused(base) -> None:
    sock = base()
    try:
        sock.sendall(
            b"GET / HTTP/1.1\r\n" + b"X-A: " + b"b" * (2 * limits.http_request_size_max) + b"\r\n\r\n"
        )
        with sock.makefile("rb") as file:
            assert file.read().startswith(b"HTTP/1.1 400 ")
    except ConnectionError:
        pass  # closed while we were still sending: as good


def test_too_many_viewers_make_room_for_new_ones(base) -> None:
    idle = [base() for _ in range(limits.http_connections_max + 5)]
    sock = base()
    sock.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
    with sock.makefile("rb") as file:
        assert read_response(file)[0] == 200
    assert idle[0].recv(1) == b""  # the one idle longest had to go


def test_a_viewer_that_does_not_read_stops_nobody(base, connect) -> None:
    sock = base()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    sock.sendall(b"GET /shardz?format=json HTTP/1.1\r\nHost: x\r\n\r\n" * 30)
    other = base()
    other.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
    with other.makefile("rb") as file:
        assert read_response(file)[0] == 200
    assert connect(base.broker).ask("PING") == "PONG"
    with sock.makefile("rb") as file:
        assert [read_response(file)[0] for _ in range(30)] == [200] * 30


def test_a_viewer_that_leaves_before_the_answer(base, connect) -> None:
    connect(base.broker)
    for _ in range(20):
        sock = base()
        sock.sendall(b"GET /connz?subs=1 HTTP/1.1\r\nHost: x\r\n\r\n" * 3)
        sock.close()
    wait_until(lambda: base.broker.json("/healthz") == {"status": "ok"})
    assert "Acceptor:" not in base.broker.log
