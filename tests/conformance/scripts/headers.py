"""HPUB and HMSG: forms of the header block, sizes, and receivers which cannot take headers."""

from tests.conformance.script import PLAIN, QUIET, Script, Step, one, talk

LISTEN = QUIET + b"SUB foo 1\r\n"
VERBOSE = b'CONNECT {"verbose":true,"pedantic":false,"headers":true}\r\n'
EMPTY_BLOCK = b"NATS/1.0\r\n\r\n"


def hpub(block: bytes, payload: bytes = b"", *, subject: bytes = b"foo", reply: bytes = b"") -> bytes:
    """A whole, correct HPUB."""
    words = [
        b"HPUB",
        subject,
        *([reply] if reply else []),
        b"%d %d" % (len(block), len(block) + len(payload)),
    ]
    return b" ".join(words) + b"\r\n" + block + payload + b"\r\n"


BLOCKS = {
    "empty block": EMPTY_BLOCK,
    "one key": b"NATS/1.0\r\nKey: value\r\n\r\n",
    "two keys": b"NATS/1.0\r\nA: 1\r\nB: 2\r\n\r\n",
    "repeated key in order": b"NATS/1.0\r\nA: 2\r\nA: 1\r\na: 3\r\n\r\n",
    "case kept": b"NATS/1.0\r\nkEy-NaMe: VaLuE\r\n\r\n",
    "no blank after the colon": b"NATS/1.0\r\nA:1\r\n\r\n",
    "many blanks": b"NATS/1.0\r\nA:    1   \r\n\r\n",
    "empty value": b"NATS/1.0\r\nA:\r\n\r\n",
    "empty key": b"NATS/1.0\r\n: 1\r\n\r\n",
    "no colon": b"NATS/1.0\r\nnonsense\r\n\r\n",
    "status": b"NATS/1.0 503\r\n\r\n",
    "status with text": b"NATS/1.0 404 No Messages\r\n\r\n",
    "status and key": b"NATS/1.0 100 Idle Heartbeat\r\nNats-Last-Consumer: 7\r\n\r\n",
    "utf-8 value": "NATS/1.0\r\nA: Grüße\r\n\r\n".encode(),
    "binary value": b"NATS/1.0\r\nA: \x00\x01\xff\r\n\r\n",
    "folded line": b"NATS/1.0\r\nA: 1\r\n  2\r\n\r\n",
    "LF only": b"NATS/1.0\nA: 1\n\n",
    "without final empty line": b"NATS/1.0\r\nA: 1\r\n",
    "another version": b"NATS/2.0\r\nA: 1\r\n\r\n",
    "http": b"HTTP/1.1 200\r\n\r\n",
    "nonsense": b"this is no header",
    "only CR LF": b"\r\n\r\n",
    "trace destination": b"NATS/1.0\r\nNats-Trace-Dest: \r\n\r\n",
    "message id": b"NATS/1.0\r\nNats-Msg-Id: 1\r\nNats-Expected-Stream: X\r\n\r\n",
    "two thousand bytes": b"NATS/1.0\r\n" + b"K: " + b"v" * 2000 + b"\r\n\r\n",
}
SCRIPTS: list[Script] = [
    one(f"header block: {name}", LISTEN, hpub(block, b"body"), hpub(block), whole_only=len(block) > 100)
    for name, block in BLOCKS.items()
]
SCRIPTS += [
    one(
        f"header block cut off: {name}",
        LISTEN,
        b'CONNECT {"verbose":false,"headers":true}\r\nSUB foo 1\r\n',
        hpub(block, b"body"),
        b'CONNECT {"headers":false,"no_responders":false}\r\nSUB foo 2\r\n',
        b"PUB foo 1\r\nx\r\n",
        whole_only=True,
    )
    for name, block in list(BLOCKS.items())[:3]
]


def argument(line: bytes, data: bytes = EMPTY_BLOCK + b"hi") -> Script:
    """An HPUB line as given, with 12 bytes of header block and 2 of payload behind it."""
    return one(f"hpub line: {line.decode()}", LISTEN, line + b"\r\n" + data + b"\r\n")


