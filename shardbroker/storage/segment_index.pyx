"""The sealed index of a segment: everything recovery wants of it but the payloads, some bytes a message.

    IndexHead, then entries until its body_size:
    frame entry     0x80 | kind, then as numbers: index from the one expected, count, body size, first
                    sequence, time, term, durable lag; of a frame without records also position and body
    record entry    a byte of flags that say what is as in the record before, then what is not

It is made from a whole segment, or by its owner while it fills it, and can be made again at any time: so it
is not synced, has a checksum over all, and a reader that does not believe it reads the segment. Numbers have
seven bits a byte, lowest first; signed ones are folded.

What comes out of it are the calls that a scan of the segment would make, with `from_index` set in the sink:
then of a record only the head (without its checksum), the subject and, if it has flags, the header block are
there. Lost alternative: columns with fixed widths. They are five times as large, and the time goes into the
calls of the sink either way.
"""

from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport free, realloc
from libc.string cimport memcpy, memset

from shardbroker.arrays cimport reserve
from shardbroker.storage.codec cimport has_records
from shardbroker.storage.crc32c cimport crc32c
from shardbroker.storage.frame cimport (
    FRAME_HEAD_SIZE,
    RECORD_HEAD_SIZE,
    FrameHead,
    RecordHead,
    padded,
)
from shardbroker.storage.log_sink cimport LogSink

cdef enum:
    INDEX_MAGIC = 0x31494253  # b"SBI1"
    INDEX_VERSION = 1
    INDEX_HEAD_SIZE = sizeof(IndexHead)
    CRC_COVERS_FROM = 8

    ENTRY_FRAME = 0x80  # | kind
    # Of a record entry: each bit says that a field is not as expected, and follows.
    NEW_SUBJECT = 1  # the number of a subject; one not seen yet is followed by its size and bytes
    NEW_PAYLOAD_SIZE = 2
    NEW_HEADER_SIZE = 4
    NEW_SEQUENCE = 8  # as a difference to the next one
    NEW_FLAGS = 16  # flags and ttl; else both are 0. The header block follows if there is one
    NEW_POSITION = 32  # as a difference to the end of the record before

    FRAME_ENTRY_MAX = 1 + 9 * 10  # bytes
    RECORD_ENTRY_MAX = 1 + 10 * 10  # without subject and header block
    RECORD_SPACE = RECORD_HEAD_SIZE + (1 << 16)  # head and the longest subject


