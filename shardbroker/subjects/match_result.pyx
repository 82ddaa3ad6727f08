"""What one published subject matched. What it promises: match_result.pxd."""

from libc.stdlib cimport free, qsort
from libc.string cimport memcpy

from shardbroker.arrays cimport reserve
from shardbroker.subjects.member_list cimport members_of, queue_slots


cdef int match_result_add(MatchResult *result, MemberList *plain, QueueTable *groups) noexcept nogil:
    """Append the subscriptions of one pattern; -1 when out of memory."""
    cdef uint32_t count = plain.count
    cdef uint32_t index
    cdef QueueGroup *slots
    cdef void *array
    if count:
        array = reserve(
            result.plain, result.plain_count, count, &result.plain_capacity, sizeof(SublistItem *)
        )
        if array == NULL:
            return -1
        result.plain = <SublistItem **>array
        memcpy(result.plain + result.plain_count, members_of(plain), count * sizeof(SublistItem *))
        result.plain_count += count
    if groups != NULL:
        count = groups.count
        array = reserve(result.found, result.found_count, count, &result.found_capacity, sizeof(QueueGroup))
        if array == NULL:
            return -1
        result.found = <QueueGroup *>array
        slots = queue_slots(groups)
        for index in range(groups.capacity):
            if slots[index].queue_id != 0:
                result.found[result.found_count] = slots[index]
                result.found_count += 1
    return 0


cdef int by_queue_id(const void *left, const void *right) noexcept nogil:
    cdef uint64_t left_id = (<const QueueGroup *>left).queue_id
    cdef uint64_t right_id = (<const QueueGroup *>right).queue_id
    return (left_id > right_id) - (left_id < right_id)


cdef int match_result_merge(MatchResult *result) noexcept nogil:
    """Turn the noted groups into groups of the result, equal ids into one; -1 when out of memory."""
    cdef uint32_t count = result.found_count
    cdef uint32_t index
    cdef QueueGroup *found
    cdef MatchGroup *group = NULL
    cdef void *array
    if count == 0:
        return 0
    if count > 1:
        qsort(result.found, count, sizeof(QueueGroup), by_queue_id)
    array = reserve(result.groups, result.group_count, count, &result.group_capacity, sizeof(MatchGroup))
    if array == NULL:
        return -1
    result.groups = <MatchGroup *>array
    for index in range(count):
        found = &result.found[index]
        array = reserve(
            result.members, result.members_count, found.members.count,
            &result.members_capacity, sizeof(SublistItem *),
        )
        if array == NULL:
            return -1
        result.members = <SublistItem **>array
        if group == NULL or group.queue_id != found.queue_id:
            group = &result.groups[result.group_count]
            group[0] = MatchGroup(found.queue_id, result.members_count, 0)
            result.group_count += 1
        # A list of one lives inside its MemberList: take it from the copy in `found`.
        memcpy(
            result.members + result.members_count, members_of(&found.members),
            found.members.count * sizeof(SublistItem *),
        )
        result.members_count += found.members.count
        group.count += found.members.count
    result.found_count = 0
    return 0


cdef void match_result_free(MatchResult *result) noexcept nogil:
    """Give the arrays back; the result is empty and usable afterwards."""
    free(result.plain)
    free(result.members)
    free(result.groups)
    free(result.found)
    match_result_init(result)
