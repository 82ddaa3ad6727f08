"""Frames as Python values: for tests, tools and whoever builds a few of them a minute.

Nothing on the path of a message comes here; that uses the inlined functions of codec.pxd on memory in place.
Both sides share those functions, so there is one place where the rules of frame.pxd are written as code.
"""

from libc.string cimport memcpy

from dataclasses import dataclass, field

from shardbroker.errors import ShardbrokerError
from shardbroker.storage.frame cimport (
    FRAME_CHECKPOINT,
    FRAME_DEDUPE,
    FRAME_DELETE,
    FRAME_NOTE,
    FRAME_PURGE,
    FRAME_SKIP,
    RECORD_HAS_ID,
    RECORD_HAS_TTL,
    RECORD_MARKER,
    RECORD_SCHEDULE,
    padded,
)
from shardbroker.storage.segment_head import SegmentHead

MESSAGES = FRAME_MESSAGES
DELETE = FRAME_DELETE
PURGE = FRAME_PURGE
CHECKPOINT = FRAME_CHECKPOINT
RELOCATED = FRAME_RELOCATED
DEDUPE = FRAME_DEDUPE
BATCH = FRAME_BATCH
BATCH_COMMIT = FRAME_BATCH_COMMIT
NOTE = FRAME_NOTE
SKIP = FRAME_SKIP
#: kind -> its name in reports.
KIND_NAMES = {
    FRAME_MESSAGES: "messages",
    FRAME_DELETE: "delete",
    FRAME_PURGE: "purge",
    FRAME_CHECKPOINT: "checkpoint",
    FRAME_RELOCATED: "relocated",
    FRAME_DEDUPE: "dedupe",
    FRAME_BATCH: "batch",
    FRAME_BATCH_COMMIT: "batch commit",
    FRAME_NOTE: "note",
    FRAME_SKIP: "skip",
}
HAS_TTL = RECORD_HAS_TTL
HAS_ID = RECORD_HAS_ID
MARKER = RECORD_MARKER
SCHEDULE = RECORD_SCHEDULE


class DamagedFrame(ShardbrokerError):
    """The bytes given are not one whole and right frame."""


@dataclass(frozen=True, slots=True)
class Record:
    """One stored message. `time_ns` is wall clock; `ttl_s` 0: no time of its own."""

    sequence: int
    subject: bytes
    payload: bytes = b""
    headers: bytes = b""
    time_ns: int = 0
    flags: int = 0
    ttl_s: int = 0


@dataclass(frozen=True, slots=True)
class Frame:
    """One frame; `records` for kinds with records, `body` for all."""

    kind: int
    log_id: int
    index: int
    term: int
    previous_crc: int
    head_crc: int
    first_sequence: int
    count: int
    time_ns: int
    durable_lag: int
    body: bytes
    records: tuple = field(default=())


def build_record(record: Record) -> bytes:
    """The bytes of one sealed record. Raises OverflowError for fields that do not fit."""
    cdef RecordHead head
    cdef bytes subject = record.subject, headers = record.headers, payload = record.payload
    cdef uint64_t size = padded(RECORD_HEAD_SIZE + len(subject) + len(headers) + len(payload))
    cdef bytearray result = bytearray(size)
    cdef char *out = result
    head.size = <uint32_t> size
    head.crc = 0
    head.sequence = record.sequence
    head.time_ns = record.time_ns
    head.header_size = len(headers)
    head.payload_size = len(payload)
    head.subject_size = len(subject)
    head.flags = record.flags
    head.ttl_s = record.ttl_s
    memcpy(out, &head, RECORD_HEAD_SIZE)
    memcpy(out + RECORD_HEAD_SIZE, <char *> subject, len(subject))
    memcpy(out + RECORD_HEAD_SIZE + len(subject), <char *> headers, len(headers))
    memcpy(out + RECORD_HEAD_SIZE + len(subject) + len(headers), <char *> payload, len(payload))
    seal_record(<RecordHead *> out)
    return bytes(result)


def build_message_frame(
    log_id, index, term, previous_crc, records, kind=FRAME_MESSAGES, durable_lag=1, time_ns=0
) -> bytes:
    """A sealed frame of Record values; any kind with records."""
    body = b"".join([build_record(record) for record in records])
    return build_frame(
        kind, log_id, index, term, previous_crc, body,
        first_sequence=records[0].sequence, count=len(records), durable_lag=durable_lag, time_ns=time_ns,
    )  # fmt: skip


def build_frame(
    kind, log_id, index, term, previous_crc, bytes body=b"",
    first_sequence=0, count=0, durable_lag=1, time_ns=0,
) -> bytes:
    """A sealed frame of any kind; `body` is padded with zeros."""
    cdef bytearray result = bytearray(FRAME_HEAD_SIZE + padded(len(body)))
    cdef char *out = result
    cdef FrameHead *head = <FrameHead *> out
    memcpy(out + FRAME_HEAD_SIZE, <char *> body, len(body))
    head.magic = FRAME_MAGIC
    head.log_id = log_id
    head.group_id = log_id
    head.body_size = <uint32_t> padded(len(body))
    head.previous_crc = previous_crc
    head.kind = kind
    head.count = count
    head.index = index
    head.first_sequence = first_sequence
    head.time_ns = time_ns
    head.term = term
    head.durable_lag = durable_lag
    seal_frame(head)
    return bytes(result)


def segment_head(log_id, base, first_index, capacity, term=1, previous_crc=0, created_ns=0) -> bytes:
    """The sealed head of a segment file."""
    return SegmentHead(log_id, base, first_index, capacity, term, previous_crc, created_ns).encode()


def parse_frame(bytes data) -> Frame:
    """The frame at the begin of `data`; more may follow it. Raises DamagedFrame."""
    cdef const char *start = data
    cdef const FrameHead *head = <const FrameHead *> start
    cdef uint64_t at = 0
    cdef const RecordHead *record
    if len(data) < FRAME_HEAD_SIZE or not frame_head_is_good(head):
        raise DamagedFrame("not a frame head")
    if FRAME_HEAD_SIZE + <uint64_t> head.body_size > <uint64_t> len(data):
        raise DamagedFrame("the frame is longer than what is there")
    if head.body_crc != body_crc_of(head, <const uint8_t *> start + FRAME_HEAD_SIZE):
        raise DamagedFrame("the checksum of the body is wrong")
    records = []
    if has_records(head.kind):
        while at < head.body_size:
            record = <const RecordHead *> (start + FRAME_HEAD_SIZE + at)
            if not record_is_good(record, head.body_size - at):
                raise DamagedFrame(f"record {len(records)} is damaged")
            records.append(record_value(record))
            at += record.size
        if len(records) != head.count:
            raise DamagedFrame(f"{len(records)} records instead of {head.count}")
    return Frame(
        head.kind, head.log_id, head.index, head.term, head.previous_crc, head.head_crc, head.first_sequence,
        head.count, head.time_ns, head.durable_lag,
        data[FRAME_HEAD_SIZE : FRAME_HEAD_SIZE + head.body_size], tuple(records),
    )  # fmt: skip


cdef object record_value(const RecordHead *record):
    """A record, which must be good, as a Python value."""
    cdef const char *subject = <const char *> record + RECORD_HEAD_SIZE
    cdef const char *headers = subject + record.subject_size
    cdef const char *payload = headers + record.header_size
    return Record(
        record.sequence,
        subject[: record.subject_size],
        payload[: record.payload_size],
        headers[: record.header_size],
        record.time_ns,
        record.flags,
        record.ttl_s,
    )
