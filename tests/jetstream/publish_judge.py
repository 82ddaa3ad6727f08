"""The same publishes to nats-server and to a stream without a broker, and everything they can be seen by."""

import time
from collections import defaultdict

import orjson

from shardbroker.jetstream.stream_config import StreamConfig
from shardbroker.jetstream.stream_face import StreamFace
from tests.jetstream.reference_stream import ReferenceStream
from tests.support.raw_client import Message

Publish = tuple[str, str, bytes, bytes]  # subject, reply, header block, payload


def block_of(**headers: object) -> bytes:
    """A header block; ``Nats_Msg_Id="a"`` is ``Nats-Msg-Id: a``. b"" without any."""
    if not headers:
        return b""
    lines = (f"{name.replace('_', '-')}: {value}\r\n" for name, value in headers.items())
    return b"NATS/1.0\r\n" + "".join(lines).encode() + b"\r\n"


class PublishJudge(ReferenceStream):
    """Both sides of a comparison. Replies must begin with ``_R.``."""

    def __enter__(self) -> "PublishJudge":
        super().__enter__()
        self.client.subscribe("_R.>", "replies")
        self.client.subscribe("$JS.EVENT.ADVISORY.STREAM.BATCH_ABANDONED.>", "abandoned")
        self.advisories: list[tuple[str, str, str]] = []  # stream, batch, reason
        return self

    def make(self, name: str, **config: object) -> StreamFace:
        """The stream in nats-server, and the same one here, as nats-server has completed it."""
        config = {"subjects": [f"{name}.>"], "storage": "memory", **config}
        answer = self.api(f"STREAM.CREATE.{name}", name=name, **config)
        return StreamFace(StreamConfig.from_stored(orjson.dumps(answer["config"])))

    def publish_both(self, face: StreamFace, messages: list[Publish]) -> tuple[dict, dict]:
        """Send all to both; (answers of nats-server, answers here), each {reply: [payload]}."""
        for subject, reply, block, payload in messages:
            self.publish(subject, payload, block, reply)
            face.offer(subject.encode(), reply.encode(), block, payload, time.time_ns())
        ours = defaultdict(list)
        for reply, payload in face.settle(time.time_ns()):
            ours[reply].append(payload)
        # nats-server answers in its own time: wait for as many answers as there were here.
        self.client.flush()
        theirs = defaultdict(list)
        for message in self._answers(sum(map(len, ours.values()))):
            theirs[message.subject].append(message.payload)
        return theirs, ours

    def _answers(self, count: int) -> list[Message]:
        """The next ``count`` replies, and what else there is; advisories go to ``advisories``."""
        answers = []
        try:
            while len(answers) < count:
                answers += self._sorted(self.client.read_messages(1, 0.5))
        except TimeoutError:
            pass
        return answers + self._sorted(self.client.take_messages())

    def _sorted(self, messages: list[Message]) -> list[Message]:
        for message in messages:
            if not message.subject.startswith(b"_R."):
                fields = orjson.loads(message.payload)
                self.advisories.append((fields["stream"], fields["batch"], fields["reason"]))
        return [message for message in messages if message.subject.startswith(b"_R.")]

    def advisories_of(self, name: str, count: int) -> list[tuple[str, str, str]]:
        """Those of one stream. nats-server sends them in its own time: wait until there are ``count``."""
        deadline = time.monotonic() + 5
        while True:
            self._sorted(self.client.take_messages())
            found = [told for told in self.advisories if told[0] == name]
            if len(found) >= count or time.monotonic() > deadline:
                return found
            self.client.flush()

    def figures(self, name: str) -> tuple[int, int, int, int]:
        """(messages, bytes, first sequence, last sequence) in nats-server."""
        state = self.api(f"STREAM.INFO.{name}")["state"]
        return state["messages"], state["bytes"], state["first_seq"], state["last_seq"]

    def same(self, face: StreamFace, messages: list[Publish]) -> None:
        """Publish to both and compare all answers, figures and stored messages."""
        name = face.stream.name.decode()
        theirs, ours = self.publish_both(face, messages)
        for number, (_, reply, _, _) in enumerate(messages):
            key = reply.encode()
            if ours[key] != theirs[key]:
                before = messages[: number + 1][-4:]
                raise AssertionError(f"message {number} of {before}: {theirs[key]}, here {ours[key]}")
        ours_now, theirs_now = face.figures(), self.figures(name)
        deadline = time.monotonic() + 1
        while ours_now != theirs_now and time.monotonic() < deadline:
            theirs_now = self.figures(name)  # of messages without an answer it is not known when it is done
        if ours_now != theirs_now:
            raise AssertionError(f"after {messages}: {theirs_now}, here {ours_now}")
        for sequence, subject, block, payload in face.messages():
            assert (subject, block, payload) == self.stored(name, seq=sequence), sequence
