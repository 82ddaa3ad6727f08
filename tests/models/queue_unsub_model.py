"""The last local member of a queue group leaves: no message is lost to a group that has a member elsewhere.

The publisher's worker reads every worker's member count and sends a frame to one worker with a member. The
danger: it has read count 1 of worker B, B's only member UNSUBs, B answers PONG and forgets the member, then
the frame arrives and nobody in B wants it. The cure (DESIGN §4), as modelled here:

    publisher, each round                    leaver, at UNSUB
    busy += 1 (odd); fence                   count = 0; fence
    load counts; choose; write the frame     sample every other busy counter
    ticket = fetch_add; store head           (the round ends as usual: publish, busy += 1; loop goes on)
    busy += 1 (even)                         once every odd sample has changed, or its worker is DOWN:
                                             T, heads, deliver tickets < T; then drop the member, PONG

Property: every published message is delivered exactly once, every UNSUB is answered, nobody waits for ever;
also when two last members on different workers leave at once, and when the publisher dies anywhere.

Plain stores go through a store buffer per process (explorer.py), so both fences are needed to pass. Each
``Rules`` switch that is off must be found: the two fences, the wait, the ticket round after it, the DOWN
escape, and waiting *inside* the busy section (two leavers then wait for each other's odd counter for ever).
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from tests.models.explorer import Outcome, Step, explore, replaced


@dataclass(frozen=True)
class Rules:
    publisher_fence: bool = True  # between busy = odd and loading the counts
    leaver_fence: bool = True  # between count = 0 and sampling the busy counters
    busy_wait: bool = True  # wait until the odd counters sampled have changed
    final_ticket_round: bool = True  # T, heads, deliver after the wait, before the member is dropped
    down_ends_wait: bool = True  # a worker that is DOWN is not waited for
    wait_after_round: bool = True  # the wait lies outside the leaver's own busy section


@dataclass(frozen=True)
class Scenario:
    """``scripts[w]``: what worker w's clients send. "PUB" is to the group, "UNSUB" leaves it (once)."""

    name: str
    scripts: tuple[tuple[str, ...], ...]
    members: tuple[bool, ...]  # which workers have their one member at the start
    mortal: int = -1  # this worker may be killed before any of its steps


SCENARIOS = (
    Scenario("one leaves", (("PUB", "PUB"), ("UNSUB",), ()), (False, True, True)),
    Scenario("two leave", (("PUB",), ("UNSUB",), ("UNSUB",)), (True, True, True)),
    Scenario("publisher dies", (("PUB", "PUB"), ("UNSUB",), ()), (False, True, True), mortal=0),
    Scenario("leaver publishes", (("PUB",), ("UNSUB", "PUB"), ()), (False, True, True)),
)

# Where a worker stands. A round acts on one command (ACT) or several (MORE); the last four end a leaving.
IDLE, FENCE_BUSY, ACT, MORE, FENCE_LEAVE, SAMPLE, PUBLISH, STORE_HEAD, END = range(9)
WAIT_INSIDE, TICKET, HEADS, DROP = range(9, 13)


class Worker(NamedTuple):
    place: int
    acted: int  # commands of the script done
    batch: tuple  # (message, chosen worker) not yet published
    ticket: int
    member: bool  # its local member still takes frames
    leaving: bool  # UNSUB seen, PONG held
    answered: bool  # PONG sent
    final: bool  # the drain under way is the one before the drop
    samples: tuple  # (worker, odd busy value) to be waited for
    next_sample: int
    limit: int
    heads: tuple[int, ...]
    cursors: tuple[int, ...]
    stores: tuple  # store buffer: (kind, value), oldest first; kinds "count", "busy", "head", all its own


class State(NamedTuple):
    counts: tuple[int, ...]  # in shared memory, as are busy and heads
    busy: tuple[int, ...]
    heads: tuple[int, ...]
    next_ticket: int
    rings: tuple[tuple, ...]  # batches written, (ticket, batch); visible up to heads
    workers: tuple[Worker, ...]
    delivered: tuple[str, ...]
    lost: str  # the first frame that found no member
    dead: int  # worker that was killed, -1: none


def check(scenario: Scenario, rules: Rules = Rules()) -> Outcome:
    """Search all interleavings of one scenario under these rules."""
    return _Search(scenario, rules).run()