cdef class IndexWriter(LogSink):
    """A sink that makes an index of what it is told. `finish` gives its bytes."""

    def __init__(self, first_position):
        self.out = bytearray(1 << 16)
        self.subjects = {}
        self.position = first_position
        self.complete = True
        self.subject = 0xFFFFFFFF

    cdef int need(self, uint64_t size) except -1:
        """Room for `size` more bytes."""
        if self.used + size > <uint64_t> len(self.out):
            self.out += bytes(len(self.out) + size)
        return 0

    cdef void put_byte(self, uint8_t value) noexcept:
        (<uint8_t *> <char *> self.out)[self.used] = value
        self.used += 1

    cdef void put(self, uint64_t value) noexcept:
        while value >= 0x80:
            self.put_byte(<uint8_t> (value | 0x80))
            value >>= 7
        self.put_byte(<uint8_t> value)

    cdef void put_signed(self, int64_t value) noexcept:
        self.put((<uint64_t> value << 1) ^ <uint64_t> (value >> 63))

    cdef int put_bytes(self, const uint8_t *data, uint64_t size) except -1:
        self.need(size)
        memcpy(<uint8_t *> <char *> self.out + self.used, data, size)
        self.used += size
        return 0

    cdef int put_frame(self, const FrameHead *frame) except -1:
        self.need(FRAME_ENTRY_MAX)
        self.put_byte(ENTRY_FRAME | <uint8_t> frame.kind)
        self.put_signed(<int64_t> (frame.index - self.frame.index - 1))
        self.put(frame.count)
        self.put(frame.body_size)
        self.put_signed(<int64_t> (frame.first_sequence - self.sequence))
        self.put_signed(<int64_t> (frame.time_ns - self.frame.time_ns))
        self.put_signed(<int64_t> frame.term - <int64_t> self.frame.term)
        self.put(frame.durable_lag)
        self.frame = frame[0]
        return 0

    cdef int on_frame(self, const FrameHead *frame, const uint8_t *body, uint64_t position) except -1:
        self.put_frame(frame)
        self.put_signed(<int64_t> (position - self.position))
        self.put_bytes(body, frame.body_size)
        self.position = position + FRAME_HEAD_SIZE + frame.body_size
        return 0

    cdef int on_record(self, const FrameHead *frame, const RecordHead *record, uint64_t position) except -1:
        cdef const uint8_t *subject = <const uint8_t *> record + RECORD_HEAD_SIZE
        cdef uint8_t *entry
        cdef uint64_t place
        cdef bint is_new = False
        if frame.index != self.frame.index:
            self.put_frame(frame)
            self.position += FRAME_HEAD_SIZE
        self.need(RECORD_ENTRY_MAX)
        place = self.used
        self.put_byte(0)
        entry = <uint8_t *> <char *> self.out + place
        name = (<const char *> subject)[: record.subject_size]
        number = self.subjects.get(name)
        if number is None:
            number = len(self.subjects)
            self.subjects[name] = number
            is_new = True
        if <uint32_t> number != self.subject:
            entry[0] |= NEW_SUBJECT
            self.subject = number
            self.put(self.subject)
            if is_new:
                self.put(record.subject_size)
                self.put_bytes(subject, record.subject_size)
                self.need(RECORD_ENTRY_MAX)
                entry = <uint8_t *> <char *> self.out + place
        if record.payload_size != self.payload_size:
            entry[0] |= NEW_PAYLOAD_SIZE
            self.payload_size = record.payload_size
            self.put(record.payload_size)
        if record.header_size != self.header_size:
            entry[0] |= NEW_HEADER_SIZE
            self.header_size = record.header_size
            self.put(record.header_size)
        if record.sequence != self.sequence:
            entry[0] |= NEW_SEQUENCE
            self.put_signed(<int64_t> (record.sequence - self.sequence))
        if position != self.position:
            entry[0] |= NEW_POSITION
            self.put_signed(<int64_t> (position - self.position))
        self.put_signed(<int64_t> (record.time_ns - self.time_ns))
        if record.flags or record.ttl_s:
            entry[0] |= NEW_FLAGS
            self.put(record.flags)
            self.put(record.ttl_s)
            self.put_bytes(subject + record.subject_size, record.header_size)
        self.sequence = record.sequence + 1
        self.time_ns = record.time_ns
        self.position = position + record.size
        return 0

    cdef int on_lost(self, uint64_t first_sequence, uint64_t last_sequence, object reason) except -1:
        self.complete = False
        return 0

    def finish(self, log_id, base, end_position, first_index, last_index, last_sequence,
               first_previous_crc, last_crc, last_term):  # fmt: skip
        """The bytes of the index; None if something was lost: then only the segment itself can say what."""
        cdef IndexHead head
        if not self.complete:
            return None
        memset(&head, 0, INDEX_HEAD_SIZE)
        head.magic = INDEX_MAGIC
        head.version = INDEX_VERSION
        head.log_id = log_id
        head.base = base
        head.end_position = end_position
        head.first_index = first_index
        head.last_index = last_index
        head.last_sequence = last_sequence
        head.first_previous_crc = first_previous_crc
        head.last_crc = last_crc
        head.last_term = last_term
        head.body_size = self.used
        head.body_crc = crc32c(0, <char *> self.out, self.used)
        head.head_crc = crc32c(0, <uint8_t *> &head + CRC_COVERS_FROM, INDEX_HEAD_SIZE - CRC_COVERS_FROM)
        return (<char *> &head)[:INDEX_HEAD_SIZE] + bytes(memoryview(self.out)[: self.used])


