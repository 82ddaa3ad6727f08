"""The write path of JetStream in one process, with somebody else's hand on every clock.

Real: the streams, the frames, the lanes, the write loop, the store, the journal, recovery by open_stored.
Played: the disk (sim_disk.py), the acceptor's part (fence, term, successor), publishers, and who moves next.
`World(seed).run()` makes some dozens of steps that the seed chooses; every answer goes to promises.py.

    owner        offers messages to its streams; moves frames into its lane; shows them, hears the writer; has
                 the end of a log cut off that is not committed
    writer       takes a cycle; dies, before, within or after one, at any call to the disk
    acceptor     asks for a fence after an owner's death, starts a successor after Fenced
    disk         a write or sync fails
    power        goes: the next life begins with any state the disk may have
    publisher    repeats a message with its id, heard or not
"""

import itertools
import os
import random
import shutil
from dataclasses import dataclass, field

from shardbroker.jetstream.owner_face import OwnerFace
from shardbroker.jetstream.stream_config import StreamConfig
from shardbroker.shm.ring import RingMap
from shardbroker.storage import layout
from shardbroker.storage.collecting_sink import CollectingSink
from shardbroker.storage.log_scan import LogScan
from shardbroker.workers import stream_opening
from tests.simulation.cut_moves import CutMoves
from tests.simulation.foreign import believe_leftovers
from tests.simulation.promises import CALL, DUPLICATE, STORED, Attempt, Promises, expect
from tests.simulation.sim_disk import LossyReplay, SimulatedDisk, write_log
from tests.simulation.writer_moves import WriterMoves
from tests.storage import logged_disk
from tests.storage.logged_disk import Image
from tests.streamwriter.lane_feed import CREATE, RELEASE, Bench

CAPACITY = 4096  # bytes of frames in a segment
WORKERS = 2
PUBLISHERS = 3
STEPS = 70
NOW_NS = 1_790_000_000_000_000_000
STEP_NS = 1_000_000
DEDUPE_NS = 120_000_000_000
SETTLE_ROUNDS = 60
PROBES = 3  # a message may be refused to tell its owner that a segment is not to be trusted

#: Who may move, and how often. Faults are drawn only while the plan allows them.
MOVES = {
    "offer": 30,
    "repeat": 8,
    "append": 20,
    "show": 20,
    "cycle": 20,
    "drain": 16,
    "batch": 3,
    "purge": 3,
    "truncate": 3,
    "mark": 1,
    "writer dies": 2,
    "writer dies within": 3,
    "owner dies": 3,
    "fence": 6,
    "successor": 6,
    "disk fails": 2,
    "power": 1,
}


#: Some worlds are not like the others: frames of one size fill segments that are used again by other logs, or
#: most messages come in atomic batches.
STYLES = {
    "plain": {},
    "uniform": {"offer": 40, "repeat": 2, "batch": 0, "purge": 8},
    "batches": {"offer": 6, "batch": 30, "purge": 0, "owner dies": 6},
}


def config_of(log_id: int) -> StreamConfig:
    """A file stream without limits."""
    unlimited = dict.fromkeys(
        ("max_msgs", "max_bytes", "max_msgs_per_subject", "max_msg_size", "max_consumers"), -1
    )
    return StreamConfig(
        name=f"S{log_id}", subjects=[f"S{log_id}.>"], storage="file", duplicate_window=DEDUPE_NS, **unlimited
    )


@dataclass
class Owner:
    """A slot. ``state``: up, dead, fenced."""

    worker: int
    log_ids: list[int]
    state: str = "fenced"
    term: int = 0
    face: OwnerFace | None = None
    outgoing: list = field(default_factory=list)  # answers that were given and are not visible yet
    bases: dict[int, dict[int, int]] = field(default_factory=dict)  # log -> segment -> last sequence in it
    calls: dict[int, tuple[int, int]] = field(default_factory=dict)  # number -> log, purged below
    given: dict[tuple[int, bytes], int] = field(default_factory=dict)  # log and id -> sequence


