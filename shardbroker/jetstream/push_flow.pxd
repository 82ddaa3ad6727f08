"""Flow control and heartbeats of one push consumer."""

cimport cython
from libc.stdint cimport uint64_t

@cython.final
cdef class PushFlow:
    cdef:
        readonly uint64_t window  # bytes that may be on their way; 0: no flow control
        readonly uint64_t outstanding  # bytes sent and not answered for
        readonly bytes request  # reply subject of the flow control request that is open; b"": none
        uint64_t covered  # bytes that an answer to it stands for
        uint64_t heartbeat_ns  # 0: none
        readonly uint64_t heartbeat_due_ns

    cdef bint is_stalled(self) noexcept  # nothing may be sent before an answer
    cdef bint sent(self, uint64_t size, uint64_t now_ns) noexcept  # True: a flow control request is due
    cdef bint beats(self, uint64_t now_ns) noexcept  # True: a heartbeat is due (once)
