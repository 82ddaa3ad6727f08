"""Appending to one log: which frame may come next, into which file it goes, and what a failure leaves.

A cycle of the write loop calls `begin_cycle`, then `take` for each frame, then `flush`, then perhaps `sync`.
Three tails say how far the log is: with this cycle, before it, and durably. A write that fails takes the log
back to where the cycle began; a failed sync takes it back to what is durable, and the segment is used no
more, for the kernel may have dropped the pages and call them clean. The owner starts again behind the durable
frame; everything that it had in flight finds a gap in the index and is refused.

`truncate` takes the log back further, on purpose: behind a frame that the owner names, whatever was durable
behind it. How that is made safe is told in storage/log_cut.py.
"""

import errno as errors
from functools import partial

from cpython.exc cimport PyErr_Clear
from libc.errno cimport EIO, ENOMEM, ENOSPC
from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.stdlib cimport free, realloc
from posix.uio cimport iovec

from shardbroker.shm.append_lane cimport (
    STATUS_ERRNO,
    STATUS_FAULTY,
    STATUS_REFUSED,
    STATUS_WAITING,
    LaneRecord,
)
from shardbroker.storage.frame cimport (
    FRAME_DELETE,
    FRAME_CHECKPOINT,
    FRAME_PURGE,
    FRAME_SKIP,
    FRAME_HEAD_SIZE,
    SEGMENT_HEAD_SIZE,
    FrameHead,
)
from shardbroker.streamwriter.file_calls cimport FileCalls

from shardbroker.errors import StorageError
from shardbroker.storage.log_cut import end_of_frame
from shardbroker.storage.segment_head import SegmentHead

cdef enum:
    #: Bytes of frames in one segment; owners ask for a sixteenth of it.
    CAPACITY_MAX = 1 << 30

    SMALL_SYNC = 16 << 10  # bytes of frames in one sync, up to which the way is prepared for the next ones
    SMALL_SYNCS = 16  # in a row, before that begins
    PREPARE_SIZE = 256 << 10
    PREPARE_MARGIN = 16 << 10

cdef uint8_t[PREPARE_SIZE] ZEROS
cdef int NO_ROOM_LEFT = errors.EDQUOT
#: The file is there, but it is not what its name says.
cdef int DAMAGED = errors.EUCLEAN


