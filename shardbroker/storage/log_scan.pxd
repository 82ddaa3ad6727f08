"""Reading a log back: every whole frame in order, and every loss told."""

from libc.stdint cimport uint8_t, uint32_t, uint64_t

from shardbroker.storage.frame cimport FrameHead
from shardbroker.storage.frame_search cimport Chain, FrameSearch
from shardbroker.storage.log_sink cimport LogSink
from shardbroker.storage.segment_window cimport SegmentWindow


cdef struct PendingFrame:
    FrameHead head
    uint32_t segment
    uint64_t offset


cdef class LogScan:
    cdef readonly uint32_t log_id
    cdef readonly list segments  # SegmentFile
    cdef list notes, lost, leftovers
    cdef LogSink sink
    cdef FrameSearch search
    cdef Chain *chain  # of the search
    cdef uint64_t last_sequence  # of what was accepted
    cdef uint64_t body_last  # sequence of the last record of the body that was checked last
    # Where the scan is.
    cdef SegmentWindow window
    cdef uint32_t number  # of the segment, from 0
    cdef uint64_t base, end  # of that segment: log position; offset in the file behind its last frame's place
    cdef uint64_t accepted_end  # log position behind the last frame that was accepted
    cdef uint64_t bytes_done, next_beat
    # A hole whose sequences are not all known yet.
    cdef bint gap_open
    cdef uint64_t gap_from  # the first sequence in it
    cdef object gap_reason
    # Frames of an atomic batch whose commit was not seen yet.
    cdef PendingFrame *pending
    cdef uint32_t pending_count, pending_capacity
    cdef SegmentWindow again
    cdef int again_number
    cdef bint use_indexes, make_durable

    cdef int enter(self, uint32_t number) except -1
    cdef int leave(self) noexcept
    cdef bint take_index(self) except -1
    cdef int beat(self, uint64_t offset) except -1
    cdef int scan_segment(self, uint64_t *at) except -1
    cdef int try_frame(self, uint64_t *at) except -1
    cdef bint goes_on_in(self, uint32_t number) except -1
    cdef int take_cut(self, const FrameHead *head, uint64_t offset) except -1
    cdef int accept(self, const FrameHead *head, const uint8_t *body, uint64_t offset, bint good) except -1
    cdef int deliver(self, const FrameHead *head, const uint8_t *body, uint64_t place, bint good) except -1
    cdef int deliver_damaged(self, const FrameHead *head, const uint8_t *body, uint64_t position) except -1
    cdef int tell_lost(self, uint64_t first, uint64_t last, object reason) except -1
    cdef int skip_hole(self, uint64_t *at) except -1
    cdef int open_gap(self, uint64_t offset) except -1
    cdef int close_gap(self, const FrameHead *head) except -1
    cdef int salvage(self, uint64_t first, uint64_t last, const FrameHead *following) except -1
    cdef int keep_pending(self, const FrameHead *head, uint64_t offset) except -1
    cdef int settle_pending(self, const FrameHead *head) except -1
    cdef int note_batch(self, str what) except -1
    cdef int deliver_pending(self) except -1
    cdef object finish(self, uint64_t offset)
