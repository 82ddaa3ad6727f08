"""Frames that could not go into the own ring at once: a bounded, ordered list in private memory."""

cimport cython
from libc.stdint cimport uint8_t, uint64_t

from shardbroker.shm.frame cimport FrameHeader
from shardbroker.shm.ring cimport Outbound

cdef struct Waiting:
    Waiting *next
    uint64_t size  # bytes of the frame that follows
    uint64_t mask

@cython.final
cdef class Overflow:
    cdef Waiting *first
    cdef Waiting *last
    cdef readonly uint64_t size  # bytes waiting
    cdef readonly uint64_t limit  # bytes; beyond it frames are refused
    cdef Outbound outbound

    cdef FrameHeader *claim(self, uint64_t size, uint64_t mask) noexcept
    cdef bint drain(self) noexcept
