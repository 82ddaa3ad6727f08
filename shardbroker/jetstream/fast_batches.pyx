"""Fast batches: messages that are stored as they come, with an ack for every so many.

The reply subject says everything (fast_batch_reply.py), so that the usual message costs one look into it, one
into a dict and the stream's checks. What a batch remembers is where it stands: the last message of it, the
last one that was acked, and the last sequence of the stream.

    acks      after every `flow` messages; those refused or lost count, once one is stored after them
    gaps      told at once. Without ``gap ok`` they end the batch, and so do messages that came before
    refusals  told as ``err`` with the message's place, and end the batch under the same rule
    the end   a PubAck; `count` says up to which message

Acks are owed behind what they tell of. When frames fail all batches end: their acks would promise too much.
Rules and texts are nats-server 2.15.1's, seen with it; spec page 03 section 9.
"""

from libc.stdint cimport uint64_t
from libc.string cimport memcmp

from shardbroker.jetstream import api_errors, fast_batch_reply, header_block
from shardbroker.jetstream.api_error import ApiError
from shardbroker.jetstream.js_limits import api_level

cdef enum:
    OPEN_MAX = 1000  # batches of one stream; nats-server the same, like the next two
    OPEN_IN_SERVER_MAX = 50_000
    BATCH_ID_SIZE_MAX = 64
    SEQUENCE_DIGITS_MAX = 18  # in the short way of reading; longer ones are read by fast_batch_reply

    # Operations, of fast_batch_reply.
    COMMIT = 2
    COMMIT_WITHOUT_STORING = 3
    PING = 4

    WRONG_LAST_ID = 10070  # found late in nats-server: told as for a message of its own

cdef uint64_t IDLE_NS = 10_000_000_000  # without a message a batch is forgotten

_ERRORS = {
    fast_batch_reply.INVALID_PATTERN: api_errors.BATCH_PUBLISH_INVALID_PATTERN,
    fast_batch_reply.INVALID_ID: api_errors.BATCH_PUBLISH_INVALID_BATCH_ID,
}


cdef class FastBatch:
    """One open batch."""

    cdef bytes batch_id
    cdef uint64_t wanted  # messages for each ack that the client asks for
    cdef uint64_t flow  # messages for each ack, now
    cdef bint gap_ok
    cdef uint64_t last  # place in the batch of the newest message
    cdef uint64_t acked  # the last place that was acked
    cdef uint64_t sequence  # of the stream, of the last message stored; 0: none
    cdef uint64_t touched_ns


cdef bint read_reply(const unsigned char *reply, Py_ssize_t size, Py_ssize_t *id_start, Py_ssize_t *id_end,
                     uint64_t *sequence, int *operation, bint *gap_ok) noexcept nogil:
    """Read `<prefix>.<batch>.<flow>.<gap>.<sequence>.<operation>.$FI` from its end; False: it is unusual."""
    cdef Py_ssize_t at = size - 6, end
    cdef uint64_t unit = 1
    if at < 12 or reply[at] != 46 or not 48 <= reply[at + 1] <= 52:
        return False
    operation[0] = reply[at + 1] - 48
    end = at
    at -= 1
    sequence[0] = 0
    while at > 0 and 48 <= reply[at] <= 57 and end - at <= SEQUENCE_DIGITS_MAX:
        sequence[0] += (reply[at] - 48) * unit
        unit *= 10
        at -= 1
    if at < 8 or reply[at] != 46 or sequence[0] < 2:
        return False
    if memcmp(reply + at - 3, b".ok", 3) == 0:
        gap_ok[0] = True
        at -= 3
    elif memcmp(reply + at - 5, b".fail", 5) == 0:
        gap_ok[0] = False
        at -= 5
    else:
        return False
    at -= 1
    while at > 0 and reply[at] != 46:
        at -= 1
    id_end[0] = at
    at -= 1
    while at >= 0 and reply[at] != 46:
        at -= 1
    id_start[0] = at + 1
    return at >= 0 and id_end[0] - at - 1 <= BATCH_ID_SIZE_MAX and operation[0] != 0


