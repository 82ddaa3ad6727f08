"""Property: a transform makes the same subject, and refuses with the same text, as nats-server 2.15.1.

Expectations are literals seen there; then one server takes all transforms as account mappings and is asked
again, together with random tokens, and refuses the bad ones with its own texts.
"""

import random
import subprocess

import pytest

from shardbroker.subjects.transform import (
    Transform,
    TransformError,
    fnv32a,
    number_wildcards,
    validate_mapping,
)
from tests.conformance.servers import Reference, nats_server_path
from tests.support.raw_client import RawClient

# source, destination, subject, result
SEEN = [
    ("foo.*.*", "bar.$2.$1", "foo.a.b", "bar.b.a"),
    ("foo.*.*", "bar.{{wildcard(2)}}.{{ Wildcard( 1 ) }}", "foo.a.b", "bar.b.a"),
    ("foo.*.>", "bar.{{wildcard(1)}}.>", "foo.a.b.c", "bar.a.b.c"),
    ("foo.>", ">", "foo.a.b", "a.b"),
    (">", "all.>", "x.y", "all.x.y"),
    ("", "all.>", "x", "all.x"),
    ("foo", "bar", "foo", "bar"),
    ("*", "p.{{partition(3,1)}}", "abc", "p.2"),
    ("*.*", "p.{{Partition(10,1,2)}}.$1", "ab.c", "p.1.ab"),
    ("*.*", "p.{{partition(10)}}.$1", "ab.c", "p.1.ab"),
    ("foo.bar", "p.{{partition(10)}}", "foo.bar", "p.6"),
    ("*", "p.{{partition(0,1)}}", "abc", "p.0"),
    ("*", "p.{{partition(-5,1)}}", "abc", "p.440920331"),
    ("*", "s.{{splitFromLeft(1,3)}}", "abcde", "s.abc.de"),
    ("*", "s.{{SplitFromLeft(1,5)}}", "abcde", "s.abcde"),
    ("*", "s.{{splitfromright(1,3)}}", "abcde", "s.ab.cde"),
    ("*", "s.{{sliceFromLeft(1,2)}}", "abcde", "s.ab.cd.e"),
    ("*", "s.{{SliceFromRight(1,2)}}", "abcde", "s.a.bc.de"),
    ("*", "s.{{sliceFromRight(1,2)}}", "abcdef", "s.ab.cd.ef"),
    ("*", "s.{{split(1,-)}}", "-ab--cd-", "s.ab.cd"),
    ("*", "s.{{split(1,xy)}}", "axybxyc", "s.a.b.c"),
    ("*", "s.{{split(1,)}}", "abc", "s.a.b.c"),
    ("*", "s.{{left(1,3)}}", "abcde", "s.abc"),
    ("*", "s.{{Right(1,3)}}", "abcde", "s.cde"),
    ("*", "s.{{right(1,0)}}", "abcde", "s.abcde"),
    ("x.*", "s.{{wildcard(0)}}", "x.y", "s.x"),
    ("x.*", "s.$-3", "x.y", "s.x"),
    ("x.*", "s.$JS.$1", "x.y", "s.$JS.y"),
    ("x.*", "s", "x.y", "s"),
]

# source, destination, text of the refusal
REFUSED = [
    ("foo.*", "bar.*", "invalid subject"),
    ("foo.>", "bar", "invalid subject"),
    ("foo", "bar.>", "invalid subject"),
    ("foo..a", "bar", "invalid subject"),
    ("foo.*", "bar.$2", "invalid mapping destination: wildcard index out of range in $2: [2]"),
    ("foo.>", "bar.$1.>", "invalid mapping destination: wildcard index out of range in $1: [1]"),
    ("foo", "bar.$1", "invalid mapping destination: wildcard index out of range in $1"),
    (
        "*",
        "{{wildcard()}}",
        "invalid mapping destination: not enough arguments passed to the function in {{wildcard()}}",
    ),
    (
        "*",
        "{{wildcard(1,2)}}",
        "invalid mapping destination: too many arguments passed to the function in {{wildcard(1,2)}}",
    ),
    (
        "*",
        "{{wildcard(x)}}",
        "invalid mapping destination: function argument is invalid or in the wrong format in {{wildcard(x)}}",
    ),
    ("*", "{{PARTITION(1,1)}}", "invalid mapping destination: unknown function in {{PARTITION(1,1)}}"),
    ("*", "{{unknown(1)}}", "invalid mapping destination: unknown function in {{unknown(1)}}"),
    (
        "*",
        "{{partition()}}",
        "invalid mapping destination: function argument is invalid or in the wrong format in {{partition()}}",
    ),
    (
        "*",
        "{{left(1)}}",
        "invalid mapping destination: not enough arguments passed to the function in {{left(1)}}",
    ),
    (
        "*",
        "{{split(1,-,2)}}",
        "invalid mapping destination: too many arguments passed to the function in {{split(1,-,2)}}",
    ),
    (
        "*",
        "{{random(1,2)}}",
        "invalid mapping destination: not enough arguments passed to the function in {{random(1,2)}}",
    ),
    (
        "*",
        "{{left(1,3000000000)}}",
        "invalid mapping destination: function argument is invalid or in the wrong format in"
        " {{left(1,3000000000)}}",
    ),
]


