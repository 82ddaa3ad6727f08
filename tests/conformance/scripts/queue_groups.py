"""Queue groups. Who of a group gets a message is chance: the sum over all connections is compared."""

from tests.conformance.script import PLAIN, QUIET, Script, Step, one, talk

MESSAGES = b"".join(b"PUB qq.1 %d\r\n%d\r\n" % (len(str(n)), n) for n in range(20))
OTHERS = b"".join(b"PUB qq.2 %d\r\n%d\r\n" % (len(str(n)), n) for n in range(100, 110))


def group(name: str, *sends: tuple[str, bytes] | Step, bytewise: bool = False) -> Script:
    """A pooled script; played whole unless asked otherwise, for the messages are many."""
    return talk(name, *sends, pooled=True, whole_only=not bytewise)


SCRIPTS: list[Script] = [
    group("queue of one", ("a", QUIET + b"SUB qq.1 g 1\r\n"), ("p", PLAIN + MESSAGES)),
    group(
        "queue of two on one connection",
        ("a", QUIET + b"SUB qq.1 g 1\r\nSUB qq.1 g 2\r\n"),
        ("p", PLAIN + MESSAGES),
    ),
    group(
        "queue of two on two connections",
        ("a", QUIET + b"SUB qq.1 g 1\r\n"),
        ("b", QUIET + b"SUB qq.1 g 1\r\n"),
        ("p", PLAIN + MESSAGES),
    ),
    group(
        "queue of five on five connections",
        *[(f"m{n}", QUIET + b"SUB qq.1 g 1\r\n") for n in range(5)],
        ("p", PLAIN + MESSAGES),
    ),
    group(
        "two groups",
        ("a", QUIET + b"SUB qq.1 g 1\r\n"),
        ("b", QUIET + b"SUB qq.1 h 1\r\n"),
        ("p", PLAIN + MESSAGES),
    ),
    group(
        "two groups of two",
        ("a", QUIET + b"SUB qq.1 g 1\r\nSUB qq.1 h 2\r\n"),
        ("b", QUIET + b"SUB qq.1 g 1\r\nSUB qq.1 h 2\r\n"),
        ("p", PLAIN + MESSAGES),
    ),
    group(
        "groups and plain subscriptions",
        ("a", QUIET + b"SUB qq.1 g 1\r\nSUB qq.1 2\r\n"),
        ("b", QUIET + b"SUB qq.1 g 1\r\nSUB qq.1 h 2\r\nSUB qq.* 3\r\n"),
        ("p", PLAIN + MESSAGES),
    ),
    group(
        "one group over two filters",
        ("a", QUIET + b"SUB qq.* g 1\r\n"),
        ("b", QUIET + b"SUB qq.1 g 1\r\n"),
        ("p", PLAIN + MESSAGES),
        ("p", OTHERS),
    ),
    group(
        "one group over three filters on one connection",
        ("a", QUIET + b"SUB qq.* g 1\r\nSUB qq.1 g 2\r\nSUB > g 3\r\n"),
        ("p", PLAIN + MESSAGES + OTHERS),
    ),
    group(
        "one group over disjoint filters",
        ("a", QUIET + b"SUB qq.2 g 1\r\n"),
        ("b", QUIET + b"SUB qq.1 g 1\r\n"),
        ("p", PLAIN + MESSAGES + OTHERS),
    ),
    group(
        "group names are case sensitive",
        ("a", QUIET + b"SUB qq.1 g 1\r\n"),
        ("b", QUIET + b"SUB qq.1 G 1\r\n"),
        ("p", PLAIN + MESSAGES),
    ),
    group(
        "member unsubscribes",
        ("a", QUIET + b"SUB qq.1 g 1\r\n"),
        ("b", QUIET + b"SUB qq.1 g 1\r\n"),
        ("p", PLAIN + MESSAGES),
        ("a", b"UNSUB 1\r\n"),
        ("p", OTHERS),
        ("p", MESSAGES),
    ),
    group(
        "last member unsubscribes",
        ("a", QUIET + b"SUB qq.1 g 1\r\n"),
        ("p", PLAIN + MESSAGES),
        ("a", b"UNSUB 1\r\n"),
        ("p", MESSAGES),
    ),
    group(
        "member hangs up",
        ("a", QUIET + b"SUB qq.1 g 1\r\n"),
        ("b", QUIET + b"SUB qq.1 g 1\r\n"),
        Step(connection="a", hang_up=True),
        Step(connection="p", data=PLAIN),
        Step(connection="p", rest_s=0.2),
        ("p", MESSAGES),
    ),
    group(
        "member joins",
        ("a", QUIET + b"SUB qq.1 g 1\r\n"),
        ("p", PLAIN + MESSAGES),
        ("b", QUIET + b"SUB qq.1 g 1\r\n"),
        ("p", MESSAGES),
    ),
    group(
        "publisher is a member",
        ("a", QUIET + b"SUB qq.1 g 1\r\n"),
        ("b", QUIET + b"SUB qq.1 g 1\r\n"),
        ("a", MESSAGES),
    ),
    group(
        "member with echo off is passed over",
        ("a", b'CONNECT {"verbose":false,"echo":false}\r\nSUB qq.1 g 1\r\n'),
        ("b", QUIET + b"SUB qq.1 g 1\r\n"),
        ("a", MESSAGES),
    ),
    group(
        "only members with echo off",
        ("a", b'CONNECT {"verbose":false,"echo":false}\r\nSUB qq.1 g 1\r\nSUB qq.1 g 2\r\n'),
        ("a", MESSAGES),
    ),
    group(
        "counted member among others",
        ("a", QUIET + b"SUB qq.1 g 1\r\nUNSUB 1 1\r\n"),
        ("b", QUIET + b"SUB qq.1 g 1\r\n"),
        ("p", PLAIN + MESSAGES),
    ),
    group(
        "only counted members",
        ("a", QUIET + b"SUB qq.1 g 1\r\nUNSUB 1 3\r\n"),
        ("b", QUIET + b"SUB qq.1 g 1\r\nUNSUB 1 4\r\n"),
        ("p", PLAIN + MESSAGES),
    ),
    group(
        "counted members on one connection",
        ("a", QUIET + b"SUB qq.1 g 1\r\nUNSUB 1 3\r\nSUB qq.1 g 2\r\nUNSUB 2 4\r\n"),
        ("a", MESSAGES),
    ),
    group(
        "requests to a group",
        ("a", QUIET + b"SUB qq.1 g 1\r\n"),
        ("b", QUIET + b"SUB qq.1 g 1\r\n"),
        ("p", PLAIN + b"PUB qq.1 inbox 1\r\nx\r\n" * 10),
    ),
    group(
        "headers to a group",
        ("a", QUIET + b"SUB qq.1 g 1\r\n"),
        ("b", QUIET + b"SUB qq.1 g 1\r\n"),
        ("p", QUIET + b"HPUB qq.1 12 13\r\nNATS/1.0\r\n\r\nx\r\n" * 10),
    ),
    group(
        "group byte by byte",
        ("a", QUIET + b"SUB qq.1 g 1\r\n"),
        ("b", QUIET + b"SUB qq.1 g 1\r\n"),
        ("p", PLAIN + b"PUB qq.1 2\r\nhi\r\n" * 3),
        bytewise=True,
    ),
    group(
        "wildcard queue names do not match anything",
        ("a", QUIET + b"SUB qq.1 * 1\r\n"),
        ("b", QUIET + b"SUB qq.1 > 1\r\n"),
        ("p", PLAIN + MESSAGES),
    ),
    group(
        "many groups",
        ("a", QUIET + b"".join(b"SUB qq.1 g%d %d\r\n" % (n, n) for n in range(50))),
        ("b", QUIET + b"".join(b"SUB qq.1 g%d %d\r\n" % (n, n) for n in range(25, 75))),
        ("p", PLAIN + b"PUB qq.1 1\r\nx\r\n" * 3),
    ),
    one("queue member gets its messages in order", QUIET + b"SUB qq.1 g 1\r\n", MESSAGES, whole_only=True),
    one(
        "plain and queue subscription get one each",
        QUIET + b"SUB qq.1 g 1\r\nSUB qq.1 2\r\n",
        b"PUB qq.1 1\r\nx\r\n",
    ),
    one("sub to reserved queue", QUIET, b"SUB qq.1 _sys_ 1\r\n", b"PUB qq.1 1\r\nx\r\n"),
]
