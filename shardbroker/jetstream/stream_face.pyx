"""A stream without a broker around it, for tests, simulations and tools.

`StreamFace` plays the owner and the disk: what the stream stages becomes frames (`append`), which are then
stored and applied (`commit`) or lost (`fail`), one by one if wanted. All frames that were ever stored can be
replayed into a new stream, as at start. Nothing here is on the path of a broker's message.
"""

import struct

from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memset

from shardbroker.jetstream.frame_stage cimport (
    TRAILER_ACK,
    TRAILER_CALL,
    TRAILER_DUPLICATE,
    StagedFrame,
    TrailerEntry,
)
from shardbroker.jetstream.message_table cimport MessageEntry
from shardbroker.jetstream.proposal cimport Proposal, point
from shardbroker.jetstream.stream cimport ACK_SIZE_MAX, Stream
from shardbroker.jetstream.stream_log cimport StreamLog
from shardbroker.jetstream.stream_state cimport StreamState
from shardbroker.storage.frame cimport (
    FRAME_DELETE,
    FRAME_HEAD_SIZE,
    FRAME_PURGE,
    RECORD_HEAD_SIZE,
    FrameHead,
    PurgeBody,
    RecordHead,
)


cdef class StreamFace:
    """One stream in memory. `config` is a checked StreamConfig."""

    cdef readonly Stream stream
    cdef readonly list stored  # (position, frame) of all that were stored
    cdef readonly list in_flight  # (position, frame, trailer) of all that are neither stored nor lost
    cdef readonly list advisories  # (kind, fields)
    cdef object config
    cdef uint64_t seed

    def __init__(self, config, uint64_t seed=1, shared=None):
        from shardbroker.jetstream.special_publish import OpenBatches

        cdef bint memory = config.storage == "memory"
        cdef StreamState state = StreamState(seed, max(config.first_seq, 1), memory)
        self.config = config
        self.seed = seed
        self.stored = []
        self.in_flight = []
        self.advisories = []
        self.stream = Stream(config, state, StreamLog(1, 1), 0, reserved=0)
        self.stream.special.attach(self.read, self.advise, shared or OpenBatches())

    def advise(self, kind, fields):
        """An advisory, kept for the test."""
        self.advisories.append((kind, fields))

    # --- messages ---------------------------------------------------------------------------------------

    def offer(
        self, bytes subject, bytes reply, bytes block, bytes payload, uint64_t now_ns, uint32_t account=0
    ):
        """Publish. Nothing is answered before `commit`."""
        cdef Proposal proposal
        point(&proposal, subject, reply, block, payload, account, now_ns)
        if self.stream.publish(&proposal) < 0:
            raise MemoryError("the stream has no memory")

    def append(self, uint64_t now_ns):
        """Turn what is staged into frames that are on their way to the disk; how many are in flight now."""
        cdef StagedFrame *frame
        cdef uint64_t position
        cdef bytes built, trailer
        while True:
            frame = self.stream.stage.take()
            if frame == NULL:
                return len(self.in_flight)
            trailer = frame.trailer[: frame.trailer_size] if frame.trailer_size else b""
            built = b""
            position = self.stream.log.position
            if frame.kind:
                built = bytes(FRAME_HEAD_SIZE + frame.body_size)
                self.stream.log.seal(
                    frame, self.stream.last_sequence, now_ns, <uint8_t *> <char *> built
                )
            self.in_flight.append((position, built, trailer))
            self.stream.stage.give_back(frame)

    def commit(self, most=None):
        """Store and apply the oldest frames in flight; what is owed for them: [(reply, payload)] in order."""
        answers = []
        count = len(self.in_flight) if most is None else min(most, len(self.in_flight))
        for position, frame, trailer in self.in_flight[:count]:
            if frame:
                self.stored.append((position, frame))
                self.apply(position, frame)
            answers += self.answers_of(trailer)
        del self.in_flight[:count]
        return answers

    def settle(self, uint64_t now_ns):
        """append() and commit(), until nothing is staged."""
        answers = []
        while self.append(now_ns):
            answers += self.commit()
        return answers

    def fail(self):
        """Everything in flight is lost: the replies that will not be answered."""
        lost = [reply for _, _, trailer in self.in_flight for reply, _ in self.answers_of(trailer)]
        self.in_flight = []
        self.stream.drop_overlay()
        return lost

    cdef int apply(self, uint64_t position, bytes frame) except -1:
        cdef const uint8_t *at = frame
        self.stream.apply_frame(at, position, self.stream.log.segment, self.stream.log.capacity)
        return 0

    cdef list answers_of(self, bytes trailer):
        cdef const uint8_t *at = <const uint8_t *> <const char *> trailer
        cdef const uint8_t *end = at + len(trailer)
        cdef const TrailerEntry *entry
        cdef const uint8_t *reply
        cdef uint8_t text[ACK_SIZE_MAX + 64]
        cdef uint32_t size
        answers = []
        while at < end:
            entry = <const TrailerEntry *> at
            reply = at + sizeof(TrailerEntry)
            if entry.kind == TRAILER_ACK or entry.kind == TRAILER_DUPLICATE:
                size = self.stream.write_ack(text, entry.kind, entry.sequence)
                answers.append((reply[: entry.reply_size], text[:size]))
            elif entry.kind == TRAILER_CALL:
                answers.append((b"call", b"%d" % entry.sequence))
            else:
                answers.append(
                    (reply[: entry.reply_size], (reply + entry.reply_size)[: entry.text_size])
                )
            at += entry.size
        return answers

    # --- what is stored ---------------------------------------------------------------------------------

    def read(self, uint64_t sequence):
        """(subject, header block, payload, time in ns) of a stored message; None without one."""
        cdef MessageEntry *entry = self.stream.state.messages.get(sequence)
        cdef const RecordHead *record
        cdef const uint8_t *at
        cdef bytes frame
        cdef uint64_t wanted, start
        if entry == NULL:
            return None
        wanted = entry.position
        for position, frame in reversed(self.stored):
            if position <= wanted < position + len(frame):
                start = wanted - position
                at = frame
                record = <const RecordHead *> (at + start)
                at = at + start + RECORD_HEAD_SIZE
                if record.sequence != sequence:
                    raise AssertionError(f"the record at {wanted} is not that of {sequence}")
                return (
                    at[: record.subject_size],
                    (at + record.subject_size)[: record.header_size],
                    (at + record.subject_size + record.header_size)[: record.payload_size],
                    record.time_ns,
                )
        raise AssertionError(f"no frame holds the message {sequence}")

    def messages(self):
        """[(sequence, subject, header block, payload)] of all stored messages."""
        table = self.stream.state.messages
        found = []
        sequence = table.following(1)
        while len(table) and sequence <= table.last:
            subject, block, payload, _ = self.read(sequence)
            found.append((sequence, subject, block, payload))
            sequence = table.following(sequence + 1)
        return found

    def figures(self):
        """(messages, bytes, first sequence, last sequence), as STREAM.INFO tells them."""
        state = self.stream.state
        first = state.messages.first if state.messages.last else 0
        return len(state.messages), state.bytes, first, state.messages.last

    def expire(self, uint64_t now_ns, uint32_t most=1_000_000):
        """Remove what is past its time; how many went."""
        return self.stream.state.expire(now_ns, most)

    def take_expired_subjects(self):
        """[(subject, sequence)] of the subjects that owe a delete marker, told once."""
        taken = self.stream.state.expired_subjects
        self.stream.state.expired_subjects = []
        return taken

    def delete(self, uint64_t sequence, uint64_t count=1):
        """Stage a FRAME_DELETE of a run of messages."""
        self.stream.stage_frame(FRAME_DELETE, struct.pack("<QQ", sequence, count))

    def purge(self, bytes filter=b"", uint64_t below=0, uint64_t keep=0):
        """Stage a FRAME_PURGE, in the three forms that the API has."""
        cdef PurgeBody body
        memset(&body, 0, sizeof(PurgeBody))
        body.below = below
        body.keep = keep
        body.filter_size = <uint32_t> len(filter)
        self.stream.stage_frame(FRAME_PURGE, (<const char *> &body)[: sizeof(PurgeBody)] + filter)

    def leave_markers(self, uint64_t now_ns):
        """Stage a delete marker for each subject that owes one."""
        from shardbroker.jetstream.delete_markers import marker

        for subject, _ in self.take_expired_subjects():
            block, ttl_s, flags = marker(subject, self.config.subject_delete_marker_ttl)
            self.stream.stage_message(subject, block, b"", now_ns, flags=flags, ttl_s=ttl_s)

    def pending(self):
        """(messages, bytes) given out and not applied."""
        return self.stream.pending_messages, self.stream.pending_bytes

    def next_on_subject(self, uint64_t sequence):
        """The message that follows on the same subject, by the table's links; 0: it is the last one."""
        cdef MessageEntry *entry = self.stream.state.messages.get(sequence)
        if entry == NULL:
            raise KeyError(sequence)
        if entry.next_delta == 0:
            return 0
        return self.stream.state.following(entry, sequence)

    def replayed(self, uint64_t now_ns):
        """A new StreamFace with the same config that has read all stored frames, as after a restart."""
        cdef StreamFace other = StreamFace(self.config, self.seed)
        cdef bytes frame
        other.stored = list(self.stored)
        other.stream.state.replaying = True
        other.stream.state.replay_now_ns = now_ns
        other.stream.special.recovering(now_ns)
        for position, frame in self.stored:
            other.apply(position, frame)
        other.stream.state.replaying = False
        other.stream.drop_overlay()
        return other
