"""The rules of subject names are those of obvious models and of a real nats-server.

Every property holds for the compiled module and for its Python source, by one fixture.
"""

import importlib.util
import itertools
import re
import socket
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from shardbroker.subjects import subject as compiled_module
from tests.conformance.servers import Reference, nats_server_path
from tests.models.sublist_model import pattern_matches
from tests.subjects.subject_strategies import any_subjects, literal_subjects, patterns, published_subjects

SOURCE = Path(__file__).parents[2] / "shardbroker" / "subjects" / "subject.py"
# All subjects of up to three tokens over this alphabet: small enough to try every pair.
ALPHABET = (b"a", b"b", b"*", b">")


def interpreted_module():
    """subject.py itself, next to the extension module made from it."""
    spec = importlib.util.spec_from_file_location("subject_interpreted", SOURCE)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


MODULES = {"compiled": compiled_module, "interpreted": interpreted_module()}


@pytest.fixture(params=MODULES)
def rules(request):
    """The module under test."""
    if request.param == "compiled":
        assert not compiled_module.__file__.endswith(".py"), "run setup.py build_ext --inplace first"
    return MODULES[request.param]


def is_subscribable_model(subject: bytes) -> bool:
    """No empty token, `>` only at the end."""
    tokens = subject.split(b".")
    return b"" not in tokens and b">" not in tokens[:-1]


def small_patterns() -> list[bytes]:
    """Every valid pattern of one to three tokens over ALPHABET."""
    joined = (b".".join(tokens) for size in (1, 2, 3) for tokens in itertools.product(ALPHABET, repeat=size))
    return [pattern for pattern in joined if is_subscribable_model(pattern)]


@settings(deadline=None)
@given(any_subjects)
@example(b"")
@example(b".")
@example(b">.>")
def test_validity(subject: bytes) -> None:
    tokens = subject.split(b".")
    valid = is_subscribable_model(subject) and not re.search(rb"[ \t\n\f\r]", subject)
    publishable = all(token not in (b"", b"*", b">") for token in tokens)
    for rules in MODULES.values():
        assert rules.is_subscribable(subject, len(subject)) == is_subscribable_model(subject)
        assert rules.is_valid(subject, len(subject)) == valid
        assert rules.is_publishable(subject, len(subject)) == publishable
        assert rules.is_literal(subject, len(subject)) == (b"*" not in tokens and b">" not in tokens)
        assert rules.count_tokens(subject, len(subject)) == (len(tokens) if subject else 0)


@settings(deadline=None)
@given(st.one_of(patterns(), literal_subjects), published_subjects)
@example(b"foo.*", b"foo.*")
@example(b">", b"a..b")
@example(b"a.>", b"a.")
def test_matches(pattern: bytes, subject: bytes) -> None:
    expected = pattern_matches(pattern, subject)
    for rules in MODULES.values():
        assert rules.matches(pattern, len(pattern), subject, len(subject)) == expected


def test_overlap_of_all_small_patterns(rules) -> None:
    """collide and is_subset, from the definition: by the subjects that two patterns match.

    Subjects of up to four tokens with one letter that no pattern names tell patterns of three tokens apart.
    """
    alphabet = (b"a", b"b", b"c")
    subjects = [b".".join(t) for size in (1, 2, 3, 4) for t in itertools.product(alphabet, repeat=size)]
    matched = {
        pattern: frozenset(i for i, subject in enumerate(subjects) if pattern_matches(pattern, subject))
        for pattern in small_patterns()
    }
    for (left, left_matched), (right, right_matched) in itertools.product(matched.items(), repeat=2):
        pair = (left, len(left), right, len(right))
        assert rules.collide(*pair) == bool(left_matched & right_matched), pair
        assert rules.is_subset(*pair) == (left_matched <= right_matched), pair


