"""Routes of recent subjects, see route_cache.pxd.

Four ways a set, 8192 sets: recent subjects up to about 32 thousand keep their routes. A set's four hashes
and pointers are one cache line. A subject not found costs a match in the local sublist and a walk of the
interest directory (RINGS.md: 100-500 ns); every reply subject of a request is such a miss.

Validity. Any change of interest anywhere bumps a version on the board before it is confirmed to its client
(interest_directory). A route carries the versions it was built under; `next_epoch` is called for each read
of a socket and for each local change, and the first use of a route in an epoch compares them.
"""

from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free, malloc
from libc.string cimport memcpy, memset

from shardbroker.hashing cimport hash_bytes
from shardbroker.routing.delivery_target cimport SUBSCRIPTION_LINGERING, Subscription, subscription_queue
from shardbroker.shm.interest_directory cimport (
    InterestDirectory,
    InterestMembers,
    RemoteInterest,
    RouteStamp,
    remote_interest_free,
    remote_interest_init,
)
from shardbroker.subjects.sublist cimport (
    MatchResult,
    Sublist,
    match_result_clear,
    match_result_free,
    match_result_init,
)

cdef enum:
    ROUTE_SETS = 8192  # a power of two; times ROUTE_WAYS routes
    ROUTES_SIZE_MAX = 64 << 20  # bytes; 32 thousand routes of one receiver are some 6 MB


