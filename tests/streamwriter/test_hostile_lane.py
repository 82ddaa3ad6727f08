"""Property: whatever is in a lane, the writer neither crashes nor stores what fails its checks.

Whole lanes of good records are damaged at random (seed printed): bits flipped, words replaced by numbers that
are likely to hurt, stretches copied elsewhere, heads moved. A second log on a second lane must be served all
the time, and afterwards the damaged lane is fenced and serves again.
"""

import mmap
import os
import random
import signal
import struct
import time

from shardbroker.shm import layout
from tests.streamwriter.lane_feed import (
    CREATE,
    ERASE,
    INDEX,
    METADATA,
    NO_SYNC,
    RELEASE,
    REMOVE,
    STORED,
    SYNC,
    Bench,
    Log,
)

SEED = 20261125
ROUNDS = 800
SCRIBBLE_S = 2.0
GOOD = 0x51525354  # far from what a mutated log id becomes
MUTATIONS = 600  # in each round, spread over about 100 records
WORDS = (0, 1, 2, 7, 8, 64, 80, 144, 255, 1 << 15, 1 << 16, (1 << 31) - 1, 1 << 31, (1 << 32) - 1)


def damage(rng: random.Random, data: bytearray, start: int, end: int) -> None:
    """One mutation of the bytes start..end of a lane."""
    kind = rng.random()
    at = rng.randrange(start, end)
    if kind < 0.4:
        data[at] ^= 1 << rng.randrange(8)
    elif kind < 0.8:
        struct.pack_into("<I", data, min(at & ~3, end - 4), rng.choice(WORDS))
    elif kind < 0.9:
        struct.pack_into("<Q", data, min(at & ~7, end - 8), rng.choice(WORDS) << rng.choice((0, 12, 32)))
    else:
        size = rng.randrange(1, 200)
        source = rng.randrange(start, max(start + 1, end - size))
        part = data[source : source + size]
        data[at : min(end, at + size)] = part[: min(end, at + size) - at]


def feed(rng: random.Random, bench: Bench, log: Log) -> None:
    """About a hundred records of every kind."""
    lane = bench.lanes[0]
    for _ in range(80):
        log.append(*[bytes(rng.randrange(60))] * rng.randrange(1, 4), flags=rng.choice((0, 0, NO_SYNC)))
    for kind in (CREATE, METADATA, RELEASE, ERASE, INDEX, SYNC, REMOVE):
        body = b'{"a":1}' if kind in (CREATE, METADATA, INDEX) else b""
        lane.add(kind, rng.choice((1, 7, 9)), body, row=rng.choice((0, 3)), position=64, count=10)


def test_damaged_lanes(tmp_path):
    print(f"seed {SEED}")
    rng = random.Random(SEED)
    bench = Bench(tmp_path, lanes=2, journal_size=1 << 16)
    good = Log(bench.lanes[1], GOOD, 5, capacity=4096)
    good.create()
    hostile = bench.lanes[0]
    stored = fenced = 0
    for number in range(ROUNDS):
        log = Log(hostile, 7, 3, capacity=1 << 14)
        hostile.add(REMOVE, 7, row=3)
        log.create()
        start = hostile.position
        feed(rng, bench, log)
        offset = layout.RING_DATA + start % hostile.size
        length = min(hostile.position - start, hostile.size - start % hostile.size)
        data = bytearray(hostile.memory[offset : offset + length])
        for _ in range(rng.choice((1, 1, 3, MUTATIONS))):
            damage(rng, data, 0, length)
        hostile.memory[offset : offset + length] = bytes(data)
        place = good.append(b"good %d" % number)
        bench.run()
        assert bench.lanes[1].status(place) == STORED
        bench.lanes[1].release()
        stored += bench.row(3)["frames"] > 0
        fenced += not bench.loop.fence(0)
        assert hostile.processed == hostile.position
        hostile.release()
        while bench.store.sweep(100):
            pass
    found = [index for base in bench.store.segment_bases(GOOD) for index in bench.frames(GOOD, base)]
    assert found == list(range(1, ROUNDS + 1))
    assert stored > ROUNDS // 8 and fenced > ROUNDS // 10  # both ways were gone


def _scribble(lane_fd: int, size: int, seed: int) -> None:
    """Change bytes of the lane for ever, while the writer reads them."""
    rng = random.Random(seed)
    memory = mmap.mmap(lane_fd, layout.RING_DATA + size)
    while True:
        for _ in range(100):
            at = layout.RING_DATA + rng.randrange(size // 8)
            memory[at] = rng.randrange(256)
        for at in range(layout.RING_DATA, layout.RING_DATA + size // 8, 8 * rng.randrange(8, 64)):
            struct.pack_into("<I", memory, at, rng.choice(WORDS))


def test_a_lane_that_changes_while_it_is_read(tmp_path):
    bench = Bench(tmp_path, lanes=2, journal_size=1 << 16)
    good = Log(bench.lanes[1], GOOD, 5, capacity=1 << 20)
    good.create()
    hostile = bench.lanes[0]
    scribbler = os.fork()
    if scribbler == 0:
        try:
            _scribble(hostile.fd, hostile.size, SEED)
        finally:
            os._exit(1)
    try:
        rounds = 0
        deadline = time.monotonic() + SCRIBBLE_S
        while time.monotonic() < deadline:
            hostile.position += -hostile.position % hostile.size  # where the scribbler is
            bench.lanes[0].publish()
            bench.loop.fence(0)
            hostile.release()
            log = Log(hostile, 7, 3, capacity=1 << 14)
            log.create()
            for n in range(200):
                log.append(bytes(n))
            place = good.append(b"good %d" % rounds)
            bench.run()
            assert bench.lanes[1].status(place) == STORED
            bench.lanes[1].release()
            rounds += 1
        assert os.waitpid(scribbler, os.WNOHANG) == (0, 0)
    finally:
        os.kill(scribbler, signal.SIGKILL)
        os.waitpid(scribbler, 0)
    assert rounds > 20
    assert bench.frames(GOOD) == list(range(1, rounds + 1))


def test_impossible_heads(tmp_path):
    bench = Bench(tmp_path, lanes=1)
    cells = bench.lane.cells
    for head in (8, 79, 1 << 21, (1 << 64) - 8, (1 << 63)):
        cells[layout.LANE_HEAD // 8] = head
        assert not bench.loop.cycle()
        assert bench.faults[-1] == ("lane", 0, 0)
        cells[layout.LANE_HEAD // 8] = bench.lane.position
        assert not bench.loop.fence(0)
        log = Log(bench.lane, 1 + head % 1000, 1)
        place = log.create()
        bench.run()
        assert bench.lane.status(place) == STORED
        bench.lane.release()
