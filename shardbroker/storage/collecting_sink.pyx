"""A sink that keeps all it is told as Python values: for tests and tools, not for large logs."""

from libc.stdint cimport uint8_t, uint32_t, uint64_t

from shardbroker.storage.codec cimport record_value
from shardbroker.storage.frame cimport FRAME_DELETE, RECORD_HEAD_SIZE, FrameHead, RecordHead
from shardbroker.storage.log_sink cimport LogSink

from shardbroker.storage.codec import Record
from shardbroker.storage.scan_result import without_deleted


cdef class CollectingSink(LogSink):
    """`records`: (kind, frame index, Record, position). `frames`: (kind, index, body, position).

    `lost`: (first, last, reason). `beats`: bytes done at each sign of life. Payloads of records that come
    from an index are zeros.
    """

    cdef readonly list records, frames, lost, beats

    def __init__(self):
        self.wants_beat = True
        self.records = []
        self.frames = []
        self.lost = []
        self.beats = []

    cdef int on_record(self, const FrameHead *frame, const RecordHead *record, uint64_t position) except -1:
        value = record_outline(record) if self.from_index else record_value(record)
        self.records.append((frame.kind, frame.index, value, position))
        return 0

    cdef int on_frame(self, const FrameHead *frame, const uint8_t *body, uint64_t position) except -1:
        self.frames.append((frame.kind, frame.index, (<const char *> body)[: frame.body_size], position))
        return 0

    cdef int on_lost(self, uint64_t first_sequence, uint64_t last_sequence, object reason) except -1:
        self.lost.append((first_sequence, last_sequence, reason))
        return 0

    cdef int on_progress(self, uint64_t bytes_done) except -1:
        self.beats.append(bytes_done)
        return 0


cdef object record_outline(const RecordHead *record):
    """What an index has of a record, as a Python value."""
    cdef const char *subject = <const char *> record + RECORD_HEAD_SIZE
    headers = (subject + record.subject_size)[: record.header_size] if record.flags else b""
    return Record(
        record.sequence,
        subject[: record.subject_size],
        bytes(record.payload_size),
        headers,
        record.time_ns,
        record.flags,
        record.ttl_s,
    )


cdef class CountingSink(LogSink):
    """Counts: what a scan costs by itself, and for tools. `progress(bytes)` is called now and then.

    `records` are those that were found; a message that moved to the log's end is one more. `lost`: (first,
    last, reason) of what cannot be read and was not deleted either.
    """

    cdef readonly uint64_t records, record_bytes, frames, first_sequence, last_sequence
    cdef readonly list lost
    cdef object progress

    def __init__(self, progress=None):
        self.lost = []
        self.progress = progress
        self.wants_beat = progress is not None

    cdef int on_record(self, const FrameHead *frame, const RecordHead *record, uint64_t position) except -1:
        self.records += 1
        self.record_bytes += record.size
        if record.sequence < self.first_sequence or self.first_sequence == 0:
            self.first_sequence = record.sequence
        if record.sequence > self.last_sequence:
            self.last_sequence = record.sequence
        return 0

    cdef int on_frame(self, const FrameHead *frame, const uint8_t *body, uint64_t position) except -1:
        cdef const uint64_t *runs = <const uint64_t *> body
        cdef uint32_t i
        self.frames += 1
        if frame.kind == FRAME_DELETE and self.lost:
            for i in range(frame.body_size // 16):
                self.lost = without_deleted(self.lost, runs[2 * i], runs[2 * i] + runs[2 * i + 1] - 1)
        return 0

    cdef int on_lost(self, uint64_t first_sequence, uint64_t last_sequence, object reason) except -1:
        self.lost.append((first_sequence, last_sequence, reason))
        return 0

    cdef int on_progress(self, uint64_t bytes_done) except -1:
        self.progress(bytes_done)
        return 0
