"""The consumers of one stream: who is told of its messages, and who still wants one."""

cimport cython
from libc.stdint cimport uint8_t, uint32_t, uint64_t

from shardbroker.jetstream.consumer cimport Consumer
from shardbroker.jetstream.stream_state cimport StreamState
from shardbroker.jetstream.stream_watcher cimport StreamWatcher
from shardbroker.jetstream.subject_table cimport SubjectEntry

@cython.final
cdef class ConsumerSet(StreamWatcher):
    cdef readonly StreamState state
    cdef readonly dict by_name
    cdef list consumers
    cdef readonly bint interest  # interest retention: a message that nobody wants goes at once
    cdef readonly bint workqueue  # what is acknowledged goes, and what nobody wants stays
    cdef list unwanted  # interest retention: stored messages that no consumer wants

    cdef bint wanted(self, uint64_t sequence) noexcept
    # Whether a consumer's filter matches a message that is not stored yet.
    cdef bint asks_for(self, const uint8_t *subject, uint32_t size) noexcept
    cdef bint was_taken(self, uint64_t sequence, SubjectEntry *subject) noexcept
