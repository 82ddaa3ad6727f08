"""Finding frames where the log does not simply go on."""

from libc.stdint cimport uint8_t, uint32_t, uint64_t

from shardbroker.storage.frame cimport FrameHead
from shardbroker.storage.segment_window cimport SegmentWindow


cdef struct Chain:
    uint32_t log_id
    bint started  # False: nothing is known of what came before the first frame
    uint64_t last_index  # of the last frame that was accepted, or of the last one missing
    uint32_t last_crc  # what the next frame must have as previous_crc
    uint32_t last_term


cdef uint64_t last_sequence_of(const FrameHead *head) noexcept nogil
cdef bint body_is_good(const FrameHead *head, const uint8_t *body, uint64_t *last_sequence) noexcept nogil
cdef bint repair_head(FrameHead *head, const FrameHead *expected) noexcept nogil


cdef class FrameSearch:
    cdef Chain chain
    cdef list segments  # SegmentFile
    cdef uint64_t known_durable  # index
    cdef uint64_t highest_sequence  # seen anywhere, also in what is cut
    cdef uint64_t trial_budget  # bytes of checksums that may still be tried in vain
    # Looking ahead: where it is.
    cdef SegmentWindow window
    cdef bint opened
    cdef uint32_t number  # of the segment
    cdef uint64_t base, offset, end  # of that segment: log position; in the file
    cdef uint64_t garbage_end  # log position behind the last frame that was seen ahead

    cdef bint is_next(self, const FrameHead *head) noexcept
    cdef bint is_later(self, const FrameHead *head) noexcept
    cdef uint64_t end_of(self, uint32_t number, uint64_t size)
    cdef bint spend_trial(self, uint64_t size) noexcept
    cdef uint64_t good_record(self, SegmentWindow window, uint64_t offset, uint64_t end) except? 1
    cdef uint64_t next_head(
        self, SegmentWindow window, uint64_t offset, uint64_t end, FrameHead *found
    ) except? 1
    cdef bint is_durable(self, uint64_t index, uint32_t number, uint64_t offset) except -1
    cdef int look_at(self, uint32_t number) except -1
