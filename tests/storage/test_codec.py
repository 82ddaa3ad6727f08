"""Property: what is built is read back as it was, and no changed bit of it is taken for right.

The fields and checksums of a frame are worked out here by other means than those of the codec, so that a
change of the format's rules cannot pass by changing the builder and the reader together.
"""

import struct

import pytest

from shardbroker.storage import codec
from shardbroker.storage.checksum import checksum
from shardbroker.storage.codec import DamagedFrame, Record

RECORDS = [
    Record(5, b"orders.new", b"payload", b"NATS/1.0\r\nNats-Msg-Id: 1\r\n\r\n", 77, codec.HAS_ID),
    Record(6, b"x", b"", b"", 78, codec.MARKER, 9),
    Record(7, b"orders.old", bytes(range(256)), b"", 79),
]


def crc32c_by_bits(data: bytes, seed: int = 0) -> int:
    """CRC-32C, one bit a step."""
    crc = seed ^ 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = (crc >> 1) ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


@pytest.mark.parametrize(
    ("data", "value"),
    [(b"", 0), (b"123456789", 0xE3069283), (bytes(32), 0x8A9136AA), (b"\xff" * 32, 0x62A8AB43)],
)
def test_the_checksum_is_crc32c(data: bytes, value: int) -> None:
    """Values of RFC 3720, B.4."""
    assert checksum(data) == value == crc32c_by_bits(data)
    assert checksum(data[3:], checksum(data[:3])) == value


def test_a_frame_lies_as_the_format_says() -> None:
    """Field by field, with other means than those that built it."""
    data = codec.build_message_frame(3, 9, 2, 0xABCD, RECORDS, durable_lag=4, time_ns=99)
    head = struct.unpack_from("<IIIIIIIHHQQQII", data)
    assert (head[0], head[2], head[3]) == (int.from_bytes(b"SBF1", "little"), 3, 3)
    assert head[6:] == (0xABCD, codec.MESSAGES, 3, 9, 5, 99, 2, 4)
    assert head[1] == crc32c_by_bits(data[8:64])
    at, crcs = 64, b""
    for record in RECORDS:
        size, crc, sequence, time_ns, header_size, payload_size, subject_size, flags, ttl_s = (
            struct.unpack_from("<IIQQIIHHI", data, at)
        )
        used = 40 + len(record.subject) + len(record.headers) + len(record.payload)
        assert size % 8 == 0 and used <= size < used + 8
        assert (sequence, time_ns, flags, ttl_s) == (
            record.sequence,
            record.time_ns,
            record.flags,
            record.ttl_s,
        )
        assert (header_size, payload_size, subject_size) == (
            len(record.headers), len(record.payload), len(record.subject),
        )  # fmt: skip
        assert data[at + 40 : at + size] == (
            record.subject + record.headers + record.payload + bytes(size - used)
        )
        assert crc == crc32c_by_bits(data[at + 8 : at + size], size)
        crcs += data[at + 4 : at + 8]
        at += size
    assert at == len(data) == 64 + head[4]
    assert head[5] == crc32c_by_bits(crcs)


def test_frames_are_read_back() -> None:
    """With records and without."""
    frame = codec.parse_frame(codec.build_message_frame(3, 9, 2, 1, RECORDS, kind=codec.BATCH) + b"more")
    assert list(frame.records) == RECORDS
    assert (frame.kind, frame.index, frame.term, frame.first_sequence, frame.count) == (
        codec.BATCH,
        9,
        2,
        5,
        3,
    )
    frame = codec.parse_frame(codec.build_frame(codec.NOTE, 3, 10, 2, frame.head_crc, b"12345"))
    assert frame.body == b"12345\0\0\0" and frame.records == ()


def test_every_changed_bit_is_noticed() -> None:
    """All bits of a frame, one by one."""
    data = bytearray(codec.build_message_frame(3, 9, 2, 1, RECORDS))
    for bit in range(len(data) * 8):
        data[bit >> 3] ^= 1 << (bit & 7)
        with pytest.raises(DamagedFrame):
            codec.parse_frame(bytes(data))
        data[bit >> 3] ^= 1 << (bit & 7)
    assert codec.parse_frame(bytes(data)).count == 3


def test_every_shorter_frame_is_noticed() -> None:
    """All lengths below the right one."""
    data = codec.build_message_frame(3, 9, 2, 1, RECORDS)
    for size in range(len(data)):
        with pytest.raises(DamagedFrame):
            codec.parse_frame(data[:size])


def test_records_in_another_order_are_noticed() -> None:
    """Each record is right by itself; the body's checksum covers their order."""
    one, two = Record(1, b"a", b"1"), Record(2, b"a", b"2")
    frame = bytearray(codec.build_message_frame(3, 1, 1, 0, [one, two]))
    frame[64:] = codec.build_record(two) + codec.build_record(one)
    with pytest.raises(DamagedFrame, match="body"):
        codec.parse_frame(bytes(frame))