@pytest.mark.parametrize(("source", "destination", "subject", "result"), SEEN)
def test_apply(source, destination, subject, result):
    assert Transform(source, destination).apply(subject.encode()) == result.encode()


@pytest.mark.parametrize(("source", "destination", "text"), REFUSED)
def test_refusal(source, destination, text):
    with pytest.raises(TransformError) as caught:
        Transform(source, destination)
    assert str(caught.value) == text


@pytest.mark.parametrize("subject", [b"bar.a", b"foo", b"foo.a.b", b"foo.", b"foo.*", b"foo.>", b""])
def test_no_match(subject):
    assert Transform("foo.*", "x.$1").apply(subject) is None


def test_open_end_takes_one_token_at_least():
    transform = Transform("foo.>", "bar.>")
    assert transform.apply(b"foo") is None
    assert transform.apply(b"foo.a") == b"bar.a"


def test_identity():
    assert Transform(">", ">").apply(b"a..b") == b"a..b"
    assert Transform("foo.*", "").apply(b"foo.a") == b"foo.a"
    assert Transform("foo.*", "").apply(b"bar.a") is None


def test_random_is_below_its_limit_and_reaches_all():
    transform = Transform("*", "r.{{random(3)}}")
    seen = {transform.apply(b"x") for _ in range(200)}
    assert seen == {b"r.0", b"r.1", b"r.2"}
    assert Transform("x", "r.{{random(0)}}").apply(b"x") == b"r.0"


def test_strict():
    assert Transform("a.*.*", "b.$2.$1", strict=True).rewrite(b"a.*.x") == b"b.x.*"
    with pytest.raises(TransformError, match=r"the only mapping function allowed for import transforms"):
        Transform("a.*", "b.{{left(1,2)}}", strict=True)
    with pytest.raises(TransformError, match=r"not using all of the token wildcard\(s\) in b\.\$1$"):
        Transform("a.*.*", "b.$1", strict=True)


def test_number_wildcards():
    assert number_wildcards("a.*.b.*") == "a.$1.b.$2"


def test_hash_is_fnv_1a():
    assert fnv32a(b"") == 0x811C9DC5
    assert fnv32a(b"foobar") == 0xBF9CF968


@pytest.mark.parametrize(
    ("source", "destination", "text"),
    [
        ("foo", "foo..b", "invalid mapping destination: invalid transform"),
        (">", ">.b", "invalid mapping destination: invalid transform in b"),
        ("foo", "foo.a b", "invalid mapping destination: invalid transform"),
        ("foo", "{{nope}}", "invalid mapping destination: unknown function in {{nope}}"),
        ("foo.*", "bar.*", "invalid subject"),
    ],
)
def test_validate_mapping(source, destination, text):
    with pytest.raises(TransformError) as caught:
        validate_mapping(source, destination)
    assert str(caught.value) == text


needs_nats_server = pytest.mark.skipif(nats_server_path() is None, reason="no nats-server beside this Python")


@needs_nats_server
def test_against_nats_server():
    """Mapping n has ``m<n>.`` before its source; random tokens are published through all of them."""
    chance = random.Random(5)
    cases = []
    for source, destination, subject, _ in SEEN:
        if source not in ("", ">"):
            cases.append((source, destination, subject))
            for _ in range(8):
                tokens = ["".join(chance.choices("ab-xy", k=chance.randint(1, 7))) for _ in range(4)]
                filled = [
                    tokens[index] if token in "*>" else token for index, token in enumerate(source.split("."))
                ]
                cases.append((source, destination, ".".join(filled)))
    pairs = list(dict.fromkeys((source, destination) for source, destination, _ in cases))
    numbers = {pair: number for number, pair in enumerate(pairs)}
    mappings = ", ".join(
        f'"m{number}.{source}": "out.{destination}"' for (source, destination), number in numbers.items()
    )
    server = Reference({}).start()
    server.stop()
    config = server.directory / "mappings.conf"
    config.write_text(f"mappings: {{{mappings}}}\n")
    options = ["-c", str(config), "-a", "127.0.0.1", "-p", str(server.port)]
    server.command = lambda: [nats_server_path(), *options]
    server.restart()
    try:
        with RawClient(server.port) as client:
            client.subscribe("out.>", 1)
            for number, (source, destination, subject) in enumerate(cases):
                client.publish(f"m{numbers[source, destination]}.{subject}", b"%d" % number)
            client.flush()
            got = {int(message.payload): message.subject for message in client.take_messages()}
        for number, (source, destination, subject) in enumerate(cases):
            prefix = f"m{numbers[source, destination]}."
            mine = Transform(prefix + source, "out." + destination).apply((prefix + subject).encode())
            # A subject with an empty token goes to nobody.
            seen = got.get(number) if b"" not in mine.split(b".") else mine
            assert mine == seen, (source, destination, subject)
        assert len(got) > len(cases) * 0.9
    finally:
        server.remove()


@needs_nats_server
def test_refusals_against_nats_server(tmp_path):
    config = tmp_path / "bad.conf"
    for source, destination, _ in [case for case in REFUSED if ".." not in case[0]]:
        config.write_text(f'mappings: {{"{source}": "{destination}"}}\n')
        done = subprocess.run([nats_server_path(), "-t", "-c", config], capture_output=True, text=True)
        with pytest.raises(TransformError) as caught:
            validate_mapping(source, destination)
        assert done.returncode != 0
        assert str(caught.value) in done.stderr, (destination, done.stderr)
