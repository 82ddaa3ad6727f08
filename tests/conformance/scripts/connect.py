"""CONNECT: every option, alone and combined, of the right and of the wrong JSON type; a second CONNECT."""

import itertools
import json

from tests.conformance.script import Script, Step, one, talk

# What each kind of connection is then asked to do: is +OK sent, is the subject checked, does an echo come
# back, are headers delivered, is a missing responder reported.
EXERCISE = (
    b"SUB foo 1\r\nSUB inbox 2\r\nPUB foo 2\r\nhi\r\nPUB foo.* 0\r\n\r\nPUB nobody inbox 0\r\n\r\nUNSUB 1\r\n"
)
HEADER_EXERCISE = b"SUB foo 1\r\nHPUB foo 12 14\r\nNATS/1.0\r\n\r\nhi\r\n"


def connect(**options: object) -> bytes:
    """A CONNECT line with ``options`` as JSON."""
    return b"CONNECT " + json.dumps(options, separators=(",", ":")).encode() + b"\r\n"


def text(options: dict) -> str:
    """Options as part of a script's name."""
    return " ".join(f"{key}={str(value).lower()}" for key, value in options.items())


COMBINATIONS = [
    dict(zip(("verbose", "pedantic", "echo", "headers", "no_responders"), values, strict=True))
    for values in itertools.product((False, True), repeat=5)
]

# Pedantic scripts are played whole only: when a packet ends between a PUB line and its payload, nats-server
# checks the subject again and repeats its error. That is not copied.
SCRIPTS: list[Script] = [
    one(
        f"connect {text(options)}",
        connect(**options),
        EXERCISE,
        whole_only=options["pedantic"] or index % 4 != 1,
    )
    for index, options in enumerate(COMBINATIONS)
]
SCRIPTS += [
    one(f"hpub after connect {text(options)}", connect(**options), HEADER_EXERCISE, whole_only=True)
    for options in COMBINATIONS
    if options["headers"] or not options["no_responders"]
]
SCRIPTS += [
    one(
        f"connect protocol={protocol} headers={headers}",
        connect(verbose=False, protocol=protocol, headers=headers),
        b"PING\r\n",
        b"PING\r\n",
    )
    for protocol in (-1, 0, 1, 2, 3, 99)
    for headers in (False, True)
]

# The wrong JSON type of each known key, and null, which is taken as "not given".
BOOLEANS = ("verbose", "pedantic", "tls_required", "echo", "headers", "no_responders")
TEXTS = ("user", "pass", "auth_token", "name", "lang", "version", "nkey", "sig", "jwt", "account")
WRONG_FOR_BOOLEAN = ['"true"', "1", "0", "[]", "{}", '""', "1.5"]
WRONG_FOR_TEXT = ["true", "1", "[]", "{}"]
WRONG_FOR_NUMBER = ['"1"', "true", "1.5", "[]", "{}", "1e0", "99999999999999999999", "-0"]


def typed(key: str, value: str) -> Script:
    """CONNECT with one key of the given JSON text."""
    line = f'CONNECT {{"{key}":{value}}}\r\n'.encode()
    return one(f"connect {key} as {value}", line, b"PING\r\n", whole_only=True)


SCRIPTS += [typed(key, value) for key in ("verbose", "headers") for value in WRONG_FOR_BOOLEAN]
SCRIPTS += [typed(key, '"x"') for key in BOOLEANS if key not in ("verbose", "headers")]
SCRIPTS += [typed(key, "null") for key in (*BOOLEANS, *TEXTS, "protocol")]
SCRIPTS += [typed(key, value) for key in ("name", "user") for value in WRONG_FOR_TEXT]
SCRIPTS += [typed(key, "7") for key in TEXTS if key not in ("name", "user")]
SCRIPTS += [typed("protocol", value) for value in WRONG_FOR_NUMBER]
SCRIPTS += [typed(key, '"text"') for key in TEXTS]
SCRIPTS += [typed("new_account", value) for value in ("true", "false", '"x"')]
SCRIPTS += [typed("account", '""')]
SCRIPTS += [typed(key, "{}") for key in ("import", "export")]
SCRIPTS += [typed(key, "[1]") for key in ("import", "unknown_key")]

# The JSON text as a whole.
JSON_TEXTS = {
    "empty object": b"{}",
    "object with blanks": b"{  }",
    "object with blanks around it": b"   {}   ",
    "null": b"null",
    "empty array": b"[]",
    "number": b"7",
    "string": b'"x"',
    "true": b"true",
    "nothing": b"",
    "unfinished": b'{"verbose":false',
    "bad": b"{bad",
    "single quotes": b"{'verbose':false}",
    "trailing comma": b'{"verbose":false,}',
    "text behind it": b'{"verbose":false} x',
    "two objects": b"{}{}",
    "unknown key": b'{"verbose":false,"no_such_key":{"a":[1,2,{"b":null}]}}',
    "unknown keys only": b'{"foo":1,"bar":"x"}',
    "duplicate key": b'{"verbose":true,"verbose":false}',
    "duplicate key other way": b'{"verbose":false,"verbose":true}',
    "key in capitals": b'{"VERBOSE":false}',
    "key in mixed case": b'{"Verbose":false,"Echo":false}',
    "escapes in key": b'{"\\u0076erbose":false}',
    "escapes in value": b'{"verbose":false,"name":"\\u00e9\\n\\"quoted\\""}',
    "bad escape": b'{"verbose":false,"name":"\\x41"}',
    "utf-8 name": '{"verbose":false,"name":"Grüße 日本"}'.encode(),
    "invalid utf-8 name": b'{"verbose":false,"name":"\xff\xfe"}',
    "control character in a string": b'{"verbose":false,"name":"a\tb"}',
    "lone surrogate": b'{"verbose":false,"name":"\\ud800"}',
    "tabs between tokens": b'{\t"verbose"\t:\tfalse\t}',
    "NaN": b'{"verbose":false,"protocol":NaN}',
    "leading zero": b'{"verbose":false,"protocol":01}',
    "plus sign": b'{"verbose":false,"protocol":+1}',
    "deep nesting": b'{"verbose":false,"x":' + b"[" * 200 + b"]" * 200 + b"}",
    "comment": b'{"verbose":false /* no */}',
    "byte order mark": b"\xef\xbb\xbf{}",
}
SCRIPTS += [
    one(
        f"connect json: {name}",
        b"CONNECT " + body + b"\r\n",
        b"PUB foo 0\r\n\r\nPING\r\n",
        whole_only=len(body) > 100,
    )
    for name, body in JSON_TEXTS.items()
]

