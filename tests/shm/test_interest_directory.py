"""The interest directory answers as a list of all subscriptions would (tests/models/interest_model.py).

A state machine lets three workers change, ask, die and come back in one process: every answer must be the
model's, and every stamp that is still current must stand for the right answer. Then what a state machine does
not reach: full segments, a full filter, broken peers, long subjects, memory after churn.
"""

import os
import random
import time
from collections import Counter

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from shardbroker.shm import layout
from tests.models.interest_model import InterestModel
from tests.models.sublist_model import pattern_matches
from tests.shm.interest_memory import Workers, generations
from tests.subjects.subject_strategies import patterns, published_subjects

WORKERS = 3
workers_indices = st.integers(0, WORKERS - 1)
accounts = st.integers(0, 1)
QUEUES = (b"", b"", b"q", b"r" * 40)  # empty: plain


class DirectoryMachine(RuleBasedStateMachine):
    """Three directories and the model."""

    @initialize(seed=st.integers(0, 2**64 - 1))
    def start(self, seed: int) -> None:
        self.workers = Workers(WORKERS, segment_size=1 << 20, seed=seed)
        self.model = InterestModel()
        self.stamps: list[tuple] = []

    def teardown(self) -> None:
        if hasattr(self, "workers"):
            for key, count in list(self.model.counts.items()):
                if key[0] not in self.model.down:
                    self.change(key, -count)
            assert all(
                directory.table.live == 0
                for worker, directory in enumerate(self.workers.directories)
                if worker not in self.model.down
            )
            assert self.workers.filter_bits() == 0
            for worker in self.model.down:
                self.workers.restart(worker)
            self.workers.close()

    def change(self, key: tuple, delta: int) -> None:
        """One change, in both; stamps of subjects that it concerns must not be current afterwards."""
        worker, account, pattern, queue_hash, limited = key
        self.workers.directories[worker].change_subject(account, pattern, delta, queue_hash, limited)
        self.model.change(key, delta)
        for asker, asked_account, subject, stamp, _ in self.stamps:
            if (
                asker not in self.model.down
                and asked_account == account
                and pattern_matches(pattern, subject)
            ):
                assert not self.workers.directories[asker].is_current(stamp)

    @rule(
        worker=workers_indices, account=accounts, pattern=patterns(), queue=st.sampled_from(QUEUES),
        limited=st.booleans(), delta=st.sampled_from((1, 1, 1, 5)),
    )  # fmt: skip
    def add(self, worker: int, account: int, pattern: bytes, queue: bytes, limited: bool, delta: int) -> None:
        if worker not in self.model.down:
            queue_hash = self.workers.directories[worker].hash_queue(queue) if queue else 0
            self.change((worker, account, pattern, queue_hash, limited and bool(queue)), delta)

    @precondition(lambda self: self.model.counts)
    @rule(data=st.data())
    def subtract(self, data: st.DataObject) -> None:
        key = data.draw(st.sampled_from(sorted(self.model.counts)))
        if key[0] not in self.model.down:
            self.change(key, -data.draw(st.integers(1, self.model.counts[key])))

    @rule(asker=workers_indices, account=accounts, subject=published_subjects)
    def ask(self, asker: int, account: int, subject: bytes) -> None:
        if asker in self.model.down:
            return
        mask, groups, stamp = self.workers.directories[asker].lookup_subject(account, subject)
        assert (mask, groups) == self.model.lookup(asker, account, subject)
        assert self.workers.directories[asker].is_current(stamp)
        self.stamps.append((asker, account, subject, stamp, (mask, groups)))

    @rule()
    def stamps_hold(self) -> None:
        for asker, account, subject, stamp, answer in self.stamps:
            if asker not in self.model.down and self.workers.directories[asker].is_current(stamp):
                assert answer == self.model.lookup(asker, account, subject)

    @rule(worker=workers_indices)
    def die(self, worker: int) -> None:
        if worker not in self.model.down and not self.model.down:
            self.workers.kill(worker)
            self.model.down.add(worker)
            self.stamps = [stamp for stamp in self.stamps if stamp[0] != worker]

    @precondition(lambda self: self.model.down)
    @rule()
    def come_back(self) -> None:
        worker = self.model.down.pop()
        self.workers.restart(worker)
        for key in [key for key in self.model.counts if key[0] == worker]:
            del self.model.counts[key]


