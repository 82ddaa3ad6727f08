"""A worker's own broadcast ring (Outbound) and its readings of all others (Inbound).

Positions count bytes and only grow; `position & (size - 1)` is the offset. The data is mapped twice back
to back, so a frame never wraps.
"""

cimport cython
from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t

from shardbroker.shm.frame cimport BatchHeader, FrameHandler, FrameHeader
from shardbroker.shm.offsets cimport WORKERS_MAX

@cython.final
cdef class RingMap:
    """One ring mapped into this process: header once, data twice."""

    cdef uint8_t *base
    cdef uint8_t *data
    cdef readonly uint64_t size  # bytes of data

    cdef uint64_t *head(self) noexcept
    cdef uint64_t *want_space(self) noexcept
    cdef uint64_t *cursor(self, int worker) noexcept
    cdef uint32_t *attached(self, int worker) noexcept
    cdef uint32_t *wanted(self, int worker) noexcept

@cython.final
cdef class Outbound:
    """The producing side. Private cached copies stand beside what is shared."""

    cdef RingMap ring
    cdef uint8_t *data
    cdef uint64_t mask_offset  # size - 1
    cdef readonly uint64_t size
    cdef readonly uint64_t position  # next byte to write; private until published
    cdef readonly uint64_t head  # published position
    cdef uint64_t gating  # cached slowest cursor
    cdef uint64_t batch_start  # position of the open batch's header; == position: no batch is open
    cdef uint64_t batch_mask
    cdef uint32_t batch_frames
    cdef uint64_t consumers  # bit per attached consumer
    cdef uint64_t invited  # bit per consumer that may attach but has not asked yet
    cdef uint32_t generations[WORKERS_MAX]  # of the consumers invited or attached
    cdef uint64_t *ticket  # the board's ticket line
    cdef uint8_t *board
    cdef int worker_index
    cdef uint64_t rung[WORKERS_MAX]  # the sleeping epoch each consumer was last rung in
    cdef int doorbells[WORKERS_MAX]  # eventfd of each worker, -1: none
    cdef uint64_t *statistics  # the worker's row of figures
    cdef readonly uint64_t batches
    cdef readonly uint64_t doorbells_rung
    cdef readonly uint64_t full_count

    cdef FrameHeader *claim(self, uint64_t size) noexcept
    cdef void commit(self, uint64_t size, uint64_t mask) noexcept
    cdef void publish(self) noexcept
    cdef bint has_space(self, uint64_t size) noexcept
    cdef void ask_for_space(self, uint64_t size) noexcept
    cdef void stop_asking(self) noexcept
    cdef void admit(self) noexcept
    cdef void refresh_gating(self) noexcept
    cdef void ring_doorbell(self, int worker) noexcept

cdef struct Reading:
    uint8_t *data
    uint64_t mask_offset
    uint64_t position  # next batch (or frame inside the open batch)
    uint64_t head  # cached
    uint64_t stored  # cursor as last stored
    uint64_t *head_cell
    uint64_t *cursor_cell
    uint64_t *want_space_cell
    uint32_t *attached_cell
    uint64_t size

@cython.final
cdef class Inbound:
    """The consuming side: all other workers' rings, read in ticket order."""

    cdef list rings  # RingMap or None per worker: keeps the mappings alive
    cdef Reading readings[WORKERS_MAX]
    cdef uint64_t attached  # bit per producer that counts us
    cdef readonly uint64_t waiting  # bit per producer that was asked and has not answered yet
    cdef uint32_t generation  # of this worker
    cdef int worker_index
    cdef uint64_t own_bit
    cdef uint64_t *ticket
    cdef Outbound outbound
    cdef readonly uint64_t broken  # rings given up for impossible heads, lengths or tickets
    cdef readonly uint64_t distrusted  # bit per producer whose ring was given up
    cdef readonly uint64_t frames

    cdef void settle(self) noexcept
    cdef void give_up(self, int worker) noexcept
    cdef bint pending(self) noexcept
    cdef int round(self, FrameHandler handler) noexcept
    cdef int deliver_batch(self, int worker, FrameHandler handler) noexcept
    cdef void store_cursor(self, int worker) noexcept
