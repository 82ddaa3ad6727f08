"""The locust scenarios must report what a bad broker does, and run clean against a good one.

Locust patches the sockets of its process, so it runs in a process of its own. The bad broker is a thread of
the test: it relays from one publisher to one subscriber, but doubles or alters every tenth message.
"""

import importlib.util
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from loadtests.servers import ServerError, Store, nats_server_spec

pytestmark = pytest.mark.skipif(importlib.util.find_spec("locust") is None, reason="locust is not installed")
root = Path(__file__).parents[2]


class BadBroker:
    """Speaks enough of the protocol for publish_subscribe.py; `harm` changes each tenth MSG."""

    def __init__(self, harm):
        self.harm = harm
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.subscribers: dict[bytes, tuple[socket.socket, bytes]] = {}
        self.count = 0
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self.serve, args=(connection,), daemon=True).start()

    def serve(self, connection):
        connection.sendall(b"INFO {}\r\n")
        with connection, connection.makefile("rb") as lines:
            try:
                for line in lines:
                    self.execute(connection, lines, line.split())
            except OSError:
                pass

    def execute(self, connection, lines, words):
        if words[0] == b"PING":
            connection.sendall(b"PONG\r\nINFO {}\r\n")
        elif words[0] == b"SUB":
            self.subscribers[words[1]] = (connection, words[2])
        elif words[0] == b"PUB":
            payload = lines.read(int(words[2]) + 2)
            subscriber, sid = self.subscribers[words[1]]
            message = b"MSG %s %s %s\r\n%s" % (words[1], sid, words[2], payload)
            self.count += 1
            subscriber.sendall(self.harm(message) if self.count % 10 == 0 else message)


def run_locust(scenario: str, port: int, *arguments: str) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "locust", "-f", f"loadtests/locustfiles/{scenario}.py", "--headless"]
    command += ["-u", "2", "-r", "2", "-t", "2s", "--host", f"nats://127.0.0.1:{port}", "--only-summary"]
    return subprocess.run([*command, *arguments], cwd=root, capture_output=True, text=True, timeout=60)


@pytest.mark.parametrize(
    ("harm", "complaint"),
    [
        (lambda message: message[:-3] + b"?\r\n", "other content or order"),
        (lambda message: message + message, "a second copy"),
    ],
)
def test_harm_is_reported(harm, complaint):
    broker = BadBroker(harm)
    done = run_locust("publish_subscribe", broker.port)
    broker.listener.close()
    assert complaint in done.stdout + done.stderr
    assert done.returncode != 0


class BadStream(BadBroker):
    """Acknowledges publishes of js_publish.py, and gives back the last payload; `harm` changes answers."""

    def __init__(self, harm):
        self.last = b""
        self.sids = {}
        super().__init__(harm)

    def execute(self, connection, lines, words):
        if words[0] == b"SUB":
            self.sids[words[1].removesuffix(b".*")] = words[2]
        elif words[0] == b"PUB" and len(words) == 4:
            payload = lines.read(int(words[3]) + 2)[:-2]
            subject, reply = words[1], words[2]
            headers = b""
            if subject.startswith(b"$JS.API.STREAM.CREATE"):
                answer = b"{}"
            elif subject.startswith(b"$JS.API.DIRECT.GET"):
                headers = b"NATS/1.0\r\nNats-Sequence: %d\r\n\r\n" % self.count
                answer = self.last
            else:
                self.count += 1
                self.last = payload
                answer = b'{"stream":"load_js_publish","seq":%d}' % self.count
            self.answer(connection, reply, headers, answer)
        else:
            super().execute(connection, lines, words)

    def answer(self, connection, reply, headers, answer):
        sid = self.sids[reply.rpartition(b".")[0]]
        sizes = b"%d " % len(headers) if headers else b""
        kind = b"HMSG" if headers else b"MSG"
        size = len(headers) + len(answer)
        message = b"%s %s %s %s%d\r\n%s%s\r\n" % (kind, reply, sid, sizes, size, headers, answer)
        connection.sendall(self.harm(message))


def double_answer(message):
    return message + message if b'"seq":17}' in message else message


def lost_message(message):
    """Acknowledged, and not stored: an older one is read back."""
    return message.replace(b" 15 ", b" 14 ") if message.startswith(b"HMSG") else message


@pytest.mark.parametrize(
    ("harm", "complaint"),
    [
        (double_answer, "a second answer"),
        (lambda message: message.replace(b'"seq":18}', b'"seq":17}'), "a sequence that does not rise"),
        (lambda message: message.replace(b'"stream":"load', b'"stream":"l0ad'), "a foreign answer"),
        (lost_message, "acknowledged, and not the last message of its subject"),
    ],
)
def test_harm_to_acknowledgements_is_reported(harm, complaint):
    broker = BadStream(harm)
    done = run_locust("js_publish", broker.port, "-u", "1")
    broker.listener.close()
    assert complaint in done.stdout + done.stderr
    assert done.returncode != 0


def test_stream_scenario_runs_clean_against_nats_server(tmp_path):
    try:
        spec = nats_server_spec()
    except ServerError as error:
        pytest.skip(str(error))
    with spec.running(store=Store(tmp_path / "store")) as server:
        done = run_locust("js_publish", server.port, "--processes", "2")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "0(0.00%)" in done.stdout + done.stderr


@pytest.mark.parametrize(
    "scenario", ["publish_subscribe", "fan_out", "request_reply", "queue_workers", "connection_churn"]
)
def test_scenarios_run_clean_against_nats_server(scenario):
    try:
        spec = nats_server_spec()
    except ServerError as error:
        pytest.skip(str(error))
    with spec.running() as server:
        done = run_locust(scenario, server.port, "--processes", "2")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "0(0.00%)" in done.stdout + done.stderr
