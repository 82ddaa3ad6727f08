"""Breadth-first search over every reachable state of a small model: the engine below the models here.

A model is a function from a state to its successors, one per process and atomic step, so that a search of
all of them is a search of all interleavings. States are plain nested tuples: hashable, comparable, cheap.
Breadth first because the first violation found is then a shortest one, and its trace is what a human reads.

Shared memory is modelled where it matters (doorbell_model, queue_unsub_model) with a store buffer per
process, which is what x86 has (TSO): a plain store waits in its owner's buffer, drains in order at any later
moment, and other processes read the old value until then. A fence and every atomic read-modify-write wait
for the own buffer to be empty. Weaker machines reorder more; the broker uses acquire and release there, and
a model that fails here would fail there too.
"""

from collections import deque
from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass, field

State = Hashable
Step = tuple[str, State]  # (what happened, the state after it)

states_max_default = 2_000_000  # a model that grows past this is a mistake, not a proof


@dataclass(frozen=True)
class Outcome:
    """What a search found: ``violation`` is empty when every reachable state was good."""

    states_count: int
    final_states_count: int
    violation: str = ""
    trace: tuple[str, ...] = field(default=(), repr=False)

    def __str__(self) -> str:
        if not self.violation:
            return f"{self.states_count} states, {self.final_states_count} final, all good"
        steps = "\n  ".join(self.trace)
        return f"{self.violation} (after {self.states_count} states)\n  {steps}"


def explore(
    initial: State,
    successors: Callable[[State], Iterable[Step]],
    violation_in: Callable[[State], str],
    violation_at_end: Callable[[State], str],
    *,
    states_max: int = states_max_default,
) -> Outcome:
    """Visit every state reachable from ``initial``.

    ``violation_in`` is asked in every state, ``violation_at_end`` in those without a successor: there, work
    that is not finished is a deadlock, a lost wake-up or a lost message. Both answer "" when all is well.
    The models are finite and without cycles, so an end that is good on all paths also proves progress.
    """
    parents: dict[State, tuple[State, str] | None] = {initial: None}
    waiting = deque([initial])
    final_states_count = 0
    while waiting:
        state = waiting.popleft()
        violation = violation_in(state)
        if not violation:
            is_end = True
            for label, after in successors(state):
                is_end = False
                if after not in parents:
                    parents[after] = (state, label)
                    waiting.append(after)
            if is_end:
                final_states_count += 1
                violation = violation_at_end(state)
        if violation:
            return Outcome(len(parents), final_states_count, violation, _trace(parents, state))
        if len(parents) > states_max:
            raise RuntimeError(f"more than {states_max} states: the model is not small any more")
    return Outcome(len(parents), final_states_count)


def _trace(parents: dict[State, tuple[State, str] | None], state: State) -> tuple[str, ...]:
    labels = []
    while (link := parents[state]) is not None:
        state, label = link
        labels.append(label)
    return tuple(reversed(labels))


def replaced(values: tuple, index: int, value: object) -> tuple:
    """A copy of the tuple with one place changed."""
    return (*values[:index], value, *values[index + 1 :])
