"""Protocol traces: secrets stay out of the log, and a client cannot write lines of its own into it."""

import re
from pathlib import Path

import pytest

from shardbroker.log import Log
from shardbroker.workers.trace import Tracer

CLIENT = "127.0.0.1:1 - cid:1"


class TracedLines:
    """A tracer and the lines it has written, without pid and level."""

    def __init__(self, path: Path, *, trace: bool = True) -> None:
        self.path = path
        self.log = Log(path=str(path), trace=trace, logtime=False)
        self.tracer = Tracer(self.log)

    def lines(self) -> list[str]:
        return [re.sub(r"^\[\d+\] \[TRC\] ", "", line) for line in self.path.read_text().splitlines()]

    def only_line(self) -> str:
        (line,) = self.lines()
        return line.removeprefix(f"{CLIENT} - ")


@pytest.fixture
def traced(tmp_path: Path):
    lines = TracedLines(tmp_path / "log")
    yield lines
    lines.log.close()


@pytest.mark.parametrize("name", ["pass", "auth_token", "jwt", "sig", "nkey", "PASS", "Auth_Token"])
@pytest.mark.parametrize("form", ['"%s":"%s"', '"%s" : "%s"', '"%s":\t"%s"'])
@pytest.mark.parametrize("secret", ["s3cret", "", "a b", "x\\\\", 'q\\"s3cret', "}s3cret{", "é"])
def test_secrets(traced: TracedLines, name: str, form: str, secret: str) -> None:
    """Whatever stands around a secret, and whatever stands in it."""
    text = '{"verbose":false,%s,"name":"me"}' % (form % (name, secret))
    traced.tracer.incoming(CLIENT, b"CONNECT " + text.encode())
    line = traced.only_line()
    assert "s3cret" not in line and "[REDACTED]" in line
    assert line.startswith('<<- [CONNECT {"verbose":false,') and line.endswith(',"name":"me"}]')


def test_all_secrets_of_one_connect(traced: TracedLines) -> None:
    traced.tracer.incoming(CLIENT, b'CONNECT {"pass":"s1","user":"u","jwt":"s2","sig":"s3","pass":"s4"}')
    assert traced.only_line() == (
        '<<- [CONNECT {"pass":"[REDACTED]","user":"u","jwt":"[REDACTED]","sig":"[REDACTED]",'
        '"pass":"[REDACTED]"}]'
    )


def test_what_is_no_secret(traced: TracedLines) -> None:
    text = b'CONNECT {"user":"u","name":"pass","passport":"p","lang":"jwt"}'
    traced.tracer.incoming(CLIENT, text)
    assert traced.only_line() == f"<<- [{text.decode()}]"


@pytest.mark.parametrize(
    ("raw", "shown"),
    [
        (b"plain text", "plain text"),
        (b"one\r\ntwo\n", r"one\r\ntwo\n"),
        (b"\x00\x1b[31m\x7f", r"\x00\x1b[31m\x7f"),
        (b"\xff\xfe", r"\xff\xfe"),
        ("é☃".encode(), "é☃"),
        # Line breaks and direction marks of Unicode are not printed as such either.
        ("\u2028\u202e\x85".encode(), r"\u2028\u202e\x85"),
        (b"", ""),
    ],
)
def test_control_characters(traced: TracedLines, raw: bytes, shown: str) -> None:
    traced.tracer.payload(CLIENT, raw)
    assert traced.only_line() == f'<<- MSG_PAYLOAD: ["{shown}"]'


def test_no_lines_of_the_client_s_own(traced: TracedLines) -> None:
    """A forged line stays inside the line it came in, from all three sides."""
    forged = b"a\n[1] [INF] Server is ready\r\nb"
    traced.tracer.incoming(CLIENT, forged)
    traced.tracer.payload(CLIENT, forged)
    traced.tracer.outgoing(CLIENT, forged)
    assert len(traced.lines()) == 3


@pytest.mark.parametrize(("size", "cut"), [(1023, False), (1024, False), (1025, True), (1 << 20, True)])
def test_long_payloads_are_cut(traced: TracedLines, size: int, cut: bool) -> None:
    traced.tracer.payload(CLIENT, b"x" * size)
    text = "x" * min(size, 1024) + ("..." if cut else "")
    assert traced.only_line() == f'<<- MSG_PAYLOAD: ["{text}"]'


def test_a_cut_character_is_escaped(traced: TracedLines) -> None:
    traced.tracer.payload(CLIENT, b"x" * 1023 + "é".encode())
    assert traced.only_line().endswith(r'x\xc3..."]')


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (b"+OK\r\n", "OK"),
        (b"PONG\r\n", "PONG"),
        (b"MSG a.b 1 reply 5\r\n", "MSG a.b 1 reply 5"),
    ],
)
def test_outgoing(traced: TracedLines, text: bytes, shown: str) -> None:
    traced.tracer.outgoing(CLIENT, text)
    assert traced.only_line() == f"->> [{shown}]"


def test_a_log_without_traces(tmp_path: Path) -> None:
    quiet = TracedLines(tmp_path / "log", trace=False)
    quiet.tracer.incoming(CLIENT, b"PING")
    assert quiet.lines() == []
    quiet.log.close()