class _Search:
    def __init__(self, scenario: Scenario, rules: Rules) -> None:
        self.scenario = scenario
        self.rules = rules
        self.count = len(scenario.scripts)

    def run(self) -> Outcome:
        zeros = (0,) * self.count
        workers = tuple(
            Worker(IDLE, 0, (), 0, m, False, False, False, (), 0, 0, zeros, zeros, ())
            for m in self.scenario.members
        )
        counts = tuple(int(m) for m in self.scenario.members)
        initial = State(counts, zeros, zeros, 0, ((),) * self.count, workers, (), "", -1)
        return explore(initial, self.successors, self.violation_in, self.violation_at_end)

    def violation_in(self, state: State) -> str:
        if state.lost:
            return f"{self.scenario.name}: {state.lost} came to a worker without a member"
        if len(set(state.delivered)) != len(state.delivered):
            return f"{self.scenario.name}: delivered twice: {state.delivered}"
        return ""

    def violation_at_end(self, state: State) -> str:
        for index, worker in enumerate(state.workers):
            if index == state.dead:
                continue
            if worker.acted < len(self.scenario.scripts[index]):
                return f"{self.scenario.name}: worker {index} stands still"
            if "UNSUB" in self.scenario.scripts[index] and not worker.answered:
                return f"{self.scenario.name}: the UNSUB on worker {index} is never answered"
        for ring, head in zip(state.rings, state.heads, strict=True):
            for _, batch in ring[:head]:
                for message, _ in batch:
                    if message not in state.delivered:
                        return f"{self.scenario.name}: {message} was published and never delivered"
        return ""

    def successors(self, state: State) -> Iterator[Step]:
        for index, worker in enumerate(state.workers):
            if index == state.dead:
                continue
            if worker.stores:
                yield self.drain_store(state, index, worker)
            if index == self.scenario.mortal and state.dead < 0:
                killed = worker._replace(stores=())
                yield f"worker {index} is killed", self.put(state._replace(dead=index), index, killed)
            for label, after in self.steps(state, index, worker):
                yield f"worker {index} {label}", after

    def put(self, state: State, index: int, worker: Worker) -> State:
        return state._replace(workers=replaced(state.workers, index, worker))

    def drain_store(self, state: State, index: int, worker: Worker) -> Step:
        """The oldest buffered store reaches memory."""
        (kind, value), *rest = worker.stores
        if kind == "count":
            state = state._replace(counts=replaced(state.counts, index, value))
        elif kind == "busy":
            state = state._replace(busy=replaced(state.busy, index, value))
        else:
            state = state._replace(heads=replaced(state.heads, index, value))
        label = f"worker {index}: {kind} = {value} reaches memory"
        return label, self.put(state, index, worker._replace(stores=tuple(rest)))

    def load(self, state: State, worker: Worker, index: int, kind: str) -> int:
        """Own value: the newest in the own buffer, else memory."""
        buffered = [value for k, value in worker.stores if k == kind]
        return buffered[-1] if buffered else (state.counts if kind == "count" else state.busy)[index]

    def steps(self, state: State, index: int, worker: Worker) -> Iterator[Step]:
        rules, go = self.rules, worker._replace
        script = self.scenario.scripts[index]
        if worker.place == IDLE:
            yield from self.idle_steps(state, index, worker)
        elif worker.place == FENCE_BUSY:
            if not worker.stores or not rules.publisher_fence:
                yield "enters its busy section", self.put(state, index, go(place=ACT))
        elif worker.place in (ACT, MORE):
            if worker.acted < len(script):
                yield from self.act(state, index, worker)
            if worker.place == MORE:
                yield "has acted", self.put(state, index, go(place=PUBLISH))
        elif worker.place == FENCE_LEAVE:
            if not worker.stores or not rules.leaver_fence:
                yield "fences its removal", self.put(state, index, go(place=SAMPLE))
        elif worker.place == SAMPLE:
            other = worker.next_sample
            samples = worker.samples
            if other != index and state.busy[other] % 2:
                samples += ((other, state.busy[other]),)
            after = go(samples=samples, next_sample=other + 1)
            if other + 1 == self.count:
                after = after._replace(place=MORE if rules.wait_after_round else WAIT_INSIDE)
            yield f"samples busy of {other}", self.put(state, index, after)
        elif worker.place == WAIT_INSIDE:
            if self.wait_is_over(state, worker):
                yield "ends its wait, still busy", self.put(state, index, go(place=MORE))
        elif worker.place == PUBLISH:
            if not worker.batch:
                yield from self.steps(state, index, go(place=END))
            elif not worker.stores:  # fetch_add is a fence
                after = go(place=STORE_HEAD, ticket=state.next_ticket)
                yield (
                    "takes a ticket",
                    self.put(state._replace(next_ticket=state.next_ticket + 1), index, after),
                )
        elif worker.place == STORE_HEAD:
            ring = state.rings[index] + ((worker.ticket, worker.batch),)
            rings = replaced(state.rings, index, ring)
            after = go(place=END, batch=(), stores=(*worker.stores, ("head", len(ring))))
            yield (
                "stores its head",
                self.put(state._replace(rings=rings), index, after),
            )
        elif worker.place == END:
            busy = self.load(state, worker, index, "busy") + 1
            yield (
                "ends its round",
                self.put(state, index, go(place=IDLE, stores=(*worker.stores, ("busy", busy)))),
            )
        elif worker.place == TICKET:
            yield "loads T", self.put(state, index, go(place=HEADS, limit=state.next_ticket))
        elif worker.place == HEADS:
            yield "loads the heads and delivers", self.deliver(state, index, go(heads=state.heads))
        elif worker.place == DROP:
            after = go(place=IDLE, member=False, leaving=False, answered=True)
            yield "drops its member and answers", self.put(state, index, after)

    def idle_steps(self, state: State, index: int, worker: Worker) -> Iterator[Step]:
        go = worker._replace
        if worker.acted < len(self.scenario.scripts[index]):
            busy = self.load(state, worker, index, "busy") + 1
            after = go(place=FENCE_BUSY, stores=(*worker.stores, ("busy", busy)))
            yield "begins a round", self.put(state, index, after)
        if any(head > worker.cursors[r] for r, head in enumerate(state.heads) if r != index):
            yield "wakes for a frame", self.put(state, index, go(place=TICKET))
        if worker.leaving and self.wait_is_over(state, worker):
            place = TICKET if self.rules.final_ticket_round else DROP
            yield "ends its wait", self.put(state, index, go(place=place, final=True))

    def wait_is_over(self, state: State, worker: Worker) -> bool:
        return not self.rules.busy_wait or all(
            state.busy[other] != value or (self.rules.down_ends_wait and state.dead == other)
            for other, value in worker.samples
        )

    def act(self, state: State, index: int, worker: Worker) -> Iterator[Step]:
        go = worker._replace
        if self.scenario.scripts[index][worker.acted] == "UNSUB":
            stores = (*worker.stores, ("count", 0))
            after = go(acted=worker.acted + 1, place=FENCE_LEAVE, leaving=True, stores=stores)
            yield "acts on UNSUB", self.put(state, index, after)
            return
        message = f"message {index}.{worker.acted}"
        for chosen in range(self.count):
            count = self.load(state, worker, index, "count") if chosen == index else state.counts[chosen]
            if not count:
                continue
            after = go(acted=worker.acted + 1, place=MORE)
            delivered = state.delivered
            if chosen == index:
                delivered = (*delivered, message)
            else:
                after = after._replace(batch=(*worker.batch, (message, chosen)))
            after_state = self.put(state._replace(delivered=delivered), index, after)
            yield f"routes {message} to worker {chosen}", after_state

    def deliver(self, state: State, index: int, worker: Worker) -> State:
        delivered, lost, cursors = state.delivered, state.lost, list(worker.cursors)
        batches = []
        for ring, head in enumerate(worker.heads):
            for ticket, batch in state.rings[ring][cursors[ring] : head]:
                if ring != index and ticket < worker.limit:
                    batches.append((ticket, batch))
                    cursors[ring] += 1
        for _, batch in sorted(batches):
            for message, chosen in batch:
                if chosen == index and worker.member:
                    delivered += (message,)
                elif chosen == index:
                    lost = lost or message
        place = DROP if worker.final else IDLE
        after = worker._replace(place=place, final=False, cursors=tuple(cursors))
        return self.put(state._replace(delivered=delivered, lost=lost), index, after)
