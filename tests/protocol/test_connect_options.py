"""CONNECT: defaults, names, what a second one changes. Its JSON is compared with nats-server elsewhere."""

from dataclasses import FrozenInstanceError

import pytest

from shardbroker.errors import ProtocolError
from shardbroker.protocol.connect_options import DEFAULTS, ConnectOptions, parse_connect


def test_defaults():
    options = parse_connect(b"{}")
    assert options == DEFAULTS == ConnectOptions()
    assert (options.verbose, options.pedantic, options.echo) == (True, True, True)
    assert (options.headers, options.no_responders, options.protocol, options.name) == (False, False, 0, "")
    with pytest.raises(FrozenInstanceError):
        options.echo = False


def test_what_a_client_library_sends():
    options = parse_connect(
        b'{"echo": true, "headers": true, "lang": "python3", "no_responders": true, "pedantic": false, '
        b'"protocol": 1, "verbose": false, "version": "2.9.0", "name": "a:b", "user": "u", "pass": "p"}'
    )
    assert options == ConnectOptions(
        verbose=False,
        pedantic=False,
        headers=True,
        no_responders=True,
        protocol=1,
        name="a:b",
        lang="python3",
        version="2.9.0",
        user="u",
        password="p",
    )


def test_a_second_connect_changes_what_it_names():
    first = parse_connect(b'{"verbose":false,"name":"x","headers":true}')
    second = parse_connect(b'{"NAME":"y","headers":null}', first)
    assert second == ConnectOptions(verbose=False, name="y", headers=True)


@pytest.mark.parametrize("argument", [b"", b"{bad", b"[]", b'{"verbose":1}', b'{"protocol":1.0}'])
def test_refused(argument):
    with pytest.raises(ProtocolError):
        parse_connect(argument)


def test_rights_of_server_links_are_dropped():
    assert parse_connect(b'{"import":{"allow":["a"]},"export":{}}') == DEFAULTS
