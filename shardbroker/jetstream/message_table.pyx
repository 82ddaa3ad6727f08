"""The table of a stream's messages, by sequence.

Blocks of 256 entries hang in an array by block number, so that finding a message is two loads and a stream
that loses its head gives memory back block by block. An entry is 24 bytes: enough to evict, to follow a
subject and to find the record in the log, without reading the log. Exact times stand in the records; the
table keeps them to the millisecond, for expiry and start times.
"""

from libc.stdint cimport uint32_t, uint64_t
from libc.stdlib cimport calloc, free, realloc
from libc.string cimport memmove, memset


cdef class MessageTable:
    """Empty at first; `next_sequence` is what the first append may be."""

    def __cinit__(self, uint64_t next_sequence=1):
        self.first = next_sequence
        self.last = next_sequence - 1

    def __dealloc__(self):
        cdef uint64_t i
        for i in range(self.block_count):
            free(self.blocks[i])
        free(self.blocks)

    def __len__(self):
        return self.count

    cdef MessageEntry *get(self, uint64_t sequence) noexcept:
        """The entry of a message, or NULL when that sequence has none."""
        cdef MessageBlock *block
        cdef uint64_t number = sequence >> 8
        if number < self.first_block or number - self.first_block >= self.block_count:
            return NULL
        block = self.blocks[number - self.first_block]
        if block == NULL or block.entries[sequence & 255].position == 0:
            return NULL
        return &block.entries[sequence & 255]

    cdef uint64_t time_of(self, uint64_t sequence) noexcept:
        """Wall clock time in ns, exact to the millisecond, never later than the true one; 0: no message."""
        cdef MessageEntry *entry = self.get(sequence)
        if entry == NULL:
            return 0
        return (
            self.blocks[(sequence >> 8) - self.first_block].time_ns + <uint64_t> entry.age_ms * 1_000_000
        )

    cdef MessageEntry *append(self, uint64_t sequence, uint64_t time_ns) noexcept:
        """The entry of a new message, above all others; NULL: no memory left. `position` is to be set."""
        cdef uint64_t number = sequence >> 8, age, capacity
        cdef MessageBlock *block
        cdef MessageBlock **grown
        if self.count == 0:
            self.clear(sequence)
        if self.block_count == 0:
            self.first_block = number
        while number - self.first_block >= self.block_count:
            if self.block_count == self.block_capacity:
                capacity = max(4, self.block_capacity * 2, number - self.first_block + 1)
                grown = <MessageBlock **> realloc(self.blocks, capacity * sizeof(MessageBlock *))
                if grown == NULL:
                    return NULL
                self.blocks = grown
                self.block_capacity = capacity
            self.blocks[self.block_count] = NULL
            self.block_count += 1
        block = self.blocks[number - self.first_block]
        if block == NULL:
            block = <MessageBlock *> calloc(1, sizeof(MessageBlock))
            if block == NULL:
                return NULL
            block.time_ns = time_ns
            self.blocks[number - self.first_block] = block
        block.live += 1
        age = (time_ns - block.time_ns) // 1_000_000 if time_ns > block.time_ns else 0
        block.entries[sequence & 255].age_ms = <uint32_t> min(age, 0xFFFFFFFF)
        if self.count == 0:
            self.first = sequence
        self.count += 1
        self.last = sequence
        return &block.entries[sequence & 255]

    cdef MessageEntry *insert(self, uint64_t sequence, uint64_t time_ns) noexcept:
        """The entry of a message that may be older than others (it moved in the log); NULL without memory."""
        cdef MessageBlock *block
        cdef uint64_t number = sequence >> 8, shift, i
        if self.count == 0 or sequence > self.last:
            return self.append(sequence, time_ns)
        if number < self.first_block and not self.make_front(number):
            return NULL
        block = self.blocks[number - self.first_block]
        if block == NULL:
            block = <MessageBlock *> calloc(1, sizeof(MessageBlock))
            if block == NULL:
                return NULL
            block.time_ns = time_ns
            self.blocks[number - self.first_block] = block
        elif time_ns < block.time_ns:
            shift = (block.time_ns - time_ns) // 1_000_000 + 1
            block.time_ns -= shift * 1_000_000
            for i in range(BLOCK_ENTRIES):
                block.entries[i].age_ms = <uint32_t> min(block.entries[i].age_ms + shift, 0xFFFFFFFF)
        block.live += 1
        block.entries[sequence & 255].age_ms = <uint32_t> min(
            (time_ns - block.time_ns) // 1_000_000, 0xFFFFFFFF
        )
        self.count += 1
        self.first = min(self.first, sequence)
        return &block.entries[sequence & 255]

    cdef bint make_front(self, uint64_t number) noexcept:
        """Let the array of blocks begin at this block number."""
        cdef uint64_t added = self.first_block - number, i
        cdef MessageBlock **grown = <MessageBlock **> realloc(
            self.blocks, (self.block_count + added) * sizeof(MessageBlock *)
        )
        if grown == NULL:
            return False
        memmove(grown + added, grown, self.block_count * sizeof(MessageBlock *))
        for i in range(added):
            grown[i] = NULL
        self.blocks = grown
        self.block_count += added
        self.block_capacity = self.block_count
        self.first_block = number
        return True

    cdef void remove(self, uint64_t sequence) noexcept:
        """Forget a message that is there. `first` moves to the next one when it was the first."""
        cdef uint64_t index = (sequence >> 8) - self.first_block
        cdef MessageBlock *block = self.blocks[index]
        memset(&block.entries[sequence & 255], 0, sizeof(MessageEntry))
        block.live -= 1
        self.count -= 1
        if block.live == 0:
            free(block)
            self.blocks[index] = NULL
        if self.count == 0:
            self.first = self.last + 1
        elif sequence == self.first:
            self.first = self.next_live(sequence + 1)
        if index == 0 and self.blocks[0] == NULL:
            self.drop_dead_blocks()

    cdef void drop_dead_blocks(self) noexcept:
        """Give the array's head back once half of it is dead."""
        cdef uint64_t dead = 0
        while dead < self.block_count and self.blocks[dead] == NULL:
            dead += 1
        if dead == self.block_count:
            self.block_count = 0
        elif dead * 2 > self.block_count:
            memmove(self.blocks, self.blocks + dead, (self.block_count - dead) * sizeof(MessageBlock *))
            self.block_count -= dead
            self.first_block += dead

    cdef void skip_to(self, uint64_t last) noexcept:
        """Sequences up to `last` are given and have no message."""
        if last > self.last:
            self.last = last
            if self.count == 0:
                self.first = last + 1

    cdef uint64_t next_live(self, uint64_t sequence) noexcept:
        """The lowest sequence >= this one that has a message; last + 1 when there is none."""
        cdef uint64_t index
        cdef MessageBlock *block
        if sequence < self.first:
            sequence = self.first
        while sequence <= self.last:
            index = (sequence >> 8) - self.first_block
            if index >= self.block_count:
                break
            block = self.blocks[index]
            if block == NULL:
                sequence = ((sequence >> 8) + 1) << 8
            elif block.entries[sequence & 255].position:
                return sequence
            else:
                sequence += 1
        return self.last + 1

    cdef uint64_t previous_live(self, uint64_t sequence) noexcept:
        """The highest sequence <= this one that has a message; 0 when there is none."""
        cdef MessageBlock *block
        if sequence > self.last:
            sequence = self.last
        if self.count == 0:
            return 0
        while sequence >= self.first:
            block = self.blocks[(sequence >> 8) - self.first_block]
            if block == NULL:
                sequence = ((sequence >> 8) << 8) - 1
            elif block.entries[sequence & 255].position:
                return sequence
            else:
                sequence -= 1
        return 0

    cdef uint64_t first_since(self, uint64_t time_ns) noexcept:
        """The first message that may be as late as `time_ns` (to the millisecond); last + 1 when none is."""
        cdef uint64_t low = self.first, high = self.last + 1, middle, probe
        while low < high:
            middle = low + (high - low) // 2
            probe = self.next_live(middle)
            if probe >= high:
                high = middle
            elif self.time_of(probe) + 1_000_000 > time_ns:
                high = middle
            else:
                low = probe + 1
        return self.next_live(low)

    cdef void clear(self, uint64_t next_sequence) noexcept:
        """Forget all messages; the next one has at least this sequence."""
        cdef uint64_t i
        for i in range(self.block_count):
            free(self.blocks[i])
        self.block_count = self.count = 0
        self.last = max(self.last, next_sequence - 1)
        self.first = self.last + 1

    # --- for tests and tools ----------------------------------------------------------------------------

    def add(self, uint64_t sequence, uint64_t position, uint64_t time_ns=0):
        """append() for Python."""
        cdef MessageEntry *entry = self.append(sequence, time_ns)
        if entry == NULL:
            raise MemoryError("no memory for a message entry")
        entry.position = position

    def discard(self, uint64_t sequence):
        """remove() for Python; False when there is no such message."""
        if self.get(sequence) == NULL:
            return False
        self.remove(sequence)
        return True

    def position_of(self, uint64_t sequence):
        """Log position of a message, or None."""
        cdef MessageEntry *entry = self.get(sequence)
        return None if entry == NULL else entry.position

    def following(self, uint64_t sequence):
        """next_live() for Python."""
        return self.next_live(sequence)

    def preceding(self, uint64_t sequence):
        """previous_live() for Python."""
        return self.previous_live(sequence)

    def since(self, uint64_t time_ns):
        """first_since() for Python."""
        return self.first_since(time_ns)
