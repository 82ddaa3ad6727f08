"""Lines and words: letter case, blanks, line ends, unknown operations, and what a client may not send."""

from tests.conformance.script import PLAIN, QUIET, Script, Step, one

SCRIPTS: list[Script] = [
    one("ping before connect", b"PING\r\n"),
    one("ping lower case", PLAIN, b"ping\r\n"),
    one("ping mixed case", PLAIN, b"pInG\r\n"),
    one("ping ended by LF only", PLAIN, b"PING\n"),
    one("ping with trailing blanks", PLAIN, b"PING   \r\n"),
    one("ping with garbage behind it", PLAIN, b"PING what is this\r\n"),
    one("ping with garbage attached", PLAIN, Step(b"PINGABC\r\n", pings=1)),
    one("ping with tabs behind it", PLAIN, b"PING\t\t\r\n"),
    one("three pings in one packet", PLAIN, b"PING\r\nPING\r\nPING\r\n"),
    one("pong from a client", PLAIN, b"PONG\r\n"),
    one("pong lower case", PLAIN, b"pong\n"),
    one("pong with garbage", PLAIN, b"PONG garbage here\r\n"),
    one("many pongs", PLAIN, b"PONG\r\n" * 20),
    one("plus ok from a client", PLAIN, b"+OK\r\n"),
    one("plus ok lower case", PLAIN, b"+ok\r\n"),
    one("plus ok with garbage", PLAIN, b"+OK thanks\r\n"),
    one("plus alone", PLAIN, b"+\r\n"),
    one("plus of something else", PLAIN, b"+YES\r\n"),
    one("minus err from a client", PLAIN, b"-ERR 'I do not like this'\r\n"),
    one("minus err lower case", PLAIN, b"-err 'x'\r\n"),
    one("minus err without text", PLAIN, b"-ERR\r\n"),
    one("minus err with blank only", PLAIN, b"-ERR \r\n"),
    one("minus of something else", PLAIN, b"-FOO\r\n"),
    one("info from a client", PLAIN, b"INFO {}\r\n"),
    one("info lower case", PLAIN, b"info {}\r\n"),
    one("info with fields", PLAIN, b'INFO {"server_id":"x","max_payload":1}\r\n'),
    one("info that is no json", PLAIN, b"INFO nonsense\r\n"),
    one("info without argument", PLAIN, b"INFO\r\n"),
    one("info before connect", b"INFO {}\r\n"),
    one("unknown operation", PLAIN, b"BOGUS\r\n"),
    one("unknown operation before connect", b"BOGUS\r\n"),
    one("empty line", PLAIN, b"\r\n"),
    one("empty line LF only", PLAIN, b"\n"),
    one("blank before an operation", PLAIN, b" PING\r\n"),
    one("tab before an operation", PLAIN, b"\tPING\r\n"),
    one("NUL byte", PLAIN, b"\0"),
    one("0xff byte", PLAIN, b"\xff\xfe\r\n"),
    one("http request", b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"),
    one("tls client hello", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"),
    one("digits", PLAIN, b"123\r\n"),
    one("msg from a client", PLAIN, b"MSG foo 1 2\r\nhi\r\n"),
    one("hmsg from a client", PLAIN, b"HMSG foo 1 12 14\r\nNATS/1.0\r\n\r\nhi\r\n"),
    one("rmsg from a client", PLAIN, b"RMSG $G foo 2\r\nhi\r\n"),
    one("lmsg from a client", PLAIN, b"LMSG foo 2\r\nhi\r\n"),
    one("rs+ from a client", PLAIN, b"RS+ $G foo\r\n"),
    one("rs- from a client", PLAIN, b"RS- $G foo\r\n"),
    one("ls+ from a client", PLAIN, b"LS+ foo\r\n"),
    one("ls- from a client", PLAIN, b"LS- foo\r\n"),
    one("a+ from a client", PLAIN, b"A+ foo\r\n"),
    one("a- from a client", PLAIN, b"A- foo\r\n"),
    one("rs+ lower case", PLAIN, b"rs+ $G foo\r\n"),
]

# An operation cut short or misspelt at each letter: which prefix is still hopeful is visible in the answer.
PREFIXES = [
    b"P",
    b"PU",
    b"PI",
    b"PIN",
    b"PO",
    b"PON",
    b"S",
    b"SU",
    b"U",
    b"UN",
    b"UNS",
    b"UNSU",
    b"H",
    b"HP",
    b"HPU",
    b"C",
    b"CO",
    b"CON",
    b"CONN",
    b"CONNE",
    b"CONNEC",
    b"I",
    b"IN",
    b"INF",
    b"+O",
    b"-E",
    b"-ER",
]
SCRIPTS += [
    one(f"operation cut to {prefix.decode()} then a blank", PLAIN, prefix + b" \r\n", whole_only=True)
    for prefix in PREFIXES
]
SCRIPTS += [
    one(f"operation cut to {prefix.decode()} then X", PLAIN, prefix + b"X", whole_only=True)
    for prefix in PREFIXES
]
# Without an argument the operation must be followed by a blank or a tab, else it is not recognised.
SCRIPTS += [
    one(f"{name.decode()} with nothing behind it", PLAIN, name + b"\r\n")
    for name in (b"PUB", b"HPUB", b"SUB", b"UNSUB", b"CONNECT")
]
SCRIPTS += [
    one(f"{name.decode()} with a blank behind it", PLAIN, name + b" \r\n")
    for name in (b"PUB", b"HPUB", b"SUB", b"UNSUB", b"CONNECT")
]
SCRIPTS += [
    one(f"{name.decode()} with letters attached", PLAIN, name + b"X foo 1\r\n")
    for name in (b"PUB", b"HPUB", b"SUB", b"UNSUB", b"CONNECT")
]
SCRIPTS += [
    one("pub lower case", QUIET, b"SUB foo 1\r\n", b"pub foo 2\r\nhi\r\n"),
    one("pub mixed case", QUIET, b"SUB foo 1\r\n", b"pUb foo 2\r\nhi\r\n"),
    one("hpub lower case", QUIET, b"SUB foo 1\r\n", b"hpub foo 12 14\r\nNATS/1.0\r\n\r\nhi\r\n"),
    one("hpub mixed case", QUIET, b"SUB foo 1\r\n", b"HpUb foo 12 14\r\nNATS/1.0\r\n\r\nhi\r\n"),
    one("sub lower case", QUIET, b"sub foo 1\r\n", b"PUB foo 2\r\nhi\r\n"),
    one("unsub lower case", QUIET, b"SUB foo 1\r\nunsub 1\r\n", b"PUB foo 2\r\nhi\r\n"),
    one("connect lower case", b'connect {"verbose":true}\r\n'),
    one("connect mixed case", b'cOnNeCt {"verbose":true}\r\n'),
    one("tab between operation and arguments", QUIET, b"SUB\tfoo\t1\r\n", b"PUB\tfoo\t2\r\nhi\r\n"),
    one("several blanks between arguments", QUIET, b"SUB   foo    1\r\n", b"PUB   foo    2\r\nhi\r\n"),
    one("blanks and tabs mixed", QUIET, b"SUB \t foo\t \t1\r\n", b"PUB\t  foo \t 2\r\nhi\r\n"),
    one("blanks behind the arguments", QUIET, b"SUB foo 1   \r\n", b"PUB foo 2   \r\nhi\r\n"),
    one("tabs behind the arguments", QUIET, b"SUB foo 1\t\t\r\n", b"PUB foo 2\t\r\nhi\r\n"),
    one("blanks with reply", QUIET, b"SUB foo 1\r\n", b"PUB  foo   bar   2  \r\nhi\r\n"),
    one("blanks in hpub", QUIET, b"SUB foo 1\r\n", b"HPUB  foo   bar   12\t 14 \r\nNATS/1.0\r\n\r\nhi\r\n"),
    one(
        "blanks in unsub",
        QUIET,
        b"SUB foo 1\r\n",
        b"UNSUB \t 1 \t 1 \r\n",
        b"PUB foo 1\r\na\r\nPUB foo 1\r\nb\r\n",
    ),
    one("LF only on every line", b'CONNECT {"verbose":true}\nSUB foo 1\nUNSUB 2\nPING\n'),
    one("LF only before a payload", QUIET, b"SUB foo 1\n", b"PUB foo 2\nhi\r\n"),
    one("LF only after a payload", QUIET, b"SUB foo 1\n", b"PUB foo 2\nhi\n"),
    one("CR only after a payload", QUIET, b"SUB foo 1\r\n", b"PUB foo 2\r\nhi\rX"),
    one("form feed is not a blank", QUIET, b"SUB\x0cfoo 1\r\n"),
    one("vertical tab is not a blank", QUIET, b"PUB\x0bfoo 0\r\n\r\n"),
    one(
        "connect then everything in one packet",
        QUIET + b"SUB foo 1\r\nPUB foo 2\r\nhi\r\nUNSUB 1\r\nPUB foo 2\r\nno\r\nPING\r\n",
    ),
    one(
        "everything before connect in one packet",
        b"SUB foo 1\r\nPUB foo 2\r\nhi\r\nPING\r\n" + QUIET + b"PUB foo 2\r\nho\r\n",
    ),
    one("an error ends the packet", PLAIN, b"SUB foo 1\r\nPUB foo 1\r\na\r\nBOGUS\r\nPUB foo 1\r\nb\r\n"),
    one(
        "deliveries before the error are kept",
        PLAIN,
        b"SUB foo 1\r\n" + b"PUB foo 1\r\na\r\n" * 50 + b"PUB foo\r\n",
    ),
]
# Behind many blanks the operation is forgotten and the argument awaited; a connection that moves to the
# worker of its first subject must take that along. Several subjects, so that some of them live elsewhere.
SCRIPTS += [
    one(
        f"two hundred blanks before the first subject {subject.decode()}",
        PLAIN + b"SUB" + b" " * 200 + subject + b" 1\r\nPUB" + b"\t" * 200 + subject + b" 2\r\nhi\r\n",
        whole_only=True,
    )
    for subject in (b"foo", b"bar", b"baz", b"a.b", b"a.b.c")
]
