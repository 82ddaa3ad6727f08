"""Pending output of one client: a chain of chunks, filled by the router, emptied by the connection.

Ownership: an Outbox owns its chunks; a chunk is in one outbox or in the pool, never in both. Nothing here
touches a socket: `outbox_gather` lists what to write, `outbox_consume` forgets what was written.
"""

from libc.stdint cimport uint8_t, uint32_t, uint64_t
from posix.uio cimport iovec

cdef enum:
    # Sizes of a chunk's data. An outbox starts small, so that a broadcast to thousands of clients stays
    # small, and grows to large chunks, so that a busy one needs few system calls.
    CHUNK_SMALL = 4064
    CHUNK_MEDIUM = 32736
    CHUNK_LARGE = 262112

cdef struct Chunk:
    Chunk *next
    uint32_t start  # first byte not yet written to the socket
    uint32_t end  # first free byte
    uint32_t capacity  # bytes of data
    uint32_t size_class  # 0 small, 1 medium, 2 large, 3 of its own size

cdef struct ChunkPool:
    Chunk *free[3]
    uint32_t free_count[3]
    uint64_t allocated  # bytes of chunks in outboxes: what the outbound budget counts
    uint64_t returned  # bytes given back to the allocator since it was last trimmed

cdef struct Outbox:
    Chunk *first
    Chunk *last
    uint64_t size  # bytes pending

cdef uint8_t *outbox_grow(Outbox *outbox, ChunkPool *pool, uint64_t need) noexcept nogil
cdef int outbox_gather(Outbox *outbox, iovec *vectors, int limit) noexcept nogil
cdef void outbox_consume(Outbox *outbox, ChunkPool *pool, uint64_t size) noexcept nogil
cdef void outbox_clear(Outbox *outbox, ChunkPool *pool) noexcept nogil


cdef inline uint8_t *outbox_reserve(Outbox *outbox, ChunkPool *pool, uint64_t need) noexcept nogil:
    """`need` contiguous bytes at the end, already counted as pending; NULL when memory is exhausted."""
    cdef Chunk *last = outbox.last
    cdef uint8_t *place
    if last != NULL and last.capacity - last.end >= need:
        place = <uint8_t *> (last + 1) + last.end
        last.end += <uint32_t> need
        outbox.size += need
        return place
    return outbox_grow(outbox, pool, need)
