"""The sealed index of a segment: everything recovery wants of it but the payloads."""

from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t

from shardbroker.storage.frame cimport FrameHead, RecordHead
from shardbroker.storage.frame_search cimport Chain
from shardbroker.storage.log_sink cimport LogSink


cdef packed struct IndexHead:
    uint32_t magic
    uint32_t head_crc  # of what follows in this head
    uint32_t version
    uint32_t log_id
    uint64_t base  # log position of the segment
    uint64_t end_position  # log position behind its last frame
    uint64_t first_index
    uint64_t last_index
    uint64_t last_sequence
    uint32_t first_previous_crc  # previous_crc of the first frame
    uint32_t last_crc  # head_crc of the last frame
    uint32_t last_term
    uint32_t body_crc
    uint64_t body_size  # bytes behind this head


cdef class IndexWriter(LogSink):
    cdef bytearray out
    cdef uint64_t used  # bytes of `out`
    cdef dict subjects  # bytes -> number
    cdef FrameHead frame  # the one the last record came from
    cdef uint64_t position, sequence, time_ns  # expected of the next record, or the last one's
    cdef uint32_t payload_size, header_size, subject
    cdef bint complete  # nothing was lost

    cdef void put_byte(self, uint8_t value) noexcept
    cdef void put(self, uint64_t value) noexcept
    cdef void put_signed(self, int64_t value) noexcept
    cdef int need(self, uint64_t size) except -1
    cdef int put_bytes(self, const uint8_t *data, uint64_t size) except -1
    cdef int put_frame(self, const FrameHead *frame) except -1


cdef struct Input:
    const uint8_t *at
    const uint8_t *end
    bint broken  # it ended within something


cdef struct Subject:
    const uint8_t *bytes  # in the index
    uint16_t size


cdef struct Replay:
    Input data
    FrameHead frame
    uint8_t *space  # the record that is put together: head, subject, header block
    uint64_t space_size
    Subject *subjects
    uint32_t subject_count, subject_room
    uint64_t position, sequence, time_ns  # expected of the next record; of the last one


cdef class IndexReader:
    cdef readonly bytes data
    cdef IndexHead head
    cdef bint good

    cdef bint fits(self, const Chain *chain, uint64_t base, uint64_t end_position) noexcept
    # Raises ValueError, MemoryError and what the sink raises.
    cdef int replay(self, LogSink sink) except -1
    cdef int reserve_space(self, Replay *state, uint64_t header_size) except -1
    cdef int new_subject(self, Replay *state, uint64_t number) except -1
    cdef int replay_record(self, LogSink sink, Replay *state) except -1
