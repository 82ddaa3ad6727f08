"""What a stream stages: records with their sequences, frames without records, and the answers they owe.

Nothing here decides whether a message is accepted; publish_checks does. What is staged lies in the stream's
FrameStage, in the order of the log, until the owner moves it to the stream-writer; the overlay of what is
given out (last sequence, ids, amounts) is changed in the same step, so that the next check sees it.

Two sides use it: the publish path of the stream, and Python code, for commands of the API, backups, mirrors,
batches and schedules. Both end in store(), the only place where a sequence is given to a record.
"""

from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memcpy, memset

from shardbroker.jetstream.dedupe_window cimport DedupeId
from shardbroker.jetstream.frame_stage cimport FRAME_BODY_MAX, TRAILER_CALL, TRAILER_TEXT
from shardbroker.jetstream.proposal cimport Proposal, point, point_and_read
from shardbroker.jetstream.publish_checks cimport PublishChecks, Verdict
from shardbroker.jetstream.publish_headers cimport MSG_ID, SCHEDULE_NEXT, PublishHeaders
from shardbroker.jetstream.subject_table cimport SubjectEntry
from shardbroker.storage.codec cimport seal_record
from shardbroker.storage.frame cimport (
    FRAME_BATCH,
    FRAME_BATCH_COMMIT,
    FRAME_MESSAGES,
    FRAME_PURGE,
    FRAME_SKIP,
    RECORD_HAS_ID,
    RECORD_HAS_TTL,
    RECORD_HEAD_SIZE,
    RECORD_ROLLUP_ALL,
    RECORD_ROLLUP_SUBJECT,
    RECORD_SCHEDULE,
    PurgeBody,
    RecordHead,
    padded,
)

from shardbroker.jetstream import api_errors, header_block
from shardbroker.jetstream.go_encoding import encode


