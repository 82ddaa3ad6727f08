"""The generator must notice every wrong byte, and must not take a PING of the server for one."""

import pytest

from loadtests.compare import traffic, wire
from loadtests.compare.traffic import Comparison, Traffic
from loadtests.compare.wire import LoadError


@pytest.fixture(name="small_reads")
def fixture_small_reads(monkeypatch):
    monkeypatch.setattr(wire, "read_size", 4096)


def feed(comparison: Comparison, data: bytes, step: int) -> int:
    return sum(comparison(data[start : start + step]) for start in range(0, len(data), step))


@pytest.mark.parametrize("step", [1, 2, 3, 5, 7, 64, 1000])
def test_right_bytes_with_pings_between_them_are_accepted(step, small_reads):
    shape = Traffic(payload_size=16, subject_count=3)
    ring = shape.receive_ring()
    record_size = len(ring) // 3
    records = [ring[start : start + record_size] for start in range(0, len(ring), record_size)] * 4
    stream = wire.ping + wire.ping.join(records) + wire.ping
    assert feed(Comparison(ring), stream, step) == 4 * len(ring)


def test_each_altered_byte_is_found(small_reads):
    ring = Traffic(payload_size=8).receive_ring()
    for place in range(len(ring)):
        altered = bytearray(ring * 2)
        altered[place] ^= 1
        with pytest.raises(LoadError):
            Comparison(ring)(bytes(altered))


def test_lost_and_reordered_messages_are_found(small_reads):
    ring = Traffic(payload_size=8, subject_count=4).receive_ring()
    size = len(ring) // 4
    lost, swapped = ring[size:], ring[size : 2 * size] + ring[:size] + ring[2 * size :]
    doubled = ring[:size] + ring[:size]
    for wrong in (lost, swapped, doubled):
        with pytest.raises(LoadError):
            Comparison(ring)(wrong)


@pytest.mark.parametrize(("surplus", "fine"), [(6, True), (12, True), (0, False), (-40, False), (46, False)])
def test_the_count_of_bytes_must_fit(surplus, fine):
    if fine:
        traffic._check_surplus(surplus)
    else:
        with pytest.raises(LoadError):
            traffic._check_surplus(surplus)


@pytest.mark.parametrize("size", [0, 21, 64, 200])
def test_header_blocks_have_the_wanted_size(size):
    block = wire.header_block(size)
    assert len(block) == size
    if size:
        assert block.startswith(b"NATS/1.0\r\n") and block.endswith(b"\r\n\r\n")


def test_a_record_is_what_the_protocol_says():
    assert wire.publish_record(b"a", b"xy", reply=b"r") == b"PUB a r 2\r\nxy\r\n"
    assert wire.message_record(b"a", 7, b"xy", reply=b"r") == b"MSG a 7 r 2\r\nxy\r\n"
    headers = b"NATS/1.0\r\n\r\n"
    assert wire.publish_record(b"a", b"xy", headers) == b"HPUB a 12 14\r\nNATS/1.0\r\n\r\nxy\r\n"
    assert wire.message_record(b"a", 7, b"xy", headers) == b"HMSG a 7 12 14\r\nNATS/1.0\r\n\r\nxy\r\n"


def test_copies_of_a_message():
    assert Traffic(subscribers=0).copies == 0
    assert Traffic(subscribers=8).copies == 8
    assert Traffic(subscribers=4, queue=True).copies == 1
