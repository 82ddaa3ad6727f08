"""Properties of slots: what is read is what was written last, or it is called damaged; a write loses nothing.

Every byte of a slot is flipped and every length of it is cut; nothing but the body written may come out.
"""

import pytest

from shardbroker.storage.metadata import HEAD_SIZE, DamagedSlot, Slots, decode, encode

BODY = b'{"name":"ORDERS","subjects":["orders.>"]}'


@pytest.mark.parametrize("body", [b"", b"x", BODY, bytes(100_000)])
def test_a_slot_gives_back_what_was_put_in(body):
    assert decode(encode(7, body)) == (7, body)
    assert decode(encode(7, body) + b"left over from a longer one") == (7, body)


def test_every_flipped_bit_is_noticed():
    good = encode(1 << 40, BODY)
    for at in range(len(good)):
        for bit in range(8):
            bad = bytearray(good)
            bad[at] ^= 1 << bit
            with pytest.raises(DamagedSlot):
                decode(bytes(bad))


def test_every_cut_is_noticed():
    good = encode(3, BODY)
    for size in range(len(good)):
        with pytest.raises(DamagedSlot):
            decode(good[:size])


def test_the_newest_valid_slot_counts_and_is_never_the_next_to_be_written():
    old, new = encode(4, b"old"), encode(5, b"new")
    for contents in ([old, new], [new, old]):
        slots = Slots(contents)
        assert (slots.generation, slots.body, slots.damage) == (5, b"new", [])
        assert contents[slots.next_slot] == old
    slots = Slots([old, new[:-1]])
    assert (slots.generation, slots.body, slots.next_slot) == (4, b"old", 1)
    assert slots.damage == ["slot B says its body has 3 bytes, which are not there"]


def test_nothing_valid_says_why():
    slots = Slots([None, None])
    assert (slots.body, slots.newest, slots.next_slot, slots.damage) == (None, -1, 0, [])
    slots = Slots([b"", b"\0" * HEAD_SIZE])
    assert slots.body is None
    assert slots.damage == ["slot A has 0 bytes, which is too short", "slot B does not begin like a slot"]


def test_a_newer_version_is_not_guessed_at():
    bad = bytearray(encode(1, BODY))
    bad[8] = 2
    with pytest.raises(DamagedSlot, match="version 2, this program knows 1"):
        decode(bytes(bad))
