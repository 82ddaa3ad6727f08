"""What the stream-writer may do in a world: work, die at any moment, begin again, and fence a dead owner.

A death within a cycle is played by letting the cycle run and then taking back what a dead writer would not
have done: calls to the disk from some call on, or a part of its word to the owners. That word is given in
this order: statuses, rows of the log table, `processed`.
"""

from shardbroker.shm import layout as shm_layout
from tests.simulation.sim_disk import killed
from tests.streamwriter.lane_feed import ROWS


class WriterMoves:
    """A part of world.World, whose fields it uses."""

    def cycle(self) -> None:
        if self.writer_up:
            self.bench.loop.cycle()
            self.look_at_rows()
        else:
            self.writer_starts()

    def look_at_rows(self) -> None:
        for log_id in self.promises.logs:
            row = self.bench.row(log_id)
            if row["log_id"] == log_id:
                self.promises.durable(log_id, row["durable_index"])

    def writer_starts(self) -> None:
        self.bench.disk = self.disk
        self.bench.start()
        self.bench.loop.settle_rows([(0, ROWS * shm_layout.LOG_ROW_SIZE)])
        self.writer_up = True

    def writer_dies(self) -> None:
        self.writer_up = False

    def writer_dies_within(self) -> None:
        """In a cycle: at a call to the disk, or somewhere in its word to the owners."""
        if not self.writer_up:
            return
        bench = self.bench
        before = len(self.disk.events)
        rows = bytes(bench.rows)
        processed = [lane.processed for lane in bench.lanes]
        statuses = [(lane, place, lane.status(place)) for lane in bench.lanes for place in records_of(lane)]
        bench.loop.cycle()
        where = self.chance.randrange(4)
        if where < 3:
            bench.rows[:] = rows
        if where < 2:
            kept = 0 if where == 0 else self.chance.randrange(len(statuses) + 1)
            for lane, place, status in statuses[kept:]:
                set_status(lane, place, status)
        if where == 0:
            cut = self.chance.randrange(before, len(self.disk.events) + 1)
            self.disk = killed(self.disk, self.start, cut)
        for lane, position in zip(bench.lanes, processed, strict=True):
            lane.cells[shm_layout.LANE_PROCESSED // 8] = position
        self.writer_up = False

    def fence(self) -> None:
        """The acceptor has asked, the writer does it: store the lane, raise the term."""
        dead = [owner for owner in self.owners if owner.state == "dead"]
        if not dead or not self.writer_up:
            return
        owner = self.chance.choice(dead)
        self.bench.loop.fence(owner.worker)
        self.look_at_rows()
        if "term not raised" not in self.bugs:
            self.bench.store.raise_term()
        owner.state, owner.term = "fenced", self.bench.store.term


def records_of(lane) -> list[int]:
    """Positions of the records that the writer has not processed."""
    found, at = [], lane.processed
    head = lane.cells[shm_layout.LANE_HEAD // 8]
    while at < head:
        found.append(at)
        place = shm_layout.RING_DATA + at % lane.size
        at += int.from_bytes(lane.memory[place : place + 4], "little")
    return found


def set_status(lane, position: int, status: int) -> None:
    at = shm_layout.RING_DATA + (position + 8) % lane.size
    lane.memory[at : at + 4] = status.to_bytes(4, "little")
