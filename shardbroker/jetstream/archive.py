"""The archive of a stream's backup, as nats-server 2.15 writes and restores it: bytes to events, and back.

An archive is one S2 stream. Decoded, it is the magic `NATSARC1` and then entries: the stream's state, each
consumer, each message in ascending order, and an end mark without which nothing was restored. It says nothing
of the storage it came from, and does not hold the stream's configuration, which travels beside it.

`ArchiveWriter` takes the parts in that order and gives chunks of the size that the receiver asked for.
`ArchiveReader` is fed chunks and gives events, one at a time: neither ever holds more than a message and a
few blocks. It also reads what nats-server 2.10 to 2.14 wrote (archive_older.py). What is read comes from
outside, so every size is compared with a limit before room is made for it, and the order is checked as
nats-server checks it. Both are pure; times are the caller's.

A consumer's record stays JSON here. Its form, and the rest of the format: docs/internals/backup_archive.md.
Source: ADR "JetStream Stream Backup and Restore V2", and backups of nats-server 2.15.1.
"""

from collections.abc import Iterator

import orjson

from shardbroker.jetstream.archive_events import (
    ZERO_TIME,
    ArchiveConsumer,
    ArchiveEnd,
    ArchiveError,
    ArchiveEvent,
    ArchiveMessage,
    ArchiveState,
    check_subject,
    consumer_name,
    decode_object,
    printable,
)
from shardbroker.jetstream.archive_older import OlderArchive, is_older
from shardbroker.storage.s2 import BLOCK_SIZE_MAX, Decoder, Encoder, S2Error

MAGIC = b"NATSARC1"
STATE_NAME = b"state.json"
CONSUMER_PREFIX = b"consumers/"
END_MARK = bytes(5)  # an entry without name, whose numbers are all 0
NAME_SIZE_MAX = 1 << 20  # nats-server's own limit for the name of an entry
# A record lists every message that waits for an acknowledgement, about 60 bytes each: room for a million.
METADATA_SIZE_MAX = 64 << 20
CHUNK_SIZE_DEFAULT = 128 << 10  # nats-server's, if the request of a backup does not name one
CHUNK_SIZE_MIN = 1 << 10
CHUNK_SIZE_MAX = 1 << 20
U64_END = 1 << 64
HEADER_FIELDS = 5  # length of name, time, sequence, size of headers, size of payload
MAGIC_JUDGED_SIZE = 512  # so many bytes tell an older archive from what is none


class ArchiveWriter:
    """Writes one archive. Call `consumer` state.consumer_count times, `message` for each, then `finish`; and
    after any of them send what `chunks` gives, or it is kept."""

    def __init__(self, state: ArchiveState, now_ns: int, chunk_size: int = CHUNK_SIZE_DEFAULT) -> None:
        """`chunk_size` in bytes is moved into nats-server's bounds."""
        self._chunk_size = min(max(chunk_size, CHUNK_SIZE_MIN), CHUNK_SIZE_MAX)
        self._now_ns = now_ns
        self._encoder = Encoder()
        self._output = bytearray()
        self._consumers_left = state.consumer_count
        self._last_sequence = max(state.first_seq, 1) - 1
        self._finished = False
        text = encode_state(state)
        self._put(MAGIC)
        self._put(encode_header(len(STATE_NAME), now_ns, 0, 0, len(text)) + STATE_NAME + text)

    def consumer(self, name: str, record: bytes) -> None:
        """Add a consumer: `record` is JSON, {"config": {...}, "state": {...}}."""
        assert self._consumers_left > 0 and not self._finished, "more consumers than the state says"
        self._consumers_left -= 1
        entry = CONSUMER_PREFIX + name.encode()
        self._put(encode_header(len(entry), self._now_ns, 0, 0, len(record)) + entry + record)

    def message(self, sequence: int, time_ns: int, subject: bytes, headers: bytes, payload: bytes) -> None:
        """Add a message, with a higher sequence than the one before. `headers` is the whole block or b""."""
        assert self._consumers_left == 0 and not self._finished, "a message out of place"
        assert sequence > self._last_sequence, (sequence, self._last_sequence)
        self._last_sequence = sequence
        self._put(encode_header(len(subject), time_ns, sequence, len(headers), len(payload)) + subject)
        self._put(headers)
        self._put(payload)

    def finish(self) -> None:
        """Add the end mark; `chunks` then also gives what is less than a chunk."""
        assert self._consumers_left == 0 and not self._finished, "finished too early"
        self._finished = True
        self._put(END_MARK)
        self._output += self._encoder.finish()

    def chunks(self) -> Iterator[bytes]:
        """Whole chunks which are ready, each once; the last one of the archive may be shorter."""
        while len(self._output) >= self._chunk_size or (self._finished and self._output):
            chunk = bytes(self._output[: self._chunk_size])
            del self._output[: self._chunk_size]
            yield chunk

    def _put(self, plain: bytes) -> None:
        self._output += self._encoder.feed(plain)


