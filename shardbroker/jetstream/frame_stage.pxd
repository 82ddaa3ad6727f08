"""Frames of one stream that are built and not yet in the append lane."""

cimport cython
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t

cdef enum:
    FRAME_BODY_MAX = 1 << 20  # bytes after which a frame is closed
    FRAME_RECORDS_MAX = 60000

    # TrailerEntry.kind: what is answered once the frame is stored
    TRAILER_ACK = 1  # {"stream":"S","seq":N}
    TRAILER_DUPLICATE = 2  # the same with "duplicate": true
    TRAILER_TEXT = 3  # `text` as it is; an empty text is an empty message
    TRAILER_CALL = 4  # no reply: `sequence` is the number of a call that waits in the owner

cdef packed struct TrailerEntry:
    uint32_t size  # of this entry, a multiple of 8
    uint16_t kind
    uint16_t reply_size  # bytes; reply and text follow
    uint64_t sequence
    uint32_t account
    uint32_t text_size  # bytes

cdef struct StagedFrame:
    StagedFrame *next
    uint8_t *body
    uint64_t body_size  # bytes
    uint64_t body_capacity
    uint8_t *trailer
    uint64_t trailer_size  # bytes
    uint64_t trailer_capacity
    uint64_t first_sequence
    uint16_t kind  # FRAME_...; 0: only a trailer
    uint16_t count  # records
    bint removes  # messages on command: nothing may be moved behind it before it is applied

@cython.final
cdef class FrameStage:
    cdef StagedFrame *first  # chain of closed frames, oldest first, and the open one last
    cdef StagedFrame *open  # NULL: none
    cdef StagedFrame *spare  # chain of frames to use again
    cdef uint32_t spare_count
    cdef readonly uint64_t size  # bytes of all bodies and trailers

    cdef uint8_t *body(self, uint16_t kind, uint64_t sequence, uint64_t size) noexcept
    cdef uint8_t *record(self, uint16_t kind, uint64_t sequence, uint64_t size) noexcept
    cdef void close(self) noexcept
    cdef int answer(
        self, uint16_t kind, uint64_t sequence, uint32_t account,
        const uint8_t *reply, uint32_t reply_size, const uint8_t *text, uint32_t text_size,
    ) noexcept
    cdef StagedFrame *take(self) noexcept
    cdef void give_back(self, StagedFrame *frame) noexcept
    cdef StagedFrame *open_frame(self, uint16_t kind, uint64_t sequence) noexcept