cdef class FastBatches:
    """The open batches of one stream. `shared` is the owner's, see special_publish."""

    cdef public bint is_on
    cdef public object shared
    cdef bytes stream_name
    cdef bytes domain
    cdef dict open  # id -> FastBatch

    def __init__(self, stream_name, domain, shared):
        self.shared = shared
        self.stream_name = stream_name.encode()
        self.domain = domain.encode()
        self.open = {}

    def __len__(self):
        return len(self.open)

    def publish(
        self, stream, bytes subject, bytes reply, bytes block, bytes payload, account, uint64_t now_ns
    ):
        """One message of a batch: None, or the ApiError to answer."""
        cdef FastBatch batch
        cdef Py_ssize_t id_start, id_end
        cdef uint64_t sequence
        cdef int operation
        cdef bint gap_ok
        if not self.is_on:
            return api_errors.BATCH_PUBLISH_DISABLED
        if read_reply(reply, len(reply), &id_start, &id_end, &sequence, &operation, &gap_ok):
            batch = self.open.get(reply[id_start:id_end])
            if batch is None:
                return api_errors.BATCH_PUBLISH_UNKNOWN_BATCH_ID
        else:
            try:
                read = fast_batch_reply.parse(reply)
            except fast_batch_reply.FastBatchError as error:
                return _ERRORS[error.err_code]
            batch = self.open.get(read.batch_id)
            if batch is None and not read.may_start:
                return api_errors.BATCH_PUBLISH_UNKNOWN_BATCH_ID
            sequence = read.sequence
            operation = read.operation
            gap_ok = read.gap_ok
        if block and header_block.get(block, header_block.REQUIRED_API_LEVEL):
            level = header_block.get(block, header_block.REQUIRED_API_LEVEL)
            if not level.isdigit() or int(level[:9]) > api_level:
                if batch is not None:
                    self.drop(batch)
                return api_errors.REQUIRED_API_LEVEL
            block = header_block.remove(block, header_block.REQUIRED_API_LEVEL)
        if batch is None:
            if len(self.open) >= OPEN_MAX or self.shared.fast >= OPEN_IN_SERVER_MAX:
                return api_errors.BATCH_PUBLISH_TOO_MANY_INFLIGHT
            batch = self.begin(read)
            if not read.is_commit:
                stream.stage_answer(account, reply, fast_batch_reply.ack_body(0, batch.flow))
        batch.touched_ns = now_ns
        if operation == PING:
            return self.ping(stream, batch, sequence, reply, account)
        return self.take(
            stream, batch, sequence, operation, gap_ok, subject, reply, block, payload, account, now_ns
        )

    cdef FastBatch begin(self, object read):
        cdef FastBatch batch = FastBatch()
        batch.batch_id = read.batch_id
        batch.wanted = read.flow
        batch.gap_ok = read.gap_ok
        self.open[batch.batch_id] = batch
        self.shared.fast += 1
        batch.flow = fast_batch_reply.first_flow(batch.wanted, len(self.open))
        return batch

    cdef object ping(self, object stream, FastBatch batch, uint64_t sequence, bytes reply, object account):
        """The client asks where the batch stands; `sequence` is the last message that it has sent."""
        if sequence > batch.last:
            self.answer(stream, account, reply, fast_batch_reply.gap_body(batch.last + 1, sequence + 1))
            if not batch.gap_ok:
                return self.finish(stream, batch, batch.last, reply, account)
            batch.last = sequence
            self.advance(batch)
        self.answer(stream, account, reply, fast_batch_reply.ack_body(batch.acked, batch.flow))
        return None

    cdef object take(
        self, object stream, FastBatch batch, uint64_t sequence, int operation, bint gap_ok,
        bytes subject, bytes reply, bytes block, bytes payload, object account, uint64_t now_ns,
    ):
        """A message of an open batch."""
        if sequence != batch.last + 1:
            self.answer(stream, account, reply, fast_batch_reply.gap_body(batch.last + 1, sequence))
            if not batch.gap_ok or sequence <= batch.last:
                return self.finish(stream, batch, batch.last, reply, account)
        if operation == COMMIT_WITHOUT_STORING:
            return self.finish(stream, batch, sequence - 1, reply, account)
        result = stream.offer(subject, block, payload, now_ns, True)
        if isinstance(result, ApiError):
            return self.refuse(stream, batch, sequence, operation == COMMIT, gap_ok, result, reply, account)
        if result:
            batch.sequence = result
        batch.last = sequence
        if operation == COMMIT:
            return self.finish(stream, batch, sequence, reply, account)
        if sequence >= batch.acked + batch.flow:
            self.advance(batch)
            self.answer(stream, account, reply, fast_batch_reply.ack_body(batch.acked, batch.flow))
        return None

    cdef object refuse(
        self, object stream, FastBatch batch, uint64_t sequence, bint is_commit, bint gap_ok, object error,
        bytes reply, object account,
    ):
        """A message was not stored. Whether that ends the batch its own reply says, not the first one's."""
        if error.err_code == WRONG_LAST_ID:
            batch.last = sequence
            if is_commit:
                self.drop(batch)
            return error
        if sequence == 1 and not gap_ok:
            self.drop(batch)
            return self.answer(stream, account, reply, stream.error_text(error))
        self.answer(stream, account, reply, fast_batch_reply.error_body(sequence, error))
        if is_commit or not gap_ok:
            return self.finish(stream, batch, sequence - 1, reply, account)
        batch.last = sequence
        return None

    cdef object finish(self, object stream, FastBatch batch, uint64_t count, bytes reply, object account):
        """The last answer of a batch."""
        self.drop(batch)
        text = fast_batch_reply.commit_body(
            self.stream_name, batch.sequence, batch.batch_id, count, self.domain
        )
        return self.answer(stream, account, reply, text)

    cdef object answer(self, object stream, object account, bytes reply, bytes text):
        """Streams without acks give these all the same: a batch cannot go on without them."""
        stream.stage_answer(account, reply, text, True)
        return None

    cdef int advance(self, FastBatch batch) except -1:
        """Move the acked place to the newest that is due, and the flow towards the batch's share."""
        if batch.last >= batch.acked + batch.flow:
            batch.acked += (batch.last - batch.acked) // batch.flow * batch.flow
            batch.flow = fast_batch_reply.next_flow(batch.flow, batch.wanted, len(self.open))
        return 0

    cdef int drop(self, FastBatch batch) except -1:
        del self.open[batch.batch_id]
        self.shared.fast -= 1
        return 0

    def expire(self, uint64_t now_ns):
        """Forget batches that wait too long, without a word; when to look again, 0 for never."""
        cdef FastBatch batch
        cdef uint64_t due = 0
        for batch in list(self.open.values()):
            if batch.touched_ns + IDLE_NS <= now_ns:
                self.drop(batch)
            elif due == 0 or batch.touched_ns + IDLE_NS < due:
                due = batch.touched_ns + IDLE_NS
        return due

    def drop_all(self):
        """Forget all batches."""
        for batch in list(self.open.values()):
            self.drop(batch)
