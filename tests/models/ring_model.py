"""What rings must do, written slowly: every published frame goes into a list of each consumer it names.

The model knows positions, because "full" is a matter of bytes, but no memory: nothing can be overwritten
here, so what it delivers is right. Sizes of the headers are those of shm/frame.pxd.
"""

from dataclasses import dataclass, field

BATCH_HEADER_SIZE = 24
FRAME_HEADER_SIZE = 56


def frame_size(body: bytes) -> int:
    """Bytes of a frame without queue picks: header and body, rounded up to 8."""
    return (FRAME_HEADER_SIZE + len(body) + 7) & ~7


@dataclass
class ModelRing:
    """One producer. All positions count bytes."""

    size: int
    position: int = 0
    head: int = 0
    frames: list[tuple[bytes, int]] = field(default_factory=list)  # of the open batch: (body, mask)
    cursors: dict[int, int] = field(default_factory=dict)  # of the consumers that are counted
    invited: set[int] = field(default_factory=set)
    asking: set[int] = field(default_factory=set)

    def gating(self) -> int:
        """The position the producer may be at most a ring ahead of."""
        return min([self.head, *self.cursors.values()])


class RingModel:
    """All rings of some workers."""

    def __init__(self, count: int, size: int) -> None:
        self.size = size
        self.rings = {worker: ModelRing(size) for worker in range(count)}
        self.pending: dict[int, list[tuple[int, bytes]]] = {worker: [] for worker in range(count)}
        self.settled: dict[int, set[int]] = {worker: set() for worker in range(count)}

    def put(self, producer: int, body: bytes, mask: int) -> bool:
        """A frame into the open batch; False when it does not fit."""
        ring = self.rings[producer]
        size = frame_size(body)
        if ring.position - ring.head > ring.size // 4:
            self.publish(producer)
        if ring.position + size + BATCH_HEADER_SIZE - ring.gating() > ring.size:
            self.publish(producer)
            return False
        ring.position += size if ring.frames else size + BATCH_HEADER_SIZE
        ring.frames.append((body, mask))
        return True

    def publish(self, producer: int) -> None:
        """Batches are published one after the other, so that lists in this order are in ticket order."""
        ring = self.rings[producer]
        for consumer in ring.cursors:
            for body, mask in ring.frames:
                if mask >> consumer & 1:
                    self.pending[consumer].append((producer, body))
        ring.frames.clear()
        ring.head = ring.position

    def admit(self, producer: int) -> None:
        """Who is invited and asks counts from here on."""
        ring = self.rings[producer]
        for consumer in ring.invited & ring.asking:
            ring.cursors[consumer] = ring.head
        ring.invited -= ring.cursors.keys()

    def take(self, consumer: int) -> list[tuple[int, bytes]]:
        """All there is for a consumer; everything published is read then, whoever it is for."""
        for producer, ring in self.rings.items():
            if consumer in ring.cursors:
                ring.cursors[consumer] = ring.head
                self.settled[consumer].add(producer)
        taken, self.pending[consumer] = self.pending[consumer], []
        return taken

    def has_pending(self, consumer: int) -> bool:
        """Whether rings it has begun to read have gone on."""
        rings = (self.rings[producer] for producer in self.settled[consumer])
        return any(ring.cursors[consumer] != ring.head for ring in rings)

    def forget(self, dead: int, survivor: int) -> None:
        """The survivor lets go of a dead worker, in both directions."""
        ring = self.rings[survivor]
        ring.cursors.pop(dead, None)
        ring.invited.discard(dead)
        ring.asking.discard(dead)
        self.settled[survivor].discard(dead)
        self.rings[dead].cursors.pop(survivor, None)

    def restart(self, worker: int) -> None:
        """A successor with a ring of its own."""
        self.rings[worker] = ModelRing(self.size)
        self.pending[worker] = []
        self.settled[worker] = set()
