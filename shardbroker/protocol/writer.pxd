# Cython code calls these on raw memory. The caller has made room: message_head_size_max() says how much.

cimport cython

cdef unsigned char SPACE
cdef unsigned char CR
cdef unsigned char LF
cdef unsigned char ZERO
cdef unsigned char UPPER_H
cdef unsigned char UPPER_M
cdef unsigned char UPPER_S
cdef unsigned char UPPER_G
cdef Py_ssize_t HEAD_CONSTANTS_SIZE

# An upper bound, in bytes, of what put_message_head and put_message_sizes write together.
cpdef Py_ssize_t message_head_size_max(Py_ssize_t subject_size, Py_ssize_t sid_size,
                                       Py_ssize_t reply_size) noexcept nogil

# Each writes at target[position] and returns the position behind what it wrote.
@cython.locals(index=Py_ssize_t)
cpdef Py_ssize_t put_bytes(unsigned char *target, Py_ssize_t position, const unsigned char *source,
                           Py_ssize_t start, Py_ssize_t end) noexcept nogil
@cython.locals(index=Py_ssize_t, end=Py_ssize_t, rest=Py_ssize_t)
cpdef Py_ssize_t put_number(unsigned char *target, Py_ssize_t position, Py_ssize_t value) noexcept nogil
cpdef Py_ssize_t put_message_head(unsigned char *target, Py_ssize_t position, bint with_header,
                                  const unsigned char *subject, Py_ssize_t subject_size,
                                  const unsigned char *sid, Py_ssize_t sid_size) noexcept nogil
cpdef Py_ssize_t put_message_sizes(unsigned char *target, Py_ssize_t position,
                                   const unsigned char *reply, Py_ssize_t reply_size,
                                   Py_ssize_t header_size, Py_ssize_t total_size) noexcept nogil
