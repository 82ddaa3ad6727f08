"""What publishers were told, and what must therefore be true: the invariants of the simulation.

I1     what was acknowledged is there, with its bytes, after any recovery
I2     a sequence that was acknowledged names that message for ever
I4     no message id is stored twice; a duplicate hears the first sequence
order  one publisher's messages to one stream have rising sequences
once   one answer for each publish, unless its owner died meanwhile
trace  what was refused is not stored, unless its owner died
whole  a purge or an atomic batch is there as a whole or not at all
grows  what is durable stays so, as the log table tells it, unless it is cut off
"""

from dataclasses import dataclass, field

STORED = 1
ACK, DUPLICATE, TEXT, CALL = 1, 2, 3, 4


class Violation(AssertionError):
    """A promise was broken."""


def expect(good: bool, text: str) -> None:
    """An assertion that cannot be taken for a fault of the test."""
    if not good:
        raise Violation(text)


@dataclass
class Attempt:
    """One publish on its way. ``lives``: deaths of its owner before it."""

    log_id: int
    publisher: int
    number: int
    message_id: bytes
    subject: bytes
    payload: bytes
    lives: int
    is_first: bool
    answers: list[tuple[str, int]] = field(default_factory=list)
    given: int = 0  # the sequence it got in the owner, answered or not


@dataclass
class LogPromises:
    """Of one log."""

    records: dict[int, tuple[bytes, bytes]] = field(default_factory=dict)  # sequence -> subject, payload
    by_id: dict[bytes, int] = field(default_factory=dict)  # message id -> its sequence
    asked: dict[bytes, bytes] = field(default_factory=dict)  # payload -> message id
    purged_below: int = 0  # asked for: what is below may be gone
    purges: set[int] = field(default_factory=set)  # every bound asked for
    purge_done: int = 0  # and answered
    last_of_publisher: dict[int, tuple[int, int]] = field(default_factory=dict)  # -> number, sequence
    batches: list[list[bytes]] = field(default_factory=list)  # payloads of each
    deaths: int = 0
    durable: int = 0
    cuts: list[int] = field(default_factory=list)  # indexes behind which the log is being cut off


