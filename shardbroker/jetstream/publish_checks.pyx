"""Which publishes a stream accepts: every check, in nats-server's order, with its error.

There are two orders. A message of its own is checked for duplicates late, so that wrong expectations are told
even for one that came before. A message of a batch (atomic or fast) goes the way that clustered publishes go
in nats-server: duplicates first, then what depends on other messages. Both are made of the same checks.

`batch` is None, or what an atomic batch has changed so far (atomic_batches.Changes): expectations hold
against the state before the batch, and may not be about what it wrote itself.

Checks depend on what is given out, committed or not: every answer leaves after what it depends on is stored.
Source: spec 03 sections 3, 7, 8 and 10; orders and texts were seen with nats-server 2.15.1.
"""

from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t

from shardbroker.jetstream.consumer_set cimport ConsumerSet
from shardbroker.jetstream.publish_headers cimport (
    EXPECTED_LAST_MSG_ID,
    EXPECTED_LAST_SEQUENCE,
    EXPECTED_LAST_SUBJECT_SEQUENCE,
    EXPECTED_LAST_SUBJECT_SEQUENCE_SUBJECT,
    EXPECTED_STREAM,
    INCR,
    MSG_ID,
    ROLLUP,
    SCHEDULE,
    SCHEDULE_NEXT,
    SCHEDULE_TIME_ZONE,
    SCHEDULER,
    STREAM_SOURCE,
    TTL,
    HeaderValue,
    PublishHeaders,
    parse_sequence,
    read_publish_headers,
)
from shardbroker.jetstream.message_table cimport MessageEntry
from shardbroker.jetstream.stream_state cimport SIZE_MASK
from shardbroker.jetstream.subject_table cimport SubjectEntry
from shardbroker.storage.frame cimport (
    RECORD_HAS_ID,
    RECORD_ROLLUP_ALL,
    RECORD_ROLLUP_SUBJECT,
    RECORD_SCHEDULE,
    TTL_NEVER,
)
from shardbroker.subjects.subject cimport is_literal, matches

from shardbroker.jetstream import api_errors
from shardbroker.jetstream.durations import NEVER, parse_message_ttl

cdef enum:
    HEADER_SIZE_MAX = 65535  # bytes of a stored header block; nats-server the same
    SCHEDULE_HEADERS = (
        (1 << SCHEDULE) | (1 << SCHEDULE_NEXT) | (1 << SCHEDULER) | (1 << SCHEDULE_TIME_ZONE)
    )


cdef inline bint given(PublishHeaders *headers, int index) noexcept nogil:
    """Whether a header is there and has a value."""
    return headers.present >> index & 1 and headers.values[index].size != 0


cdef inline bytes text_of(PublishHeaders *headers, int index):
    return headers.values[index].text[: headers.values[index].size]


