"""A client for tests of mirrors and sources: API calls, publishes with acks, and all that a stream holds."""

import itertools
import json
from dataclasses import dataclass

from shardbroker.jetstream.header_block import get, remove_prefix
from shardbroker.shm.slot_table import stream_slot
from tests.support.broker_process import BrokerProcess, wait_until
from tests.support.raw_client import ClosedError, RawClient

_BATCH = 1000  # messages of one direct get


@dataclass(frozen=True, slots=True)
class Stored:
    """One message of a stream; ``time`` is RFC 3339."""

    sequence: int
    subject: bytes
    block: bytes  # without what a direct get adds
    payload: bytes
    time: bytes


def name_on(worker: int, workers: int, prefix: str, account: str = "$G") -> str:
    """A stream name that this worker owns."""
    for number in itertools.count():
        if stream_slot(account, f"{prefix}{number}") % workers == worker:
            return f"{prefix}{number}"
    raise AssertionError("not reached")


class MirrorClient:
    """One connection, to ours or to nats-server; ``open_client`` makes a new one when it is lost."""

    def __init__(self, open_client) -> None:
        self._open = open_client
        self._numbers = itertools.count()
        self._connect()

    @classmethod
    def of(cls, broker: BrokerProcess) -> "MirrorClient":
        return cls(broker.client)

    def _connect(self) -> None:
        self.client: RawClient = self._open()
        self.client.subscribe("_INBOX.m.*", "m")

    def _request(self, subject: str, payload: bytes, headers: bytes = b"") -> str:
        reply = f"_INBOX.m.{next(self._numbers)}"
        if headers:
            size = len(headers) + len(payload)
            line = f"HPUB {subject} {reply} {len(headers)} {size}\r\n".encode()
            self.client.send(line + headers + payload + b"\r\n")
        else:
            self.client.publish(subject, payload, reply)
        return reply

    def _answer(self, reply: str, timeout_s: float = 5.0) -> bytes:
        while True:
            message = self.client.read_messages(1, timeout_s)[0]
            if message.subject == reply.encode():
                return message.payload or message.headers

    def api(self, call: str, body: dict | None = None, timeout_s: float = 5.0) -> dict:
        """One call of the API, such as ``STREAM.INFO.S``."""
        payload = b"" if body is None else json.dumps(body).encode()
        return json.loads(self._answer(self._request(f"$JS.API.{call}", payload), timeout_s))

    def create(self, name: str, **config: object) -> dict:
        answer = self.api(f"STREAM.CREATE.{name}", {"name": name, **config})
        assert "error" not in answer, answer
        return answer

    def update(self, name: str, **config: object) -> dict:
        answer = self.api(f"STREAM.UPDATE.{name}", {"name": name, **config})
        assert "error" not in answer, answer
        return answer

    def info(self, name: str) -> dict:
        answer = self.api(f"STREAM.INFO.{name}")
        assert "error" not in answer, answer
        return answer

    def last_sequence(self, name: str) -> int:
        return self.info(name)["state"]["last_seq"]

    def publish(self, subject: str, payload: bytes = b"", **headers: str) -> dict:
        """An acknowledged publish; ``Nats_TTL="1h"`` is a header."""
        block = b""
        if headers:
            lines = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in headers.items())
            block = f"NATS/1.0\r\n{lines}\r\n".encode()
        return json.loads(self._answer(self._request(subject, payload, block)))

    def publish_many(self, subject: str, first: int, count: int) -> int:
        """Publish numbered messages at once; how many were acknowledged before the connection was lost."""
        replies = set()
        acknowledged = 0
        try:
            text = b""
            for number in range(first, first + count):
                reply = f"_INBOX.m.{next(self._numbers)}"
                payload = b"%d" % number
                text += f"PUB {subject}.{number % 10} {reply} {len(payload)}\r\n".encode() + payload + b"\r\n"
                replies.add(reply.encode())
            self.client.send(text)
            while replies:
                message = self.client.read_messages(1, 2.0)[0]
                replies.discard(message.subject)
                acknowledged += b'"seq":' in message.payload and b'"error"' not in message.payload
        except TimeoutError:
            pass
        except (ClosedError, OSError):
            wait_until(self._reconnects, 10.0, "a new connection")
        return acknowledged

    def _reconnects(self) -> bool:
        try:
            self._connect()
        except (OSError, TimeoutError):
            return False
        return True

    def contents(self, name: str) -> list[Stored]:
        """All messages of a stream with allow_direct, in order."""
        found: list[Stored] = []
        start = 1
        while True:
            wish = json.dumps({"seq": start, "batch": _BATCH}).encode()
            reply = self._request(f"$JS.API.DIRECT.GET.{name}", wish).encode()
            while True:
                message = self.client.read_messages(1, 5.0)[0]
                if message.subject != reply:
                    continue
                if message.status in (b"204", b"404"):
                    break
                block = message.headers
                found.append(
                    Stored(
                        int(get(block, b"Nats-Sequence")),
                        get(block, b"Nats-Subject"),
                        without_ours(block),
                        message.payload,
                        get(block, b"Nats-Time-Stamp"),
                    )
                )
            if message.status == b"404" or get(message.headers, b"Nats-Num-Pending") == b"0":
                return found
            start = found[-1].sequence + 1


def without_ours(block: bytes) -> bytes:
    """The header block as it is stored; b"" for none."""
    head, found, _ = block.partition(b"\r\nNats-Stream: ")
    if not found:
        return remove_prefix(block, b"Nats-Stream:")
    return b"" if head == b"NATS/1.0" else head + b"\r\n\r\n"