class Promises:
    """Hears of everything that publishers see."""

    def __init__(self):
        self.attempts: dict[bytes, Attempt] = {}
        self.logs: dict[int, LogPromises] = {}
        self.acks = self.errors = self.duplicates = self.recoveries = 0

    def log(self, log_id: int) -> LogPromises:
        return self.logs.setdefault(log_id, LogPromises())

    def owner_died(self, log_ids: list[int]) -> None:
        for log_id in log_ids:
            self.log(log_id).deaths += 1

    def power_lost(self) -> None:
        for log in self.logs.values():
            log.deaths += 1
            log.durable = 0

    # --- answers -----------------------------------------------------------------------------------------

    def answer(self, status: int, kind: int, reply: bytes, sequence: int, text: bytes) -> None:
        """An answer that left the broker."""
        attempt = self.attempts[reply]
        log = self.log(attempt.log_id)
        same_life = attempt.lives == log.deaths
        expect(not (same_life and attempt.answers), f"{reply!r} is answered twice: {attempt.answers}, {kind}")
        if status != STORED or (kind == TEXT and b'"error"' in text):
            attempt.answers.append(("error", 0))
            self.errors += 1
            return
        attempt.answers.append(("ack", sequence))
        if kind == DUPLICATE:
            self.duplicates += 1
            expect(bool(attempt.message_id), f"{reply!r} without an id is called a duplicate")
        self._promise(log, attempt, sequence)
        if kind == ACK:
            self.acks += 1
            self._check_order(log, attempt, sequence)

    def _promise(self, log: LogPromises, attempt: Attempt, sequence: int) -> None:
        what = (attempt.subject, attempt.payload)
        known = log.records.setdefault(sequence, what)
        expect(known == what, f"log {attempt.log_id}: sequence {sequence} is promised twice")
        if attempt.message_id:
            first = log.by_id.setdefault(attempt.message_id, sequence)
            if first < log.purged_below:
                log.by_id[attempt.message_id] = sequence  # its id may have gone with it
            else:
                expect(first == sequence, f"id {attempt.message_id!r} has sequences {first} and {sequence}")

    @staticmethod
    def _check_order(log: LogPromises, attempt: Attempt, sequence: int) -> None:
        if not attempt.is_first:
            return
        number, last = log.last_of_publisher.get(attempt.publisher, (-1, 0))
        if attempt.number > number:
            expect(sequence > last, f"message {attempt.number} got {sequence}, an earlier one {last}")
            log.last_of_publisher[attempt.publisher] = (attempt.number, sequence)
        elif attempt.number < number:
            expect(sequence < last, f"message {attempt.number} got {sequence}, a later one {last}")

    # --- what is stored ----------------------------------------------------------------------------------

    def durable(self, log_id: int, index: int) -> None:
        """The log table says that the log is durable up to this frame."""
        log = self.log(log_id)
        cut = bool(log.cuts) and index >= min(log.cuts)
        expect(cut or index >= log.durable, f"log {log_id}: durable falls from {log.durable} to {index}")
        log.durable = index

    def check_log(self, log_id: int, records: list, result: object) -> None:
        """What a scan found, at any time at which an owner begins."""
        self.recoveries += 1
        log = self.log(log_id)
        found: dict[int, object] = {}
        ids: dict[bytes, int] = {}
        for record in records:
            expect(record.sequence not in found, f"log {log_id}: {record.sequence} is there twice")
            found[record.sequence] = record
            expect(record.payload in log.asked, f"log {log_id}: {record.sequence} was never published")
            message_id = log.asked[record.payload]
            if message_id and record.sequence >= log.purged_below:
                expect(
                    ids.get(message_id, 0) < max(log.purged_below, 1),
                    f"log {log_id}: {message_id!r} is stored as {ids.get(message_id)} and {record.sequence}",
                )
                ids[message_id] = record.sequence
        for sequence, what in log.records.items():
            expect(result.last_sequence >= sequence, f"log {log_id}: {sequence} would be given again")
            if sequence >= log.purged_below:
                record = found.get(sequence)
                expect(record is not None, f"log {log_id}: {sequence} was acknowledged and is gone")
                same = (record.subject, record.payload) == what
                expect(same, f"log {log_id}: {sequence} is another message")
        for parts in log.batches:
            there = [payload for payload in parts if payload in {record.payload for record in records}]
            whole = len(there) == len(parts) or not there or log.purged_below > 0
            expect(whole, f"log {log_id}: {len(there)} of {len(parts)} of a batch are there")
        expect(not result.lost, f"log {log_id}: tells losses {result.lost}")

    def check_purges(self, log_id: int, table: object) -> None:
        """A purge is there as a whole or not at all, and one that was answered is there."""
        log = self.log(log_id)
        expect(table.first >= log.purge_done, f"log {log_id}: purged below {log.purge_done} and there again")
        promised = sorted(log.records)
        gone = max((sequence for sequence in promised if table.following(sequence) != sequence), default=0)
        there = [sequence for sequence in promised if table.following(sequence) == sequence]
        first = min(there, default=gone + 1)
        whole = gone == 0 or any(gone < bound <= first for bound in log.purges) or (not there and log.purges)
        expect(bool(whole), f"log {log_id}: {gone} is purged and {first} is not, bounds {sorted(log.purges)}")

    def check_at_rest(self, log_id: int, records: list) -> None:
        """Nothing is on its way: everybody has heard, and nothing refused is there."""
        log = self.log(log_id)
        stored = {record.payload for record in records}
        heard: dict[bytes, set[str]] = {}
        for reply, attempt in self.attempts.items():
            if attempt.log_id != log_id or attempt.lives != log.deaths:
                continue
            expect(bool(attempt.answers), f"log {log_id}: {reply!r} was never answered")
        for attempt in self.attempts.values():
            if attempt.log_id == log_id:
                old = attempt.lives != log.deaths
                heard.setdefault(attempt.payload, set()).update({"old"} if old else {attempt.answers[0][0]})
        for payload, words in heard.items():
            expect(words != {"error"} or payload not in stored, f"log {log_id}: a refused message is stored")
