"""S2 streams: what is encoded decodes to the same, nats-server's bytes decode, damaged bytes are refused.

The blocks in `BLOCKS` are written by hand from the description of the format; the stream is nats-server's.
"""

import base64
import os
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shardbroker.storage.s2 import BLOCK_SIZE_MAX, Decoder, Encoder, S2Error
from shardbroker.storage.s2_block import decode_block, encode_block, masked_crc

IDENTIFIER = b"\xff\x06\x00\x00S2sTwO"
SNAPPY_IDENTIFIER = b"\xff\x06\x00\x00sNaPpY"
# (block, what it decodes to): every form of element.
BLOCKS = {
    "empty": (b"\x00", b""),
    "literal": (b"\x03\x08abc", b"abc"),
    "literal with a byte of length": (b"\x46\xf0\x45" + b"q" * 70, b"q" * 70),
    "literal with two bytes of length": (b"\xac\x02\xf4\x2b\x01" + b"q" * 300, b"q" * 300),
    "literal with three bytes of length": (b"\x03\xf8\x02\x00\x00abc", b"abc"),
    "literal with four bytes of length": (b"\x03\xfc\x02\x00\x00\x00abc", b"abc"),
    "copy of one byte offset": (b"\x08\x0cabcd\x01\x04", b"abcdabcd"),
    "copy of two bytes offset": (b"\x05\x0cabcd\x02\x04\x00", b"abcda"),
    "copy of four bytes offset": (b"\x06\x0cabcd\x07\x03\x00\x00\x00", b"abcdbc"),
    "copy over itself": (b"\x0c\x04ab\x19\x02", b"abababababab"),
    "repeat of 4, shortest": (b"\x0c\x0cabcd\x01\x03\x01\x00", b"abcdbcdbcdbc"),
    "repeat of 8, longest in the tag": (b"\x10\x0cabcd\x01\x04\x11\x00", b"abcd" * 4),
    "repeat with a byte of length": (b"\x1b\x0cabcd\x01\x04\x15\x00\x0b", b"abcd" * 6 + b"abc"),
    "repeat with two bytes of length": (b"\x8e\x04\x0cabcd\x01\x04\x19\x00\x02\x01", b"abcd" * 131 + b"ab"),
    "repeat with three bytes of length": (
        b"\x8d\x80\x04\x0cabcd\x01\x04\x1d\x00\x01\x00\x00",
        b"abcd" * 16387 + b"a",
    ),
    "repeat of an offset from a long copy": (b"\x09\x0cabcd\x02\x02\x00\x01\x00", b"abcdcdcdc"),
}
BAD_BLOCKS = {
    "nothing": b"",
    "length without end": b"\xff\xff\xff\xff\xff\x01",
    "length of 33 bits": b"\xff\xff\xff\xff\x1f",
    "literal cut off": b"\x03\x08ab",
    "literal's length cut off": b"\x46\xf4\x45",
    "copy cut off": b"\x08\x0cabcd\x01",
    "repeat's length cut off": b"\x1b\x0cabcd\x01\x04\x15\x00",
    "copy before the start": b"\x08\x0cabcd\x01\x05",
    "copy with offset 0": b"\x05\x0cabcd\x02\x00\x00",
    "repeat without an offset": b"\x08\x0cabcd\x01\x00",
    "literal beyond the end": b"\x02\x08abc",
    "copy beyond the end": b"\x07\x0cabcd\x01\x04",
    "too little": b"\x04\x08abc",
}
# An archive from nats-server 2.15.1: one compressed block, which repeats offsets six times.
SERVER_STREAM = base64.b64decode(
    "/wYAAFMyc1R3TwBRAgCDJSGupQbETkFUU0FSQzEKlsOJ79bstOsxAADAAXN0YXRlLmpzb257Im1lc3NhZ2VzIjozLCJieXQBCkAx"
    "OTMsImZpcnN0X3NlcSI6MhEOnHRzIjoiMjAyNi0xMS0yNVQyMjoxODoxMi43MjcxNDUzNzRaIiwibGEROQA2DQ1uOAAUNzYzOTc5"
    "AQAkbnVtX3N1YmplYwEwADMJERhkZWxldGVkBYVIY29uc3VtZXJfY291bnQiOjF9Cx3YBJ0DESCEcy9EeyJjb25maWciOnsiZHVy"
    "YWJsZV9uYW1lIjoiRCIsIh0LZGRlbGl2ZXJfcG9saWN5IjoiYWxsIiwiYWNrGRMcZXhwbGljaXQNGCB3YWl0IjozMDARAhQsIm1h"
    "eF8NSiwiOi0xLCJyZXBsYXkZQxRpbnN0YW4BQjxtYXhfd2FpdGluZyI6NTEyCT0cYWNrX3BlbmQFFgAxBVQB/wFHQGljYXMiOjAs"
    "Im1ldGFkYXRhAdVcX25hdHMucmVxLmxldmVsIjoiMCJ9fSwiJdwBIQ2OBGVkAQ0xGinQADMBJwxyZWFtKaYEM30J1xBmbG9vckYu"
    "AAAyFQAGDDJ9LCIVqQh7IjMBBRxTZXF1ZW5jZUVFmFRpbWVzdGFtcCI6MTc5NTY0NTA5MjcyNzMxNzQ4OX19fX0DvI7m6kWOFAIS"
    "GEYuMUGmVC8xLjANCkE6IGINCg0KcGF5bG9hZDE+CAAMA+KP+wk6FAMAGEYuMg0gQggAEAOm+Z3rBSgABQEoADQNAAA0DQAANA0A"
    "FDQAAAAAAA=="
)


