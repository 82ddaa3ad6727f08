"""Subscriptions of one pattern: lists of members, and the queue groups, each with its list.

Both are made for many patterns with one subscription each, and stay fast for one pattern with thousands: a
list of one needs no memory of its own, a member is removed by swapping in the last, and groups are found by
hash. Memory of one process; who owns the SublistItems keeps them alive.
"""

from libc.stdint cimport uint32_t, uint64_t

cdef struct SublistItem:
    # First member of the owner's Subscription struct.
    uint32_t position  # index in its member list, kept by the list: removal is a swap with the last

cdef struct MemberList:
    SublistItem **items  # capacity 0: not an array, the pointer *is* the only member
    uint32_t count  # members
    uint32_t capacity  # of the array, in members

cdef struct QueueGroup:
    uint64_t queue_id  # 0: free slot
    MemberList members

cdef struct QueueTable:
    uint32_t count  # groups
    uint32_t capacity  # slots, a power of two; followed by that many QueueGroup


cdef inline SublistItem **members_of(MemberList *members) noexcept nogil:
    """The members as an array, which a list of one does not have."""
    return members.items if members.capacity else <SublistItem **>&members.items


cdef inline QueueGroup *queue_slots(QueueTable *table) noexcept nogil:
    """The groups of a table; those with queue_id 0 are free slots."""
    return <QueueGroup *>(table + 1)


# Append; -1 when out of memory.
cdef int members_add(MemberList *members, SublistItem *item) noexcept nogil
# -1 if the item is not in.
cdef int members_remove(MemberList *members, SublistItem *item) noexcept nogil
cdef void members_free(MemberList *members) noexcept nogil

# A table that does not exist (NULL) has no groups.
# The group of that id, made if it is new; NULL when out of memory.
cdef QueueGroup *queue_ensure(QueueTable **table, uint64_t queue_id) noexcept nogil
# The group of that id, or NULL.
cdef QueueGroup *queue_get(QueueTable *table, uint64_t queue_id) noexcept nogil
# Takes out an empty group; the last one frees the table.
cdef void queue_drop(QueueTable **table, QueueGroup *group) noexcept nogil
cdef void queue_table_free(QueueTable *table) noexcept nogil
