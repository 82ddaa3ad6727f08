"""The fixture that runs a test twice, with the compiled and with the interpreted modules."""

import pytest

from tests.protocol.modes import LOADERS


@pytest.fixture(params=sorted(LOADERS))
def modules(request):
    """The modules of ``shardbroker.protocol`` that exist in both forms, by name."""
    return LOADERS[request.param]()
