"""Streams without a broker for tests: made in one line, with the limits of a completed configuration."""

from shardbroker.jetstream.stream_config import StreamConfig
from shardbroker.jetstream.stream_face import StreamFace

SECOND = 1_000_000_000  # ns
NOW = 1_790_000_000 * SECOND  # ns; a time in 2026

_UNLIMITED = dict.fromkeys(
    ("max_msgs", "max_bytes", "max_msgs_per_subject", "max_msg_size", "max_consumers"), -1
)


def face_of(name: str, *, shared: object = None, **config: object) -> StreamFace:
    """A memory stream with the subjects ``<name>.>``."""
    given = {
        "name": name,
        "subjects": [f"{name}.>"],
        "storage": "memory",
        "duplicate_window": 120 * SECOND,
        **_UNLIMITED,
        **config,
    }
    return StreamFace(StreamConfig(**given), shared=shared)


def payload_of(answers: list[tuple[bytes, bytes]]) -> bytes:
    """The payload of the last answer."""
    return answers[-1][1]
