"""Routes of recent subjects: who receives, here and on other workers.

A route is one block of memory. It stays valid while the four interest versions in its stamp stand still; that
is checked once per read of a socket (`epoch`), not once per message.
"""

cimport cython
from libc.stdint cimport uint8_t, uint32_t, uint64_t

from shardbroker.routing.delivery_target cimport Subscription
from shardbroker.same_bytes cimport same_bytes
from shardbroker.shm.interest_directory cimport InterestDirectory, RemoteInterest, RouteStamp
from shardbroker.subjects.sublist cimport MatchResult, Sublist

cdef struct RemoteMembers:
    uint32_t worker
    uint32_t unlimited  # queue members without UNSUB max
    uint32_t limited  # members that will leave after some messages

cdef struct RouteGroup:
    uint64_t queue_id  # exact, local; 0 when the group has no local member
    uint64_t queue_hash  # 40 bits, what travels in frames
    uint32_t start  # first local member in Route.members
    uint32_t count  # local members that take new messages
    uint32_t lingering  # local members behind them that take only frames in flight
    uint32_t remote_start  # first entry in Route.remotes
    uint32_t remote_count
    uint32_t remote_unlimited  # sum over remotes
    uint32_t remote_limited

cdef struct Route:
    uint64_t hash
    uint64_t size  # bytes of this block
    uint32_t account
    uint32_t subject_size
    uint64_t epoch  # read epoch in which the stamp was last compared
    uint64_t generation  # of RouteCache when it was built
    RouteStamp stamp
    uint64_t remote_mask  # workers with plain interest
    uint32_t plain_count
    uint32_t group_count
    Subscription **plain
    Subscription **members
    RouteGroup *groups
    RemoteMembers *remotes
    uint8_t *subject

cdef enum:
    ROUTE_WAYS = 4

cdef struct RouteSet:
    # One cache line: the hashes decide almost always without touching a route.
    uint64_t hashes[ROUTE_WAYS]
    Route *routes[ROUTE_WAYS]

@cython.final
cdef class RouteCache:
    cdef RouteSet *sets
    cdef uint64_t set_mask
    cdef uint64_t next_way
    cdef uint64_t epoch
    cdef uint64_t generation  # raised when routes die without a version change
    cdef readonly uint64_t size  # bytes of all routes
    cdef Route *last  # the route found last: most publishers stay on one subject
    cdef InterestDirectory directory
    cdef uint64_t seed
    cdef dict sublists  # account -> Sublist
    cdef Sublist default_sublist  # of account 0
    cdef MatchResult result
    cdef RemoteInterest remote
    cdef readonly uint64_t hits
    cdef readonly uint64_t misses

    cdef void next_epoch(self) noexcept
    cdef Route *look_up(
        self, uint32_t account, const uint8_t *subject, uint32_t size, uint64_t *hash
    ) noexcept
    cdef Route *build(self, uint32_t account, const uint8_t *subject, uint32_t size, uint64_t hash) noexcept
    cdef void add_remote_groups(self, Route *route) noexcept
    cdef Sublist sublist(self, uint32_t account)
    cdef void clear(self) noexcept

    cdef inline Route *find(
        self, uint32_t account, const uint8_t *subject, uint32_t size, uint64_t *hash
    ) noexcept:
        """The valid route of a subject, or NULL when memory is exhausted.

        `hash[0]` is hash_bytes(subject, seed) | 1, or 0 for "work it out", and is the hash afterwards. The
        route stays in place until the next call of find.
        """
        cdef Route *route = self.last
        if route != NULL and route.subject_size == size and route.account == account:
            if same_bytes(route.subject, subject, size):
                hash[0] = route.hash
                return route
        return self.look_up(account, subject, size, hash)
