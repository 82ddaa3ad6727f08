"""Which patterns match which subjects: all pairs, literal and wildcard, one script per set of patterns."""

from tests.conformance.script import PLAIN, QUIET, Script, one, talk

SUBJECTS = [
    b"a", b"b", b"a.b", b"a.c", b"b.a", b"a.b.c", b"a.b.d", b"a.b.c.d", b"A", b"A.b", b"a.B", b"aa",
    b"a.bb", b"ab", b"a.b.c.d.e", b"x.y.z", b"a.*", b"a.>", b"*", b"a*", b"a.*.c", b"a-b", b"a_b", b"a.b-c",
    "ä".encode(), "ä.ö".encode(), b"a.\xff",
]  # fmt: skip
PATTERN_SETS = {
    "literals": [
        b"a",
        b"b",
        b"a.b",
        b"a.b.c",
        b"A",
        b"aa",
        b"a.b.c.d.e",
        "ä".encode(),
        "ä.ö".encode(),
        b"a.\xff",
    ],
    "one star": [b"*", b"a.*", b"*.b", b"*.a", b"a.*.c", b"a.b.*", b"*.b.c"],
    "several stars": [b"*.*", b"*.*.*", b"a.*.*", b"*.b.*", b"*.*.c", b"*.*.*.*", b"a.*.*.d.*"],
    "rest": [b">", b"a.>", b"a.b.>", b"a.b.c.>", b"b.>", b"x.y.>", b"A.>"],
    "star and rest": [b"*.>", b"*.*.>", b"a.*.>", b"*.b.>", b"*.*.*.*.>"],
    "stars inside tokens": [b"a*", b"*a", b"a.b*", b"**", b"a.*b", b"a>", b">a", b"a.>b"],
    "everything": [b">", b"*", b"a", b"a.*", b"a.>", b"*.b", b"a.b", b"*.>", b"a.*.c", b"a.b.c"],
}
PUBLISH_ALL = b"".join(b"PUB %b %d\r\n%b\r\n" % (subject, len(subject), subject) for subject in SUBJECTS)


def subscribe(patterns: list[bytes], queue: bytes = b"") -> bytes:
    """SUB lines for the patterns, numbered from 1."""
    return b"".join(b"SUB %b %b %d\r\n" % (pattern, queue, n) for n, pattern in enumerate(patterns, 1))


SCRIPTS: list[Script] = [
    one(f"matching {name} on one connection", QUIET, subscribe(patterns), PUBLISH_ALL, whole_only=True)
    for name, patterns in PATTERN_SETS.items()
]
SCRIPTS += [
    one(
        f"matching {name} published twice",
        QUIET,
        subscribe(patterns),
        PUBLISH_ALL,
        PUBLISH_ALL,
        whole_only=True,
    )
    for name, patterns in PATTERN_SETS.items()
]
SCRIPTS += [
    talk(
        f"matching {name} from another connection",
        ("s", QUIET + subscribe(patterns)),
        ("p", PLAIN + PUBLISH_ALL),
        whole_only=True,
    )
    for name, patterns in PATTERN_SETS.items()
]
SCRIPTS += [
    talk(
        f"matching {name} with one connection each",
        *[(f"s{n}", QUIET + b"SUB %b %d\r\n" % (pattern, n)) for n, pattern in enumerate(patterns)],
        ("p", PLAIN + PUBLISH_ALL),
        whole_only=True,
    )
    for name, patterns in PATTERN_SETS.items()
]
SCRIPTS += [
    talk(
        f"matching {name} after each is removed",
        ("s", QUIET + subscribe(patterns)),
        ("p", PLAIN + PUBLISH_ALL),
        *[
            step
            for n in range(1, len(patterns) + 1)
            for step in (("s", b"UNSUB %d\r\n" % n), ("p", PUBLISH_ALL))
        ],
        whole_only=True,
    )
    for name, patterns in PATTERN_SETS.items()
]
SCRIPTS += [
    talk(
        f"matching {name} while each is added",
        ("s", QUIET),
        ("p", PLAIN + PUBLISH_ALL),
        *[
            step
            for n, pattern in enumerate(patterns, 1)
            for step in (("s", b"SUB %b %d\r\n" % (pattern, n)), ("p", PUBLISH_ALL))
        ],
        whole_only=True,
    )
    for name, patterns in PATTERN_SETS.items()
]
# Each pattern in a queue group of its own: the directory of interest holds patterns with queues apart.
SCRIPTS += [
    talk(
        f"matching {name} in queue groups",
        ("s", QUIET + b"".join(b"SUB %b q%d %d\r\n" % (pattern, n, n) for n, pattern in enumerate(patterns))),
        ("p", PLAIN + PUBLISH_ALL),
        whole_only=True,
    )
    for name, patterns in PATTERN_SETS.items()
]
