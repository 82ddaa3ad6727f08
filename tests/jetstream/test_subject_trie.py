"""Property: the trie finds exactly the subjects that collide pairwise, and is quick where pairs are many.

Compared with `subjects/subject.py` on random subjects, additions and removals, with a fixed seed.
"""

import random
import time

import pytest

from shardbroker.jetstream.config_checks import complete
from shardbroker.jetstream.js_limits import JetStreamLimits
from shardbroker.jetstream.source_checks import collide, is_subset
from shardbroker.jetstream.stream_config import StreamConfig
from shardbroker.jetstream.subject_trie import SubjectTrie
from tests.jetstream.judge import DictAccount

TOKENS = ["a", "b", "c", "*"]


def random_subject(chance: random.Random) -> str:
    """One to four tokens of a small vocabulary."""
    tokens = [chance.choice(TOKENS) for _ in range(chance.randrange(1, 5))]
    if chance.random() < 0.3:
        tokens[-1] = ">"
    return ".".join(tokens)


@pytest.mark.parametrize("seed", range(5))
def test_against_pairs(seed: int) -> None:
    """Every query gives what looking at each pair gives."""
    chance = random.Random(seed)
    trie = SubjectTrie()
    model: list[tuple[str, int]] = []
    for step in range(400):
        if model and chance.random() < 0.4:
            entry = model.pop(chance.randrange(len(model)))
            assert trie.remove(*entry)
            assert entry in model or not trie.remove(*entry)
        else:
            entry = (random_subject(chance), step % 7)
            trie.add(*entry)
            model.append(entry)
        asked = random_subject(chance)
        expected = sorted(entry for entry in model if collide(asked, entry[0]))
        assert sorted(trie.overlaps(asked)) == expected, asked
        expected = sorted(entry for entry in model if is_subset(asked, entry[0]))
        assert sorted(trie.covering(asked)) == expected, asked
        assert len(trie) == len(model)


def test_what_is_empty_holds_nothing() -> None:
    """Removing leaves no nodes behind."""
    trie = SubjectTrie()
    for subject in ("a.b.c", "a.b", "a.>", "*.b.c"):
        trie.add(subject, 1)
    assert not trie.remove("a.b", 2)
    assert not trie.remove("a", 1)
    for subject in ("a.b", "a.b.c", "*.b.c", "a.>"):
        assert trie.remove(subject, 1)
    assert len(trie) == 0
    assert not trie._root.children


def test_ten_thousand_subjects_of_one_stream() -> None:
    """Well under 100 ms, and the same when the last two overlap. The factor leaves room for slow machines."""
    subjects = [f"orders.{index % 100}.{index}.*" for index in range(10_000)]
    config = StreamConfig(name="x", subjects=subjects)
    started = time.process_time()
    complete(config, JetStreamLimits(), DictAccount())
    assert time.process_time() - started < 0.5
    config.subjects = [*subjects, "orders.*.9999.x"]
    with pytest.raises(Exception, match=r"orders\.99\.9999\.\*.* overlaps with"):
        complete(config, JetStreamLimits(), DictAccount())
