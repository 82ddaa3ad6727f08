"""Limits, each with a server configured small: control line, payload, connections, subscriptions, tokens."""

from tests.conformance.script import PLAIN, QUIET, Script, Step, one, talk

VERBOSE = b'CONNECT {"verbose":true,"pedantic":false,"headers":true}\r\n'
PAYLOAD = {"max_payload": 1024}
LINE = {"max_control_line": 512}
SUBSCRIPTIONS = {"max_subscriptions": 4}
TOKENS = {"max_sub_tokens": 3}
CONNECTIONS = {"max_connections": 3}
EMPTY_BLOCK = b"NATS/1.0\r\n\r\n"


def pub(size: int) -> bytes:
    """A PUB with a payload of ``size`` bytes."""
    return b"PUB foo %d\r\n%b\r\n" % (size, b"x" * size)


def hpub(size: int) -> bytes:
    """An HPUB of ``size`` bytes, header block included."""
    return b"HPUB foo 12 %d\r\n%b%b\r\n" % (size, EMPTY_BLOCK, b"x" * (size - 12))


# A violation is seen in the control line, before the payload comes. The bytes behind it are not sent: a
# server that closes with unread input resets the connection, and whether its last words arrive is chance.
SCRIPTS: list[Script] = [
    one("max_payload exactly", VERBOSE + b"SUB foo 1\r\n", pub(1024), options=PAYLOAD, whole_only=True),
    one("max_payload one less", VERBOSE + b"SUB foo 1\r\n", pub(1023), options=PAYLOAD, whole_only=True),
    one(
        "max_payload one more",
        VERBOSE + b"SUB foo 1\r\n",
        Step(b"PUB foo 1025\r\n", sync=False),
        Step(await_close_s=5),
        options=PAYLOAD,
    ),
    one(
        "max_payload far more",
        VERBOSE,
        Step(b"PUB foo 1000000\r\n", sync=False),
        Step(await_close_s=5),
        options=PAYLOAD,
    ),
    one(
        "max_payload with reply",
        VERBOSE,
        Step(b"PUB foo bar 1025\r\n", sync=False),
        Step(await_close_s=5),
        options=PAYLOAD,
    ),
    one(
        "max_payload before connect",
        Step(b"PUB foo 1025\r\n", sync=False),
        Step(await_close_s=5),
        options=PAYLOAD,
    ),
    one("max_payload hpub exactly", VERBOSE + b"SUB foo 1\r\n", hpub(1024), options=PAYLOAD, whole_only=True),
    one(
        "max_payload hpub one more",
        VERBOSE + b"SUB foo 1\r\n",
        Step(b"HPUB foo 12 1025\r\n", sync=False),
        Step(await_close_s=5),
        options=PAYLOAD,
    ),
    one(
        "max_payload hpub header over it",
        VERBOSE,
        Step(b"HPUB foo 2000 2000\r\n", sync=False),
        Step(await_close_s=5),
        options=PAYLOAD,
    ),
    one(
        "max_payload hpub header larger than total",
        VERBOSE,
        Step(b"HPUB foo 2000 100\r\n", sync=False),
        Step(await_close_s=5),
        options=PAYLOAD,
    ),
    one(
        "max_payload violation after deliveries",
        PLAIN + b"SUB foo 1\r\n",
        Step(b"PUB foo 2\r\nhi\r\nPUB foo 1025\r\n", sync=False),
        Step(await_close_s=5),
        options=PAYLOAD,
    ),
    one("max_payload in the info", PLAIN, options=PAYLOAD, first_info=True),
    one(
        "max_payload number too large to be one",
        VERBOSE,
        Step(b"PUB foo 99999999999999999999\r\n", sync=False),
        Step(await_close_s=5),
        options=PAYLOAD,
    ),
    one(
        "max_payload pedantic wildcard over it",
        b'CONNECT {"pedantic":true}\r\n',
        Step(b"PUB foo.* 1025\r\n", sync=False),
        Step(await_close_s=5),
        options=PAYLOAD,
    ),
]


def line_of(size: int) -> bytes:
    """A SUB whose arguments are ``size`` bytes long."""
    return b"SUB " + b"s" * (size - 2) + b" 1\r\n"


