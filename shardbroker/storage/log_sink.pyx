"""Who receives what a log holds: by reading its segments, or their indexes.

A class of its own, so that those who feed a sink need not know each other.
"""

from libc.stdint cimport uint8_t, uint64_t

from shardbroker.storage.frame cimport FrameHead, RecordHead


cdef class LogSink:
    """Receives what a scan finds; the methods of this one ignore it."""

    cdef int on_record(self, const FrameHead *frame, const RecordHead *record, uint64_t position) except -1:
        return 0

    cdef int on_frame(self, const FrameHead *frame, const uint8_t *body, uint64_t position) except -1:
        return 0

    cdef int on_erased(self, const FrameHead *frame, const RecordHead *record, uint64_t position) except -1:
        return self.on_lost(record.sequence, record.sequence, "an overwritten record")

    cdef int on_lost(self, uint64_t first_sequence, uint64_t last_sequence, object reason) except -1:
        return 0

    cdef int on_progress(self, uint64_t bytes_done) except -1:
        return 0