def decode(stream: bytes, output_limit: int = BLOCK_SIZE_MAX) -> bytes:
    """All of `stream`, which must be whole."""
    decoder = Decoder(output_limit)
    decoded = piece = decoder.feed(stream)
    while piece:
        assert len(piece) <= output_limit
        piece = decoder.feed()
        decoded += piece
    assert decoder.pending == 0
    return decoded


def encode(data: bytes) -> bytes:
    encoder = Encoder()
    return encoder.feed(data) + encoder.finish()


def plain_chunk(data: bytes) -> bytes:
    """A chunk that is not compressed."""
    return b"\x01" + (len(data) + 4).to_bytes(3, "little") + masked_crc(data).to_bytes(4, "little") + data


@pytest.mark.parametrize("name", BLOCKS)
def test_block_forms(name: str) -> None:
    block, expected = BLOCKS[name]
    assert decode_block(block, 1 << 20) == expected


@pytest.mark.parametrize("name", BAD_BLOCKS)
def test_bad_blocks_are_refused(name: str) -> None:
    with pytest.raises(S2Error):
        decode_block(BAD_BLOCKS[name], 1 << 20)


def test_block_above_the_limit_is_refused() -> None:
    assert decode_block(b"\x03\x08abc", 3) == b"abc"
    with pytest.raises(S2Error, match="holds 3 bytes, more than 2"):
        decode_block(b"\x03\x08abc", 2)


def test_masked_checksum() -> None:
    """CRC-32C of "123456789" is e3069283; the mask is from the framing format."""
    assert masked_crc(b"123456789") == (((0xE3069283 >> 15) | (0xE3069283 << 17)) + 0xA282EAD8) % (1 << 32)
    assert masked_crc(b"") == 0xA282EAD8


def test_stream_of_nats_server() -> None:
    decoded = decode(SERVER_STREAM)
    assert decoded.startswith(b"NATSARC1\n")
    assert decoded.endswith(b"F.4payload4payload4payload4" + bytes(5))
    assert b'"ack_floor":{"consumer_seq":2,"stream_seq":2},"pending":{"3":' in decoded


def test_any_cut_gives_the_same() -> None:
    decoder = Decoder()
    decoded = b"".join(decoder.feed(SERVER_STREAM[at : at + 1]) for at in range(len(SERVER_STREAM)))
    assert decoded == decode(SERVER_STREAM)


