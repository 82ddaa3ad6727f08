"""How much a push consumer may send before its client says that it has read.

The window begins at a sixteenth of its limit and doubles with each answer (spec 04 section 6, nats-server
2.15). Once more than half of it is outstanding, a flow control request follows the message that made it
so: the answer stands for all bytes that were sent before the request, and for what goes out behind it once
the window is full. Delivery stops while more than the window is outstanding. Heartbeats carry the subject
of an open request, so that a client that missed it can still answer.
"""

from libc.stdint cimport uint64_t

WINDOW_LIMIT = 32 << 20  # bytes
WINDOW_STEPS = 16  # the first window is this fraction of the limit

cdef uint64_t LIMIT = WINDOW_LIMIT


cdef class PushFlow:
    """`flow_control` and `heartbeat_ns` as configured; the first heartbeat is due one interval from now."""

    def __init__(self, bint flow_control, uint64_t heartbeat_ns, uint64_t now_ns):
        self.window = LIMIT // WINDOW_STEPS if flow_control else 0
        self.request = b""
        self.heartbeat_ns = heartbeat_ns
        self.heartbeat_due_ns = now_ns + heartbeat_ns if heartbeat_ns else 0

    cdef bint is_stalled(self) noexcept:
        return self.window and self.outstanding > self.window

    cdef bint sent(self, uint64_t size, uint64_t now_ns) noexcept:
        if self.heartbeat_ns:
            self.heartbeat_due_ns = now_ns + self.heartbeat_ns
        if self.window == 0:
            return False
        self.outstanding += size
        if not self.request:
            return self.outstanding > self.window // 2
        if self.outstanding - self.covered >= self.window:
            self.covered += size
        return False

    cdef bint beats(self, uint64_t now_ns) noexcept:
        if self.heartbeat_ns == 0 or now_ns < self.heartbeat_due_ns:
            return False
        self.heartbeat_due_ns = now_ns + self.heartbeat_ns
        return True

    def ask(self, bytes subject not None):
        """A flow control request with this reply subject goes out now."""
        self.request = subject
        self.covered = self.outstanding

    def answered(self, bytes subject not None):
        """The client published to `subject`; False when that is not the open request."""
        if not self.request or subject != self.request:
            return False
        self.window = min(self.window * 2, LIMIT)
        self.outstanding -= min(self.covered, self.outstanding)
        self.covered = 0
        self.request = b""
        return True

    def forget(self):
        """The client is another one: nothing is outstanding."""
        self.outstanding = self.covered = 0
        self.request = b""

    @property
    def stalled(self):
        """is_stalled() for Python."""
        return bool(self.is_stalled())

    def deliver(self, uint64_t size, uint64_t now_ns):
        """sent() for Python."""
        return bool(self.sent(size, now_ns))

    def beat(self, uint64_t now_ns):
        """beats() for Python."""
        return bool(self.beats(now_ns))
