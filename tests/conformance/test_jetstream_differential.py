"""Property: JetStream's API and publishing answer as nats-server does, byte for byte.

Each script of ``scripts/js_*.py`` is played against nats-server and against shardbroker, with one and two
workers, over one connection and two in turn (`js_normalise` says what may differ). The servers keep their
stores over all scripts; each begins with no stream.

One script by name: ``pytest tests/conformance/test_jetstream_differential.py -k purge``.
"""

import pytest

from tests.conformance import js_script
from tests.conformance.js_normalise import transcript
from tests.conformance.js_script import JetStreamScript
from tests.conformance.scripts import (
    js_advisories,
    js_consumers,
    js_delivery,
    js_messages,
    js_priority,
    js_publish,
    js_pulls,
    js_streams,
)
from tests.conformance.servers import Server, ServerPool

SCRIPTS = [
    *js_streams.SCRIPTS,
    *js_messages.SCRIPTS,
    *js_publish.SCRIPTS,
    *js_advisories.SCRIPTS,
    *js_consumers.SCRIPTS,
    *js_pulls.SCRIPTS,
    *js_priority.SCRIPTS,
    *js_delivery.SCRIPTS,
]
OPTIONS = {"jetstream": True}

_expected: dict[str, list[str]] = {}


def answers(script: JetStreamScript, server: Server, connections: int) -> list[str]:
    """Play and make comparable."""
    return transcript(script, *js_script.play(script, server.port, connections))


@pytest.mark.parametrize("workers", [1, 2], ids=["1-worker", "2-workers"])
@pytest.mark.parametrize("script", SCRIPTS, ids=[each.name.replace(" ", "-") for each in SCRIPTS])
def test_answers_like_nats_server(script: JetStreamScript, pool: ServerPool, workers: int) -> None:
    """With two workers, over two connections in turn: they are served by different workers."""
    options = {**OPTIONS, **script.options}
    if script.name not in _expected:
        _expected[script.name] = answers(script, pool.get("reference", options), 1)
    assert answers(script, pool.get("subject", options, workers), workers) == _expected[script.name]


def test_script_names_are_unique() -> None:
    """Transcripts are kept by name."""
    names = [each.name for each in SCRIPTS]
    assert sorted(names) == sorted(set(names))