def test_any_flipped_bit_is_refused_or_does_no_harm() -> None:
    """The checksum covers the data, the rest is structure: no flip gives other data (a copy may be taken from
    another place with the same bytes, a chunk may become one that is passed over)."""
    whole = decode(SERVER_STREAM)
    for bit in range(len(SERVER_STREAM) * 8):
        damaged = bytearray(SERVER_STREAM)
        damaged[bit // 8] ^= 1 << bit % 8
        decoder = Decoder()
        try:
            decoded = decoder.feed(bytes(damaged))
        except S2Error:
            continue
        assert decoded in (b"", whole)


@settings(max_examples=150, deadline=None)
@given(
    st.lists(st.one_of(st.binary(max_size=200), st.sampled_from([b"x" * 70000, b"ab" * 900])), max_size=12)
)
def test_round_trip(pieces: list[bytes]) -> None:
    encoder = Encoder()
    stream = b"".join(encoder.feed(piece) for piece in pieces) + encoder.finish()
    assert decode(stream) == b"".join(pieces)


@settings(max_examples=150, deadline=None)
@given(st.text(alphabet="abc", max_size=400).map(str.encode))
def test_round_trip_of_what_repeats(data: bytes) -> None:
    assert decode_block(encode_block(data), len(data)) == data


@settings(max_examples=400, deadline=None)
@given(st.binary(max_size=80))
def test_any_block_is_decoded_or_refused(block: bytes) -> None:
    try:
        assert len(decode_block(block, 1 << 20)) <= 1 << 20
    except S2Error:
        return


def test_sizes_at_the_edges_of_a_block() -> None:
    noise = random.Random(5).randbytes(200_000)
    for size in (1, 15, 16, 60, 61, 256, 257, 65535, 65536, 65537, 131072, 200_000):
        for data in (noise[:size], bytes(size), (noise[:777] * 300)[:size]):
            assert decode(encode(data)) == data


def test_what_repeats_becomes_small_and_noise_hardly_grows() -> None:
    text = b'{"sensor":17,"value":20.5,"unit":"C"}' * 10_000
    assert len(encode(text)) < len(text) // 10
    noise = os.urandom(1 << 20)
    assert len(encode(noise)) <= len(noise) + 10 + 16 * 8


def test_an_empty_stream_names_its_format() -> None:
    assert encode(b"") == IDENTIFIER
    assert decode(IDENTIFIER) == b""


def test_output_of_one_call_is_bounded() -> None:
    """Five blocks of 64 KiB zeros in one piece, with room for two: three calls."""
    decoder = Decoder(output_limit=2 << 16)
    sizes = [len(decoder.feed(encode(bytes(5 << 16))))]
    while sizes[-1]:
        sizes.append(len(decoder.feed()))
    assert sizes == [2 << 16, 2 << 16, 1 << 16, 0]
    with pytest.raises(S2Error, match="more than 65535"):
        Decoder(output_limit=65535).feed(encode(bytes(1 << 16)))


def test_chunks_without_data_are_passed_over() -> None:
    skipped = b"\xfe\x03\x00\x00abc" + b"\x80\x00\x00\x00" + b"\x99\x02\x00\x00xy"
    stream = (
        SNAPPY_IDENTIFIER
        + skipped
        + plain_chunk(b"one")
        + skipped
        + IDENTIFIER
        + plain_chunk(b"two")
        + skipped
    )
    assert decode(stream) == b"onetwo"
    # A long one takes no memory: nothing of it is kept.
    decoder = Decoder()
    decoder.feed(IDENTIFIER + b"\xfe\xff\xff\xff")
    for _ in range(15):
        assert decoder.feed(bytes(1 << 20)) == b"" and len(decoder._input) == 0
    assert decoder.pending == (1 << 24) - 1 - (15 << 20)


@pytest.mark.parametrize(
    ("stream", "text"),
    [
        (b"NATSARC1 without frames", "not an S2 or Snappy stream"),
        (b"\xff\x06\x00\x00S2sTw0", "not an S2 or Snappy stream"),
        (plain_chunk(b"x"), "not an S2 or Snappy stream"),
        (b"\xfe\x00\x00\x00", "not an S2 or Snappy stream"),
        (IDENTIFIER + b"\x02\x01\x00\x00", "unknown kind 0x02"),
        (IDENTIFIER + b"\x7f\x01\x00\x00", "unknown kind 0x7f"),
        (IDENTIFIER + b"\x01\x03\x00\x00", "a chunk of 3 bytes"),
        (IDENTIFIER + b"\x00\xff\xff\xff", "a chunk of 16777215 bytes"),
        (IDENTIFIER + plain_chunk(b"abc")[:-1] + b"d", "checksum"),
        (SNAPPY_IDENTIFIER + plain_chunk(bytes(65537)), "holds 65537 bytes, more than 65536"),
        (IDENTIFIER + b"\x00\x04\x00\x00\x00\x00\x00\x00", "does not begin with its length"),
    ],
)
def test_bad_streams_are_refused(stream: bytes, text: str) -> None:
    with pytest.raises(S2Error, match=text):
        Decoder().feed(stream)
