"""The usual forms of a pull request, read without Python objects."""

from libc.stdint cimport int64_t, uint8_t, uint32_t

cdef struct NextWish:
    int64_t batch  # messages; below 1 is served one
    int64_t expires  # nanoseconds from arrival; 0: as long as somebody listens
    int64_t max_bytes  # 0: no limit
    int64_t idle_heartbeat  # nanoseconds; 0: none
    bint no_wait
    bint is_object  # JSON: a consumer with priority groups misses one

# False: not one of the usual forms, `consumer_requests.read_next_slowly` has to look at it.
cdef bint read_next_wish(const uint8_t *body, uint32_t size, NextWish *wish) noexcept nogil
