"""Memory laid out as the broker's, but of one process: a board, rings, interest segments."""

import ctypes
import mmap
import os
import struct

from shardbroker.shm import layout


class Region:
    """Zeroed shared memory with a descriptor and an address."""

    def __init__(self, size: int):
        self.size = size
        self.descriptor = os.memfd_create("benchmark")
        os.ftruncate(self.descriptor, size)
        self.memory = mmap.mmap(self.descriptor, size)
        self._cell = ctypes.c_char.from_buffer(self.memory)  # keeps the mapping from moving or closing
        self.address = ctypes.addressof(self._cell)


def make_board(worker_count: int) -> Region:
    """A board with its header filled in."""
    board = Region(layout.BOARD_SIZE)
    struct.pack_into("<QII", board.memory, 0, layout.MAGIC, layout.LAYOUT_VERSION, worker_count)
    struct.pack_into("<Q", board.memory, layout.BOARD_SEED, 0x1234_5678_9ABC_DEF0)
    return board


def make_ring(size: int) -> Region:
    """A ring region with `size` bytes of data."""
    return Region(layout.RING_DATA + size)
