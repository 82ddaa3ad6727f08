"""From head to head through one segment, up to a frame with a given index.

Bodies are not looked at, and nothing is repaired: it is for frames that count, which were read or written
whole. It reads through a Disk, for it is the stream-writer that asks, and reads a segment once at most.
"""

from libc.stdint cimport uint32_t, uint64_t

from shardbroker.storage.codec cimport frame_head_is_good
from shardbroker.storage.frame cimport FRAME_HEAD_SIZE, SEGMENT_HEAD_SIZE, FrameHead

from shardbroker.storage.disk import read_all

cdef enum:
    WINDOW_SIZE = 1 << 20  # bytes read at once


def walk_to(disk, int fd, uint32_t log_id, uint64_t index, uint64_t end):
    """(offset behind it, head_crc, term) of frame `index` in the segment file `fd`, used up to offset `end`.

    None when the frames from the segment's begin on do not lead there one by one. Raises OSError.
    """
    cdef uint64_t at = SEGMENT_HEAD_SIZE, start = 0, previous = 0
    cdef uint32_t crc = 0
    cdef bytes window = b""
    cdef const FrameHead *head
    while at + FRAME_HEAD_SIZE <= end:
        if at + FRAME_HEAD_SIZE > start + <uint64_t> len(window):
            window = read_all(disk, fd, at, WINDOW_SIZE)
            start = at
            if len(window) < FRAME_HEAD_SIZE:
                return None
        head = <const FrameHead *> (<const char *> window + (at - start))
        if not frame_head_is_good(head) or head.log_id != log_id:
            return None
        if previous and (head.index != previous + 1 or head.previous_crc != crc):
            return None
        at += FRAME_HEAD_SIZE + <uint64_t> head.body_size
        if at > end or head.index > index:
            return None
        if head.index == index:
            return at, head.head_crc, head.term
        previous, crc = head.index, head.head_crc
    return None
