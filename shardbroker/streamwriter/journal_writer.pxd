"""Appending to the journal: one batch a cycle, one sync for all its logs."""

cimport cython
from libc.stdint cimport uint8_t, uint32_t, uint64_t
from posix.uio cimport iovec

from shardbroker.streamwriter.file_calls cimport FileCalls
from shardbroker.streamwriter.log_file cimport LogFile

cdef packed struct BatchHead:
    uint32_t magic
    uint32_t crc
    uint64_t round
    uint64_t number
    uint64_t size

cdef packed struct EntryHead:
    uint32_t log_id
    uint32_t kind
    uint64_t size
    uint64_t segment
    uint64_t position
    uint64_t index

@cython.final
cdef class JournalWriter:
    cdef object journal  # storage/journal.Journal
    cdef object report
    cdef FileCalls calls
    cdef readonly bint usable  # False: it failed, logs are synced one by one; what it holds is left alone
    cdef readonly uint64_t batches
    cdef readonly uint64_t round  # of the file being filled
    cdef int current  # which file
    cdef uint64_t offset  # in it
    cdef uint64_t number  # of the next batch
    cdef dict covered  # log id -> LogFile, with frames in this round
    cdef object syncing  # the background sync of the other file's logs; None: it is free
    cdef EntryHead *entries  # the open batch
    cdef uint8_t **frames
    cdef int entry_count
    cdef int entry_room

    cdef bint collect(self, LogFile log) noexcept
    cdef bint add(self, EntryHead entry, uint8_t *frame) noexcept
    cdef int commit(self) noexcept
    cdef int write_batch(self) noexcept
    cdef bint make_room(self, uint64_t size) noexcept
    cdef void cover(self, LogFile log) noexcept
    cdef bint holds(self, LogFile log) noexcept
