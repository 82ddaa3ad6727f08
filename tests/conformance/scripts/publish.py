"""PUB: its arguments, sizes, payloads, and which subjects reach whom."""

from tests.conformance.script import PLAIN, QUIET, Script, Step, one, talk

SUB_ALL = QUIET + b"SUB > 1\r\n"
VERBOSE = b'CONNECT {"verbose":true,"pedantic":false,"headers":true}\r\n'
PEDANTIC = b'CONNECT {"verbose":true,"pedantic":true,"headers":true}\r\n'


def argument(line: bytes, *, pings: int | None = None) -> Script:
    """A PUB line with arguments as given, followed by a two byte payload."""
    name = line.decode("latin-1").encode("unicode_escape").decode()
    return one(f"pub line: {name}", SUB_ALL, Step(line + b"\r\nhi\r\n", pings=pings))


SCRIPTS: list[Script] = [
    argument(line)
    for line in (
        b"PUB foo",
        b"PUB 2",
        b"PUB foo bar",
        b"PUB foo bar baz",
        b"PUB foo bar 2 2",
        b"PUB foo bar baz 2",
        b"PUB foo a b c d 2",
        b"PUB foo -1",
        b"PUB foo -2",
        b"PUB foo +2",
        b"PUB foo 2.0",
        b"PUB foo 2x",
        b"PUB foo x2",
        b"PUB foo 0x2",
        b"PUB foo 1e0",
        b"PUB foo 02",
        b"PUB foo 002",
        b"PUB foo 000000002",
        b"PUB foo 0000000002",
        b"PUB foo 00000000000000000000002",
        b"PUB foo 0000000000000000000000000000000000000002",
        b"PUB foo 2147483648",
        b"PUB foo 4294967298",
        b"PUB foo 999999999",
        b"PUB foo 1000000000",
        b"PUB foo 9223372036854775807",
        b"PUB foo 9223372036854775808",
        b"PUB foo 18446744073709551618",
        b"PUB foo 99999999999999999999999999",
        b"PUB foo 1048577",
        b"PUB foo ''",
        b"PUB foo \xb2",
        b"PUB foo \xc2\xb2",
        b"PUB foo 2,",
        b"PUB foo,2",
        b"PUB foo reply 2",
        b"PUB foo reply -2",
        b"PUB foo reply 02",
        b"PUB foo reply 2x",
        b"PUB foo reply.with.tokens 2",
        b"PUB foo reply.* 2",
        b"PUB foo > 2",
        b"PUB foo * 2",
        b"PUB foo .. 2",
        b"PUB foo foo 2",
        b"PUB foo $SYS.x 2",
        b"PUB foo $JS.API.INFO 2",
    )
]

# Subjects a client may publish to; "> 1" tells whether it was delivered to anybody.
SUBJECTS = [
    b"foo",
    b"FOO", b"foo.bar", b"foo.bar.baz", b"a", b"1", b"foo.*", b"*", b">", b"foo.>", b"foo.>.bar", b"foo*",
    b"fo*o", b"*foo", b"foo>", b">foo", b"f>o", b"foo.*bar", b"foo..bar", b".foo", b"foo.", b".", b"..",
    b"...", b"foo. bar", b"a.b.c.d.e.f.g.h.i.j.k.l.m.n.o.p.q.r.s.t.u.v.w.x.y.z", b"$foo", b"$", b"_", b"-",
    b"+", b"foo/bar", b"foo\\bar", b"foo:bar", b'"foo"', b"'foo'", b"{}", b"foo\x00bar", b"\x00",
    b"\x01\x02", b"\x7f", b"\x80", b"\xff\xfe", b"\xc3\x28", "Grüße.日本".encode(), "😀".encode(),
    "a.😀.*".encode(), b"foo\x0cbar", b"foo\x0bbar", b"foo\xc2\xa0bar", b"foo\xe2\x80\xa8bar", b"_INBOX.x",
    b"$SYS.foo", b"$SYS", b"$SYS.REQ.SERVER.PING", b"$JS.API.INFO", b"$JS.foo", b"$JSC.R.x", b"$NRG.V.x",
    b"$NRG", b"$NRG.", b"_GR_.x", b"_GR_", b"_GR_.", b"$GNR.x", b"$GNR", b"$GR.x", b"_R_.x", b"_R_",
    b"$KV.b.k", b"$O.b", b"$MQTT.x", b"$SRV.PING", b"$LDS.x", b"$GC.x", b"$G",
]  # fmt: skip


