"""The handler of inbound frames: see frame.pxd."""

from libc.stdint cimport uint8_t


cdef class FrameHandler:
    """Receives the frames of a round, in ticket order."""

    cdef void on_frame(self, int worker, const FrameHeader *frame, const uint8_t *body) noexcept:
        pass

    cdef void on_batch_end(self) noexcept:
        """A batch was delivered; others may follow in the same round."""
