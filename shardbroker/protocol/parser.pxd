# The header file of the parser. The fields that describe an operation are those of its base, operation.pxd.

cimport cython

from shardbroker.protocol.operation cimport Operation
from shardbroker.protocol.sink cimport Sink

cdef unsigned char SPACE
cdef unsigned char CR
cdef unsigned char LF
cdef unsigned char ZERO
cdef unsigned char NINE
cdef unsigned char UPPER_B
cdef unsigned char UPPER_H
cdef unsigned char UPPER_P
cdef unsigned char UPPER_U

cdef int PROCEED
cdef int PARK
cdef int STOP
cdef int ERROR_UNKNOWN_OPERATION
cdef int ERROR_CONTROL_LINE
cdef int ERROR_MAX_PAYLOAD
cdef int ERROR_HEADERS_UNSUPPORTED

cdef int START
cdef int SPACE_TO_ARGUMENT
cdef int WRONG
cdef int PUB_ARGUMENT
cdef int HPUB_ARGUMENT
cdef int SUB_ARGUMENT
cdef int UNSUB_ARGUMENT
cdef int CONNECT_ARGUMENT
cdef int INFO_ARGUMENT
cdef int PING_LINE
cdef int PONG_LINE
cdef int OK_LINE
cdef int LAST_SETTLED
cdef int PUB_SPACE

cdef Py_ssize_t SIZE_DIGITS_MAX
cdef Py_ssize_t KEPT_SIZE_MAX


@cython.final
cdef class Parser(Operation):
    # --- limits, set by the owner at any time between two feeds
    cdef public Py_ssize_t control_line_size_max  # bytes of argument text
    cdef public Py_ssize_t payload_size_max       # bytes, headers included
    cdef public bint headers_supported            # server and client both want headers

    # --- the state of the stream
    cdef readonly int error        # 0, or ERROR_*: the connection is lost and feed() does nothing any more
    cdef readonly Py_ssize_t need  # bytes from the returned position to the end of that PUB; 0: unknown
    cdef int state                 # START, or how far the name was consumed: at_boundary()
    cdef Py_ssize_t scanned        # bytes from the returned position that hold no line feed
    cdef bint halted               # _any_operation: feed() must return
    cdef const unsigned char *transitions  # states.TRANSITIONS

    # Parse whole operations from data[start:end); the position up to which all is consumed (see parser.py).
    @cython.locals(position=Py_ssize_t, op_end=Py_ssize_t, answer=int)
    cpdef Py_ssize_t feed(self, const unsigned char *data, Py_ssize_t start, Py_ssize_t end,
                          Sink sink) except -1

    cpdef bint at_boundary(self) noexcept
    cpdef void reset(self) noexcept

    @cython.locals(p=Py_ssize_t, word=Py_ssize_t, subject_end=Py_ssize_t, reply_start=Py_ssize_t,
                   reply_end=Py_ssize_t, size=size_t, payload_start=Py_ssize_t, op_end=Py_ssize_t)
    cdef Py_ssize_t _short_publish(self, const unsigned char *data, Py_ssize_t position,
                                   Py_ssize_t end) noexcept
    @cython.locals(p=Py_ssize_t, word=Py_ssize_t)
    cdef Py_ssize_t _short_header_publish(self, const unsigned char *data, Py_ssize_t position,
                                          Py_ssize_t end) noexcept
    @cython.locals(p=Py_ssize_t, state=int, answer=int, excess=Py_ssize_t)
    cdef Py_ssize_t _any_operation(self, const unsigned char *data, Py_ssize_t position, Py_ssize_t end,
                                   Sink sink) except -1
    cdef int _dispatch(self, int state, Sink sink) except -1
    cdef Py_ssize_t _fail(self, int error, Py_ssize_t position) noexcept
    cdef Py_ssize_t _wait(self, int state, Py_ssize_t position, Py_ssize_t end, bint consumable) noexcept
    cdef int _argument(self, int state) noexcept
    @cython.locals(tail=Py_ssize_t)
    cdef int _payload(self, Py_ssize_t position, Py_ssize_t end) noexcept
