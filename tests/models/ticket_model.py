"""Tickets and publish-before-bytes make N workers look like one server: the argument, checked exhaustively.

Property. Programs talk to different workers and to each other (a PONG or a message one of them has seen lets
the next one act). Whatever the interleaving:

- a subscriber sees message 1 before message 2 if 2 was sent after 1's publisher had its PONG, or after
  anybody had seen 1 (external causality);
- publish + flush by one program, then UNSUB + flush by another: the message arrives before the second PONG;
- SUB then a request on one connection, answered through another worker: the answer finds its way; and SUB,
  flush, then a request through another worker: never a 503.

A worker's round, one atomic step each: read the sockets; load T = ticket counter; load each ring's head;
deliver what is in the rings with ticket < T, in ticket order; act on each command read; store the interest
changes; take a ticket (fetch_add); store the own head; write the outboxes to the sockets. Between any two
steps all other processes may run. A round begins when there is something to do; that of a watched subscriber
also at any one other moment (unrelated traffic woke its worker): without that, no round ever has the bad luck
to look at a ring just before the interesting message. ``Rules`` switches single rules off: each must then
break a scenario.

Not modelled: full rings, sleeping (doorbell_model), queue groups (queue_unsub_model), deaths (crash_model).
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from tests.models.explorer import Outcome, Step, explore, replaced


@dataclass(frozen=True)
class Rules:
    """The rules of DESIGN §4; a mutation is one of them switched off."""

    tickets: bool = True  # deliver only ticket < T, in ticket order; else ring after ring, all there is
    ticket_before_heads: bool = True  # load T first, then the heads
    ticket_order: bool = True  # merge the rings by ticket; else ring after ring (still ticket < T)
    drain_before_acting: bool = True  # the round of deliveries comes before any command
    publish_before_bytes: bool = True  # no byte to a client before interest and head are stored
    interest_before_head: bool = True  # interest changes are stored before the message head


@dataclass(frozen=True)
class Scenario:
    """Who is connected where, what they send, and what must come out."""

    name: str
    workers: tuple[int, ...]  # per client: its worker
    subscribed: tuple[tuple[int, str], ...]  # (client, subject) before the start
    #: per client: sends of ((client, item) that must have been received before, or None; commands)
    scripts: tuple[tuple[tuple[tuple[int, str] | None, tuple[tuple[str, str, str], ...]], ...], ...]
    in_order: tuple[tuple[int, str, str], ...]  # (client, first, second): second never without first
    expected: tuple[tuple[int, str], ...]  # (client, item) that must have arrived in the end


def pub(subject: str, message: str) -> tuple[str, str, str]:
    return ("PUB", subject, message)


def ping(answer: str) -> tuple[str, str, str]:
    return ("PING", "", answer)


def sub(subject: str) -> tuple[str, str, str]:
    return ("SUB", subject, "")


def unsub(subject: str) -> tuple[str, str, str]:
    return ("UNSUB", subject, "")


def chain_by_pong(first: int, second: int, subscriber: int) -> Scenario:
    """P1 publishes 1, has its PONG; then P2 publishes 2."""
    return Scenario(
        f"chain by PONG {first}{second}{subscriber}",
        workers=(first, second, subscriber),
        subscribed=((2, "x"),),
        scripts=(
            (
                (
                    None,
                    (pub("x", "1"), ping("pong")),
                ),
            ),
            (((0, "pong"), (pub("x", "2"),)),),
            (),
        ),
        in_order=((2, "1", "2"),),
        expected=((2, "1"), (2, "2")),
    )


def chain_by_sight(first: int, second: int, witness: int, subscriber: int) -> Scenario:
    """P1 publishes 1; somebody sees it; then P2 publishes 2."""
    return Scenario(
        f"chain by sight {first}{second}{witness}{subscriber}",
        workers=(first, second, witness, subscriber),
        subscribed=((2, "x"), (3, "x")),
        scripts=(((None, (pub("x", "1"),)),), (((2, "1"), (pub("x", "2"),)),), (), ()),
        in_order=((3, "1", "2"), (2, "1", "2")),
        expected=((3, "1"), (3, "2")),
    )


def flush_then_drain(publisher: int, subscriber: int) -> Scenario:
    """P publishes and flushes; then S sends UNSUB and PING: the message comes before S's PONG."""
    return Scenario(
        f"flush then drain {publisher}{subscriber}",
        workers=(publisher, subscriber),
        subscribed=((1, "x"),),
        scripts=(
            ((None, (pub("x", "1"),)), (None, (ping("pong"),))),
            (((0, "pong"), (unsub("x"), ping("drained"))),),
        ),
        in_order=((1, "1", "drained"),),
        expected=((1, "1"), (1, "drained")),
    )


