"""The archive that nats-server 2.10 to 2.14 makes of a stream: an image of its files, in a tar.

The files are `meta.inf` (the configuration), `msgs/1.blk`, `msgs/2.blk` ... (messages as they are on disk,
but neither encrypted nor compressed), `msgs/index.db` (which of them count) and, for each consumer,
`obs/<name>/meta.inf` (configuration) and `obs/<name>/o.dat` (state). They are read as they come: a block may
be larger than what one wants to hold, so messages that were deleted are given first and taken back
afterwards, by `ArchiveRemoved` and `ArchiveRange`. Reading is enough: nats-server 2.15 restores what
archive.py writes.

The checksums inside the files are not looked at (a keyed hash of nats-server's own); those of the S2 stream
around have been. Python's `tarfile` wants a whole file to read from, this is fed pieces.

Source: archives of nats-server 2.12.8 and 2.14.6; POSIX, pax, "ustar Interchange Format".
"""

import struct

import orjson

from shardbroker.jetstream.archive_events import (
    ArchiveConsumer,
    ArchiveEnd,
    ArchiveError,
    ArchiveEvent,
    ArchiveMessage,
    ArchiveRange,
    ArchiveRemoved,
    check_subject,
    consumer_name,
    decode_object,
    printable,
)

TAR_BLOCK = 512
TAR_MARK_AT = 257
TAR_MARK = b"ustar"
TAR_NAME = slice(0, 100)
TAR_SIZE = slice(124, 136)
TAR_SUM = slice(148, 156)
TAR_KIND = slice(156, 157)
KIND_FILE = b"0"
KIND_ATTRIBUTES = b"x"  # longer names and sizes for the file that follows
ATTRIBUTES_SIZE_MAX = 1 << 16
ERROR_NAME = b"errors.txt"  # holds a text, and is the last file, if nats-server could not read something
BLOCK_PREFIX = b"msgs/"
BLOCK_SUFFIX = b".blk"
INDEX_NAME = b"msgs/index.db"
CONSUMER_PREFIX = b"obs/"
COMPRESSED_BLOCK = b"cmp"
# Record of a block: its size, sequence, time in ns, size of the subject; then subject, size of headers if
# there are any, headers, payload, and 8 bytes of checksum.
RECORD_HEAD = struct.Struct("<IQqH")
RECORD_SUM_SIZE = 8
HEADERS_SIZE = struct.Struct("<I")
HAS_HEADERS = 1 << 31  # in the size
ERASED = 1 << 63  # in the sequence: no message
REMOVES = 1 << 62  # in the sequence: no message, but says that the one with this sequence is deleted
SUBJECT_SIZE_MAX = 65535
INDEX_MAGIC = 11
INDEX_VERSIONS = (2, 3, 4)
CONSUMER_MAGIC = 22
CONSUMER_VERSION = 2
NOT_CONFIG = ("Created", "Name")  # stand in a consumer's meta.inf beside its configuration
NS = 10**9
NUMBER_SHIFT_MAX = 63
U64_END = 1 << 64


