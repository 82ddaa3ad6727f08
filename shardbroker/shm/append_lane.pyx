"""The append lane: owner -> stream-writer. See append_lane.pxd for the drawing and the rules."""

from libc.stdint cimport uint8_t, uint32_t, uint64_t
from posix.unistd cimport write

from shardbroker.shm.atomics cimport fence_seq_cst, load_acquire_u64, store_release_u64
from shardbroker.shm.offsets cimport BOARD_WRITER_SLEEPING, LANE_HEAD, LANE_PROCESSED, LANE_RELEASED
from shardbroker.shm.ring cimport RingMap


cdef class LaneProducer:
    """Goes on where a predecessor in the slot ended: at the published head, with what is not released yet."""

    def __cinit__(self, RingMap ring, uint64_t board_address, int writer_doorbell):
        self.ring = ring
        self.data = ring.data
        self.size = ring.size
        self.mask_offset = ring.size - 1
        self.head_cell = <uint64_t *> (ring.base + LANE_HEAD)
        self.processed_cell = <uint64_t *> (ring.base + LANE_PROCESSED)
        self.released_cell = <uint64_t *> (ring.base + LANE_RELEASED)
        self.writer_sleeping = <uint64_t *> (board_address + BOARD_WRITER_SLEEPING)
        self.writer_doorbell = writer_doorbell
        self.position = self.published = load_acquire_u64(self.head_cell)
        self.answered = self.released = load_acquire_u64(self.released_cell)
        self.processed = load_acquire_u64(self.processed_cell)

    cdef uint64_t room(self) noexcept:
        """Bytes that a record may have now."""
        return self.size - (self.position - self.released)

    cdef LaneRecord *claim(self, uint64_t size) noexcept:
        """A zeroed head of a record of `size` bytes in all (a multiple of 8); NULL when there is no room."""
        cdef LaneRecord *record
        if size > self.room():
            return NULL
        record = <LaneRecord *> (self.data + (self.position & self.mask_offset))
        record.status = STATUS_WAITING
        record.flags = 0
        record.trailer_size = 0
        record.count = record.capacity = record.segment = record.position = record.index = 0
        record.term = record.reserved = 0
        record.size = <uint32_t> size
        return record

    cdef void commit(self, LaneRecord *record) noexcept:
        """The claimed record is complete; it goes out with the next publish."""
        self.position += record.size

    cdef void publish(self) noexcept:
        """Show what was committed to the writer, and wake it if it sleeps."""
        cdef uint64_t epoch, one = 1
        if self.position == self.published and not self.hidden:
            return
        self.hidden = False
        self.published = self.position
        store_release_u64(self.head_cell, self.position)
        fence_seq_cst()
        epoch = load_acquire_u64(self.writer_sleeping)
        if epoch & 1 and epoch != self.rung:
            self.rung = epoch
            write(self.writer_doorbell, &one, 8)

    cdef void show(self) noexcept:
        """The same for what nobody waits for: a sleeping writer finds it within half a second."""
        if self.position - self.released > self.size >> 3:
            self.publish()
        elif self.position != self.published:
            self.published = self.position
            store_release_u64(self.head_cell, self.position)
            self.hidden = True

    cdef bint has_news(self) noexcept:
        """Whether the writer has processed something that is not answered yet."""
        self.processed = load_acquire_u64(self.processed_cell)
        return self.processed != self.answered

    cdef bint is_idle(self) noexcept:
        """Whether the writer has processed all that was published."""
        return load_acquire_u64(self.processed_cell) == self.published

    cdef LaneRecord *next_processed(self) noexcept:
        """The oldest record that is processed and not answered; NULL when there is none."""
        if self.answered == self.processed and not self.has_news():
            return NULL
        return <LaneRecord *> (self.data + (self.answered & self.mask_offset))

    cdef void release(self, LaneRecord *record) noexcept:
        """Everything owed for the oldest record is done, but for showing it to others."""
        self.answered += record.size

    cdef void show_released(self) noexcept:
        """All answers given so far are visible to other processes: the memory of the records is free."""
        if self.released != self.answered:
            self.released = self.answered
            store_release_u64(self.released_cell, self.released)

    def cuts_before(self, uint64_t end):
        """The cuts in the lane from `answered` to `end`: (lane position, log id, index of the last frame)."""
        cdef uint64_t at = self.answered
        cdef LaneRecord *record
        found = []
        while at < end:
            record = <LaneRecord *> (self.data + (at & self.mask_offset))
            if record.size < LANE_RECORD_SIZE:
                break
            if record.kind == LANE_TRUNCATE:
                found.append((at, record.log_id, record.index))
            at += record.size
        return found

    cdef bint is_cut_off(self, LaneRecord *record, list cuts) noexcept:
        """Whether one of these cuts, which lies behind this oldest record, takes its frame away."""
        if record.kind != LANE_FRAME and record.kind != LANE_SYNC:
            return False
        for at, log_id, index in cuts:
            if at > self.answered and log_id == record.log_id and index < record.index:
                return True
        return False

    def figures(self):
        """(head, processed, released) positions, for monitoring and tests."""
        return self.position, load_acquire_u64(self.processed_cell), self.released


cdef class LaneConsumer:
    """Goes on where a predecessor ended: at the processed cursor."""

    def __cinit__(self, RingMap ring):
        self.ring = ring
        self.data = ring.data
        self.size = ring.size
        self.mask_offset = ring.size - 1
        self.head_cell = <uint64_t *> (ring.base + LANE_HEAD)
        self.processed_cell = <uint64_t *> (ring.base + LANE_PROCESSED)
        self.cursor = self.processed = load_acquire_u64(self.processed_cell)

    cdef bint pending(self) noexcept:
        """Whether there is a record that next() has not given yet."""
        return not self.broken and load_acquire_u64(self.head_cell) != self.cursor

    cdef LaneRecord *next(self) noexcept:
        """The next record, whole inside what is published; NULL when there is none, or the lane is broken."""
        cdef uint64_t left
        cdef LaneRecord *record
        if self.broken:
            return NULL
        left = load_acquire_u64(self.head_cell) - self.cursor
        if left == 0:
            return NULL
        record = <LaneRecord *> (self.data + (self.cursor & self.mask_offset))
        if (
            left > self.size
            or left < LANE_RECORD_SIZE
            or record.size > left
            or record.size & 7
            or <uint64_t> record.size
            < LANE_RECORD_SIZE + ((<uint64_t> record.body_size + 7) & ~(<uint64_t> 7)) + record.trailer_size
        ):
            self.broken = True
            return NULL
        self.cursor += record.size
        return record

    cdef void finish(self) noexcept:
        """All records that next() gave have their status: tell the owner. The caller rings its doorbell."""
        self.processed = self.cursor
        store_release_u64(self.processed_cell, self.processed)
        fence_seq_cst()
