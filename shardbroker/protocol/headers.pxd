# Ranges in `data`, as everywhere in protocol/. [start, end) is the header block, its empty line included.

cimport cython

cdef unsigned char SPACE
cdef unsigned char CR
cdef unsigned char LF
cdef unsigned char COLON
cdef unsigned char LAST_PRINTABLE
cdef Py_ssize_t VERSION_SIZE
cdef bytes VERSION

# The start of the first line behind `position`; `end` if there is none.
@cython.locals(p=Py_ssize_t)
cpdef Py_ssize_t next_line(const unsigned char *data, Py_ssize_t position, Py_ssize_t end) noexcept nogil

# The end of the line's text: its CR LF, or `end`.
@cython.locals(p=Py_ssize_t)
cpdef Py_ssize_t line_end(const unsigned char *data, Py_ssize_t position, Py_ssize_t end) noexcept nogil

@cython.locals(p=Py_ssize_t)
cpdef Py_ssize_t skip_spaces(const unsigned char *data, Py_ssize_t position, Py_ssize_t end) noexcept nogil

@cython.locals(index=Py_ssize_t)
cpdef bint starts_with(const unsigned char *data, Py_ssize_t start, Py_ssize_t end,
                       const unsigned char *text, Py_ssize_t size) noexcept nogil

# The start of the value of the first `key`, or -1. The value ends at line_end().
@cython.locals(p=Py_ssize_t)
cpdef Py_ssize_t find_value(const unsigned char *data, Py_ssize_t start, Py_ssize_t end,
                            const unsigned char *key, Py_ssize_t key_size) noexcept nogil

# The start of the text behind NATS/1.0, or -1 when the block does not begin so. It ends at line_end().
@cython.locals(version=bytes)
cpdef Py_ssize_t find_status(const unsigned char *data, Py_ssize_t start, Py_ssize_t end) noexcept

@cython.locals(p=Py_ssize_t, text_end=Py_ssize_t)
cpdef bint is_well_formed(const unsigned char *data, Py_ssize_t start, Py_ssize_t end) noexcept

@cython.locals(p=Py_ssize_t)
cdef bint _is_field(const unsigned char *data, Py_ssize_t start, Py_ssize_t end) noexcept nogil