def subscribe_and_request(requester: int, responder: int) -> Scenario:
    """SUB of the inbox and the request in one write, no flush; the responder answers through its worker."""
    return Scenario(
        f"subscribe and request {requester}{responder}",
        workers=(requester, responder),
        subscribed=((1, "service"),),
        scripts=(
            ((None, (sub("inbox"), pub("service", "ask"))),),
            (((1, "ask"), (pub("inbox", "answer"),)),),
        ),
        in_order=(),
        expected=((0, "answer"),),
    )


def subscribe_flush_request(responder: int, requester: int) -> Scenario:
    """SUB, PING, PONG on one worker; only then a request through another: somebody is there."""
    return Scenario(
        f"subscribe, flush, request {responder}{requester}",
        workers=(responder, requester),
        subscribed=(),
        scripts=(((None, (sub("service"), ping("ready"))),), (((0, "ready"), (pub("service", "ask"),)),)),
        in_order=(),
        expected=((0, "ask"),),
    )


SCENARIOS = (
    chain_by_pong(0, 1, 2),
    chain_by_pong(1, 0, 2),
    chain_by_pong(1, 2, 0),
    chain_by_pong(0, 1, 1),
    chain_by_pong(0, 1, 0),
    chain_by_sight(0, 1, 0, 2),
    chain_by_sight(0, 1, 1, 2),
    chain_by_sight(1, 0, 0, 2),
    flush_then_drain(0, 1),
    flush_then_drain(1, 0),
    subscribe_and_request(0, 1),
    subscribe_and_request(1, 0),
    subscribe_flush_request(0, 1),
)

idle_rounds_max = 1  # per worker with a watched subscriber

# Places in a worker's round, in the order of the rules (a mutation changes the order, not the places).
IDLE, TICKET, HEADS, DELIVER, ACT, INTEREST, TAKE_TICKET, STORE_HEAD, WRITE = range(9)


class Worker(NamedTuple):
    place: int  # index into the order of the round
    idle_rounds: int  # rounds it may still begin without a reason
    heads_loaded: int  # how many heads this round has loaded
    commands: tuple  # (client, command) read and not yet acted on
    limit: int  # T of this round
    heads: tuple[int, ...]  # batches visible to this round, per ring
    cursors: tuple[int, ...]  # batches delivered, per ring
    batch: tuple  # (message, subject, destinations) not yet published
    ticket: int  # taken for the batch
    interest: frozenset  # subjects with local subscribers, not yet stored if different from the shared one
    outbox: tuple  # (client, item) not yet written


class State(NamedTuple):
    next_ticket: int
    rings: tuple  # per worker: ((ticket, batch), ...)
    interests: tuple[frozenset, ...]  # stored in shared memory, per worker
    subscriptions: frozenset  # (client, subject), each known only to its client's worker
    workers: tuple[Worker, ...]
    positions: tuple[int, ...]  # per client: sends done
    sockets: tuple[tuple, ...]  # per client: commands sent and not yet read
    received: tuple[tuple, ...]  # per client