cdef class LogFile:

    def __cinit__(self, uint32_t log_id, store, FileCalls calls, list sealed):
        self.log_id = log_id
        self.store = store
        self.sealed = sealed
        self.calls = calls
        self.fd = -1
        self.row = 0xFFFFFFFF
        self.half_cut = log_id in store.unfinished_cuts
        if self.half_cut:
            self.cut_index = store.unfinished_cuts[log_id]

    def __dealloc__(self):
        free(self.parts)

    def __del__(self):
        self.close_segment()

    cdef void begin_cycle(self) noexcept:
        self.before = self.tail
        self.touched = True
        self.wants_sync = self.sync_failed = False
        self.error = 0
        self.new_frames = self.new_bytes = self.new_syncs = 0

    cdef uint32_t take(self, const LaneRecord *record, const FrameHead *head, uint8_t *frame) noexcept:
        """Take a sound frame into this cycle; STATUS_WAITING: taken, else what is to be answered."""
        cdef uint64_t size = record.body_size, offset
        cdef int error
        if self.error:
            return STATUS_ERRNO + self.error
        if self.half_cut:
            self.fail(EIO)
            return STATUS_ERRNO + EIO
        if record.segment < self.failed_below and not self.may_replace(record):
            return STATUS_REFUSED
        if not self.tail.known:
            # If this one fails, what is in flight behind it must not pass for a first frame.
            self.tail = self.before = Tail(True, head.index - 1, record.position, head.term, 0)
            if not self.durable.known:
                self.durable = self.before
        else:
            if head.index != self.tail.index + 1 or head.term < self.tail.term:
                return STATUS_REFUSED
            if record.position < self.tail.position or record.segment < self.base:
                return STATUS_FAULTY
            if self.tail.crc and (
                head.previous_crc != self.tail.crc
                or (record.position != self.tail.position and record.position != record.segment)
            ):
                return STATUS_FAULTY
        if self.fd < 0 or self.base != record.segment or record.segment < self.failed_below:
            error = self.open_segment(record, head)
            if error:
                if error == -1:
                    return STATUS_FAULTY
                self.fail(error)
                return STATUS_ERRNO + error
        offset = record.position - self.base
        if offset > self.capacity or size > self.capacity - offset:
            return STATUS_FAULTY
        if not self.add_part(frame, size, SEGMENT_HEAD_SIZE + offset):
            self.fail(ENOMEM)
            return STATUS_ERRNO + ENOMEM
        if self.error:
            return STATUS_ERRNO + self.error
        self.tail.index = head.index
        self.tail.position = record.position + size
        self.tail.term = head.term
        self.tail.crc = head.head_crc
        self.new_frames += 1
        self.new_bytes += size
        return STATUS_WAITING

    cdef bint may_replace(self, const LaneRecord *record) noexcept:
        """Whether the record begins a failed segment anew: one that had nothing durable."""
        return (
            record.segment + 1 == self.failed_below
            and record.position == record.segment
            and (not self.tail.known or self.tail.position <= record.segment)
        )

    cdef bint add_part(self, uint8_t *frame, uint64_t size, uint64_t offset) noexcept:
        cdef iovec *grown
        if self.part_count and offset != self.part_start + self.part_bytes and self.flush():
            return True  # `error` says why nothing more is written in this cycle
        if self.part_count == self.part_room:
            grown = <iovec *> realloc(self.parts, (2 * self.part_room + 16) * sizeof(iovec))
            if grown == NULL:
                return False
            self.parts = grown
            self.part_room = 2 * self.part_room + 16
        if self.part_count == 0:
            self.part_start = offset
            self.part_bytes = 0
        self.parts[self.part_count].iov_base = frame
        self.parts[self.part_count].iov_len = size
        self.part_count += 1
        self.part_bytes += size
        return True

    cdef int flush(self) noexcept:
        """Hand what was taken to the kernel; 0 or the errno, which has failed the cycle for this log."""
        cdef int error, count = self.part_count
        if count == 0:
            return self.error
        self.part_count = 0
        self.dirty = self.lazy = True
        error = self.calls.write(self.fd, self.parts, count, self.part_start)
        if error:
            if error != ENOSPC and error != NO_ROOM_LEFT:
                self.failed_below = self.base + 1
            self.fail(error)
            self.cut()
        return error

    cdef int sync(self) noexcept:
        """Make all that was written durable; 0 or the errno, after which only `durable` holds."""
        cdef int error = self.flush()
        if error or not self.dirty:
            return error
        self.new_syncs += 1
        self.prepare()
        error = self.calls.sync(self.fd)
        if error:
            self.failed_below = self.base + 1
            self.sync_failed = True
            self.before = self.durable
            self.fail(error)
            self.cut()
            self.dirty = self.lazy = False
            self.close_segment()
            return error
        self.dirty = self.lazy = False
        self.durable = self.before = self.tail
        return 0

    cdef void prepare(self) noexcept:
        """Write zeros ahead of many small frames, so that their syncs find blocks that are written already.

        A sync of a block that was only reserved must change the file's map of blocks: twice the time.
        """
        cdef uint64_t end = SEGMENT_HEAD_SIZE + self.tail.position - self.base
        cdef iovec zeros
        cdef uint64_t size
        if self.new_bytes == 0 or self.new_bytes > SMALL_SYNC:
            self.small_syncs = 0
            return
        self.small_syncs += 1
        if self.small_syncs < SMALL_SYNCS or end + PREPARE_MARGIN < self.prepared:
            return
        if self.prepared < end:
            self.prepared = end
        size = min(<uint64_t> PREPARE_SIZE, SEGMENT_HEAD_SIZE + self.capacity - self.prepared)
        if size == 0:
            return
        zeros.iov_base = ZEROS
        zeros.iov_len = size
        # What fails here fails the frames behind it soon enough.
        if self.calls.write(self.fd, &zeros, 1, self.prepared) == 0:
            self.prepared += size

    cdef void fail(self, int error) noexcept:
        """This cycle stores nothing of the log beyond `before`."""
        self.error = error
        self.part_count = 0
        self.tail = self.before

    cdef void cut(self) noexcept:
        """What has failed must not pass for frames of the log when a successor of its owner reads it back."""
        cdef iovec zeros
        cdef uint64_t start = max(self.tail.position, self.base)
        if not self.tail.known or start + FRAME_HEAD_SIZE > self.base + self.capacity:
            return
        zeros.iov_base = ZEROS
        zeros.iov_len = FRAME_HEAD_SIZE
        self.calls.write(self.fd, &zeros, 1, SEGMENT_HEAD_SIZE + start - self.base)

    cdef int open_segment(self, const LaneRecord *record, const FrameHead *head) noexcept:
        """Have the record's segment open; 0, an errno, or -1 for a record that asks nonsense."""
        cdef uint64_t size = record.body_size
        cdef int error
        cdef bint replaces = record.segment < self.failed_below
        if replaces:
            self.dirty = self.lazy = False  # nothing in the old file counts
        else:
            # The segment before must be safe first: nobody opens it again to sync it.
            error = self.sync()
            if error:
                return error
            if self.fd >= 0:
                self.sealed.append((self.log_id, self.base))
        self.close_segment()
        try:
            opened = None if replaces else self.store.open_segment(self.log_id, record.segment)
            if opened is not None and record.position == record.segment and (
                opened[1] is None or opened[1].capacity != record.capacity
            ):
                self.store.disk.close(opened[0])
                opened = None  # an empty segment, left by a crash before its first frame
            if opened is None:
                if record.position != record.segment or not size <= record.capacity <= CAPACITY_MAX:
                    return -1
                opened = self.create_segment(record, head)
            self.fd = opened[0]
            if opened[1] is None:
                self.close_segment()
                return DAMAGED
            self.base = record.segment
            self.prepared = 0
            self.capacity = opened[1].capacity
            self.failed_below = min(self.failed_below, record.segment)  # a new file, if there was an old one
        except OSError as failure:
            return failure.errno or EIO
        return 0

    cdef object create_segment(self, const LaneRecord *record, const FrameHead *head):
        made = SegmentHead(
            log_id=self.log_id,
            base=record.segment,
            first_index=head.index,
            capacity=record.capacity,
            term=head.term,
            previous_crc=head.previous_crc,
            created_ns=head.time_ns,
        )
        try:
            return self.store.create_segment(made), made
        except OSError as failure:
            urgent = head.kind in (FRAME_DELETE, FRAME_PURGE, FRAME_CHECKPOINT, FRAME_SKIP)
            if failure.errno not in (errors.ENOSPC, errors.EDQUOT) or not urgent:
                raise
        # What frees room must get through.
        self.store.reserve.give()
        return self.store.create_segment(made, sparse=True), made

    cdef void close_segment(self) noexcept:
        if self.fd >= 0:
            try:
                self.store.disk.close(self.fd)
            except OSError:
                PyErr_Clear()
            self.fd = -1

    # --- cutting the end off ----------------------------------------------------------------------------

    cdef int check_truncate(self, uint64_t index, uint64_t committed, uint32_t term) except -1:
        """Raises StorageError for a cut that may not be: it would cost a committed frame, or is too late."""
        cdef uint64_t end = self.cut_index if self.half_cut else self.tail.index
        name = f"log {self.log_id:08x}"
        if index < committed:
            raise StorageError(
                f"{name}: it is committed up to frame {committed} and is not cut behind frame {index}"
            )
        if index > end and (self.tail.known or self.half_cut):
            raise StorageError(f"{name}: it ends with frame {end} and cannot be cut behind frame {index}")
        if self.tail.known and term < self.tail.term:
            raise StorageError(f"{name}: it has frames of term {self.tail.term}, the cut is of term {term}")
        return 0

    cdef int truncate(self, uint64_t index, uint32_t term) except -1:
        """End the log behind frame `index`, durably. Nothing of it waits to be written or is in the journal.

        Raises StorageError when it has no such frame; then nothing was done. Raises OSError when the disk
        fails: then nothing is appended any more before a cut there, or before it, has succeeded.
        """
        cdef Tail tail
        found = end_of_frame(self.store, self.log_id, index)
        if self.tail.known and index == self.tail.index and self.tail.crc and self.tail.crc != found.crc:
            raise StorageError(f"log {self.log_id:08x}: frame {index} is not the one that was written")
        if self.sync():
            raise OSError(self.error, errors.errorcode.get(self.error, ""))
        self.close_segment()
        self.half_cut = True
        self.cut_index = index
        self.store.reserve.use_for(partial(self.store.cut_log, self.log_id, index, found.position))
        self.half_cut = False
        tail = Tail(True, index, found.position, max(term, <uint32_t> found.term), found.crc)
        self.tail = self.before = self.durable = tail
        bases = [base for base in self.store.segment_bases(self.log_id) if base < found.position]
        self.base = max(bases, default=0)
        self.failed_below = min(self.failed_below, tail.position)
        self.marked = min(self.marked, index)
        self.journal_round = 0
        self.small_syncs = 0
        self.new_syncs += 1
        return 0
