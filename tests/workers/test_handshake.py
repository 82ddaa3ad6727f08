"""What is said before messages flow: INFO lines equal freshly built ones, and what becomes of a CONNECT."""

import dataclasses
import re

import orjson
import pytest

from shardbroker.config.options import Options
from shardbroker.control.messages import Attach
from shardbroker.protocol.connect_options import DEFAULTS
from shardbroker.protocol.server_info import ServerInfo
from shardbroker.shm import layout
from shardbroker.version import JETSTREAM_API_LEVEL, NATS_VERSION
from shardbroker.workers.handshake import GLOBAL_ACCOUNT, Greeter

ATTACH = Attach(
    worker_index=1,
    worker_count=2,
    server_id="NSERVERID",
    server_name="<name> & 918273645",
    xkey="XKEY",
    host="127.0.0.1",
    port=4333,
    start_ns=1,
    generation=1,
    generations=[1, 1],
    connection_rows=1,
    closed_rows=1,
    ring_size=65536,
    interest_size=1 << 20,
    max_connections_here=1,
)
OPTIONS = Options(host="127.0.0.1", port=-1, max_payload=12345)


@pytest.fixture
def greeter() -> Greeter:
    return Greeter(ATTACH, OPTIONS)


def expected_info(**fields: object) -> ServerInfo:
    """The INFO of one connection, built field by field."""
    given = {
        "server_id": "NSERVERID",
        "server_name": "<name> & 918273645",
        "version": NATS_VERSION,
        "host": "127.0.0.1",
        "port": 4333,
        "max_payload": 12345,
        "api_lvl": JETSTREAM_API_LEVEL,
        "xkey": "XKEY",
    }
    return ServerInfo(**{**given, **fields})


@pytest.mark.parametrize("connect_info", [False, True])
@pytest.mark.parametrize("lame_duck", [False, True])
@pytest.mark.parametrize(("cid", "ip"), [(1, "127.0.0.1"), (2**63, "fe80::1"), (7, "10.0.0.255")])
def test_info(greeter: Greeter, cid: int, ip: str, lame_duck: bool, connect_info: bool) -> None:
    """Byte for byte what ServerInfo would write, whatever line was asked for before."""
    greeter.info(99, "9.9.9.9", connect_info)
    greeter.lame_duck = lame_duck
    line = greeter.info(cid, ip, connect_info)
    expected = expected_info(
        client_id=cid,
        client_ip=ip,
        ldm=lame_duck,
        connect_info=connect_info,
        remote_account=GLOBAL_ACCOUNT if connect_info else "",
        go=orjson.loads(line[5:])["go"],
    )
    assert line == expected.to_line()
    assert greeter.info(cid, ip, connect_info) == line


def test_go_names_this_python(greeter: Greeter) -> None:
    assert re.fullmatch(r"python\d+\.\d+\.\d+\S*", orjson.loads(greeter.info(1, "::1")[5:])["go"])


def test_info_without_headers() -> None:
    greeter = Greeter(ATTACH, dataclasses.replace(OPTIONS, no_header_support=True))
    assert orjson.loads(greeter.info(1, "::1")[5:])["headers"] is False


@pytest.mark.parametrize(
    ("argument", "error", "reason"),
    [
        (b"{}", None, ""),
        (b'{"protocol":1}', None, ""),
        (b'{"protocol":2}', b"invalid client protocol", "Bad Client Protocol Version"),
        (b'{"protocol":-1}', b"invalid client protocol", "Bad Client Protocol Version"),
        (b'{"account":"a"}', b"Authorization Violation", "Authentication Failure"),
        (b'{"new_account":true}', b"Authorization Violation", "Authentication Failure"),
        (
            b'{"no_responders":true}',
            b"no responders requires headers support",
            "No Responders Requires Headers",
        ),
        (b'{"no_responders":true,"headers":true}', None, ""),
        # Nobody is asked who they are yet: what is not checked is not refused.
        (b'{"user":"u","pass":"p"}', None, ""),
    ],
)
def test_connect(greeter: Greeter, argument: bytes, error: bytes | None, reason: str) -> None:
    decision = greeter.connect(1, argument)
    assert decision.options is not None
    assert (decision.error, layout.CLOSE_REASONS[decision.reason]) == (error, reason)


@pytest.mark.parametrize("argument", [b"", b"{", b"[]", b'{"verbose":1}', b'{"name":false}'])
def test_connect_that_is_no_json(greeter: Greeter, argument: bytes) -> None:
    """Closed without a word, and nothing is kept of it."""
    assert greeter.connect(1, argument).options is None
    assert greeter.remembered(1) is None


@pytest.mark.parametrize(("server", "client"), [(True, True), (True, False), (False, True)])
def test_headers_need_both_sides(server: bool, client: bool) -> None:
    greeter = Greeter(ATTACH, dataclasses.replace(OPTIONS, no_header_support=not server))
    decision = greeter.connect(1, b'{"headers":%s}' % (b"true" if client else b"false"))
    assert decision.headers == (server and client)


def test_no_responders_without_header_support() -> None:
    greeter = Greeter(ATTACH, dataclasses.replace(OPTIONS, no_header_support=True))
    assert greeter.connect(1, b'{"no_responders":true,"headers":true}').error is not None


def test_a_second_connect_keeps_the_options_of_the_first(greeter: Greeter) -> None:
    greeter.connect(1, b'{"verbose":false,"name":"first","pass":"p"}')
    options = greeter.connect(1, b'{"echo":false,"name":"second"}').options
    assert options == dataclasses.replace(DEFAULTS, verbose=False, echo=False, name="second", password="p")
    assert greeter.connect(2, b"{}").options == DEFAULTS, "another connection has its own"


def test_a_connection_that_moves_takes_its_options_along(greeter: Greeter) -> None:
    """Through JSON, as process.py sends them."""
    options = greeter.connect(5, b'{"verbose":false,"name":"n\\u00e9","lang":"go","protocol":1}').options
    fields = orjson.loads(orjson.dumps(greeter.remembered(5)))
    target = Greeter(ATTACH, OPTIONS)
    target.remember(5, fields)
    assert target.connect(5, b"{}").options == options
    assert target.remembered(5) == fields


def test_nothing_to_take_along(greeter: Greeter) -> None:
    """Before its CONNECT a connection has no options, and gets the defaults where it goes."""
    greeter.remember(5, greeter.remembered(5))
    assert greeter.remembered(5) is None
    assert greeter.connect(5, b"{}").options == DEFAULTS


def test_a_closed_connection_is_forgotten(greeter: Greeter) -> None:
    greeter.connect(5, b'{"name":"n"}')
    greeter.forget(5)
    greeter.forget(5)
    assert greeter.remembered(5) is None


def test_info_from_a_client(greeter: Greeter) -> None:
    assert greeter.is_acceptable_info(b'{"server_id":"x"}')
    assert not greeter.is_acceptable_info(b'{"server_id":1}')