def check(scenario: Scenario, rules: Rules = Rules()) -> Outcome:
    """Search all interleavings of one scenario under these rules."""
    return _Search(scenario, rules).run()


class _Search:
    def __init__(self, scenario: Scenario, rules: Rules) -> None:
        self.scenario = scenario
        self.rules = rules
        self.worker_count = max(scenario.workers) + 1
        look = [TICKET, HEADS] if rules.ticket_before_heads else [HEADS, TICKET]
        deliveries = [*look, DELIVER]
        publish = [TAKE_TICKET, STORE_HEAD]
        publish = [INTEREST, *publish] if rules.interest_before_head else [*publish, INTEREST]
        send = [*publish, WRITE] if rules.publish_before_bytes else [WRITE, *publish]
        middle = [*deliveries, ACT] if rules.drain_before_acting else [ACT, *deliveries]
        self.order = [IDLE, *middle, *send]

    def run(self) -> Outcome:
        clients_count = len(self.scenario.workers)
        interests = tuple(
            frozenset(s for c, s in self.scenario.subscribed if self.scenario.workers[c] == w)
            for w in range(self.worker_count)
        )
        zeros = (0,) * self.worker_count
        watched = {self.scenario.workers[c] for c, _, _ in self.scenario.in_order}
        workers = tuple(
            Worker(0, idle_rounds_max if w in watched else 0, 0, (), 0, zeros, zeros, (), 0, interests[w], ())
            for w in range(self.worker_count)
        )
        initial = State(
            0,
            ((),) * self.worker_count,
            interests,
            frozenset(self.scenario.subscribed),
            workers,
            (0,) * clients_count,
            ((),) * clients_count,
            ((),) * clients_count,
        )
        return explore(initial, self.successors, self.violation_in, self.violation_at_end)

    def violation_in(self, state: State) -> str:
        for client, first, second in self.scenario.in_order:
            received = state.received[client]
            if second in received and first not in received[: received.index(second)]:
                return f"{self.scenario.name}: client {client} has {second!r} without {first!r} before it"
        if any("503" in received for received in state.received):
            return f"{self.scenario.name}: no responders, though the subscriber was there"
        return ""

    def violation_at_end(self, state: State) -> str:
        for client, item in self.scenario.expected:
            if state.received[client].count(item) != 1:
                return f"{self.scenario.name}: client {client} never got {item!r}, or twice"
        return ""

    def successors(self, state: State) -> Iterator[Step]:
        for client, script in enumerate(self.scenario.scripts):
            position = state.positions[client]
            if position < len(script):
                condition, commands = script[position]
                if condition is None or condition[1] in state.received[condition[0]]:
                    yield (
                        f"client {client} sends {commands}",
                        state._replace(
                            positions=replaced(state.positions, client, position + 1),
                            sockets=replaced(state.sockets, client, state.sockets[client] + commands),
                        ),
                    )
        for index, worker in enumerate(state.workers):
            step = self.step(state, index, worker)
            if step is not None:
                yield step

    def step(self, state: State, index: int, worker: Worker) -> Step | None:
        """The one next step of a worker, or None while it sleeps."""
        place = self.order[worker.place]
        done = worker._replace(place=(worker.place + 1) % len(self.order))
        if place == IDLE:
            mine = [c for c, w in enumerate(self.scenario.workers) if w == index]
            news = any(len(ring) > worker.cursors[r] for r, ring in enumerate(state.rings) if r != index)
            commands = tuple((c, command) for c in mine for command in state.sockets[c])
            if not commands and not news:
                if not worker.idle_rounds or not any(state.positions):
                    return None
                done = done._replace(idle_rounds=worker.idle_rounds - 1)
            sockets = tuple(() if c in mine else s for c, s in enumerate(state.sockets))
            return self.after(
                state._replace(sockets=sockets), index, done._replace(commands=commands), "reads"
            )
        if place == TICKET:
            return self.after(state, index, done._replace(limit=state.next_ticket), "loads T")
        if place == HEADS:
            ring = worker.heads_loaded
            heads = replaced(worker.heads, ring, len(state.rings[ring]))
            if ring + 1 < self.worker_count:
                after = worker._replace(heads=heads, heads_loaded=ring + 1)
            else:
                after = done._replace(heads=heads, heads_loaded=0)
            return self.after(state, index, after, f"loads head {ring}")
        if place == DELIVER:
            return self.after(state, index, self.deliver(state, index, done), "delivers")
        if place == ACT:
            if not worker.commands:
                return self.step(state, index, done)  # nothing read: no step of its own
            state, after = self.act(state, index, worker)
            return self.after(state, index, after, f"acts on {worker.commands[0]}")
        if place == INTEREST:
            if worker.interest == state.interests[index]:
                return self.step(state, index, done)
            interests = replaced(state.interests, index, worker.interest)
            return self.after(state._replace(interests=interests), index, done, "stores its interest")
        if place == TAKE_TICKET:
            if not worker.batch:
                return self.step(state, index, done)
            state = state._replace(next_ticket=state.next_ticket + 1)
            return self.after(state, index, done._replace(ticket=state.next_ticket - 1), "takes a ticket")
        if place == STORE_HEAD:
            if not worker.batch:
                return self.step(state, index, done)
            rings = replaced(state.rings, index, state.rings[index] + ((worker.ticket, worker.batch),))
            return self.after(state._replace(rings=rings), index, done._replace(batch=()), "stores its head")
        received = list(state.received)
        for client, item in worker.outbox:
            received[client] += (item,)
        return self.after(state._replace(received=tuple(received)), index, done._replace(outbox=()), "writes")

    def after(self, state: State, index: int, worker: Worker, what: str) -> Step:
        return (f"worker {index} {what}", state._replace(workers=replaced(state.workers, index, worker)))

    def deliver(self, state: State, index: int, worker: Worker) -> Worker:
        """Move what the round may deliver from the rings to the outbox."""
        batches = []
        cursors = list(worker.cursors)
        for ring, head in enumerate(worker.heads):
            if ring == index:
                continue
            for ticket, batch in state.rings[ring][cursors[ring] : head]:
                if self.rules.tickets and ticket >= worker.limit:
                    break
                batches.append((ticket, batch))
                cursors[ring] += 1
        if self.rules.tickets and self.rules.ticket_order:
            batches.sort()
        outbox = worker.outbox
        for _, batch in batches:
            for message, subject, destinations in batch:
                if index in destinations:
                    outbox += self.local(state, index, subject, message)
        return worker._replace(cursors=tuple(cursors), outbox=outbox)

    def local(self, state: State, index: int, subject: str, message: str) -> tuple:
        return tuple(
            (client, message)
            for client, pattern in sorted(state.subscriptions)
            if pattern == subject and self.scenario.workers[client] == index
        )

    def act(self, state: State, index: int, worker: Worker) -> tuple[State, Worker]:
        """Do the first command read."""
        (client, (verb, subject, item)), *rest = worker.commands
        worker = worker._replace(commands=tuple(rest))
        if verb == "PING":
            return state, worker._replace(outbox=(*worker.outbox, (client, item)))
        if verb == "PUB":
            local = self.local(state, index, subject, item)
            others = tuple(w for w, i in enumerate(state.interests) if w != index and subject in i)
            if not local and not others:
                local = ((client, "503"),)
            batch = (*worker.batch, (item, subject, others)) if others else worker.batch
            return state, worker._replace(outbox=worker.outbox + local, batch=batch)
        if verb == "SUB":
            subscriptions = state.subscriptions | {(client, subject)}
        else:
            subscriptions = state.subscriptions - {(client, subject)}
        interest = frozenset(s for c, s in subscriptions if self.scenario.workers[c] == index)
        return state._replace(subscriptions=subscriptions), worker._replace(interest=interest)
