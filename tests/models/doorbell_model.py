"""Doorbells: a worker that sleeps is woken for every record and for every byte of space it waits for.

Each worker has one ring, read by all others; it is full when its slowest reader's cursor lags by
``capacity``. A worker's loop, one atomic step each:

    read      load a head; take one record; store cursor; fence; if the producer's want_space is set and the
              own cursor has come so far: ring the producer
    write     load the cursors; if there is room: store head, fence, ring the readers
              else: want_space = the position every cursor must reach; load the cursors again; if there is
              room now: go on, else park. (No fence here: the sleeper's own comes after.)
              Clear want_space when the record is written.
    sleep     sleeping += 1 (odd); fence; re-check *every* wake condition: each inbound head, and the room it
              parked for; nothing: wait on the eventfd; afterwards sleeping += 1 (even)
    ring(w)   load sleeping of w; if odd and not the epoch rung last: remember it, write w's eventfd

Property: no lost wake-up (when nothing moves any more, everything was read), and a producer rings at most
once per epoch. Also with a producer that dies at any step: nobody relies on a doorbell that another was to
ring ("proxy": a shared flag that the first producer clears, as in the prototype).

Plain stores go through a store buffer per process (explorer.py). Every switch of ``Rules`` must be found when
off: both re-checks, all fences, the epoch, the once-per-epoch rule, and who may clear want_space.

What the model taught (it was wrong in the first design): a want_space flag that *readers* clear loses a
wake-up without any reordering. A reader that is not the slowest one, or that freed too little, clears it
while the producer is still awake, and so rings nobody; the producer's re-check finds no room and it sleeps;
the reader that frees the room later finds want_space 0. Hence: written by the producer alone.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from tests.models.explorer import Outcome, Step, explore, replaced


@dataclass(frozen=True)
class Rules:
    recheck_heads: bool = True  # before waiting: is there an inbound record?
    recheck_space: bool = True  # before waiting: is there room now for what is parked?
    sleeper_fence: bool = True  # between sleeping = odd and the re-check
    publish_fence: bool = True  # between storing head and loading sleeping
    space_fence: bool = True  # between storing cursor and loading want_space
    want_is_producers: bool = True  # only the producer clears want_space; else the first reader to see it
    ring_by_each: bool = True  # an epoch, rung by every producer; else a flag cleared by the first ringer
    once_per_epoch: bool = True  # a producer remembers the epoch it has rung


@dataclass(frozen=True)
class Scenario:
    """``sizes[w]``: the records worker w sends to all other readers, in units of ring space."""

    name: str
    sizes: tuple[tuple[int, ...], ...]
    readers: tuple[int, ...]
    capacity: int
    written: int = 0  # records worker 0 has published and nobody has read yet
    mortal: int = -1  # this worker may be killed before any of its steps


SCENARIOS = (
    Scenario("one way", ((1, 1, 1), ()), readers=(1,), capacity=2),
    Scenario("large record", ((1, 1, 2), ()), readers=(1,), capacity=2),
    Scenario("both ways, full rings", ((1, 1), (1, 1)), readers=(0, 1), capacity=1),
    Scenario("two readers", ((1, 1), (), ()), readers=(1, 2), capacity=1, written=1),
    Scenario("dying producer", ((1,), (1,), ()), readers=(2,), capacity=2, mortal=0),
)

# Where a worker stands. A fence is no step of its own: the load after it waits for an empty store buffer.
READ, READ_WANT, WRITE, WANT_CHECK, SLEEP, RECHECK, WAIT, RING = range(8)


class Worker(NamedTuple):
    place: int
    to_ring: tuple[int, ...]  # workers RING still has to look at
    to_write: int  # the one whose eventfd RING is about to write, -1: none
    rung: tuple[int, ...]  # per worker: the epoch rung last
    ring: int  # the ring READ has taken a record from
    cursors: tuple[int, ...]  # own position in each ring
    sent: int  # records of the script written
    head: int  # own head
    wants: bool  # want_space is set for the next record
    parked: bool  # the next record did not fit, also after want_space was set
    stores: tuple  # store buffer: (kind, place, value), oldest first


class State(NamedTuple):
    heads: tuple[int, ...]
    cursors: tuple[tuple[int, ...], ...]  # [ring][reader]
    want: tuple[int, ...]
    sleeping: tuple[int, ...]
    events: tuple[int, ...]  # eventfd readable
    rings_in_epoch: tuple[tuple[int, ...], ...]  # [sleeper][ringer], decided in the current epoch
    workers: tuple[Worker, ...]
    dead: int


def check(scenario: Scenario, rules: Rules = Rules()) -> Outcome:
    """Search all interleavings of one scenario under these rules."""
    return _Search(scenario, rules).run()


class _Search:
    def __init__(self, scenario: Scenario, rules: Rules) -> None:
        self.scenario = scenario
        self.rules = rules
        self.count = len(scenario.sizes)

    def run(self) -> Outcome:
        zeros = (0,) * self.count
        square = (zeros,) * self.count
        none = (-1,) * self.count
        worker = Worker(READ, (), -1, none, 0, zeros, 0, 0, False, False, ())
        head = sum(self.scenario.sizes[0][: self.scenario.written])
        first = worker._replace(sent=self.scenario.written, head=head)
        workers = (first,) + (worker,) * (self.count - 1)
        initial = State((head, *zeros[1:]), square, zeros, zeros, zeros, square, workers, -1)
        return explore(initial, self.successors, self.violation_in, self.violation_at_end)

    def violation_in(self, state: State) -> str:
        if any(rings > 1 for row in state.rings_in_epoch for rings in row):
            return f"{self.scenario.name}: a producer rang twice in one epoch"
        return ""

    def violation_at_end(self, state: State) -> str:
        for index, worker in enumerate(state.workers):
            if index == state.dead:
                continue
            if worker.sent < len(self.scenario.sizes[index]) and state.dead < 0:
                return f"{self.scenario.name}: worker {index} sleeps with a record to write"
            # What a dead producer had published is found at DOWN, which wakes everybody (crash_model).
            if self.full_ring(state, index, worker, but=state.dead) >= 0:
                return f"{self.scenario.name}: worker {index} sleeps with a record to read"
        return ""

    def successors(self, state: State) -> Iterator[Step]:
        for index, worker in enumerate(state.workers):
            if index == state.dead:
                continue
            if worker.stores:
                yield self.drain_store(state, index, worker)
            if index == self.scenario.mortal and state.dead < 0:
                yield (
                    f"worker {index} is killed",
                    self.put(state._replace(dead=index), index, worker._replace(stores=())),
                )
            step = self.step(state, index, worker)
            if step is not None:
                yield f"worker {index} {step[0]}", step[1]

    def put(self, state: State, index: int, worker: Worker) -> State:
        return state._replace(workers=replaced(state.workers, index, worker))

    def drain_store(self, state: State, index: int, worker: Worker) -> Step:
        (kind, place, value), *rest = worker.stores
        if kind == "cursor":
            column = replaced(state.cursors[place], index, value)
            state = state._replace(cursors=replaced(state.cursors, place, column))
        elif kind == "sleeping":
            state = self.slept(state, index, value)
        else:
            name = "heads" if kind == "head" else "want"
            state = state._replace(**{name: replaced(getattr(state, name), place, value)})
        label = f"worker {index}: {kind} of {place} = {value} reaches memory"
        return label, self.put(state, index, worker._replace(stores=tuple(rest)))

    def slept(self, state: State, index: int, value: int) -> State:
        """``sleeping`` changes: a new epoch, nobody has rung in it."""
        rings = (
            replaced(state.rings_in_epoch, index, (0,) * self.count) if value % 2 else state.rings_in_epoch
        )
        return state._replace(sleeping=replaced(state.sleeping, index, value), rings_in_epoch=rings)

    def has_room(self, state: State, index: int, worker: Worker) -> bool:
        size = self.scenario.sizes[index][worker.sent]
        readers = (w for w in self.scenario.readers if w != index)
        return all(worker.head + size - state.cursors[index][r] <= self.scenario.capacity for r in readers)

    def full_ring(self, state: State, index: int, worker: Worker, *, but: int = -1) -> int:
        """The first ring (but one) with a record for this worker, -1: none."""
        if index not in self.scenario.readers:
            return -1
        rings = (r for r in range(self.count) if r not in (index, but))
        return next((r for r in rings if state.heads[r] > worker.cursors[r]), -1)

    def step(self, state: State, index: int, worker: Worker) -> Step | None:
        go, rules, place = worker._replace, self.rules, worker.place
        if place == READ:
            return self.read(state, index, worker)
        if place == READ_WANT:
            return None if worker.stores and rules.space_fence else self.look_at_want(state, index, worker)
        if place == WRITE:
            return self.write(state, index, worker)
        if place == WANT_CHECK:
            after = go(place=WRITE) if self.has_room(state, index, worker) else go(place=SLEEP, parked=True)
            return "looks for room again", self.put(state, index, after)
        if place == SLEEP:
            epoch = self.own_sleeping(state, index, worker) + 1
            stores = (*worker.stores, ("sleeping", index, epoch))
            return "says it sleeps", self.put(state, index, go(place=RECHECK, stores=stores))
        if place == RECHECK:
            if worker.stores and rules.sleeper_fence:
                return None
            news = rules.recheck_heads and self.full_ring(state, index, worker) >= 0
            room = rules.recheck_space and worker.parked and self.has_room(state, index, worker)
            if news or room:
                return "finds work after all", self.awake(state, index, worker)
            return "waits", self.put(state, index, go(place=WAIT))
        if place == WAIT:
            if not state.events[index]:
                return None
            state = state._replace(events=replaced(state.events, index, 0))
            return "hears its doorbell", self.awake(state, index, worker)
        return None if worker.stores and rules.publish_fence else self.ring(state, index, worker)

    def own_sleeping(self, state: State, index: int, worker: Worker) -> int:
        buffered = [value for kind, _, value in worker.stores if kind == "sleeping"]
        return buffered[-1] if buffered else state.sleeping[index]

    def awake(self, state: State, index: int, worker: Worker) -> State:
        value = self.own_sleeping(state, index, worker)
        value += value % 2  # by proxy the flag may have been cleared by the ringer
        stores = (*worker.stores, ("sleeping", index, value))
        return self.put(state, index, worker._replace(place=READ, parked=False, stores=stores))

    def read(self, state: State, index: int, worker: Worker) -> Step | None:
        """Take one record from the first ring that has one; else go on to writing.

        Looking at empty rings is one step with what follows: what comes in between is what the re-check
        before waiting has to find.
        """
        ring = self.full_ring(state, index, worker)
        if ring < 0 and index not in self.scenario.readers and worker.sent == len(self.scenario.sizes[index]):
            return None  # it only writes, and is done: its sleep interests nobody
        if ring < 0:
            place = WRITE if worker.sent < len(self.scenario.sizes[index]) else SLEEP
            return "finds nothing to read", self.put(state, index, worker._replace(place=place))
        sizes = self.scenario.sizes[ring]
        read_count = next(n for n in range(len(sizes)) if sum(sizes[:n]) == worker.cursors[ring])
        cursor = worker.cursors[ring] + sizes[read_count]
        after = worker._replace(
            place=READ_WANT,
            ring=ring,
            cursors=replaced(worker.cursors, ring, cursor),
            stores=(*worker.stores, ("cursor", ring, cursor)),
        )
        return f"reads a record of ring {ring}", self.put(state, index, after)

    def look_at_want(self, state: State, index: int, worker: Worker) -> Step | None:
        ring = worker.ring
        wanted = state.want[ring]
        if not wanted or (worker.cursors[ring] < wanted and self.rules.want_is_producers):
            return "is not asked for space", self.put(state, index, worker._replace(place=READ))
        after = worker._replace(place=RING, to_ring=(ring,))
        if self.rules.want_is_producers:
            return "sees that space is wanted", self.put(state, index, after)
        if worker.stores:
            return None  # an exchange is a fence
        return "clears want_space", self.put(state._replace(want=replaced(state.want, ring, 0)), index, after)

    def write(self, state: State, index: int, worker: Worker) -> Step:
        if not self.has_room(state, index, worker):
            size = self.scenario.sizes[index][worker.sent]
            wanted = worker.head + size - self.scenario.capacity
            after = worker._replace(
                place=WANT_CHECK, wants=True, stores=(*worker.stores, ("want", index, wanted))
            )
            return "is full and wants space", self.put(state, index, after)
        head = worker.head + self.scenario.sizes[index][worker.sent]
        clear = (("want", index, 0),) if worker.wants else ()
        after = worker._replace(
            place=RING,
            to_ring=tuple(w for w in self.scenario.readers if w != index),
            sent=worker.sent + 1,
            head=head,
            wants=False,
            parked=False,
            stores=worker.stores + clear + (("head", index, head),),
        )
        return "publishes a record", self.put(state, index, after)

    def ring(self, state: State, index: int, worker: Worker) -> Step:
        """One look at ``sleeping``, or one write of an eventfd: a producer may die between the two."""
        if worker.to_write >= 0:
            sleeper = worker.to_write
            state = state._replace(events=replaced(state.events, sleeper, 1))
            place = RING if worker.to_ring else READ
            return f"rings {sleeper}", self.put(state, index, worker._replace(to_write=-1, place=place))
        sleeper, *rest = worker.to_ring
        epoch = state.sleeping[sleeper]
        after = worker._replace(to_ring=tuple(rest))
        rung = self.rules.once_per_epoch and worker.rung[sleeper] == epoch
        if epoch % 2 and not rung:
            after = after._replace(to_write=sleeper, rung=replaced(worker.rung, sleeper, epoch))
            row = replaced(state.rings_in_epoch[sleeper], index, state.rings_in_epoch[sleeper][index] + 1)
            state = state._replace(rings_in_epoch=replaced(state.rings_in_epoch, sleeper, row))
            if not self.rules.ring_by_each:  # the flag is cleared by whoever comes first
                state = state._replace(sleeping=replaced(state.sleeping, sleeper, epoch + 1))
        elif not rest:
            after = after._replace(place=READ)
        return f"looks whether {sleeper} sleeps", self.put(state, index, after)
