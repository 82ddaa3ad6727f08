"""Fast batch publish: the reply subject that carries the state of a batch, and the replies to it (ADR-50).

Every message of a batch has the reply ``<prefix>.<batch>.<flow>.<gap>.<sequence>.<operation>.$FI``, so that a
message needs no headers to belong to one. The prefix is the client's inbox and may have several tokens.

    batch       its name, up to 64 bytes
    flow        the client wants an ack for every so many messages, at most 65535; nonsense means 10
    gap         ``ok``: lost messages are told and skipped; ``fail``: the batch ends at the first
    sequence    the place of the message in the batch, from 1
    operation   0 start, 1 append, 2 store and commit, 3 commit without storing, 4 ping without a message

Each reply goes to the reply subject of the message that caused it. The body of the last one is a PubAck.
Source: spec page 03 section 9; the texts were seen with nats-server 2.15.1.
"""

from dataclasses import dataclass

import orjson

from shardbroker.decimals import unsigned
from shardbroker.jetstream.api_error import ApiError

SUFFIX = b".$FI"
BATCH_ID_SIZE_MAX = 64  # longer: error 10207
FLOW_DEFAULT = 10
FLOW_MAX = 0xFFFF  # the server counts in 16 bits
FLOW_SHARED = 500  # messages without an ack, of all batches of a stream together
UINT64_MAX = 2**64 - 1
SEQUENCE_MAX = 2**64 - 2  # the next one must fit in 64 bits too

START, APPEND, COMMIT, COMMIT_WITHOUT_STORING, PING = range(5)

INVALID_PATTERN = 10206
INVALID_ID = 10207
UNKNOWN_ID = 10208


class FastBatchError(ValueError):
    """The reply ends like one of a batch and is none; ``err_code`` is `INVALID_PATTERN` or `INVALID_ID`."""

    def __init__(self, err_code: int) -> None:
        super().__init__(err_code)
        self.err_code = err_code


@dataclass(frozen=True, slots=True)
class FastBatchReply:
    """What a reply subject says. ``flow`` is in 1..65535."""

    batch_id: bytes
    flow: int
    gap_ok: bool
    sequence: int
    operation: int

    @property
    def is_commit(self) -> bool:
        return self.operation in (COMMIT, COMMIT_WITHOUT_STORING)

    @property
    def may_start(self) -> bool:
        """Whether a batch that is not known yet begins with it; otherwise the answer is `UNKNOWN_ID`."""
        return self.sequence == 1 and self.operation != PING


def parse(reply: bytes) -> FastBatchReply | None:
    """What a reply subject says; None if the message is not of a fast batch. Raises `FastBatchError`.

    nats-server looks at the length of the name later, after the limits of the stream; here it comes last.
    """
    if not reply.endswith(SUFFIX) or len(reply) == len(SUFFIX):
        return None
    # The prefix may have dots, and may be empty, but its own dot must be there.
    parts = reply[: -len(SUFFIX)].rsplit(b".", 5)
    if len(parts) != 6:
        raise FastBatchError(INVALID_PATTERN)
    _, batch_id, flow, gap, sequence_text, operation_text = parts
    operation = unsigned(operation_text, UINT64_MAX)
    sequence = unsigned(sequence_text, UINT64_MAX)
    if operation is None or operation > PING or sequence is None or not 1 <= sequence <= SEQUENCE_MAX:
        raise FastBatchError(INVALID_PATTERN)
    starts = sequence == 1
    if (operation == START and not starts) or (operation in (APPEND, COMMIT_WITHOUT_STORING) and starts):
        raise FastBatchError(INVALID_PATTERN)
    if gap not in (b"ok", b"fail"):
        raise FastBatchError(INVALID_PATTERN)
    if len(batch_id) > BATCH_ID_SIZE_MAX:
        raise FastBatchError(INVALID_ID)
    return FastBatchReply(
        batch_id=batch_id,
        flow=_flow(flow),
        gap_ok=gap == b"ok",
        sequence=sequence,
        operation=operation,
    )


def _flow(text: bytes) -> int:
    number = unsigned(text, UINT64_MAX)
    if number is None and text.isdigit():
        return FLOW_MAX  # too large for 64 bits
    return min(number or FLOW_DEFAULT, FLOW_MAX)


def first_flow(wanted: int, batches_count: int) -> int:
    """For how many messages a new batch gets an ack at first. ``batches_count`` counts it too.

    A batch alone gets what its client wants. One of several begins slowly: the stream is shared.
    """
    return min(wanted, FLOW_SHARED) if batches_count == 1 else 1


def next_flow(flow: int, wanted: int, batches_count: int) -> int:
    """The same for each further ack: doubled, or halved, until it is the batch's share."""
    share = min(max(FLOW_SHARED // batches_count, 1), wanted)
    return min(flow * 2, share) if flow < share else max(flow // 2, share)


def ack_body(sequence: int, flow: int) -> bytes:
    """All messages up to ``sequence`` are stored (or were told as gaps); 0 right after the start.

    ``flow`` is for how many messages the server will send an ack from now on.
    """
    return b'{"type":"ack","seq":%d,"msgs":%d}' % (sequence, flow)


def gap_body(expected_sequence: int, sequence: int) -> bytes:
    """``sequence`` came where ``expected_sequence`` was to come."""
    return b'{"type":"gap","last_seq":%d,"seq":%d}' % (expected_sequence, sequence)


def error_body(sequence: int, error: ApiError) -> bytes:
    """The message was not stored."""
    return b'{"type":"err","seq":%d,"error":%s}' % (sequence, orjson.dumps(error.as_dict()))


def commit_body(
    stream: bytes, stream_sequence: int, batch_id: bytes, count: int, domain: bytes = b""
) -> bytes:
    """The PubAck of a batch, fast or atomic: the stream's last sequence of it, and how many were stored."""
    domain_text = b'"domain":%s,' % _text(domain) if domain else b""
    return b'{"stream":%s,%s"seq":%d,"batch":%s,"count":%d}' % (
        _text(stream), domain_text, stream_sequence, _text(batch_id), count,
    )  # fmt: skip


def _text(value: bytes) -> bytes:
    return orjson.dumps(value.decode("utf-8", "replace"))
