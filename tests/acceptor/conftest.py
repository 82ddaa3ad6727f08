"""Brokers for the tests of this folder; each one is ended whatever happens."""

import contextlib

import pytest

from tests.acceptor.running import RunningBroker


@pytest.fixture
def start(tmp_path):
    """``start(*flags)`` gives a RunningBroker with stub workers."""
    with contextlib.ExitStack() as stack:

        def start(*flags: str, **more: str) -> RunningBroker:
            directory = tmp_path / f"broker-{len(list(tmp_path.iterdir()))}"
            directory.mkdir()
            broker = RunningBroker(directory, *flags, **more)
            stack.callback(broker.kill)
            return broker

        yield start


@pytest.fixture
def connect():
    """``connect(broker)`` gives a Client that is closed at the end."""
    with contextlib.ExitStack() as stack:

        def connect(broker: RunningBroker):
            client = broker.connect()
            stack.callback(client.close)
            return client

        yield connect
