"""Messages of a stream on their way to receivers: read ahead from the log, and sent with an ack subject.

Consumers mostly read a stream from one end to the other, several of them at about the same place. So the log
is read in pieces (windows) which all consumers of the worker share; a record is checked when it is taken from
one. A message goes out as one text: `subject reply sizes`, headers and payload, routed by the receiver's
subject while it shows its own.
"""

from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.stdio cimport snprintf
from libc.stdlib cimport free, realloc
from libc.string cimport memcpy

from shardbroker.digits cimport write_size_line
from shardbroker.jetstream.ack_tokens cimport write_ack_reply
from shardbroker.jetstream.consumer cimport AckOutcome, Delivery
from shardbroker.jetstream.message_table cimport MessageEntry
from shardbroker.jetstream.stream_state cimport SIZE_MASK, SegmentInfo
from shardbroker.routing.router cimport PublishView
from shardbroker.storage.codec cimport record_is_good
from shardbroker.storage.frame cimport RECORD_HEAD_SIZE, RecordHead, padded
from shardbroker.workers.hosted cimport Hosted
from shardbroker.workers.hosted_consumer cimport HostedConsumer
from shardbroker.workers.stream_host cimport StreamHost

from shardbroker.errors import ColdRead
cdef enum:
    AHEAD_SIZE = 128 << 10  # bytes that are read at once
    HEAD_ROOM = 256  # bytes of sizes, a pin and Nats-Msg-Size that are added to a message


