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

from shardbroker.subjects.match_result cimport (
    MatchGroup,
    MatchResult,
    match_result_clear,
    match_result_free,
    match_result_init,
)
from shardbroker.subjects.member_list cimport MemberList, QueueTable, SublistItem

cdef enum:
    PARTITIONS = 256  # of the hash table; a rehash touches 1/256 of the subscriptions

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
    cdef int insert(
        self, const uint8_t *subject, uint32_t size, uint64_t queue_id, SublistItem *item
    ) except -1
    # 0, or -1 if that item is not in under that subject and queue.
    cdef int remove(
        self, const uint8_t *subject, uint32_t size, uint64_t queue_id, SublistItem *item
    ) noexcept nogil
    # Appends who wants the subject; 0, or -1 when out of memory (what was appended until then stays).
    cdef int match(self, const uint8_t *subject, uint32_t size, MatchResult *result) noexcept nogil

    # Private: the hash table, the nodes, the walk.
    cdef uint64_t hash_of(self, Node *parent, const uint8_t *token, uint32_t size) noexcept nogil
    cdef Node *find(self, Node *parent, const uint8_t *token, uint32_t size) noexcept nogil
    cdef int table_resize(self, Partition *partition, uint32_t capacity) noexcept nogil
    cdef int table_add(self, Node *node) noexcept nogil
    cdef void table_drop(self, Node *node) noexcept nogil
    cdef Node *child(self, Node *parent, const uint8_t *token, uint32_t size, uint32_t kind) noexcept nogil
    cdef Node *add_child(
        self, Node *parent, const uint8_t *token, uint32_t size, uint32_t kind
    ) noexcept nogil
    cdef void prune_branch(self, Node *node) noexcept nogil
    cdef void prune(self, Node *node) noexcept nogil
    cdef Node *locate(self, const uint8_t *subject, uint32_t size, bint create) noexcept nogil
    cdef int match_below(
        self, Node *node, const uint8_t *subject, uint32_t size, uint32_t start, MatchResult *result
    ) noexcept nogil
