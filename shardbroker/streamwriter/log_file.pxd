"""One log as the writer sees it: how far it is, which segment is open, what waits to be written."""

cimport cython
from libc.stdint cimport uint8_t, uint32_t, uint64_t
from posix.uio cimport iovec

from shardbroker.shm.append_lane cimport LaneRecord
from shardbroker.storage.frame cimport FrameHead
from shardbroker.streamwriter.file_calls cimport FileCalls

cdef struct Tail:
    bint known  # False: nothing is known of the log, the next frame is taken as it is
    uint64_t index  # of the last frame
    uint64_t position  # log position behind it; with `crc` 0 only a lower bound
    uint32_t term
    uint32_t crc  # its head_crc; 0: not known

@cython.final
cdef class LogFile:
    cdef readonly uint32_t log_id
    cdef uint32_t row  # of the log table; 0xFFFFFFFF: not known before its first frame
    cdef FileCalls calls
    cdef object store
    cdef list sealed  # (log id, base) of segments that were left whole: the write loop's
    cdef Tail tail  # with what this cycle has taken
    cdef Tail before  # at the start of this cycle: where a failed write falls back to
    cdef Tail durable  # where a failed sync falls back to
    cdef int fd  # of the open segment; -1: none
    cdef uint64_t base  # of the open segment
    cdef uint64_t capacity
    cdef uint64_t prepared  # file offset up to which the open segment has zeros written beyond its frames
    cdef uint32_t small_syncs  # in a row
    cdef uint64_t failed_below  # segments with a base below this one saw a sync fail and take nothing more
    cdef iovec *parts  # frames taken and not written yet, one after the other in the file
    cdef int part_count
    cdef int part_room
    cdef uint64_t part_start  # file offset of the first
    cdef uint64_t part_bytes
    cdef readonly bint dirty  # written to its own file and not synced there
    cdef bint lazy  # some of that is not in the journal either
    cdef bint sync_failed  # in this cycle
    cdef uint64_t journal_round  # the last round of the journal that has frames of this log; 0: none
    cdef bint wants_sync  # somebody waits for this cycle to be durable
    cdef bint touched  # in this cycle
    cdef int place  # among the logs touched in this cycle
    cdef uint64_t marked  # the watermark that was put down (storage/watermark.py)
    cdef uint64_t touched_ns  # monotonic, of the last cycle that had it
    cdef bint removed  # the log is gone: its row is another's
    cdef bint half_cut  # a cut of its end has failed on the way: nothing may be appended
    cdef uint64_t cut_index  # then: behind which frame
    cdef int error  # errno that failed this cycle for the log; 0: none
    cdef uint64_t new_frames  # of this cycle, for the figures
    cdef uint64_t new_bytes
    cdef uint64_t new_syncs

    cdef void begin_cycle(self) noexcept
    cdef uint32_t take(self, const LaneRecord *record, const FrameHead *head, uint8_t *frame) noexcept
    cdef int flush(self) noexcept
    cdef int sync(self) noexcept
    cdef void prepare(self) noexcept
    cdef void fail(self, int error) noexcept
    cdef void cut(self) noexcept
    cdef int open_segment(self, const LaneRecord *record, const FrameHead *head) noexcept
    cdef bint may_replace(self, const LaneRecord *record) noexcept
    cdef bint add_part(self, uint8_t *frame, uint64_t size, uint64_t offset) noexcept
    cdef object create_segment(self, const LaneRecord *record, const FrameHead *head)
    cdef void close_segment(self) noexcept
    cdef int check_truncate(self, uint64_t index, uint64_t committed, uint32_t term) except -1
    cdef int truncate(self, uint64_t index, uint32_t term) except -1
