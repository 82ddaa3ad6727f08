"""Delete markers are those that nats-server leaves."""

import time

import pytest

from shardbroker.jetstream.delete_markers import is_marker, marker
from tests.jetstream.publish_judge import PublishJudge, block_of
from tests.jetstream.reference_stream import NO_NATS_SERVER, NO_NATS_SERVER_REASON

SECOND = 1_000_000_000


@pytest.mark.skipif(NO_NATS_SERVER, reason=NO_NATS_SERVER_REASON)
def test_a_marker_is_that_of_nats_server() -> None:
    with PublishJudge() as judge:
        judge.make("A", subject_delete_marker_ttl=90 * SECOND, max_age=SECOND // 2)
        judge.store("A.x", b"text")
        deadline = time.monotonic() + 5
        while judge.figures("A")[3] < 2 and time.monotonic() < deadline:
            time.sleep(0.05)
        subject, block, payload = judge.stored("A", seq=2)
    assert (subject, block, payload) == (b"A.x", marker(b"A.x", 90 * SECOND)[0], b"")


def test_a_marker_has_a_time_and_flags_of_its_own() -> None:
    block, ttl_s, flags = marker(b"A.x", 3_600 * SECOND)
    assert block == block_of(Nats_Marker_Reason="MaxAge", Nats_TTL="1h0m0s", Nats_Rollup="sub")
    assert ttl_s == 3_600
    assert is_marker(flags)
    assert not is_marker(0)
