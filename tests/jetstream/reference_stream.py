"""nats-server with JetStream, as a judge: make a stream, publish into it, read what it stored."""

import base64
import itertools
import json

from tests.conformance.servers import Reference, nats_server_path
from tests.support.raw_client import Message, RawClient

NO_NATS_SERVER = nats_server_path() is None
NO_NATS_SERVER_REASON = "no nats-server beside this Python, in PATH or in CONFORMANCE_NATS_SERVER"


class ReferenceStream(Reference):
    """A server of its own, with its store in its temporary directory, and one client."""

    def command(self) -> list[str]:
        return [*super().command(), "-js", "-sd", str(self.directory / "store")]

    def __enter__(self) -> "ReferenceStream":
        self.start()
        self.client = RawClient(self.port)
        self._inboxes = itertools.count(1)
        return self

    def __exit__(self, *exception: object) -> None:
        self.client.close()
        self.remove()

    def ask(self, subject: str, body: bytes = b"", block: bytes = b"") -> Message:
        """One request and its answer; messages of other subscriptions stay in ``client.messages``."""
        sid = next(self._inboxes)
        inbox = f"_INBOX.judge.{sid}"
        self.client.subscribe(inbox, f"judge{sid}")
        self.publish(subject, body, block, inbox)
        others = []
        while True:
            (message,) = self.client.read_messages(1)
            if message.subject == inbox.encode():
                break
            others.append(message)
        self.client.messages[:0] = others
        self.client.unsubscribe(f"judge{sid}")
        return message

    def publish(self, subject: str, body: bytes = b"", block: bytes = b"", reply: str = "") -> None:
        """HPUB if there is a header block, else PUB."""
        if block:
            sizes = f"{len(block)} {len(block) + len(body)}"
            head = f"HPUB {subject} {reply} {sizes}\r\n".encode()
        else:
            head = f"PUB {subject} {reply} {len(body)}\r\n".encode()
        self.client.send(head + block + body + b"\r\n")

    def api(self, call: str, /, **fields: object) -> dict:
        """A request to ``$JS.API.<call>``; an error is an AssertionError."""
        answer = json.loads(
            self.ask(f"$JS.API.{call}", json.dumps(fields).encode() if fields else b"").payload
        )
        assert "error" not in answer, answer
        return answer

    def create(self, name: str, **config: object) -> None:
        """A memory stream with the subjects ``<name>.>`` unless told otherwise."""
        config = {"subjects": [f"{name}.>"], "storage": "memory", **config}
        self.api(f"STREAM.CREATE.{name}", name=name, **config)

    def store(self, subject: str, body: bytes = b"", block: bytes = b"") -> dict:
        """Publish and give the PubAck, or ``{"err_code": n}``."""
        answer = json.loads(self.ask(subject, body, block).payload)
        return {"err_code": answer["error"]["err_code"]} if "error" in answer else answer

    def stored(self, stream: str, **which: object) -> tuple[bytes, bytes, bytes]:
        """(subject, header block, payload) of one message, by ``seq`` or ``last_by_subj``."""
        message = self.api(f"STREAM.MSG.GET.{stream}", **which)["message"]
        block = base64.b64decode(message.get("hdrs", ""))
        return message["subject"].encode(), block, base64.b64decode(message.get("data", ""))
