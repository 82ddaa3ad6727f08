"""Counting the messages from a position on whose subjects match, and choosing the last one of each subject.

Where many are counted, the counts of subjects give the sum at once, and only the messages before the position
are looked at; where the position is near the end, the messages behind it are. Both go on in slices while
messages come and go: a change counts if it lies where the count has been, and is met later if not. Afterwards
`total` is kept by the same calls.
"""

from libc.stdint cimport uint32_t, uint64_t

from shardbroker.jetstream.consumer_filter cimport ConsumerFilter
from shardbroker.jetstream.sequence_set cimport SequenceSet
from shardbroker.jetstream.stream_state cimport StreamState
from shardbroker.jetstream.subject_table cimport SubjectEntry

cdef enum:
    # MessageCount.phase
    COUNT_NOTHING = 0
    CHOOSE_LAST = 1  # the last message of each subject that matches
    COUNT_SUBJECTS = 2  # all messages of the subjects that match ...
    COUNT_BELOW = 3  # ... less those before the position
    COUNT_ABOVE = 4  # messages from the position on


cdef class MessageCount:
    """Nothing is counted at first."""

    def __cinit__(self, StreamState state):
        self.state = state
        self.chosen = SequenceSet()

    cdef void begin(self, ConsumerFilter filter, uint64_t position, bint choose) noexcept:
        """Count anew. `choose`: find the last message of each subject up to `chosen_end`, too."""
        cdef uint64_t first = self.state.messages.first, last = self.state.messages.last
        self.filter = filter
        self.position = position
        self.total = self.below = self.at = 0
        self.end = last
        self.choosing = choose
        if choose:
            self.phase = CHOOSE_LAST
        elif position <= self.chosen_end:
            self.total = self.chosen.count
            self.phase = COUNT_ABOVE
            self.at = self.chosen_end + 1
        elif position > last or self.state.messages.count == 0:
            self.phase = COUNT_NOTHING
        elif position > first and last - position < position - first:
            self.phase = COUNT_ABOVE
            self.at = position
        elif filter.count == 0 and last - first + 1 == self.state.messages.count:
            self.total = last + 1 - max(first, position)
            self.phase = COUNT_NOTHING
        elif filter.count == 0:
            self.total = self.state.messages.count
            self.phase = COUNT_BELOW
        else:
            self.phase = COUNT_SUBJECTS

    cdef void stop(self) noexcept:
        self.chosen.clear()
        self.chosen_end = self.total = self.below = 0
        self.phase = COUNT_NOTHING

    cdef bint go_on(self, uint32_t most) noexcept:
        """Look at `most` subjects or messages more."""
        cdef bint done = True
        if self.phase == CHOOSE_LAST or self.phase == COUNT_SUBJECTS:
            done = self.count_subjects(most)
        if done and self.phase >= COUNT_BELOW:
            done = self.count_messages(most)
        if done:
            self.total -= self.below
            self.below = 0
            self.phase = COUNT_NOTHING
        return done

    cdef bint count_subjects(self, uint32_t most) noexcept:
        """Subjects from `at` on. True: all were seen."""
        cdef SubjectEntry *subject
        cdef uint32_t i
        if self.filter.literal_only:
            for i in range(self.filter.count):
                subject = self.state.subjects.find(self.filter.patterns[i].text, self.filter.patterns[i].size)
                if subject != NULL and subject.count:
                    self.count_subject(subject)
            self.at = self.state.subjects.entry_count
        while self.at < self.state.subjects.entry_count:
            if most == 0:
                return False
            most -= 1
            subject = &self.state.subjects.entries[self.at]
            self.at += 1
            if subject.name != NULL and subject.count and (
                self.filter.count == 0 or self.filter.matches_one(subject)
            ):
                self.count_subject(subject)
        if self.phase == COUNT_SUBJECTS:
            self.phase = COUNT_BELOW
            self.at = 0
        return True

    cdef void count_subject(self, const SubjectEntry *subject) noexcept:
        """All messages of a subject, or the last one up to `chosen_end`."""
        cdef uint64_t sequence = subject.last, following
        if self.phase == COUNT_SUBJECTS:
            self.total += subject.count
            return
        if sequence > self.chosen_end:
            # Newer ones came while we chose; they are counted already.
            sequence = 0
            following = subject.first
            while following <= self.chosen_end:
                sequence = following
                following = self.state.following(self.state.messages.get(sequence), sequence)
        if sequence and self.chosen.add(sequence) == 0:
            self.total += 1

    cdef bint count_messages(self, uint32_t most) noexcept:
        """Messages from `at` to the position, or from `at` to `end`. True: all were seen."""
        cdef bint below = self.phase == COUNT_BELOW
        cdef uint64_t stop = self.position if below else self.end + 1
        cdef uint64_t sequence = self.state.messages.next_live(self.at)
        cdef uint32_t id
        while sequence < stop and sequence <= self.state.messages.last:
            if most == 0:
                self.at = sequence
                return False
            most -= 1
            id = self.state.messages.get(sequence).subject_id
            if self.filter.matches(&self.state.subjects.entries[id]):
                if below:
                    self.below += 1
                else:
                    self.total += 1
            sequence = self.state.messages.next_live(sequence + 1)
        self.at = stop
        return True

    cdef bint covers(self, uint64_t sequence, SubjectEntry *subject, uint64_t position) noexcept:
        if sequence < position and self.phase < COUNT_SUBJECTS:
            return False
        if sequence <= self.chosen_end:
            return self.chosen.has(sequence)
        if not self.filter.matches(subject):
            return False
        if self.phase == COUNT_SUBJECTS:
            return self.state.subjects.id_of(subject) < self.at
        if self.phase == COUNT_ABOVE:
            return position <= sequence < self.at or sequence > self.end
        return True

    cdef void stored(self, uint64_t sequence, SubjectEntry *subject, uint64_t position) noexcept:
        """A new message is there."""
        if sequence >= position and self.covers(sequence, subject, position):
            self.total += 1

    cdef void removing(self, uint64_t sequence, SubjectEntry *subject, uint64_t position) noexcept:
        """A message goes."""
        if sequence < position and self.phase == COUNT_NOTHING:
            return
        if self.covers(sequence, subject, position):
            self.total -= 1
            if self.phase == COUNT_BELOW and sequence < position and sequence < self.at:
                self.below -= 1
        if sequence <= self.chosen_end:
            self.chosen.remove(sequence)
