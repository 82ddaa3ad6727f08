"""The exact matcher of one account in one worker. What it is and how it is laid out: sublist.pxd.

Who gets a message is decided here and nowhere else; the interest directory only says which workers may
have somebody. The rules are nats-server's: `*` stands for one token and `>` for one or more at the end, a
token that merely contains them is literal, and a published subject with an empty token matches nothing.
Wildcards in a published subject are ordinary tokens: `foo.*` is matched by `foo.*`, `foo.>`, not by `foo.a`.

No result cache here: the router caches whole routes, and a cache of matches below it would only hold the
same thing twice.
"""

import os

cimport cython
from libc.stdlib cimport calloc, free, malloc
from libc.string cimport memchr, memcmp, memcpy, memset

from shardbroker.hashing cimport hash_bytes, mix_u64
from shardbroker.subjects.match_result cimport match_result_add, match_result_free, match_result_merge
from shardbroker.subjects.member_list cimport (
    QueueGroup,
    members_add,
    members_free,
    members_remove,
    queue_drop,
    queue_ensure,
    queue_get,
    queue_table_free,
)

cdef enum:
    NODE_EDGE  # found in the hash table: a literal pattern or a literal token
    NODE_STAR
    NODE_REST
    NODE_ROOT

    SLOTS_MIN = 8
    DOT = 46
    STAR = 42
    REST = 62

assert sizeof(Node) == 48  # memory per subscription, see tests/subjects/test_sublist.py


# --- subjects -------------------------------------------------------------------------------------------
cdef inline uint32_t token_end(const uint8_t *subject, uint32_t size, uint32_t start) noexcept nogil:
    """Offset of the dot that ends the token at ``start``, or ``size``."""
    cdef const uint8_t *dot = <const uint8_t *>memchr(subject + start, DOT, size - start)
    return size if dot == NULL else <uint32_t>(dot - subject)


cdef inline bint has_empty_token(const uint8_t *subject, uint32_t size) noexcept nogil:
    """Whether a dot stands first, last or beside another. An empty subject is an empty token."""
    cdef uint32_t start = 0
    cdef uint32_t end
    while start < size:
        end = token_end(subject, size, start)
        if end == start:
            return True
        if end == size:
            return False
        start = end + 1
    return True


cdef inline uint32_t token_kind(
    const uint8_t *subject, uint32_t size, uint32_t start, uint32_t end
) noexcept nogil:
    """What the token stands for in a pattern. `>` is a wildcard only at the end."""
    if end - start == 1:
        if subject[start] == STAR:
            return NODE_STAR
        if subject[start] == REST and end == size:
            return NODE_REST
    return NODE_EDGE


cdef inline bint has_wildcard(const uint8_t *subject, uint32_t size) noexcept nogil:
    cdef uint32_t start = 0
    cdef uint32_t end
    while start < size:
        end = token_end(subject, size, start)
        if token_kind(subject, size, start, end) != NODE_EDGE:
            return True
        start = end + 1
    return False


# --- nodes ----------------------------------------------------------------------------------------------
cdef inline int collect(Node *node, MatchResult *result) noexcept nogil:
    """Append the node's subscriptions to the result; -1 when out of memory."""
    return match_result_add(result, &node.plain, node.groups)


cdef void node_free(Node *node) noexcept nogil:
    """Free a node and what hangs off it but in the hash table: its `*` and `>` children."""
    members_free(&node.plain)
    queue_table_free(node.groups)
    if node.branch != NULL:
        if node.branch.star != NULL:
            node_free(node.branch.star)
        if node.branch.rest != NULL:
            node_free(node.branch.rest)
        free(node.branch)
    if node.kind != NODE_ROOT:
        free(node)