@given(patterns(), patterns())
@settings(max_examples=300, deadline=None)
def test_compiled_and_interpreted_agree(left: bytes, right: bytes) -> None:
    arguments = (left, len(left), right, len(right))
    compiled, interpreted = MODULES.values()
    assert compiled.matches(*arguments) == interpreted.matches(*arguments)
    assert compiled.is_subset(*arguments) == interpreted.is_subset(*arguments)
    assert compiled.collide(*arguments) == interpreted.collide(*arguments)


# --- the real server ------------------------------------------------------------------------------------
SUBSCRIBED = (b"foo.*", b"foo.>", b">", b"foo.bar", b"foo.a", b"*.*", b"foo", b"*", b"*.*.*", b"foo.*.>")
PUBLISHED = (
    b"foo.*", b"foo.>", b"*", b">", b"*.*", b"foo..bar", b"foo.", b".foo", b".", b"..", b"foo.bar", b"foo*",
    b"foo.b*", b"foo.\x0c", b"foo.\x00", b"a.\xff\xfe", b"foo.bar.baz", b"foo.*.*", b"foo.>.>",
)  # fmt: skip
OFFERED = (
    *PUBLISHED, *SUBSCRIBED, b"foo.>.x", b">.>", b"*.>", b"foo.>x", b"x>.foo", b"\x0c", b">.", b".>",
)  # fmt: skip


class RawClient:
    """One connection, spoken to in raw bytes; ends with the server's fixture."""

    def __init__(self, port: int, pedantic: bool) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=5)
        self.stream = self.socket.makefile("rb")
        self.stream.readline()
        flag = b"true" if pedantic else b"false"
        self.socket.sendall(b'CONNECT {"verbose":false,"pedantic":%s}\r\n' % flag)

    def ask(self, data: bytes) -> list[bytes]:
        """Send, and return the lines that came before the PONG; INFO lines are left out."""
        self.socket.sendall(data + b"PING\r\n")
        lines = []
        while (line := self.stream.readline()) != b"PONG\r\n":
            assert line, "the server has closed the connection"
            if not line.startswith(b"INFO"):
                lines.append(line)
        return lines

    def close(self) -> None:
        """Close both halves."""
        self.stream.close()
        self.socket.close()


@pytest.fixture(scope="module")
def server():
    """A nats-server without options."""
    if nats_server_path() is None:
        pytest.skip("nats-server is not installed")
    server = Reference().start()
    yield server
    server.remove()


@pytest.fixture(params=(False, True), ids=("plain", "pedantic"))
def client(request, server):
    """A raw connection, and whether it is pedantic."""
    client = RawClient(server.port, request.param)
    client.pedantic = request.param
    yield client
    client.close()


def test_server_matches_as_we_do(rules, client) -> None:
    """PUB of odd subjects: who receives, and what a pedantic client is told."""
    client.ask(b"".join(b"SUB %s %d\r\n" % (pattern, sid) for sid, pattern in enumerate(SUBSCRIBED)))
    for subject in PUBLISHED:
        lines = client.ask(b"PUB %s 0\r\n\r\n" % subject)
        sids = sorted(int(line.split(b" ")[2]) for line in lines if line.startswith(b"MSG"))
        assert sids == [
            sid for sid, pattern in enumerate(SUBSCRIBED)
            if rules.matches(pattern, len(pattern), subject, len(subject))
        ], subject  # fmt: skip
        refused = b"-ERR 'Invalid Publish Subject'\r\n" in lines
        assert refused == (client.pedantic and not rules.is_publishable(subject, len(subject))), subject


def test_server_accepts_the_subscriptions_that_we_accept(rules, client) -> None:
    """SUB of odd subjects: form feed and NUL are accepted, by pedantic clients too."""
    for sid, subject in enumerate(OFFERED):
        lines = client.ask(b"SUB %s %d\r\n" % (subject, sid + 1))
        expected = [] if rules.is_subscribable(subject, len(subject)) else [b"-ERR 'Invalid Subject'\r\n"]
        assert [line for line in lines if line.startswith(b"-ERR")] == expected, subject
