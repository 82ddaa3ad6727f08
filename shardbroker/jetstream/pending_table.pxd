"""Messages that were delivered and not acknowledged: by sequence, in order, by deadline, and due again."""

cimport cython
from libc.stdint cimport uint8_t, uint32_t, uint64_t

cdef enum:
    NO_ENTRY = 0xFFFFFFFF
    LANES = 4  # lists of entries with rising deadlines

cdef enum PendingPlace:
    # Where an entry waits, besides the order of sequences.
    IN_NO_PLACE = LANES
    IN_HEAP = LANES + 1
    IN_QUEUE = LANES + 2  # it is to be delivered again; below LANES: the number of its lane
    IN_GRAVE = LANES + 3  # a dead letter that is not stored yet: max_deliver was reached
    IN_GRAVE_BY_TERM = LANES + 4  # likewise, terminated by a client; in the same list

cdef struct PendingEntry:
    uint64_t sequence  # in the stream
    uint64_t consumer_sequence  # of the first delivery
    uint64_t delivered_ns  # of the last one, wall clock
    uint64_t deadline_ns  # when it is due again; of a dead letter: when it died
    uint32_t deliveries
    uint32_t place  # PendingPlace or lane
    uint32_t before  # in the order of sequences; NO_ENTRY: the first
    uint32_t after  # NO_ENTRY: the last; of a free entry: the next free one
    uint32_t place_before  # in its lane or in the queue; in the heap: its index
    uint32_t place_after

@cython.final
cdef class PendingTable:
    cdef PendingEntry *entries
    cdef uint32_t entry_count  # ever used
    cdef uint32_t entry_capacity
    cdef uint32_t free_first
    cdef uint32_t *slots  # entry + 1; 0: free
    cdef uint32_t slot_shift  # 64 - log2 of the slots
    cdef uint32_t slot_mask
    cdef uint32_t *heap  # entries with deadlines that fit into no lane
    cdef uint32_t heap_count
    cdef uint32_t heap_capacity
    cdef uint32_t lane_first[LANES + 4]  # the queue is at IN_QUEUE, dead letters are at IN_GRAVE
    cdef uint32_t lane_last[LANES + 4]
    cdef uint32_t first  # lowest sequence; NO_ENTRY: none
    cdef uint32_t last
    cdef readonly uint32_t count
    cdef readonly uint32_t queued  # entries that are to be delivered again
    cdef readonly uint32_t dead  # entries that are dead letters

    cdef uint32_t find(self, uint64_t sequence) noexcept  # NO_ENTRY: not in
    # A new entry without a place; NO_ENTRY: no memory. Entries move: indexes stay, pointers do not.
    cdef uint32_t add(self, uint64_t sequence, uint64_t consumer_sequence) noexcept
    cdef void remove(self, uint32_t index) noexcept
    cdef int wait_until(self, uint32_t index, uint64_t deadline_ns) noexcept  # -1 when memory is exhausted
    cdef void enqueue(self, uint32_t index, bint front) noexcept  # behind, or before, all that are due again
    cdef uint32_t next_queued(self) noexcept
    cdef void bury(self, uint32_t index, PendingPlace place, uint64_t died_ns) noexcept  # behind other dead
    cdef uint32_t next_dead(self) noexcept
    cdef uint32_t take_due(self, uint64_t now_ns) noexcept  # one whose deadline has passed, out of its place
    cdef uint64_t next_deadline(self) noexcept  # 0: none waits
    cdef void clear(self) noexcept

    # Entries of which an acknowledgement is expected.
    cdef inline uint32_t expected(self) noexcept:
        return self.count - self.dead

    cdef inline bint is_dead(self, uint32_t index) noexcept:
        return self.entries[index].place >= IN_GRAVE

    cdef uint32_t home(self, uint64_t sequence) noexcept
    cdef void leave(self, uint32_t index) noexcept
    cdef void append(self, uint32_t index, uint32_t list) noexcept
    cdef int push(self, uint32_t index) noexcept
    cdef void settle(self, uint32_t index, uint32_t at) noexcept
    cdef bint grow_slots(self) noexcept
