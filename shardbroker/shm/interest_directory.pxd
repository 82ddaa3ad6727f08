"""Which workers have subscribers for a subject: one shared table per worker, one filter, version counters.

Entries (interest_table.pxd) with queue 0 are plain interest; queue groups are further entries with the same
key, an odd queue for members that will reach an UNSUB max ("limited"), the even one below it for the others.

On the board: versions u64[4096] of literal subjects and u64[4096] of wildcard prefixes.
"""

cimport cython
from libc.stdint cimport int32_t, uint8_t, uint32_t, uint64_t

from shardbroker.shm.atomics cimport load_acquire_u64
from shardbroker.shm.interest_table cimport InterestTable
from shardbroker.shm.offsets cimport WORKERS_MAX

cdef enum:
    STAMP_SLOTS = 4  # the literal subject; wildcards below account, token 1, tokens 1-2

cdef struct InterestMembers:
    uint32_t worker
    uint32_t unlimited  # members without UNSUB max
    uint32_t limited  # members that leave by themselves

cdef struct InterestGroup:
    uint64_t queue_hash  # of InterestDirectory.hash_queue
    uint32_t start  # first of RemoteInterest.members
    uint32_t count  # workers with members

cdef struct InterestHit:
    uint64_t queue  # queue_hash, + 1 when limited
    uint32_t worker
    uint32_t count  # members

cdef struct RemoteInterest:
    # What lookup() fills: other workers only, never this one. Zeroed by its owner at first
    # (remote_interest_init); arrays are kept between lookups and freed by remote_interest_free.
    uint64_t mask  # bit w: worker w has plain interest
    InterestGroup *groups  # ordered by queue_hash, each once
    uint32_t group_count
    uint32_t group_capacity
    InterestMembers *members  # of all groups, ordered by worker within a group
    uint32_t members_count
    uint32_t members_capacity
    InterestHit *hits  # scratch of lookup()
    uint32_t hit_count
    uint32_t hit_capacity

cdef struct RouteStamp:
    # What a route was worked out from. It holds while none of these has changed.
    uint32_t slots[STAMP_SLOTS]  # indices into the board's versions
    uint64_t versions[STAMP_SLOTS]
    uint64_t peers_epoch  # counts set_peer and clear_peer of this process

cdef void remote_interest_init(RemoteInterest *interest) noexcept nogil
cdef void remote_interest_free(RemoteInterest *interest) noexcept nogil


@cython.final
cdef class InterestDirectory:
    cdef:
        readonly uint32_t worker_index
        readonly InterestTable table  # the own one
        readonly uint64_t attached  # bit w: worker w can be asked
        uint64_t *versions
        uint64_t *filter
        uint64_t seed
        uint64_t peers_epoch
        # Peers.
        uint8_t *peers[WORKERS_MAX]
        uint64_t peer_sizes[WORKERS_MAX]
        # Scratch of lookup().
        uint64_t *terms  # of the subject's tokens
        uint32_t token_count
        uint32_t terms_capacity
        uint32_t visited  # prefixes, in this lookup
        bint exhausted  # out of memory in this lookup

    # Own table, filter, then version. queue_hash 0: plain interest (limited is ignored). The subject must be
    # valid for SUB. Raises MemoryError, having changed nothing, when the segment is full.
    cdef int change(
        self, uint32_t account, const uint8_t *subject, uint32_t size, uint64_t queue_hash, bint limited,
        int32_t delta,
    ) except -1
    # Who else wants a published subject. 0, or -1 when out of memory. Never waits for a writer.
    cdef int lookup(
        self, uint32_t account, const uint8_t *subject, uint32_t size, RemoteInterest *out, RouteStamp *stamp
    ) noexcept nogil
    # Whether anybody, in any worker, subscribes to just this literal subject and in just that queue group
    # (0: in none). Wildcards and other groups do not count.
    cdef bint has_exactly(
        self, uint32_t account, const uint8_t *subject, uint32_t size, uint64_t queue_hash
    ) noexcept nogil
    # Whether nothing changed since the stamp was taken that could change its route: 4 shared loads.
    cdef bint current(self, const RouteStamp *stamp) noexcept nogil
    # 40 bits, even, never 0; the same in all workers of this broker.
    cdef uint64_t queue_hash_of(self, const uint8_t *name, uint32_t size) noexcept nogil
    cpdef int set_peer(self, uint32_t worker, size_t address, uint64_t size) except -1
    cpdef int clear_peer(self, uint32_t worker) except -1

    cpdef int trim(self) except -1

    # Private: keys.
    cdef uint64_t account_term(self, uint32_t account) noexcept nogil
    cdef uint64_t token_term(self, const uint8_t *token, uint32_t size, uint32_t index) noexcept nogil
    cdef uint64_t star_term(self, uint32_t index) noexcept nogil
    cdef uint64_t rest_term(self, uint32_t index) noexcept nogil
    cdef int prefixes_change(
        self, uint32_t account, const uint8_t *subject, uint32_t size, int32_t delta
    ) noexcept nogil
    # Private: the walk.
    cdef void walk(
        self, uint32_t depth, uint64_t sum, uint64_t mask, bint starred, RemoteInterest *out
    ) noexcept nogil
    cdef uint64_t confirmed(self, uint64_t key, uint64_t mask) noexcept nogil
    cdef void literal_terminal(self, uint64_t key, uint64_t mask, RemoteInterest *out) noexcept nogil
    cdef void terminals(self, uint64_t key, uint64_t mask, RemoteInterest *out) noexcept nogil
    cdef bint probe(self, uint32_t worker, uint64_t key, RemoteInterest *out) noexcept nogil
    cdef void note_hit(self, RemoteInterest *out, uint32_t worker, uint64_t value) noexcept nogil


cdef inline bint stamp_current(const uint64_t *versions, const RouteStamp *stamp) noexcept nogil:
    """The shared half of InterestDirectory.current, for inner loops that hold the versions' address."""
    return (
        load_acquire_u64(&versions[stamp.slots[0]]) == stamp.versions[0]
        and load_acquire_u64(&versions[stamp.slots[1]]) == stamp.versions[1]
        and load_acquire_u64(&versions[stamp.slots[2]]) == stamp.versions[2]
        and load_acquire_u64(&versions[stamp.slots[3]]) == stamp.versions[3]
    )
