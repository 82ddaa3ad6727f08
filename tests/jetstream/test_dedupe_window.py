"""The window of message ids against a dict with times."""

from hypothesis import given, settings
from hypothesis import strategies as st

from shardbroker.jetstream.dedupe_window import DedupeWindow

ACTIONS = st.one_of(
    st.tuples(st.just("remember"), st.integers(0, 80)),
    st.tuples(st.just("expire"), st.integers(0, 30)),
    st.tuples(st.just("forget"), st.integers(0, 10)),
)


@settings(max_examples=300, deadline=None)
@given(st.lists(st.tuples(st.integers(1, 30), ACTIONS), max_size=50), st.integers(0, 2**64 - 1))
def test_it_is_a_dict_that_forgets(actions: list[tuple[int, tuple[str, int]]], seed: int) -> None:
    window = DedupeWindow(seed)
    model: dict[bytes, tuple[int, int]] = {}  # id -> (sequence, time)
    sequence = now = 0
    for times, (action, number) in actions:
        if action == "remember":
            for offset in range(times):
                now += 1
                text = b"%d" % (number + offset)
                known = model.get(text)
                assert window.remember(text, sequence + 1, now) == (known and known[0])
                if known is None:
                    sequence += 1
                    model[text] = sequence, now
        elif action == "expire":
            before = max(now - number, 0)
            window.drop_before(before)
            model = {text: value for text, value in model.items() if value[1] >= before}
        else:
            first = max(sequence - number, 1)
            window.drop_from(first)
            model = {text: value for text, value in model.items() if value[0] < first}
            sequence = min(sequence, first - 1)
        assert len(window) == len(model)


def test_many_ids_are_told_apart() -> None:
    window = DedupeWindow(7)
    ids = [b"id-%d" % number for number in range(20_000)]
    assert [window.remember(text, number, number) for number, text in enumerate(ids, 1)] == [None] * 20_000
    assert [window.remember(text, 0, 0) for text in ids] == list(range(1, 20_001))
    window.drop_before(15_001)
    assert len(window) == 5_000
    assert [window.remember(text, 0, 0) for text in ids[15_000:]] == list(range(15_001, 20_001))
