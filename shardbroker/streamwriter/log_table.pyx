"""Rows of the log table, as the stream-writer fills them (shm/layout.py has the drawing).

A row is two things: the word to the owner (what is durable), and the writer's own memory, for when it dies
its successor knows of each log what the row says and nothing else.
"""

from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.string cimport memset

from shardbroker.shm.atomics cimport load_acquire_u64, store_release_u32, store_release_u64
from shardbroker.shm.offsets cimport (
    LOG_COMMITTED_INDEX,
    LOG_BYTES,
    LOG_DURABLE_INDEX,
    LOG_DURABLE_POSITION,
    LOG_ERROR,
    LOG_FIGURES_START,
    LOG_FRAMES,
    LOG_ID,
    LOG_LAST_CRC,
    LOG_ROW_SIZE,
    LOG_STORED_INDEX,
    LOG_SYNCS,
    LOG_TERM,
)
from shardbroker.streamwriter.log_file cimport LogFile


cdef inline uint32_t *u32(uint8_t *row, int field) noexcept:
    return <uint32_t *> (row + field)


cdef inline uint64_t *u64(uint8_t *row, int field) noexcept:
    return <uint64_t *> (row + field)


cdef class LogTable:
    """`address` and `size` (bytes) of the mapped table."""

    def __cinit__(self, uint64_t address, uint64_t size):
        self.rows = <uint8_t *> address
        self.row_count = size // LOG_ROW_SIZE

    cdef uint8_t *row(self, uint32_t number, uint32_t log_id) noexcept:
        """The row, if it is this log's; NULL when it is another's or there is none."""
        cdef uint8_t *row = self.rows + <uint64_t> number * LOG_ROW_SIZE
        return row if number < self.row_count and u32(row, LOG_ID)[0] == log_id else NULL

    cdef void adopt(self, LogFile log) noexcept:
        """Let a log that was not seen yet begin where its row says that it is."""
        cdef uint8_t *row = self.row(log.row, log.log_id)
        cdef uint64_t durable, stored
        if row == NULL:
            return
        durable = load_acquire_u64(u64(row, LOG_DURABLE_INDEX))
        stored = load_acquire_u64(u64(row, LOG_STORED_INDEX))
        if durable or u32(row, LOG_TERM)[0]:  # a term without an index: its first frame has failed
            log.durable.known = True
            log.durable.index = durable
            log.durable.position = u64(row, LOG_DURABLE_POSITION)[0]
            log.durable.term = u32(row, LOG_TERM)[0]
            log.durable.crc = u32(row, LOG_LAST_CRC)[0]
        log.tail = log.durable
        if stored > durable:
            log.tail.known = True
            log.tail.index = stored
            log.tail.crc = 0  # nobody remembers: the next frame is believed
        log.before = log.tail

    cdef void store(self, LogFile log) noexcept:
        """Tell what this cycle did to the log."""
        cdef uint8_t *row = self.rows + <uint64_t> log.row * LOG_ROW_SIZE
        if log.row >= self.row_count or log.removed:
            return
        if u32(row, LOG_ID)[0] != log.log_id:
            memset(row, 0, LOG_FIGURES_START)
        u32(row, LOG_TERM)[0] = log.tail.term
        u64(row, LOG_DURABLE_POSITION)[0] = log.durable.position
        u32(row, LOG_LAST_CRC)[0] = log.durable.crc
        u32(row, LOG_ERROR)[0] = log.error
        u64(row, LOG_SYNCS)[0] += log.new_syncs
        u64(row, LOG_FRAMES)[0] += log.new_frames
        u64(row, LOG_BYTES)[0] += log.new_bytes
        store_release_u64(u64(row, LOG_STORED_INDEX), log.tail.index)
        store_release_u64(u64(row, LOG_DURABLE_INDEX), log.durable.index)
        store_release_u32(u32(row, LOG_ID), log.log_id)

    cdef uint64_t committed(self, uint32_t number) noexcept:
        """The last frame that the owner calls committed: nothing up to it may be cut off. 0: none."""
        return load_acquire_u64(u64(self.rows + <uint64_t> number * LOG_ROW_SIZE, LOG_COMMITTED_INDEX))

    cdef void clear(self, uint32_t number, uint32_t log_id) noexcept:
        """The log is gone."""
        cdef uint8_t *row = self.row(number, log_id)
        if row != NULL:
            memset(row, 0, LOG_FIGURES_START)

    def settle(self, sync, extents):
        """After a predecessor's death: `sync(log id)` what it had stored without syncing, and say so.

        Only rows in `extents` (start, end) are looked at: to read the others would take memory for them.
        """
        cdef uint64_t number, stored
        cdef uint8_t *row
        cdef uint32_t log_id
        for start, end in extents:
            for number in range(start // LOG_ROW_SIZE, min(end // LOG_ROW_SIZE, self.row_count)):
                row = self.rows + number * LOG_ROW_SIZE
                log_id = u32(row, LOG_ID)[0]
                stored = u64(row, LOG_STORED_INDEX)[0]
                if log_id and stored > u64(row, LOG_DURABLE_INDEX)[0] and sync(log_id):
                    u32(row, LOG_LAST_CRC)[0] = 0
                    store_release_u64(u64(row, LOG_DURABLE_INDEX), stored)
