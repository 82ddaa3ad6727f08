"""Atomic batches: messages are kept in memory until the last one comes, and then all are stored or none.

Nothing of a batch has a sequence before its commit. Then every message goes through the checks of the stream,
which see the state before the batch and what the batch has changed so far (`Changes`). If all pass, they are
staged with sequences that follow one another, in frames that take effect with the last of them.

What one message may say is in batch_headers.py. Order of checks, texts and which refusals are told by an
advisory: nats-server 2.15.1, spec page 03 section 8.
"""

from collections import OrderedDict

from shardbroker.jetstream import api_errors, batch_headers, header_block
from shardbroker.jetstream.api_error import ApiError
from shardbroker.jetstream.fast_batch_reply import commit_body
from shardbroker.jetstream.js_limits import api_level
from shardbroker.jetstream.scheduled_message import purged_schedule

MESSAGES_MAX = 1000  # in one batch; nats-server the same, like the next three
OPEN_MAX = 50  # batches of one stream
OPEN_IN_SERVER_MAX = 1000
IDLE_NS = 10 * 1_000_000_000  # without a message a batch is abandoned
SIZE_MAX = 256 << 20  # bytes that all batches of a worker may hold in memory

MESSAGE_OVERHEAD = 200  # bytes of the objects that hold one message

_ERRORS = {
    batch_headers.SEQUENCE_MISSING: api_errors.ATOMIC_PUBLISH_MISSING_SEQ,
    batch_headers.INCOMPLETE: api_errors.ATOMIC_PUBLISH_INCOMPLETE_BATCH,
    batch_headers.ID_INVALID: api_errors.ATOMIC_PUBLISH_INVALID_BATCH_ID,
    batch_headers.TOO_LARGE: api_errors.ATOMIC_PUBLISH_TOO_LARGE_BATCH(size=MESSAGES_MAX),
    batch_headers.COMMIT_INVALID: api_errors.ATOMIC_PUBLISH_INVALID_BATCH_COMMIT,
}
_REASONS = {batch_headers.INCOMPLETE: "incomplete", batch_headers.TOO_LARGE: "large"}


class Changes:
    """What a batch has changed so far, for the checks of its next message."""

    def __init__(self) -> None:
        self.on_subject: dict[bytes, int] = {}  # messages written to each subject
        self.ids: set[bytes] = set()
        self.counters: dict[bytes, tuple[bytes, bytes]] = {}  # subject -> (header block, payload)
        self.messages = 0
        self.size = 0  # bytes, as the limits of the stream count them

    def add(self, stream, subject: bytes, block: bytes, payload: bytes) -> None:
        """One message has passed its checks."""
        self.on_subject[subject] = self.on_subject.get(subject, 0) + 1
        self.counters[subject] = block, payload
        self.messages += 1
        self.size += stream.accounted(len(subject), len(block), len(payload))
        message_id = header_block.get(block, header_block.MSG_ID)
        if message_id:
            self.ids.add(message_id)


class _Batch:
    """One open batch."""

    __slots__ = ("last_sequence", "messages", "size", "touched_ns")

    def __init__(self) -> None:
        self.messages: list[tuple[bytes, bytes, bytes]] = []  # (subject, header block, payload)
        self.last_sequence = 0  # within the batch
        self.size = 0  # bytes
        self.touched_ns = 0


