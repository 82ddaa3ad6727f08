"""Who wants to know what happens to the messages of a stream: its consumers."""

from libc.stdint cimport uint64_t

from shardbroker.jetstream.subject_table cimport SubjectEntry

cdef class StreamWatcher:
    # A message was applied. `subject` counts it already, and is valid during the call only.
    cdef void stored(self, uint64_t sequence, SubjectEntry *subject) noexcept
    # A message goes, for whatever reason. It and its subject are still there.
    cdef void removing(self, uint64_t sequence, SubjectEntry *subject) noexcept
    # All messages went at once (a purge); nothing was said of each.
    cdef void cleared(self) noexcept
