"""The base of stream_host.StreamHost, and what a worker has without JetStream."""

from libc.stdint cimport uint64_t


cdef class Services:
    """Does nothing."""

    cdef bint take(self, DeliveryTarget *target, PublishView *view, DeliveryTarget *publisher) noexcept:
        """A message for one of the services; whether it was taken."""
        return False

    cdef bint has_news(self) noexcept:
        """Whether turn() has something to do: looked at before the worker sleeps."""
        return False

    cdef int turn(self, uint64_t now_ns) except -1:
        """Once a turn, after the round: what others have finished meanwhile, and requests that wait."""
        return 0

    cdef int commit(self) except -1:
        """Before the batch is published: hand on what the turn brought."""
        return 0

    cdef int tick(self, uint64_t now_ns) except -1:
        """Every 50 ms."""
        return 0
