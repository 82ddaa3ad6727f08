"""Reads committed records of one log: from segment files, or from the memory of a memory stream."""

cimport cython
from libc.stdint cimport uint8_t, uint64_t

from shardbroker.storage.frame cimport RecordHead

@cython.final
cdef class LogReader:
    cdef str directory  # of the segment files
    cdef int memory_fd  # of a memory stream; -1: files
    cdef dict cold  # log position -> since when it is waited for, monotonic ns
    cdef dict descriptors  # segment base -> fd
    cdef uint8_t *buffer
    cdef uint64_t buffer_size
    cdef public bint patient  # wait for the disk; else ColdRead is raised and the disk begins to read

    cdef int descriptor(self, uint64_t base) except -1
    cdef const RecordHead *record(self, uint64_t base, uint64_t position, uint64_t size_guess) except? NULL
    cdef bint ends_at(self, int fd, long offset) except -1
    cdef void resize(self, uint64_t size) except *
    cdef bint may_wait(self, uint64_t position, int fd, long offset, uint64_t size) except -1
    cdef uint64_t read_at(self, uint64_t base, uint64_t position, uint64_t size) except? 0
