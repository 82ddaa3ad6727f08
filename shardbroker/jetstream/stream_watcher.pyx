"""The base of whoever is told of every message that is stored in a stream or goes from it.

A stream state has one watcher at most. It may not change the state from within a call.
"""

from libc.stdint cimport uint64_t

from shardbroker.jetstream.subject_table cimport SubjectEntry


cdef class StreamWatcher:
    """Does nothing."""

    cdef void stored(self, uint64_t sequence, SubjectEntry *subject) noexcept:
        pass

    cdef void removing(self, uint64_t sequence, SubjectEntry *subject) noexcept:
        pass

    cdef void cleared(self) noexcept:
        pass
