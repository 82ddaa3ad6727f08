"""The applied state of one stream, a pure function of its log.

Frames are applied in log order, once they are committed; the same code builds the state at start. Nothing
here reads a clock or a file: limits are enforced by what the frames say, and expiry by the time the caller
names.

Order of enforcement after a message is stored, as nats-server 2.15.1 has it: the limit of its subject,
max_msgs and max_bytes from the head, and only then its rollup.
"""

from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport free
from libc.string cimport memmove

from shardbroker.arrays cimport reserve
from shardbroker.jetstream.dedupe_window cimport DedupeId
from shardbroker.jetstream.expiry_heap cimport Expiry
from shardbroker.jetstream.message_table cimport NO_LINK, MessageEntry, MessageTable
from shardbroker.jetstream.publish_headers cimport MSG_ID, PublishHeaders, read_publish_headers
from shardbroker.jetstream.subject_table cimport SubjectEntry, SubjectTable
from shardbroker.subjects.subject cimport is_literal, matches
from shardbroker.storage.frame cimport (
    FRAME_CHECKPOINT,
    FRAME_DEDUPE,
    FRAME_DELETE,
    FRAME_PURGE,
    FRAME_SKIP,
    RECORD_HAS_ID,
    RECORD_HEAD_SIZE,
    RECORD_MARKER,
    RECORD_ROLLUP_ALL,
    RECORD_ROLLUP_SUBJECT,
    TTL_NEVER,
    CheckpointBody,
    DedupeEntry,
    FrameHead,
    PurgeBody,
    RecordHead,
)


cdef enum:
    CHAIN_SHORT = 64  # messages of a subject that are rather followed than looked for


cdef inline uint32_t link(uint64_t sequence, uint64_t following) noexcept nogil:
    return <uint32_t> (following - sequence) if following - sequence < NO_LINK else <uint32_t> NO_LINK


