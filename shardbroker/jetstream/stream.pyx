"""The state machine of one stream: publishes come in, committed frames take effect.

What is given out and not committed yet is an overlay on the applied state: the last sequence, the message
ids, the last sequence of each subject and the amounts. Every answer, also an error, is owed in the frame that
is open when it is found (frame_stage), so that no answer leaves before what it depends on is stored. If a
frame fails, the overlay is dropped with everything in flight; so it is when the end of the log is cut off.

What is refused, and in which order it is looked at, is in publish_checks; how records are built and staged,
in stream_staging. The path of a message without headers, or with Nats-Msg-Id alone, makes no Python object.
"""

from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memcmp, memcpy

from shardbroker.digits cimport write_digits
from shardbroker.jetstream.dedupe_window cimport DedupeId
from shardbroker.jetstream.frame_stage cimport TRAILER_ACK, TRAILER_DUPLICATE, FrameStage
from shardbroker.jetstream.proposal cimport Proposal
from shardbroker.jetstream.publish_checks cimport Verdict
from shardbroker.jetstream.publish_headers cimport (
    BATCH_ID,
    MSG_ID,
    REQUEST_INFO,
    HeaderValue,
    PublishHeaders,
    read_publish_headers,
)
from shardbroker.jetstream.stream_log cimport StreamLog
from shardbroker.jetstream.stream_staging cimport StreamStaging
from shardbroker.jetstream.stream_state cimport StreamState
from shardbroker.jetstream.subject_table cimport SubjectEntry
from shardbroker.storage.frame cimport (
    FRAME_BATCH,
    FRAME_BATCH_COMMIT,
    FRAME_HEAD_SIZE,
    FRAME_MESSAGES,
    FRAME_PURGE,
    FRAME_RELOCATED,
    RECORD_HAS_ID,
    RECORD_HEAD_SIZE,
    RECORD_SCHEDULE,
    FrameHead,
    RecordHead,
)

from shardbroker.errors import StorageError
from shardbroker.jetstream import api_errors, header_block
from shardbroker.jetstream.go_encoding import encode
from shardbroker.jetstream.special_publish import SpecialPublish

cdef enum:
    RESERVE_STEP = 1 << 20  # sequences recorded ahead in the metadata


cdef inline bint is_fast(Proposal *proposal) noexcept nogil:
    """Whether the reply subject ends like those of fast batches."""
    return proposal.reply_size > 4 and memcmp(proposal.reply + proposal.reply_size - 4, b".$FI", 4) == 0