cdef class StreamStaging(PublishChecks):
    """The overlay of a stream and its stage change together."""

    # --- messages that the checks have accepted ---------------------------------------------------------

    cdef uint64_t accept(
        self, Proposal *proposal, PublishHeaders *headers, Verdict *verdict, uint16_t kind
    ) except? 0:
        """Stage what the checks have accepted; its sequence. 0 when no more ids can be remembered."""
        cdef uint64_t sequence
        cdef bytes block
        if verdict.has_id:
            verdict.id.sequence = self.last_sequence + 1
            verdict.id.time_ns = max(proposal.now_ns, self.last_time_ns)
            if self.state.dedupe.add(&verdict.id) < 0:
                return 0
        if not verdict.wanted:
            sequence = self.skip()
        else:
            if 0 < verdict.ttl_s < self.marker_ttl_s and self.state.max_per_subject != 1:
                verdict.ttl_s = <uint32_t> self.marker_ttl_s
                block = proposal.headers[: proposal.header_size]
                block = header_block.remove(block, header_block.MESSAGE_TTL)
                block = header_block.append(block, [(header_block.MESSAGE_TTL, b"%d" % verdict.ttl_s)])
                self.use_block(proposal, headers, block)
            if verdict.ttl_s:
                verdict.flags |= RECORD_HAS_TTL
            sequence = self.store(proposal, kind, verdict.flags, verdict.ttl_s)
            if sequence == 0:
                raise MemoryError("no memory for a record")
        self.last_id = None
        if headers.present >> MSG_ID & 1 and headers.values[MSG_ID].size:
            self.last_id = headers.values[MSG_ID].text[: headers.values[MSG_ID].size]
        if self.value is not None:
            self.special.counted(
                proposal.subject[: proposal.subject_size], sequence, self.kept_block, self.kept_payload
            )
        if verdict.flags & RECORD_SCHEDULE:
            self.special.scheduled(proposal.subject[: proposal.subject_size], sequence)
        if headers.present >> SCHEDULE_NEXT & 1 and kind == FRAME_MESSAGES:
            self.special.end_schedule(self, proposal.headers[: proposal.header_size])
        return sequence

    cdef uint64_t store(self, Proposal *proposal, uint16_t kind, uint16_t flags, uint32_t ttl_s) noexcept:
        """Stage a record with the next sequence, which is returned; 0 when memory is exhausted."""
        cdef uint64_t used = (
            <uint64_t> RECORD_HEAD_SIZE + proposal.subject_size + proposal.header_size + proposal.payload_size
        )
        cdef uint64_t size = padded(used), sequence = self.last_sequence + 1
        cdef SubjectEntry *subject = self.state.subjects.find_or_add(proposal.subject, proposal.subject_size)
        cdef uint8_t *place
        cdef RecordHead *record
        if subject == NULL:
            return 0
        place = self.stage.record(kind, sequence, size)
        if place == NULL:
            return 0
        record = <RecordHead *> place
        (<uint64_t *> (place + size - 8))[0] = 0
        if proposal.now_ns > self.last_time_ns:
            self.last_time_ns = proposal.now_ns
        record.size = <uint32_t> size
        record.sequence = sequence
        record.time_ns = self.last_time_ns
        record.header_size = proposal.header_size
        record.payload_size = proposal.payload_size
        record.subject_size = <uint16_t> proposal.subject_size
        record.flags = flags
        record.ttl_s = ttl_s
        place += RECORD_HEAD_SIZE
        memcpy(place, proposal.subject, proposal.subject_size)
        place += proposal.subject_size
        if proposal.header_size:
            memcpy(place, proposal.headers, proposal.header_size)
            place += proposal.header_size
        memcpy(place, proposal.payload, proposal.payload_size)
        seal_record(record)
        self.last_id = None
        if flags & (RECORD_ROLLUP_SUBJECT | RECORD_ROLLUP_ALL):
            self.stage.open.removes = True
        if flags & (RECORD_ROLLUP_SUBJECT | RECORD_ROLLUP_ALL) or self.state.max_per_subject > 0:
            self.note_leaving(subject, flags, sequence)
        subject.pending_last = sequence
        subject.pending_count += 1
        self.last_sequence = sequence
        self.pending_messages += 1
        self.pending_bytes += self.state.accounted_size(
            proposal.subject_size, proposal.header_size, proposal.payload_size
        )
        return sequence

    cdef uint64_t skip(self) except 0:
        """Give a sequence to a message that is not stored (interest retention without interest)."""
        cdef uint8_t *body
        self.last_sequence += 1
        if self.stage.open != NULL and self.stage.open.kind == FRAME_SKIP:
            body = self.stage.open.body
        else:
            body = self.stage.body(FRAME_SKIP, self.last_sequence, 8)
            if body == NULL:
                raise MemoryError("no memory for a frame")
        (<uint64_t *> body)[0] = self.last_sequence + 1
        return self.last_sequence

    # --- answers ----------------------------------------------------------------------------------------

    cdef void owe(self, Proposal *proposal, uint16_t kind, uint64_t sequence) noexcept:
        """An ack, once everything so far is stored."""
        if proposal.reply_size:
            self.stage.answer(
                kind, sequence, proposal.account, proposal.reply, proposal.reply_size, NULL, 0
            )

    cdef void refuse(self, Proposal *proposal, object error) noexcept:
        """Owe an error."""
        cdef bytes text
        if proposal.reply_size:
            text = self.error_text(error)
            self.stage.answer(
                TRAILER_TEXT, 0, proposal.account, proposal.reply, proposal.reply_size, text, len(text)
            )

    def error_text(self, error):
        """The PubAck of a refused message (spec 03 section 3)."""
        return encode({"error": error.as_dict(), "stream": self.config.name, "seq": 0})

    def stage_answer(self, uint32_t account, bytes reply, bytes text, bint always=False):
        """Owe `text` as it is; `always`: also when the stream gives no acks."""
        if reply and (always or not self.no_ack):
            self.stage.answer(TRAILER_TEXT, 0, account, reply, len(reply), text, len(text))

    def stage_call(self, uint64_t call):
        """`call` is told when everything staged so far is applied."""
        self.stage.answer(TRAILER_CALL, call, 0, NULL, 0, NULL, 0)

    # --- commands of the API ----------------------------------------------------------------------------

    def stage_frame(self, uint16_t kind, bytes body, uint64_t call=0):
        """Stage a frame without records (FRAME_DELETE, ...). `call` is told when it is applied; 0: nobody."""
        cdef uint8_t *place = self.stage.body(kind, self.last_sequence, len(body))
        if place == NULL:
            raise MemoryError("no memory for a frame")
        memcpy(place, <const char *> body, len(body))
        if kind == FRAME_PURGE:
            self.note_purge(body)
        if call:
            self.stage.answer(TRAILER_CALL, call, 0, NULL, 0, NULL, 0)
        self.stage.close()

    cdef object note_purge(self, bytes body):
        """A purge is staged: checks must not see what it will remove."""
        cdef const PurgeBody *purge = <const PurgeBody *> <const char *> body
        cdef uint64_t below = purge.below if purge.below else self.last_sequence + 1
        if purge.keep:
            below = 0  # which messages stay is known when it is applied
        filter = b">"
        if purge.filter_size:
            filter = body[sizeof(PurgeBody) : sizeof(PurgeBody) + purge.filter_size]
        self.purges.append((below, filter))

    def purge_subject(self, bytes filter):
        """Stage the purge of the subjects that match."""
        cdef PurgeBody purge
        memset(&purge, 0, sizeof(PurgeBody))
        purge.filter_size = <uint32_t> len(filter)
        self.stage_frame(FRAME_PURGE, (<const char *> &purge)[: sizeof(PurgeBody)] + filter)

    def has_staged(self):
        """Whether something waits for commit()."""
        return self.stage.first != NULL

    def stage_message(
        self,
        bytes subject,
        bytes block,
        bytes payload,
        uint64_t now_ns,
        *,
        uint16_t kind=FRAME_MESSAGES,
        uint16_t flags=0,
        uint32_t ttl_s=0,
    ):
        """Stage a message of the stream's own, or of special.publish; its sequence."""
        cdef Proposal proposal
        cdef uint64_t sequence
        point(&proposal, subject, b"", block, payload, 0, now_ns)
        sequence = self.store(&proposal, kind, flags, ttl_s)
        if sequence == 0:
            raise MemoryError("no memory for a record")
        return sequence

    def stage_restored(
        self,
        uint64_t sequence,
        uint64_t time_ns,
        bytes subject,
        bytes block,
        bytes payload,
        uint64_t now_ns,
        *,
        uint16_t flags=0,
        uint32_t ttl_s=0,
    ):
        """Stage a message of a backup, with its own time and sequence; False: that is not above the last."""
        cdef Proposal proposal
        cdef PublishHeaders headers
        cdef DedupeId id
        if sequence <= self.last_sequence:
            return False
        point_and_read(&proposal, &headers, subject, block, payload, time_ns)
        id.low = id.high = 0
        if headers.present >> MSG_ID & 1 and headers.values[MSG_ID].size:
            flags |= RECORD_HAS_ID
            if time_ns + self.state.duplicate_window_ns >= now_ns:
                self.state.dedupe.hash_id(headers.values[MSG_ID].text, headers.values[MSG_ID].size, &id)
                id.sequence = sequence
                id.time_ns = time_ns
                if self.state.dedupe.find(&id) == NULL and self.state.dedupe.add(&id) < 0:
                    raise MemoryError("no memory for a message id")
        self.last_sequence = sequence - 1
        self.last_time_ns = time_ns
        if self.store(&proposal, FRAME_MESSAGES, flags, ttl_s) == 0:
            raise MemoryError("no memory for a record")
        if flags & RECORD_HAS_ID:
            self.last_id = headers.values[MSG_ID].text[: headers.values[MSG_ID].size]
        return True

    def begin_sequence(self, uint64_t sequence):
        """The next message gets at least this sequence (mirrors)."""
        if sequence > self.last_sequence + 1:
            self.last_sequence = sequence - 1

    def last_sequence_on(self, bytes subject):
        """The last sequence given to a subject or to what a wildcard matches, committed or not; 0: none."""
        return self.last_on(subject, len(subject))

    # --- messages of special publishes ------------------------------------------------------------------

    def offer(
        self, bytes subject, bytes block, bytes payload, uint64_t now_ns, bint staged, bint own=False
    ):
        """Check a message of special, and store it: its sequence, 0: it was stored before, or an ApiError.

        `staged`: in the order of checks that messages of batches have. `own`: the stream itself made it, and
        what schedules add to messages is allowed. The ack is the caller's business.
        """
        cdef Proposal proposal
        cdef PublishHeaders headers
        cdef Verdict verdict
        cdef uint64_t sequence
        point_and_read(&proposal, &headers, subject, block, payload, now_ns)
        self.own = own
        error = self.check(&proposal, &headers, &verdict, staged, None)
        self.own = False
        if error is not None:
            return error
        if verdict.duplicate:
            return 0
        sequence = self.accept(&proposal, &headers, &verdict, FRAME_MESSAGES)
        return sequence if sequence else api_errors.INSUFFICIENT_RESOURCES

    def examine(self, bytes subject, bytes block, bytes payload, uint64_t now_ns, batch):
        """Check a message of an atomic batch; an ApiError, or what store_batch() is to store.

        That is (subject, block, payload, flags, TTL in seconds).
        """
        cdef Proposal proposal
        cdef PublishHeaders headers
        cdef Verdict verdict
        point_and_read(&proposal, &headers, subject, block, payload, now_ns)
        error = self.check(&proposal, &headers, &verdict, True, batch)
        if error is not None:
            return error
        if verdict.duplicate:
            return api_errors.ATOMIC_PUBLISH_CONTAINS_DUPLICATE_MESSAGE
        return (
            subject,
            proposal.headers[: proposal.header_size] if proposal.header_size else b"",
            proposal.payload[: proposal.payload_size],
            verdict.flags,
            verdict.ttl_s,
        )

    def store_batch(self, list examined, uint64_t now_ns):
        """Stage the messages of an atomic batch that examine() has accepted; the last one's sequence.

        Those that nobody wants (interest retention) get a sequence only: the ones behind them skip it.
        """
        cdef Proposal proposal
        cdef PublishHeaders headers
        cdef Verdict verdict
        cdef bytes subject, block, payload
        cdef uint64_t size = 0
        cdef Py_ssize_t i, last = -1
        cdef list wanted = []
        for i, (subject, block, payload, _, _) in enumerate(examined):
            point_and_read(&proposal, &headers, subject, block, payload, now_ns)
            size += padded(RECORD_HEAD_SIZE + len(subject) + len(block) + len(payload))
            wanted.append(not self.interest or self.wanted(&proposal))
            if wanted[i]:
                last = i
        self.stage.close()
        self.value = None
        for i, (subject, block, payload, verdict.flags, verdict.ttl_s) in enumerate(examined):
            if not wanted[i]:
                if i < last:
                    self.last_sequence += 1
                else:
                    self.skip()
                continue
            point_and_read(&proposal, &headers, subject, block, payload, now_ns)
            verdict.wanted = True
            verdict.has_id = verdict.flags & RECORD_HAS_ID and self.state.duplicate_window_ns != 0
            if verdict.has_id:
                self.state.dedupe.hash_id(
                    headers.values[MSG_ID].text, headers.values[MSG_ID].size, &verdict.id
                )
            # What fits into one frame needs no parts.
            if not self.accept(
                &proposal, &headers, &verdict,
                FRAME_BATCH_COMMIT if i == last or size <= FRAME_BODY_MAX else FRAME_BATCH,
            ):
                raise MemoryError("no memory for a message id")
        return self.last_sequence

    def accounted(self, uint32_t subject_size, uint32_t header_size, uint32_t payload_size):
        """Bytes that a message counts for in the stream's limits."""
        return self.state.accounted_size(subject_size, header_size, payload_size)
