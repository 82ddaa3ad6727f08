"""A set of stream sequences that is filled in any order and read in order, a bit or less for each sequence.

Which messages are the last of their subjects, which have been delivered too often: such sets grow with the
stream, are asked at every removal, and are walked from the low end. Sorting a million numbers would stall a
turn; bits need no sorting.
"""

from libc.stdint cimport uint64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memcpy


cdef extern from *:
    """
    #define lowest_bit(word) ((unsigned) __builtin_ctzll(word))
    """
    unsigned lowest_bit(uint64_t word) noexcept nogil


cdef class SequenceSet:
    """Empty at first."""

    def __dealloc__(self):
        self.clear()

    def __len__(self):
        return self.count

    cdef bint has(self, uint64_t sequence) noexcept:
        cdef uint64_t number = sequence >> 12
        cdef SetBlock *block
        if self.count == 0 or number < self.first_block or number - self.first_block >= self.block_count:
            return False
        block = self.blocks[number - self.first_block]
        return block != NULL and block.words[(sequence >> 6) & 63] >> (sequence & 63) & 1

    cdef int cover(self, uint64_t number) noexcept:
        """Let the array of blocks reach this block number, from either side; -1 when memory is exhausted."""
        cdef uint64_t first = number, end = number + 1, spare
        cdef SetBlock **grown
        if self.block_count:
            if self.first_block <= number < self.first_block + self.block_count:
                return 0
            spare = self.block_count  # doubling, so that filling is linear
            if number < self.first_block:
                first = min(number, self.first_block - min(self.first_block, spare))
                end = self.first_block + self.block_count
            else:
                first = self.first_block
                end = max(number + 1, self.first_block + self.block_count + spare)
        grown = <SetBlock **> calloc(end - first, sizeof(SetBlock *))
        if grown == NULL:
            return -1
        if self.block_count:
            memcpy(grown + (self.first_block - first), self.blocks, self.block_count * sizeof(SetBlock *))
        free(self.blocks)
        self.blocks = grown
        self.first_block = first
        self.block_count = end - first
        return 0

    cdef int add(self, uint64_t sequence) noexcept:
        cdef SetBlock *block
        cdef uint64_t bit = <uint64_t> 1 << (sequence & 63)
        if self.cover(sequence >> 12) < 0:
            return -1
        block = self.blocks[(sequence >> 12) - self.first_block]
        if block == NULL:
            block = <SetBlock *> calloc(1, sizeof(SetBlock))
            if block == NULL:
                return -1
            self.blocks[(sequence >> 12) - self.first_block] = block
        if not block.words[(sequence >> 6) & 63] & bit:
            block.words[(sequence >> 6) & 63] |= bit
            block.live += 1
            self.count += 1
        return 0

    cdef bint remove(self, uint64_t sequence) noexcept:
        cdef SetBlock *block
        cdef uint64_t index
        if not self.has(sequence):
            return False
        index = (sequence >> 12) - self.first_block
        block = self.blocks[index]
        block.words[(sequence >> 6) & 63] &= ~(<uint64_t> 1 << (sequence & 63))
        block.live -= 1
        self.count -= 1
        if self.count == 0:
            self.clear()
        elif block.live == 0:
            free(block)
            self.blocks[index] = NULL
        return True

    cdef uint64_t next_from(self, uint64_t sequence) noexcept:
        cdef uint64_t number, word, at
        cdef SetBlock *block
        if self.count == 0:
            return 0
        sequence = max(sequence, self.first_block << 12)
        number = (sequence >> 12) - self.first_block
        while number < self.block_count:
            block = self.blocks[number]
            if block != NULL:
                at = (sequence >> 6) & 63
                word = block.words[at] >> (sequence & 63) << (sequence & 63)
                while True:
                    if word:
                        return ((self.first_block + number) << 12) + (at << 6) + lowest_bit(word)
                    at += 1
                    if at == 64:
                        break
                    word = block.words[at]
            number += 1
            sequence = (self.first_block + number) << 12
        return 0

    cdef void clear(self) noexcept:
        cdef uint64_t i
        for i in range(self.block_count):
            free(self.blocks[i])
        free(self.blocks)
        self.blocks = NULL
        self.block_count = self.count = 0

    # --- for tests and tools ----------------------------------------------------------------------------

    def put(self, uint64_t sequence):
        """add() for Python."""
        if self.add(sequence) < 0:
            raise MemoryError("no memory for a set of sequences")

    def discard(self, uint64_t sequence):
        """remove() for Python."""
        return bool(self.remove(sequence))

    def __contains__(self, uint64_t sequence):
        return bool(self.has(sequence))

    def members(self):
        """All of them, in order."""
        cdef uint64_t sequence = self.next_from(0)
        found = []
        while sequence:
            found.append(sequence)
            sequence = self.next_from(sequence + 1)
        return found
