"""Atomic batch publish: what the headers of one message say about its batch (ADR-50).

Nats-Batch-Id names the batch, Nats-Batch-Sequence is the place of the message in it, from 1.
Nats-Batch-Commit ends it: ``1`` with this message, ``eob`` with the one before. Stored messages keep these
headers as they came; after ``eob`` the last one gets ``Nats-Batch-Commit: 1``, so that a reader of the stream
sees the end.

A message is checked in nats-server 2.15.1's order: `parse`; `check_start` if no such batch is open, which
opens it; `check_commit`; the API level; `check_place`. Source: spec page 03 section 8.
"""

from typing import NamedTuple

from shardbroker.decimals import unsigned
from shardbroker.jetstream import header_block

ID_SIZE_MAX = 64

SEQUENCE_MISSING = 10175
INCOMPLETE = 10176
ID_INVALID = 10179
TOO_LARGE = 10199
COMMIT_INVALID = 10200

COMMIT = b"1"
COMMIT_WITHOUT_STORING = b"eob"


class BatchHeaderError(ValueError):
    """``err_code`` is one of the numbers above."""

    def __init__(self, err_code: int) -> None:
        super().__init__(err_code)
        self.err_code = err_code


class BatchHeaders(NamedTuple):
    """What a message says. ``commit`` is the header's value as it came, None without one."""

    batch_id: bytes
    sequence: int
    commit: bytes | None

    @property
    def is_commit(self) -> bool:
        return self.commit is not None

    @property
    def stores(self) -> bool:
        """Whether the message itself is one of the batch."""
        return self.commit != COMMIT_WITHOUT_STORING

    @property
    def size(self) -> int:
        """How many messages the batch has up to this one."""
        return self.sequence if self.stores else (self.sequence - 1) % 2**64  # unsigned, as nats-server's


def parse(block: bytes) -> BatchHeaders | None:
    """The batch of a message, None for an ordinary one. Raises `BatchHeaderError`.

    Only for streams with atomic batches; others refuse a message with a batch name by 10174.
    """
    batch_id = header_block.get(block, header_block.BATCH_ID)
    if not batch_id:
        return None
    if len(batch_id) > ID_SIZE_MAX:
        raise BatchHeaderError(ID_INVALID)
    text = header_block.get(block, header_block.BATCH_SEQUENCE) or b""
    sequence = unsigned(text, 2**64 - 1)
    if sequence is None:
        raise BatchHeaderError(SEQUENCE_MISSING)
    return BatchHeaders(batch_id, sequence, header_block.get(block, header_block.BATCH_COMMIT))


def check_start(headers: BatchHeaders, size_max: int) -> None:
    """For a batch that is not open: only the first message may begin it. Raises `BatchHeaderError`."""
    if headers.sequence == 1:
        return
    raise BatchHeaderError(TOO_LARGE if headers.size > size_max else INCOMPLETE)


def check_commit(headers: BatchHeaders) -> None:
    """Once the batch is open; a refusal ends it. Raises `BatchHeaderError`."""
    if headers.commit not in (None, COMMIT, COMMIT_WITHOUT_STORING):
        raise BatchHeaderError(COMMIT_INVALID)


def check_place(headers: BatchHeaders, last_sequence: int, size_max: int) -> None:
    """After `check_commit`: it must follow ``last_sequence``, 0 for none. A refusal ends the batch.

    Raises `BatchHeaderError`.
    """
    if headers.sequence != last_sequence + 1 or headers.size == 0:
        raise BatchHeaderError(INCOMPLETE)
    if headers.size > size_max:
        raise BatchHeaderError(TOO_LARGE)


def close_block(block: bytes) -> bytes:
    """The header block of the last stored message of a batch that ``eob`` has ended."""
    return header_block.append(block, [(header_block.BATCH_COMMIT, COMMIT)])
