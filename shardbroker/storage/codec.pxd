"""Sealing and checking of frames and records, for everything that builds or reads them. Inlined.

Lengths come from a disk or from another process: nothing here reads beyond what the caller says is there.
"""

from libc.stdint cimport uint8_t, uint32_t, uint64_t

from shardbroker.storage.crc32c cimport crc32c
from shardbroker.storage.frame cimport (
    FRAME_BATCH,
    FRAME_BATCH_COMMIT,
    FRAME_HEAD_SIZE,
    FRAME_MAGIC,
    FRAME_MESSAGES,
    FRAME_RELOCATED,
    RECORD_HEAD_SIZE,
    FrameHead,
    RecordHead,
)


cdef enum:
    CRC_COVERS_FROM = 8  # bytes of a head before the first one that its checksum covers


cdef inline bint gives_sequences(uint32_t kind) noexcept nogil:
    """Whether the records of a frame of this kind are new."""
    return kind == FRAME_MESSAGES or kind == FRAME_BATCH or kind == FRAME_BATCH_COMMIT


cdef inline bint has_records(uint32_t kind) noexcept nogil:
    """Whether the body of a frame of this kind consists of records."""
    return gives_sequences(kind) or kind == FRAME_RELOCATED


cdef inline uint32_t record_crc(const RecordHead *record) noexcept nogil:
    """The checksum that a record of `record.size` bytes should have."""
    return crc32c(record.size, <const uint8_t *> record + CRC_COVERS_FROM, record.size - CRC_COVERS_FROM)


cdef inline void seal_record(RecordHead *record) noexcept nogil:
    """Fill the checksum; everything else, the zeros at the end too, must be there."""
    record.crc = record_crc(record)


cdef inline bint record_fits(const RecordHead *record, uint64_t available) noexcept nogil:
    """Whether the sizes in the head make sense within `available` bytes; 0-39 bytes are never enough."""
    cdef uint64_t used
    if available < RECORD_HEAD_SIZE or record.size > available or record.size & 7:
        return False
    used = RECORD_HEAD_SIZE + <uint64_t> record.subject_size + record.header_size + record.payload_size
    return used <= record.size < used + 8


cdef inline bint record_is_good(const RecordHead *record, uint64_t available) noexcept nogil:
    """Whether a whole and right record begins here."""
    return record_fits(record, available) and record.crc == record_crc(record)


cdef inline bint frame_head_is_good(const FrameHead *head) noexcept nogil:
    """Magic, checksum and alignment; 64 bytes are read. Says nothing about the body or the place."""
    return (
        head.magic == FRAME_MAGIC
        and head.body_size & 7 == 0
        and head.head_crc
        == crc32c(0, <const uint8_t *> head + CRC_COVERS_FROM, FRAME_HEAD_SIZE - CRC_COVERS_FROM)
    )


cdef inline uint32_t body_crc_of(const FrameHead *head, const uint8_t *body) noexcept nogil:
    """The checksum of a body, which must be there in full; records are walked by their sizes.

    A record whose size is nonsense ends the walk: the result is then wrong, as it should be.
    """
    cdef uint64_t at = 0
    cdef uint32_t crc = 0
    cdef const RecordHead *record
    if not has_records(head.kind):
        return crc32c(0, body, head.body_size)
    while at + RECORD_HEAD_SIZE <= head.body_size:
        record = <const RecordHead *> (body + at)
        if record.size < RECORD_HEAD_SIZE:
            break
        crc = crc32c(crc, &record.crc, 4)
        at += record.size
    return crc


cdef inline void seal_head(FrameHead *head) noexcept nogil:
    """Fill only the head's checksum: for who has kept the body's while the records were written."""
    head.head_crc = crc32c(0, <const uint8_t *> head + CRC_COVERS_FROM, FRAME_HEAD_SIZE - CRC_COVERS_FROM)


cdef inline void seal_frame(FrameHead *head) noexcept nogil:
    """Fill both checksums of a frame that lies in one piece; its records must be sealed."""
    head.body_crc = body_crc_of(head, <const uint8_t *> head + FRAME_HEAD_SIZE)
    seal_head(head)


cdef object record_value(const RecordHead *record)
