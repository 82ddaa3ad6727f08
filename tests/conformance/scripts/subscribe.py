"""SUB and UNSUB: arguments, subscription ids, counted unsubscription."""

from tests.conformance.script import QUIET, Script, Step, one, talk

VERBOSE = b'CONNECT {"verbose":true,"pedantic":false,"headers":true}\r\n'
TWO = b"PUB foo 1\r\na\r\nPUB foo 1\r\nb\r\n"
FIVE = b"".join(b"PUB foo 1\r\n%d\r\n" % n for n in range(5))

SCRIPTS: list[Script] = [
    one(f"sub line: {line.decode()}", VERBOSE, line + b"\r\n", TWO)
    for line in (
        b"SUB foo",
        b"SUB foo 1",
        b"SUB foo q 1",
        b"SUB foo q 1 2",
        b"SUB foo q r s t",
        b"SUB foo 0",
        b"SUB foo -1",
        b"SUB foo x",
        b"SUB foo 1.5",
        b"SUB foo 99999999999999999999999999",
        b"SUB foo a-long-sid-with-letters-and-0123456789",
        b"SUB foo $1",
        b"SUB foo 'x'",
        b"SUB foo *",
        b"SUB foo >",
        b"SUB foo . 1",
        b"SUB foo q* 1",
        b"SUB foo > 1",
        b"SUB foo q.r.s 1",
        b"SUB foo _sys_ 1",
        b"SUB foo _SYS_ 1",
        b"SUB foo _sys_x 1",
        b"SUB foo _sys_. 1",
        b"SUB foo _sys_.x 1",
    )
]
# Subjects a client may ask for, valid or not; then messages that would tell.
SUBJECTS = [
    b"foo",
    b"*", b">", b"foo.*", b"foo.>", b"*.*", b"*.>", b"foo.*.baz", b"foo..bar", b".foo", b"foo.", b".",
    b"..", b"foo.>.bar", b">.foo", b">.>", b"foo.>.", b".>", b"*.", b".*", b"foo*", b"*foo", b"fo*o",
    b"foo>", b">foo", b"f>o", b"foo.*bar", b"foo.bar*", b"foo.>bar", b"**", b">>", b"*>", b"a.**",
    b"$SYS.>", b"$SYS.x", b"$JS.API.>", b"$NRG.>", b"$GNR.x", b"_GR_.>", b"_GR_.x", b"$GR.x", b"_R_.x",
    b"_INBOX.x.*", b"\xff\xfe", "日本.*".encode(), b"foo\x00", b"foo\x0cbar", b"foo\x0bbar", b"\x7f",
]  # fmt: skip
SCRIPTS += [
    one(
        f"sub to {subject.decode('latin-1').encode('unicode_escape').decode()}",
        VERBOSE,
        b"SUB " + subject + b" 1\r\n",
        b"PUB foo 1\r\na\r\nPUB foo.bar 1\r\nb\r\nPUB " + subject + b" 1\r\nc\r\n",
    )
    for subject in SUBJECTS
]
SCRIPTS += [
    one(
        f"queue sub to {subject.decode('latin-1').encode('unicode_escape').decode()}",
        VERBOSE,
        b"SUB " + subject + b" g 1\r\n",
        b"PUB foo 1\r\na\r\nPUB foo.bar 1\r\nb\r\n",
        whole_only=True,
    )
    for subject in SUBJECTS[:24]
]
SCRIPTS += [
    one(
        "deep subject",
        VERBOSE,
        b"SUB " + b".".join([b"t"] * 200) + b" 1\r\n",
        b"PUB " + b".".join([b"t"] * 200) + b" 1\r\na\r\n",
        whole_only=True,
    ),
    one(
        "deep wildcard",
        VERBOSE,
        b"SUB " + b".".join([b"*"] * 40) + b" 1\r\n",
        b"PUB " + b".".join([b"t"] * 40) + b" 1\r\na\r\n" + b"PUB " + b".".join([b"t"] * 41) + b" 1\r\nb\r\n",
        whole_only=True,
    ),
    one(
        "long token",
        VERBOSE,
        b"SUB " + b"x" * 2000 + b" 1\r\n",
        b"PUB " + b"x" * 2000 + b" 1\r\na\r\n",
        whole_only=True,
    ),
]
SCRIPTS += [
    one(f"unsub line: {line.decode()}", VERBOSE, b"SUB foo 1\r\n", line + b"\r\n", FIVE)
    for line in (
        b"UNSUB 1",
        b"UNSUB 2",
        b"UNSUB 1 0",
        b"UNSUB 1 1",
        b"UNSUB 1 3",
        b"UNSUB 1 99",
        b"UNSUB 1 -1",
        b"UNSUB 1 x",
        b"UNSUB 1 1x",
        b"UNSUB 1 +1",
        b"UNSUB 1 03",
        b"UNSUB 1 0000000000003",
        b"UNSUB 1 99999999999999999999",
        b"UNSUB 1 1 1",
        b"UNSUB 1 a b c",
        b"UNSUB foo",
        b"UNSUB foo 1",
        b"UNSUB 01",
    )
]
SCRIPTS += [
    one("two subscriptions with one subject", QUIET, b"SUB foo 1\r\nSUB foo 2\r\n", TWO),
    one(
        "three patterns match",
        QUIET,
        b"SUB foo.* 1\r\nSUB foo.> 2\r\nSUB foo.bar 3\r\nSUB > 4\r\n",
        b"PUB foo.bar 1\r\na\r\n",
        whole_only=True,
    ),
    one("same sid twice with one subject", VERBOSE, b"SUB foo 1\r\nSUB foo 1\r\n", TWO),
    one(
        "same sid twice with another subject",
        VERBOSE,
        b"SUB foo 1\r\nSUB bar 1\r\n",
        b"PUB foo 1\r\na\r\nPUB bar 1\r\nb\r\n",
    ),
    one("same sid twice with a queue", VERBOSE, b"SUB foo 1\r\nSUB foo g 1\r\n", TWO),
    one("same sid twice with an invalid subject", VERBOSE, b"SUB foo 1\r\nSUB foo..bar 1\r\n", TWO),
    one("invalid subject leaves the sid free", VERBOSE, b"SUB foo..bar 1\r\nSUB foo 1\r\n", TWO),
    one("sids with and without leading zero differ", QUIET, b"SUB foo 1\r\nSUB foo 01\r\n", TWO),
    one("sid in other letters differs", QUIET, b"SUB foo a\r\nSUB foo A\r\n", TWO),
    one(
        "sid reused after unsub",
        QUIET,
        b"SUB foo 1\r\nUNSUB 1\r\nSUB bar 1\r\n",
        b"PUB foo 1\r\na\r\nPUB bar 1\r\nb\r\n",
    ),
    one(
        "sid reused after its last counted message",
        QUIET,
        b"SUB foo 1\r\nUNSUB 1 1\r\n",
        TWO,
        b"SUB foo 1\r\n",
        TWO,
    ),
    one("unsub before sub", VERBOSE, b"UNSUB 1\r\nSUB foo 1\r\n", TWO),
    one("unsub twice", VERBOSE, b"SUB foo 1\r\nUNSUB 1\r\nUNSUB 1\r\n", TWO),
    one("unsub between messages", QUIET, b"SUB foo 1\r\nPUB foo 1\r\na\r\nUNSUB 1\r\nPUB foo 1\r\nb\r\n"),
    one("unsub max already reached", QUIET, b"SUB foo 1\r\n", FIVE, b"UNSUB 1 3\r\n", FIVE),
    one("unsub max just reached", QUIET, b"SUB foo 1\r\n", FIVE, b"UNSUB 1 5\r\n", FIVE),
    one("unsub max one more", QUIET, b"SUB foo 1\r\n", FIVE, b"UNSUB 1 6\r\n", FIVE),
    one("unsub max raised", QUIET, b"SUB foo 1\r\nUNSUB 1 2\r\nUNSUB 1 4\r\n", FIVE),
    one("unsub max lowered", QUIET, b"SUB foo 1\r\nUNSUB 1 4\r\nUNSUB 1 2\r\n", FIVE),
    one("unsub max then plain unsub", QUIET, b"SUB foo 1\r\nUNSUB 1 4\r\n", TWO, b"UNSUB 1\r\n", TWO),
    one("unsub max in one packet with messages", QUIET, b"SUB foo 1\r\nUNSUB 1 2\r\n" + FIVE),
    one(
        "unsub max for two subscriptions",
        QUIET,
        b"SUB foo 1\r\nSUB foo 2\r\nUNSUB 1 1\r\nUNSUB 2 3\r\n",
        FIVE,
    ),
    one(
        "unsub max with wildcard",
        QUIET,
        b"SUB > 1\r\nUNSUB 1 3\r\n",
        b"PUB a 1\r\n1\r\nPUB b.c 1\r\n2\r\n",
        FIVE,
    ),
    one("unsub max of a queue member alone", QUIET, b"SUB foo g 1\r\nUNSUB 1 2\r\n", FIVE),
    one(
        "unsub max reached ends the interest",
        QUIET,
        b"SUB foo 1\r\nSUB inbox 2\r\nUNSUB 1 1\r\n",
        b"PUB foo inbox 1\r\na\r\n",
        b"PUB foo inbox 1\r\nb\r\n",
    ),
    one(
        "unsub ends the interest",
        QUIET,
        b"SUB foo 1\r\nSUB inbox 2\r\nUNSUB 1\r\n",
        b"PUB foo inbox 1\r\na\r\n",
    ),
    talk(
        "unsub max counts messages from several publishers",
        ("b", QUIET + b"SUB foo 1\r\nUNSUB 1 3\r\n"),
        ("a", QUIET + TWO),
        ("c", QUIET + TWO),
        ("b", b"PING\r\n"),
    ),
    talk(
        "sids belong to their connection",
        ("a", QUIET + b"SUB foo 1\r\n"),
        ("b", QUIET + b"SUB bar 1\r\n"),
        ("a", b"UNSUB 1\r\n"),
        ("a", b"PUB foo 1\r\na\r\nPUB bar 1\r\nb\r\n"),
        ("b", b""),
    ),
    talk(
        "interest of a connection that hung up",
        ("b", QUIET + b"SUB foo 1\r\n"),
        Step(connection="b", hang_up=True),
        Step(connection="a", data=QUIET + b"SUB foo 1\r\n"),
        ("a", TWO),
    ),
    one(
        "five hundred subscriptions",
        QUIET + b"".join(b"SUB s.%d %d\r\n" % (n, n) for n in range(500)),
        b"".join(b"PUB s.%d 1\r\n.\r\n" % n for n in range(0, 500, 7)),
        whole_only=True,
    ),
    one(
        "subscribe and unsubscribe in turns",
        QUIET,
        (b"SUB foo 1\r\nPUB foo 1\r\na\r\nUNSUB 1\r\nPUB foo 1\r\nb\r\n") * 20,
        whole_only=True,
    ),
    one(
        "error between good subscriptions",
        VERBOSE,
        b"SUB a 1\r\nSUB b..c 2\r\nSUB d 3\r\n",
        b"PUB a 1\r\n1\r\nPUB d 1\r\n2\r\n",
    ),
]