cdef inline uint64_t take(Input *data) noexcept nogil:
    """The next number; an index that ends within one is broken."""
    cdef uint64_t value = 0
    cdef int shift = 0
    while data.at < data.end and shift < 64:
        value |= <uint64_t> (data.at[0] & 0x7F) << shift
        data.at += 1
        if not (data.at - 1)[0] & 0x80:
            return value
        shift += 7
    data.broken = True
    return 0


cdef inline int64_t take_signed(Input *data) noexcept nogil:
    cdef uint64_t value = take(data)
    return <int64_t> (value >> 1) ^ -<int64_t> (value & 1)


cdef inline bint has(Input *data, uint64_t size) noexcept nogil:
    """Whether that many bytes are left; if not, the index is broken."""
    if size > <uint64_t> (data.end - data.at):
        data.broken = True
    return not data.broken


cdef class IndexReader:
    """An index that was read. `good`: its checksums are right, so that it is what somebody wrote."""

    def __init__(self, bytes data not None):
        cdef const uint8_t *start = <const uint8_t *> <const char *> data
        self.data = data
        if len(data) < INDEX_HEAD_SIZE:
            return
        memcpy(&self.head, start, INDEX_HEAD_SIZE)
        self.good = (
            self.head.magic == INDEX_MAGIC
            and self.head.version == INDEX_VERSION
            and self.head.head_crc
            == crc32c(0, start + CRC_COVERS_FROM, INDEX_HEAD_SIZE - CRC_COVERS_FROM)
            and self.head.body_size == <uint64_t> len(data) - INDEX_HEAD_SIZE
            and self.head.body_crc == crc32c(0, start + INDEX_HEAD_SIZE, self.head.body_size)
        )

    cdef bint fits(self, const Chain *chain, uint64_t base, uint64_t end_position) noexcept:
        """Whether it is the index of the segment that comes next in the chain."""
        return (
            self.good
            and self.head.log_id == chain.log_id
            and self.head.base == base
            and self.head.end_position == end_position
            and self.head.last_term >= chain.last_term
            and (
                not chain.started
                or (
                    self.head.first_index == chain.last_index + 1
                    and self.head.first_previous_crc == chain.last_crc
                )
            )
        )

    cdef int replay(self, LogSink sink) except -1:
        """Make the calls of a scan. An index with right checksums that makes no sense: ValueError."""
        cdef Replay state
        memset(&state, 0, sizeof(Replay))
        state.data.at = <const uint8_t *> <const char *> self.data + INDEX_HEAD_SIZE
        state.data.end = state.data.at + self.head.body_size
        state.position = self.head.base
        state.frame.log_id = state.frame.group_id = self.head.log_id
        try:
            sink.from_index = True
            self.reserve_space(&state, 0)
            while state.data.at < state.data.end and not state.data.broken:
                if state.data.at[0] & ENTRY_FRAME:
                    replay_frame(sink, &state)
                else:
                    self.replay_record(sink, &state)
        finally:
            sink.from_index = False
            free(state.space)
            free(state.subjects)
        if state.data.broken:
            raise ValueError("the index of a segment makes no sense")
        return 0

    cdef int reserve_space(self, Replay *state, uint64_t header_size) except -1:
        """Room for a record's head, the longest subject and a header block."""
        cdef uint64_t size = RECORD_SPACE + header_size
        cdef uint8_t *larger
        if size > state.space_size:
            larger = <uint8_t *> realloc(state.space, size)
            if larger == NULL:
                raise MemoryError("no memory for a record of an index")
            # Where no header block is kept there are zeros, not somebody else's.
            memset(larger + state.space_size, 0, size - state.space_size)
            state.space = larger
            state.space_size = size
        return 0

    cdef int new_subject(self, Replay *state, uint64_t number) except -1:
        """The subject of the record from here on; its bytes follow if it was not seen yet."""
        cdef uint64_t size
        cdef void *larger
        cdef Subject *subject
        if number == state.subject_count:
            larger = reserve(state.subjects, state.subject_count, 1, &state.subject_room, sizeof(Subject))
            if larger == NULL:
                raise MemoryError("no memory for the subjects of an index")
            state.subjects = <Subject *> larger
            size = take(&state.data)
            if size > 0xFFFF or not has(&state.data, size):
                state.data.broken = True
                return 0
            state.subjects[number].bytes = state.data.at
            state.subjects[number].size = <uint16_t> size
            state.subject_count += 1
            state.data.at += size
        elif number > state.subject_count:
            state.data.broken = True
            return 0
        subject = &state.subjects[number]
        memcpy(state.space + RECORD_HEAD_SIZE, subject.bytes, subject.size)
        (<RecordHead *> state.space).subject_size = subject.size
        return 0

    cdef int replay_record(self, LogSink sink, Replay *state) except -1:
        """One record entry."""
        cdef Input *data = &state.data
        cdef uint8_t differs = data.at[0]
        cdef RecordHead *record = <RecordHead *> state.space
        data.at += 1
        if not differs:
            # By far the most: only the time is new.
            state.time_ns += take_signed(data)
            record.sequence = state.sequence
            record.flags = 0
            record.ttl_s = 0
        else:
            if differs & NEW_SUBJECT:
                self.new_subject(state, take(data))
            if differs & NEW_PAYLOAD_SIZE:
                record.payload_size = <uint32_t> take(data)
            if differs & NEW_HEADER_SIZE:
                record.header_size = <uint32_t> take(data)
                if record.header_size > self.head.end_position - self.head.base:
                    data.broken = True
                    return 0
                self.reserve_space(state, record.header_size)
                record = <RecordHead *> state.space
            if differs & NEW_SEQUENCE:
                state.sequence += take_signed(data)
            if differs & NEW_POSITION:
                state.position += take_signed(data)
            state.time_ns += take_signed(data)
            record.sequence = state.sequence
            record.flags = 0
            record.ttl_s = 0
            if differs & NEW_FLAGS:
                record.flags = <uint16_t> take(data)
                record.ttl_s = <uint32_t> take(data)
                if not has(data, record.header_size):
                    return 0
                memcpy(state.space + RECORD_HEAD_SIZE + record.subject_size, data.at, record.header_size)
                data.at += record.header_size
        if data.broken:
            return 0
        record.time_ns = state.time_ns
        record.size = <uint32_t> padded(
            RECORD_HEAD_SIZE + <uint64_t> record.subject_size + record.header_size + record.payload_size
        )
        sink.on_record(&state.frame, record, state.position)
        if differs & NEW_FLAGS:
            memset(state.space + RECORD_HEAD_SIZE + record.subject_size, 0, record.header_size)
        state.sequence += 1
        state.position += record.size
        return 0


cdef int replay_frame(LogSink sink, Replay *state) except -1:
    """One frame entry."""
    cdef Input *data = &state.data
    cdef FrameHead *frame = &state.frame
    frame.kind = data.at[0] & ~ENTRY_FRAME
    data.at += 1
    frame.index += 1 + take_signed(data)
    frame.count = <uint16_t> take(data)
    frame.body_size = <uint32_t> take(data)
    frame.first_sequence = state.sequence + take_signed(data)
    frame.time_ns += take_signed(data)
    frame.term += <uint32_t> take_signed(data)
    frame.durable_lag = <uint32_t> take(data)
    if has_records(frame.kind):
        state.position += FRAME_HEAD_SIZE
        return 0
    state.position += take_signed(data)
    if has(data, frame.body_size):
        sink.on_frame(frame, data.at, state.position)
        data.at += frame.body_size
        state.position += FRAME_HEAD_SIZE + <uint64_t> frame.body_size
    return 0