SCRIPTS += [
    argument(line)
    for line in (
        b"HPUB foo 12 14",
        b"HPUB foo reply 12 14",
        b"HPUB foo 14 14",
        b"HPUB foo 0 14",
        b"HPUB foo 1 14",
        b"HPUB foo 2 14",
        b"HPUB foo 11 14",
        b"HPUB foo 13 14",
        b"HPUB foo 15 14",
        b"HPUB foo 14 12",
        b"HPUB foo 12",
        b"HPUB foo",
        b"HPUB 12 14",
        b"HPUB foo -1 14",
        b"HPUB foo 12 -1",
        b"HPUB foo -12 -14",
        b"HPUB foo x 14",
        b"HPUB foo 12 x",
        b"HPUB foo 12x 14",
        b"HPUB foo 012 014",
        b"HPUB foo 00000000000012 14",
        b"HPUB foo 12 00000000000014",
        b"HPUB foo reply more 12 14",
        b"HPUB foo a b c 12 14",
        b"HPUB foo 99999999999999999999 14",
        b"HPUB foo 12 99999999999999999999",
        b"HPUB foo 12 1048577",
        b"HPUB foo 1048577 1048577",
        b"HPUB foo reply 14 12",
        b"HPUB foo reply -1 14",
        b"HPUB foo reply 12 1048577",
        b"HPUB foo.* 12 14",
        b"HPUB foo..bar 12 14",
        b"HPUB $NRG.x 12 14",
        b"HPUB foo _R_.x 12 14",
    )
]
SCRIPTS += [
    one("hpub of nothing", LISTEN, b"HPUB foo 0 0\r\n\r\n"),
    one("hpub without connect", b"SUB foo 1\r\n", hpub(EMPTY_BLOCK, b"hi")),
    one("hpub with headers false", PLAIN, hpub(EMPTY_BLOCK, b"hi")),
    one(
        "hpub with headers turned off later",
        LISTEN,
        b'CONNECT {"headers":false,"no_responders":false}\r\n',
        hpub(EMPTY_BLOCK, b"hi"),
    ),
    one("hpub verbose", VERBOSE, b"SUB foo 1\r\n", hpub(EMPTY_BLOCK, b"hi")),
    one("hpub verbose to nobody", VERBOSE, hpub(EMPTY_BLOCK, b"hi")),
    one("hpub payload one shorter", LISTEN, b"HPUB foo 12 14\r\n" + EMPTY_BLOCK + b"h\r\n", b"PING\r\n"),
    one("hpub payload one longer", LISTEN, b"HPUB foo 12 14\r\n" + EMPTY_BLOCK + b"hi!\r\n"),
    one("hpub payload LF only", LISTEN, b"HPUB foo 12 14\r\n" + EMPTY_BLOCK + b"hi\n"),
    one("hpub many in one packet", LISTEN, hpub(EMPTY_BLOCK, b"hi") * 20, whole_only=True),
    one("hpub and pub mixed", LISTEN, (hpub(EMPTY_BLOCK, b"hi") + b"PUB foo 2\r\nho\r\n") * 5),
    one(
        "hpub split inside the block",
        LISTEN,
        Step(b"HPUB foo 12 14\r\nNATS", sync=False),
        b"/1.0\r\n\r\nhi\r\n",
    ),
    one("hpub large", LISTEN, hpub(b"NATS/1.0\r\nA: 1\r\n\r\n", b"z" * 100_000), whole_only=True),
    one(
        "hpub block of 70000 bytes",
        LISTEN,
        hpub(b"NATS/1.0\r\nA: " + b"v" * 70_000 + b"\r\n\r\n", b"x"),
        whole_only=True,
    ),
    one("hpub exactly max payload", LISTEN, hpub(EMPTY_BLOCK, b"z" * (1048576 - 12)), whole_only=True),
    talk(
        "block cut off for a receiver without headers",
        ("b", PLAIN + b"SUB foo 1\r\n"),
        ("c", LISTEN),
        ("a", QUIET),
        ("a", hpub(b"NATS/1.0\r\nA: 1\r\n\r\n", b"body")),
    ),
    talk(
        "block cut off leaves nothing",
        ("b", PLAIN + b"SUB foo 1\r\n"),
        ("a", QUIET),
        ("a", hpub(EMPTY_BLOCK)),
    ),
    talk(
        "block cut off with reply",
        ("b", PLAIN + b"SUB foo 1\r\n"),
        ("a", QUIET),
        ("a", hpub(b"NATS/1.0\r\nA: 1\r\n\r\n", b"body", reply=b"back")),
    ),
    talk(
        "block cut off for a receiver without connect",
        ("b", b"SUB foo 1\r\n"),
        ("a", QUIET),
        ("a", hpub(b"NATS/1.0\r\nA: 1\r\n\r\n", b"body")),
    ),
    talk(
        "block cut off for one of a queue group",
        ("b", PLAIN + b"SUB foo g 1\r\n"),
        ("a", QUIET),
        ("a", hpub(b"NATS/1.0\r\nA: 1\r\n\r\n", b"body")),
    ),
    talk(
        "plain publish to a receiver with headers", ("b", LISTEN), ("a", PLAIN), ("a", b"PUB foo 2\r\nhi\r\n")
    ),
    talk(
        "reply with headers",
        ("b", LISTEN),
        ("a", QUIET + b"SUB inbox 1\r\n"),
        ("a", b"PUB foo inbox 2\r\nhi\r\n"),
        ("b", hpub(b"NATS/1.0 200 OK\r\nA: 1\r\n\r\n", b"yes", subject=b"inbox")),
    ),
    one("hpub without header support", QUIET, hpub(EMPTY_BLOCK, b"hi"), options={"no_header_support": True}),
    one("first info without header support", PLAIN, options={"no_header_support": True}, first_info=True),
    one(
        "headers asked for without header support",
        b'CONNECT {"verbose":true,"headers":true}\r\nSUB foo 1\r\n',
        hpub(EMPTY_BLOCK, b"hi"),
        options={"no_header_support": True},
    ),
    one(
        "publish without header support",
        PLAIN + b"SUB foo 1\r\n",
        b"PUB foo 2\r\nhi\r\n",
        options={"no_header_support": True},
    ),
]
