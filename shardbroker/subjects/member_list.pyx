"""Subscriptions of one pattern: lists of members and queue groups. What they promise: member_list.pxd."""

from libc.stdlib cimport calloc, free, malloc, realloc

from shardbroker.hashing cimport mix_u64


cdef int members_add(MemberList *members, SublistItem *item) noexcept nogil:
    """Append; -1 when out of memory."""
    cdef SublistItem **items
    cdef uint32_t capacity
    if members.count == 0 and members.capacity == 0:
        members.items = <SublistItem **>item
    else:
        if members.capacity == 0:
            items = <SublistItem **>malloc(2 * sizeof(SublistItem *))
            if items == NULL:
                return -1
            items[0] = <SublistItem *>members.items
            members.items = items
            members.capacity = 2
        elif members.count == members.capacity:
            capacity = members.capacity * 2
            items = <SublistItem **>realloc(members.items, capacity * sizeof(SublistItem *))
            if items == NULL:
                return -1
            members.items = items
            members.capacity = capacity
        members.items[members.count] = item
    item.position = members.count
    members.count += 1
    return 0


cdef int members_remove(MemberList *members, SublistItem *item) noexcept nogil:
    """Take out by swapping in the last; -1 if the item is not in."""
    cdef SublistItem **items = members_of(members)
    cdef SublistItem *last
    cdef uint32_t capacity
    if item.position >= members.count or items[item.position] != item:
        return -1
    members.count -= 1
    last = items[members.count]
    items[item.position] = last
    last.position = item.position
    if members.capacity == 0:
        members.items = NULL
    elif members.count <= 1:
        last = items[0] if members.count else NULL
        free(members.items)
        members.items = <SublistItem **>last
        members.capacity = 0
    elif members.count <= members.capacity // 4:
        capacity = members.capacity // 2
        items = <SublistItem **>realloc(members.items, capacity * sizeof(SublistItem *))
        if items != NULL:
            members.items = items
            members.capacity = capacity
    return 0


cdef void members_free(MemberList *members) noexcept nogil:
    """Free what the list has allocated, not the items."""
    if members.capacity:
        free(members.items)


# --- queue groups ---------------------------------------------------------------------------------------
cdef inline QueueGroup *queue_find(QueueTable *table, uint64_t queue_id) noexcept nogil:
    """The slot of that group, or the free slot where it belongs."""
    cdef QueueGroup *slots = queue_slots(table)
    cdef uint32_t mask = table.capacity - 1
    cdef uint32_t index = <uint32_t>mix_u64(queue_id) & mask
    while slots[index].queue_id != 0 and slots[index].queue_id != queue_id:
        index = (index + 1) & mask
    return &slots[index]


cdef QueueTable *queue_table_new(uint32_t capacity) noexcept nogil:
    cdef QueueTable *table = <QueueTable *>calloc(1, sizeof(QueueTable) + capacity * sizeof(QueueGroup))
    if table != NULL:
        table.capacity = capacity
    return table


cdef QueueGroup *queue_get(QueueTable *table, uint64_t queue_id) noexcept nogil:
    """The group of that id, or NULL."""
    cdef QueueGroup *group
    if table == NULL:
        return NULL
    group = queue_find(table, queue_id)
    return group if group.queue_id != 0 else NULL


cdef QueueGroup *queue_ensure(QueueTable **place, uint64_t queue_id) noexcept nogil:
    """The group of that id, made if it is new; NULL when out of memory."""
    cdef QueueTable *old = place[0]
    cdef QueueTable *table = old
    cdef QueueGroup *group
    cdef uint32_t index
    group = queue_get(old, queue_id)
    if group != NULL:
        return group
    if old == NULL or (old.count + 1) * 4 > old.capacity * 3:
        table = queue_table_new(2 if old == NULL else old.capacity * 2)
        if table == NULL:
            return NULL
        if old != NULL:
            for index in range(old.capacity):
                if queue_slots(old)[index].queue_id != 0:
                    queue_find(table, queue_slots(old)[index].queue_id)[0] = queue_slots(old)[index]
            table.count = old.count
            free(old)
        place[0] = table
    group = queue_find(table, queue_id)
    group.queue_id = queue_id
    group.members = MemberList(NULL, 0, 0)
    table.count += 1
    return group


cdef void queue_drop(QueueTable **place, QueueGroup *group) noexcept nogil:
    """Take out an empty group: slots behind it move up, so that no search stops too early."""
    cdef QueueTable *table = place[0]
    cdef QueueGroup *slots = queue_slots(table)
    cdef uint32_t mask = table.capacity - 1
    cdef uint32_t hole = <uint32_t>(group - slots)
    cdef uint32_t index = hole
    cdef uint32_t home
    table.count -= 1
    if table.count == 0:
        free(table)
        place[0] = NULL
        return
    while True:
        index = (index + 1) & mask
        if slots[index].queue_id == 0:
            break
        home = <uint32_t>mix_u64(slots[index].queue_id) & mask
        if ((index - home) & mask) >= ((index - hole) & mask):
            slots[hole] = slots[index]
            hole = index
    slots[hole].queue_id = 0


cdef void queue_table_free(QueueTable *table) noexcept nogil:
    """Free the table and the lists of its groups, not the items."""
    cdef uint32_t index
    if table == NULL:
        return
    for index in range(table.capacity):
        if queue_slots(table)[index].queue_id != 0:
            members_free(&queue_slots(table)[index].members)
    free(table)
