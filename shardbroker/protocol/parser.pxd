# The header file of the parser: fields, with units, and the C types of its methods.
#
# All *_start and *_end fields are offsets into `data`, the buffer that was given to feed(); a range is
# [start, end). They are valid during a callback of the sink only.

cimport cython

from shardbroker.protocol.sink cimport Sink

cdef unsigned char SPACE
cdef unsigned char TAB
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
cdef int ERROR_ARGUMENT
cdef int ERROR_CONTROL_LINE
cdef int ERROR_MAX_PAYLOAD
cdef int ERROR_HEADERS_UNSUPPORTED

cdef int START
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
cdef class Parser:
    # --- limits, set by the owner at any time between two feeds
    cdef public Py_ssize_t control_line_size_max  # bytes of argument text
    cdef public Py_ssize_t payload_size_max       # bytes, headers included
    cdef public bint headers_supported            # server and client both want headers

    # --- the state of the stream
    cdef readonly int error        # 0, or ERROR_*: the connection is lost and feed() does nothing any more
    cdef readonly Py_ssize_t need  # bytes from the position feed() returned to the end of that PUB; 0: unknown
    cdef int state                 # START, or how far the name was consumed: at_boundary()
    cdef Py_ssize_t scanned        # bytes from the position feed() returned that hold no line feed
    cdef bint halted               # _any_operation: feed() must return
    cdef const unsigned char *transitions  # states.TRANSITIONS

    # --- the current operation
    cdef const unsigned char *data
    cdef readonly Py_ssize_t op_start, op_end  # from the first letter of the name to behind the last line feed

    # PUB, HPUB; subject_* of SUB as well
    cdef readonly Py_ssize_t subject_start, subject_end
    cdef readonly Py_ssize_t reply_start, reply_end              # equal when there is none
    cdef readonly Py_ssize_t header_text_start, header_text_end  # the digits of #hdr; equal for PUB
    cdef readonly Py_ssize_t size_text_start, size_text_end      # the digits of #total
    cdef readonly Py_ssize_t header_size    # bytes of the header block; -1 for PUB
    cdef readonly Py_ssize_t total_size     # bytes of header block and payload
    cdef readonly Py_ssize_t payload_start  # of the header block if there is one; op_end is 2 behind the payload
    # True: one space between all arguments and CR LF behind them, so that [subject_end + 1, op_end) is exactly
    # "[reply ][#hdr ]#total CR LF payload CR LF" and may be copied as it is.
    cdef readonly bint canonical

    # SUB, UNSUB
    cdef readonly Py_ssize_t queue_start, queue_end  # equal when there is none
    cdef readonly Py_ssize_t sid_start, sid_end
    cdef readonly Py_ssize_t max_messages  # of UNSUB; -1 absent or no number, 0 as sent: both mean "now"

    # CONNECT, INFO, -ERR; the whole argument text of the other operations too (not in PUB's short way)
    cdef readonly Py_ssize_t argument_start, argument_end

    # The last four words of an argument, counted from its end; _split() fills them.
    cdef Py_ssize_t word1_start, word1_end
    cdef Py_ssize_t word2_start, word2_end
    cdef Py_ssize_t word3_start, word3_end
    cdef Py_ssize_t word4_start, word4_end

    # Parse whole operations from data[start:end); the position up to which all is consumed. parser.py says more.
    @cython.locals(position=Py_ssize_t, p=Py_ssize_t, word=Py_ssize_t, subject_end=Py_ssize_t,
                   reply_start=Py_ssize_t, reply_end=Py_ssize_t, size=size_t, answer=int,
                   payload_start=Py_ssize_t, op_end=Py_ssize_t)
    cpdef Py_ssize_t feed(self, const unsigned char *data, Py_ssize_t start, Py_ssize_t end,
                          Sink sink) except -1

    cpdef bint at_boundary(self) noexcept
    cpdef void reset(self) noexcept

    @cython.locals(p=Py_ssize_t, word=Py_ssize_t)
    cdef Py_ssize_t _short_header_publish(self, const unsigned char *data, Py_ssize_t position,
                                          Py_ssize_t end) noexcept
    @cython.locals(p=Py_ssize_t, state=int, answer=int, excess=Py_ssize_t)
    cdef Py_ssize_t _any_operation(self, const unsigned char *data, Py_ssize_t position, Py_ssize_t end,
                                   Sink sink) except -1
    cdef int _dispatch(self, int state, Sink sink) except -1
    cdef Py_ssize_t _fail(self, int error, Py_ssize_t position) noexcept
    cdef Py_ssize_t _wait(self, int state, Py_ssize_t position, Py_ssize_t end, bint consumable) noexcept
    @cython.locals(p=Py_ssize_t)
    cdef Py_ssize_t _argument_size(self, Py_ssize_t start, Py_ssize_t end) noexcept
    cdef int _argument(self, int state) noexcept
    @cython.locals(count=int)
    cdef int _publish_argument(self, bint with_header) noexcept
    @cython.locals(texts=Py_ssize_t)
    cdef bint _is_canonical(self) noexcept
    @cython.locals(tail=Py_ssize_t)
    cdef int _payload(self, Py_ssize_t position, Py_ssize_t end) noexcept
    @cython.locals(count=int)
    cdef int _subscribe_argument(self) noexcept
    @cython.locals(count=int)
    cdef int _unsubscribe_argument(self) noexcept
    @cython.locals(byte=cython.uint, p=Py_ssize_t, inside=bint, blank=bint, count=int)
    cdef int _split(self, bint line_ends_are_blanks) noexcept
    @cython.locals(p=Py_ssize_t, number=Py_ssize_t, digit=int)
    cdef Py_ssize_t _number(self, Py_ssize_t start, Py_ssize_t end) noexcept
