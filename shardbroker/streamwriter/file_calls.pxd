"""Writes and syncs of the hot path: straight to the kernel, or to the Disk that stands in for it."""

cimport cython
from libc.stdint cimport uint64_t
from posix.uio cimport iovec

@cython.final
cdef class FileCalls:
    cdef object disk
    cdef bint direct  # the Disk is the real one: no Python on the way
    cdef readonly uint64_t writes  # calls of pwritev
    cdef readonly uint64_t syncs  # calls of fdatasync
    cdef uint64_t told  # syncs that new_syncs() gave

    cdef int write(self, int fd, iovec *parts, int count, uint64_t offset) noexcept
    cdef int sync(self, int fd) noexcept
    cdef uint64_t new_syncs(self) noexcept
    cdef ssize_t write_once(self, int fd, iovec *parts, int count, uint64_t offset, int *error) noexcept
