"""Direct gets that are more than one message by sequence or last of a subject (those are answered in
stream_host.pyx): batches, several subjects at once, starts by time, and all that is refused.

Answers are messages with a status or with the stored headers and ours behind them. Source: spec page 03
section 5; compared with nats-server by tests/conformance.
"""

from typing import TYPE_CHECKING

from shardbroker.errors import ColdRead, StorageError
from shardbroker.jetstream import api_requests, header_block
from shardbroker.jetstream.api_requests import DirectGetRefused, MessageGetRequest
from shardbroker.jetstream.go_time import format_time

if TYPE_CHECKING:
    from shardbroker.workers.jetstream import JetStream

#: Subjects that multi_last may match, and bytes that one answer may have: nats-server's.
_SUBJECTS_MAX = 1024
_BYTES_MAX = 64 << 20


def answer_direct(
    js: "JetStream", hosted, tokens: tuple[str, ...], account: int, reply: bytes, block: bytes, payload: bytes
) -> None:
    """Answer one request on the stream's own direct get subjects."""
    try:
        level = header_block.get(block, b"Nats-Required-Api-Level") if block else None
        if level is not None and api_requests.is_level_too_high(level):
            raise DirectGetRefused("412 Required Api Level")
        if len(tokens) > 1:
            wish = api_requests.read_direct_get_of_subject(tokens[1], payload)
        else:
            wish = api_requests.read_direct_get(payload)
        _Answer(js, hosted, account, reply, wish).run()
    except DirectGetRefused as refused:
        js.host.send(account, reply, b"", b"NATS/1.0 " + refused.status.encode() + b"\r\n\r\n")


class _Answer:
    """One request's answers."""

    def __init__(self, js: "JetStream", hosted, account: int, reply: bytes, wish: MessageGetRequest):
        self._js = js
        self._hosted = hosted
        self._account = account
        self._reply = reply
        self._wish = wish
        self._state = hosted.stream.state

    def run(self) -> None:
        wish = self._wish
        if wish.multi_last:
            self._several()
        elif wish.batch:
            self._batch()
        else:
            self._single()

    def _single(self) -> None:
        wish = self._wish
        sequence = self._js.host.find(
            self._hosted,
            wish.seq,
            wish.last_by_subj.encode(),
            wish.next_by_subj.encode(),
            wish.start_time or 0,
        )
        message = self._message(sequence) if sequence else None
        if message is None:
            raise DirectGetRefused("404 Message Not Found")
        if wish.no_hdr:
            self._js.host.send(self._account, self._reply, message[2])
        else:
            self._send(sequence, message, ())

    def _batch(self) -> None:
        """Messages in order of sequence; after each one stands how many more there are."""
        wish = self._wish
        sequence, subject = max(wish.seq, 1), wish.next_by_subj.encode()
        if wish.start_time:
            sequence = self._js.host.find(self._hosted, 0, b"", b"", wish.start_time)
        left = self._state.count_from(sequence, subject) if sequence else 0
        sequence = self._state.next_matching(sequence, subject) if sequence else 0
        if not sequence:
            raise DirectGetRefused("404 Message Not Found")
        self._stream(self._following(sequence, subject), wish.batch, left, 0, bare=wish.no_hdr)

    def _following(self, sequence: int, subject: bytes):
        while sequence:
            yield sequence
            sequence = self._state.next_matching(sequence + 1, subject)

    def _several(self) -> None:
        """The last message of each subject that matches, up to a sequence or time."""
        wish = self._wish
        last = self._state.messages.last
        up_to = wish.up_to_seq or last
        if wish.up_to_time is not None:
            first_later = self._js.host.find(self._hosted, 0, b"", b"", wish.up_to_time)
            up_to = first_later - 1 if first_later else last
        if up_to > last and self._hosted.stream.config.storage == "file":
            raise DirectGetRefused("404 No Results")  # so does nats-server; its memory streams answer
        found: set[int] = set()
        for subject in wish.multi_last:
            found.update(self._state.last_of_each(subject.encode(), min(up_to, last)))
            if len(found) > _SUBJECTS_MAX:
                raise DirectGetRefused("413 Too Many Results")
        found = {sequence for sequence in found if sequence >= wish.seq}
        if not found:
            raise DirectGetRefused("404 No Results")
        batch = wish.batch if wish.batch > 0 else len(found)
        self._stream(iter(sorted(found)), batch, len(found), up_to)

    def _stream(self, sequences, batch: int, left: int, up_to: int, bare: bool = False) -> None:
        """Send up to ``batch`` messages and the end; the one that reaches the limit of bytes is the last.

        ``bare``: payloads alone. Then the end says how many there were at the start, as nats-server's does.
        """
        self._hosted.reader.patient = True  # what was sent cannot be taken back, so there is no second try
        total = left
        sent, size, last = 0, 0, 0
        size_max = self._wish.max_bytes if self._wish.max_bytes > 0 else _BYTES_MAX
        for sequence in sequences:
            if sent >= batch or size >= size_max:
                break
            message = self._message(sequence)
            left -= 1
            if message is None:
                continue
            size += len(message[0]) + len(message[1]) + len(message[2])
            pairs = ((b"Nats-Num-Pending", b"%d" % left), (b"Nats-Last-Sequence", b"%d" % last))
            if bare:
                self._js.host.send(self._account, self._reply, message[2])
            else:
                self._send(sequence, message, pairs)
            sent, last = sent + 1, sequence
        pending = total if bare else left
        end = b"NATS/1.0 204 EOB\r\nNats-Num-Pending: %d\r\nNats-Last-Sequence: %d\r\n" % (pending, last)
        if up_to:
            end += b"Nats-UpTo-Sequence: %d\r\n" % up_to
        self._js.host.send(self._account, self._reply, b"", end + b"\r\n")

    def _message(self, sequence: int):
        try:
            return self._js.host.message(self._hosted, sequence)
        except ColdRead:
            raise
        except StorageError as error:
            self._js.log.error(f"JetStream: stream {self._hosted.stream.config.name}: {error}")
            return None

    def _send(self, sequence: int, message, pairs) -> None:
        subject, block, payload, time_ns = message
        shown = header_block.append(
            block or None,
            (
                (b"Nats-Stream", self._hosted.stream.name),
                (b"Nats-Subject", subject),
                (b"Nats-Sequence", b"%d" % sequence),
                (b"Nats-Time-Stamp", format_time(time_ns).encode()),
                *pairs,
            ),
        )
        self._js.host.send(self._account, self._reply, payload, shown)
