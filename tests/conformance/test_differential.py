"""Property: whatever bytes a client sends, shardbroker answers as nats-server does.

Each script of ``scripts/`` is played against nats-server and against shardbroker, with one and with two
workers, and the answers are compared (`normalise` says what may differ). Then it is played byte by byte,
and the short ones cut in two at every offset, with the same answers expected: where the network cuts the
stream must never matter. (The few scripts where it matters to nats-server itself are marked ``whole_only``.)

One script by name: ``pytest tests/conformance/test_differential.py -k "sub-without-sid"``.
"""

import json
import time
import urllib.error
from collections.abc import Iterable

import pytest

from tests.conformance import script as scripting
from tests.conformance.normalise import Transcript, transcript
from tests.conformance.script import BYTEWISE, WHOLE, Manner, Script
from tests.conformance.scripts import ALL_SCRIPTS
from tests.conformance.servers import Server, ServerPool

# Scripts up to this many bytes are also cut in two at every offset.
CUT_SIZE_MAX = 90
WORKER_COUNTS = [1, 2]
# Longest wait for the interest of the previous script's closed connections to be gone.
SETTLE_TIMEOUT_S = 5.0

_reference_transcripts: dict[str, Transcript] = {}
_idle_subscriptions: dict[int, int] = {}


def subscription_count(server: Server) -> int:
    """Subscriptions known to the whole server, its own included."""
    return json.loads(server.monitor("/subsz"))["num_subscriptions"]


def wait_until_idle(server: Server) -> None:
    """Wait until the subscriptions of closed connections are gone.

    Closing is not answered, so without this a script about "no responders" could meet the interest that the
    script before it left behind.
    """
    idle = _idle_subscriptions.setdefault(server.process.pid, subscription_count(server))
    deadline = time.monotonic() + SETTLE_TIMEOUT_S
    while subscription_count(server) != idle:
        assert time.monotonic() < deadline, f"{server.kind} still holds subscriptions of closed connections"
        time.sleep(0.002)


def answers(script: Script, server: Server, manner: Manner) -> Transcript:
    """Play and make comparable."""
    try:
        wait_until_idle(server)
    except urllib.error.URLError:
        scripting.settle(0.05)
    return transcript(script, scripting.play(script, server.port, manner))


def expected(script: Script, pool: ServerPool) -> Transcript:
    """nats-server's answers to the uncut script, asked for once."""
    if script.name not in _reference_transcripts:
        server = pool.get("reference", script.options)
        _reference_transcripts[script.name] = answers(script, server, WHOLE)
    return _reference_transcripts[script.name]


def compare(script: Script, pool: ServerPool, workers: int, manners: Iterable[Manner]) -> None:
    """The property, for one script and some ways of cutting it."""
    wanted = expected(script, pool)
    server = pool.get("subject", script.options, workers)
    for manner in manners:
        assert answers(script, server, manner) == wanted, f"{script.name}, {manner.name}"


@pytest.fixture(params=WORKER_COUNTS, ids=["1-worker", "2-workers"])
def workers(request) -> int:
    """Number of worker processes of the server under test."""
    return request.param


def named(scripts: list[Script]):
    """Parametrise over scripts with their names as test ids."""
    return pytest.mark.parametrize("script", scripts, ids=[each.name.replace(" ", "-") for each in scripts])


@named(ALL_SCRIPTS)
def test_answers_like_nats_server(script: Script, pool: ServerPool, workers: int) -> None:
    """In one piece."""
    compare(script, pool, workers, [WHOLE])


@named([each for each in ALL_SCRIPTS if not each.whole_only])
def test_answers_the_same_byte_by_byte(script: Script, pool: ServerPool, workers: int) -> None:
    """Every byte in a packet of its own."""
    compare(script, pool, workers, [BYTEWISE])


@named([each for each in ALL_SCRIPTS if not each.whole_only and each.size <= CUT_SIZE_MAX])
def test_answers_the_same_cut_in_two(script: Script, pool: ServerPool, workers: int) -> None:
    """Cut at every offset."""
    compare(script, pool, workers, scripting.halves(script))


def test_script_names_are_unique() -> None:
    """Transcripts are kept by name."""
    names = [each.name for each in ALL_SCRIPTS]
    assert sorted(names) == sorted(set(names))
