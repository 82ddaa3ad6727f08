"""Fills streams before a measurement: as many messages as wanted, spread over streams and subjects."""

from loadtests.compare import wire
from loadtests.compare.stream_api import create_streams, open_publisher, stream_subject
from loadtests.compare.stream_publish import window_default
from loadtests.compare.windowed import Ring, pubacks, pump
from loadtests.servers import RunningServer

slice_records = 50_000  # made and sent at a time


def fill(
    server: RunningServer,
    messages: int,
    *,
    stream_count: int = 1,
    subject_count: int = 1,
    payload_size: int = 128,
    storage: str = "file",
) -> bytes:
    """Create the streams and publish; returns the payload that all messages have.

    Message i goes to stream i modulo `stream_count`; a stream's subjects take turns.
    """
    create_streams(server, stream_count, storage=storage)
    payload = (b"0123456789abcdef" * (payload_size // 16 + 1))[:payload_size]
    connection, inbox = open_publisher(server.port)
    with connection:
        _publish(connection, inbox, payload, messages, stream_count, subject_count)
    return payload


def _publish(connection, inbox: bytes, payload: bytes, messages: int, streams: int, subjects: int) -> None:
    for first in range(0, messages, slice_records):
        records = [
            wire.publish_record(
                stream_subject(index % streams, index // streams % subjects),
                payload,
                reply=inbox + b".%08d" % (index - first),
            )
            for index in range(first, min(messages, first + slice_records))
        ]
        ring = Ring(b"".join(records), len(records[0]))
        pump(connection, ring, len(records), window_default, pubacks())