cdef class StreamState:
    """Empty at first. `seed` keys the subject table and the duplicate window."""

    def __cinit__(self, uint64_t seed, uint64_t first_sequence, bint memory):
        self.messages = MessageTable(first_sequence)
        self.subjects = SubjectTable(seed)
        self.dedupe = DedupeWindow(seed)
        self.expiries = ExpiryHeap()
        self.memory = memory
        self.max_messages = self.max_bytes = self.max_per_subject = -1
        self.expired_subjects = []

    def __dealloc__(self):
        free(self.segments)

    def set_limits(
        self,
        int64_t max_messages,
        int64_t max_bytes,
        int64_t max_per_subject,
        uint64_t max_age_ns,
        uint64_t duplicate_window_ns,
        bint markers,
    ):
        """The limits of the configuration; what is beyond them goes at once. -1 and 0 mean none."""
        self.max_messages = max_messages if max_messages > 0 else -1
        self.max_bytes = max_bytes if max_bytes > 0 else -1
        self.max_age_ns = max_age_ns
        self.duplicate_window_ns = duplicate_window_ns
        self.markers = markers
        if max_per_subject > 0 and (self.max_per_subject < 0 or max_per_subject < self.max_per_subject):
            self.max_per_subject = max_per_subject
            self.enforce_all_subjects()
        self.max_per_subject = max_per_subject if max_per_subject > 0 else -1
        self.enforce_limits()

    def enforce_all_subjects(self):
        """After the limit for each subject was lowered."""
        cdef uint32_t i
        cdef SubjectEntry *subject
        for i in range(self.subjects.entry_count):
            subject = &self.subjects.entries[i]
            while subject.name != NULL and <int64_t> subject.count > self.max_per_subject:
                self.remove_message(subject.first)

    # --- applying ---------------------------------------------------------------------------------------

    cdef uint64_t accounted_size(self, uint32_t subject, uint32_t header, uint32_t payload) noexcept:
        """Bytes of a message as nats-server counts them (spec 02 section 4)."""
        if self.memory:
            return <uint64_t> 16 + subject + header + payload
        return <uint64_t> 30 + subject + header + payload + (4 if header else 0)

    cdef int apply_record(self, const RecordHead *record, uint64_t position) noexcept:
        """A new message, whole and checked; -1 when memory is exhausted."""
        cdef const uint8_t *name = <const uint8_t *> record + RECORD_HEAD_SIZE
        cdef SubjectEntry *subject
        cdef MessageEntry *entry
        cdef MessageEntry *before
        cdef uint64_t sequence = record.sequence
        cdef uint32_t id
        if sequence <= self.messages.last and self.messages.count:
            return 0  # it was applied before; a log holds each sequence once
        subject = self.subjects.find_or_add(name, record.subject_size)
        if subject == NULL:
            return -1
        entry = self.messages.append(sequence, record.time_ns)
        if entry == NULL:
            return -1
        id = self.subjects.id_of(subject)
        self.fill_entry(entry, record, position, id)
        if subject.count == 0:
            subject.first = sequence
            self.subjects.count += 1
        else:
            before = self.messages.get(subject.last)
            if before != NULL:
                before.next_delta = link(subject.last, sequence)
        subject.last = sequence
        subject.count += 1
        if subject.pending_count:
            subject.pending_count -= 1
        if self.watcher is not None:
            self.watcher.stored(sequence, subject)
        self.last_time_ns = record.time_ns
        if self.messages.count == 1:
            self.first_time_ns = record.time_ns
        if self.replaying and record.flags & RECORD_HAS_ID:
            self.remember_id(record)
        if self.max_per_subject > 0:
            while <int64_t> self.subjects.entries[id].count > self.max_per_subject:
                self.remove_message(self.subjects.entries[id].first)
        self.enforce_limits()
        if record.flags & (RECORD_ROLLUP_SUBJECT | RECORD_ROLLUP_ALL):
            if record.flags & RECORD_ROLLUP_ALL:
                self.purge(sequence, 0, NULL, 0)
            elif not is_literal(name, record.subject_size):
                self.purge(sequence, 0, name, record.subject_size)  # of all that it matches, as nats-server
            else:
                self.purge_subject(&self.subjects.entries[id], sequence, 0)
        return 0

    cdef int apply_relocated(self, const RecordHead *record, uint64_t position) noexcept:
        """A message that moved to the end of the log."""
        cdef MessageEntry *entry = self.messages.get(record.sequence)
        cdef SegmentInfo *segment
        if entry == NULL:
            # In service: removed meanwhile. At start: the copy it was made from is in a segment that is gone.
            return self.insert_moved(record, position) if self.replaying else 0
        self.removal_index = self.applied_index + 1
        segment = self.segment_of(entry.position)
        if segment != NULL:
            segment.live -= 1
            segment.live_size -= entry.size & SIZE_MASK
        entry.position = position
        segment = self.segment_of(position)
        if segment != NULL:
            segment.live += 1
            segment.live_size += entry.size & SIZE_MASK
        return 0

    cdef int insert_moved(self, const RecordHead *record, uint64_t position) noexcept:
        """A message whose only copy is the one that cleaning made takes its old place; -1 without memory."""
        cdef SubjectEntry *subject = self.subjects.find_or_add(
            <const uint8_t *> record + RECORD_HEAD_SIZE, record.subject_size
        )
        cdef MessageEntry *entry
        cdef MessageEntry *before
        cdef uint64_t sequence = record.sequence, previous
        if subject == NULL:
            return -1
        entry = self.messages.insert(sequence, record.time_ns)
        if entry == NULL:
            return -1
        self.fill_entry(entry, record, position, self.subjects.id_of(subject))
        if subject.count == 0:
            subject.first = subject.last = sequence
            self.subjects.count += 1
        elif sequence < subject.first:
            entry.next_delta = link(sequence, subject.first)
            subject.first = sequence
        else:
            previous = self.link_before(subject, sequence)
            before = self.messages.get(previous)
            if previous == subject.last:
                subject.last = sequence
            else:
                entry.next_delta = link(sequence, self.following(before, previous))
            before.next_delta = link(previous, sequence)
        subject.count += 1
        self.first_time_ns = 0
        if self.max_per_subject > 0 and <int64_t> subject.count > self.max_per_subject:
            self.remove_message(subject.first)
        self.enforce_limits()
        return 0

    cdef void fill_entry(
        self, MessageEntry *entry, const RecordHead *record, uint64_t position, uint32_t subject_id
    ) noexcept:
        """What a message entry says of its record; counts it for the stream and for its segment."""
        cdef SegmentInfo *segment = self.segment_of(position)
        entry.position = position
        entry.size = <uint32_t> self.accounted_size(
            record.subject_size, record.header_size, record.payload_size
        )
        entry.subject_id = subject_id
        entry.next_delta = 0
        self.bytes += entry.size
        if segment != NULL:
            segment.live += 1
            segment.live_size += entry.size
            if record.flags & RECORD_HAS_ID:
                segment.last_id_ns = record.time_ns
        if record.flags & RECORD_MARKER:
            entry.size |= IS_MARKER
        if record.ttl_s == TTL_NEVER:
            entry.size |= <uint32_t> 1 << OUTLIVES_SHIFT
        elif record.ttl_s:
            self.expiries.push(record.time_ns + <uint64_t> record.ttl_s * 1_000_000_000, record.sequence)

    cdef int apply_other(self, const FrameHead *frame, const uint8_t *body) noexcept:
        """A frame without records; those of others' concern (FRAME_NOTE) are passed over."""
        cdef const uint64_t *run = <const uint64_t *> body
        cdef const PurgeBody *purge
        cdef const CheckpointBody *checkpoint
        cdef uint64_t i, sequence
        if frame.kind == FRAME_DELETE:
            for i in range(frame.body_size // 16):
                self.delete_run(run[2 * i], run[2 * i + 1])
        elif frame.kind == FRAME_PURGE and frame.body_size >= sizeof(PurgeBody):
            purge = <const PurgeBody *> body
            if sizeof(PurgeBody) + purge.filter_size <= frame.body_size:
                sequence = self.messages.count
                self.purge(purge.below, purge.keep, body + sizeof(PurgeBody), purge.filter_size)
                self.purged = sequence - self.messages.count
        elif frame.kind == FRAME_SKIP and frame.body_size >= 8:
            self.messages.skip_to(run[0] - 1)
            self.last_time_ns = frame.time_ns
        elif frame.kind == FRAME_CHECKPOINT and frame.body_size >= sizeof(CheckpointBody):
            checkpoint = <const CheckpointBody *> body
            while self.messages.count and self.messages.first < checkpoint.first_sequence:
                self.remove_message(self.messages.first)
            run = <const uint64_t *> (body + sizeof(CheckpointBody))
            for i in range(min(checkpoint.deleted_runs, (frame.body_size - sizeof(CheckpointBody)) // 16)):
                self.delete_run(run[2 * i], run[2 * i + 1])
            self.messages.skip_to(checkpoint.last_sequence)
        elif frame.kind == FRAME_DEDUPE:
            self.remember_dropped_ids(<const DedupeEntry *> body, frame.body_size // sizeof(DedupeEntry))
        return 0

    cdef void delete_run(self, uint64_t first, uint64_t count) noexcept:
        cdef uint64_t sequence = self.messages.next_live(first)
        while sequence < first + count and sequence <= self.messages.last:
            self.remove_message(sequence)
            sequence = self.messages.next_live(sequence + 1)

    cdef void remember_id(self, const RecordHead *record) noexcept:
        """At start: the message's id enters the window if it is still within it."""
        cdef PublishHeaders headers
        cdef DedupeId id
        if record.time_ns + self.duplicate_window_ns < self.replay_now_ns:
            return
        read_publish_headers(
            <const uint8_t *> record + RECORD_HEAD_SIZE + record.subject_size, record.header_size, &headers
        )
        if headers.present >> MSG_ID & 1:
            self.dedupe.hash_id(headers.values[MSG_ID].text, headers.values[MSG_ID].size, &id)
            if self.dedupe.find(&id) == NULL:
                id.sequence = record.sequence
                id.time_ns = record.time_ns
                self.dedupe.add(&id)

    cdef void remember_dropped_ids(self, const DedupeEntry *entries, uint64_t count) noexcept:
        cdef uint64_t i
        cdef DedupeId id
        if not self.replaying:
            return
        for i in range(count):
            id.low = entries[i].hash_low
            id.high = entries[i].hash_high
            id.sequence = entries[i].sequence
            id.time_ns = entries[i].time_ns
            if id.time_ns + self.duplicate_window_ns >= self.replay_now_ns and self.dedupe.find(&id) == NULL:
                self.dedupe.add(&id)

    # --- removing ---------------------------------------------------------------------------------------

    cdef void remove_message(self, uint64_t sequence) noexcept:
        """A message that is there goes, for whatever reason."""
        cdef MessageEntry *entry = self.messages.get(sequence)
        cdef MessageEntry *before
        cdef SubjectEntry *subject = &self.subjects.entries[entry.subject_id]
        cdef SegmentInfo *segment = self.segment_of(entry.position)
        cdef uint64_t size = entry.size & SIZE_MASK, previous
        if not self.goes_without_frame:
            self.removal_index = self.applied_index + 1
        if self.watcher is not None:
            self.watcher.removing(sequence, subject)
        self.bytes -= size
        if subject.leaving_count:
            subject.leaving_count -= 1
            self.subjects.leaving_count -= 1
        if segment != NULL:
            segment.live -= 1
            segment.live_size -= size
        if subject.count == 1:
            subject.count = 0
            subject.first = subject.last = 0
            self.subjects.count -= 1
            if subject.pending_count == 0:
                self.subjects.release(subject)
        elif sequence == subject.first:
            subject.first = self.following(entry, sequence)
            subject.count -= 1
        else:
            previous = self.link_before(subject, sequence)
            before = self.messages.get(previous)
            if sequence == subject.last:
                before.next_delta = 0
                subject.last = previous
            else:
                before.next_delta = link(previous, self.following(entry, sequence))
            subject.count -= 1
        if sequence == self.messages.first:
            self.first_time_ns = 0
        self.messages.remove(sequence)

    cdef uint64_t following(self, MessageEntry *entry, uint64_t sequence) noexcept:
        """The next message on the same subject, which is there."""
        cdef uint32_t id = entry.subject_id
        if entry.next_delta != NO_LINK:
            return sequence + entry.next_delta
        sequence = self.messages.next_live(sequence + 1)
        while self.messages.get(sequence).subject_id != id:
            sequence = self.messages.next_live(sequence + 1)
        return sequence

    cdef uint64_t link_before(self, SubjectEntry *subject, uint64_t sequence) noexcept:
        """The message before this sequence on its subject, which has an earlier one.

        It is looked for from both ends in turn: a subject has few messages, or is met soon on the way back.
        """
        cdef uint32_t id = self.subjects.id_of(subject)
        cdef uint64_t ahead = subject.first, after, back = sequence
        while True:
            if ahead == subject.last:
                return ahead
            after = self.following(self.messages.get(ahead), ahead)
            if after >= sequence:
                return ahead
            ahead = after
            back = self.messages.previous_live(back - 1)
            if back and self.messages.get(back).subject_id == id:
                return back

    cdef void enforce_limits(self) noexcept:
        """max_msgs and max_bytes, from the head."""
        if self.max_messages > 0:
            while <int64_t> self.messages.count > self.max_messages:
                self.remove_message(self.messages.first)
        if self.max_bytes > 0:
            while <int64_t> self.bytes > self.max_bytes and self.messages.count:
                self.remove_message(self.messages.first)

    cdef void purge(self, uint64_t below, uint64_t keep, const uint8_t *filter, uint32_t size) noexcept:
        """Remove messages below a sequence (0: no bound) of matching subjects, all but the newest `keep`."""
        cdef uint32_t i
        cdef uint64_t left, sequence, bound = below if below else self.messages.last + 1
        if size == 0:
            if keep == 0 and bound > self.messages.last:
                self.clear_all()
                return
            while self.messages.count > keep and self.messages.first < bound:
                self.remove_message(self.messages.first)
            return
        if keep:
            # The newest `keep` of all that match together, not of each subject.
            left = self.count_matching(filter, size)
            sequence = self.messages.first
            while left > keep and sequence <= self.messages.last:
                i = self.messages.get(sequence).subject_id
                if self.is_wanted(i, filter, size):
                    self.remove_message(sequence)
                    left -= 1
                sequence = self.messages.next_live(sequence + 1)
            return
        i = self.subjects.next_match(0, filter, size)
        while i < self.subjects.entry_count:
            self.purge_subject(&self.subjects.entries[i], bound, 0)
            i = self.subjects.next_match(i + 1, filter, size)

    cdef bint is_wanted(self, uint32_t id, const uint8_t *filter, uint32_t size) noexcept:
        """Whether a subject that has messages matches; an empty filter matches all."""
        cdef SubjectEntry *subject = &self.subjects.entries[id]
        return size == 0 or matches(filter, size, subject.name, subject.size)

    cdef void clear_all(self) noexcept:
        """Everything goes at once."""
        cdef uint32_t i
        if self.watcher is not None:
            self.watcher.cleared()
        self.messages.clear(self.messages.last + 1)
        self.subjects.clear()
        self.expiries.clear()
        self.bytes = 0
        self.first_time_ns = 0
        for i in range(self.segment_count):
            self.segments[i].live = self.segments[i].live_size = 0

    cdef void purge_subject(self, SubjectEntry *subject, uint64_t below, uint64_t keep) noexcept:
        """Remove the messages of one subject below a sequence, all but the newest `keep`."""
        cdef uint32_t id = self.subjects.id_of(subject)
        while self.subjects.entries[id].count > keep and self.subjects.entries[id].first < below:
            if self.subjects.entries[id].name == NULL:
                return
            self.remove_message(self.subjects.entries[id].first)

    cdef uint64_t count_matching(self, const uint8_t *filter, uint32_t size) noexcept:
        """Messages on the subjects that match."""
        cdef uint32_t i = self.subjects.next_match(0, filter, size)
        cdef uint64_t total = 0
        while i < self.subjects.entry_count:
            total += self.subjects.entries[i].count
            i = self.subjects.next_match(i + 1, filter, size)
        return total

    # --- time -------------------------------------------------------------------------------------------

    cdef int expire(self, uint64_t now_ns, uint32_t most) noexcept:
        """Remove what is past its time, at most `most` messages; how many went."""
        cdef uint32_t gone
        self.dedupe.expire(now_ns - min(now_ns, self.duplicate_window_ns))
        self.goes_without_frame = True
        gone = self.expire_messages(now_ns, most)
        self.goes_without_frame = False
        return gone

    cdef uint32_t expire_messages(self, uint64_t now_ns, uint32_t most) noexcept:
        cdef Expiry *expiry
        cdef uint64_t sequence
        cdef uint32_t gone = 0
        while gone < most:
            expiry = self.expiries.top()
            if expiry == NULL or expiry.time_ns > now_ns:
                break
            sequence = expiry.sequence
            self.expiries.pop()
            gone += self.expire_one(sequence)
        if self.max_age_ns == 0 or self.messages.count == 0:
            return gone
        sequence = self.messages.first
        while gone < most and sequence <= self.messages.last:
            # To the millisecond, and never early: the table's times are never later than the true ones.
            if self.messages.time_of(sequence) + 1_000_000 + self.max_age_ns > now_ns:
                break
            if self.messages.get(sequence).size >> OUTLIVES_SHIFT:
                sequence = self.messages.next_live(sequence + 1)
                continue
            gone += self.expire_one(sequence)
            sequence = self.messages.next_live(sequence + 1)
        return gone

    cdef bint expire_one(self, uint64_t sequence) noexcept:
        """One message is past its time; False when it is gone already."""
        cdef MessageEntry *entry = self.messages.get(sequence)
        cdef SubjectEntry *subject
        if entry == NULL:
            return False
        subject = &self.subjects.entries[entry.subject_id]
        if self.markers and subject.count == 1 and subject.pending_count == 0 and not (
            entry.size & IS_MARKER
        ):
            self.expired_subjects.append((subject.name[: subject.size], sequence))
        self.remove_message(sequence)
        return True

    # --- segments ---------------------------------------------------------------------------------------

    cdef SegmentInfo *segment_of(self, uint64_t position) noexcept:
        """The segment a position lies in; NULL when none is known (memory streams have none)."""
        cdef uint32_t low = 0, high = self.segment_count, middle
        if high == 0:
            return NULL
        if position >= self.segments[high - 1].base:
            return &self.segments[high - 1]
        while low < high:
            middle = (low + high) >> 1
            if self.segments[middle].base <= position:
                low = middle + 1
            else:
                high = middle
        return &self.segments[low - 1] if low else NULL

    cdef int note_frame(self, uint64_t base, uint64_t capacity, uint64_t end, uint64_t index) noexcept:
        """A frame ends at `end` in the segment with this base; -1 when memory is exhausted."""
        cdef void *segments
        cdef SegmentInfo *last
        if self.segment_count == 0 or self.segments[self.segment_count - 1].base != base:
            segments = reserve(
                self.segments, self.segment_count, 1, &self.segment_capacity, sizeof(SegmentInfo)
            )
            if segments == NULL:
                return -1
            self.segments = <SegmentInfo *> segments
            last = &self.segments[self.segment_count]
            last.base = base
            last.capacity = capacity
            last.live = last.live_size = last.last_id_ns = 0
            self.segment_count += 1
        last = &self.segments[self.segment_count - 1]
        last.end = end
        last.last_index = index
        return 0

    cdef void drop_segment(self) noexcept:
        """The oldest segment was given back to the writer."""
        self.segment_count -= 1
        memmove(self.segments, self.segments + 1, self.segment_count * sizeof(SegmentInfo))

    cdef uint64_t take_back(self, uint64_t position, uint64_t index) noexcept:
        """The log ends here, behind frame `index`: messages beyond are lost. Sequences go on.

        Gives the first that is lost, 0 for none. What frames beyond have removed stays removed: not to be
        called if they have (`removal_index`).
        """
        cdef uint64_t sequence = self.messages.last, first = 0
        cdef MessageEntry *entry
        cdef SegmentInfo *last
        self.goes_without_frame = True
        while sequence >= self.messages.first and sequence > 0:
            entry = self.messages.get(sequence)
            if entry != NULL:
                if entry.position < position:
                    break
                self.remove_message(sequence)
                self.lost += 1
                first = sequence
            sequence -= 1
        self.goes_without_frame = False
        while self.segment_count:
            last = &self.segments[self.segment_count - 1]
            if last.base < position or last.live:
                last.end = min(last.end, max(position, last.base))
                break
            self.segment_count -= 1
        if first:
            self.dedupe.forget_from(first)  # whoever sends it again, sends a new one
        self.applied_index = index
        return first

    def log_bytes(self):
        """Bytes of frames in all segments."""
        cdef uint32_t i
        cdef uint64_t total = 0
        for i in range(self.segment_count):
            total += self.segments[i].end - self.segments[i].base
        return total

    # --- finding ----------------------------------------------------------------------------------------

    cdef uint64_t next_on(self, uint64_t sequence, const uint8_t *filter, uint32_t size) noexcept:
        """The first message from `sequence` on whose subject matches; 0: there is none. No filter: any."""
        cdef uint32_t id
        cdef SubjectEntry *subject
        if self.messages.count == 0:
            return 0
        if size and is_literal(filter, size):
            subject = self.subjects.find(filter, size)
            if subject == NULL or subject.count == 0 or subject.last < sequence:
                return 0
            if subject.first >= sequence:
                return subject.first
            id = self.subjects.id_of(subject)
            if subject.count <= CHAIN_SHORT:
                sequence = max(sequence, self.messages.first)
                return self.along(subject.first, sequence)
            sequence = self.messages.next_live(sequence)
            while self.messages.get(sequence).subject_id != id:
                sequence = self.messages.next_live(sequence + 1)
            return sequence
        sequence = self.messages.next_live(sequence)
        while sequence <= self.messages.last:
            if self.is_wanted(self.messages.get(sequence).subject_id, filter, size):
                return sequence
            sequence = self.messages.next_live(sequence + 1)
        return 0

    cdef uint64_t along(self, uint64_t sequence, uint64_t least) noexcept:
        """The first message from `least` on, following a subject's links from a message of it."""
        while sequence < least:
            sequence = self.following(self.messages.get(sequence), sequence)
        return sequence

    cdef uint64_t last_on(self, const uint8_t *filter, uint32_t size) noexcept:
        """The newest message whose subject matches; 0 when there is none."""
        cdef uint32_t i = self.subjects.next_match(0, filter, size)
        cdef uint64_t last = 0
        while i < self.subjects.entry_count:
            last = max(last, self.subjects.entries[i].last)
            i = self.subjects.next_match(i + 1, filter, size)
        return last

    # --- for the API ------------------------------------------------------------------------------------

    def deleted(self, uint64_t most=0):
        """Sequences between the first and the last that have no message, in order; `most` 0: all."""
        cdef uint64_t sequence = self.messages.first, following
        gone = []
        if self.messages.count == 0:
            return gone
        while sequence <= self.messages.last:
            following = self.messages.next_live(sequence)
            gone.extend(range(sequence, following))
            if most and len(gone) >= most:
                return gone[:most]
            sequence = following + 1
        return gone

    def next_matching(self, uint64_t sequence, bytes filter):
        """next_on() for Python."""
        return self.next_on(sequence, filter, <uint32_t> len(filter))

    def next_matching_within(self, uint64_t sequence, bytes filter, uint32_t most):
        """next_matching() that looks at `most` messages: (sequence or 0, where the search goes on)."""
        cdef uint32_t size = <uint32_t> len(filter), looked = 0
        if size == 0 or is_literal(filter, size):
            sequence = self.next_on(sequence, filter, size)
            return sequence, self.messages.last + 1
        sequence = self.messages.next_live(sequence)
        while sequence <= self.messages.last:
            if self.is_wanted(self.messages.get(sequence).subject_id, filter, size):
                return sequence, sequence + 1
            looked += 1
            sequence = self.messages.next_live(sequence + 1)
            if looked == most:
                return 0, sequence
        return 0, self.messages.last + 1

    def count_from(self, uint64_t sequence, bytes filter):
        """Messages from a sequence on whose subject matches; b"" matches all."""
        cdef uint64_t total = 0
        if sequence <= self.messages.first:
            return self.count_matching(filter, <uint32_t> len(filter)) if filter else self.messages.count
        sequence = self.next_on(sequence, filter, <uint32_t> len(filter))
        while sequence:
            total += 1
            sequence = self.next_on(sequence + 1, filter, <uint32_t> len(filter))
        return total

    def last_of_each(self, bytes filter, uint64_t up_to):
        """Of each subject that matches, the last sequence that is not above `up_to`, in no order."""
        cdef uint32_t i = self.subjects.next_match(0, filter, <uint32_t> len(filter))
        cdef SubjectEntry *subject
        cdef uint64_t sequence, following
        found = []
        while i < self.subjects.entry_count:
            subject = &self.subjects.entries[i]
            if subject.last <= up_to:
                found.append(subject.last)
            elif subject.first <= up_to:
                sequence = subject.first
                following = self.following(self.messages.get(sequence), sequence)
                while following <= up_to:
                    sequence = following
                    following = self.following(self.messages.get(sequence), sequence)
                found.append(sequence)
            i = self.subjects.next_match(i + 1, filter, <uint32_t> len(filter))
        return found

    def deleted_count(self):
        """How many sequences deleted() would name."""
        if self.messages.count == 0:
            return 0
        return self.messages.last - self.messages.first + 1 - self.messages.count
