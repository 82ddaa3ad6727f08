"""While the owner of streams is being replaced, publishers to their subjects wait.

Otherwise they would hear that nobody responds. The interest of a stream belongs to its slot, not to the
process that holds it; that process comes back within a second, and what was parked goes on. It is bounded:
after `until_ns` things are as they look.
"""

from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free

from shardbroker.subjects.match_result cimport match_result_clear, match_result_free, match_result_init
from shardbroker.subjects.sublist cimport Sublist


cdef class Gap:
    """`patterns`: subjects of an account, as bytes."""

    def __cinit__(self, uint32_t account, list patterns, uint64_t until_ns, uint64_t seed):
        cdef uint32_t i
        cdef bytes pattern
        match_result_init(&self.result)
        self.account = account
        self.until_ns = until_ns
        self.patterns = Sublist(seed)
        self.items = <SublistItem *> calloc(max(1, len(patterns)), sizeof(SublistItem))
        if self.items == NULL:
            raise MemoryError("no memory for subjects without an owner")
        for i in range(len(patterns)):
            pattern = patterns[i]
            self.patterns.insert(pattern, <uint32_t> len(pattern), 0, &self.items[i])

    def __dealloc__(self):
        match_result_free(&self.result)
        free(self.items)

    cdef bint covers(self, uint32_t account, const uint8_t *subject, uint32_t size) noexcept:
        """Whether a message on this subject must wait."""
        if account != self.account:
            return False
        match_result_clear(&self.result)
        self.patterns.match(subject, size, &self.result)
        return self.result.plain_count != 0