# Played whole: on a cut line nats-server measures what it holds so far, so the limit is not exact there.
SCRIPTS += [
    one(
        f"max_control_line with {size} bytes of arguments",
        VERBOSE,
        Step(line_of(size)),
        options=LINE,
        whole_only=True,
    )
    for size in (100, 510, 511, 512)
]
SCRIPTS += [
    one(
        f"max_control_line exceeded by {name}",
        VERBOSE,
        Step(line, sync=False),
        Step(await_close_s=5),
        options=LINE,
        whole_only=True,
    )
    for name, line in {
        "sub": line_of(513),
        "sub by far": line_of(5000),
        "pub": b"PUB " + b"s" * 600 + b" 0\r\n\r\n",
        "hpub": b"HPUB " + b"s" * 600 + b" 12 12\r\n" + EMPTY_BLOCK + b"\r\n",
        "unsub": b"UNSUB " + b"1" * 600 + b"\r\n",
        "connect": b'CONNECT {"verbose":false,"name":"' + b"n" * 600 + b'"}\r\n',
        "info": b'INFO {"x":"' + b"n" * 600 + b'"}\r\n',
        "a line without end": b"SUB " + b"s" * 5000,
        "a connect without end": b"CONNECT " + b" {" + b" " * 5000,
        "blanks behind it": b"SUB foo 1" + b" " * 600 + b"\r\n",
    }.items()
]
SCRIPTS += [
    one(
        "max_control_line is for arguments, not for the blanks before them",
        VERBOSE,
        b"SUB" + b" " * 600 + b"foo 1\r\n",
        options=LINE,
        whole_only=True,
    ),
    one(
        "max_control_line does not count ping garbage",
        VERBOSE,
        b"PING " + b"x" * 600 + b"\r\n",
        options=LINE,
        whole_only=True,
    ),
    one(
        "max_control_line does not count pong garbage",
        VERBOSE,
        b"PONG " + b"x" * 3000 + b"\r\n",
        options=LINE,
        whole_only=True,
    ),
    one(
        "max_control_line does not count a payload",
        VERBOSE + b"SUB foo 1\r\n",
        pub(2000),
        options=LINE,
        whole_only=True,
    ),
    one("max_control_line default", VERBOSE, b"SUB " + b"s" * 4000 + b" 1\r\n", whole_only=True),
    one(
        "max_control_line default exceeded",
        VERBOSE,
        Step(b"SUB " + b"s" * 5000 + b" 1\r\n", sync=False),
        Step(await_close_s=5),
        whole_only=True,
    ),
    one(
        "max_control_line err line",
        VERBOSE,
        Step(b"-ERR " + b"s" * 600 + b"\r\n", sync=False),
        Step(await_close_s=5),
        options=LINE,
        whole_only=True,
    ),
]
SCRIPTS += [
    one(
        "max_subscriptions exceeded",
        VERBOSE,
        b"".join(b"SUB s.%d %d\r\n" % (n, n) for n in range(7)),
        b"".join(b"PUB s.%d 0\r\n\r\n" % n for n in range(7)),
        options=SUBSCRIPTIONS,
    ),
    one(
        "max_subscriptions freed by unsub",
        VERBOSE,
        b"".join(b"SUB s.%d %d\r\n" % (n, n) for n in range(5)),
        b"UNSUB 0\r\nSUB s.9 9\r\nPUB s.9 0\r\n\r\n",
        options=SUBSCRIPTIONS,
    ),
    one(
        "max_subscriptions and a duplicate sid",
        VERBOSE,
        b"".join(b"SUB s.%d %d\r\n" % (n, n) for n in range(4)),
        b"SUB s.1 1\r\n",
        options=SUBSCRIPTIONS,
    ),
    one(
        "max_subscriptions and an invalid subject",
        VERBOSE,
        b"".join(b"SUB s.%d %d\r\n" % (n, n) for n in range(4)),
        b"SUB s..1 8\r\n",
        options=SUBSCRIPTIONS,
    ),
    one(
        "max_subscriptions and refused queue",
        VERBOSE,
        b"".join(b"SUB s.%d %d\r\n" % (n, n) for n in range(4)),
        b"SUB s.1 _sys_ 8\r\n",
        options=SUBSCRIPTIONS,
    ),
    one(
        "max_subscriptions with queues",
        VERBOSE,
        b"".join(b"SUB s q%d %d\r\n" % (n, n) for n in range(6)),
        b"PUB s 0\r\n\r\n",
        options=SUBSCRIPTIONS,
        pooled=True,
    ),
    one(
        "max_subscriptions freed by counted messages",
        VERBOSE,
        b"".join(b"SUB s.%d %d\r\nUNSUB %d 1\r\n" % (n, n, n) for n in range(4)),
        b"PUB s.1 0\r\n\r\n",
        b"SUB s.9 9\r\n",
        options=SUBSCRIPTIONS,
        whole_only=True,
    ),
    talk(
        "max_subscriptions is per connection",
        ("a", VERBOSE + b"".join(b"SUB s.%d %d\r\n" % (n, n) for n in range(4))),
        ("b", VERBOSE + b"".join(b"SUB s.%d %d\r\n" % (n, n) for n in range(5))),
        options=SUBSCRIPTIONS,
    ),
]
SCRIPTS += [
    one(
        f"max_sub_tokens {line.decode()}",
        VERBOSE,
        b"SUB " + line + b" 1\r\n",
        b"PUB a.b.c.d 0\r\n\r\nPUB a.b.c 0\r\n\r\n",
        options=TOKENS,
    )
    for line in (
        b"a",
        b"a.b.c",
        b"a.b.c.d",
        b"*.*.*",
        b"*.*.*.*",
        b"a.b.>",
        b"a.b.c.>",
        b">",
        b"a.b.c.d q",
        b"a.b.c q",
        b"a..b.c.d",
        b"a.b.c.",
        b"a.b.c.d _sys_",
    )
]
SCRIPTS += [
    talk(
        "max_connections exceeded",
        ("a", PLAIN),
        ("b", PLAIN),
        ("c", PLAIN),
        Step(connection="d", await_close_s=5),
        options=CONNECTIONS,
        whole_only=True,
    ),
    talk(
        "max_connections exceeded and the others live on",
        ("a", PLAIN + b"SUB foo 1\r\n"),
        ("b", PLAIN),
        ("c", PLAIN),
        Step(connection="d", await_close_s=5),
        Step(connection="e", await_close_s=5),
        ("b", b"PUB foo 2\r\nhi\r\n"),
        options=CONNECTIONS,
        whole_only=True,
    ),
    talk(
        "max_connections freed by hanging up",
        ("a", PLAIN),
        ("b", PLAIN),
        ("c", PLAIN),
        Step(connection="c", hang_up=True),
        Step(connection="a", rest_s=0.3),
        ("d", PLAIN),
        options=CONNECTIONS,
        whole_only=True,
    ),
    talk(
        "max_connections info of the refused one",
        ("a", PLAIN),
        ("b", PLAIN),
        ("c", PLAIN),
        Step(connection="d", await_close_s=5),
        options=CONNECTIONS,
        whole_only=True,
        first_info=True,
    ),
    one(
        "unknown options change nothing",
        QUIET,
        b"PING\r\n",
        options={"max_payload": 1024, "max_control_line": 512},
    ),
]