cdef class Stream(StreamStaging):
    """One stream of this worker. `state` and `log` come from recovery, or are new."""

    def __init__(
        self, config, StreamState state, StreamLog log, uint32_t row, *, uint64_t reserved, domain=""
    ):
        self.state = state
        self.log = log
        self.row = row
        self.stage = FrameStage()
        self.reserved = reserved
        self.last_sequence = state.messages.last
        self.last_time_ns = state.last_time_ns
        self.held = []
        self.purges = []
        self.name = config.name.encode()
        shown = encode(config.name)
        if domain:
            shown += b',"domain":' + encode(domain)
        self.ack_head = b'{"stream":' + shown + b',"seq":'
        self.special = SpecialPublish(config, domain)
        self.configure(config)

    def configure(self, config):
        """Take over a checked configuration; its limits are enforced at once."""
        self.config = config
        self.special.configure(config)
        self.sealed = config.sealed
        self.no_ack = config.no_ack
        self.discard_new = config.discard == "new"
        self.discard_new_per_subject = config.discard_new_per_subject
        self.allow_rollup = config.allow_rollup_hdrs and not config.deny_purge
        self.allow_ttl = config.allow_msg_ttl
        self.interest = config.retention == "interest"
        self.max_message_size = config.max_msg_size if config.max_msg_size >= 0 else -1
        self.marker_ttl_s = config.subject_delete_marker_ttl // 1_000_000_000
        self.counts = config.allow_msg_counter
        self.transform = None
        if config.subject_transform is not None:
            from shardbroker.subjects.transform import Transform

            self.transform = Transform(config.subject_transform.src, config.subject_transform.dest)
        self.plain = not (
            self.sealed
            or self.counts
            or self.interest
            or self.discard_new
            or self.transform is not None
        )
        self.state.set_limits(
            config.max_msgs,
            config.max_bytes,
            config.max_msgs_per_subject,
            config.max_age,
            config.duplicate_window,
            config.subject_delete_marker_ttl > 0,
        )

    def wants_reserve(self):
        """The sequence up to which the metadata should reserve now; 0: less than half of the step is used up.

        It counts when the caller has set `reserved`.
        """
        return self.last_sequence + RESERVE_STEP if self.is_reserve_low() else 0

    cdef bint is_reserve_low(self) noexcept:
        return self.last_sequence + RESERVE_STEP // 2 >= self.reserved

    def close(self):
        """No publish is accepted any more."""
        self.closing = True

    # --- one publish ------------------------------------------------------------------------------------

    cdef int publish(self, Proposal *proposal) noexcept:
        """Accept or refuse a message; the answer is owed in the stage. 0, or -1 when memory is exhausted."""
        cdef PublishHeaders headers
        cdef uint64_t sequence
        cdef bint fast = is_fast(proposal)
        if self.no_ack and not fast:
            proposal.reply_size = 0
        if self.plain and not (fast or self.store_full or self.account_full or self.failed or self.closing):
            if proposal.header_size == 0:
                if self.fits(proposal):
                    sequence = self.store(proposal, FRAME_MESSAGES, 0, 0)
                    if sequence == 0:
                        return -1
                    self.owe(proposal, TRAILER_ACK, sequence)
                    return 0
            elif self.fits(proposal) and memcmp(proposal.headers, b"NATS/1.0\r\n", 10) == 0:
                read_publish_headers(proposal.headers, proposal.header_size, &headers)
                if headers.present & ~(<uint32_t> 1 << MSG_ID) == 0:
                    return 0 if self.publish_with_id(proposal, &headers) else -1
        try:
            error = self.publish_slowly(proposal)
            if error is not None and not self.no_ack:
                self.refuse(proposal, error)
        except MemoryError:
            return -1
        return 0

    cdef bint publish_with_id(self, Proposal *proposal, PublishHeaders *headers) noexcept:
        """A message whose only header of ours is Nats-Msg-Id, if any; False when memory is exhausted."""
        cdef DedupeId id
        cdef DedupeId *known
        cdef uint64_t sequence
        cdef HeaderValue *value = &headers.values[MSG_ID]
        if not headers.present or value.size == 0:
            sequence = self.store(proposal, FRAME_MESSAGES, 0, 0)
            if sequence:
                self.owe(proposal, TRAILER_ACK, sequence)
            return sequence != 0
        if self.state.duplicate_window_ns:
            self.state.dedupe.hash_id(value.text, value.size, &id)
            known = self.state.dedupe.find(&id)
            if known != NULL:
                if known.time_ns + self.state.duplicate_window_ns >= proposal.now_ns:
                    self.owe(proposal, TRAILER_DUPLICATE, known.sequence)
                    return True
                self.state.dedupe.expire(proposal.now_ns - self.state.duplicate_window_ns)
            id.sequence = self.last_sequence + 1
            id.time_ns = max(proposal.now_ns, self.last_time_ns)
            if self.state.dedupe.add(&id) < 0:
                # Ids are never forgotten early: refuse rather than take a duplicate for a new message.
                self.refuse(proposal, api_errors.INSUFFICIENT_RESOURCES)
                return True
        sequence = self.store(proposal, FRAME_MESSAGES, RECORD_HAS_ID, 0)
        if sequence == 0:
            return False
        self.last_id = value.text[: value.size]
        self.owe(proposal, TRAILER_ACK, sequence)
        return True

    cdef object publish_slowly(self, Proposal *proposal):
        """All checks, in nats-server's order; the error, or None: the message is stored or a duplicate."""
        cdef PublishHeaders headers
        cdef bytes subject
        cdef bytes block
        if self.closing:
            return api_errors.STREAM_NOT_FOUND
        if self.failed:
            return api_errors.STREAM_STORE_FAILED(err="a write failed, try again")
        if self.transform is not None:
            subject = self.transform.apply(proposal.subject[: proposal.subject_size])
            if subject is not None:
                proposal.subject = subject
                proposal.subject_size = len(subject)
        headers.present = 0
        if proposal.header_size:
            read_publish_headers(proposal.headers, proposal.header_size, &headers)
            if headers.present >> REQUEST_INFO & 1 or memcmp(proposal.headers, b"NATS/1.0\r\n", 10):
                block = self.rewritten(proposal.headers[: proposal.header_size], headers.present)
                proposal.headers = block
                proposal.header_size = len(block)
                read_publish_headers(proposal.headers, proposal.header_size, &headers)
        if self.sealed:
            return api_errors.STREAM_SEALED
        if is_fast(proposal) or headers.present >> BATCH_ID & 1 and headers.values[BATCH_ID].size:
            error = self.check_sizes(proposal)
            if error is not None:
                return error
            return self.special.publish(
                self,
                proposal.subject[: proposal.subject_size],
                proposal.reply[: proposal.reply_size],
                proposal.headers[: proposal.header_size] if proposal.header_size else b"",
                proposal.payload[: proposal.payload_size],
                proposal.account,
                proposal.now_ns,
            )
        return self.publish_ordinary(proposal, &headers)

    cdef object publish_ordinary(self, Proposal *proposal, PublishHeaders *headers):
        """A message of its own; see publish_slowly."""
        cdef Verdict verdict
        cdef uint64_t sequence
        error = self.check(proposal, headers, &verdict, False, None)
        if error is not None:
            return error
        if verdict.duplicate:
            self.owe(proposal, TRAILER_DUPLICATE, verdict.duplicate)
            return None
        value = self.value
        sequence = self.accept(proposal, headers, &verdict, FRAME_MESSAGES)
        if sequence == 0:
            return api_errors.INSUFFICIENT_RESOURCES
        if value is None:
            self.owe(proposal, TRAILER_ACK, sequence)
        elif proposal.reply_size:
            self.stage_answer(
                proposal.account,
                proposal.reply[: proposal.reply_size],
                self.ack_head + b'%d,"val":"%s"}' % (sequence, value),
            )
        return None

    cdef object rewritten(self, bytes block, uint32_t present):
        """The block as it is stored: no status, and not the header that is for the server alone."""
        if present >> REQUEST_INFO & 1:
            block = header_block.remove(block, b"Nats-Request-Info")
        return header_block.strip_status(block)

    cdef uint32_t write_ack(self, uint8_t *place, uint16_t kind, uint64_t sequence) noexcept:
        """Write a PubAck of at most ACK_SIZE_MAX bytes; its size."""
        cdef uint32_t size = <uint32_t> len(self.ack_head)
        cdef uint8_t *at
        memcpy(place, <const char *> self.ack_head, size)
        at = write_digits(place + size, sequence)
        if kind == TRAILER_DUPLICATE:
            memcpy(at, b',"duplicate": true', 18)
            at += 18
        at[0] = 125
        return <uint32_t> (at + 1 - place)

    # --- committed frames -------------------------------------------------------------------------------

    cdef int apply_frame(
        self, const uint8_t *frame, uint64_t position, uint64_t segment, uint64_t capacity
    ) except -1:
        """A frame of this stream is stored: it takes effect now. `position` is the frame's in the log."""
        cdef const FrameHead *head = <const FrameHead *> frame
        cdef uint64_t end = position + FRAME_HEAD_SIZE + head.body_size
        self.log.stored(head, position)
        if self.state.note_frame(segment, capacity, end, head.index) < 0:
            raise MemoryError("no memory for a segment's figures")
        if self.held and head.kind != FRAME_BATCH and head.kind != FRAME_BATCH_COMMIT:
            self.held = []  # the end of that batch was not stored
        if head.kind == FRAME_MESSAGES:
            self.apply_records(head, position)
        elif head.kind == FRAME_BATCH:
            self.hold_records(head, position)
        elif head.kind == FRAME_BATCH_COMMIT:
            self.release_held(head)
            self.apply_records(head, position)
        elif head.kind == FRAME_RELOCATED:
            self.apply_moved(head, position)
        else:
            self.state.apply_other(head, frame + FRAME_HEAD_SIZE)
            if head.kind == FRAME_PURGE and self.purges:
                del self.purges[0]
        self.state.applied_index = head.index
        return 0

    cdef int apply_records(self, const FrameHead *head, uint64_t position) except -1:
        cdef const uint8_t *at = <const uint8_t *> head + FRAME_HEAD_SIZE
        cdef const uint8_t *end = at + head.body_size
        cdef const RecordHead *record
        position += FRAME_HEAD_SIZE
        while at < end:
            record = <const RecordHead *> at
            self.apply_record(record, position)
            at += record.size
            position += record.size
        return 0

    cdef int apply_record(self, const RecordHead *record, uint64_t position) except -1:
        cdef uint64_t previous = 0
        cdef bint watched = self.republish is not None or record.flags & RECORD_SCHEDULE
        if watched:
            previous = self.applied_last_on(
                <const uint8_t *> record + RECORD_HEAD_SIZE, record.subject_size
            )
        self.pending_messages -= 1
        self.pending_bytes -= self.state.accounted_size(
            record.subject_size, record.header_size, record.payload_size
        )
        if self.state.apply_record(record, position) < 0:
            raise MemoryError("no memory for a message entry")
        if watched:
            self.tell_stored(record, previous)
        return 0

    cdef uint64_t applied_last_on(self, const uint8_t *subject, uint32_t size) noexcept:
        cdef SubjectEntry *entry = self.state.subjects.find(subject, size)
        return 0 if entry == NULL else entry.last

    cdef int apply_moved(self, const FrameHead *head, uint64_t position) except -1:
        """Records that cleaning has moved to the end of the log."""
        cdef const uint8_t *at = <const uint8_t *> head + FRAME_HEAD_SIZE
        cdef const uint8_t *end = at + head.body_size
        position += FRAME_HEAD_SIZE
        while at < end:
            self.state.apply_relocated(<const RecordHead *> at, position)
            position += (<const RecordHead *> at).size
            at += (<const RecordHead *> at).size
        return 0

    cdef int hold_records(self, const FrameHead *head, uint64_t position) except -1:
        """Part of an atomic batch: nothing of it is seen before its last frame is stored."""
        cdef const uint8_t *at = <const uint8_t *> head + FRAME_HEAD_SIZE
        cdef const uint8_t *end = at + head.body_size
        cdef const RecordHead *record
        position += FRAME_HEAD_SIZE
        self.drop_stale(head.first_sequence)
        while at < end:
            record = <const RecordHead *> at
            self.held.append((position, at[: record.size]))
            at += record.size
            position += record.size
        return 0

    def drop_stale(self, uint64_t first_sequence):
        """Forget held records if a batch begins that has their sequences: theirs was never completed."""
        cdef bytes raw
        if self.held:
            raw = self.held[len(self.held) - 1][1]
            if (<const RecordHead *> <const char *> raw).sequence >= first_sequence:
                self.held = []

    cdef int release_held(self, const FrameHead *head) except -1:
        """The batch is complete with this frame."""
        cdef bytes raw
        self.drop_stale(head.first_sequence)
        held, self.held = self.held, []
        for position, raw in held:
            self.apply_record(<const RecordHead *> <const char *> raw, position)
        return 0

    cdef int tell_stored(self, const RecordHead *record, uint64_t previous) except -1:
        """Tell those who follow the stream's messages: republish, schedules."""
        cdef const uint8_t *at = <const uint8_t *> record + RECORD_HEAD_SIZE
        cdef bytes subject = at[: record.subject_size]
        cdef bytes block = (at + record.subject_size)[: record.header_size]
        cdef bytes payload = (at + record.subject_size + record.header_size)[: record.payload_size]
        if self.republish is not None:
            self.republish(subject, block, payload, record.sequence, record.time_ns, previous)
        if record.flags & RECORD_SCHEDULE:
            self.special.stored(self, subject, block, payload, record.sequence, record.time_ns)
        return 0

    def drop_overlay(self):
        """Something in flight has failed: forget all that is not committed. The log goes on behind what is.

        To be called when the first failure is seen; until `frames_in_flight` is 0 the stream stays `failed`.
        """
        self.failed = self.frames_in_flight != 0
        if self.cutting:
            self.cut_index = self.log.durable_index  # what failed lies before the cut
        self.last_sequence = self.state.messages.last
        self.pending_messages = self.pending_bytes = 0
        self.state.subjects.reset_pending()
        self.state.dedupe.forget_from(self.state.messages.last + 1)
        self.last_id = None
        self.held = []
        self.purges = []
        self.floor = 0
        self.log.rewind()
        self.special.forget(self)

    # --- cutting the end of the log off -----------------------------------------------------------------

    def check_cut(self, uint64_t index):
        """Whether the log may be cut behind frame `index` now. Raises StorageError if not, saying why."""
        cdef uint64_t end = self.cut_index if self.cutting else self.log.index
        if self.cutting and self.frames_in_flight:
            raise StorageError(f"stream '{self.config.name}': its log is being cut already")
        if index < self.log.durable_index:
            raise StorageError(
                f"stream '{self.config.name}': its log is committed up to frame {self.log.durable_index} "
                f"and is not cut behind frame {index}"
            )
        if index > end:
            raise StorageError(
                f"stream '{self.config.name}': its log ends with frame {end} "
                f"and cannot be cut behind frame {index}"
            )

    def begin_cut(self, uint64_t index):
        """The writer was asked to cut the log behind frame `index`: what is behind it does not count any
        more, stored or not, and no publish is accepted before `end_cut`.

        What is staged is dropped by the caller; what is applied stays, for nothing is applied before it is
        committed.
        """
        self.cutting = self.failed = True
        self.cut_index = index

    cdef bint takes_effect(self, uint64_t index) noexcept:
        """Whether a frame takes effect when it is stored: none does behind a failed one, or behind a cut."""
        return index <= self.cut_index if self.cutting else not self.failed

    def end_cut(self):
        """It is cut, and all that was in flight is answered: the log goes on behind what is applied."""
        self.cutting = False
        self.drop_overlay()
