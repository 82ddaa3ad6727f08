"""The way of frames from the owner of streams to the stream-writer, and of the writer's word back.

One lane a worker, apart from the broadcast ring, so that a slow disk never holds core traffic. A lane record
is a LaneRecord, the bytes it carries, and a *trailer*: what the owner needs to answer for the record later
(reply subjects). The trailer is never stored; it is in the lane so that a successor can answer for a dead
owner.

    released <= answered <= processed <= head,  head - released <= size

The writer sets `status` in each record, then moves `processed`; the owner answers, and moves `released` once
the answers are visible to others: a successor answers what its predecessor cannot have. So an answer may come
twice, and never not at all.
"""

cimport cython
from libc.stdint cimport int32_t, uint8_t, uint32_t, uint64_t

from shardbroker.shm.ring cimport RingMap

cpdef enum:
    LANE_RECORD_SIZE = 80

    # LaneRecord.kind
    LANE_FRAME = 1  # body: one frame for `segment` at `position`
    LANE_CREATE = 2  # make the directory of a log; body: its metadata slot (storage/metadata)
    LANE_METADATA = 3  # a new metadata slot, durable before the status says so
    LANE_REMOVE = 4  # remove the log with all its files
    LANE_RELEASE = 5  # the segment file `segment` is dead: unlink it or keep it for another use
    LANE_ERASE = 6  # overwrite `count` bytes at `position` in `segment` with zeros
    LANE_INDEX = 7  # body: the sealed index of `segment`; may be lost
    LANE_SYNC = 8  # no body: processed when everything before it is durable
    LANE_TRUNCATE = 9  # no body: the log ends behind frame `index`, durably; what was behind it is gone

    # LaneRecord.flags
    LANE_NO_SYNC = 1  # may be acknowledged from the page cache (sync: interval)
    LANE_END_TOLD = 2  # the writer's, of a refused frame: the log ends behind frame `count` at `position`,
    # whose head_crc is in `segment`

    # LaneRecord.status
    STATUS_WAITING = 0
    STATUS_STORED = 1  # durable, or in the page cache with LANE_NO_SYNC
    STATUS_REFUSED = 2  # not in line with the log: a frame before it failed, or its term is old
    STATUS_FAULTY = 3  # it fails its checks: the owner is broken
    STATUS_ERRNO = 1000  # 1000 + errno of the failed write or sync

cdef packed struct LaneRecord:
    uint32_t size  # bytes of the whole record, a multiple of 8
    uint32_t kind
    uint32_t status
    uint32_t flags
    uint32_t log_id
    uint32_t row  # of the log table
    uint32_t body_size  # bytes behind this struct
    uint32_t trailer_size  # bytes behind the body, which is padded to 8
    uint64_t segment  # base position of the segment file
    uint64_t capacity  # bytes of frames that segment holds, for when it has to be made
    uint64_t position  # log position of the frame
    uint64_t index  # of the frame
    uint64_t count  # LANE_ERASE: bytes
    uint32_t term  # the owner's
    uint32_t reserved


cdef inline uint8_t *lane_body(LaneRecord *record) noexcept nogil:
    return <uint8_t *> record + LANE_RECORD_SIZE


cdef inline uint8_t *lane_trailer(LaneRecord *record) noexcept nogil:
    return <uint8_t *> record + LANE_RECORD_SIZE + ((record.body_size + 7) & ~7)


@cython.final
cdef class LaneProducer:
    """The owner's side."""

    cdef RingMap ring
    cdef uint8_t *data
    cdef uint64_t mask_offset
    cdef readonly uint64_t size  # bytes of data
    cdef readonly uint64_t position  # next byte to write; private until published
    cdef readonly uint64_t published
    cdef readonly uint64_t answered  # everything before is answered; private
    cdef readonly uint64_t released  # everything before was answered for others to see
    cdef uint64_t processed  # cached
    cdef uint64_t *head_cell
    cdef uint64_t *processed_cell
    cdef uint64_t *released_cell
    cdef uint64_t *writer_sleeping
    cdef uint64_t rung  # the writer's sleeping epoch it was last rung in
    cdef bint hidden  # something was shown without a doorbell
    cdef int writer_doorbell

    cdef LaneRecord *claim(self, uint64_t size) noexcept
    cdef void commit(self, LaneRecord *record) noexcept
    cdef void publish(self) noexcept
    cdef void show(self) noexcept
    cdef bint has_news(self) noexcept
    cdef bint is_idle(self) noexcept
    cdef LaneRecord *next_processed(self) noexcept
    cdef void release(self, LaneRecord *record) noexcept
    cdef void show_released(self) noexcept
    cdef uint64_t room(self) noexcept
    cdef bint is_cut_off(self, LaneRecord *record, list cuts) noexcept

@cython.final
cdef class LaneConsumer:
    """The writer's side. Nothing that comes out of it is trusted but its place."""

    cdef RingMap ring
    cdef uint8_t *data
    cdef uint64_t mask_offset
    cdef readonly uint64_t size
    cdef readonly uint64_t cursor  # next record to look at; private
    cdef readonly uint64_t processed  # as last stored
    cdef uint64_t *head_cell
    cdef uint64_t *processed_cell
    cdef readonly bint broken  # an impossible head or size was seen: nothing more is read

    cdef bint pending(self) noexcept
    cdef LaneRecord *next(self) noexcept
    cdef void finish(self) noexcept