TestDirectory = DirectoryMachine.TestCase
# Each example makes 9 MB of board: slow to draw on a busy machine, and right all the same.
TestDirectory.settings = settings(
    max_examples=60, stateful_step_count=50, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)


@pytest.fixture
def workers():
    """Two workers: 0 writes, 1 asks."""
    workers = Workers(2)
    yield workers
    workers.close()


def found(workers: Workers, subject: bytes, account: int = 0) -> bool:
    """Whether worker 1 knows of plain interest of worker 0."""
    mask, _, _ = workers.directories[1].lookup_subject(account, subject)
    assert mask in (0, 1)
    return mask == 1


def test_queue_hashes(workers: Workers) -> None:
    """40 bits, even, never 0, the same in every worker."""
    writer, asker = workers.directories
    for name in (b"", b"q", b"workers", *(b"%d" % number for number in range(2000))):
        queue_hash = writer.hash_queue(name)
        assert 0 < queue_hash < 2**40 and queue_hash % 2 == 0
        assert queue_hash == asker.hash_queue(name)


def test_hashes_spread(workers: Workers) -> None:
    """Names that differ in a digit, and lengths: no collision, and each byte of the hash is even."""
    names = [b"orders.%d" % number for number in range(30_000)] + [b"x" * size for size in range(300)]
    hashes = [workers.directories[0].hash_queue(name) >> 1 for name in names]
    assert len(set(hashes)) == len(hashes)
    for shift in (0, 8, 16, 24, 31):
        buckets = Counter((value >> shift) & 0xFF for value in hashes)
        expected = len(hashes) / 256
        # Each is a Poisson number around 118; eight standard deviations off is a broken hash.
        assert all(abs(buckets[value] - expected) < 8 * expected**0.5 for value in range(256))


def test_hashes_depend_on_the_seed() -> None:
    """Nobody can prepare collisions: another broker, other numbers."""
    hashes = set()
    for seed in range(8):
        workers = Workers(1, seed=seed)
        hashes.add(workers.directories[0].hash_queue(b"q"))
        workers.close()
    assert len(hashes) == 8


def test_who_subscribes_to_just_a_subject(workers: Workers) -> None:
    """In any worker, the asking one too; wildcards, other groups and other accounts do not count."""
    writer, asker = workers.directories
    group, other = writer.hash_queue(b"g"), writer.hash_queue(b"h")
    for pattern, queue in ((b"a.*", 0), (b"a.*", group), (b">", 0), (b"a.b.c", group), (b"a.b", other)):
        writer.change_subject(0, pattern, 1, queue)
    for directory in (writer, asker):
        assert not directory.has_subscribers(0, b"a.b") and not directory.has_subscribers(0, b"a.b", b"g")
        assert directory.has_subscribers(0, b"a.b", b"h") and not directory.has_subscribers(1, b"a.b", b"h")
    for queue, limited, name in ((0, False, b""), (group, False, b"g"), (group, True, b"g")):
        for changing in (writer, asker):
            changing.change_subject(0, b"a.b", 2, queue, limited)
            assert writer.has_subscribers(0, b"a.b", name) and asker.has_subscribers(0, b"a.b", name)
            changing.change_subject(0, b"a.b", -2, queue, limited)
            assert not writer.has_subscribers(0, b"a.b", name)
            assert not asker.has_subscribers(0, b"a.b", name)


