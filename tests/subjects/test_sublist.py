"""The sublist does what a list of subscriptions does (tests/models/sublist_model.py), leanly and at any size.

A hypothesis state machine inserts, removes and matches; after it has removed everything, nothing may be left
in the table. Then the sizes: thousands of members on one subject, of groups, of tokens.
"""

import ctypes
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, initialize, invariant, rule

from shardbroker.subjects.sublist import Sublist
from tests.models.sublist_model import Entry, SublistModel
from tests.subjects.subject_strategies import patterns, published_subjects

# What one literal subscription may cost beyond its item, in bytes: subject of 26, node, slot, malloc.
BYTES_PER_LITERAL_MAX = 150


class SublistMachine(RuleBasedStateMachine):
    """Sublist and model, side by side."""

    entries = Bundle("entries")

    @initialize(seed=st.integers(0, 2**64 - 1))
    def start(self, seed: int) -> None:
        self.sublist = Sublist(seed)
        self.model = SublistModel()
        self.removed = 0

    @rule(target=entries, pattern=patterns(), queue_id=st.sampled_from((0, 0, 1, 2, 2**63 + 1)))
    def insert(self, pattern: bytes, queue_id: int) -> Entry:
        entry = Entry(pattern, queue_id, self.sublist.insert_item(pattern, queue_id))
        self.model.insert(entry)
        return entry

    @rule(entry=consumes(entries))
    def remove(self, entry: Entry) -> None:
        assert self.sublist.remove_item(entry.pattern, entry.item, entry.queue_id)
        self.model.remove(entry)
        self.removed += 1

    @rule(entry=entries, pattern=patterns(), queue_id=st.sampled_from((0, 1, 5)))
    def remove_what_is_not_there(self, entry: Entry, pattern: bytes, queue_id: int) -> None:
        if (pattern, queue_id) != (entry.pattern, entry.queue_id):
            assert not self.sublist.remove_item(pattern, entry.item, queue_id)

    @rule(subject=published_subjects)
    def match(self, subject: bytes) -> None:
        plain, groups = self.sublist.match_items(subject)
        assert len(plain) == len(set(plain)), "an item twice"
        expected_plain, expected_groups = self.model.match(subject)
        assert set(plain) == expected_plain
        assert {queue_id: set(members) for queue_id, members in groups.items()} == expected_groups
        assert sum(map(len, groups.values())) == sum(map(len, expected_groups.values()))

    @invariant()
    def count(self) -> None:
        if hasattr(self, "sublist"):
            assert self.sublist.subscriptions == len(self.model.entries)
            assert self.sublist.inserts - self.sublist.removes == len(self.model.entries)
            assert self.sublist.removes == self.removed

    def teardown(self) -> None:
        if not hasattr(self, "sublist"):
            return
        for entry in self.model.entries:
            assert self.sublist.remove_item(entry.pattern, entry.item, entry.queue_id)
        assert self.sublist.count_slots() == 0 and self.sublist.subscriptions == 0
        assert self.sublist.match_items(b"a") == ([], {})


TestSublist = SublistMachine.TestCase
TestSublist.settings = settings(
    max_examples=80, stateful_step_count=60, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)


@pytest.fixture
def sublist() -> Sublist:
    """An empty one; what a test leaves in it is freed with it, but for the items."""
    return Sublist()


def position_of(item: int) -> int:
    """The only field of a SublistItem."""
    return ctypes.c_uint32.from_address(item).value


@pytest.mark.parametrize("queue_id", [0, 7])
def test_thousands_on_one_subject(sublist: Sublist, queue_id: int) -> None:
    """Members come and go from any place; each knows its position all the time."""
    items = [sublist.insert_item(b"a.b", queue_id) for _ in range(5000)]
    for round_number in range(3):
        for item in items[round_number::3]:
            assert sublist.remove_item(b"a.b", item, queue_id)
            assert not sublist.remove_item(b"x.y", item, queue_id)
        items = [item for index, item in enumerate(items) if index % 3 != round_number % 3]
        plain, groups = sublist.match_items(b"a.b")
        members = groups.get(7, []) if queue_id else plain
        assert sorted(members) == sorted(items)
        assert [position_of(item) for item in members] == list(range(len(members)))
    for item in items:
        assert sublist.remove_item(b"a.b", item, queue_id)
    assert sublist.count_slots() == 0


