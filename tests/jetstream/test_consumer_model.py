"""Consumers against a model of lists: whatever happens, both stand at the same place, and nobody is stuck.

Hypothesis draws what happens to a stream with two consumers: messages come, go at a limit, are deleted and
purged; they are delivered, acknowledged, refused, delayed, terminated, forgotten; dead letters are tried and
collected; consumers are paused, reset, filtered otherwise and restarted from their notes. After each step
everything a consumer says of itself is compared, and what may be removed from an interest stream.

CONSUMER_SEQUENCES (default 2000) says how many sequences are tried: 200000 is the long run.
"""

import os

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from shardbroker.jetstream import consumer_notes, dead_entries
from shardbroker.jetstream.config_metadata import DEAD_LETTER_KEY
from shardbroker.jetstream.consumer import Consumer
from shardbroker.jetstream.consumer_config import ConsumerConfig
from shardbroker.jetstream.consumer_face import ConsumerFace
from tests.models.consumer_model import ModelConsumer, ModelStream, Rules

SEQUENCES = int(os.environ.get("CONSUMER_SEQUENCES", "2000"))
SUBJECTS = ["a.b", "a.c", "b.b", "c"]
FILTERS = st.sampled_from([(), ("a.b",), ("a.*",), ("a.b", "c"), ("a.>", "c"), ("none",), ("*",), (">",)])
RULES = st.builds(
    Rules,
    filters=FILTERS,
    policy=st.sampled_from(["explicit", "explicit", "explicit", "all", "none"]),
    deliver=st.sampled_from(["all", "all", "last", "new", "by_start_sequence", "last_per_subject"]),
    start=st.integers(1, 12),
    ack_wait=st.sampled_from([20, 100]),
    backoff=st.sampled_from([(), (), (10, 50), (50, 10, 10)]),
    max_deliver=st.sampled_from([0, 0, 1, 2, 3]),
    max_ack_pending=st.sampled_from([0, 1, 2, 5]),
    dead_letter=st.booleans(),
)
WHO = st.integers(0, 1)
NEAR = st.integers(-3, 6)  # around a message of interest


def config_of(rules: Rules) -> ConsumerConfig:
    return ConsumerConfig(
        deliver_policy=rules.deliver,
        opt_start_seq=rules.start if rules.deliver == "by_start_sequence" else 0,
        ack_policy=rules.policy,
        ack_wait=rules.ack_wait,
        backoff=list(rules.backoff) or None,
        max_deliver=rules.max_deliver or -1,
        max_ack_pending=rules.max_ack_pending or -1,
        filter_subjects=list(rules.filters) or None,
        metadata={DEAD_LETTER_KEY: "dead"} if rules.dead_letter else None,
    )


