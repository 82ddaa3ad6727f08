"""Makes and restores backups over the API, as `nats stream backup` and `restore` do; and a server for it."""

import json
from collections import deque

from tests.conformance.servers import Reference
from tests.support.raw_client import Message, RawClient

INBOX = "_INBOX.backup"
ARCHIVE = "_INBOX.archive"


class JetStreamReference(Reference):
    """nats-server with JetStream, its files in the server's own directory."""

    def command(self) -> list[str]:
        return [*super().command(), "-js", "-sd", str(self.directory / "jetstream")]


class BackupClient:
    """One connection that makes requests, one at a time, and plays the receiver of a backup."""

    def __init__(self, port: int) -> None:
        self.client = RawClient(port)
        self.client.subscribe(f"{INBOX}.>", 1)
        # A subject of its own: without interest in just this subject nats-server waits for two seconds.
        self.client.subscribe(ARCHIVE, 2)
        self._count = 0
        self._kept: dict[str, deque[Message]] = {INBOX: deque(), ARCHIVE: deque()}

    def __enter__(self) -> "BackupClient":
        return self

    def __exit__(self, *exception: object) -> None:
        self.client.close()

    def _next(self, subscription: str) -> Message:
        """The next message of one of the subscriptions: an archive may begin before the answer comes."""
        while not self._kept[subscription]:
            (message,) = self.client.read_messages(1)
            self._kept[ARCHIVE if message.sid == b"2" else INBOX].append(message)
        return self._kept[subscription].popleft()

    def request(self, subject: str, payload: bytes = b"", headers: bytes = b"") -> Message:
        """The first answer to a request; `headers` is a whole header block."""
        self._count += 1
        inbox = f"{INBOX}.{self._count}"
        if headers:
            sizes = f"{len(headers)} {len(headers) + len(payload)}"
            self.client.send(f"HPUB {subject} {inbox} {sizes}\r\n".encode() + headers + payload + b"\r\n")
        else:
            self.client.publish(subject, payload, inbox)
        answer = self._next(INBOX)
        assert answer.subject == inbox.encode(), answer.subject
        return answer

    def api(self, subject: str, **request: object) -> dict:
        """The answer of the JetStream API to a request that must not fail."""
        answer = json.loads(self.request(f"$JS.API.{subject}", json.dumps(request).encode()).payload)
        assert "error" not in answer, answer
        return answer

    def pull(self, stream: str, consumer: str) -> Message:
        """The next message of a consumer."""
        self.client.publish(f"$JS.API.CONSUMER.MSG.NEXT.{stream}.{consumer}", b"", f"{INBOX}.pull")
        message = self._next(INBOX)
        assert message.reply.startswith(b"$JS.ACK."), message.headers
        return message

    def backup(self, stream: str, **request: object) -> tuple[dict, bytes]:
        """The answer with config and state, and the archive."""
        answer = self.api(f"STREAM.SNAPSHOT.{stream}", deliver_subject=ARCHIVE, **request)
        archive = bytearray()
        while True:
            chunk = self._next(ARCHIVE)
            if not chunk.payload:
                assert chunk.status in (b"", b"204"), chunk
                return answer, bytes(archive)
            archive += chunk.payload
            if chunk.reply:
                self.client.publish(chunk.reply.decode())

    def restore(self, config: dict, state: dict, chunks: list[bytes]) -> dict:
        """The last answer to a restore of the archive in `chunks`: with a stream's info, or an error."""
        answer = self.api(f"STREAM.RESTORE.{config['name']}", config=config, state=state)
        for chunk in chunks:
            taken = self.request(answer["deliver_subject"], chunk)
            if taken.payload:
                return json.loads(taken.payload)
        return json.loads(self.request(answer["deliver_subject"]).payload)

    def messages(self, stream: str, last_sequence: int) -> dict[int, dict]:
        """All messages of a stream as the API gives them, by sequence."""
        found = {}
        for sequence in range(1, last_sequence + 1):
            request = json.dumps({"seq": sequence}).encode()
            answer = json.loads(self.request(f"$JS.API.STREAM.MSG.GET.{stream}", request).payload)
            if "message" in answer:
                found[sequence] = answer["message"]
        return found
