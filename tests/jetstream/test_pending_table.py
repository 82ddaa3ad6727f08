"""The table of pending deliveries against a dict and sorted lists, and the set of sequences against a set."""

from hypothesis import given, settings
from hypothesis import strategies as st

from shardbroker.jetstream.pending_table import PendingTable
from shardbroker.jetstream.sequence_set import SequenceSet

ACTIONS = st.tuples(
    st.sampled_from(["put", "put", "put", "discard", "delay", "due", "front", "pop"]),
    st.integers(1, 40),
    st.integers(1, 60),
)


class TableModel:
    """Deadlines by sequence; None: due again."""

    def __init__(self) -> None:
        self.deadlines: dict[int, int | None] = {}
        self.queue: list[int] = []

    def leave(self, sequence: int) -> None:
        self.queue = [one for one in self.queue if one != sequence]

    def apply(self, table: PendingTable, action: str, sequence: int, time: int) -> None:
        known = sequence in self.deadlines
        if action == "put" and not known:
            table.put(sequence, sequence + 7, time)
            self.deadlines[sequence] = time
        elif action == "discard":
            assert table.discard(sequence) == known
            self.leave(sequence)
            self.deadlines.pop(sequence, None)
        elif action == "delay" and known:
            table.delay(sequence, time)
            self.leave(sequence)
            self.deadlines[sequence] = time
        elif action in ("due", "front") and known:
            table.make_due(sequence, action == "front")
            self.leave(sequence)
            self.queue.insert(0 if action == "front" else len(self.queue), sequence)
            self.deadlines[sequence] = None
        elif action == "pop":
            self.pop(table, time)

    def pop(self, table: PendingTable, time: int) -> None:
        """Everything whose deadline has passed comes out, in any order, and nothing else."""
        over = {n for n, deadline in self.deadlines.items() if deadline is not None and deadline <= time}
        came = set()
        while sequence := table.pop_due(time):
            came.add(sequence)
            table.make_due(sequence)
            self.queue.append(sequence)
            self.deadlines[sequence] = None
        assert came == over


@settings(max_examples=300, deadline=None)
@given(st.lists(ACTIONS, max_size=120))
def test_it_is_a_dict_with_two_orders(actions: list[tuple[str, int, int]]) -> None:
    table, model = PendingTable(), TableModel()
    for action, sequence, time in actions:
        model.apply(table, action, sequence, time)
        items = table.items()
        assert [item[0] for item in items] == sorted(model.deadlines)
        assert all(item[1] == item[0] + 7 for item in items)
        waiting = {item[0]: item[3] for item in items if not item[4]}
        assert waiting == {n: at for n, at in model.deadlines.items() if at is not None}
        assert table.soonest() == min(waiting.values(), default=0)
        assert table.queue() == model.queue
        assert (len(table), table.queued) == (len(model.deadlines), len(model.queue))


def test_many_deadlines_in_falling_order_come_out_sorted() -> None:
    table = PendingTable()
    for sequence in range(1, 5001):
        table.put(sequence, sequence, 10_000 - sequence)
    for time in range(5000, 10_000):
        assert table.soonest() == time
        assert table.pop_due(time) == 10_000 - time
        assert table.pop_due(time) == 0
        assert table.discard(10_000 - time)
    assert len(table) == 0


@settings(max_examples=200, deadline=None)
@given(
    st.lists(
        st.tuples(st.booleans(), st.sampled_from([1, 2, 63, 64, 4095, 4096, 9000, 70_000]), st.integers(0, 3))
    )
)
def test_a_set_of_sequences_is_a_set(actions: list[tuple[bool, int, int]]) -> None:
    members, model = SequenceSet(), set()
    for adds, base, extra in actions:
        sequence = base + extra
        if adds:
            members.put(sequence)
            model.add(sequence)
        else:
            assert members.discard(sequence) == (sequence in model)
            model.discard(sequence)
        assert members.members() == sorted(model)
        assert len(members) == len(model)
        assert (sequence in members) == (sequence in model)
