"""What a consumer does, in as few words as possible: lists that are searched, nothing kept up to date.

The judge of shardbroker/jetstream/consumer.pyx. Nothing here is fast, and every number is worked out anew
from the messages, so that it can be compared with numbers that are kept.
"""

from dataclasses import dataclass, field


def subject_matches(pattern: str, subject: str) -> bool:
    """NATS wildcards."""
    wanted, given = pattern.split("."), subject.split(".")
    for number, token in enumerate(wanted):
        if token == ">":
            return len(given) > number
        if number >= len(given) or token not in ("*", given[number]):
            return False
    return len(wanted) == len(given)


@dataclass
class Rules:
    """Of the configuration: what matters here. 0: no limit."""

    filters: tuple[str, ...] = ()
    policy: str = "explicit"
    deliver: str = "all"
    start: int = 0
    ack_wait: int = 100
    backoff: tuple[int, ...] = ()
    max_deliver: int = 0
    max_ack_pending: int = 0
    dead_letter: bool = False

    @property
    def keeps_dead(self) -> bool:
        return self.dead_letter and self.policy != "none"


@dataclass
class Sent:
    """A message that was delivered and not acknowledged."""

    first: int  # consumer sequence of the first delivery
    deliveries: int
    deadline: int
    due: bool = False
    dead: bool = False  # then `deadline` is when it died


@dataclass
class ModelStream:
    """Subjects by sequence."""

    messages: dict[int, str] = field(default_factory=dict)
    last: int = 0

    def store(self, subject: str) -> None:
        self.last += 1
        self.messages[self.last] = subject

    @property
    def first(self) -> int:
        return min(self.messages, default=self.last + 1)