cdef class PublishChecks:
    """What a stream knows about messages that are not committed yet, and the checks that use it."""

    cdef bint fits(self, Proposal *proposal) noexcept:
        """Whether the sizes are within every limit."""
        cdef uint64_t size = <uint64_t> proposal.header_size + proposal.payload_size
        return (
            self.max_message_size < 0 or size <= <uint64_t> self.max_message_size
        ) and proposal.header_size <= HEADER_SIZE_MAX

    cdef object check(
        self, Proposal *proposal, PublishHeaders *headers, Verdict *verdict, bint staged, object batch
    ):
        """An error, or None: then `verdict` says how the message is stored, or that it was stored before.

        `proposal` and `headers` point to a rewritten message afterwards, if it had to be rewritten.
        """
        verdict.duplicate = 0
        verdict.ttl_s = verdict.flags = 0
        verdict.has_id = verdict.bad_ttl = False
        self.value = None
        if staged:
            return self.check_staged(proposal, headers, verdict, batch)
        return self.check_ordinary(proposal, headers, verdict)

    cdef object check_ordinary(self, Proposal *proposal, PublishHeaders *headers, Verdict *verdict):
        error = self.check_sizes(proposal)
        if error is not None:
            return error
        increment = None
        if given(headers, INCR):
            increment = self.special.check_increment(
                proposal.headers[: proposal.header_size], proposal.payload_size
            )
            if isinstance(increment, api_errors.ApiError):
                return increment
        error = self.check_name_and_ttl(headers, verdict)
        if error is None:
            error = self.check_sequences(proposal, headers, False, None)
        if error is None:
            error = self.check_schedule(proposal, headers, verdict)
        if error is not None:
            return error
        if given(headers, STREAM_SOURCE):
            return api_errors.MESSAGE_SOURCE_HDR_NOT_ALLOWED
        self.find_duplicate(proposal, headers, verdict, None)
        if verdict.duplicate:
            return None
        error = self.check_last_id(headers)
        if error is None:
            error = self.check_rollup(proposal, headers, verdict, None)
        if error is None and increment is None and self.counts:
            error = api_errors.MESSAGE_INCR_MISSING
        if error is not None:
            return error
        verdict.wanted = not self.interest or self.wanted(proposal)
        if not verdict.wanted:
            return None
        if increment is not None:
            error = self.count(proposal, increment, None)
        if error is None and verdict.bad_ttl:
            error = api_errors.MESSAGE_TTL_INVALID
        if error is None:
            error = self.check_limits(proposal, verdict.flags, False, None)
        return error

    cdef bint wanted(self, Proposal *proposal) noexcept:
        """Interest retention: whether some consumer's filter matches."""
        if not isinstance(self.state.watcher, ConsumerSet):
            return False
        return (<ConsumerSet> self.state.watcher).asks_for(proposal.subject, proposal.subject_size)

    cdef object check_staged(
        self, Proposal *proposal, PublishHeaders *headers, Verdict *verdict, object batch
    ):
        increment = None
        if given(headers, INCR):
            increment = self.special.check_increment(
                proposal.headers[: proposal.header_size], proposal.payload_size
            )
            if isinstance(increment, api_errors.ApiError):
                return increment
        verdict.wanted = not self.interest or self.wanted(proposal)
        error = self.check_name_and_ttl(headers, verdict)
        if error is None and verdict.bad_ttl:
            error = api_errors.MESSAGE_TTL_INVALID if self.allow_ttl else api_errors.MESSAGE_TTL_DISABLED
        if error is not None:
            return error
        self.find_duplicate(proposal, headers, verdict, batch)
        if verdict.duplicate:
            return None
        if given(headers, STREAM_SOURCE):
            return api_errors.MESSAGE_SOURCE_HDR_NOT_ALLOWED
        if increment is not None:
            error = self.count(proposal, increment, batch)
        elif self.counts:
            error = api_errors.MESSAGE_INCR_MISSING
        if error is None:
            error = self.check_sequences(proposal, headers, True, batch)
        if error is None:
            error = self.check_schedule(proposal, headers, verdict)
        if error is None:
            error = self.check_rollup(proposal, headers, verdict, batch)
        if error is None:
            error = self.check_limits(proposal, verdict.flags, True, batch)
        if error is None and batch is None:
            error = self.check_last_id(headers)
        return error

    # --- single checks ----------------------------------------------------------------------------------

    cdef object check_name_and_ttl(self, PublishHeaders *headers, Verdict *verdict):
        """Nats-Expected-Stream, Nats-TTL. What is no TTL is noted: for some messages it is told later."""
        if given(headers, EXPECTED_STREAM) and text_of(headers, EXPECTED_STREAM) != self.name:
            return api_errors.STREAM_NOT_MATCH
        if given(headers, TTL):
            try:
                ttl = parse_message_ttl(text_of(headers, TTL))
            except ValueError:
                verdict.bad_ttl = True
                return None
            if ttl and not self.allow_ttl:
                return api_errors.MESSAGE_TTL_DISABLED
            if ttl == NEVER:
                verdict.ttl_s = TTL_NEVER
            else:
                verdict.ttl_s = <uint32_t> min(ttl // 1_000_000_000, TTL_NEVER - 1)
        return None

    cdef object check_sequences(self, Proposal *proposal, PublishHeaders *headers, bint staged, object batch):
        """The expected last sequences, of a subject and of the stream."""
        error = self.check_last_sequence(headers, batch) if staged else None
        if error is None:
            error = self.check_subject_sequence(proposal, headers, batch)
        if error is None and not staged:
            error = self.check_last_sequence(headers, None)
        return error

    cdef object check_subject_sequence(self, Proposal *proposal, PublishHeaders *headers, object batch):
        """Nats-Expected-Last-Subject-Sequence, of the message's subject or another."""
        cdef unsigned long long expected
        cdef const uint8_t *subject = proposal.subject
        cdef uint32_t size = proposal.subject_size
        cdef uint64_t last
        if not given(headers, EXPECTED_LAST_SUBJECT_SEQUENCE):
            if given(headers, EXPECTED_LAST_SUBJECT_SEQUENCE_SUBJECT):
                return api_errors.STREAM_EXPECTED_LAST_SEQ_PER_SUBJECT_INVALID
            return None
        if given(headers, EXPECTED_LAST_SUBJECT_SEQUENCE_SUBJECT):
            subject = headers.values[EXPECTED_LAST_SUBJECT_SEQUENCE_SUBJECT].text
            size = headers.values[EXPECTED_LAST_SUBJECT_SEQUENCE_SUBJECT].size
        if batch is not None and subject[:size] in batch.on_subject:
            return api_errors.STREAM_WRONG_LAST_SEQUENCE_CONSTANT
        if not parse_sequence(&headers.values[EXPECTED_LAST_SUBJECT_SEQUENCE], &expected):
            expected = <unsigned long long> -1
        last = self.last_on(subject, size)
        if last != expected:
            return api_errors.STREAM_WRONG_LAST_SEQUENCE(seq=last)
        return None

    cdef object check_last_sequence(self, PublishHeaders *headers, object batch):
        """Nats-Expected-Last-Sequence. Within a batch only the first message may have it."""
        cdef unsigned long long expected
        cdef uint64_t last = self.last_sequence
        if not given(headers, EXPECTED_LAST_SEQUENCE):
            return None
        if batch is not None:
            last += <uint64_t> batch.messages
        if not parse_sequence(&headers.values[EXPECTED_LAST_SEQUENCE], &expected):
            expected = <unsigned long long> -1
        if expected != last:
            return api_errors.STREAM_WRONG_LAST_SEQUENCE(seq=last)
        if batch is not None and batch.messages:
            return api_errors.STREAM_WRONG_LAST_SEQUENCE_CONSTANT
        return None

    cdef object check_last_id(self, PublishHeaders *headers):
        """Nats-Expected-Last-Msg-Id."""
        if not given(headers, EXPECTED_LAST_MSG_ID):
            return None
        last = self.last_id or b""
        if text_of(headers, EXPECTED_LAST_MSG_ID) == last:
            return None
        return api_errors.STREAM_WRONG_LAST_MSG_ID(id=last.decode("utf-8", "replace"))

    cdef object check_schedule(self, Proposal *proposal, PublishHeaders *headers, Verdict *verdict):
        """Headers of schedules. A schedule gets a rollup, see scheduled_message."""
        cdef bytes block
        if self.own or not headers.present & SCHEDULE_HEADERS:
            return None
        block = proposal.headers[: proposal.header_size]
        checked = self.special.check_schedule(
            self, proposal.subject[: proposal.subject_size], block, proposal.now_ns
        )
        if isinstance(checked, api_errors.ApiError):
            return checked
        if checked.block != block:
            self.use_block(proposal, headers, checked.block)
        if checked.fire_ns is not None:
            verdict.flags |= RECORD_SCHEDULE
        return None

    cdef void find_duplicate(
        self, Proposal *proposal, PublishHeaders *headers, Verdict *verdict, object batch
    ) noexcept:
        """Look Nats-Msg-Id up in the window, and among the ids of the batch."""
        cdef DedupeId *known
        if not given(headers, MSG_ID):
            return
        verdict.flags |= RECORD_HAS_ID
        if self.state.duplicate_window_ns == 0:
            return
        verdict.has_id = True
        self.state.dedupe.expire(proposal.now_ns - self.state.duplicate_window_ns)
        self.state.dedupe.hash_id(headers.values[MSG_ID].text, headers.values[MSG_ID].size, &verdict.id)
        known = self.state.dedupe.find(&verdict.id)
        if known != NULL:
            verdict.duplicate = known.sequence
        elif batch is not None and text_of(headers, MSG_ID) in batch.ids:
            verdict.duplicate = self.last_sequence + 1

    cdef object check_rollup(
        self, Proposal *proposal, PublishHeaders *headers, Verdict *verdict, object batch
    ):
        cdef bytes value
        if not given(headers, ROLLUP):
            return None
        if not self.allow_rollup:
            return api_errors.STREAM_ROLLUP_FAILED(err="rollup not permitted")
        value = text_of(headers, ROLLUP).lower()
        if value == b"sub":
            if batch is not None and proposal.subject[: proposal.subject_size] in batch.on_subject:
                return api_errors.STREAM_ROLLUP_FAILED(err="batch rollup sub invalid")
            verdict.flags |= RECORD_ROLLUP_SUBJECT
        elif value == b"all":
            if batch is not None and batch.on_subject:
                return api_errors.STREAM_ROLLUP_FAILED(err="batch rollup all invalid")
            verdict.flags |= RECORD_ROLLUP_ALL
        else:
            text = text_of(headers, ROLLUP).decode("utf-8", "replace")
            return api_errors.STREAM_ROLLUP_FAILED(err=f'rollup value invalid: "{text}"')
        return None

    cdef object check_sizes(self, Proposal *proposal):
        """Limits of one message and of what the stream may use."""
        cdef uint64_t size = <uint64_t> proposal.header_size + proposal.payload_size
        if self.max_message_size >= 0 and size > <uint64_t> self.max_message_size:
            return api_errors.STREAM_MESSAGE_EXCEEDS_MAXIMUM
        if proposal.header_size > HEADER_SIZE_MAX:
            return api_errors.STREAM_HEADER_EXCEEDS_MAXIMUM
        if self.store_full:
            return api_errors.INSUFFICIENT_RESOURCES
        if self.account_full:
            return api_errors.ACCOUNT_RESOURCES_EXCEEDED
        return None

    cdef object count(self, Proposal *proposal, object increment, object batch):
        """Add to the counter of the subject: the message becomes the new value."""
        cdef bytes block, payload
        counted = self.special.count(
            self,
            proposal.subject[: proposal.subject_size],
            proposal.headers[: proposal.header_size],
            proposal.payload[: proposal.payload_size],
            increment,
            batch,
        )
        if isinstance(counted, api_errors.ApiError):
            return counted
        block, payload, self.value = counted
        self.kept_block = block
        self.kept_payload = payload
        proposal.headers = block
        proposal.header_size = <uint32_t> len(block)
        proposal.payload = payload
        proposal.payload_size = <uint32_t> len(payload)
        return None

    cdef object check_limits(self, Proposal *proposal, uint16_t flags, bint staged, object batch):
        """What discard new refuses.

        Where a subject is full, the new message takes the place of its oldest; this is not known before it is
        stored, so that messages of batches are refused all the same.
        """
        cdef SubjectEntry *subject
        cdef MessageEntry *oldest = NULL
        cdef uint64_t on_subject = 0, messages, used
        cdef bint replaces, full_subject
        cdef uint64_t size = self.state.accounted_size(
            proposal.subject_size, proposal.header_size, proposal.payload_size
        )
        if not self.discard_new:
            return None
        messages = self.messages_ahead()
        used = self.state.bytes + self.pending_bytes
        if self.state.max_per_subject > 0:
            subject = self.state.subjects.find(proposal.subject, proposal.subject_size)
            if subject != NULL and self.last_ahead(subject):
                on_subject = subject.count + subject.pending_count
                on_subject -= min(on_subject, <uint64_t> subject.leaving_count)
                oldest = self.state.messages.get(subject.first)
        if batch is not None:
            on_subject += <uint64_t> batch.on_subject.get(proposal.subject[: proposal.subject_size], 0)
            messages += <uint64_t> batch.messages
            used += <uint64_t> batch.size
        replaces = self.state.max_per_subject > 0 and <int64_t> on_subject >= self.state.max_per_subject
        full_subject = replaces and self.discard_new_per_subject and not (
            flags & (RECORD_ROLLUP_SUBJECT | RECORD_ROLLUP_ALL)
        )
        if full_subject and not staged:
            return api_errors.STREAM_STORE_FAILED(err="maximum messages per subject exceeded")
        replaces = replaces and not staged
        if self.state.max_messages > 0 and <int64_t> messages >= self.state.max_messages and not replaces:
            return api_errors.STREAM_STORE_FAILED(err="maximum messages exceeded")
        if self.state.max_bytes > 0 and <int64_t> (used + size) > self.state.max_bytes and not (
            replaces and (oldest == NULL or oldest.size & SIZE_MASK >= size)
        ):
            return api_errors.STREAM_STORE_FAILED(err="maximum bytes exceeded")
        if full_subject:
            return api_errors.STREAM_STORE_FAILED(err="maximum messages per subject exceeded")
        return None

    # --- helpers of the checks --------------------------------------------------------------------------

    cdef void use_block(self, Proposal *proposal, PublishHeaders *headers, bytes block):
        """The message has these headers from now on."""
        self.kept_block = block
        proposal.headers = block
        proposal.header_size = <uint32_t> len(block)
        read_publish_headers(proposal.headers, proposal.header_size, headers)

    cdef uint64_t last_on(self, const uint8_t *subject, uint32_t size) noexcept:
        """The last sequence given to a subject, or to any that a wildcard matches; 0 when there is none."""
        cdef SubjectEntry *entry
        cdef uint32_t i
        cdef uint64_t last = 0
        if is_literal(subject, size):
            entry = self.state.subjects.find(subject, size)
            return 0 if entry == NULL else self.last_ahead(entry)
        for i in range(self.state.subjects.entry_count):
            entry = &self.state.subjects.entries[i]
            if entry.name != NULL and matches(subject, size, entry.name, entry.size):
                last = max(last, self.last_ahead(entry))
        return last

    # --- what will be gone once everything in flight is applied -------------------------------------------

    cdef uint64_t last_ahead(self, SubjectEntry *entry) noexcept:
        """The last sequence of a subject, given out or applied; 0 when it will be gone."""
        cdef const uint8_t *filter
        cdef bytes text
        cdef uint64_t last = entry.pending_last if entry.pending_count else entry.last
        if self.pending_messages == 0 and not self.purges:
            return last
        if last < self.floor_ahead() or (
            entry.leaving_count and entry.leaving_count >= entry.count + entry.pending_count
        ):
            return 0
        for below, text in self.purges:
            filter = text
            if last < <uint64_t> below and matches(filter, <Py_ssize_t> len(text), entry.name, entry.size):
                return 0
        return last

    cdef uint64_t floor_ahead(self) noexcept:
        """All messages below this sequence will be gone: rollups of everything, and the limits of the stream.

        Not exact as long as messages are in flight that remove a message for two reasons (limits of stream
        and subject), or one another by max_bytes: then it is rather too low, and a check sees what is about
        to go.
        """
        cdef uint64_t sequence = self.state.messages.first, used = self.state.bytes + self.pending_bytes
        cdef uint64_t messages = self.messages_ahead()
        if self.floor > self.state.messages.last:
            # Of what is applied nothing stays.
            messages = self.last_sequence + 1 - self.floor
            if self.state.max_messages > 0 and <int64_t> messages > self.state.max_messages:
                return self.last_sequence + 1 - <uint64_t> self.state.max_messages
            return self.floor
        if self.discard_new or not (
            self.state.max_messages > 0 and <int64_t> messages > self.state.max_messages
            or self.state.max_bytes > 0 and <int64_t> used > self.state.max_bytes
        ):
            return 0
        while sequence <= self.state.messages.last and (
            self.state.max_messages > 0 and <int64_t> messages > self.state.max_messages
            or self.state.max_bytes > 0 and <int64_t> used > self.state.max_bytes
        ):
            used -= self.state.messages.get(sequence).size & SIZE_MASK
            messages -= 1
            sequence = self.state.messages.next_live(sequence + 1)
        if self.state.max_messages > 0 and <int64_t> messages > self.state.max_messages:
            sequence += messages - <uint64_t> self.state.max_messages
        return sequence

    cdef uint64_t messages_ahead(self) noexcept:
        """How many messages there will be, limits of the stream aside."""
        cdef uint64_t messages = self.state.messages.count + self.pending_messages
        return messages - min(messages, self.state.subjects.leaving_count)

    cdef void note_leaving(self, SubjectEntry *subject, uint16_t flags, uint64_t sequence) noexcept:
        """A message is about to be given a sequence: which older ones it will remove."""
        cdef uint64_t there = subject.count + subject.pending_count
        cdef uint64_t leaving = subject.leaving_count
        cdef SubjectEntry *entry
        cdef uint32_t i
        if flags & RECORD_ROLLUP_ALL:
            self.floor = sequence
            for i in range(self.state.subjects.entry_count):
                entry = &self.state.subjects.entries[i]
                if entry.name != NULL:
                    entry.leaving_count = entry.count + entry.pending_count
            self.state.subjects.leaving_count = (
                self.state.messages.count + self.pending_messages
            )
            return
        if flags & RECORD_ROLLUP_SUBJECT:
            leaving = there
            if not is_literal(subject.name, subject.size):
                self.note_matching_leave(subject)
        elif self.state.max_per_subject > 0 and (
            <int64_t> (there - min(there, leaving)) >= self.state.max_per_subject
        ):
            leaving += 1
        self.state.subjects.leaving_count += leaving - subject.leaving_count
        subject.leaving_count = <uint32_t> leaving

    cdef void note_matching_leave(self, SubjectEntry *pattern) noexcept:
        """A rollup of a subject with wildcards removes what is on all others that it matches."""
        cdef SubjectEntry *entry
        cdef uint32_t i, there
        for i in range(self.state.subjects.entry_count):
            entry = &self.state.subjects.entries[i]
            if entry.name == NULL or entry == pattern:
                continue
            if matches(pattern.name, pattern.size, entry.name, entry.size):
                there = entry.count + entry.pending_count
                self.state.subjects.leaving_count += there - entry.leaving_count
                entry.leaving_count = there
