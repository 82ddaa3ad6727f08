"""The writer's half of the log table in shared memory: how far each log is, for its owner and a successor."""

cimport cython
from libc.stdint cimport uint8_t, uint32_t, uint64_t

from shardbroker.streamwriter.log_file cimport LogFile

cdef enum:
    NO_ROW = 0xFFFFFFFF

@cython.final
cdef class LogTable:
    cdef uint8_t *rows
    cdef readonly uint64_t row_count

    cdef uint8_t *row(self, uint32_t number, uint32_t log_id) noexcept
    cdef void adopt(self, LogFile log) noexcept
    cdef void store(self, LogFile log) noexcept
    cdef uint64_t committed(self, uint32_t number) noexcept
    cdef void clear(self, uint32_t number, uint32_t log_id) noexcept
