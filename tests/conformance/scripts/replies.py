"""Requests and replies: nobody answers (503), reserved reply subjects, several responders."""

from tests.conformance.script import PLAIN, QUIET, Script, one, talk

INBOX = QUIET + b"SUB _INBOX.x.* 1\r\n"
REQUEST = b"PUB service _INBOX.x.1 2\r\nhi\r\n"
VERBOSE = b'CONNECT {"verbose":true,"headers":true,"no_responders":true,"pedantic":false}\r\n'

SCRIPTS: list[Script] = [
    one("no responders", INBOX, REQUEST),
    one("no responders with empty payload", INBOX, b"PUB service _INBOX.x.1 0\r\n\r\n"),
    one("no responders with headers", INBOX, b"HPUB service _INBOX.x.1 12 14\r\nNATS/1.0\r\n\r\nhi\r\n"),
    one(
        "no responders for a long subject",
        INBOX,
        b"PUB " + b"s" * 300 + b" _INBOX.x.1 2\r\nhi\r\n",
        whole_only=True,
    ),
    one("no responders for an utf-8 subject", INBOX, "PUB Grüße.日本 _INBOX.x.1 2\r\nhi\r\n".encode()),
    one("no responders three times in one packet", INBOX, REQUEST * 3),
    one(
        "no responders in order with other deliveries",
        INBOX + b"SUB other 2\r\n",
        b"PUB other 1\r\na\r\n" + REQUEST + b"PUB other 1\r\nb\r\n",
    ),
    one("no responders verbose", VERBOSE, b"SUB _INBOX.x.* 1\r\n", REQUEST),
    one(
        "no responders pedantic",
        b'CONNECT {"verbose":false,"headers":true,"no_responders":true,"pedantic":true}\r\n',
        b"SUB _INBOX.x.* 1\r\n",
        REQUEST,
    ),
    one("no responders on a literal inbox", QUIET + b"SUB inbox 9\r\n", b"PUB service inbox 2\r\nhi\r\n"),
    one("no responders without own subscription", QUIET, REQUEST),
    one("no responders without reply", INBOX, b"PUB service 2\r\nhi\r\n"),
    one(
        "no responders not asked for",
        b'CONNECT {"verbose":false,"headers":true}\r\nSUB _INBOX.x.* 1\r\n',
        REQUEST,
    ),
    one("no responders not asked for and no headers", PLAIN + b"SUB _INBOX.x.* 1\r\n", REQUEST),
    one("no responders with two matching inboxes", INBOX + b"SUB _INBOX.> 2\r\n", b"PING\r\n"),
    one(
        "no responders with echo off",
        b'CONNECT {"verbose":false,"headers":true,"no_responders":true,"echo":false}\r\nSUB _INBOX.x.* 1\r\n',
        REQUEST,
    ),
    one(
        "no responders when only the asker listens with echo off",
        b'CONNECT {"verbose":false,"headers":true,"no_responders":true,"echo":false}\r\n',
        b"SUB _INBOX.x.* 1\r\nSUB service 2\r\n",
        REQUEST,
    ),
    one("no responders and a queue inbox", QUIET + b"SUB _INBOX.x.* g 1\r\n", REQUEST),
    one("no responders counts for unsub max", INBOX + b"UNSUB 1 2\r\n", REQUEST * 4),
    one("no responders to a wildcard subject", INBOX, b"PUB service.* _INBOX.x.1 2\r\nhi\r\n"),
    one("no responders to a subject with empty token", INBOX, b"PUB service..x _INBOX.x.1 2\r\nhi\r\n"),
    one("no responders to a refused subject", INBOX, b"PUB $NRG.x _INBOX.x.1 2\r\nhi\r\n"),
    one("no responders with the subject as reply", QUIET + b"SUB foo 1\r\n", b"PUB foo foo 2\r\nhi\r\n"),
    one(
        "no responders with wildcard reply", QUIET + b"SUB inbox.* 1\r\n", b"PUB service inbox.* 2\r\nhi\r\n"
    ),
    one("no responders with reply of empty token", QUIET + b"SUB > 1\r\n", b"PUB service a..b 2\r\nhi\r\n"),
    one("asker answers itself", INBOX + b"SUB service 2\r\n", REQUEST, b"PUB _INBOX.x.1 3\r\nyes\r\n"),
    one("no responders to JetStream without JetStream", INBOX, b"PUB $JS.API.INFO _INBOX.x.1 0\r\n\r\n"),
    one("no responders to KV without JetStream", INBOX, b"PUB $KV.b.k _INBOX.x.1 0\r\n\r\n"),
    one("no responders to services", INBOX, b"PUB $SRV.PING _INBOX.x.1 0\r\n\r\n"),
    talk(
        "no responders while somebody else listens",
        ("b", QUIET + b"SUB service 1\r\n"),
        ("a", INBOX),
        ("a", REQUEST),
    ),
    talk(
        "no responders while a wildcard listens", ("b", QUIET + b"SUB > 1\r\n"), ("a", INBOX), ("a", REQUEST)
    ),
    talk(
        "no responders while a queue listens",
        ("b", QUIET + b"SUB service g 1\r\n"),
        ("a", INBOX),
        ("a", REQUEST),
    ),
    talk(
        "no responders after the responder unsubscribed",
        ("b", QUIET + b"SUB service 1\r\n"),
        ("a", INBOX),
        ("a", REQUEST),
        ("b", b"UNSUB 1\r\n"),
        ("a", REQUEST),
    ),
    talk(
        "no responders after the queue responder unsubscribed",
        ("b", QUIET + b"SUB service g 1\r\n"),
        ("a", INBOX),
        ("a", REQUEST),
        ("b", b"UNSUB 1\r\n"),
        ("a", REQUEST),
    ),
    talk(
        "no responders after the last counted message",
        ("b", QUIET + b"SUB service 1\r\nUNSUB 1 1\r\n"),
        ("a", INBOX),
        ("a", REQUEST),
        ("a", REQUEST),
    ),
    talk(
        "no responders is told to the asker alone",
        ("b", QUIET + b"SUB _INBOX.> 1\r\n"),
        ("a", INBOX),
        ("a", REQUEST),
    ),
    talk(
        "no responders when another has the inbox",
        ("b", QUIET + b"SUB _INBOX.x.* 1\r\n"),
        ("a", QUIET),
        ("a", REQUEST),
    ),
    talk(
        "request and reply",
        ("b", QUIET + b"SUB service 1\r\n"),
        ("a", INBOX),
        ("a", REQUEST),
        ("b", b"PUB _INBOX.x.1 3\r\nyes\r\n"),
    ),
    talk(
        "request and reply with own sids",
        ("b", QUIET + b"SUB service 77\r\n"),
        ("a", QUIET + b"SUB _INBOX.x.* 88\r\n"),
        ("a", REQUEST),
        ("b", b"PUB _INBOX.x.1 3\r\nyes\r\n"),
    ),
    talk(
        "two responders",
        ("b", QUIET + b"SUB service 1\r\n"),
        ("c", QUIET + b"SUB service 1\r\n"),
        ("a", INBOX),
        ("a", REQUEST),
        ("b", b"PUB _INBOX.x.1 1\r\n1\r\n"),
        ("c", b"PUB _INBOX.x.1 1\r\n2\r\n"),
    ),
    talk(
        "reply after the asker hung up",
        ("b", QUIET + b"SUB service 1\r\n"),
        ("a", INBOX),
        ("a", REQUEST),
        ("a", b"UNSUB 1\r\n"),
        ("b", b"PUB _INBOX.x.1 3\r\nyes\r\n"),
    ),
    talk(
        "reply has a reply",
        ("b", QUIET + b"SUB service 1\r\n"),
        ("a", INBOX),
        ("a", REQUEST),
        ("b", b"PUB _INBOX.x.1 more 3\r\nyes\r\n"),
    ),
]
RESERVED = [
    b"_R_.x", b"_R_.", b"_R_", b"_R_x",
    b"_r_.x", b"$JS.ACK.x", b"$JS.ACK.", b"$JS.ACK", b"$JS.ACKx", b"$js.ack.x", b"_GR_.x", b"_GR_.",
    b"_GR_", b"$GNR.x", b"$GNR.", b"$GR.x", b"$NRG.x", b"$JS.API.x", b"$SYS.x", b"_INBOX.x.1", b"$JS.FC.x",
    b"_", b"$",
]  # fmt: skip
SCRIPTS += [
    one(f"reply {reply.decode()}", VERBOSE + b"SUB > 1\r\n", b"PUB foo " + reply + b" 2\r\nhi\r\nPING\r\n")
    for reply in RESERVED
]
SCRIPTS += [
    one(
        f"reply {reply.decode()} with headers",
        VERBOSE + b"SUB > 1\r\n",
        b"HPUB foo " + reply + b" 12 14\r\nNATS/1.0\r\n\r\nhi\r\nPING\r\n",
    )
    for reply in RESERVED[:3]
]
SCRIPTS += [
    one(
        f"reply {reply.decode()} and nobody there",
        VERBOSE,
        b"PUB foo " + reply + b" 2\r\nhi\r\n",
        whole_only=True,
    )
    for reply in (b"_R_.x", b"$JS.ACK.x", b"_GR_.x")
]
