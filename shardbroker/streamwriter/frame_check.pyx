"""Checks of one frame that need nothing but itself. What it means for its log is log_file.pyx's question.

The lane is memory that another process can write at any time, also while it is read here. So the caller gives
*copies* of the record and of the frame's head, whose sizes it has held against the room in the lane; only the
body is read in place. A body that changes after its check costs its log, not the writer.
"""

from libc.stdint cimport uint8_t, uint32_t, uint64_t

from shardbroker.shm.append_lane cimport LaneRecord
from shardbroker.storage.codec cimport frame_head_is_good, has_records, record_fits
from shardbroker.storage.crc32c cimport crc32c
from shardbroker.storage.frame cimport (
    FRAME_HEAD_SIZE,
    FRAME_SKIP,
    RECORD_HEAD_SIZE,
    FrameHead,
    RecordHead,
)


cdef bint frame_is_sound(const LaneRecord *record, const FrameHead *head, const uint8_t *body) noexcept nogil:
    """Whether the frame is whole and says the same as the record that carries it."""
    if record.body_size < FRAME_HEAD_SIZE or record.body_size & 7:
        return False
    if (
        head.log_id != record.log_id
        or head.index != record.index
        or head.index == 0
        or head.term != record.term
        or head.kind == 0
        or head.kind > FRAME_SKIP
        or head.body_size != record.body_size - FRAME_HEAD_SIZE
        or record.position < record.segment
        or record.position & 7
        or record.capacity & 7
    ):
        return False
    if not frame_head_is_good(head):
        return False
    if has_records(head.kind):
        return records_are_sound(body, head.body_size, head.count, head.body_crc)
    return crc32c(0, body, head.body_size) == head.body_crc


cdef bint records_are_sound(
    const uint8_t *body, uint64_t size, uint32_t count, uint32_t body_crc
) noexcept nogil:
    """Whether `size` bytes are exactly `count` records whose checksums have the checksum `body_crc`."""
    cdef RecordHead record
    cdef uint64_t at = 0
    cdef uint32_t crc = 0
    while at < size:
        if size - at < RECORD_HEAD_SIZE or count == 0:
            return False
        record = (<const RecordHead *> (body + at))[0]
        if not record_fits(&record, size - at):
            return False
        crc = crc32c(crc, &record.crc, 4)
        at += record.size
        count -= 1
    return count == 0 and crc == body_crc
