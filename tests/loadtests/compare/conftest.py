"""The real server, to measure something in tests."""

import pytest

from loadtests.servers import ServerError, ServerSpec, nats_server_spec


@pytest.fixture
def nats_server() -> ServerSpec:
    """nats-server, started by whoever uses it."""
    try:
        return nats_server_spec()
    except ServerError as error:
        pytest.skip(str(error))
