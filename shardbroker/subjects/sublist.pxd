"""The exact matcher of one account in one worker: which client subscriptions want a subject.

One hash table holds everything that is found by bytes, under the key (parent node, bytes):

    literal patterns      (no parent, the whole subject)            one probe per published subject
    wildcard patterns     (trie node, one literal token)            an edge of the trie

`*` and `>` children hang off their parent's Branch, which only nodes with wildcard children below have. So a
literal subscription costs one node and one slot, and no node carries a table of its own. The table is split
in partitions that grow apart: no SUB ever waits for the rehash of a million subscriptions.

Not thread-safe, not shared: memory of one process. The owner keeps every SublistItem alive while it is in.
"""

cimport cython
from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.string cimport memset

cdef enum:
    PARTITIONS = 256  # of the hash table; a rehash touches 1/256 of the subscriptions

cdef struct SublistItem:
    # First member of the owner's Subscription struct.
    uint32_t position  # index in its member list, kept by the sublist: removal is a swap with the last

cdef struct MatchGroup:
    uint64_t queue_id
    uint32_t start  # first member in MatchResult.members
    uint32_t count  # members

cdef struct MemberList:
    SublistItem **items  # capacity 0: not an array, the pointer *is* the only member
    uint32_t count  # members
    uint32_t capacity  # of the array, in members

cdef struct MatchResult:
    # What match() appends to. Zeroed by the owner at first (match_result_init), its arrays are kept from
    # one match to the next, and freed by match_result_free.
    SublistItem **plain
    uint32_t plain_count
    uint32_t plain_capacity
    SublistItem **members  # of all groups, group after group
    uint32_t members_count
    uint32_t members_capacity
    MatchGroup *groups  # ordered by nothing; each queue_id once per call of match()
    uint32_t group_count
    uint32_t group_capacity
    QueueGroup *found  # scratch of match(): groups before those of equal queue_id are merged
    uint32_t found_count
    uint32_t found_capacity

cdef struct QueueGroup:
    uint64_t queue_id  # 0: free slot
    MemberList members

cdef struct QueueTable:
    uint32_t count  # groups
    uint32_t capacity  # slots, a power of two; followed by that many QueueGroup

cdef struct Branch:
    Node *star  # child for `*`
    Node *rest  # child for `>`
    uint32_t edges  # literal children, kept in the hash table

cdef struct Node:
    # Followed by token_size bytes: the token, or the whole subject of a literal pattern.
    Node *parent  # NULL: a literal pattern, or the root
    Branch *branch  # NULL: no pattern goes on below this node
    MemberList plain
    QueueTable *groups  # NULL: no queue group
    uint32_t kind  # NODE_EDGE, NODE_STAR, NODE_REST or NODE_ROOT
    uint32_t token_size  # bytes

cdef struct Slot:
    uint64_t hash
    Node *node  # NULL: free

cdef struct Partition:
    Slot *slots
    uint32_t capacity  # slots, a power of two or 0
    uint32_t used  # slots taken

cdef inline void match_result_init(MatchResult *result) noexcept nogil:
    """Make an empty result without arrays."""
    memset(result, 0, sizeof(MatchResult))


cdef inline void match_result_clear(MatchResult *result) noexcept nogil:
    """Forget the matches, keep the arrays."""
    result.plain_count = result.members_count = result.group_count = result.found_count = 0


cdef void match_result_free(MatchResult *result) noexcept nogil


@cython.final
cdef class Sublist:
    cdef:
        readonly uint32_t subscriptions  # items in
        readonly uint64_t inserts
        readonly uint64_t removes
        readonly uint64_t matches
        uint64_t seed
        Node root
        Partition partitions[PARTITIONS]

    # queue_id 0: a plain subscription. The subject must be valid for SUB. Raises MemoryError, having
    # changed nothing.
    cdef int insert(self, const uint8_t *subject, uint32_t size, uint64_t queue_id, SublistItem *item) except -1
    # 0, or -1 if that item is not in under that subject and queue.
    cdef int remove(self, const uint8_t *subject, uint32_t size, uint64_t queue_id, SublistItem *item) noexcept nogil
    # Appends who wants the subject; 0, or -1 when out of memory (what was appended until then stays).
    cdef int match(self, const uint8_t *subject, uint32_t size, MatchResult *result) noexcept nogil

    # Private: the hash table, the nodes, the walk.
    cdef uint64_t hash_of(self, Node *parent, const uint8_t *token, uint32_t size) noexcept nogil
    cdef Node *find(self, Node *parent, const uint8_t *token, uint32_t size) noexcept nogil
    cdef int table_resize(self, Partition *partition, uint32_t capacity) noexcept nogil
    cdef int table_add(self, Node *node) noexcept nogil
    cdef void table_drop(self, Node *node) noexcept nogil
    cdef Node *child(self, Node *parent, const uint8_t *token, uint32_t size, uint32_t kind) noexcept nogil
    cdef Node *add_child(self, Node *parent, const uint8_t *token, uint32_t size, uint32_t kind) noexcept nogil
    cdef void prune_branch(self, Node *node) noexcept nogil
    cdef void prune(self, Node *node) noexcept nogil
    cdef Node *locate(self, const uint8_t *subject, uint32_t size, bint create) noexcept nogil
    cdef int match_below(
        self, Node *node, const uint8_t *subject, uint32_t size, uint32_t start, MatchResult *result
    ) noexcept nogil