SCRIPTS += [
    one("no connect at all", EXERCISE, whole_only=True),
    one("no connect and hpub", HEADER_EXERCISE),
    one("no connect and echo", b"SUB foo 1\r\nPUB foo 2\r\nhi\r\n"),
    one(
        "ping then connect then ping",
        b"PING\r\n",
        connect(verbose=False, protocol=1),
        b"PING\r\n",
        b"PING\r\n",
    ),
    one(
        "second info comes after the first ping only",
        connect(verbose=False, protocol=1),
        b"SUB foo 1\r\nPUB foo 0\r\n\r\nPING\r\nPING\r\n",
    ),
    one("protocol 0 has no second info", connect(verbose=False, protocol=0), b"PING\r\nPING\r\n"),
    one("first info", connect(verbose=False), first_info=True),
    one("first and second info", connect(verbose=False, protocol=1), b"PING\r\n", first_info=True),
    one("connect twice", connect(verbose=True), connect(verbose=True)),
    one("second connect changes verbose", connect(verbose=True), connect(verbose=False), b"SUB foo 1\r\n"),
    one(
        "second connect keeps what it does not name",
        connect(verbose=False, echo=False),
        b"CONNECT {}\r\n",
        b"SUB foo 1\r\nPUB foo 0\r\n\r\n",
    ),
    one("second connect keeps protocol", connect(verbose=False, protocol=1), b"CONNECT {}\r\n", b"PING\r\n"),
    one(
        "second connect with protocol 1",
        connect(verbose=False),
        b"PING\r\n",
        connect(verbose=False, protocol=1),
        b"PING\r\n",
        b"PING\r\n",
    ),
    one(
        "second connect after the second info",
        connect(verbose=False, protocol=1),
        b"PING\r\n",
        connect(verbose=False, protocol=1),
        b"PING\r\n",
    ),
    one(
        "second connect removes subscriptions",
        connect(verbose=False),
        b"SUB foo 1\r\n",
        connect(verbose=False),
        b"PUB foo 2\r\nhi\r\n",
    ),
    one(
        "second connect frees the sid",
        connect(verbose=False),
        b"SUB foo 1\r\n",
        connect(verbose=False),
        b"SUB bar 1\r\n",
        b"PUB foo 1\r\na\r\nPUB bar 1\r\nb\r\n",
    ),
    one(
        "second connect turns echo off",
        connect(verbose=False),
        b"SUB foo 1\r\nPUB foo 1\r\na\r\n",
        connect(verbose=False, echo=False),
        b"SUB foo 2\r\nPUB foo 1\r\nb\r\n",
    ),
    one("second connect that is bad json", connect(verbose=False), b"CONNECT {bad\r\n"),
    one("second connect with a bad protocol", connect(verbose=False), connect(protocol=5)),
    one("second connect with no responders alone", connect(verbose=False), connect(no_responders=True)),
    one(
        "subscription before connect survives it or not",
        b"SUB foo 1\r\n",
        connect(verbose=False),
        b"PUB foo 2\r\nhi\r\n",
    ),
    talk(
        "echo off between two connections",
        ("a", connect(verbose=False, echo=False)),
        ("b", connect(verbose=False)),
        ("a", b"SUB foo 1\r\n"),
        ("b", b"SUB foo 1\r\n"),
        ("a", b"PUB foo 2\r\nfa\r\n"),
        ("b", b"PUB foo 2\r\nfb\r\n"),
    ),
    talk(
        "echo off with wildcard and queue",
        ("a", connect(verbose=False, echo=False)),
        ("b", connect(verbose=False)),
        ("a", b"SUB > 1\r\nSUB foo g 2\r\n"),
        ("b", b"SUB foo g 1\r\n"),
        ("a", b"PUB foo 1\r\n1\r\n" * 5),
    ),
    talk(
        "echo off and alone in the queue",
        ("a", connect(verbose=False, echo=False)),
        ("b", connect(verbose=False)),
        ("a", b"SUB foo g 2\r\n"),
        ("a", b"PUB foo 1\r\n1\r\n"),
        ("b", b"PUB foo 1\r\n2\r\n"),
    ),
    Script("account asked for", (Step(connect(account="A")),)),
    Script(
        "user and password without authentication", (Step(connect(verbose=False, user="u", **{"pass": "p"})),)
    ),
    Script("token without authentication", (Step(connect(verbose=False, auth_token="t")),)),
    Script("nkey without authentication", (Step(connect(verbose=False, nkey="UABC", sig="xyz")),)),
    Script("jwt without authentication", (Step(connect(verbose=False, jwt="a.b.c")),)),
    Script("tls required without tls", (Step(connect(verbose=False, tls_required=True)),)),
]
