"""Pending output of one client, see outbox.pxd.

Chunks rather than one growing buffer: growing would copy megabytes for a slow reader, and a pool of equal
chunks lets ten thousand idle clients own no output memory at all.
"""

from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.stdlib cimport free, malloc
from posix.uio cimport iovec

cdef enum:
    # Chunks kept for reuse, per size class: 1 MiB, 4 MiB, 8 MiB.
    KEEP_SMALL = 256
    KEEP_MEDIUM = 128
    KEEP_LARGE = 32

cdef uint32_t[3] CAPACITY = [CHUNK_SMALL, CHUNK_MEDIUM, CHUNK_LARGE]
cdef uint32_t[3] KEEP = [KEEP_SMALL, KEEP_MEDIUM, KEEP_LARGE]


cdef Chunk *take_chunk(ChunkPool *pool, uint32_t size_class, uint64_t need) noexcept nogil:
    """A chunk of this class, or of its own size when `need` is larger than the largest class."""
    cdef Chunk *chunk
    cdef uint64_t capacity
    while size_class < 3 and need > CAPACITY[size_class]:
        size_class += 1
    if size_class < 3 and pool.free[size_class] != NULL:
        chunk = pool.free[size_class]
        pool.free[size_class] = chunk.next
        pool.free_count[size_class] -= 1
    else:
        capacity = CAPACITY[size_class] if size_class < 3 else need
        chunk = <Chunk *> malloc(sizeof(Chunk) + capacity)
        if chunk == NULL:
            return NULL
        chunk.capacity = <uint32_t> capacity
        chunk.size_class = size_class
    chunk.next = NULL
    chunk.start = 0
    chunk.end = 0
    pool.allocated += chunk.capacity
    return chunk


cdef void give_chunk(ChunkPool *pool, Chunk *chunk) noexcept nogil:
    cdef uint32_t size_class = chunk.size_class
    pool.allocated -= chunk.capacity
    if size_class < 3 and pool.free_count[size_class] < KEEP[size_class]:
        chunk.next = pool.free[size_class]
        pool.free[size_class] = chunk
        pool.free_count[size_class] += 1
    else:
        pool.returned += chunk.capacity
        free(chunk)


cdef uint8_t *outbox_grow(Outbox *outbox, ChunkPool *pool, uint64_t need) noexcept nogil:
    """The slow half of outbox_reserve: append a chunk, the larger the more is pending."""
    cdef uint32_t size_class = 2
    cdef Chunk *chunk
    if outbox.size == 0:
        size_class = 0
    elif outbox.size < 2 * CHUNK_SMALL:
        size_class = 1
    chunk = take_chunk(pool, size_class, need)
    if chunk == NULL:
        return NULL
    if outbox.last == NULL:
        outbox.first = chunk
    else:
        outbox.last.next = chunk
    outbox.last = chunk
    chunk.end = <uint32_t> need
    outbox.size += need
    return <uint8_t *> (chunk + 1)


cdef int outbox_gather(Outbox *outbox, iovec *vectors, int limit) noexcept nogil:
    """List at most `limit` stretches of pending bytes in order; return how many."""
    cdef Chunk *chunk = outbox.first
    cdef int count = 0
    while chunk != NULL and count < limit:
        if chunk.end != chunk.start:
            vectors[count].iov_base = <uint8_t *> (chunk + 1) + chunk.start
            vectors[count].iov_len = chunk.end - chunk.start
            count += 1
        chunk = chunk.next
    return count


cdef void outbox_consume(Outbox *outbox, ChunkPool *pool, uint64_t size) noexcept nogil:
    """Forget the first `size` pending bytes and give back the chunks that are empty then."""
    cdef Chunk *chunk
    cdef uint64_t held
    outbox.size -= size
    while outbox.first != NULL:
        chunk = outbox.first
        held = chunk.end - chunk.start
        if size < held:
            chunk.start += <uint32_t> size
            return
        size -= held
        outbox.first = chunk.next
        if outbox.first == NULL:
            outbox.last = NULL
        give_chunk(pool, chunk)


cdef void outbox_clear(Outbox *outbox, ChunkPool *pool) noexcept nogil:
    """Drop everything pending."""
    cdef Chunk *chunk
    while outbox.first != NULL:
        chunk = outbox.first
        outbox.first = chunk.next
        give_chunk(pool, chunk)
    outbox.last = NULL
    outbox.size = 0
