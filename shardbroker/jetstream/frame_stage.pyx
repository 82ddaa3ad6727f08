"""Collects the records of one turn into frames, with the answers that are owed for them.

A stream writes here while messages come in; at the end of the turn the owner moves the frames into the append
lane. So a burst on one stream is one frame, also when it comes interleaved with bursts on others.
"""

from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free, realloc
from libc.string cimport memcpy, memset

from shardbroker.storage.frame cimport FRAME_CHECKPOINT, FRAME_DELETE, FRAME_PURGE, padded

cdef enum:
    SPARE_MAX = 2
    SPARE_SIZE_MAX = 2 << 20  # a larger buffer is not kept


cdef uint8_t *grown(uint8_t **data, uint64_t *capacity, uint64_t size, uint64_t extra) noexcept nogil:
    """Room for `extra` bytes behind `size`; NULL when memory is exhausted."""
    cdef uint64_t wanted
    cdef uint8_t *larger
    if size + extra > capacity[0]:
        wanted = max(capacity[0] * 2, size + extra, <uint64_t> 512)
        larger = <uint8_t *> realloc(data[0], wanted)
        if larger == NULL:
            return NULL
        data[0] = larger
        capacity[0] = wanted
    return data[0] + size


cdef class FrameStage:
    """Empty at first."""

    def __dealloc__(self):
        cdef StagedFrame *frame
        while self.first != NULL:
            frame = self.first
            self.first = frame.next
            free_frame(frame)
        while self.spare != NULL:
            frame = self.spare
            self.spare = frame.next
            free_frame(frame)

    cdef StagedFrame *open_frame(self, uint16_t kind, uint64_t sequence) noexcept:
        """A new open frame at the end of the chain; NULL when memory is exhausted."""
        cdef StagedFrame *frame = self.spare
        cdef StagedFrame *last
        if frame != NULL:
            self.spare = frame.next
            self.spare_count -= 1
        else:
            frame = <StagedFrame *> calloc(1, sizeof(StagedFrame))
            if frame == NULL:
                return NULL
        frame.next = NULL
        frame.kind = kind
        frame.removes = kind == FRAME_DELETE or kind == FRAME_PURGE or kind == FRAME_CHECKPOINT
        frame.first_sequence = sequence
        if self.first == NULL:
            self.first = frame
        else:
            last = self.first
            while last.next != NULL:
                last = last.next
            last.next = frame
        self.open = frame
        return frame

    cdef uint8_t *record(self, uint16_t kind, uint64_t sequence, uint64_t size) noexcept:
        """Room for one record of `size` bytes in a frame of that kind; NULL when memory is exhausted."""
        cdef StagedFrame *frame = self.open
        cdef uint8_t *place
        if (
            frame == NULL
            or frame.kind != kind
            or frame.count >= FRAME_RECORDS_MAX
            or frame.body_size + size > FRAME_BODY_MAX
        ):
            if frame != NULL and frame.kind == 0:
                frame.kind = kind  # so far it had answers only
                frame.first_sequence = sequence
            else:
                frame = self.open_frame(kind, sequence)
                if frame == NULL:
                    return NULL
        place = grown(&frame.body, &frame.body_capacity, frame.body_size, size)
        if place == NULL:
            return NULL
        frame.body_size += size
        frame.count += 1
        self.size += size
        return place

    cdef uint8_t *body(self, uint16_t kind, uint64_t sequence, uint64_t size) noexcept:
        """Room for the zeroed body of a frame without records, which is a frame of its own."""
        cdef uint8_t *place
        cdef StagedFrame *frame = self.open_frame(kind, sequence)
        if frame == NULL:
            return NULL
        place = grown(&frame.body, &frame.body_capacity, 0, padded(size))
        if place == NULL:
            return NULL
        memset(place, 0, padded(size))
        frame.body_size = padded(size)
        self.size += padded(size)
        return place

    cdef void close(self) noexcept:
        """The next record begins a new frame."""
        self.open = NULL

    cdef int answer(
        self, uint16_t kind, uint64_t sequence, uint32_t account,
        const uint8_t *reply, uint32_t reply_size, const uint8_t *text, uint32_t text_size,
    ) noexcept:
        """Owe an answer once everything so far is stored; -1 when memory is exhausted."""
        cdef uint64_t size = padded(sizeof(TrailerEntry) + reply_size + text_size)
        cdef TrailerEntry *entry
        cdef StagedFrame *frame = self.open
        if frame == NULL:
            frame = self.open_frame(0, sequence)
            if frame == NULL:
                return -1
        entry = <TrailerEntry *> grown(&frame.trailer, &frame.trailer_capacity, frame.trailer_size, size)
        if entry == NULL:
            return -1
        entry.size = <uint32_t> size
        entry.kind = kind
        entry.reply_size = <uint16_t> reply_size
        entry.sequence = sequence
        entry.account = account
        entry.text_size = text_size
        memcpy(entry + 1, reply, reply_size)
        if text_size:
            memcpy(<uint8_t *> (entry + 1) + reply_size, text, text_size)
        frame.trailer_size += size
        self.size += size
        return 0

    cdef StagedFrame *take(self) noexcept:
        """The oldest frame, out of the chain; NULL when there is none. give_back() follows."""
        cdef StagedFrame *frame = self.first
        if frame != NULL:
            self.first = frame.next
            if frame == self.open:
                self.open = NULL
            self.size -= frame.body_size + frame.trailer_size
        return frame

    cdef void give_back(self, StagedFrame *frame) noexcept:
        """The frame was copied: use its memory again."""
        if self.spare_count >= SPARE_MAX or frame.body_capacity + frame.trailer_capacity > SPARE_SIZE_MAX:
            free_frame(frame)
            return
        frame.body_size = frame.trailer_size = 0
        frame.count = 0
        frame.next = self.spare
        self.spare = frame
        self.spare_count += 1


cdef void free_frame(StagedFrame *frame) noexcept:
    free(frame.body)
    free(frame.trailer)
    free(frame)
