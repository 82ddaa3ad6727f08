"""A segment file seen through a window of memory that moves forward."""

from libc.stdint cimport uint8_t, uint64_t


cdef class SegmentWindow:
    cdef int descriptor  # -1: none
    cdef readonly uint64_t size  # bytes of the file, 0 when it cannot be opened
    cdef readonly uint64_t unreadable  # bytes that the disk refused to read; seen as zeros
    cdef uint8_t *buffer
    cdef uint64_t step
    cdef uint64_t capacity  # of the buffer, bytes
    cdef uint64_t start  # offset in the file of the buffer's first byte
    cdef uint64_t filled  # bytes in the buffer

    cdef int open(self, str path) except -1
    cdef void close(self) noexcept
    cdef int make_durable(self, str path, list notes) except -1
    cdef const uint8_t *load(self, uint64_t offset, uint64_t size) except? NULL
    cdef int read_some(self, uint64_t want) except -1

    # `size` bytes at `offset` of the file, valid until the next call; NULL: the file ends before.
    cdef inline const uint8_t *at(self, uint64_t offset, uint64_t size) except? NULL:
        if offset >= self.start and offset + size <= self.start + self.filled:
            return self.buffer + (offset - self.start)
        return self.load(offset, size)
