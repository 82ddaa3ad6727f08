# C types of subject.py. Sizes and offsets are in bytes. Nothing is allocated, nothing raised.

cimport cython

cdef unsigned char DOT
cdef unsigned char STAR
cdef unsigned char REST
cdef unsigned char BLANK
cdef unsigned char TAB
cdef unsigned char LINE_FEED
cdef unsigned char FORM_FEED
cdef unsigned char CARRIAGE_RETURN
cdef int LITERAL_SUBJECT
cdef int SUBSET_SUBJECT
cdef int COLLIDING_SUBJECT

@cython.locals(start=Py_ssize_t, index=Py_ssize_t)
cpdef bint is_subscribable(const unsigned char *subject, Py_ssize_t size) noexcept nogil
@cython.locals(index=Py_ssize_t)
cpdef bint is_valid(const unsigned char *subject, Py_ssize_t size) noexcept nogil
@cython.locals(start=Py_ssize_t, end=Py_ssize_t)
cpdef bint is_publishable(const unsigned char *subject, Py_ssize_t size) noexcept nogil
@cython.locals(start=Py_ssize_t, end=Py_ssize_t)
cpdef bint is_literal(const unsigned char *subject, Py_ssize_t size) noexcept nogil
@cython.locals(count=Py_ssize_t, index=Py_ssize_t)
cpdef Py_ssize_t count_tokens(const unsigned char *subject, Py_ssize_t size) noexcept nogil
cpdef bint matches(
    const unsigned char *pattern, Py_ssize_t pattern_size,
    const unsigned char *subject, Py_ssize_t subject_size,
) noexcept nogil
cpdef bint is_subset(
    const unsigned char *subject, Py_ssize_t subject_size,
    const unsigned char *pattern, Py_ssize_t pattern_size,
) noexcept nogil
cpdef bint collide(
    const unsigned char *left, Py_ssize_t left_size, const unsigned char *right, Py_ssize_t right_size
) noexcept nogil

@cython.locals(start=Py_ssize_t, other=Py_ssize_t, end=Py_ssize_t, other_end=Py_ssize_t)
cdef bint walk_together(
    const unsigned char *pattern, Py_ssize_t pattern_size,
    const unsigned char *subject, Py_ssize_t subject_size, int mode,
) noexcept nogil
@cython.locals(end=Py_ssize_t)
cdef bint has_empty_token(const unsigned char *subject, Py_ssize_t size, Py_ssize_t start) noexcept nogil
@cython.locals(end=Py_ssize_t)
cdef Py_ssize_t token_end(const unsigned char *subject, Py_ssize_t size, Py_ssize_t start) noexcept nogil
cdef bint is_wildcard(const unsigned char *subject, Py_ssize_t start, Py_ssize_t end) noexcept nogil
cdef bint same_token(
    const unsigned char *left, Py_ssize_t start, Py_ssize_t end,
    const unsigned char *right, Py_ssize_t other, Py_ssize_t other_end,
) noexcept nogil