def test_an_item_is_removed_once(sublist: Sublist) -> None:
    """The position alone does not prove that an item is in."""
    stays, goes = sublist.insert_item(b"a"), sublist.insert_item(b"b")
    assert position_of(stays) == position_of(goes) == 0
    assert not sublist.remove_item(b"a", goes)
    assert not sublist.remove_item(b"b", goes, 3)
    assert sublist.remove_item(b"b", goes)
    assert sublist.match_items(b"a") == ([stays], {})


def test_thousands_of_groups(sublist: Sublist) -> None:
    """Groups of one pattern, each with its members, some of which come from a second pattern."""
    groups = {queue_id: [sublist.insert_item(b"a.b", queue_id)] for queue_id in range(2, 4002, 2)}
    for queue_id in range(2, 4002, 4):
        groups[queue_id].append(sublist.insert_item(b"a.*", queue_id))
    _, found = sublist.match_items(b"a.b")
    assert {queue_id: sorted(items) for queue_id, items in found.items()} == {
        queue_id: sorted(items) for queue_id, items in groups.items()
    }
    for queue_id, items in groups.items():
        assert sublist.remove_item(b"a.b", items[0], queue_id)
    _, found = sublist.match_items(b"a.b")
    assert found == {queue_id: items[1:] for queue_id, items in groups.items() if len(items) > 1}


def test_merging_keeps_members_together(sublist: Sublist) -> None:
    """One group over four patterns, between other groups, is one group with all its members."""
    matching = (b"a.b", b"a.*", b"*.b", b">")
    for pattern in matching:
        sublist.insert_item(pattern, 1)
        sublist.insert_item(pattern, 9)
    expected = sorted(sublist.insert_item(pattern, 5) for pattern in matching)
    sublist.insert_item(b"a.c", 5)
    _, groups = sublist.match_items(b"a.b")
    assert sorted(groups) == [1, 5, 9]
    assert sorted(groups[5]) == expected


def test_very_long_patterns(sublist: Sublist) -> None:
    """As many tokens as a control line can hold, each a `*`: the walk goes that deep."""
    stars = b".".join([b"*"] * 2000)
    item, rest = sublist.insert_item(stars), sublist.insert_item(stars + b".>")
    assert sublist.match_items(b".".join([b"x"] * 2000)) == ([item], {})
    assert sublist.match_items(b".".join([b"x"] * 2001)) == ([rest], {})
    assert sublist.match_items(b".".join([b"x"] * 1999)) == ([], {})
    assert sublist.remove_item(stars, item) and sublist.remove_item(stars + b".>", rest)
    assert sublist.count_slots() == 0


MEMORY_PROGRAM = """
import gc, psutil, sys
from shardbroker.subjects.sublist import Sublist
count = int(sys.argv[1])
sublist = Sublist()
subjects = [b"sensors.%06d.temperature" % number for number in range(count)]
items = [None] * count
gc.collect()
before = psutil.Process().memory_info().rss
for number, subject in enumerate(subjects):
    items[number] = sublist.insert_item(subject)
item_size = 32 + 32  # malloc of an item, int object of its address
print((psutil.Process().memory_info().rss - before) / count - item_size)
"""


def test_a_literal_subscription_is_lean() -> None:
    """Resident memory of 200,000, in a process of its own."""
    command = [sys.executable, "-c", MEMORY_PROGRAM, "200000"]
    root = Path(__file__).parents[2]
    output = subprocess.run(command, cwd=root, stdout=subprocess.PIPE, text=True, check=True).stdout
    per_subscription = float(output)
    print(f"{per_subscription:.0f} bytes a literal subscription beyond its item")
    assert 20 < per_subscription <= BYTES_PER_LITERAL_MAX
