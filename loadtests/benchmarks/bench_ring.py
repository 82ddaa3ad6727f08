"""The ring between two workers, both played by one thread: claim, write, publish, read, give back."""

from types import ModuleType

from loadtests.benchmarks.regions import make_board, make_ring
from loadtests.benchmarks.timing import measure, show
from shardbroker.shm.ring import Inbound, Outbound, RingMap

ring_size = 1 << 20
generation = 1


def run(loops: ModuleType) -> None:
    for batch in (1, 64):
        for body_size in (40, 152, 1048):  # wire text of payloads of 16, 128 and 1,024 bytes
            _bench(loops, batch, body_size)


def _bench(loops: ModuleType, batch: int, body_size: int) -> None:
    board = make_board(2)
    rings = [make_ring(ring_size) for _ in range(2)]
    outbounds = [
        Outbound(RingMap(ring.descriptor, ring_size), board.address, worker)
        for worker, ring in enumerate(rings)
    ]
    inbound = Inbound(board.address, 1, generation, outbounds[1])
    outbounds[0].invite(1, -1, generation)
    inbound.attach(0, RingMap(rings[0].descriptor, ring_size))
    loops.ring_join(outbounds[0], inbound)
    handler, body, written = loops.CountingHandler(), b"b" * body_size, 0

    def work(count: int) -> None:
        nonlocal written
        written += count
        loops.ring_transfer(outbounds[0], inbound, handler, body, batch, count)

    figures = measure(work)
    assert handler.frames == written
    show(f"ring: body of {body_size} B, batches of {batch}", *figures)