class World(WriterMoves, CutMoves):
    """One seed. ``bugs``: names of planted ones; ``without``: moves that do not happen; ``style``: not by
    the seed."""

    def __init__(self, seed: int, folder: str, bugs=(), without=(), style: str = ""):
        self.chance = random.Random(seed)
        logged_disk._numbers = itertools.count(1)  # the same numbers of files in each run of a seed
        self.bugs = set(bugs)
        self.root, self.folder = f"{folder}/store", f"{folder}/state"
        os.makedirs(self.root, exist_ok=True)
        self.promises = Promises()
        self.now_ns = NOW_NS
        self.counts: dict[str, int] = {}
        streams = 12 if self.chance.random() < 0.1 else self.chance.randrange(1, 5)
        drawn = self.chance.choice(("plain", "plain", "uniform", "batches"))
        self.style = style or drawn
        self.uniform = self.style == "uniform"
        self.owners = [
            Owner(worker, [n + 1 for n in range(streams) if n % WORKERS == worker])
            for worker in range(WORKERS)
        ]
        self.moves = {**MOVES, **STYLES[self.style]}
        for name in without:
            del self.moves[name]
        self.published = [0] * PUBLISHERS
        self.calls_made = 0
        self.repeatable: list[bytes] = []
        self.doorbell = os.eventfd(0, os.EFD_NONBLOCK)
        self.bench: Bench | None = None
        self.begin(Image(folders={os.path.dirname(self.root), self.root}))

    def close(self) -> None:
        """Give everything back."""
        for owner in self.owners:
            owner.face = None
        self.bench = None
        os.close(self.doorbell)

    # --- lives -------------------------------------------------------------------------------------------

    def begin(self, image: Image) -> None:
        """A start of the broker on that disk."""
        self.start = image
        self.disk = SimulatedDisk(image)
        self.disk.forgetful = "ack before sync" in self.bugs
        self.writer_up = True
        shutil.rmtree(self.folder, ignore_errors=True)
        self.bench = Bench(self.root, self.disk, WORKERS, 1 << 16, pooled_capacity=CAPACITY)
        self.bench.store.raise_term()
        there = {entry["log_id"]: entry for entry in self.bench.store.list_logs()}
        for log_id in self.promises.logs:
            expect(log_id in there, f"log {log_id} is gone")
            expect(there[log_id]["damaged"] is None, f"log {log_id}: {there[log_id]['damaged']}")
        for owner in self.owners:
            owner.face, owner.outgoing, owner.calls, owner.given = None, [], {}, {}
            owner.state, owner.term = "fenced", self.bench.store.term
            if not there:
                self.create(owner)
            self.successor(owner)

    def create(self, owner: Owner) -> None:
        """Make the logs of an owner."""
        lane = self.bench.lanes[owner.worker]
        for log_id in owner.log_ids:
            lane.add(CREATE, log_id, b"{}", row=log_id)
            self.promises.log(log_id)
        lane.publish()
        while self.bench.loop.cycle():
            pass
        lane.release()

    def power(self) -> None:
        """Everything stops, and the disk has any state it may have."""
        cut = len(self.disk.events)
        if self.writer_up and self.chance.random() < 0.5:
            self.bench.loop.cycle()  # and nobody hears of it
            cut = self.chance.randrange(cut, len(self.disk.events) + 1)
        replay = LossyReplay(self.start, self.disk.events, cut)
        self.promises.power_lost()
        self.begin(replay.image(self.chance))

    # --- owners ------------------------------------------------------------------------------------------

    def successor(self, owner: Owner) -> None:
        """A process in a slot whose lane is stored to the end."""
        self.finish_cuts(owner)
        lane = self.bench.lanes[owner.worker]
        owner.face = OwnerFace(RingMap(lane.fd, lane.size), self.bench.board_mapping.address, self.doorbell)
        owner.outgoing, owner.calls, owner.given = [], {}, {}
        leftovers = []
        for log_id in owner.log_ids:
            leftovers += self.read_back(owner, log_id)
        owner.outgoing += owner.face.answer_predecessor()
        for log_id, base in leftovers:
            owner.face.record(RELEASE, log_id, log_id, b"", segment=base, term=owner.term)
        owner.state = "up"

    def read_back(self, owner: Owner, log_id: int) -> list[tuple[int, int]]:
        """One stream, by the way that a worker takes."""
        store = self.bench.store
        records, result = self.scan(log_id)
        self.promises.check_log(log_id, [record for _, _, record, _ in records], result)
        entry = stream_opening.StreamEntry(
            "$G", f"S{log_id}", config_of(log_id), log_id, log_id, owner.worker, 0, 1, 1 << 20
        )
        capacities = stream_opening._capacities
        stream_opening._capacities = lambda _entry: {"capacity_min": CAPACITY, "capacity_max": CAPACITY}
        try:
            opened = stream_opening.open_stored(
                entry, self.folder, owner.term, self.now_ns, False, lambda _size: None
            )
        finally:
            stream_opening._capacities = capacities
        segment = None if result.segment_base is None else layout.segment_name(result.segment_base)
        self.disk.sync_like_a_scan(store.logs_path, store.log_path(log_id), segment)
        stream = opened.hosted.stream
        owner.face.add(stream)
        bases = {base: 0 for base in store.segment_bases(log_id) if base not in opened.leftovers}
        for _, _, record, position in records:
            base = max((base for base in bases if base <= position), default=None)
            if base is not None:
                bases[base] = record.sequence
        owner.bases[log_id] = bases
        self.promises.check_purges(log_id, stream.state.messages)
        return [(log_id, base) for base in opened.leftovers]

    def scan(self, log_id: int):
        """(records, result) of a log as it is."""
        directory = self.bench.store.log_path(log_id)
        target = f"{self.folder}/{layout.LOGS}/{layout.log_name(log_id)}"
        write_log(self.disk, directory, target)
        files = []
        for name in sorted(os.listdir(target)):
            base = layout.segment_base_of(name)
            if base is not None:
                files.append((base, f"{target}/{name}"))
        if "foreign log accepted" in self.bugs:
            believe_leftovers(log_id, files)
        sink = CollectingSink()
        return sink.records, LogScan(log_id, files, make_durable=False).run(sink)

    def up(self) -> list[Owner]:
        return [owner for owner in self.owners if owner.state == "up"]

    def pick(self) -> tuple[Owner, int] | None:
        """An owner that is up and one of its streams."""
        owners = [owner for owner in self.up() if owner.log_ids]
        if not owners:
            return None
        owner = self.chance.choice(owners)
        return owner, self.chance.choice(owner.log_ids)

    def offer(self) -> None:
        picked = self.pick()
        if picked is not None:
            for _ in range(3 if self.uniform else self.chance.randrange(1, 4)):
                self.publish(*picked)
                if self.uniform:
                    self.append(picked[0])

    def publish(self, owner: Owner, log_id: int) -> bytes:
        """A new message; its reply subject."""
        publisher = self.chance.randrange(PUBLISHERS)
        self.published[publisher] += 1
        number = self.published[publisher]
        with_id = self.uniform or self.chance.random() < 0.6
        message_id = b"id-%d-%04d" % (publisher, number) if with_id else b""
        size = 500 if self.uniform else self.chance.randrange(20, 600)
        payload = (b"%d-%d." % (publisher, number)).ljust(size, b"x")
        subject = b"S%d.a" % log_id
        return self.send(owner, Attempt(log_id, publisher, number, message_id, subject, payload, 0, True))

    def send(self, owner: Owner, attempt: Attempt) -> bytes:
        reply = b"r.%d" % len(self.promises.attempts)
        log = self.promises.log(attempt.log_id)
        attempt.lives = log.deaths
        log.asked[attempt.payload] = attempt.message_id
        self.promises.attempts[reply] = attempt
        block = b"NATS/1.0\r\nNats-Msg-Id: %b\r\n\r\n" % attempt.message_id if attempt.message_id else b""
        stream = owner.face.streams[attempt.log_id]
        before = stream.last_sequence
        owner.face.offer(attempt.log_id, attempt.subject, reply, block, attempt.payload, self.now_ns)
        key = (attempt.log_id, attempt.message_id)
        if stream.last_sequence > before:
            attempt.given = owner.given[key] = stream.last_sequence
        elif "duplicate told early" in self.bugs and key in owner.given and not stream.failed:
            self.promises.answer(STORED, DUPLICATE, reply, owner.given[key], b"")
        if attempt.message_id:
            self.repeatable.append(reply)
        return reply

    def repeat(self) -> None:
        """A publisher that has heard nothing, or does not believe it."""
        replies = self.repeatable[-20:]
        if not replies:
            return
        old = self.promises.attempts[self.chance.choice(replies)]
        owner = self.owners[(old.log_id - 1) % WORKERS]
        if owner.state == "up":
            again = Attempt(
                old.log_id, old.publisher, old.number, old.message_id, old.subject, old.payload, 0, False
            )
            self.send(owner, again)

    def batch(self) -> None:
        """An atomic batch in parts: one ack for all of it, or nothing of it."""
        picked = self.pick()
        if picked is None or picked[0].face.streams[picked[1]].failed:
            return
        owner, log_id = picked
        stream = owner.face.streams[log_id]
        log = self.promises.log(log_id)
        size = self.chance.randrange(1, 4)
        number = len(log.batches)
        parts = [(b"batch-%d-%d-%d." % (log_id, number, part)).ljust(60, b"b") for part in range(size)]
        log.batches.append(parts)
        for part, payload in enumerate(parts):
            log.asked[payload] = b""
            kind = 8 if part == size - 1 else 7
            stream.stage_message(b"S%d.b" % log_id, b"", payload, self.now_ns, kind=kind)
        if self.chance.random() < 0.4:  # as if the lane had no room for the rest
            for _ in range(self.chance.randrange(1, 3)):
                self.append_one(owner, log_id)

    def purge(self) -> None:
        """Remove the older half of a stream, then give its dead segments back."""
        picked = self.pick()
        if picked is None or picked[0].face.streams[picked[1]].failed:
            return
        owner, log_id = picked
        stream = owner.face.streams[log_id]
        below = (stream.state.messages.first + stream.last_sequence) // 2
        log = self.promises.log(log_id)
        log.purged_below = max(log.purged_below, below)
        log.purges.add(below)
        if "segment recycled early" in self.bugs:
            self.release_dead(owner, log_id, below)
        self.calls_made += 1  # a number for one call only, whatever stream it is about
        owner.calls[self.calls_made] = (log_id, below)
        stream.stage_frame(3, below.to_bytes(8, "little") + bytes(24), self.calls_made)

    def release_dead(self, owner: Owner, log_id: int, below: int) -> None:
        """Segments at the head of the log whose messages are all purged."""
        bases = owner.bases[log_id]
        while len(bases) > 1:
            base = min(bases)
            if bases[base] >= below:
                return
            del bases[base]
            owner.face.record(RELEASE, log_id, log_id, b"", segment=base, term=owner.term)

    def append(self, owner: Owner | None = None) -> None:
        """Staged frames go into the lane."""
        if owner is None:
            owners = self.up()
            if not owners:
                return
            owner = self.chance.choice(owners)
        for log_id in owner.log_ids:
            stream = owner.face.streams[log_id]
            while stream.has_staged() and not stream.cutting:
                self.append_one(owner, log_id)

    def append_one(self, owner: Owner, log_id: int) -> None:
        """The oldest staged frame of a stream goes into the lane."""
        stream, bases = owner.face.streams[log_id], owner.bases[log_id]
        self.answers(owner, owner.face.append(log_id, self.now_ns, 1))
        bases[stream.log.segment] = max(bases.get(stream.log.segment, 0), stream.last_sequence)

    def answers(self, owner: Owner, answers: list) -> None:
        """What is to be sent; not visible yet."""
        for status, entry in answers:
            if entry[0] == CALL:
                log_id, below = owner.calls.pop(entry[2], (0, 0))
                if status == STORED and log_id and "segment recycled early" not in self.bugs:
                    log = self.promises.log(log_id)
                    log.purge_done = max(log.purge_done, below)
                    self.release_dead(owner, log_id, below)
            else:
                owner.outgoing.append((status, entry))

    def show(self, owner: Owner | None = None) -> None:
        """The end of a turn: the lane's head, then the answers, then the room of what is answered."""
        if owner is None:
            owners = self.up()
            if not owners:
                return
            owner = self.chance.choice(owners)
        owner.face.publish()
        for status, (kind, reply, sequence, text) in owner.outgoing:
            if kind == CALL or not reply:
                continue
            attempt = self.promises.attempts[reply]
            early = "duplicate told early" in self.bugs and attempt.answers and kind == DUPLICATE
            if not early:
                self.promises.answer(status, kind, reply, sequence, text)
        owner.outgoing = []
        owner.face.release()

    def drain(self, owner: Owner | None = None, most: int = 0) -> None:
        """The owner hears the writer's word."""
        if owner is None:
            owners = self.up()
            if not owners:
                return
            owner = self.chance.choice(owners)
        cutting = [log_id for log_id, stream in owner.face.streams.items() if stream.cutting]
        self.answers(owner, owner.face.drain(most or self.chance.randrange(1, 6)))
        self.note_cuts(owner, cutting)

    def owner_dies(self) -> None:
        owners = self.up()
        if not owners:
            return
        owner = self.chance.choice(owners)
        owner.face, owner.state = None, "dead"
        self.promises.owner_died(owner.log_ids)
        if "successor before fence" in self.bugs:
            owner.term = self.bench.store.term
            self.successor(owner)

    def next_owner(self) -> None:
        fenced = [owner for owner in self.owners if owner.state == "fenced"]
        if fenced:
            self.successor(self.chance.choice(fenced))

    # --- the run -----------------------------------------------------------------------------------------

    def run(self) -> None:
        """Steps, then rest, then everything is looked at; half of the worlds lose power at last."""
        acts = {
            "writer dies": self.writer_dies,
            "writer dies within": self.writer_dies_within,
            "owner dies": self.owner_dies,
            "successor": self.next_owner,
            "disk fails": lambda: self.disk.fail_next(
                self.chance.choice(("sync", "write")), self.chance.randrange(1 << 30)
            ),
            "mark": lambda: self.writer_up and self.bench.loop.mark(0, 100),
        }
        names, weights = list(self.moves), list(self.moves.values())
        for name in self.chance.choices(names, weights, k=STEPS):
            self.now_ns += STEP_NS
            self.counts[name] = self.counts.get(name, 0) + 1
            acts.get(name, getattr(self, name.replace(" ", "_"), None))()
        self.settle()
        self.look()
        if self.chance.random() < 0.5:
            self.power()
            self.settle()
            self.look()

    def settle(self) -> None:
        """No more faults: until nothing is on its way."""
        self.disk.failing = None
        for _ in range(SETTLE_ROUNDS):
            self.cycle()
            self.fence()
            self.next_owner()
            for owner in self.up():
                self.drain(owner, 1000)
                self.cut_again(owner)
                self.append(owner)
                self.show(owner)
        self.cycle()
        for owner in self.up():
            self.drain(owner, 1000)
            self.show(owner)

    def look(self) -> None:
        """At rest: a message gets through to every stream, and what is stored is what was said."""
        probes = {log_id: owner for owner in self.owners for log_id in owner.log_ids}
        for attempt in range(PROBES):
            replies = {log_id: self.publish(owner, log_id) for log_id, owner in probes.items()}
            self.settle()
            answers = {log_id: self.promises.attempts[reply].answers for log_id, reply in replies.items()}
            for log_id, told in answers.items():
                if told and told[0][0] == "ack":
                    del probes[log_id]
                expect(log_id not in probes or attempt + 1 < PROBES, f"log {log_id} is stuck: {told}")
        for owner in self.owners:
            for log_id in owner.log_ids:
                records = [record for _, _, record, _ in self.scan(log_id)[0]]
                first = owner.face.streams[log_id].state.messages.first
                self.promises.check_at_rest(log_id, records)
                there = {record.sequence for record in records if record.sequence >= first}
                table = owner.face.streams[log_id].state.messages
                applied = {sequence for sequence in there if table.following(sequence) == sequence}
                expect(len(table) == len(there) == len(applied), f"log {log_id}: state and log differ")