def printable(subject: bytes) -> str:
    """A subject as part of a script's name."""
    return subject.decode("latin-1").encode("unicode_escape").decode()


SCRIPTS += [
    one(f"pub to {printable(subject)}", VERBOSE + b"SUB > 1\r\n", b"PUB " + subject + b" 2\r\nhi\r\n")
    for subject in SUBJECTS
]
SCRIPTS += [
    one(
        f"pedantic pub to {printable(subject)}",
        PEDANTIC + b"SUB > 1\r\n",
        b"PUB " + subject + b" 2\r\nhi\r\n",
        whole_only=True,
    )
    for subject in SUBJECTS
]
# A publish subject that is no valid literal: does it reach somebody who subscribed to just these bytes?
SCRIPTS += [
    one(
        f"pub {published.decode()} with sub {wanted.decode()}",
        QUIET + b"SUB " + wanted + b" 1\r\n",
        b"PUB " + published + b" 2\r\nhi\r\n",
    )
    for published, wanted in (
        (b"foo.*", b"foo.*"),
        (b"foo.>", b"foo.>"),
        (b"foo.*", b"foo.bar"),
        (b"foo.>", b"foo.bar"),
        (b"*", b"foo"),
        (b"*", b"*"),
        (b">", b"foo"),
        (b">", b">"),
        (b">", b"*"),
        (b"*.bar", b"foo.*"),
        (b"*.bar", b"*.*"),
        (b"*.bar", b"foo.>"),
        (b"foo.*.baz", b"foo.*.*"),
        (b"foo.*.baz", b"foo.>"),
        (b"foo.>.baz", b"foo.>"),
        (b"foo.>.baz", b"foo.*.baz"),
        (b"foo..bar", b"foo.>"),
        (b"foo..bar", b"foo.*.bar"),
        (b".foo", b"*.foo"),
        (b"foo.", b"foo.*"),
        (b"foo.", b"foo.>"),
        (b"foo.", b"foo"),
        (b"fo*", b"fo*"),
        (b"fo*", b"foo"),
        (b"foo", b"fo*"),
        (b"fo>", b"fo>"),
    )
]
PAYLOADS = {
    "empty": b"",
    "one byte": b"x",
    "CR LF inside": b"one\r\ntwo\r\n",
    "only CR LF": b"\r\n",
    "only CR": b"\r",
    "only LF": b"\n",
    "commands inside": b"PUB foo 2\r\nhi\r\nPING\r\n-ERR 'x'\r\n",
    "NUL bytes": b"\0\0\0",
    "all bytes": bytes(range(256)),
    "not utf-8": b"\xff\xfe\xc3\x28",
    "a thousand bytes": b"0123456789" * 100,
}
SCRIPTS += [
    one(
        f"payload: {name}",
        QUIET + b"SUB foo 1\r\n",
        Step(b"PUB foo %d\r\n%b\r\n" % (len(payload), payload), pings=0),
    )
    for name, payload in PAYLOADS.items()
]
SCRIPTS += [
    one(
        f"payload of {size} bytes",
        QUIET + b"SUB foo 1\r\n",
        b"PUB foo reply %d\r\n%b\r\n" % (size, b"y" * size),
        whole_only=True,
    )
    for size in (511, 512, 513, 4095, 4096, 4097, 32767, 32768, 65535, 65536, 65537, 131072, 1048575, 1048576)
]
SCRIPTS += [
    one(
        "payload shorter than its size",
        QUIET + b"SUB foo 1\r\n",
        Step(b"PUB foo 5\r\nhi\r\nPING\r\n", pings=0),
    ),
    one("payload longer than its size", QUIET + b"SUB foo 1\r\n", b"PUB foo 2\r\nhello\r\n"),
    one("payload one longer", QUIET + b"SUB foo 1\r\n", b"PUB foo 2\r\nhi!\r\n"),
    one("payload one shorter", QUIET + b"SUB foo 1\r\n", b"PUB foo 3\r\nhi\r\n", b"PING\r\n"),
    one("payload followed by CR CR", QUIET + b"SUB foo 1\r\n", b"PUB foo 2\r\nhi\r\r\n"),
    one("payload followed by LF CR", QUIET + b"SUB foo 1\r\n", b"PUB foo 2\r\nhi\n\r"),
    one("payload followed by blanks", QUIET + b"SUB foo 1\r\n", b"PUB foo 2\r\nhi  \r\n"),
    one(
        "payload followed by the next operation",
        QUIET + b"SUB foo 1\r\n",
        b"PUB foo 2\r\nhiPUB foo 2\r\nho\r\n",
    ),
    one("zero payload without CR LF", QUIET + b"SUB foo 1\r\n", b"PUB foo 0\r\nPING\r\n"),
    one("zero payload with one LF", QUIET + b"SUB foo 1\r\n", b"PUB foo 0\r\n\n"),
    one("zero payload", QUIET + b"SUB foo 1\r\n", b"PUB foo 0\r\n\r\n"),
    one("zero payload with reply", QUIET + b"SUB foo 1\r\n", b"PUB foo bar 0\r\n\r\n"),
    one("zero payload many times", QUIET + b"SUB foo 1\r\n", b"PUB foo 0\r\n\r\n" * 30),
    one("size with leading zeros is echoed as sent", QUIET + b"SUB foo 1\r\n", b"PUB foo 0000\r\n\r\n"),
    one(
        "hang in the middle of a payload",
        QUIET,
        Step(b"PUB foo 10\r\nhel", sync=False),
        Step(b"lo", sync=False),
        b"world\r\n",
    ),
    one(
        "three hundred publishes in one packet",
        QUIET + b"SUB foo 1\r\n",
        b"".join(b"PUB foo %d\r\n%d\r\n" % (len(str(n)), n) for n in range(300)),
        whole_only=True,
    ),
    one("verbose publish to nobody", VERBOSE, b"PUB foo 2\r\nhi\r\n"),
    one("verbose publish to oneself", VERBOSE + b"SUB foo 1\r\n", b"PUB foo 2\r\nhi\r\n"),
    one("verbose publishes in one packet", VERBOSE + b"SUB foo 1\r\n", b"PUB foo 1\r\na\r\n" * 5),
    one("verbose refused publish", VERBOSE, b"PUB $NRG.x 2\r\nhi\r\n"),
    one("plain publish to nobody", PLAIN, b"PUB foo 2\r\nhi\r\n"),
    one("request to nobody without no_responders", PLAIN + b"SUB inbox 1\r\n", b"PUB foo inbox 2\r\nhi\r\n"),
    talk(
        "publisher hangs up after publishing",
        ("b", QUIET + b"SUB foo 1\r\n"),
        ("a", PLAIN),
        ("a", b"PUB foo 2\r\nhi\r\n"),
        Step(connection="a", hang_up=True),
        ("b", b"PING\r\n"),
    ),
    talk(
        "publisher makes an error after publishing",
        ("b", QUIET + b"SUB foo 1\r\n"),
        ("a", PLAIN),
        ("a", b"PUB foo 2\r\nhi\r\nBOGUS\r\n"),
        ("b", b"PING\r\n"),
    ),
    talk(
        "publisher without connect",
        ("b", QUIET + b"SUB foo 1\r\n"),
        ("a", b"PUB foo 2\r\nhi\r\n"),
        ("b", b""),
    ),
    talk(
        "three subscribers",
        ("b", QUIET + b"SUB foo 7\r\n"),
        ("c", QUIET + b"SUB * 8\r\n"),
        ("d", QUIET + b"SUB > 9\r\n"),
        ("a", PLAIN + b"PUB foo 2\r\nhi\r\nPUB bar 2\r\nho\r\nPUB a.b 2\r\nhu\r\n"),
    ),
    talk(
        "order over subjects",
        ("b", QUIET + b"SUB a.> 1\r\n"),
        ("a", PLAIN + b"".join(b"PUB a.%d %d\r\n%d\r\n" % (n % 7, len(str(n)), n) for n in range(100))),
        whole_only=True,
    ),
    talk(
        "ping pong of two clients",
        ("a", PLAIN + b"SUB a 1\r\n"),
        ("b", PLAIN + b"SUB b 1\r\n"),
        ("a", b"PUB b a 1\r\n1\r\n"),
        ("b", b"PUB a b 1\r\n2\r\n"),
        ("a", b"PUB b a 1\r\n3\r\n"),
        ("b", b""),
        ("a", b""),
    ),
]
