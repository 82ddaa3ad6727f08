"""What the parts of a worker may ask of its event loop, which derives from this."""

from shardbroker.workers.client cimport Client


cdef class LoopPort:
    cdef void on_closing(self, Client *client) noexcept
    cdef void flush_now(self) noexcept
    cdef void beat(self) noexcept
