"""What the parts of a worker may ask of its event loop: see loop_port.pxd.

The event loop owns the others, so they know it only by this narrow base class.
"""


cdef class LoopPort:
    """Base of EventLoop."""

    cdef void on_closing(self, Client *client) noexcept:
        """The client ends: take it out of every list."""

    cdef void flush_now(self) noexcept:
        """Publish the own batch and write all pending output, in the middle of a turn."""

    cdef void beat(self) noexcept:
        """Tell the supervisor that a long piece of work goes on."""
