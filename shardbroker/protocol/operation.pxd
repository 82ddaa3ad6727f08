# The header file of an operation: what a sink reads.
#
# All *_start and *_end fields are offsets into `data`, the buffer that was given to feed(); a range is
# [start, end). They are valid during a callback of the sink only.

cimport cython

cdef unsigned char SPACE
cdef unsigned char TAB
cdef unsigned char CR
cdef unsigned char LF
cdef unsigned char ZERO

cdef int ERROR_ARGUMENT
cdef Py_ssize_t SIZE_DIGITS_MAX


cdef class Operation:
    cdef const unsigned char *data
    # From the first letter of the name to behind the last line feed.
    cdef readonly Py_ssize_t op_start, op_end

    # PUB, HPUB; subject_* of SUB as well
    cdef readonly Py_ssize_t subject_start, subject_end
    cdef readonly Py_ssize_t reply_start, reply_end              # equal when there is none
    cdef readonly Py_ssize_t header_text_start, header_text_end  # the digits of #hdr; equal for PUB
    cdef readonly Py_ssize_t size_text_start, size_text_end      # the digits of #total
    cdef readonly Py_ssize_t header_size    # bytes of the header block; -1 for PUB
    cdef readonly Py_ssize_t total_size     # bytes of header block and payload
    cdef readonly Py_ssize_t payload_start  # of the header block if there is one; the end is op_end - 2
    # True: one space between all arguments and CR LF behind them, so that [subject_end + 1, op_end) is
    # exactly "[reply ][#hdr ]#total CR LF payload CR LF" and may be copied as it is.
    cdef readonly bint canonical

    # SUB, UNSUB
    cdef readonly Py_ssize_t queue_start, queue_end  # equal when there is none
    cdef readonly Py_ssize_t sid_start, sid_end
    cdef readonly Py_ssize_t max_messages  # of UNSUB; -1 absent or no number, 0 as sent: both mean "now"

    # CONNECT, INFO, -ERR; of the others too, but for a PUB or HPUB that went the short way
    cdef readonly Py_ssize_t argument_start, argument_end

    # The last four words of an argument, counted from its end; _split() fills them.
    cdef Py_ssize_t word1_start, word1_end
    cdef Py_ssize_t word2_start, word2_end
    cdef Py_ssize_t word3_start, word3_end
    cdef Py_ssize_t word4_start, word4_end

    @cython.locals(p=Py_ssize_t)
    cdef Py_ssize_t argument_size(self, Py_ssize_t start, Py_ssize_t end) noexcept
    @cython.locals(count=int)
    cdef int read_publish(self, bint with_header) noexcept
    @cython.locals(count=int)
    cdef int read_subscribe(self) noexcept
    @cython.locals(count=int)
    cdef int read_unsubscribe(self) noexcept
    @cython.locals(p=Py_ssize_t, number=Py_ssize_t, digit=int)
    cdef Py_ssize_t number_in(self, Py_ssize_t start, Py_ssize_t end) noexcept
    @cython.locals(texts=Py_ssize_t)
    cdef bint _is_canonical(self) noexcept
    @cython.locals(byte=cython.uint, p=Py_ssize_t, inside=bint, blank=bint, count=int)
    cdef int _split(self, bint line_ends_are_blanks) noexcept