class OlderArchive:
    """Takes the events of one archive from bytes that the caller collects."""

    def __init__(self, max_payload: int, metadata_size_max: int) -> None:
        """Limits in bytes: of headers and payload of a message together; of one file with metadata."""
        self._record_size_max = (
            RECORD_HEAD.size + SUBJECT_SIZE_MAX + HEADERS_SIZE.size + max_payload + RECORD_SUM_SIZE
        )
        self._metadata_size_max = metadata_size_max
        self._kind = b""  # of the file that is being read; b"": none
        self._name = b""
        self._left = 0  # bytes of it which are not read yet
        self._padding = 0  # bytes that follow it
        self._skip = 0  # bytes to be passed over before anything else
        self._attributes: dict[bytes, bytes] = {}
        self._consumer = b""  # the consumer whose configuration was read, and whose state is waited for
        self._consumer_config: dict[str, object] = {}

    def take(self, plain: bytearray, at: int) -> tuple[ArchiveEvent | None, int]:
        """The next event in `plain` from `at` on, None if more bytes are needed; and where to go on."""
        while True:
            step = min(self._skip, len(plain) - at)
            self._skip -= step
            at += step
            if self._skip:
                return None, at
            size = self._next_size(plain, at) if self._kind else TAR_BLOCK
            if len(plain) - at < size:
                return None, at
            piece = bytes(plain[at : at + size])
            if not self._kind and not any(piece):
                # The end mark. The last consumer may have had no state; then the mark is seen twice.
                event = self._take_consumer(b"")
                return (event, at) if event else (ArchiveEnd(), at + size)
            at += size
            event = self._take_piece(piece) if self._kind else self._open(piece)
            if event is not None:
                return event, at

    def _next_size(self, plain: bytearray, at: int) -> int:
        """How much of the present file is taken next: all of it, or one record if it holds messages."""
        if not self._holds_messages():
            return self._left
        if self._left == 0:
            return 0
        if self._left < RECORD_HEAD.size + RECORD_SUM_SIZE:
            raise ArchiveError(f"{printable(self._name)} ends within a record")
        if len(plain) - at < RECORD_HEAD.size:
            return RECORD_HEAD.size
        if plain.startswith(COMPRESSED_BLOCK, at):
            raise ArchiveError(f"{printable(self._name)} is compressed")
        size = RECORD_HEAD.unpack_from(plain, at)[0] & ~HAS_HEADERS
        if not RECORD_HEAD.size + RECORD_SUM_SIZE <= size <= self._left:
            raise ArchiveError(f"a record of {size} bytes in {printable(self._name)}")
        if size > self._record_size_max:
            raise ArchiveError(f"a record of {size} bytes exceeds maximum payload size")
        return size

    def _holds_messages(self) -> bool:
        is_block = self._name.startswith(BLOCK_PREFIX) and self._name.endswith(BLOCK_SUFFIX)
        return is_block and self._kind == KIND_FILE

    def _take_piece(self, piece: bytes) -> ArchiveEvent | None:
        """Take the next part of the present file, and leave the file if that was the last one."""
        self._left -= len(piece)
        kind = self._kind
        if self._left == 0:
            self._skip = self._padding
            self._kind = b""
        if kind == KIND_ATTRIBUTES:
            self._attributes = decode_attributes(piece)
            return None
        if self._name.startswith(BLOCK_PREFIX) and self._name.endswith(BLOCK_SUFFIX):
            return decode_record(piece) if piece else None
        if self._name == INDEX_NAME:
            return decode_index(piece)
        if self._name == ERROR_NAME:
            raise ArchiveError(f"the backup had failed: {printable(piece)}")
        if self._name.startswith(CONSUMER_PREFIX):
            return self._take_consumer_file(piece)
        return None

    def _open(self, header: bytes) -> None:
        """Take the header of the next file, with the attributes that came before it."""
        expected = sum(header) - sum(header[TAR_SUM]) + len(header[TAR_SUM]) * ord(" ")
        if not header.startswith(TAR_MARK, TAR_MARK_AT) or octal(header[TAR_SUM]) != expected:
            raise ArchiveError("a damaged header in the archive")
        self._kind = header[TAR_KIND]
        self._left = octal(header[TAR_SIZE])
        self._name = self._attributes.get(b"path", header[TAR_NAME].split(b"\0", 1)[0])
        size_max = ATTRIBUTES_SIZE_MAX
        if self._kind == KIND_FILE:
            size_max = self._metadata_size_max
            if b"size" in self._attributes:
                self._left = digits(self._attributes[b"size"], 10)
        elif self._kind != KIND_ATTRIBUTES:
            raise ArchiveError(f"an entry of the unknown kind {printable(self._kind)} in the archive")
        self._attributes = {}
        if self._left > size_max and not self._holds_messages():
            raise ArchiveError(f"a file of {self._left} bytes, more than {size_max}")
        self._padding = -self._left % TAR_BLOCK

    def _take_consumer_file(self, content: bytes) -> ArchiveConsumer | None:
        """Take `obs/<name>/<file>`: the configuration is kept until the state comes, which is after it."""
        name, _, file = self._name.removeprefix(CONSUMER_PREFIX).partition(b"/")
        if file == b"meta.inf":
            before = self._take_consumer(b"")
            self._consumer_config = decode_object(content, f"consumer {printable(name)}")
            self._consumer = name
            return before
        if file == b"o.dat":
            if name != self._consumer:
                raise ArchiveError(f"consumer {printable(name)} is missing config")
            return self._take_consumer(content)
        return None

    def _take_consumer(self, state: bytes) -> ArchiveConsumer | None:
        """The consumer whose configuration is kept, if there is one; an empty state is that of a new one."""
        if not self._consumer:
            return None
        name = consumer_name(self._consumer)
        config = {key: value for key, value in self._consumer_config.items() if key not in NOT_CONFIG}
        self._consumer = b""
        try:
            record = orjson.dumps({"config": config, "state": decode_consumer_state(state)})
        except TypeError:  # a number of more than 64 bits
            raise ArchiveError(f"consumer {printable(name.encode())} has an invalid state") from None
        return ArchiveConsumer(name, 0, record)


class Numbers:
    """Reads numbers in base 128, low digits first, from a file."""

    def __init__(self, data: bytes, at: int) -> None:
        self._data = data
        self._at = at

    def unsigned(self) -> int:
        """The next number. ArchiveError if the file ends, or it has more than 64 bits."""
        value = shift = 0
        while self._at < len(self._data) and shift <= NUMBER_SHIFT_MAX:
            byte = self._data[self._at]
            self._at += 1
            value |= (byte & 127) << shift
            shift += 7
            if byte < 128 and value < U64_END:
                return value
        if shift > NUMBER_SHIFT_MAX:
            raise ArchiveError("a number in a file of the archive is too long")
        raise ArchiveError("a number in a file of the archive is cut off")

    def signed(self) -> int:
        """The next number, which may be negative: its lowest bit is the sign."""
        value = self.unsigned()
        return (value >> 1) ^ -(value & 1)