cdef class RouteCache:
    """`directory` answers for other workers; sublists for the clients here. `seed` is the board's."""

    def __cinit__(self, InterestDirectory directory, uint64_t seed):
        self.directory = directory
        self.seed = seed
        self.sublists = {}
        self.epoch = 1
        self.set_mask = ROUTE_SETS - 1
        self.sets = <RouteSet *> calloc(ROUTE_SETS, sizeof(RouteSet))
        if self.sets == NULL:
            raise MemoryError("no memory for the route cache")
        match_result_init(&self.result)
        remote_interest_init(&self.remote)
        self.default_sublist = self.sublist(0)

    def __dealloc__(self):
        if self.sets != NULL:
            self.clear()
            free(self.sets)
        match_result_free(&self.result)
        remote_interest_free(&self.remote)

    cdef Sublist sublist(self, uint32_t account):
        """The sublist of an account, made at first use."""
        found = self.sublists.get(account)
        if found is None:
            found = self.sublists[account] = Sublist(self.seed)
        return found

    cdef void next_epoch(self) noexcept:
        """Let every route be checked once before its next use."""
        self.epoch += 1
        self.last = NULL

    cdef void clear(self) noexcept:
        """Forget all routes."""
        cdef uint64_t i
        cdef int way
        self.last = NULL
        self.size = 0
        for i in range(ROUTE_SETS):
            for way in range(ROUTE_WAYS):
                free(self.sets[i].routes[way])
                self.sets[i].routes[way] = NULL
                self.sets[i].hashes[way] = 0

    cdef Route *look_up(
        self, uint32_t account, const uint8_t *subject, uint32_t size, uint64_t *hash
    ) noexcept:
        """The slower half of `find`: the set of this hash, or a new route."""
        cdef RouteSet *group
        cdef Route *route
        cdef int way
        if hash[0] == 0:
            hash[0] = hash_bytes(subject, size, self.seed) | 1
        group = &self.sets[(hash[0] >> 20) & self.set_mask]
        for way in range(ROUTE_WAYS):
            if group.hashes[way] != hash[0]:
                continue
            route = group.routes[way]
            if route.subject_size != size or route.account != account:
                continue
            if not same_bytes(route.subject, subject, size):
                continue
            if route.epoch != self.epoch:
                if route.generation != self.generation or not self.directory.current(&route.stamp):
                    break
                route.epoch = self.epoch
            self.hits += 1
            self.last = route
            return route
        else:
            way = ROUTE_WAYS
        self.misses += 1
        route = self.build(account, subject, size, hash[0])
        if route == NULL:
            return NULL
        if way == ROUTE_WAYS:
            # Not there: into a free way, else over the next victim in turn.
            for way in range(ROUTE_WAYS):
                if group.routes[way] == NULL:
                    break
            else:
                way = <int> (self.next_way & (ROUTE_WAYS - 1))
                self.next_way += 1
        if self.size > ROUTES_SIZE_MAX:
            # Routes of many receivers are large: rather forget all than let them grow with the subjects.
            self.clear()
        if group.routes[way] != NULL:
            self.size -= group.routes[way].size
            free(group.routes[way])
        self.size += route.size
        group.routes[way] = route
        group.hashes[way] = hash[0]
        self.last = route
        return route

    cdef Route *build(self, uint32_t account, const uint8_t *subject, uint32_t size, uint64_t hash) noexcept:
        """Match here and ask the directory; one block of memory with everything."""
        cdef Route *route
        cdef Subscription *member
        cdef MatchResult *result = &self.result
        cdef RouteStamp stamp
        cdef RouteGroup *group
        cdef uint64_t bytes_needed
        cdef uint32_t i, k, k_free, groups, remotes
        cdef uint8_t *place
        cdef Sublist sublist = self.default_sublist
        # The directory first: it takes the versions before it probes, and our own changes bump them too.
        if self.directory.lookup(account, subject, size, &self.remote, &stamp) < 0:
            return NULL
        if account:
            sublist = self.sublist(account)
        match_result_clear(result)
        if sublist.match(subject, size, result) < 0:
            return NULL
        groups = result.group_count + self.remote.group_count
        remotes = self.remote.members_count
        bytes_needed = (
            sizeof(Route)
            + (result.plain_count + result.members_count) * sizeof(Subscription *)
            + groups * sizeof(RouteGroup)
            + remotes * sizeof(RemoteMembers)
            + size
        )
        route = <Route *> malloc(bytes_needed)
        if route == NULL:
            return NULL
        memset(route, 0, sizeof(Route))
        route.hash = hash
        route.size = bytes_needed
        route.account = account
        route.subject_size = size
        route.epoch = self.epoch
        route.stamp = stamp
        route.generation = self.generation
        route.remote_mask = self.remote.mask
        place = <uint8_t *> (route + 1)
        route.plain = <Subscription **> place
        route.plain_count = result.plain_count
        if result.plain_count:
            memcpy(place, result.plain, result.plain_count * sizeof(Subscription *))
        place += result.plain_count * sizeof(Subscription *)
        route.members = <Subscription **> place
        place += result.members_count * sizeof(Subscription *)
        route.groups = <RouteGroup *> place
        memset(place, 0, groups * sizeof(RouteGroup))
        place += groups * sizeof(RouteGroup)
        route.remotes = <RemoteMembers *> place
        place += remotes * sizeof(RemoteMembers)
        route.subject = place
        memcpy(place, subject, size)
        # Local groups: members that take new messages first, lingering ones behind them.
        for i in range(result.group_count):
            route.groups[i].queue_id = result.groups[i].queue_id
            member = <Subscription *> result.members[result.groups[i].start]
            route.groups[i].queue_hash = self.directory.queue_hash_of(
                subscription_queue(member), member.queue_size
            )
            route.groups[i].start = result.groups[i].start
            for k in range(result.groups[i].count):
                member = <Subscription *> result.members[result.groups[i].start + k]
                if not member.flags & SUBSCRIPTION_LINGERING:
                    route.members[route.groups[i].start + route.groups[i].count] = member
                    route.groups[i].count += 1
            for k in range(result.groups[i].count):
                member = <Subscription *> result.members[result.groups[i].start + k]
                if member.flags & SUBSCRIPTION_LINGERING:
                    k_free = route.groups[i].start + route.groups[i].count + route.groups[i].lingering
                    route.members[k_free] = member
                    route.groups[i].lingering += 1
        route.group_count = result.group_count
        self.add_remote_groups(route)
        return route

    cdef void add_remote_groups(self, Route *route) noexcept:
        """Join what other workers hold of each queue group to the local groups, or as groups of their own."""
        cdef uint32_t i, k, remote_start = 0
        cdef InterestMembers *members
        cdef RouteGroup *group
        for i in range(self.remote.group_count):
            group = NULL
            for k in range(route.group_count):
                if route.groups[k].queue_hash == self.remote.groups[i].queue_hash:
                    group = &route.groups[k]
                    break
            if group == NULL:
                group = &route.groups[route.group_count]
                route.group_count += 1
                group.queue_hash = self.remote.groups[i].queue_hash
            group.remote_start = remote_start
            for k in range(self.remote.groups[i].count):
                members = &self.remote.members[self.remote.groups[i].start + k]
                route.remotes[remote_start].worker = members.worker
                route.remotes[remote_start].unlimited = members.unlimited
                route.remotes[remote_start].limited = members.limited
                group.remote_unlimited += members.unlimited
                group.remote_limited += members.limited
                group.remote_count += 1
                remote_start += 1