class AtomicBatches:
    """The open batches of one stream. ``advise`` and ``shared`` are the owner's, see special_publish."""

    def __init__(self, stream_name: str, domain: str, shared, counters) -> None:
        self.is_on = False
        self.advise = None
        self.shared = shared
        self._counters = counters
        self._stream_name = stream_name
        self._domain = domain.encode()
        self._open: OrderedDict[bytes, _Batch] = OrderedDict()  # the one that waits longest first

    def __len__(self) -> int:
        return len(self._open)

    def publish(
        self, stream, subject: bytes, reply: bytes, block: bytes, payload: bytes, account: int, now_ns: int
    ) -> ApiError | None:
        """One message of a batch."""
        if not self.is_on:
            return api_errors.ATOMIC_PUBLISH_DISABLED
        try:
            headers = batch_headers.parse(block)
            batch = self._open.get(headers.batch_id)
            if batch is None:
                batch_headers.check_start(headers, MESSAGES_MAX)
                if len(self._open) >= OPEN_MAX or self.shared.atomic >= OPEN_IN_SERVER_MAX:
                    return api_errors.ATOMIC_PUBLISH_TOO_MANY_INFLIGHT
                batch = self._open[headers.batch_id] = _Batch()
                self.shared.atomic += 1
        except batch_headers.BatchHeaderError as error:
            return _ERRORS[error.err_code]
        batch.touched_ns = now_ns
        self._open.move_to_end(headers.batch_id)
        error = self._take(batch, headers, subject, block, payload)
        if error is not None:
            return error
        if not headers.is_commit:
            stream.stage_answer(account, reply, b"")
            return None
        self._drop(headers.batch_id)
        if headers.commit == batch_headers.COMMIT_WITHOUT_STORING:
            last_subject, last_block, last_payload = batch.messages[-1]
            batch.messages[-1] = last_subject, batch_headers.close_block(last_block), last_payload
        return self._commit(stream, headers.batch_id, batch.messages, reply, account, now_ns)

    def _take(
        self, batch: _Batch, headers: batch_headers.BatchHeaders, subject: bytes, block: bytes, payload: bytes
    ) -> ApiError | None:
        """Keep a message, if it has its place in the batch; otherwise the batch ends."""
        try:
            batch_headers.check_commit(headers)
            level = header_block.get(block, header_block.REQUIRED_API_LEVEL)
            if level:
                if not level.isdigit() or int(level[:9]) > api_level:
                    return self._abandon(headers.batch_id, "unsupported", api_errors.REQUIRED_API_LEVEL)
                block = header_block.remove(block, header_block.REQUIRED_API_LEVEL)
            batch_headers.check_place(headers, batch.last_sequence, MESSAGES_MAX)
        except batch_headers.BatchHeaderError as error:
            return self._abandon(headers.batch_id, _REASONS.get(error.err_code), _ERRORS[error.err_code])
        batch.last_sequence = headers.sequence
        if not headers.stores:
            return None
        size = len(subject) + len(block) + len(payload) + MESSAGE_OVERHEAD
        if self.shared.atomic_size + size > SIZE_MAX:
            return self._abandon(headers.batch_id, "large", api_errors.ATOMIC_PUBLISH_TOO_MANY_INFLIGHT)
        batch.messages.append((subject, block, payload))
        batch.size += size
        self.shared.atomic_size += size
        return None

    def _commit(
        self,
        stream,
        batch_id: bytes,
        messages: list[tuple[bytes, bytes, bytes]],
        reply: bytes,
        account: int,
        now_ns: int,
    ) -> ApiError | None:
        """Check all messages, then stage all."""
        changes = Changes()
        examined = []
        for subject, block, payload in messages:
            if header_block.get(block, header_block.EXPECTED_LAST_MSG_ID):
                name = header_block.EXPECTED_LAST_MSG_ID.decode()
                return api_errors.ATOMIC_PUBLISH_UNSUPPORTED_HEADER_BATCH(header=name)
            result = stream.examine(subject, block, payload, now_ns, changes)
            if isinstance(result, ApiError):
                return result
            changes.add(stream, result[0], result[1], result[2])
            examined.append(result)
        sequence = stream.store_batch(examined, now_ns)
        if self._counters.is_on:
            first = sequence - len(examined) + 1
            for number, (subject, block, payload, _, _) in enumerate(examined, first):
                self._counters.note(subject, number, block, payload)
        text = commit_body(self._stream_name.encode(), sequence, batch_id, len(messages), self._domain)
        stream.stage_answer(account, reply, text)
        for _, block, _, _, _ in examined:
            ended = purged_schedule(block)
            if ended is not None:
                stream.purge_subject(ended)
        return None

    def expire(self, now_ns: int) -> int:
        """Abandon what waits too long; when the next batch will have waited too long, 0 for never."""
        while self._open:
            batch_id, batch = next(iter(self._open.items()))
            if batch.touched_ns + IDLE_NS > now_ns:
                return batch.touched_ns + IDLE_NS
            self._abandon(batch_id, "timeout", None)
        return 0

    def drop_all(self) -> None:
        """Forget all batches without a word."""
        for batch_id in list(self._open):
            self._drop(batch_id)

    def _abandon(self, batch_id: bytes, reason: str | None, error: ApiError | None) -> ApiError | None:
        """End a batch that is not complete, with an advisory if there is a reason for one."""
        self._drop(batch_id)
        if reason is not None and self.advise is not None:
            name = batch_id.decode("utf-8", "replace")
            self.advise("BATCH_ABANDONED", {"stream": self._stream_name, "batch": name, "reason": reason})
        return error

    def _drop(self, batch_id: bytes) -> None:
        batch = self._open.pop(batch_id)
        self.shared.atomic -= 1
        self.shared.atomic_size -= batch.size
