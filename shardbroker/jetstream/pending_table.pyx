"""The table of pending deliveries of one consumer.

Entries stand in one array and never move; an open-addressing table finds them by sequence, and links go
through them twice: in the order of sequences (which is the order of first deliveries, so that its head is
the ack floor), and through the place where an entry waits.

Deadlines: nearly all entries wait equally long, so their deadlines rise with time and a list is enough. A
deadline goes to the end of the lane whose last one is the closest before it: four lanes take an ack wait,
a back-off of three steps, or naks with a few delays. What fits nowhere goes into a heap that knows its
members' places, so that an acknowledgement takes its entry out at once: nothing stale remains, whatever
the rate.

Dead letters that are not stored yet stay entries, in a list of their own: they are due never again.
"""

from libc.stdint cimport uint32_t, uint64_t
from libc.stdlib cimport calloc, free, realloc

from shardbroker.arrays cimport reserve

cdef enum:
    KEPT_ENTRIES = 4096  # an empty table that was larger gives its memory back


cdef class PendingTable:
    """Empty at first."""

    def __cinit__(self):
        self.clear()

    def __dealloc__(self):
        free(self.entries)
        free(self.slots)
        free(self.heap)

    def __len__(self):
        return self.count

    cdef void clear(self) noexcept:
        """Forget all entries and give the memory back."""
        cdef uint32_t i
        free(self.entries)
        free(self.slots)
        free(self.heap)
        self.entries = NULL
        self.slots = NULL
        self.heap = NULL
        self.entry_count = self.entry_capacity = self.heap_count = self.heap_capacity = 0
        self.slot_mask = self.slot_shift = self.count = self.queued = self.dead = 0
        self.free_first = self.first = self.last = NO_ENTRY
        for i in range(LANES + 4):
            self.lane_first[i] = self.lane_last[i] = NO_ENTRY

    # --- by sequence ------------------------------------------------------------------------------------

    cdef uint32_t home(self, uint64_t sequence) noexcept:
        return <uint32_t> ((sequence * <uint64_t> 0x9E3779B97F4A7C15) >> self.slot_shift)

    cdef uint32_t find(self, uint64_t sequence) noexcept:
        cdef uint32_t at
        if self.count == 0:
            return NO_ENTRY
        at = self.home(sequence)
        while self.slots[at]:
            if self.entries[self.slots[at] - 1].sequence == sequence:
                return self.slots[at] - 1
            at = (at + 1) & self.slot_mask
        return NO_ENTRY

    cdef bint grow_slots(self) noexcept:
        """Twice as many slots; False when memory is exhausted."""
        cdef uint64_t capacity = (<uint64_t> self.slot_mask + 1) * 2 if self.slots != NULL else 16
        cdef uint32_t *slots = <uint32_t *> calloc(capacity, sizeof(uint32_t))
        cdef uint32_t at, index = self.first
        if slots == NULL or capacity > <uint64_t> 1 << 31:
            free(slots)
            return False
        free(self.slots)
        self.slots = slots
        self.slot_mask = <uint32_t> (capacity - 1)
        self.slot_shift = 64
        while capacity > 1:
            capacity >>= 1
            self.slot_shift -= 1
        while index != NO_ENTRY:
            at = self.home(self.entries[index].sequence)
            while self.slots[at]:
                at = (at + 1) & self.slot_mask
            self.slots[at] = index + 1
            index = self.entries[index].after
        return True

    cdef uint32_t add(self, uint64_t sequence, uint64_t consumer_sequence) noexcept:
        cdef uint32_t index, at, before
        cdef PendingEntry *entry
        cdef void *grown
        if (self.slots == NULL or self.count * 2 > self.slot_mask) and not self.grow_slots():
            return NO_ENTRY
        if self.free_first != NO_ENTRY:
            index = self.free_first
            self.free_first = self.entries[index].after
        else:
            grown = reserve(
                self.entries, self.entry_count, 1, &self.entry_capacity, sizeof(PendingEntry)
            )
            if grown == NULL:
                return NO_ENTRY
            self.entries = <PendingEntry *> grown
            index = self.entry_count
            self.entry_count += 1
        at = self.home(sequence)
        while self.slots[at]:
            at = (at + 1) & self.slot_mask
        self.slots[at] = index + 1
        entry = &self.entries[index]
        entry.sequence = sequence
        entry.consumer_sequence = consumer_sequence
        entry.deliveries = 1
        entry.delivered_ns = entry.deadline_ns = 0
        entry.place = IN_NO_PLACE
        # Nearly always the highest so far.
        before = self.last
        while before != NO_ENTRY and self.entries[before].sequence > sequence:
            before = self.entries[before].before
        entry.before = before
        entry.after = self.first if before == NO_ENTRY else self.entries[before].after
        if before == NO_ENTRY:
            self.first = index
        else:
            self.entries[before].after = index
        if entry.after == NO_ENTRY:
            self.last = index
        else:
            self.entries[entry.after].before = index
        self.count += 1
        return index

    cdef void remove(self, uint32_t index) noexcept:
        cdef PendingEntry *entry = &self.entries[index]
        cdef uint32_t mask = self.slot_mask, hole, at, home
        if entry.place != IN_NO_PLACE:
            self.leave(index)
        if self.count == 1 and self.entry_capacity > KEPT_ENTRIES:
            self.clear()
            return
        hole = self.home(entry.sequence)
        while self.slots[hole] != index + 1:
            hole = (hole + 1) & mask
        # Backward shift: no probe may end at a hole too early.
        at = (hole + 1) & mask
        while self.slots[at]:
            home = self.home(self.entries[self.slots[at] - 1].sequence)
            if ((at - home) & mask) >= ((at - hole) & mask):
                self.slots[hole] = self.slots[at]
                hole = at
            at = (at + 1) & mask
        self.slots[hole] = 0
        if entry.before == NO_ENTRY:
            self.first = entry.after
        else:
            self.entries[entry.before].after = entry.after
        if entry.after == NO_ENTRY:
            self.last = entry.before
        else:
            self.entries[entry.after].before = entry.before
        entry.after = self.free_first
        self.free_first = index
        self.count -= 1

    # --- lanes and queue --------------------------------------------------------------------------------

    cdef void append(self, uint32_t index, uint32_t list) noexcept:
        """To the end of a lane or of the queue."""
        cdef PendingEntry *entry = &self.entries[index]
        entry.place = list
        entry.place_before = self.lane_last[list]
        entry.place_after = NO_ENTRY
        if entry.place_before == NO_ENTRY:
            self.lane_first[list] = index
        else:
            self.entries[entry.place_before].place_after = index
        self.lane_last[list] = index

    cdef void leave(self, uint32_t index) noexcept:
        """Out of wherever it waits."""
        cdef PendingEntry *entry = &self.entries[index]
        cdef uint32_t list = entry.place, at, moved
        entry.place = IN_NO_PLACE
        if list == IN_HEAP:
            at = entry.place_before
            self.heap_count -= 1
            moved = self.heap[self.heap_count]
            if moved != index:
                self.settle(moved, at)
            return
        if list == IN_NO_PLACE:
            return
        if list >= IN_GRAVE:
            self.dead -= 1
            list = IN_GRAVE
        if entry.place_before == NO_ENTRY:
            self.lane_first[list] = entry.place_after
        else:
            self.entries[entry.place_before].place_after = entry.place_after
        if entry.place_after == NO_ENTRY:
            self.lane_last[list] = entry.place_before
        else:
            self.entries[entry.place_after].place_before = entry.place_before
        if list == IN_QUEUE:
            self.queued -= 1

    cdef void enqueue(self, uint32_t index, bint front) noexcept:
        cdef PendingEntry *entry = &self.entries[index]
        self.leave(index)
        self.queued += 1
        if not front or self.lane_first[<uint32_t> IN_QUEUE] == NO_ENTRY:
            self.append(index, IN_QUEUE)
            return
        entry.place = IN_QUEUE
        entry.place_before = NO_ENTRY
        entry.place_after = self.lane_first[<uint32_t> IN_QUEUE]
        self.entries[entry.place_after].place_before = index
        self.lane_first[<uint32_t> IN_QUEUE] = index

    cdef uint32_t next_queued(self) noexcept:
        return self.lane_first[<uint32_t> IN_QUEUE]

    cdef void bury(self, uint32_t index, PendingPlace place, uint64_t died_ns) noexcept:
        self.leave(index)
        self.append(index, IN_GRAVE)
        self.entries[index].place = place
        self.entries[index].deadline_ns = died_ns
        self.dead += 1

    cdef uint32_t next_dead(self) noexcept:
        return self.lane_first[<uint32_t> IN_GRAVE]

    # --- deadlines --------------------------------------------------------------------------------------

    cdef int wait_until(self, uint32_t index, uint64_t deadline_ns) noexcept:
        cdef uint32_t lane, best = LANES
        cdef uint64_t last, closest = 0
        self.leave(index)
        self.entries[index].deadline_ns = deadline_ns
        for lane in range(LANES):
            if self.lane_last[lane] == NO_ENTRY:
                if best == LANES:
                    best = lane
                break  # the lanes behind an empty one are tried when this one is used
            last = self.entries[self.lane_last[lane]].deadline_ns
            if last <= deadline_ns and last >= closest:
                best = lane
                closest = last
        if best == LANES:
            return self.push(index)
        self.append(index, best)
        return 0

    cdef int push(self, uint32_t index) noexcept:
        """Into the heap; -1 when memory is exhausted."""
        cdef void *grown = reserve(self.heap, self.heap_count, 1, &self.heap_capacity, sizeof(uint32_t))
        if grown == NULL:
            return -1
        self.heap = <uint32_t *> grown
        self.entries[index].place = IN_HEAP
        self.heap_count += 1
        self.settle(index, self.heap_count - 1)
        return 0

    cdef void settle(self, uint32_t index, uint32_t at) noexcept:
        """Put an entry into the heap's hole at `at`, up or down to where it belongs."""
        cdef uint64_t deadline = self.entries[index].deadline_ns
        cdef uint32_t child, parent
        while at:
            parent = (at - 1) >> 1
            if self.entries[self.heap[parent]].deadline_ns <= deadline:
                break
            self.heap[at] = self.heap[parent]
            self.entries[self.heap[at]].place_before = at
            at = parent
        while True:
            child = 2 * at + 1
            if child >= self.heap_count:
                break
            if child + 1 < self.heap_count and (
                self.entries[self.heap[child + 1]].deadline_ns < self.entries[self.heap[child]].deadline_ns
            ):
                child += 1
            if self.entries[self.heap[child]].deadline_ns >= deadline:
                break
            self.heap[at] = self.heap[child]
            self.entries[self.heap[at]].place_before = at
            at = child
        self.heap[at] = index
        self.entries[index].place_before = at

    cdef uint32_t take_due(self, uint64_t now_ns) noexcept:
        cdef uint32_t lane, index
        for lane in range(LANES):
            index = self.lane_first[lane]
            if index != NO_ENTRY and self.entries[index].deadline_ns <= now_ns:
                self.leave(index)
                return index
        if self.heap_count and self.entries[self.heap[0]].deadline_ns <= now_ns:
            index = self.heap[0]
            self.leave(index)
            return index
        return NO_ENTRY

    cdef uint64_t next_deadline(self) noexcept:
        cdef uint64_t soonest = 0, deadline
        cdef uint32_t lane
        for lane in range(LANES):
            if self.lane_first[lane] != NO_ENTRY:
                deadline = self.entries[self.lane_first[lane]].deadline_ns
                if soonest == 0 or deadline < soonest:
                    soonest = deadline
        if self.heap_count:
            deadline = self.entries[self.heap[0]].deadline_ns
            if soonest == 0 or deadline < soonest:
                soonest = deadline
        return soonest

    # --- for tests and tools ----------------------------------------------------------------------------

    def put(self, uint64_t sequence, uint64_t consumer_sequence, uint64_t deadline_ns):
        """add() and wait_until() for Python."""
        cdef uint32_t index = self.add(sequence, consumer_sequence)
        if index == NO_ENTRY or self.wait_until(index, deadline_ns) < 0:
            raise MemoryError("no memory for a pending delivery")

    def discard(self, uint64_t sequence):
        """remove() for Python; False when it is not in."""
        cdef uint32_t index = self.find(sequence)
        if index == NO_ENTRY:
            return False
        self.remove(index)
        return True

    def delay(self, uint64_t sequence, uint64_t deadline_ns):
        """wait_until() for Python, of a sequence that is in."""
        if self.wait_until(self.find(sequence), deadline_ns) < 0:
            raise MemoryError("no memory for a deadline")

    def make_due(self, uint64_t sequence, bint front=False):
        """enqueue() for Python, of a sequence that is in."""
        self.enqueue(self.find(sequence), front)

    def pop_due(self, uint64_t now_ns):
        """The sequence that take_due() gives; 0 for none."""
        cdef uint32_t index = self.take_due(now_ns)
        return 0 if index == NO_ENTRY else self.entries[index].sequence

    def soonest(self):
        """next_deadline() for Python."""
        return self.next_deadline()

    def items(self):
        """[(sequence, consumer sequence, deliveries, deadline, is due again)] in order of sequences."""
        cdef uint32_t index = self.first
        cdef PendingEntry *entry
        found = []
        while index != NO_ENTRY:
            entry = &self.entries[index]
            found.append((
                entry.sequence, entry.consumer_sequence, entry.deliveries, entry.deadline_ns,
                entry.place == IN_QUEUE,
            ))
            index = entry.after
        return found

    def queue(self):
        """The sequences that are due again, in order."""
        cdef uint32_t index = self.next_queued()
        found = []
        while index != NO_ENTRY:
            found.append(self.entries[index].sequence)
            index = self.entries[index].place_after
        return found
