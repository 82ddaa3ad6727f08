"""What one published subject matched: plain subscriptions, and queue groups with all their members."""

from libc.stdint cimport uint32_t, uint64_t
from libc.string cimport memset

from shardbroker.subjects.member_list cimport MemberList, QueueGroup, QueueTable, SublistItem

cdef struct MatchGroup:
    uint64_t queue_id
    uint32_t start  # first member in MatchResult.members
    uint32_t count  # members

cdef struct MatchResult:
    # What Sublist.match appends to. Zeroed by the owner at first (match_result_init), its arrays are kept
    # from one match to the next, and freed by match_result_free.
    SublistItem **plain
    uint32_t plain_count
    uint32_t plain_capacity
    SublistItem **members  # of all groups, group after group
    uint32_t members_count
    uint32_t members_capacity
    MatchGroup *groups  # in no particular order; each queue_id once per call of match
    uint32_t group_count
    uint32_t group_capacity
    QueueGroup *found  # scratch: groups of all patterns, before those of equal queue_id are merged
    uint32_t found_count
    uint32_t found_capacity


cdef inline void match_result_init(MatchResult *result) noexcept nogil:
    """Make an empty result without arrays."""
    memset(result, 0, sizeof(MatchResult))


cdef inline void match_result_clear(MatchResult *result) noexcept nogil:
    """Forget the matches, keep the arrays."""
    result.plain_count = result.members_count = result.group_count = result.found_count = 0


cdef void match_result_free(MatchResult *result) noexcept nogil
# Append the subscriptions of one pattern; -1 when out of memory.
cdef int match_result_add(MatchResult *result, MemberList *plain, QueueTable *groups) noexcept nogil
# After all patterns: turn what was found into groups, equal ids into one; -1 when out of memory.
cdef int match_result_merge(MatchResult *result) noexcept nogil