class ArchiveReader:
    """Reads one archive, given in pieces of any size. After an ArchiveError it is of no use."""

    def __init__(
        self, max_payload: int, max_msg_size: int = -1, metadata_size_max: int = METADATA_SIZE_MAX
    ) -> None:
        """Limits in bytes. The first two are for headers and payload of one message together: the server's,
        and the stream's (-1: none); the last is for one JSON text."""
        self._max_payload = max_payload
        self._max_msg_size = max_msg_size
        self._metadata_size_max = metadata_size_max
        self._decoder = Decoder(BLOCK_SIZE_MAX)
        self._plain = bytearray()  # decoded, from the entry on that is read next
        self._at = 0  # how much of it is read
        self._magic_seen = False
        self._older: OlderArchive | None = None  # if the archive is one of nats-server 2.14 or before
        self._state: ArchiveState | None = None
        self._consumers_left = 0
        self._last_sequence = 0
        self._ended = False

    def feed(self, data: bytes) -> Iterator[ArchiveEvent]:
        """Take the next bytes; the events that are complete. Use them up before the next call."""
        self._plain += self._decode(data)
        return self._events()

    def finish(self) -> None:
        """The sender has no more. ArchiveError if the end mark has not come, or something after it."""
        if not self._ended:
            raise ArchiveError("the archive ends before its end mark")
        if self._at < len(self._plain) or self._decoder.pending:
            raise ArchiveError("the archive goes on after its end mark")

    def _decode(self, data: bytes) -> bytes:
        try:
            return self._decoder.feed(data)
        except S2Error as error:
            raise ArchiveError(f"the archive is damaged: {error}") from None

    def _events(self) -> Iterator[ArchiveEvent]:
        while True:
            while (event := self._take_entry()) is not None:
                yield event
            del self._plain[: self._at]
            self._at = 0
            more = self._decode(b"")
            if not more:
                return
            self._plain += more

    def _take_entry(self) -> ArchiveEvent | None:
        """The next entry as an event; None if it is not here as a whole."""
        if not self._magic_seen and not self._take_magic():
            return None
        if self._ended:
            if self._at < len(self._plain):
                raise ArchiveError("the archive goes on after its end mark")
            return None
        if self._older is not None:
            return self._take_older()
        header = self._read_header()
        if header is None:
            return None
        at, name_size, time_ns, sequence, headers_size, payload_size = header
        self._check_sizes(name_size, sequence, headers_size, payload_size)
        end = at + name_size + headers_size + payload_size
        if end > len(self._plain):
            return None
        name = bytes(self._plain[at : at + name_size])
        headers = bytes(self._plain[at + name_size : end - payload_size])
        payload = bytes(self._plain[end - payload_size : end])
        self._at = end
        if self._state is None:
            return self._take_state(name, sequence, payload)
        if self._consumers_left:
            return self._take_consumer(name, time_ns, sequence, payload)
        if sequence == 0:
            if name or time_ns or payload:
                raise ArchiveError(f"expected message sequence, found {printable(name)}")
            self._ended = True
            return ArchiveEnd()
        if sequence <= self._last_sequence:
            raise ArchiveError(f"message sequence {sequence} out of order")
        check_subject(sequence, name)
        self._last_sequence = sequence
        return ArchiveMessage(sequence, time_ns, name, headers, payload)

    def _take_magic(self) -> bool:
        """Pass the magic over; False if more bytes are needed to judge it."""
        if len(self._plain) < len(MAGIC):
            return False
        if not self._plain.startswith(MAGIC):
            if len(self._plain) < MAGIC_JUDGED_SIZE:
                return False
            if not is_older(self._plain):
                raise ArchiveError("not a stream's backup")
            self._older = OlderArchive(self._max_payload, self._metadata_size_max)
            self._magic_seen = True
            return True
        self._at = len(MAGIC)
        self._magic_seen = True
        return True

    def _take_older(self) -> ArchiveEvent | None:
        """The next event of an archive in the older form."""
        event, self._at = self._older.take(self._plain, self._at)
        if isinstance(event, ArchiveEnd):
            self._ended = True
            self._at = len(self._plain)  # the form pads its end
        elif isinstance(event, ArchiveMessage):
            if event.sequence <= self._last_sequence:
                raise ArchiveError(f"message sequence {event.sequence} out of order")
            self._check_sizes(0, event.sequence, len(event.headers), len(event.payload))
            self._last_sequence = event.sequence
        return event

    def _read_header(self) -> tuple[int, int, int, int, int, int] | None:
        """Where the name begins, then the numbers of the entry at `_at`; None if they are not all here."""
        plain, at, end = self._plain, self._at, len(self._plain)
        fields = []
        for _ in range(HEADER_FIELDS):
            value = shift = 0
            while True:
                if at == end:
                    return None
                byte = plain[at]
                at += 1
                value |= (byte & 127) << shift
                if byte < 128:
                    break
                shift += 7
                if shift > 63:
                    raise ArchiveError("a number in an entry's header is too long")
            if value >= U64_END:
                raise ArchiveError("a number in an entry's header is too long")
            fields.append(value)
        name_size, time_folded, sequence, headers_size, payload_size = fields
        return at, name_size, (time_folded >> 1) ^ -(time_folded & 1), sequence, headers_size, payload_size

    def _check_sizes(self, name_size: int, sequence: int, headers_size: int, payload_size: int) -> None:
        """Refuse an entry by its header, before its body is waited for."""
        if name_size > NAME_SIZE_MAX:
            raise ArchiveError(f"a name of {name_size} bytes")
        if sequence == 0:
            if headers_size:
                raise ArchiveError("an entry that is no message has headers")
            if payload_size > self._metadata_size_max:
                raise ArchiveError(f"an entry of {payload_size} bytes, more than {self._metadata_size_max}")
        elif headers_size + payload_size > self._max_payload:
            raise ArchiveError(f"message sequence {sequence} exceeds maximum payload size")
        elif 0 <= self._max_msg_size < headers_size + payload_size:
            raise ArchiveError(f"message sequence {sequence} exceeds maximum message size")

    def _take_state(self, name: bytes, sequence: int, text: bytes) -> ArchiveState:
        if name != STATE_NAME or sequence:
            raise ArchiveError(f"expected state.json first, found {printable(name)}")
        self._state = state = decode_state(text)
        self._consumers_left = state.consumer_count
        self._last_sequence = max(state.first_seq, 1) - 1
        return state

    def _take_consumer(self, name: bytes, time_ns: int, sequence: int, record: bytes) -> ArchiveConsumer:
        short = name.removeprefix(CONSUMER_PREFIX)
        if not name.startswith(CONSUMER_PREFIX) or sequence:
            raise ArchiveError(f"expected consumer, found {printable(name)}")
        text = consumer_name(short)
        fields = decode_object(record, f"consumer {printable(short)}")
        for part in ("config", "state"):
            if not isinstance(fields.get(part), dict):
                raise ArchiveError(f"consumer {printable(short)} is missing {part}")
        self._consumers_left -= 1
        return ArchiveConsumer(text, time_ns, record)


