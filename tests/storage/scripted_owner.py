"""The owner of one log in test_crash_states.py: what it appends, cuts off and promises, from a seed."""

import random

from shardbroker.storage import codec
from shardbroker.storage.codec import Record
from tests.streamwriter.lane_feed import CREATE, FRAME, METADATA, RELEASE, STORED, TRUNCATE, Bench

CAPACITY = 4096  # bytes of frames in a segment
GROUP_MAX = 5  # frames or batches in one commit
BATCH_MAX = 3  # frames of an atomic batch


class Owner:
    """Appends to one log and marks what was promised. `recovered`: what a recovery found of it, or None."""

    def __init__(self, bench: Bench, log_id: int, recovered, batches: bool):
        self.batches = batches
        self.bench, self.log_id, self.row = bench, log_id, log_id
        self.term = bench.store.term
        result = recovered.result if recovered else None
        self.index = result.last_index if result else 0
        self.previous = result.last_crc if result else 0
        self.sequence = result.last_sequence if result else 0
        self.position = result.end_position if result else 0
        self.segment = (result.segment_base or 0) if result else 0
        self.end = self.segment + (result.segment_capacity if result else CAPACITY)
        self.durable = self.index
        self.bases = recovered.bases if recovered else [0]
        self.last_of: dict[int, int] = {}  # base -> last sequence in that segment
        for sequence, _index, position, _size in recovered.places if recovered else ():
            self.last_of[max(base for base in self.bases if base <= position)] = sequence
        self.waiting: list[tuple[int, str, object]] = []

    def ask(self, place: int, what: str, value: object) -> None:
        """Promised as soon as the record at `place` is stored."""
        self.bench.disk.mark("asked " + what, value)
        self.waiting.append((place, what, value))

    def create(self) -> None:
        body = b'{"log":%d}' % self.log_id
        self.ask(
            self.bench.lane.add(CREATE, self.log_id, body, row=self.row), "metadata", (self.log_id, body)
        )

    def change_metadata(self, chance: random.Random) -> None:
        body = b'{"log":%d,"x":%d}' % (self.log_id, chance.randrange(1 << 30))
        self.ask(
            self.bench.lane.add(METADATA, self.log_id, body, row=self.row), "metadata", (self.log_id, body)
        )

    def append(self, chance: random.Random) -> None:
        """One frame, mostly of messages, or an atomic batch."""
        if chance.random() < 0.15:
            place = self.place(codec.NOTE, chance.randbytes(chance.randrange(80)), [])
            self.ask(place, "records", (self.log_id, self.index, []))
        elif self.batches and chance.random() < 0.15:
            self.append_batch(chance)
        else:
            records = self.new_records(chance)
            place = self.place(codec.MESSAGES, b"".join(map(codec.build_record, records)), records)
            self.ask(place, "records", (self.log_id, self.index, records))

    def append_batch(self, chance: random.Random) -> None:
        """Parts, and a commit: all of it is promised with the commit, nothing before."""
        records: list[Record] = []
        for kind in (codec.BATCH,) * chance.randrange(1, BATCH_MAX) + (codec.BATCH_COMMIT,):
            part = self.new_records(chance)
            records += part
            self.bench.disk.mark("asked records", (self.log_id, 0, part))
            self.bench.disk.mark("batch", (self.log_id, list(records)))
            place = self.place(kind, b"".join(map(codec.build_record, part)), part)
        self.ask(place, "records", (self.log_id, self.index, records))

    def new_records(self, chance: random.Random) -> list[Record]:
        records = [
            Record(self.sequence + 1 + n, b"s.%d" % n, chance.randbytes(chance.randrange(300)), b"", 7)
            for n in range(chance.randrange(1, 4))
        ]
        self.sequence += len(records)
        return records

    def place(self, kind: int, body: bytes, records: list[Record]) -> int:
        """Put a frame into the lane; gives the position of its lane record."""
        frame = self.frame(kind, body, records)
        if self.position + len(frame) > self.end:
            self.segment, self.end = self.position, self.position + CAPACITY
            self.bases.append(self.segment)
        place = self.bench.lane.add(
            FRAME, self.log_id, frame, row=self.row, segment=self.segment, capacity=CAPACITY,
            position=self.position, index=self.index + 1, term=self.term,
        )  # fmt: skip
        self.index += 1
        self.position += len(frame)
        self.previous = int.from_bytes(frame[4:8], "little")
        self.last_of[self.segment] = self.sequence
        return place

    def frame(self, kind: int, body: bytes, records: list[Record]) -> bytes:
        first = records[0].sequence if records else self.sequence
        return codec.build_frame(
            kind, self.log_id, self.index + 1, self.term, self.previous, body, first_sequence=first,
            count=len(records), durable_lag=self.index + 1 - self.durable,
        )  # fmt: skip

    def drop_head(self) -> None:
        """Give the oldest segment back."""
        base = self.bases.pop(0)
        self.bench.disk.mark("dropped", (self.log_id, self.last_of.get(base, 0)))
        self.bench.lane.add(RELEASE, self.log_id, row=self.row, segment=base)

    # --- frames that do not count yet, and are cut off ---------------------------------------------------

    def place_in_doubt(self, chance: random.Random, states: list[tuple]) -> None:
        """Some frames that are stored, and promised to nobody; `states` gets how the log is behind each."""
        for _ in range(chance.randrange(1, 2 * GROUP_MAX)):
            records = self.new_records(chance)
            self.bench.disk.mark("asked records", (self.log_id, 0, records))
            self.place(codec.MESSAGES, b"".join(map(codec.build_record, records)), records)
            states.append((self.state(), records))
        self.bench.run()
        self.durable = self.index  # those that come later say so

    def state(self) -> tuple:
        return (
            self.index, self.previous, self.sequence, self.position, self.segment, self.end,
            list(self.bases), dict(self.last_of),
        )  # fmt: skip

    def cut(self, chance: random.Random) -> None:
        """Have frames stored that nobody counts on, then cut the log behind one of them, or before all."""
        states: list[tuple] = [(self.state(), [])]
        self.bench.commit(self.row, self.index)
        for _ in range(chance.randrange(1, 3)):
            self.place_in_doubt(chance, states)
        if chance.random() < 0.5:
            self.bench.loop.mark(0, 100)
        if chance.random() < 0.5:
            self.term = self.bench.store.raise_term()
        kept = chance.randrange(len(states))
        index = states[kept][0][0]
        self.bench.disk.mark("cutting", self.log_id)
        place = self.bench.lane.add(TRUNCATE, self.log_id, row=self.row, index=index, term=self.term)
        self.bench.run()
        assert self.bench.lane.status(place) == STORED
        gone = [record for _, records in states[kept + 1 :] for record in records]
        self.bench.disk.mark("cut", (self.log_id, gone))
        (self.index, self.previous, self.sequence, self.position, self.segment, self.end,
         self.bases, self.last_of) = states[kept][0]  # fmt: skip
        self.durable = self.index
        if chance.random() < 0.5 and self.position > self.segment:
            self.segment, self.end = self.position, self.position + CAPACITY
            self.bases.append(self.segment)

    def settle(self) -> None:
        """Say what was promised, as PubAcks would."""
        for place, what, value in self.waiting:
            assert self.bench.lane.status(place) == STORED, (what, value, self.bench.lane.status(place))
            self.bench.disk.mark(what, value)
            if what == "records":
                self.durable = max(self.durable, value[1])
        self.waiting.clear()
