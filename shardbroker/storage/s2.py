"""S2 and Snappy streams: blocks in frames with checksums, as nats-server's backups and compressed files use.

A stream is a sequence of chunks: one byte of kind, three bytes of length (little end first), that many bytes.
The first chunk names the format. Chunks with data carry the masked CRC-32C of what they hold once decoded;
others are padding or an index, and are passed over.

`Decoder` is fed bytes in pieces of any size and gives back bounded pieces, for a chunk of 20 bytes may stand
for 4 MiB, and a stream comes from outside. `Encoder` collects blocks of 64 KiB and writes each one compressed
if that saves an eighth, as it is otherwise. Both are pure: no file, no clock. The block format, and why no
library does this, is in s2_block.pyx.

Source: google/snappy, framing_format.txt; klauspost/compress, s2/README.md, "Format Extensions".
"""

from shardbroker.storage.s2_block import (
    ENCODE_SIZE_MAX,
    S2Error,
    decode_block,
    decoded_size,
    encode_block,
    masked_crc,
)

__all__ = ["BLOCK_SIZE_MAX", "Decoder", "Encoder", "S2Error"]

KIND_COMPRESSED = 0x00
KIND_PLAIN = 0x01
KIND_RESERVED_LAST = 0x7F  # kinds from 0x02 up to this one may not be passed over
KIND_IDENTIFIER = 0xFF
IDENTIFIER_S2 = b"S2sTwO"
IDENTIFIER_SNAPPY = b"sNaPpY"
CHUNK_HEADER_SIZE = 4
CRC_SIZE = 4
SNAPPY_BLOCK_SIZE_MAX = 64 << 10
BLOCK_SIZE_MAX = 4 << 20  # S2's limit for one block in a stream
# A compressed block is never much larger than what it holds; the formats allow a sixth more.
CHUNK_SIZE_MAX = CRC_SIZE + BLOCK_SIZE_MAX + BLOCK_SIZE_MAX // 6 + 32


class Decoder:
    """Decodes one stream, or several one after the other.

    `output_limit` is the most that one call of `feed` returns, in bytes. A block that holds more is an error,
    so it should be BLOCK_SIZE_MAX for streams that others wrote.
    """

    def __init__(self, output_limit: int = BLOCK_SIZE_MAX) -> None:
        self._output_limit = output_limit
        self._block_size_max = 0  # 0: no identifier seen yet
        self._input = bytearray()
        self._skip = 0  # bytes of the present chunk which are still to be passed over

    @property
    def pending(self) -> int:
        """Bytes that were fed and are not decoded yet. If 0, the stream may end here."""
        return len(self._input) + self._skip

    def feed(self, data: bytes = b"") -> bytes:
        """Take more of the stream, maybe nothing; what is decoded then, at most `output_limit` bytes.

        Call again without data until the answer is empty: then more of the stream is needed. S2Error if the
        stream is damaged; the decoder is of no use afterwards.
        """
        self._input += data
        pieces: list[bytes] = []
        room = self._output_limit
        at = 0
        while True:
            if self._skip:
                step = min(self._skip, len(self._input) - at)
                self._skip -= step
                at += step
            if self._skip or len(self._input) - at < CHUNK_HEADER_SIZE:
                break
            kind = self._input[at]
            start = at + CHUNK_HEADER_SIZE
            size = int.from_bytes(self._input[at + 1 : start], "little")
            self._check_head(kind, size)
            if kind > KIND_RESERVED_LAST and kind != KIND_IDENTIFIER:
                self._skip = size
                at = start
                continue
            if len(self._input) - start < size:
                break
            body = self._input[start : start + size]
            if kind == KIND_IDENTIFIER:
                self._identify(body)
            else:
                block_size = decoded_size(body[CRC_SIZE:]) if kind == KIND_COMPRESSED else size - CRC_SIZE
                if block_size > self._output_limit:
                    raise S2Error(f"a block of {block_size} bytes, more than {self._output_limit}")
                if block_size > room:
                    break
                pieces.append(self._decode(kind, body))
                room -= block_size
            at = start + size
        del self._input[:at]
        return b"".join(pieces)

    def _check_head(self, kind: int, size: int) -> None:
        """Refuse a chunk by its first four bytes, before its body is waited for."""
        if kind == KIND_IDENTIFIER:
            if size != len(IDENTIFIER_S2):
                raise S2Error("not an S2 or Snappy stream")
        elif self._block_size_max == 0:
            raise S2Error("not an S2 or Snappy stream")
        elif kind in (KIND_COMPRESSED, KIND_PLAIN):
            if not CRC_SIZE <= size <= CHUNK_SIZE_MAX:
                raise S2Error(f"a chunk of {size} bytes")
        elif kind <= KIND_RESERVED_LAST:
            raise S2Error(f"a chunk of the unknown kind {kind:#04x}")

    def _identify(self, body: bytearray) -> None:
        """Take the chunk that names the format."""
        if body == IDENTIFIER_S2:
            self._block_size_max = BLOCK_SIZE_MAX
        elif body == IDENTIFIER_SNAPPY:
            self._block_size_max = SNAPPY_BLOCK_SIZE_MAX
        else:
            raise S2Error("not an S2 or Snappy stream")

    def _decode(self, kind: int, body: bytearray) -> bytes:
        """The data of one chunk, with its checksum verified."""
        if kind == KIND_COMPRESSED:
            data = decode_block(body[CRC_SIZE:], self._block_size_max)
        else:
            data = bytes(body[CRC_SIZE:])
            if len(data) > self._block_size_max:
                raise S2Error(f"a block holds {len(data)} bytes, more than {self._block_size_max}")
        if masked_crc(data) != int.from_bytes(body[:CRC_SIZE], "little"):
            raise S2Error("a checksum does not fit")
        return data


class Encoder:
    """Encodes one stream. It holds back up to a block, 64 KiB, until that is full or `finish` is called."""

    def __init__(self) -> None:
        self._begun = False
        self._block = bytearray()

    def feed(self, data: bytes) -> bytes:
        """Take more data; what of the stream is complete then, maybe nothing."""
        self._block += data
        if len(self._block) < ENCODE_SIZE_MAX:
            return b""
        return self._write(len(self._block) - len(self._block) % ENCODE_SIZE_MAX)

    def finish(self) -> bytes:
        """The rest of the stream. The encoder then begins a new one."""
        rest = self._write(len(self._block))
        self._begun = False
        return rest

    def _write(self, size: int) -> bytes:
        """Chunks for the first `size` bytes, each of at most one block, after the identifier if needed."""
        pieces: list[bytes] = []
        if not self._begun:
            pieces += (chunk_header(KIND_IDENTIFIER, len(IDENTIFIER_S2)), IDENTIFIER_S2)
            self._begun = True
        for at in range(0, size, ENCODE_SIZE_MAX):
            plain = self._block[at : min(at + ENCODE_SIZE_MAX, size)]
            body = encode_block(plain)
            kind = KIND_COMPRESSED
            if len(body) > len(plain) - len(plain) // 8:
                kind, body = KIND_PLAIN, bytes(plain)
            pieces.append(chunk_header(kind, CRC_SIZE + len(body)))
            pieces.append(masked_crc(plain).to_bytes(CRC_SIZE, "little"))
            pieces.append(body)
        del self._block[:size]
        return b"".join(pieces)


def chunk_header(kind: int, size: int) -> bytes:
    """The four bytes in front of a chunk's body of `size` bytes."""
    return bytes((kind,)) + size.to_bytes(3, "little")
