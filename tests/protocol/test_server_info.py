"""INFO: the fields, their order and their omission are those of nats-server."""

import socket
from dataclasses import replace

import orjson
import pytest

from shardbroker.protocol.server_info import ServerInfo, is_acceptable_info
from tests.conformance.servers import Reference, nats_server_path
from tests.protocol import wire_cases

INFO = ServerInfo(
    server_id="N", server_name="name", version="2.15.1", host="0.0.0.0", port=4222, max_payload=1
)


def test_empty_fields():
    assert INFO.to_line() == (
        b'INFO {"server_id":"N","server_name":"name","version":"2.15.1","proto":1,"go":"","host":"0.0.0.0",'
        b'"port":4222,"headers":true,"max_payload":1} \r\n'
    )
    assert b'"headers":false' in replace(INFO, headers=False).to_json()


def test_one_connection():
    line = replace(INFO, client_id=7, client_ip="::1", ldm=True, connect_urls=("a:1", "b:2")).to_line()
    assert line.endswith(b'"client_id":7,"client_ip":"::1","connect_urls":["a:1","b:2"],"ldm":true} \r\n')


def test_characters_that_go_escapes():
    text = replace(INFO, server_name='<a&b>"\u00e9').to_json()
    assert b'"\\u003ca\\u0026b\\u003e\\"\xc3\xa9"' in text
    assert orjson.loads(text)["server_name"] == '<a&b>"\u00e9'


@pytest.mark.skipif(nats_server_path() is None, reason="nats-server is not installed")
def test_order_of_nats_server():
    """Both INFO lines of the real server, read into our dataclass and written again, are the same bytes."""
    server = Reference({}).start()
    try:
        with socket.create_connection(("127.0.0.1", server.port), timeout=5) as connection:
            lines = connection.makefile("rb")
            received = [lines.readline()]
            connection.sendall(b'CONNECT {"protocol":1,"verbose":false}\r\nPING\r\n')
            assert lines.readline() == b"PONG\r\n"
            received.append(lines.readline())
    finally:
        server.remove()
    for line in received:
        assert ServerInfo(**orjson.loads(line[5:])).to_line() == line


@pytest.mark.parametrize("argument", wire_cases.INFO_ARGUMENTS)
def test_acceptable_info_is_a_decision(argument):
    """No exception escapes; which answer is right, test_against_nats_server.py finds out."""
    assert is_acceptable_info(argument) in (True, False)


def test_acceptable_info():
    assert is_acceptable_info(b'{"server_id":"x","other":1}')
    assert not is_acceptable_info(b'{"server_id":1}')
    assert not is_acceptable_info(b"[]")
