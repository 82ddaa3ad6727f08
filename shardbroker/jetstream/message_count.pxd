"""How many messages a consumer has before it, counted in slices while its stream goes on."""

cimport cython
from libc.stdint cimport uint32_t, uint64_t

from shardbroker.jetstream.consumer_filter cimport ConsumerFilter
from shardbroker.jetstream.sequence_set cimport SequenceSet
from shardbroker.jetstream.stream_state cimport StreamState
from shardbroker.jetstream.subject_table cimport SubjectEntry

@cython.final
cdef class MessageCount:
    cdef StreamState state
    cdef ConsumerFilter filter
    cdef SequenceSet chosen  # last_per_subject: messages up to `chosen_end` that are still to be delivered
    cdef uint64_t chosen_end  # 0: no set
    cdef bint choosing  # the set is being made: delivery will begin with its first member
    cdef uint64_t total  # counted so far
    cdef uint64_t below  # of them, before the position
    cdef uint64_t position
    cdef uint64_t at
    cdef uint64_t end
    cdef uint32_t phase

    cdef void begin(self, ConsumerFilter filter, uint64_t position, bint choose) noexcept
    cdef bint go_on(self, uint32_t most) noexcept  # True: `total` is exact
    cdef void stop(self) noexcept  # there is nothing to be counted
    # Whether a message, not yet delivered or before the position, is in `total` as far as it goes. The caller
    # keeps `total` when it comes or goes.
    cdef bint covers(self, uint64_t sequence, SubjectEntry *subject, uint64_t position) noexcept
    cdef void stored(self, uint64_t sequence, SubjectEntry *subject, uint64_t position) noexcept
    cdef void removing(self, uint64_t sequence, SubjectEntry *subject, uint64_t position) noexcept

    cdef bint count_subjects(self, uint32_t most) noexcept
    cdef void count_subject(self, const SubjectEntry *subject) noexcept
    cdef bint count_messages(self, uint32_t most) noexcept
