"""Is that a frame? Everything a lane record and the frame in it can get wrong by themselves."""

from libc.stdint cimport uint8_t, uint32_t, uint64_t

from shardbroker.shm.append_lane cimport LaneRecord
from shardbroker.storage.frame cimport FrameHead

cdef bint frame_is_sound(const LaneRecord *record, const FrameHead *head, const uint8_t *body) noexcept nogil
