"""Boards and interest segments for tests: memory as the acceptor would make it, without an acceptor."""

import ctypes
import mmap
import os
import struct

import numpy

from shardbroker.shm import layout
from shardbroker.shm.interest_directory import InterestDirectory

DESCRIPTORS = 4096
SEED = 0x243F6A8885A308D3


def address_of(memory: mmap.mmap) -> int:
    """Where a mapping begins."""
    return ctypes.addressof(ctypes.c_char.from_buffer(memory))


class Region:
    """Shared memory with a descriptor, of which nothing is left when it is dropped."""

    def __init__(self, size: int, fd: int | None = None) -> None:
        self.fd = os.memfd_create("interest-test") if fd is None else fd
        if fd is None:
            os.ftruncate(self.fd, size)
        self.size = size
        self.memory = mmap.mmap(self.fd, size)
        self.address = address_of(self.memory)

    def close(self) -> None:
        """Give the descriptor back; the mapping goes with the last reference."""
        os.close(self.fd)

    def cell(self, offset: int) -> ctypes.c_uint64:
        """A u64 of the region that is read and written in one piece."""
        return ctypes.c_uint64.from_buffer(self.memory, offset)


def new_board(seed: int = SEED) -> Region:
    """A board of which the interest directory uses seed, filter and versions."""
    board = Region(layout.BOARD_SIZE)
    board.memory[layout.BOARD_SEED : layout.BOARD_SEED + 8] = struct.pack("<Q", seed)
    return board


class Workers:
    """Some workers of one broker, all in this process."""

    def __init__(self, count: int, segment_size: int = 4 << 20, seed: int = SEED) -> None:
        self.board = new_board(seed)
        self.segment_size = segment_size
        self.segments = [Region(segment_size) for _ in range(count)]
        self.directories = [self.make(worker) for worker in range(count)]
        for worker in range(count):
            self.attach(worker)

    def make(self, worker: int) -> InterestDirectory:
        """The worker's directory over its present segment."""
        segment = self.segments[worker]
        return InterestDirectory(worker, self.board.address, segment.address, segment.fd, segment.size)

    def attach(self, worker: int) -> None:
        """Tell the worker of the others, and the others of the worker."""
        own = self.segments[worker]
        for peer, segment in enumerate(self.segments):
            if peer != worker:
                self.directories[worker].set_peer(peer, segment.address, segment.size)
                self.directories[peer].set_peer(worker, own.address, own.size)

    def kill(self, worker: int) -> None:
        """DOWN: survivors forget it, the acceptor sweeps its filter bits and raises all versions."""
        for peer, directory in enumerate(self.directories):
            if peer != worker:
                directory.clear_peer(worker)
        words = numpy.frombuffer(self.board.memory, dtype=numpy.uint64)
        words[layout.BOARD_FILTER // 8 :] &= numpy.uint64(~(1 << worker) & (2**64 - 1))
        words[layout.BOARD_VERSIONS // 8 : layout.BOARD_PRESSURE // 8] += numpy.uint64(1)
        self.segments[worker].close()

    def restart(self, worker: int) -> None:
        """Its successor: fresh memory, empty table."""
        self.segments[worker] = Region(self.segment_size)
        self.directories[worker] = self.make(worker)
        self.attach(worker)

    def filter_bits(self) -> int:
        """Number of bits set in the shared filter."""
        words = numpy.frombuffer(self.board.memory, dtype=numpy.uint64)[layout.BOARD_FILTER // 8 :]
        return sum(int(word).bit_count() for word in words[words != 0])

    def close(self) -> None:
        """Give all descriptors back."""
        for region in (self.board, *self.segments):
            region.close()


def generations(segment: Region) -> int:
    """How often any partition of a segment was rebuilt, or had a dead entry reused for another key."""
    words = struct.unpack_from("<256Q", segment.memory, DESCRIPTORS)
    return sum(word >> 37 for word in words)