class ModelConsumer:
    """One consumer of a ModelStream."""

    def __init__(self, stream: ModelStream, rules: Rules) -> None:
        self.stream = stream
        self.rules = rules
        self.sent: dict[int, Sent] = {}
        self.queue: list[int] = []
        self.exhausted: set[int] = set()
        self.dead: list[tuple[int, bool, bytes]] = []  # sequence, by term, reason: in the order of tries
        self.events: list[tuple[str, int, int]] = []
        self.finished: list[int] = []
        self.chosen: list[int] = []
        self.chosen_end = 0
        self.next_number = 1
        self.floor_number = 0
        self.paused_until = 0
        self.position = max(self.start(), 1)
        self.floor = self.delivered = self.position - 1

    def matches(self, sequence: int) -> bool:
        filters = self.rules.filters
        return not filters or any(subject_matches(f, self.stream.messages[sequence]) for f in filters)

    def start(self) -> int:
        stream, deliver = self.stream, self.rules.deliver
        matching = [n for n in stream.messages if self.matches(n)]
        if deliver == "by_start_sequence":
            return max(self.rules.start, stream.first)
        if deliver == "new":
            return stream.last + 1
        if deliver == "last":
            last = stream.last if not self.rules.filters else max(matching, default=0)
            return min(max(last, stream.first), stream.last + 1)
        subjects = list(stream.messages.values())
        if deliver == "last_per_subject" and len(subjects) > len(set(subjects)):
            newest = {stream.messages[n]: n for n in sorted(matching)}
            self.chosen = sorted(newest.values())
            self.chosen_end = stream.last
            return min(self.chosen, default=stream.first)
        return stream.first

    # --- what is to come

    def to_come(self) -> list[int]:
        """Messages that were not delivered yet, in order."""
        return sorted(
            n
            for n in self.stream.messages
            if n >= self.position and (n in self.chosen if n <= self.chosen_end else self.matches(n))
        )

    def next(self, now: int) -> tuple[int, int, int, int] | str:
        """Deliver: (sequence, consumer sequence, deliveries, pending), or why nothing."""
        if now < self.paused_until:
            return "paused"
        while self.queue:
            sequence = self.queue[0]
            sent = self.sent[sequence]
            if self.rules.max_deliver and sent.deliveries >= self.rules.max_deliver:
                self.give_up(sequence, now)
                continue
            self.queue.pop(0)
            sent.deliveries += 1
            sent.due = False
            sent.deadline = now + self.wait(sent.deliveries)
            self.next_number += 1
            return sequence, self.next_number - 1, sent.deliveries, len(self.to_come())
        coming = self.to_come()
        if not coming:
            self.position = max(self.position, self.stream.last + 1)
            return "at the end"
        on_their_way = sum(not sent.dead for sent in self.sent.values())
        if self.rules.max_ack_pending and on_their_way >= self.rules.max_ack_pending:
            return "ack pending full"
        sequence = coming[0]
        self.position = sequence + 1
        self.delivered = sequence
        number = self.next_number
        self.next_number += 1
        if self.rules.policy == "none":
            self.floor, self.floor_number = sequence, number
            self.finished.append(sequence)
        else:
            self.sent[sequence] = Sent(number, 1, now + self.wait(1))
        return sequence, number, 1, len(coming) - 1

    def wait(self, deliveries: int) -> int:
        backoff = self.rules.backoff
        return backoff[min(deliveries, len(backoff)) - 1] if backoff else self.rules.ack_wait

    # --- what comes back

    def ack(self, sequence: int, number: int) -> tuple[bool, bool, bool]:
        """(answered, changed, answered later)."""
        if sequence == 0 or sequence >= self.position or self.rules.policy == "none":
            return False, False, False
        if self.rules.policy == "all":
            return True, self.ack_all(sequence, number), False
        if sequence in self.exhausted:
            self.exhausted.remove(sequence)
            self.finished.append(sequence)
            return True, True, False
        if sequence not in self.sent:
            return True, False, False
        if self.sent[sequence].dead:
            return True, False, True
        self.finished.append(sequence)
        self.drop(sequence)
        return True, True, False

    def term(self, sequence: int, number: int, now: int, reason: bytes) -> tuple[bool, bool, bool]:
        if not self.rules.keeps_dead or sequence not in self.sent:
            return self.ack(sequence, number)
        if self.sent[sequence].dead:
            return True, False, True
        self.bury(sequence, True, now, reason)
        if self.rules.policy == "all":
            self.ack_all(sequence, number)
        return True, True, True

    def ack_all(self, sequence: int, number: int) -> bool:
        if sequence <= self.floor or not 0 < number < self.next_number:
            return False
        alive = {n for n, sent in self.sent.items() if not sent.dead}
        for done in sorted(n for n in alive | self.exhausted if n <= sequence):
            self.finished.append(done)
            self.sent.pop(done, None)
            self.exhausted.discard(done)
        self.queue = [n for n in self.queue if n in self.sent]
        before_next = min((s.first for s in self.sent.values()), default=number + 1) - 1
        self.floor_number = max(self.floor_number, min(number, before_next))
        self.floor = max(self.floor, min(sequence, min(self.sent, default=sequence + 1) - 1))
        return True

    def nak(self, sequence: int, number: int, delay: int, now: int) -> bool:
        if not self.floor_number < number <= self.next_number or not self.is_on_its_way(sequence):
            return False
        is_last = 0 < self.rules.max_deliver <= self.sent[sequence].deliveries
        if self.rules.keeps_dead and is_last and not delay:
            self.give_up(sequence, now)
        elif delay:
            self.wait_until(sequence, now + delay)
        elif not self.sent[sequence].due:
            self.make_due(sequence)
        return True

    def progress(self, sequence: int, now: int) -> bool:
        if not self.is_on_its_way(sequence):
            return False
        if not self.sent[sequence].due:
            self.wait_until(sequence, now + self.wait(self.sent[sequence].deliveries))
        return True

    def due(self, now: int) -> None:
        waiting = {n: sent for n, sent in self.sent.items() if not sent.due and not sent.dead}
        over = sorted(n for n, sent in waiting.items() if sent.deadline <= now)
        for sequence in over:
            if self.rules.max_deliver and self.sent[sequence].deliveries >= self.rules.max_deliver:
                self.give_up(sequence, now)
            else:
                self.make_due(sequence)

    def is_on_its_way(self, sequence: int) -> bool:
        return sequence in self.sent and not self.sent[sequence].dead

    def undelivered(self, sequence: int) -> None:
        if self.is_on_its_way(sequence):
            sent = self.sent[sequence]
            sent.deliveries = max(sent.deliveries - 1, 1)
            self.queue = [sequence, *(n for n in self.queue if n != sequence)]
            sent.due = True

    def wait_until(self, sequence: int, deadline: int) -> None:
        self.queue = [n for n in self.queue if n != sequence]
        self.sent[sequence].due = False
        self.sent[sequence].deadline = deadline

    def make_due(self, sequence: int) -> None:
        self.queue.append(sequence)
        self.sent[sequence].due = True

    def give_up(self, sequence: int, now: int) -> None:
        self.events.append(("max_deliver", sequence, self.sent[sequence].deliveries))
        if self.rules.keeps_dead:
            self.bury(sequence, False, now, b"")
        else:
            self.exhaust(sequence)

    def exhaust(self, sequence: int) -> None:
        """Not pending any more; the floor stays before it."""
        self.exhausted.add(sequence)
        self.forget(sequence)

    def forget(self, sequence: int) -> int:
        """Not pending any more, for whatever reason; its first consumer sequence."""
        self.queue = [n for n in self.queue if n != sequence]
        self.dead = [one for one in self.dead if one[0] != sequence]
        return self.sent.pop(sequence).first

    def bury(self, sequence: int, by_term: bool, now: int, reason: bytes) -> None:
        self.wait_until(sequence, now)
        self.sent[sequence].dead = True
        self.dead.append((sequence, by_term, reason))

    def collected(self, sequence: int) -> bool:
        if sequence not in self.sent or not self.sent[sequence].dead:
            return False
        self.finished.append(sequence)
        self.drop(sequence)
        return True

    def change(self, rules: Rules) -> None:
        self.rules = rules
        for sequence, by_term, _ in [] if rules.keeps_dead else list(self.dead):
            if by_term:
                self.finished.append(sequence)
                self.drop(sequence)
            else:
                self.exhaust(sequence)

    def drop(self, sequence: int) -> None:
        """Done with. The floor moves when it was next to it, or nothing is pending any more."""
        number = self.forget(sequence)
        if not self.sent or number == self.floor_number + 1:
            self.move_floor()

    def move_floor(self) -> None:
        if self.sent:
            first = min(self.sent)
            self.floor = max(self.floor, first - 1)
            self.floor_number = max(self.floor_number, self.sent[first].first - 1)
        else:
            self.floor, self.floor_number = max(self.floor, self.delivered), self.next_number - 1

    # --- the stream

    def removed(self, sequence: int) -> None:
        """After a message went."""
        self.exhausted.discard(sequence)
        if sequence in self.sent:
            what = "dead letter gone" if self.sent[sequence].dead else "terminated"
            self.events.append((what, sequence, self.sent[sequence].deliveries))
            self.drop(sequence)

    def purged(self) -> None:
        self.position = max(self.position, self.stream.first)
        self.delivered = max(self.delivered, self.position - 1)
        passed = self.floor < self.stream.first - 1
        self.floor = max(self.floor, self.stream.first - 1)
        if passed or not self.sent:
            self.move_floor()

    def cleared(self) -> None:
        self.sent, self.queue, self.exhausted, self.chosen_end, self.dead = {}, [], set(), 0, []
        self.position = max(self.position, self.stream.last + 1)
        self.delivered = self.position - 1
        self.move_floor()

    def reset(self, sequence: int) -> None:
        self.sent, self.queue, self.exhausted, self.chosen_end, self.dead = {}, [], set(), 0, []
        self.position = max(sequence, 1)
        self.next_number, self.floor_number = 1, 0
        self.floor = self.delivered = self.position - 1

    def needs(self, sequence: int) -> bool:
        """Whether an interest stream has to keep a message for it."""
        if not self.matches(sequence):
            return False
        if sequence >= self.position:
            return sequence > self.chosen_end or sequence in self.chosen
        if self.rules.policy == "explicit":
            return sequence in self.sent or sequence in self.exhausted
        # A dead letter holds the floor below messages that are acknowledged.
        open = sequence in self.sent if self.dead else sequence > self.floor
        return open or sequence in self.exhausted
