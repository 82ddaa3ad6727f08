"""A worker dies at any step: survivors get every frame it published, none torn or doubled, and go on.

Three processes: the worker V that dies (and its successor), a survivor R, the supervisor S. V and R each have
a ring that the other reads; both rings are tiny, so that a dead reader's cursor really blocks and places
really are overwritten. The rules (DESIGN §4, "Crash of a worker", "A stopped worker"):

- S kills a worker that seems to stand still (it may be merely slow: it runs on until the signal arrives), and
  tells DOWN only after the exit is confirmed;
- at DOWN, R takes V's cursor out of its gating, drains V's ring to the published head and acknowledges;
- only then the successor starts, with a new ring and a new generation; R attaches it at R's present head:
  first the cursor, then the attach generation; the successor reads R's ring only once it finds its own
  generation there (the cursor before that is its dead predecessor's, and the bytes at it may be overwritten).

Property: R receives exactly the frames whose head was stored, whole, in order, once; the successor never
reads an overwritten place; R and the successor finish all their writing. Each ``Rules`` switch must be found
when off.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from tests.models.explorer import Outcome, Step, explore, replaced


@dataclass(frozen=True)
class Rules:
    down_after_exit: bool = True  # DOWN is told after the exit is confirmed, not when the kill is sent
    detach_cursor: bool = True  # a dead reader no longer holds the ring
    drain_dead_ring: bool = True  # what the dead one had published is delivered
    drain_to_head: bool = True  # ... and no more than that: what is written beyond the head is not looked at
    new_ring: bool = True  # the successor gets fresh memory; else the old ring, begun anew at once
    attach_by_generation: bool = True  # the successor waits until the survivor has attached it


victim_capacity = 2  # records in V's ring
survivor_capacity = 1  # records in R's ring
victim_records = 3
survivor_records = 4
EMPTY, HALF = "empty", "half"  # contents of a place beside a whole record

# Supervisor: all is well; DOWN told; successor started; no successor (back-off without end).
WATCHING, TOLD, STARTED, GIVEN_UP = range(4)
# Survivor: as usual; draining a dead ring; without a peer.
USUAL, DRAINING, ALONE = range(3)


class Victim(NamedTuple):
    alive: bool
    generation: int
    written: int  # records published by this incarnation
    half: bool  # the next record is half written
    attached: bool  # this incarnation reads R's ring
    position: int  # its own cursor in R's ring


class Ring(NamedTuple):
    places: tuple[str, ...]
    head: int
    cursor: int  # of its one reader


class Survivor(NamedTuple):
    mode: int
    generation: int  # of V's ring being read
    gated: bool  # V's cursor counts in R's gating
    written: int
    channel: tuple[str, ...]  # messages from S not yet handled
    received: tuple[str, ...]


class State(NamedTuple):
    victim: Victim
    victim_rings: tuple[Ring, Ring]  # by generation
    survivor: Survivor
    survivor_ring: Ring
    attach_generation: int  # beside the cursor in R's ring
    supervisor: int
    published: tuple[str, ...]  # all records whose head was stored, in that order
    fault: str


def check(rules: Rules = Rules()) -> Outcome:
    """Search all interleavings and all moments of death under these rules."""
    ring = Ring((EMPTY,) * victim_capacity, 0, 0)
    initial = State(
        Victim(True, 0, 0, False, True, 0),
        (ring, ring),
        Survivor(USUAL, 0, True, 0, (), ()),
        Ring((EMPTY,) * survivor_capacity, 0, 0),
        0,
        WATCHING,
        (),
        "",
    )
    return explore(initial, _Successors(rules), lambda state: state.fault, _violation_at_end)


def _record(generation: int, number: int) -> str:
    return f"{generation}.{number}"


def _violation_at_end(state: State) -> str:
    if state.survivor.written < survivor_records:
        return "the survivor is stuck"
    if state.supervisor == STARTED and state.victim.written < victim_records:
        return "the successor is stuck"
    if state.survivor.received != state.published:
        return f"published {state.published}, received {state.survivor.received}"
    return ""


class _Successors:
    def __init__(self, rules: Rules) -> None:
        self.rules = rules

    def __call__(self, state: State) -> Iterator[Step]:
        if state.victim.alive:
            yield from self.victim_steps(state)
        yield from self.survivor_steps(state)
        yield from self.supervisor_steps(state)

    # --- the worker that dies, and its successor --------------------------------------------------------

    def ring_of(self, generation: int) -> int:
        return generation if self.rules.new_ring else 0

    def victim_steps(self, state: State) -> Iterator[Step]:
        victim = state.victim
        index = self.ring_of(victim.generation)
        ring = state.victim_rings[index]
        if victim.generation == 0:
            yield "V dies", state._replace(victim=victim._replace(alive=False))
        if victim.written < victim_records and ring.head - ring.cursor < victim_capacity:
            place = ring.head % victim_capacity
            record = _record(victim.generation, victim.written)
            if not victim.half:
                after = ring._replace(places=replaced(ring.places, place, HALF))
                label = "V writes half a record"
            else:
                after = ring._replace(places=replaced(ring.places, place, record), head=ring.head + 1)
                label = f"V publishes {record}"
            yield (
                label,
                state._replace(
                    victim=victim._replace(half=not victim.half, written=victim.written + int(victim.half)),
                    victim_rings=replaced(state.victim_rings, index, after),
                    published=state.published + ((record,) if victim.half else ()),
                ),
            )
        other = state.survivor_ring
        if not victim.attached:
            if state.attach_generation == victim.generation or not self.rules.attach_by_generation:
                after = victim._replace(attached=True, position=other.cursor)
                yield f"V attaches at {other.cursor}", state._replace(victim=after)
        elif other.head > victim.position:
            found = other.places[victim.position % survivor_capacity]
            wrong = "" if found == str(victim.position) else f"V reads {found} at position {victim.position}"
            after = victim._replace(position=victim.position + 1)
            ring = other._replace(cursor=after.position)
            yield (
                f"V reads {found}",
                state._replace(victim=after, survivor_ring=ring, fault=state.fault or wrong),
            )

    # --- the survivor -----------------------------------------------------------------------------------

    def survivor_steps(self, state: State) -> Iterator[Step]:
        survivor, ring = state.survivor, state.survivor_ring
        full = survivor.gated and ring.head - ring.cursor >= survivor_capacity
        if survivor.written < survivor_records and not full:
            places = replaced(ring.places, ring.head % survivor_capacity, str(ring.head))
            after = ring._replace(places=places, head=ring.head + 1)
            yield (
                f"R publishes {ring.head}",
                state._replace(survivor=survivor._replace(written=survivor.written + 1), survivor_ring=after),
            )
        if survivor.mode != ALONE:
            yield from self.read_victim(state)
        if survivor.channel and survivor.mode != DRAINING:
            yield from self.handle(state)

    def read_victim(self, state: State) -> Iterator[Step]:
        survivor = state.survivor
        index = self.ring_of(survivor.generation)
        ring = state.victim_rings[index]
        draining = survivor.mode == DRAINING
        if draining and not self.rules.drain_to_head:
            has_record = ring.cursor <= ring.head and ring.places[ring.cursor % victim_capacity] != EMPTY
            has_record = has_record and (ring.cursor < ring.head or state.victim.half)
        else:
            has_record = ring.cursor < ring.head
        if draining and (not has_record or not self.rules.drain_dead_ring):
            yield "R has drained the dead ring", state._replace(survivor=survivor._replace(mode=ALONE))
        elif has_record:
            found = ring.places[ring.cursor % victim_capacity]
            wrong = f"R received {found!r}" if found in (EMPTY, HALF) or found in survivor.received else ""
            yield (
                f"R receives {found}",
                state._replace(
                    survivor=survivor._replace(received=(*survivor.received, found)),
                    victim_rings=replaced(state.victim_rings, index, ring._replace(cursor=ring.cursor + 1)),
                    fault=state.fault or wrong,
                ),
            )

    def handle(self, state: State) -> Iterator[Step]:
        survivor = state.survivor
        message, *rest = survivor.channel
        survivor = survivor._replace(channel=tuple(rest))
        if message == "DOWN":
            gated = survivor.gated and not self.rules.detach_cursor
            yield "R handles DOWN", state._replace(survivor=survivor._replace(mode=DRAINING, gated=gated))
            return
        ring = state.survivor_ring._replace(cursor=state.survivor_ring.head)
        yield (
            "R attaches the successor",
            state._replace(
                survivor=survivor._replace(mode=USUAL, generation=1, gated=True),
                survivor_ring=ring,
                attach_generation=1,
            ),
        )

    # --- the supervisor ---------------------------------------------------------------------------------

    def supervisor_steps(self, state: State) -> Iterator[Step]:
        survivor, dead = state.survivor, not state.victim.alive
        told = survivor._replace(channel=(*survivor.channel, "DOWN"))
        if state.supervisor == WATCHING and not dead and not self.rules.down_after_exit:
            yield "S sends a kill and tells DOWN", state._replace(supervisor=TOLD, survivor=told)
        if state.supervisor == WATCHING and dead:
            yield "S sees the exit and tells DOWN", state._replace(supervisor=TOLD, survivor=told)
        if state.supervisor == TOLD and dead:
            yield "S gives no successor", state._replace(supervisor=GIVEN_UP)
        if state.supervisor == TOLD and dead and (survivor.mode == ALONE or not self.rules.new_ring):
            rings = state.victim_rings
            if not self.rules.new_ring:  # the old memory, begun anew
                rings = replaced(rings, 0, rings[0]._replace(head=0, cursor=0))
            yield (
                "S starts the successor and tells UP",
                state._replace(
                    supervisor=STARTED,
                    victim=Victim(True, 1, 0, False, False, 0),
                    victim_rings=rings,
                    survivor=survivor._replace(channel=(*survivor.channel, "UP")),
                ),
            )
