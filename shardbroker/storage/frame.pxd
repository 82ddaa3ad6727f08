"""Frames and records: the bytes of a log, as they lie in the append lane, in segments and in memory streams.

    segment file:   SegmentHeader (64 bytes), frame, frame, ..., zeros or leftovers of an earlier use
    frame:          FrameHead (64 bytes), body (a multiple of 8 bytes)
    message frame:  body = records; record: RecordHead (40 bytes), subject, header block, payload, 0-7 zeros

A log position counts bytes of frames since the log began and never falls; a segment knows the position of its
first frame (`base`), so a frame lies in its file at 64 + position - base. Everything is little-endian and
8-byte aligned. Checksums are CRC-32C: the head of a frame has its own, so that a flipped length cannot hide
what follows; each record has its own, so that rot costs the record it hits.
"""

from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t

cdef enum:
    FRAME_MAGIC = 0x31464253  # b"SBF1"
    SEGMENT_MAGIC = 0x31534253  # b"SBS1"
    FORMAT_VERSION = 1
    FRAME_HEAD_SIZE = 64
    RECORD_HEAD_SIZE = 40
    SEGMENT_HEAD_SIZE = 64

    # FrameHead.kind. Numbers are on disk: only append.
    FRAME_MESSAGES = 1  # records with new, rising sequences
    FRAME_DELETE = 2  # body: u64 sequence, u64 count (a run), repeated; those messages are gone
    FRAME_PURGE = 3  # body: PurgeBody, then the filter subject (may be empty), padded
    FRAME_CHECKPOINT = 4  # body: CheckpointBody, then runs of deleted sequences like FRAME_DELETE
    FRAME_RELOCATED = 5  # records of the log that moved to its end (cleaning); no new sequences
    FRAME_DEDUPE = 6  # body: DedupeEntry, repeated: message ids whose records were dropped at the head
    FRAME_BATCH = 7  # like FRAME_MESSAGES, one part of an atomic batch that is not committed yet
    FRAME_BATCH_COMMIT = 8  # like FRAME_MESSAGES, the last part: the batch counts from here
    FRAME_NOTE = 9  # body: kind u32, size u32, bytes: opaque state kept by the owner (consumers, sources)
    FRAME_SKIP = 10  # body: u64: the next sequence is at least this one

    # RecordHead.flags
    RECORD_HAS_TTL = 1  # the header block has Nats-TTL
    RECORD_HAS_ID = 2  # the header block has Nats-Msg-Id
    RECORD_MARKER = 4  # a delete marker
    RECORD_SCHEDULE = 8  # the header block has Nats-Schedule
    RECORD_ROLLUP_SUBJECT = 16  # older messages of its subject go
    RECORD_ROLLUP_ALL = 32  # all older messages go
    TTL_NEVER = 0xFFFFFFFF  # RecordHead.ttl_s: the message outlives max_age

cdef packed struct SegmentHead:
    uint32_t magic
    uint32_t head_crc  # of the 56 bytes that follow
    uint32_t version
    uint32_t log_id
    uint64_t base  # log position of the first frame
    uint64_t first_index  # index of the first frame
    uint64_t capacity  # bytes of frames that fit
    uint32_t term
    uint32_t previous_crc  # head_crc of the last frame of the segment before; 0: none
    uint64_t created_ns
    uint64_t reserved

cdef packed struct FrameHead:
    uint32_t magic
    uint32_t head_crc  # of the 56 bytes that follow
    uint32_t log_id
    uint32_t group_id  # of the replication group; the log id today
    uint32_t body_size  # bytes
    uint32_t body_crc  # of the body; of a frame with records: of their heads' crc fields, in order
    uint32_t previous_crc  # head_crc of the frame before, over segment borders; 0: the first of the log
    uint16_t kind
    uint16_t count  # records
    uint64_t index  # of the frame in its log, from 1, without gaps
    uint64_t first_sequence  # of the first record; others: the last sequence given so far
    uint64_t time_ns  # wall clock when it was built
    uint32_t term
    uint32_t durable_lag  # index - the durable index known when it was built (saturates)

cdef packed struct RecordHead:
    uint32_t size  # of the whole record, a multiple of 8
    uint32_t crc  # of the record from the next field to its end, size as seed
    uint64_t sequence
    uint64_t time_ns  # wall clock, never falling within a stream
    uint32_t header_size  # bytes, 0: none
    uint32_t payload_size  # bytes
    uint16_t subject_size  # bytes
    uint16_t flags
    uint32_t ttl_s  # seconds after time_ns at which the message expires; 0: no time of its own

cdef packed struct PurgeBody:
    uint64_t below  # sequences below this one; 0: no such bound
    uint64_t keep  # newest messages that stay; 0: none
    uint32_t filter_size  # bytes of the filter subject that follows
    uint32_t reserved
    uint64_t first_sequence  # of the stream afterwards

cdef packed struct CheckpointBody:
    uint64_t first_sequence  # all below are gone
    uint64_t last_sequence
    uint64_t deleted_runs  # u64 pairs that follow

cdef packed struct DedupeEntry:
    uint64_t hash_low
    uint64_t hash_high
    uint64_t sequence
    uint64_t time_ns


cdef inline uint64_t padded(uint64_t size) noexcept nogil:
    return (size + 7) & ~(<uint64_t> 7)
