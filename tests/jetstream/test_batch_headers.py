"""Property: the headers of atomic batches are taken and refused as by nats-server 2.15.1."""

import pytest

from shardbroker.jetstream import batch_headers
from shardbroker.jetstream.batch_headers import BatchHeaderError, BatchHeaders
from tests.jetstream.reference_stream import NO_NATS_SERVER, NO_NATS_SERVER_REASON, ReferenceStream

SIZE_MAX = 1000  # nats-server's default

# batch id, sequence, commit (None: no header), error; each for a batch that is not open
FIRST = [
    (b"k" * 65, None, None, 10179),
    (b"k" * 65, b"x", b"x", 10179),
    (b"a", None, None, 10175),
    (b"a", b"", None, 10175),
    (b"a", b"x", None, 10175),
    (b"a", b"-1", None, 10175),
    (b"a", b"18446744073709551616", None, 10175),
    (b"a", b"0", None, 10176),
    (b"a", b"2", None, 10176),
    (b"a", b"2", b"2", 10176),
    (b"a", b"1001", None, 10199),
    (b"a", b"1002", b"eob", 10199),
    (b"a", b"1001", b"eob", 10176),
    (b"a", b"1", b"", 10200),
    (b"a", b"1", b"2", 10200),
    (b"a", b"1", b"EOB", 10200),
    (b"a", b"1", b"eob", 10176),
    (b"a", b"1", b"1", None),
    (b"k" * 64, b"001", b"1", None),
    (b"", b"1", None, None),
    (b"", b"x", b"x", None),
]


def block_of(batch_id: bytes, sequence: bytes | None, commit: bytes | None) -> bytes:
    lines = [(b"Id", batch_id), (b"Sequence", sequence), (b"Commit", commit)]
    return b"NATS/1.0\r\n%s\r\n" % b"".join(
        b"Nats-Batch-%s: %s\r\n" % (name, value) for name, value in lines if value is not None
    )


def refusal(block: bytes) -> int | None:
    """What becomes of the first message of a batch."""
    try:
        headers = batch_headers.parse(block)
        if headers is not None:
            batch_headers.check_start(headers, SIZE_MAX)
            batch_headers.check_commit(headers)
            batch_headers.check_place(headers, 0, SIZE_MAX)
    except BatchHeaderError as error:
        return error.err_code
    return None


@pytest.mark.parametrize(("batch_id", "sequence", "commit", "err_code"), FIRST)
def test_first_message(batch_id, sequence, commit, err_code):
    assert refusal(block_of(batch_id, sequence, commit)) == err_code


def test_what_is_said():
    assert batch_headers.parse(b"") is None
    headers = batch_headers.parse(block_of(b"a", b"3", b"eob"))
    assert headers == BatchHeaders(b"a", 3, b"eob")
    assert (headers.is_commit, headers.stores, headers.size) == (True, False, 2)
    headers = batch_headers.parse(block_of(b"a", b"3", None))
    assert (headers.is_commit, headers.stores, headers.size) == (False, True, 3)


@pytest.mark.parametrize(
    ("sequence", "commit", "last", "err_code"),
    [(2, None, 1, None), (2, None, 2, 10176), (4, None, 2, 10176), (1001, None, 1000, 10199),
     (1001, b"eob", 1000, None), (1002, b"eob", 1001, 10199)],
)  # fmt: skip
def test_place(sequence, commit, last, err_code):
    seen = None
    try:
        batch_headers.check_place(BatchHeaders(b"a", sequence, commit), last, SIZE_MAX)
    except BatchHeaderError as error:
        seen = error.err_code
    assert seen == err_code


@pytest.mark.skipif(NO_NATS_SERVER, reason=NO_NATS_SERVER_REASON)
def test_against_nats_server():
    with ReferenceStream() as judge:
        judge.create("B", allow_atomic=True)
        for batch_id, sequence, commit, err_code in FIRST:
            block = block_of(batch_id, sequence, commit)
            assert judge.store("B.a", b"x", block).get("err_code") == err_code, block
        first = block_of(b"j", b"1", None)
        assert judge.ask("B.a", b"x", first).payload == b""
        answer = judge.store("B.a", b"x", block_of(b"j", b"2", b"eob"))
        assert answer["count"] == 1
        assert judge.stored("B", seq=answer["seq"])[1] == batch_headers.close_block(first)