class ConsumersAndModel(RuleBasedStateMachine):
    """Two consumers of one stream, each beside its model."""

    @initialize(
        interest=st.booleans(),
        limit=st.sampled_from([0, 0, 8]),
        kept=st.sampled_from([0, 0, 1, 3]),
        subjects=st.lists(st.sampled_from(SUBJECTS), max_size=12),
        rules=st.tuples(RULES, RULES),
    )
    def begin(
        self, interest: bool, limit: int, kept: int, subjects: list[str], rules: tuple[Rules, ...]
    ) -> None:
        self.now = 1000
        self.limit, self.kept, self.interest = limit, kept, interest
        self.face = ConsumerFace(
            "interest" if interest else "limits", max_messages=limit or -1, max_per_subject=kept or -1
        )
        self.stream = ModelStream()
        self.models: list[ModelConsumer] = []
        self.consumers: list[Consumer] = []
        self.notes: list[list[bytes]] = []
        for subject in subjects:
            self.put(subject)
        self.face.consumers.removable()
        for number, one in enumerate(rules):
            self.models.append(ModelConsumer(self.stream, one))
            consumer = Consumer(str(number), config_of(one), self.face.state, 1, keeps_finished=interest)
            self.consumers.append(consumer)
            self.face.consumers.add(consumer)
            self.notes.append([consumer_notes.snapshot(consumer)])

    # --- the stream

    def put(self, subject: str) -> None:
        self.face.store(subject.encode(), self.now)
        self.stream.store(subject)
        gone = []
        if self.kept:
            same = sorted(n for n, s in self.stream.messages.items() if s == subject)
            gone += same[: -self.kept]
        if self.limit:
            rest = sorted(set(self.stream.messages) - set(gone))
            gone += rest[: -self.limit]
        self.forget(gone)

    def forget(self, gone: list[int]) -> None:
        for sequence in gone:
            del self.stream.messages[sequence]
            for model in self.models:
                model.removed(sequence)

    @rule(subject=st.sampled_from(SUBJECTS), count=st.integers(1, 4))
    def store(self, subject: str, count: int) -> None:
        before = self.stream.last
        for _ in range(count):
            self.put(subject)
        if self.interest:
            unwanted = range(before + 1, self.stream.last + 1)
            self.settle([n for n in unwanted if n in self.stream.messages and not self.wanted(n)])

    @rule(near=NEAR, count=st.integers(1, 3))
    def delete(self, near: int, count: int) -> None:
        start = max(self.stream.first + near, 1)
        self.face.delete(start, count)
        self.forget([n for n in range(start, start + count) if n in self.stream.messages])

    @rule(bound=st.integers(0, 6), keep=st.integers(0, 3), text=st.sampled_from(["", "", "a.b", "a.*"]))
    def purge(self, bound: int, keep: int, text: str) -> None:
        below = self.stream.first + bound if bound else 0
        keep = 0 if bound else keep
        self.face.purge(text.encode(), below, keep)
        whole = not text and not keep and (not below or below > self.stream.last)
        filters = Rules(filters=(text,) if text else ())
        probe = ModelConsumer(self.stream, filters)
        matching = sorted(n for n in self.stream.messages if probe.matches(n))
        gone = [n for n in matching if not below or n < below]
        gone = gone[: max(len(matching) - keep, 0)] if keep else gone
        if whole:
            self.stream.messages.clear()
            for model in self.models:
                model.cleared()
        else:
            self.forget(gone)
        for model in self.models if not text else ():
            model.purged()

    # --- deliveries and answers

    @rule(who=WHO, count=st.integers(1, 5))
    def deliver(self, who: int, count: int) -> None:
        for _ in range(count):
            got = self.face.next(self.consumers[who], self.now)
            assert got == self.models[who].next(self.now)

    def meant(self, who: int, pick: int, stale: int) -> tuple[int, int]:
        """A message that was sent, or something else: (sequence, consumer sequence)."""
        model = self.models[who]
        known = sorted({*model.sent, *model.exhausted})
        if not known or stale == 0:
            return max(model.position - 3 + pick, 0), max(model.next_number - 2 + pick, 0)
        sequence = known[pick % len(known)]
        sent = model.sent.get(sequence)
        return sequence, sent.first if sent and stale > 1 else model.next_number - 1

    @rule(
        who=WHO, pick=st.integers(0, 7), stale=st.integers(0, 4), word=st.sampled_from(["ack", "ack", "term"])
    )
    def ack(self, who: int, pick: int, stale: int, word: str) -> None:
        sequence, number = self.meant(who, pick, stale)
        model = self.models[who]
        reason = b"because" if pick % 2 else b""
        if word == "term":
            expected = model.term(sequence, number, self.now, reason)
        else:
            expected = model.ack(sequence, number)
        if model.rules.policy == "none" and 0 < sequence < model.position:
            expected = (self.interest, False, False)
        got = self.face.answer(self.consumers[who], word, sequence, number, self.now, 0, reason)
        assert (*got[:2], got[5]) == expected

    @rule(who=WHO, pick=st.integers(0, 7), stale=st.integers(0, 4), delay=st.sampled_from([0, 0, 5, 300]))
    def nak(self, who: int, pick: int, stale: int, delay: int) -> None:
        sequence, number = self.meant(who, pick, stale)
        expected = sequence > 0, self.models[who].nak(sequence, number, delay, self.now)
        got = self.face.answer(self.consumers[who], "nak", sequence, number, self.now, delay)
        assert got[:2] == expected

    @rule(who=WHO, pick=st.integers(0, 7), stale=st.integers(0, 4))
    def progress(self, who: int, pick: int, stale: int) -> None:
        sequence, number = self.meant(who, pick, stale)
        expected = sequence > 0, self.models[who].progress(sequence, self.now)
        assert self.face.answer(self.consumers[who], "progress", sequence, number, self.now)[:2] == expected

    @rule(who=WHO, pick=st.integers(0, 7))
    def fail_to_send(self, who: int, pick: int) -> None:
        sequence, _ = self.meant(who, pick, 2)
        self.face.take_back(self.consumers[who], sequence)
        self.models[who].undelivered(sequence)

    @rule(who=WHO, fails=st.booleans())
    def collect(self, who: int, fails: bool) -> None:
        consumer, model = self.consumers[who], self.models[who]
        entry = dead_entries.next_dead(consumer, self.now)
        assert (entry and entry.sequence) == (model.dead[0][0] if model.dead else None)
        if entry is None:
            return
        assert dead_entries.next_dead(consumer, min(one.died_ns for one in self.dead_of(who)) - 1) is None
        if fails:
            dead_entries.set_back(consumer, entry.sequence)
            model.dead.append(model.dead.pop(0))
            self.notes[who] = [consumer_notes.snapshot(consumer)]  # of the order there are no deltas
        else:
            assert dead_entries.finish_dead(consumer, entry.sequence)
            assert model.collected(entry.sequence)
        assert dead_entries.is_dead(consumer, entry.sequence) == fails

    def dead_of(self, who: int) -> list[dead_entries.DeadEntry]:
        return dead_entries.dead_entries(self.consumers[who])

    @rule(step=st.sampled_from([1, 10, 25, 60, 200]))
    def wait(self, step: int) -> None:
        self.now += step
        for consumer, model in zip(self.consumers, self.models, strict=True):
            waiting = [sent.deadline for sent in model.sent.values() if not sent.due and not sent.dead]
            assert self.face.next_due(consumer) == min(waiting, default=0)
            self.face.due(consumer, self.now)
            model.due(self.now)

    # --- the consumer itself

    @rule(who=WHO, span=st.sampled_from([0, 0, 30]))
    def pause(self, who: int, span: int) -> None:
        until = self.now + span if span else 0
        self.consumers[who].pause(until)
        self.models[who].paused_until = until

    @rule(who=WHO, near=NEAR)
    def reset(self, who: int, near: int) -> None:
        sequence = max(self.models[who].floor + near, 1)
        self.consumers[who].reset(sequence)
        self.models[who].reset(sequence)

    @rule(who=WHO, rules=RULES)
    def update(self, who: int, rules: Rules) -> None:
        model = self.models[who]
        rules.policy, rules.deliver = model.rules.policy, model.rules.deliver
        self.consumers[who].take_config(config_of(rules))
        if rules.filters != model.rules.filters:
            model.chosen_end = 0
        model.change(rules)
        # Deadlines of deltas are worked out by the configuration at the restart.
        self.notes[who] = [consumer_notes.snapshot(self.consumers[who])]

    @rule(who=WHO, whole=st.booleans())
    def restart(self, who: int, whole: bool) -> None:
        old = self.consumers[who]
        if whole:
            self.notes[who] = [consumer_notes.snapshot(old)]
        model = self.models[who]
        again = consumer_notes.restore(
            old.name,
            config_of(model.rules),
            self.face.state,
            1,
            self.notes[who],
            keeps_finished=self.interest,
        )
        again.pause(model.paused_until)
        self.face.consumers.add(again)
        self.consumers[who] = again

    # --- comparing

    def wanted(self, sequence: int) -> bool:
        return any(model.needs(sequence) for model in self.models)

    def settle(self, expected: list[int]) -> None:
        """What an interest stream lets go, goes."""
        removable = self.face.consumers.removable()
        assert removable == expected
        for sequence in removable:
            self.face.delete(sequence)
        self.forget(removable)

    @invariant()
    @precondition(lambda self: hasattr(self, "notes"))
    def same(self) -> None:
        if self.interest:
            done = {n for model in self.models for n in model.finished}
            self.settle(sorted(n for n in done if n in self.stream.messages and not self.wanted(n)))
        for model in self.models:
            model.finished.clear()
        for who, (consumer, model) in enumerate(zip(self.consumers, self.models, strict=True)):
            self.compare(consumer, model)
            note = consumer_notes.take_delta(consumer)
            if note:
                self.notes[who].append(note)
            assert consumer_notes.take_delta(consumer) == b""

    def compare(self, consumer: Consumer, model: ModelConsumer) -> None:
        coming = model.to_come()
        assert consumer.is_counted
        assert consumer.num_pending == len(coming)
        assert consumer_notes.describe(consumer) == {
            "position": model.position,
            "delivered_stream": model.delivered,
            "next_consumer_sequence": model.next_number,
            "ack_floor": (model.floor_number, model.floor),
            "pending": [(n, s.first, s.deliveries, s.deadline, s.due) for n, s in sorted(model.sent.items())],
            "queue": model.queue,
            "exhausted": sorted(model.exhausted),
            "chosen": [n for n in coming if n <= model.chosen_end],
            "dead": [
                (n, model.sent[n].deliveries, by_term, model.sent[n].deadline, reason)
                for n, by_term, reason in model.dead
            ],
            "num_redelivered": sum(s.deliveries > 1 for s in model.sent.values()) + len(model.exhausted),
        }
        assert sorted((kind, n, count) for kind, n, _, count in consumer.events) == sorted(model.events)
        consumer.events.clear()
        model.events.clear()

    def teardown(self) -> None:
        """Nobody is stuck: with acknowledgements and time everything is delivered."""
        if not hasattr(self, "notes"):
            return
        for consumer in self.consumers:
            consumer.pause(0)
            for _ in range(200):
                self.now += 1000
                self.face.due(consumer, self.now)
                got = self.face.next(consumer, self.now)
                if isinstance(got, str):
                    assert got == "at the end"
                    break
                self.face.answer(consumer, "ack", got[0], got[1], self.now)
            assert consumer.num_pending == 0 == consumer.num_ack_pending
            while (entry := dead_entries.next_dead(consumer, self.now)) is not None:
                assert dead_entries.finish_dead(consumer, entry.sequence)
            assert len(consumer_notes.describe(consumer)["pending"]) == 0


ConsumersAndModel.TestCase.settings = settings(
    max_examples=SEQUENCES,
    stateful_step_count=25,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
TestConsumersAndModel = ConsumersAndModel.TestCase
