"""Rings for tests: the memory of some workers, and both ends of each, all in one process."""

import os
import struct

from shardbroker.shm import layout
from shardbroker.shm.ring import Inbound, Outbound, RingMap
from tests.shm.interest_memory import Region, new_board

RING_SIZE = 65536


class RingWorkers:
    """``count`` workers over one board. Nobody is connected to anybody at first."""

    def __init__(self, count: int, size: int = RING_SIZE) -> None:
        self.size = size
        self.count = count
        self.board = new_board()
        self.doorbells = [os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC) for _ in range(count)]
        self.generations = [0] * count
        self.regions: list[Region | None] = [None] * count
        self.outbounds: list[Outbound | None] = [None] * count
        self.inbounds: list[Inbound | None] = [None] * count
        for worker in range(count):
            self.start(worker)

    def start(self, worker: int) -> None:
        """A new process in this slot: fresh ring, next generation."""
        self.stop(worker)
        self.generations[worker] += 1
        region = self.regions[worker] = Region(layout.RING_DATA + self.size)
        outbound = Outbound(RingMap(region.fd, self.size), self.board.address, worker)
        outbound.invite(worker, self.doorbells[worker], self.generations[worker])
        self.outbounds[worker] = outbound
        self.inbounds[worker] = Inbound(self.board.address, worker, self.generations[worker], outbound)

    def stop(self, worker: int) -> None:
        """The process is gone; its memory lives as long as others map it."""
        self.outbounds[worker] = self.inbounds[worker] = None
        if (region := self.regions[worker]) is not None:
            region.close()
        self.regions[worker] = None

    def invite(self, producer: int, consumer: int) -> None:
        """The producer may be asked by the present process of ``consumer``."""
        self.outbounds[producer].invite(consumer, self.doorbells[consumer], self.generations[consumer])

    def ask(self, producer: int, consumer: int) -> None:
        """The consumer maps the ring and asks to be counted."""
        self.inbounds[consumer].attach(producer, RingMap(self.regions[producer].fd, self.size))

    def connect_all(self) -> None:
        """Everybody reads everybody, and has begun to."""
        pairs = [(a, b) for a in range(self.count) for b in range(self.count) if a != b]
        for producer, consumer in pairs:
            self.invite(producer, consumer)
            self.ask(producer, consumer)
        for outbound in self.outbounds:
            outbound.admit_consumers()
        for inbound in self.inbounds:
            assert inbound.take() == [] and inbound.waiting == 0

    def poke(self, worker: int, offset: int, value: bytes) -> None:
        """Write into a ring's region behind its owner's back."""
        self.regions[worker].memory[offset : offset + len(value)] = value

    def peek(self, worker: int, offset: int) -> int:
        """A u64 of a ring's region."""
        return struct.unpack_from("<Q", self.regions[worker].memory, offset)[0]

    def sleeping(self, worker: int, epoch: int) -> None:
        """Store a worker's sleep epoch: odd while it may block."""
        self.board.cell(layout.worker_row(worker) + layout.WORKER_SLEEPING).value = epoch

    def rings_heard(self, worker: int) -> int:
        """How often the doorbell was rung since the last look."""
        try:
            return os.eventfd_read(self.doorbells[worker])
        except BlockingIOError:
            return 0

    def close(self) -> None:
        """Give all descriptors back."""
        for worker in range(self.count):
            self.stop(worker)
            os.close(self.doorbells[worker])
        self.board.close()