def encode_header(name_size: int, time_ns: int, sequence: int, headers_size: int, payload_size: int) -> bytes:
    """The numbers in front of an entry's name: base 128, low digits first; the time folded to be positive."""
    header = bytearray()
    time_folded = time_ns << 1 if time_ns >= 0 else (-time_ns << 1) - 1
    for value in (name_size, time_folded, sequence, headers_size, payload_size):
        while value >= 128:
            header.append(value & 127 | 128)
            value >>= 7
        header.append(value)
    return bytes(header)


def encode_state(state: ArchiveState) -> bytes:
    """state.json, with the fields in nats-server's order and those left out that it leaves out."""
    fields = {
        "messages": state.messages,
        "bytes": state.bytes,
        "first_seq": state.first_seq,
        "first_ts": state.first_ts,
        "last_seq": state.last_seq,
        "last_ts": state.last_ts,
    }
    for name in ("num_subjects", "num_deleted"):
        if getattr(state, name):
            fields[name] = getattr(state, name)
    return orjson.dumps({**fields, "consumer_count": state.consumer_count})


def decode_state(text: bytes) -> ArchiveState:
    """state.json, with its sequences checked against each other as nats-server checks them."""
    fields = decode_object(text, "state.json")
    known: dict[str, int | str] = {}
    for name in ArchiveState._fields:
        is_time = name.endswith("_ts")
        value = fields.get(name)
        if value is None:
            value = ZERO_TIME if is_time else 0
        if type(value) is not (str if is_time else int) or (not is_time and value >= U64_END):
            raise ArchiveError(f"error in state.json: invalid {name}")
        if not is_time and value < 0:
            raise ArchiveError(f"invalid stream state: negative {name.replace('_', ' ')}")
        known[name] = value
    state = ArchiveState(**known)
    span = state.last_seq - state.first_seq + 1
    never_used = state.messages == state.first_seq == state.last_seq == 0
    if not never_used and (state.first_seq == 0 or span < 0 or (span == 0 and state.messages)):
        raise ArchiveError("invalid stream state: inconsistent message count or sequence range")
    if not never_used and state.messages > span:
        raise ArchiveError("invalid stream state: message count exceeds sequence range")
    return state
