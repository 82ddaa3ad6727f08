"""Messages of a stream are published again, under another subject, after they were stored.

What subscribers get has the headers of the message, and behind them where it stands in the stream:

    Nats-Stream, Nats-Subject, Nats-Sequence, Nats-Time-Stamp
    Nats-Last-Sequence    of the message before it on the same subject, 0 for none; so a gap is seen
    Nats-Msg-Size         bytes of the payload, if it is left out (``headers_only``)

Source: spec page 03 section 4; order and values as nats-server 2.15.1 writes them.
"""

from collections.abc import Callable

from shardbroker.jetstream import header_block
from shardbroker.jetstream.go_time import format_time
from shardbroker.subjects.transform import Transform

Send = Callable[[bytes, bytes, bytes], None]  # subject, header block, payload


class Republish:
    """Callable as ``Stream.republish``. ``config`` has a republish section; ``send`` publishes."""

    def __init__(self, config, send: Send) -> None:
        self._stream_name = config.name.encode()
        self._transform = Transform(config.republish.src, config.republish.dest)
        self._headers_only = config.republish.headers_only
        self._send = send

    def __call__(
        self,
        subject: bytes,
        block: bytes,
        payload: bytes,
        sequence: int,
        time_ns: int,
        previous_sequence: int,
    ) -> None:
        """A message is stored. Subjects that the source pattern does not match are passed over."""
        target = self._transform.apply(subject)
        if target is None:
            return
        added = [
            (b"Nats-Stream", self._stream_name),
            (b"Nats-Subject", subject),
            (b"Nats-Sequence", b"%d" % sequence),
            (b"Nats-Time-Stamp", format_time(time_ns).encode()),
            (b"Nats-Last-Sequence", b"%d" % previous_sequence),
        ]
        if self._headers_only:
            added.append((b"Nats-Msg-Size", b"%d" % len(payload)))
            payload = b""
        self._send(target, header_block.append(block, added), payload)
