"""The filters of one consumer.

Few literal filters: the links between messages of one subject lead from one to the next, whatever lies
between. Others: messages are looked at one by one, in slices, and a small memo by the hash of the subject
spares most comparisons. Whether anything is left to be found is known beforehand: a consumer counts what
matches.
"""

from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free


from shardbroker.hashing cimport hash_bytes
from shardbroker.jetstream.message_table cimport MessageEntry
from shardbroker.jetstream.stream_state cimport StreamState
from shardbroker.jetstream.subject_table cimport SubjectEntry
from shardbroker.same_bytes cimport same_bytes
from shardbroker.subjects.subject cimport is_literal, matches

cdef enum:
    LITERALS_MAX = 16  # filters whose subjects are asked in turn; with more, looking at messages is cheaper
    CHAIN_MAX = 64  # messages of a subject that are rather followed than looked for


cdef class ConsumerFilter:
    """`texts`: filter subjects as bytes; `state` lends the key of its subjects' hashes."""

    def __cinit__(self, tuple texts, StreamState state):
        cdef uint32_t i
        cdef bytes text
        self.texts = texts
        self.count = <uint32_t> len(texts)
        self.patterns = <FilterPattern *> calloc(self.count + 1, sizeof(FilterPattern))
        if self.patterns == NULL:
            raise MemoryError("no memory for the filters of a consumer")
        self.literal_only = 0 < self.count <= LITERALS_MAX
        for i in range(self.count):
            text = texts[i]
            self.patterns[i].text = text
            self.patterns[i].size = <uint32_t> len(text)
            self.patterns[i].literal = is_literal(self.patterns[i].text, self.patterns[i].size)
            self.patterns[i].hash = hash_bytes(
                self.patterns[i].text, self.patterns[i].size, state.subjects.seed
            )
            self.literal_only = self.literal_only and self.patterns[i].literal

    def __dealloc__(self):
        free(self.patterns)

    cdef bint matches(self, const SubjectEntry *subject) noexcept:
        cdef uint64_t *memo
        cdef bint found
        if self.count == 0:
            return True
        if self.count == 1 and self.literal_only:
            return self.matches_one(subject)
        memo = &self.memo[(subject.hash >> 40) & (MEMO_SIZE - 1)]
        if memo[0] >> 1 == subject.hash >> 1:
            return memo[0] & 1
        found = self.matches_one(subject)
        memo[0] = (subject.hash & ~(<uint64_t> 1)) | found
        return found

    cdef bint matches_one(self, const SubjectEntry *subject) noexcept:
        """Compare with every filter."""
        cdef uint32_t i
        cdef FilterPattern *pattern
        for i in range(self.count):
            pattern = &self.patterns[i]
            if pattern.literal:
                if (
                    pattern.hash == subject.hash
                    and pattern.size == subject.size
                    and same_bytes(pattern.text, subject.name, pattern.size)
                ):
                    return True
            elif matches(pattern.text, pattern.size, subject.name, subject.size):
                return True
        return False

    cdef uint64_t search(self, StreamState state, uint64_t *at, uint32_t most) noexcept:
        cdef uint64_t sequence, found = 0, stop = 0, pattern_stop, last = state.messages.last
        cdef uint32_t i
        if self.literal_only:
            stop = last + 1
            for i in range(self.count):
                sequence = self.search_literal(state, &self.patterns[i], at[0], &pattern_stop, most)
                if sequence and (found == 0 or sequence < found):
                    found = sequence
                elif sequence == 0:
                    stop = min(stop, pattern_stop)
            if found and found < stop:
                at[0] = found
                return found
            at[0] = max(at[0], stop)
            return 0
        sequence = state.messages.next_live(at[0])
        while sequence <= last:
            if self.count == 0 or self.matches(
                &state.subjects.entries[state.messages.get(sequence).subject_id]
            ):
                at[0] = sequence
                return sequence
            sequence = state.messages.next_live(sequence + 1)
            most -= 1
            if most == 0:
                break
        at[0] = max(at[0], min(sequence, last + 1))
        return 0

    cdef uint64_t search_literal(
        self, StreamState state, FilterPattern *pattern, uint64_t start, uint64_t *stop, uint32_t most
    ) noexcept:
        """The first message of one subject from `start` on; 0: none before `stop`."""
        cdef SubjectEntry *subject = state.subjects.find(pattern.text, pattern.size)
        cdef MessageEntry *entry
        cdef uint64_t sequence
        cdef uint32_t id
        stop[0] = state.messages.last + 1
        if subject == NULL or subject.count == 0 or subject.last < start:
            return 0
        if subject.first >= start:
            pattern.seen = subject.first
            return subject.first
        id = state.subjects.id_of(subject)
        entry = state.messages.get(pattern.seen) if pattern.seen <= start else NULL
        if entry != NULL and entry.subject_id == id:
            sequence = pattern.seen
        elif subject.count <= CHAIN_MAX:
            sequence = subject.first
        else:
            sequence = state.messages.next_live(start)
            while state.messages.get(sequence).subject_id != id:
                sequence = state.messages.next_live(sequence + 1)
                most -= 1
                if most == 0:
                    stop[0] = sequence
                    return 0
            pattern.seen = sequence
            return sequence
        while sequence < start:
            sequence = state.following(state.messages.get(sequence), sequence)
        pattern.seen = sequence
        return sequence
