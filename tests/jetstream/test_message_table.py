"""The table of messages against a dict: the same sequences, in blocks that come and go."""

from hypothesis import given, settings
from hypothesis import strategies as st

from shardbroker.jetstream.message_table import MessageTable

MS = 1_000_000  # ns
# Steps between sequences: within a block of 256, to the next, and over several.
STEPS = st.sampled_from([1, 1, 1, 2, 100, 255, 256, 257, 1000])


def check(table: MessageTable, model: dict[int, int], last: int) -> None:
    assert len(table) == len(model)
    assert table.last == last
    assert table.first == (min(model) if model else last + 1)
    probes = {probe for sequence in [*model, last] for probe in (sequence - 1, sequence, sequence + 1)}
    for probe in probes - {0}:
        assert table.position_of(probe) == model.get(probe)
        assert table.following(probe) == min((s for s in model if s >= probe), default=last + 1)
        assert table.preceding(probe) == max((s for s in model if s <= probe), default=0)


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(STEPS, st.booleans(), st.randoms(use_true_random=False)), max_size=40))
def test_it_is_a_dict_with_order(actions: list[tuple]) -> None:
    table = MessageTable(1)
    model: dict[int, int] = {}
    last = 0
    for step, adds, draw in actions:
        if adds or not model:
            last += step
            table.add(last, last * 64)
            model[last] = last * 64
        else:
            for sequence in draw.sample(sorted(model), draw.randint(1, len(model))):
                assert table.discard(sequence)
                assert not table.discard(sequence)
                del model[sequence]
        check(table, model, last)


def test_the_first_sequence_may_be_any() -> None:
    table = MessageTable(1 << 40)
    assert (table.first, table.last, len(table)) == (1 << 40, (1 << 40) - 1, 0)
    table.add(1 << 40, 64)
    assert (table.first, table.last, len(table)) == (1 << 40, 1 << 40, 1)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.integers(0, 3000), min_size=1, max_size=60), st.integers(0, 100_000))
def test_a_time_finds_the_first_message_that_may_be_as_late(gaps_ms: list[int], probe_ms: int) -> None:
    table = MessageTable(1)
    times = []
    for sequence, gap in enumerate(gaps_ms, 1):
        times.append((times[-1] if times else 0) + gap)
        table.add(sequence, 64, times[-1] * MS)
    expected = next((n for n, at in enumerate(times, 1) if at + 1 > probe_ms), len(times) + 1)
    assert table.since(probe_ms * MS) == expected