# --- the sublist ----------------------------------------------------------------------------------------
@cython.final
cdef class Sublist:
    """All client subscriptions of one account in this worker."""

    def __cinit__(self, seed=None):
        self.seed = int.from_bytes(os.urandom(8), "little") if seed is None else seed
        self.root.kind = NODE_ROOT

    def __dealloc__(self):
        cdef uint32_t index, slot
        for index in range(PARTITIONS):
            for slot in range(self.partitions[index].capacity):
                if self.partitions[index].slots[slot].node != NULL:
                    node_free(self.partitions[index].slots[slot].node)
            free(self.partitions[index].slots)
        node_free(&self.root)

    # --- hash table -------------------------------------------------------------------------------------
    cdef uint64_t hash_of(self, Node *parent, const uint8_t *token, uint32_t size) noexcept nogil:
        return hash_bytes(token, size, self.seed ^ mix_u64(<uint64_t><size_t>parent))

    cdef Node *find(self, Node *parent, const uint8_t *token, uint32_t size) noexcept nogil:
        """The node under that key, or NULL."""
        cdef uint64_t key = self.hash_of(parent, token, size)
        cdef Partition *partition = &self.partitions[key >> 56]
        cdef uint32_t mask = partition.capacity - 1
        cdef uint32_t index = <uint32_t>key & mask
        cdef Slot *slot
        if partition.used == 0:
            return NULL
        while True:
            slot = &partition.slots[index]
            if slot.node == NULL:
                return NULL
            if (
                slot.hash == key
                and slot.node.parent == parent
                and slot.node.token_size == size
                and memcmp(slot.node + 1, token, size) == 0
            ):
                return slot.node
            index = (index + 1) & mask

    cdef int table_resize(self, Partition *partition, uint32_t capacity) noexcept nogil:
        """Move a partition to a table of that many slots; -1 when out of memory."""
        cdef Slot *slots = <Slot *>calloc(capacity, sizeof(Slot))
        cdef uint32_t old, index
        if slots == NULL:
            return -1
        for old in range(partition.capacity):
            if partition.slots[old].node != NULL:
                index = <uint32_t>partition.slots[old].hash & (capacity - 1)
                while slots[index].node != NULL:
                    index = (index + 1) & (capacity - 1)
                slots[index] = partition.slots[old]
        free(partition.slots)
        partition.slots = slots
        partition.capacity = capacity
        return 0

    cdef int table_add(self, Node *node) noexcept nogil:
        """Enter a node that is not in yet; -1 when out of memory."""
        cdef uint64_t key = self.hash_of(node.parent, <const uint8_t *>(node + 1), node.token_size)
        cdef Partition *partition = &self.partitions[key >> 56]
        cdef uint32_t index, mask
        if (partition.used + 1) * 4 > partition.capacity * 3:
            if self.table_resize(partition, partition.capacity * 2 if partition.capacity else SLOTS_MIN) < 0:
                return -1
        mask = partition.capacity - 1
        index = <uint32_t>key & mask
        while partition.slots[index].node != NULL:
            index = (index + 1) & mask
        partition.slots[index] = Slot(key, node)
        partition.used += 1
        return 0

    cdef void table_drop(self, Node *node) noexcept nogil:
        """Take a node out: slots behind it move up, so that no search stops too early."""
        cdef uint64_t key = self.hash_of(node.parent, <const uint8_t *>(node + 1), node.token_size)
        cdef Partition *partition = &self.partitions[key >> 56]
        cdef Slot *slots = partition.slots
        cdef uint32_t mask = partition.capacity - 1
        cdef uint32_t hole = <uint32_t>key & mask
        cdef uint32_t index
        while slots[hole].node != node:
            hole = (hole + 1) & mask
        index = hole
        while True:
            index = (index + 1) & mask
            if slots[index].node == NULL:
                break
            if ((index - <uint32_t>slots[index].hash) & mask) >= ((index - hole) & mask):
                slots[hole] = slots[index]
                hole = index
        slots[hole].node = NULL
        partition.used -= 1
        if partition.used == 0:
            free(partition.slots)
            partition.slots = NULL
            partition.capacity = 0
        elif partition.capacity > SLOTS_MIN and partition.used * 8 <= partition.capacity:
            self.table_resize(partition, partition.capacity // 2)  # out of memory: it stays large

    # --- nodes ------------------------------------------------------------------------------------------
    cdef Node *child(self, Node *parent, const uint8_t *token, uint32_t size, uint32_t kind) noexcept nogil:
        """The child of a trie node (or, without parent, the literal pattern), or NULL."""
        if kind == NODE_EDGE:
            return self.find(parent, token, size)
        if parent.branch == NULL:
            return NULL
        return parent.branch.star if kind == NODE_STAR else parent.branch.rest

    cdef Node *add_child(
        self, Node *parent, const uint8_t *token, uint32_t size, uint32_t kind
    ) noexcept nogil:
        """Make that child; NULL when out of memory, with nothing changed."""
        cdef Node *node
        if kind != NODE_EDGE:
            size = 0
        node = <Node *>malloc(sizeof(Node) + size)
        if node == NULL:
            return NULL
        memset(node, 0, sizeof(Node))
        node.parent = parent
        node.kind = kind
        node.token_size = size
        memcpy(node + 1, token, size)
        if parent != NULL and parent.branch == NULL:
            parent.branch = <Branch *>calloc(1, sizeof(Branch))
            if parent.branch == NULL:
                free(node)
                return NULL
        if kind == NODE_STAR:
            parent.branch.star = node
        elif kind == NODE_REST:
            parent.branch.rest = node
        else:
            if self.table_add(node) < 0:
                free(node)
                self.prune_branch(parent)
                return NULL
            if parent != NULL:
                parent.branch.edges += 1
        return node

    cdef void prune_branch(self, Node *node) noexcept nogil:
        """Free the branch of a node that has no children any more."""
        if node == NULL or node.branch == NULL:
            return
        if node.branch.star == NULL and node.branch.rest == NULL and node.branch.edges == 0:
            free(node.branch)
            node.branch = NULL

    cdef void prune(self, Node *node) noexcept nogil:
        """Free the node if it is empty, then its parents as far as they have become empty."""
        cdef Node *parent
        while node != NULL and node.kind != NODE_ROOT:
            if node.plain.count or node.groups != NULL or node.branch != NULL:
                return
            parent = node.parent
            if node.kind == NODE_STAR:
                parent.branch.star = NULL
            elif node.kind == NODE_REST:
                parent.branch.rest = NULL
            else:
                self.table_drop(node)
                if parent != NULL:
                    parent.branch.edges -= 1
            free(node)
            self.prune_branch(parent)
            node = parent

    cdef Node *locate(self, const uint8_t *subject, uint32_t size, bint create) noexcept nogil:
        """The node of a pattern, or NULL: absent, or (``create``) out of memory, with nothing changed."""
        cdef Node *node
        cdef Node *next
        cdef uint32_t start = 0
        cdef uint32_t end, kind
        if not has_wildcard(subject, size):
            node = self.find(NULL, subject, size)
            if node == NULL and create:
                node = self.add_child(NULL, subject, size, NODE_EDGE)
            return node
        node = &self.root
        while start <= size:
            end = token_end(subject, size, start)
            kind = token_kind(subject, size, start, end)
            next = self.child(node, subject + start, end - start, kind)
            if next == NULL and create:
                next = self.add_child(node, subject + start, end - start, kind)
                if next == NULL:
                    self.prune(node)
            if next == NULL:
                return NULL
            node = next
            start = end + 1
        return node

    # --- the contract (sublist.pxd) ---------------------------------------------------------------------
    cdef int insert(
        self, const uint8_t *subject, uint32_t size, uint64_t queue_id, SublistItem *item
    ) except -1:
        cdef Node *node = self.locate(subject, size, True)
        cdef QueueGroup *group
        cdef int status
        if node == NULL:
            raise MemoryError("subscription list")
        if queue_id == 0:
            status = members_add(&node.plain, item)
        else:
            group = queue_ensure(&node.groups, queue_id)
            status = -1 if group == NULL else members_add(&group.members, item)
            if status < 0 and group != NULL and group.members.count == 0:
                queue_drop(&node.groups, group)
        if status < 0:
            self.prune(node)
            raise MemoryError("subscription list")
        self.subscriptions += 1
        self.inserts += 1
        return 0

    cdef int remove(
        self, const uint8_t *subject, uint32_t size, uint64_t queue_id, SublistItem *item
    ) noexcept nogil:
        cdef Node *node = self.locate(subject, size, False)
        cdef QueueGroup *group
        if node == NULL:
            return -1
        if queue_id == 0:
            if members_remove(&node.plain, item) < 0:
                return -1
        else:
            group = queue_get(node.groups, queue_id)
            if group == NULL or members_remove(&group.members, item) < 0:
                return -1
            if group.members.count == 0:
                queue_drop(&node.groups, group)
        self.prune(node)
        self.subscriptions -= 1
        self.removes += 1
        return 0

    cdef int match(self, const uint8_t *subject, uint32_t size, MatchResult *result) noexcept nogil:
        cdef Node *node = self.find(NULL, subject, size)
        self.matches += 1
        result.found_count = 0
        if node != NULL and collect(node, result) < 0:
            return -1
        if self.root.branch != NULL and not has_empty_token(subject, size):
            if self.match_below(&self.root, subject, size, 0, result) < 0:
                return -1
        return match_result_merge(result)

    cdef int match_below(
        self, Node *node, const uint8_t *subject, uint32_t size, uint32_t start, MatchResult *result
    ) noexcept nogil:
        """Match the tokens from ``start`` on against the patterns below a trie node.

        The recursion is as deep as the longest pattern has `*`, at most half a control line.
        """
        cdef Branch *branch
        cdef uint32_t end
        while node != NULL and node.branch != NULL:
            branch = node.branch
            if branch.rest != NULL and collect(branch.rest, result) < 0:
                return -1
            end = token_end(subject, size, start)
            if branch.star != NULL:
                if end == size:
                    if collect(branch.star, result) < 0:
                        return -1
                elif self.match_below(branch.star, subject, size, end + 1, result) < 0:
                    return -1
            node = self.find(node, subject + start, end - start) if branch.edges else NULL
            if end == size:
                return 0 if node == NULL else collect(node, result)
            start = end + 1
        return 0

    # --- for tests and tools ----------------------------------------------------------------------------
    def insert_item(self, bytes subject, uint64_t queue_id=0) -> int:
        """Insert a new item; its address stands for it. For tests and tools."""
        cdef SublistItem *item = <SublistItem *>malloc(sizeof(SublistItem))
        self.insert(subject, <uint32_t>len(subject), queue_id, item)
        return <size_t>item

    def remove_item(self, bytes subject, size_t item, uint64_t queue_id=0) -> bool:
        """Remove and free an item of insert_item; False if it was not in there. For tests and tools."""
        if self.remove(subject, <uint32_t>len(subject), queue_id, <SublistItem *>item) < 0:
            return False
        free(<void *>item)
        return True

    def match_items(self, bytes subject) -> tuple:
        """(plain items, {queue id: items}) that want the subject. For tests and tools."""
        cdef MatchResult result
        cdef MatchGroup group
        cdef uint32_t index
        match_result_init(&result)
        if self.match(subject, <uint32_t>len(subject), &result) < 0:
            match_result_free(&result)
            raise MemoryError("match result")
        plain = [<size_t>result.plain[index] for index in range(result.plain_count)]
        groups = []
        for index in range(result.group_count):
            group = result.groups[index]
            members = range(group.start, group.start + group.count)
            groups.append((group.queue_id, [<size_t>result.members[<uint32_t>member] for member in members]))
        match_result_free(&result)
        assert len(dict(groups)) == len(groups), "a queue id twice in one result"
        return plain, dict(groups)

    def count_slots(self) -> int:
        """Entries of the hash table: 0 when every subscription is gone. For tests and tools."""
        return sum(self.partitions[index].used for index in range(PARTITIONS))