def test_counts_of_a_group_over_patterns(workers: Workers) -> None:
    """Members of one group under three patterns are added up, limited ones apart."""
    writer, asker = workers.directories
    queue_hash = writer.hash_queue(b"q")
    writer.change_subject(0, b"a.b", 2, queue_hash)
    writer.change_subject(0, b"a.*", 3, queue_hash)
    writer.change_subject(0, b">", 1, queue_hash, True)
    writer.change_subject(0, b"a.b", 4, queue_hash, True)
    assert asker.lookup_subject(0, b"a.b")[:2] == (0, {queue_hash: {0: (5, 5)}})
    assert asker.lookup_subject(0, b"a.c")[:2] == (0, {queue_hash: {0: (3, 1)}})
    assert writer.lookup_subject(0, b"a.b")[:2] == (0, {})  # never oneself


def test_many_groups_on_one_subject(workers: Workers) -> None:
    """Entries with one key: they stand in a row, through rebuilds of their partition."""
    writer, asker = workers.directories
    hashes = {writer.hash_queue(b"%d" % number): number % 5 + 1 for number in range(3000)}
    for queue_hash, count in hashes.items():
        writer.change_subject(0, b"a.b", count, queue_hash)
    groups = asker.lookup_subject(0, b"a.b")[1]
    assert groups == {queue_hash: {0: (count, 0)} for queue_hash, count in hashes.items()}


def test_more_removed_than_added_is_a_bug_of_the_caller(workers: Workers) -> None:
    """It is not swallowed, and changes nothing."""
    writer = workers.directories[0]
    writer.change_subject(0, b"a.*", 1)
    for pattern, delta in ((b"a.*", -2), (b"a.>", -1), (b"a", -1)):
        with pytest.raises(AssertionError):
            writer.change_subject(0, pattern, delta)
    assert found(workers, b"a.b") and writer.table.live == 3  # terminal and two prefixes


def fill(workers: Workers) -> list[bytes]:
    """Wildcard patterns until there is no more room."""
    patterns_in: list[bytes] = []
    with pytest.raises(MemoryError):
        while True:
            pattern = b"x.%d.*.y.>" % len(patterns_in)
            workers.directories[0].change_subject(0, pattern, 1)
            patterns_in.append(pattern)
    return patterns_in


def test_a_full_segment_refuses_and_goes_on() -> None:
    """The refused pattern leaves nothing behind, all others stay, and room comes back."""
    workers = Workers(2, segment_size=256 << 10)
    writer = workers.directories[0]
    patterns_in = fill(workers)
    live = writer.table.live
    # Each has a terminal and the prefixes x.N, x.N.*, x.N.*.y of its own; all share the root and x.
    assert live == 4 * len(patterns_in) + 2
    for _ in range(3):
        with pytest.raises(MemoryError):
            writer.change_subject(0, b"x.%d.*.y.>" % len(patterns_in), 1)
        assert writer.table.live == live
    assert all(found(workers, b"x.%d.q.y.z" % number) for number in range(len(patterns_in)))
    assert not found(workers, b"x.%d.q.y.z" % len(patterns_in))
    for pattern in patterns_in:
        writer.change_subject(0, pattern, -1)
    assert writer.table.live == 0 and workers.filter_bits() == 0
    assert len(fill(workers)) > len(patterns_in) // 2
    workers.close()


def test_a_full_memory_is_an_error_of_one_subscription(workers: Workers, tmp_path) -> None:
    """fallocate fails (here: its descriptor is now read-only): MemoryError, and what is in stays."""
    writer = workers.directories[0]
    writer.change_subject(0, b"a.*", 1)
    path = tmp_path / "read-only"
    path.touch()
    read_only, kept = os.open(path, os.O_RDONLY), os.dup(workers.segments[0].fd)
    os.dup2(read_only, workers.segments[0].fd)
    patterns_in = fill(workers)
    assert all(found(workers, b"x.%d.q.y.z" % number) for number in range(len(patterns_in)))
    assert found(workers, b"a.b")
    os.dup2(kept, workers.segments[0].fd)
    writer.change_subject(0, b"x.%d.*.y.>" % len(patterns_in), 1)
    os.close(read_only)
    os.close(kept)


