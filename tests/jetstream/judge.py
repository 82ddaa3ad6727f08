"""The real nats-server with JetStream, asked over a plain socket, and a stand-in for an account's catalog.

`Judge` sends one request and gives the answer's bytes. `DictAccount` is what the checks of configurations ask
about other streams, kept in a dict: the same sequence of requests goes to both.
"""

from collections.abc import Sequence

from shardbroker.jetstream.stream_config import StreamConfig
from shardbroker.jetstream.subject_trie import SubjectTrie
from tests.conformance.servers import Reference, nats_server_path
from tests.support.raw_client import RawClient


class _JetStreamServer(Reference):
    """nats-server with ``configuration`` as written and its store in the server's own directory."""

    def __init__(self, configuration: str) -> None:
        super().__init__()
        self.configuration = configuration

    def command(self) -> list[str]:
        path = self.directory / "nats.conf"
        path.write_text(self.configuration)
        store = ["-js", "-sd", str(self.directory / "store")]
        return [nats_server_path(), "-c", str(path), "-a", "127.0.0.1", "-p", str(self.port), *store]


class Judge:
    """A running nats-server and one connection to it."""

    def __init__(self, configuration: str = "", **credentials: str) -> None:
        self.server = _JetStreamServer(configuration).start()
        self.client = RawClient(self.server.port, **credentials)
        self.client.subscribe("_INBOX.judge.*", "judge")
        self.count = 0

    def ask(self, subject: str, body: bytes = b"", headers: bytes = b"") -> bytes | None:
        """The body of the answer (of a status message: its header block); None if none came in a second."""
        self.count += 1
        reply = f"_INBOX.judge.{self.count}"
        if headers:
            size = len(headers) + len(body)
            line = f"HPUB {subject} {reply} {len(headers)} {size}\r\n".encode()
            self.client.send(line + headers + body + b"\r\n")
        else:
            self.client.publish(subject, body, reply)
        while True:
            try:
                message = self.client.read_messages(1, 1.0)[0]
            except TimeoutError:
                return None
            if message.subject == reply.encode():
                return message.payload or message.headers

    def close(self) -> None:
        """Stop the server and delete its files."""
        self.client.close()
        self.server.remove()


class DictAccount:
    """The other streams of an account: an `AccountView`."""

    def __init__(self) -> None:
        self.configs: dict[str, StreamConfig] = {}
        self.subjects = SubjectTrie()

    def config_of(self, name: str) -> StreamConfig | None:
        return self.configs.get(name)

    def has_overlap(self, subjects: Sequence[str], except_name: str) -> bool:
        return any(
            owner != except_name for subject in subjects for _, owner in self.subjects.overlaps(subject)
        )

    def stream_count(self, except_name: str) -> int:
        return sum(name != except_name for name in self.configs)

    def reserved_size(self, storage: str, except_name: str) -> int:
        return sum(
            max(config.max_bytes, 0)
            for config in self.configs.values()
            if config.storage == storage and config.name != except_name
        )

    def server_reserved_size(self, storage: str) -> int:
        return self.reserved_size(storage, "")

    def put(self, config: StreamConfig) -> None:
        """A stream was made or updated."""
        self.drop(config.name)
        self.configs[config.name] = config
        for subject in config.subjects or ():
            self.subjects.add(subject, config.name)

    def drop(self, name: str) -> None:
        """A stream is gone, if it was there."""
        old = self.configs.pop(name, None)
        for subject in (old.subjects if old else None) or ():
            self.subjects.remove(subject, name)
