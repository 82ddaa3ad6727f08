"""Property: a number is read exactly if it is one and fits, whatever its length, and nothing raises."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shardbroker.decimals import signed, unsigned
from shardbroker.jetstream import consumer_requests, durations, schedules, stream_origin
from shardbroker.jetstream.consumer_config import ConsumerConfig
from shardbroker.subjects import transform

ZEROS = "0" * 5000  # more than Python converts


@given(st.integers(-(2**70), 2**70), st.integers(0, 6000), st.booleans())
def test_numbers_are_read_exactly(number: int, zeros: int, as_bytes: bool) -> None:
    text = ("-" if number < 0 else "") + "0" * zeros + str(abs(number))
    given_text = text.encode() if as_bytes else text
    assert signed(given_text, -(2**63), 2**63 - 1) == (number if -(2**63) <= number < 2**63 else None)
    assert unsigned(given_text, 2**64 - 1) == (number if 0 <= number < 2**64 and text[0] != "-" else None)


@pytest.mark.parametrize("text", ["", "-", "+", "1.0", " 1", "1 ", "0x1", "1e3", "--1", "+-1", "\u0663", "a"])
def test_what_is_no_number(text: str) -> None:
    assert signed(text, -9, 9) is None
    assert unsigned(text, 9) is None


def test_zeros_of_clients_are_no_fault_of_ours() -> None:
    assert durations.parse_duration(ZEROS + "1s") == 10**9
    assert durations.parse_message_ttl(ZEROS.encode() + b"5") == 5 * 10**9
    assert consumer_requests.read_next_slowly(ZEROS.encode() + b"7").batch == 7
    assert transform.parse_integer(ZEROS + "8") == 8
    assert ConsumerConfig(sample_freq=ZEROS + "50%").sample_percent() == 50
    block = b"NATS/1.0\r\nNats-Stream-Source: S %b9 > a b\r\n\r\n" % ZEROS.encode()
    assert stream_origin.read_origin(block).sequence == 9
    with pytest.raises(schedules.ScheduleError):
        schedules.next_fire(f"{ZEROS}99 * * * * *", None, 0, 0)