cdef class ConsumerSends(ConsumerService):
    """`host` reads and publishes."""

    def __init__(self, StreamHost host not None, log):
        self.host = host
        self.log = log

    def __dealloc__(self):
        cdef int i
        for i in range(WINDOWS):
            free(self.windows[i].data)
        free(self.scratch)

    # --- reading ----------------------------------------------------------------------------------------

    cdef const RecordHead *record_of(self, Hosted hosted, uint64_t sequence) noexcept:
        """The record of a message, valid until the next call. NULL: none, or not yet (`is_cold`)."""
        hosted.reader.patient = False
        self.is_cold = False
        try:
            return self.read_ahead(hosted, sequence)
        except ColdRead:
            self.is_cold = True
        except Exception as error:
            self.log.error(f"JetStream: stream {hosted.stream.name.decode()}: {error}")
        finally:
            hosted.reader.patient = True
        return NULL

    cdef const RecordHead *read_ahead(self, Hosted hosted, uint64_t sequence) except? NULL:
        cdef MessageEntry *entry = hosted.stream.state.messages.get(sequence)
        cdef SegmentInfo *segment
        cdef Window *window = NULL
        cdef Window *one
        cdef const RecordHead *head
        cdef uint64_t size, ahead, got
        cdef uint8_t *larger
        cdef int i
        if entry == NULL:
            return NULL
        self.uses += 1
        for i in range(WINDOWS):
            one = &self.windows[i]
            if one.owner == <void *> hosted and one.position <= entry.position < one.position + one.size:
                head = <const RecordHead *> (one.data + (entry.position - one.position))
                if (
                    record_is_good(head, one.position + one.size - entry.position)
                    and head.sequence == sequence
                ):
                    one.used = self.uses
                    return head
                window = one  # it ends within the record: read on from here
            if window == NULL or (one.used < window.used and window.owner != <void *> hosted):
                window = one
        segment = hosted.stream.state.segment_of(entry.position)
        size = padded((entry.size & SIZE_MASK) + RECORD_HEAD_SIZE - 16)
        ahead = 0
        if segment != NULL and segment.end > entry.position:
            ahead = min(segment.end - entry.position, <uint64_t> AHEAD_SIZE)
        if ahead <= size:
            return hosted.reader.record(segment.base if segment != NULL else 0, entry.position, size)
        try:
            if ahead > hosted.reader.buffer_size:
                hosted.reader.resize(ahead)
            got = hosted.reader.read_at(segment.base, entry.position, ahead)
        except ColdRead:
            got = 0
        if got < size:
            return hosted.reader.record(segment.base, entry.position, size)
        if window.capacity < got:
            larger = <uint8_t *> realloc(window.data, got)
            if larger == NULL:
                return hosted.reader.record(segment.base, entry.position, size)
            window.data = larger
            window.capacity = got
        memcpy(window.data, hosted.reader.buffer, got)
        window.owner = <void *> hosted
        window.position = entry.position
        window.size = got
        window.used = self.uses
        head = <const RecordHead *> window.data
        if record_is_good(head, got) and head.sequence == sequence:
            return head
        return hosted.reader.record(segment.base, entry.position, size)

    cdef void forget_windows(self, Hosted hosted) noexcept:
        """What was read of a log may not be true any more."""
        cdef int i
        for i in range(WINDOWS):
            if self.windows[i].owner == <void *> hosted:
                self.windows[i].owner = NULL
                self.windows[i].size = self.windows[i].used = 0

    # --- sending ----------------------------------------------------------------------------------------

    cdef uint64_t write_ack_subject(
        self, HostedConsumer one, const Delivery *delivery, const RecordHead *record
    ) noexcept:
        """Prepare the reply subject of a delivery; the bytes that the message is charged with (max_bytes)."""
        self.ack_size = write_ack_reply(
            self.ack_subject,
            <const uint8_t *> one.ack_prefix,
            <uint32_t> len(one.ack_prefix),
            delivery.deliveries,
            delivery.sequence,
            delivery.consumer_sequence,
            record.time_ns,
            delivery.pending,
        )
        return <uint64_t> record.subject_size + self.ack_size + record.header_size + (
            0 if one.headers_only else record.payload_size
        )

    cdef uint32_t write_added(
        self, HostedConsumer one, uint32_t payload_size, const uint8_t *pin, uint32_t pin_size, uint8_t *place
    ) noexcept:
        """Write the headers that the consumer adds to a record: at most HEAD_ROOM bytes; how many."""
        cdef uint32_t size = 0
        if one.headers_only:
            size = <uint32_t> snprintf(
                <char *> place, 64, b"Nats-Msg-Size: %u\r\n", <unsigned int> payload_size
            )
        if pin_size:
            size += <uint32_t> snprintf(
                <char *> place + size, 128, b"Nats-Pin-Id: %.*s\r\n", <int> pin_size, <const char *> pin
            )
        return size

    cdef int send_message(
        self, HostedConsumer one, const RecordHead *record, const uint8_t *to, uint32_t to_size,
        const uint8_t *pin, uint32_t pin_size,
    ) noexcept:
        """Send a record with the prepared ack subject; 0: nobody takes it. `pin`: a header value to add."""
        cdef const uint8_t *text = <const uint8_t *> record + RECORD_HEAD_SIZE
        cdef const uint8_t *headers = text + record.subject_size
        cdef uint32_t header_size = record.header_size, payload_size = record.payload_size, added_size = 0
        cdef uint8_t[HEAD_ROOM] added
        cdef uint64_t need = record.size + self.ack_size + HEAD_ROOM
        cdef PublishView view
        cdef uint8_t *place
        cdef uint8_t *larger
        if need > self.scratch_size:
            larger = <uint8_t *> realloc(self.scratch, need + (need >> 1))
            if larger == NULL:
                return 0
            self.scratch = larger
            self.scratch_size = need + (need >> 1)
        if one.headers_only or pin_size:
            added_size = self.write_added(one, payload_size, pin, pin_size, added)
        if one.headers_only:
            payload_size = 0
        if added_size:
            header_size = (header_size if header_size else 12) + added_size
        place = self.scratch
        memcpy(place, text, record.subject_size)
        place += record.subject_size
        place[0] = 32
        view.reply = place + 1
        view.reply_size = self.ack_size
        memcpy(place + 1, self.ack_subject, self.ack_size)
        place += 1 + self.ack_size
        place[0] = 32
        place = write_size_line(place + 1, header_size, header_size + payload_size)
        view.payload = place
        if added_size:
            if record.header_size:
                memcpy(place, headers, record.header_size - 2)
                place += record.header_size - 2
            else:
                memcpy(place, b"NATS/1.0\r\n", 10)
                place += 10
            memcpy(place, added, added_size)
            memcpy(place + added_size, b"\r\n", 2)
            place += added_size + 2
            memcpy(place, headers + record.header_size, payload_size)
            place += payload_size
        else:
            memcpy(place, headers, header_size + payload_size)
            place += header_size + payload_size
        memcpy(place, b"\r\n", 2)
        view.subject = to
        view.subject_size = to_size
        view.tail = self.scratch
        view.tail_size = place + 2 - self.scratch
        view.shown_size = record.subject_size
        view.payload_size = header_size + payload_size
        view.header_size = <int> header_size if header_size else -1
        view.account = one.hosted.account
        return self.host.router.publish_shown(&view)

    cdef bint skip(self, HostedConsumer one, const Delivery *delivery, uint64_t wall_ns) noexcept:
        """A message that cannot be read back counts as delivered and acknowledged. False: no memory left."""
        cdef AckOutcome outcome
        if one.consumer.mark_delivered(delivery, wall_ns) < 0:
            return False
        one.consumer.ack(delivery.sequence, delivery.consumer_sequence, &outcome)
        return True