def is_older(plain: bytearray) -> bool:
    """Whether an archive that begins with these TAR_BLOCK bytes, or more, is a tar."""
    return plain.startswith(TAR_MARK, TAR_MARK_AT)


def decode_record(record: bytes) -> ArchiveMessage | ArchiveRemoved | None:
    """One record of a block; None for what is left of an erased message."""
    size, sequence, time_ns, subject_size = RECORD_HEAD.unpack_from(record)
    if sequence & REMOVES:
        return ArchiveRemoved(sequence & ~(REMOVES | ERASED))
    if sequence & ERASED:
        return None
    at = RECORD_HEAD.size
    end = len(record) - RECORD_SUM_SIZE
    subject = record[at : at + subject_size]
    at += subject_size
    headers_size = 0
    if size & HAS_HEADERS and at + HEADERS_SIZE.size <= end:
        (headers_size,) = HEADERS_SIZE.unpack_from(record, at)
        at += HEADERS_SIZE.size
    elif size & HAS_HEADERS:
        at = end + 1
    if at + headers_size > end:
        raise ArchiveError(f"message sequence {sequence} has parts that are larger than itself")
    check_subject(sequence, subject)
    headers = record[at : at + headers_size]
    return ArchiveMessage(sequence, time_ns, subject, headers, record[at + headers_size : end])


def decode_index(content: bytes) -> ArchiveRange | None:
    """The first and the last sequence from `msgs/index.db`; None if it is of a version not known here."""
    if len(content) < 2 or content[0] != INDEX_MAGIC or content[1] not in INDEX_VERSIONS:
        return None
    numbers = Numbers(content, 2)
    numbers.unsigned()  # messages
    numbers.unsigned()  # bytes
    first_seq = numbers.unsigned()
    numbers.signed()  # time of the first message
    last_seq = numbers.unsigned()
    if first_seq > last_seq + 1:
        raise ArchiveError("invalid stream state: inconsistent message count or sequence range")
    return ArchiveRange(first_seq, last_seq)


def decode_consumer_state(content: bytes) -> dict[str, object]:
    """The state of a consumer from its `o.dat`, as the "state" of a record; nothing is a new consumer."""
    if not content:
        content = bytes((CONSUMER_MAGIC, CONSUMER_VERSION, 0, 0, 0, 0, 0, 0))
    if content[0] != CONSUMER_MAGIC or content[1:2] != bytes((CONSUMER_VERSION,)):
        raise ArchiveError("a consumer's state is of an unknown version")
    numbers = Numbers(content, 2)
    floor = {"consumer_seq": numbers.unsigned(), "stream_seq": numbers.unsigned()}
    delivered = {"consumer_seq": numbers.unsigned(), "stream_seq": numbers.unsigned()}
    state: dict[str, object] = {"delivered": delivered, "ack_floor": floor}
    pending: dict[str, dict[str, int]] = {}
    count = numbers.unsigned()
    base_s = numbers.signed() if count else 0
    for _ in range(count):
        # Sequences count from the floor, times back from the base, in seconds.
        stream_seq = floor["stream_seq"] + numbers.unsigned()
        consumer_seq = floor["consumer_seq"] + numbers.unsigned()
        pending[str(stream_seq)] = {"Sequence": consumer_seq, "Timestamp": (base_s - numbers.signed()) * NS}
    redelivered: dict[str, int] = {}
    for _ in range(numbers.unsigned()):
        stream_seq = floor["stream_seq"] + numbers.unsigned()
        redelivered[str(stream_seq)] = numbers.unsigned()
    if pending:
        state["pending"] = pending
    if redelivered:
        state["redelivered"] = redelivered
    return state


def decode_attributes(content: bytes) -> dict[bytes, bytes]:
    """The records `<length> <key>=<value>` and a line end, of which the length counts all."""
    attributes: dict[bytes, bytes] = {}
    at = 0
    while at < len(content):
        length_text, _, _ = content[at : at + 20].partition(b" ")
        length = digits(length_text, 10)
        key, equals, value = content[at + len(length_text) + 1 : at + length - 1].partition(b"=")
        if not equals or length <= len(length_text) or at + length > len(content):
            raise ArchiveError("damaged attributes in the archive")
        attributes[key] = value
        at += length
    return attributes


def octal(field: bytes) -> int:
    """A number of a header: octal digits between blanks and zeros."""
    return digits(field.strip(b" \0") or b"0", 8)


def digits(text: bytes, base: int) -> int:
    """A number without sign. ArchiveError if it is none."""
    try:
        if text.isdigit():
            return int(text, base)
    except ValueError:
        pass
    raise ArchiveError("a damaged number in the archive")
