"""The stream-writer's cycle: take, write, sync once, answer."""

cimport cython
from libc.stdint cimport uint8_t, uint32_t, uint64_t

from shardbroker.shm.append_lane cimport LaneConsumer, LaneRecord
from shardbroker.shm.offsets cimport WORKERS_MAX
from shardbroker.streamwriter.bells cimport Bells
from shardbroker.streamwriter.file_calls cimport FileCalls
from shardbroker.streamwriter.journal_writer cimport JournalWriter
from shardbroker.streamwriter.log_file cimport LogFile
from shardbroker.streamwriter.log_table cimport LogTable

cdef struct Entry:
    LaneRecord *record  # in the lane
    uint64_t index  # of the frame; 0: it waits for its log's sync, or for all
    int log  # place in `touched`; -1: all logs

@cython.final
cdef class WriteLoop:
    cdef readonly FileCalls calls
    cdef object store
    cdef readonly JournalWriter journal
    cdef object on_fault  # on_fault(kind, log id, errno)
    cdef dict logs  # log id -> LogFile
    cdef list touched  # LogFiles of this cycle
    cdef list truncating  # workers whose lanes begin with a LANE_TRUNCATE
    cdef dict unsynced  # log id -> LogFile written without a sync
    cdef dict unmarked  # log id -> LogFile that is further than its watermark says
    cdef list sealed  # (log id, base) of segments that have no index yet
    cdef list lanes  # LaneConsumer or None, by worker
    cdef Entry *entries  # records that are answered at the end of the cycle
    cdef int entry_count
    cdef int entry_room
    cdef readonly Bells bells
    cdef LogTable table
    cdef uint64_t resent[WORKERS_MAX]  # lane position before which a predecessor may have stored records
    cdef bint sync_all  # a record of this cycle waits for all logs
    cdef bint wants_cycle_sync  # some log waits for a sync
    cdef readonly uint64_t cycles
    cdef readonly uint64_t frames
    cdef uint64_t new_frames  # since they were put on the board, like the next one
    cdef uint64_t new_bytes

    cdef bint gather(self, int worker) noexcept
    cdef void take(self, int worker, LaneRecord *place, uint64_t size, uint64_t position) noexcept
    cdef uint32_t take_frame(
        self, int worker, LaneRecord *place, const LaneRecord *record, uint64_t position
    ) noexcept
    cdef uint32_t take_sync(self, LaneRecord *place, const LaneRecord *record) noexcept
    cdef uint32_t operate(self, const LaneRecord *record, uint8_t *body) noexcept
    cdef LogFile log_of(self, uint32_t log_id)
    cdef LogFile touch(self, uint32_t log_id)
    cdef LogFile touch_of(self, uint32_t log_id, uint32_t row)
    cdef void add_touched(self, LogFile log) noexcept
    cdef object remove(self, const LaneRecord *record)
    cdef uint32_t erase(self, const LaneRecord *record) except? 0
    cdef bint wait_for(self, LaneRecord *record, uint64_t index, int log) noexcept
    cdef void write_and_sync(self) noexcept
    cdef void write_with_journal(self) noexcept
    cdef void answer(self) noexcept
    cdef void tell_figures(self) noexcept
    cdef void truncate_logs(self) noexcept
    cdef uint32_t truncate(self, const LaneRecord *record) noexcept
