"""Reading messages of this worker's streams back, and answering direct gets from them.

The two usual forms of a direct get, by sequence and last of a subject, are answered here without a Python
object; all others in direct_get.py.
"""

import os

from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.string cimport memcmp, memcpy

from shardbroker.digits cimport write_size_line
from shardbroker.jetstream.direct_reply cimport DIRECT_HEAD_EXTRA, write_direct_head
from shardbroker.jetstream.message_table cimport MessageEntry
from shardbroker.jetstream.stream cimport Stream
from shardbroker.jetstream.stream_state cimport SIZE_MASK, SegmentInfo
from shardbroker.jetstream.subject_table cimport SubjectEntry
from shardbroker.routing.router cimport PublishView
from shardbroker.storage.frame cimport RECORD_HEAD_SIZE, RecordHead, padded
from shardbroker.workers.hosted cimport Hosted

from shardbroker.errors import StorageError


cdef class StreamReads(ServiceRequests):
    """Finds records and sends them."""

    cdef const RecordHead *find_record(self, Hosted hosted, uint64_t sequence) except? NULL:
        """The record of a message, valid until the next call; NULL: there is none. Raises StorageError."""
        cdef MessageEntry *entry = hosted.stream.state.messages.get(sequence)
        cdef SegmentInfo *segment
        if entry == NULL:
            return NULL
        segment = hosted.stream.state.segment_of(entry.position)
        return hosted.reader.record(
            segment.base if segment != NULL else 0,
            entry.position,
            padded((entry.size & SIZE_MASK) + RECORD_HEAD_SIZE - 16),
        )

    cdef bint take_direct(self, Hosted hosted, PublishView *view) noexcept:
        """Answer `{"seq":N}`, or the last of the subject in the request's subject; False: not that form."""
        cdef const uint8_t *text = view.payload
        cdef uint32_t at, size = view.payload_size, prefix
        cdef uint64_t sequence = 0
        cdef SubjectEntry *subject
        cdef const RecordHead *record
        if view.reply_size == 0 or view.header_size > 0:
            return False
        # $JS.API.DIRECT.GET. and the name, this stream's or that of the one it mirrors, and a dot.
        prefix = 20
        while prefix < view.subject_size and view.subject[prefix - 1] != 46:
            prefix += 1
        if size == 0:
            if view.subject_size <= prefix:
                return False
            subject = hosted.stream.state.subjects.find(view.subject + prefix, view.subject_size - prefix)
            if subject == NULL or subject.count == 0:
                return False
            sequence = subject.last
        else:
            if view.subject_size > prefix or size < 9 or memcmp(text, b'{"seq":', 7) or text[size - 1] != 125:
                return False
            at = 7
            while at < size - 1 and text[at] == 32:
                at += 1
            if at == size - 1 or size - at > 19:
                return False
            while at < size - 1:
                if text[at] < 48 or text[at] > 57:
                    return False
                sequence = sequence * 10 + text[at] - 48
                at += 1
        hosted.reader.patient = False
        try:
            record = self.find_record(hosted, sequence)
        except BaseException:
            return False  # told by the way that all other requests go
        finally:
            hosted.reader.patient = True
        if record == NULL:
            return False
        self.send_record(hosted, view, record)
        return True

    cdef void send_record(self, Hosted hosted, PublishView *view, const RecordHead *record) noexcept:
        """The answer of a direct get."""
        cdef uint64_t need = DIRECT_HEAD_EXTRA + record.size + len(hosted.stream.name)
        cdef uint8_t *place = self.room(64 + need)
        cdef uint8_t *block
        cdef uint32_t block_size, digits
        cdef PublishView answer
        if place == NULL:
            return
        # The head's size is only known when it is written: write it behind room for the sizes.
        block = place + 40
        block_size = write_direct_head(
            block, <const uint8_t *> hosted.stream.name, <uint32_t> len(hosted.stream.name), record
        )
        memcpy(
            block + block_size,
            <const uint8_t *> record + RECORD_HEAD_SIZE + record.subject_size + record.header_size,
            record.payload_size,
        )
        answer.payload_size = block_size + record.payload_size
        memcpy(block + answer.payload_size, b"\r\n", 2)
        digits = <uint32_t> (write_size_line(place, block_size, answer.payload_size) - place)
        memcpy(block - digits, place, digits)
        answer.subject = view.reply
        answer.subject_size = view.reply_size
        answer.reply_size = 0
        answer.reply = block
        answer.tail = block - digits
        answer.tail_size = digits + answer.payload_size + 2
        answer.payload = block
        answer.header_size = <int> block_size
        answer.account = view.account
        self.router.publish_own(&answer)

    def message(self, Hosted hosted, uint64_t sequence):
        """(subject, block, payload, time ns) of a message, or None. Raises StorageError."""
        cdef const RecordHead *record = self.find_record(hosted, sequence)
        cdef const uint8_t *at
        if record == NULL:
            return None
        at = <const uint8_t *> record + RECORD_HEAD_SIZE
        return (
            at[: record.subject_size],
            (at + record.subject_size)[: record.header_size],
            (at + record.subject_size + record.header_size)[: record.payload_size],
            record.time_ns,
        )

    def find(self, Hosted hosted, uint64_t sequence, bytes last_on, bytes next_on, uint64_t start_ns):
        """The sequence that a get names (spec 02): 0 when there is no such message."""
        cdef Stream stream = hosted.stream
        if last_on:
            return stream.state.last_on(last_on, <uint32_t> len(last_on))
        if start_ns:
            sequence = stream.state.messages.first_since(start_ns)
            # The table's times are exact to the millisecond only.
            while (
                sequence <= stream.state.messages.last
                and self.find_record(hosted, sequence).time_ns < start_ns
            ):
                sequence = stream.state.messages.next_live(sequence + 1)
            if sequence > stream.state.messages.last:
                return 0
        if next_on or start_ns:
            return stream.state.next_on(sequence, next_on, <uint32_t> len(next_on))
        return sequence

    def position_of(self, Hosted hosted, uint64_t sequence):
        """(segment base, log position, record size, subject size) of a message, or None."""
        cdef const RecordHead *record = self.find_record(hosted, sequence)
        cdef MessageEntry *entry
        cdef SegmentInfo *segment
        if record == NULL:
            return None
        entry = hosted.stream.state.messages.get(sequence)
        segment = hosted.stream.state.segment_of(entry.position)
        return segment.base if segment != NULL else 0, entry.position, record.size, record.subject_size

    def first_time_ns(self, Hosted hosted):
        """Exact time of the first message; 0 when there is none."""
        cdef Stream stream = hosted.stream
        cdef const RecordHead *record
        if stream.state.messages.count == 0:
            return 0
        if stream.state.first_time_ns == 0:
            try:
                record = self.find_record(hosted, stream.state.messages.first)
            except StorageError:
                return stream.state.messages.time_of(stream.state.messages.first)
            stream.state.first_time_ns = record.time_ns
        return stream.state.first_time_ns

    def erase_memory(self, Hosted hosted, uint64_t position, uint64_t count):
        """Overwrite a removed message of a memory stream."""
        os.pwrite(hosted.memory_fd, bytes(count), position)