def test_a_full_filter_costs_probes_not_answers(workers: Workers) -> None:
    """All filter bits set: answers stay exact, and the walk still visits only what exists.

    Without confirmation in the tables, 40 tokens would be a walk over 2**40 prefixes.
    """
    writer, asker = workers.directories
    for pattern in (b"a.*.c", b"a.b.>", b"*.*.*.d"):
        writer.change_subject(0, pattern, 1)
    workers.board.memory[layout.BOARD_FILTER :] = b"\xff" * (layout.BOARD_SIZE - layout.BOARD_FILTER)
    for subject, expected in ((b"a.x.c", 1), (b"a.x.d", 0), (b"a.b.q", 1), (b"b.b.b.d", 1), (b"b.b.b", 0)):
        assert asker.lookup_subject(0, subject)[0] == expected
    started = time.monotonic()
    assert asker.lookup_subject(0, b".".join([b"z"] * 40))[0] == 0
    assert time.monotonic() - started < 1


def test_broken_peers_do_no_harm() -> None:
    """A peer's segment full of noise, or of ones: some answer, soon, and no crash."""
    workers = Workers(3, segment_size=256 << 10)
    workers.board.memory[layout.BOARD_FILTER :] = b"\xff" * (layout.BOARD_SIZE - layout.BOARD_FILTER)
    workers.directories[2].change_subject(0, b"a.*", 1)
    noise = random.Random(7)
    for content in (noise.randbytes(256 << 10), b"\xff" * (256 << 10), b"\x01" * (256 << 10)):
        workers.segments[0].memory[:] = content
        for number in range(200):
            mask, _, _ = workers.directories[1].lookup_subject(0, b"a.%d" % number)
            assert mask & 0b100
    workers.close()


@pytest.mark.parametrize("tokens", [17, 64, 2000])
def test_long_subjects(workers: Workers, tokens: int) -> None:
    """Every token counts, however far behind."""
    writer = workers.directories[0]
    subject = [b"t"] * tokens
    writer.change_subject(0, b".".join(subject), 1)
    writer.change_subject(0, b".".join([*subject[:-1], b"*", b"*"]), 1)
    assert found(workers, b".".join(subject))
    assert not found(workers, b".".join([*subject[:-1], b"u"]))
    assert found(workers, b".".join([*subject, b"u"]))
    assert not found(workers, b".".join([*subject, b"u", b"u"]))
    assert not found(workers, b".".join([b"u", *subject]))


def test_order_of_tokens_matters(workers: Workers) -> None:
    """A sum has no order of its own: positions are part of the terms."""
    workers.directories[0].change_subject(0, b"a.b.*.>", 1)
    workers.directories[0].change_subject(0, b"c.d", 1)
    assert found(workers, b"a.b.x.y") and found(workers, b"c.d")
    assert not found(workers, b"b.a.x.y") and not found(workers, b"d.c")
    assert not found(workers, b"c.d", account=1)


def test_memory_follows_the_number_of_patterns() -> None:
    """Growth, churn with ever new subjects, and removal: memory stays in proportion, and comes back."""
    workers = Workers(2, segment_size=64 << 20)
    table = workers.directories[0].table
    subjects = [b"sensors.%d" % number for number in range(60_000)]
    for subject in subjects:
        workers.directories[0].change_subject(0, subject, 1)
    grown = table.backed
    for number in range(120_000):
        workers.directories[0].change_subject(0, subjects[number % 60_000] + b".%d" % (number // 60_000), 1)
        workers.directories[0].change_subject(0, subjects[number % 60_000] + b".%d" % (number // 60_000), -1)
    churned = table.backed
    assert all(found(workers, subject) for subject in subjects[::7])
    assert churned <= 2 * grown
    for subject in subjects:
        workers.directories[0].change_subject(0, subject, -1)
    assert table.live == 0
    time.sleep(2.1)  # arrays freed longer ago than this can be returned
    assert workers.directories[0].trim() > 0
    assert table.backed < grown // 2  # arrays below a page stay: about 2 MB for all partitions
    for subject in subjects[:30_000]:
        workers.directories[0].change_subject(0, subject, 1)
    assert all(found(workers, subject) for subject in subjects[:30_000])
    assert generations(workers.segments[0]) > 0
    workers.close()
