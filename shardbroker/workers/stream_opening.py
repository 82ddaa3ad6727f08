"""Bringing a stream of this worker to life: a new one, or one that is read back from its log."""

import os
from dataclasses import dataclass, field

from shardbroker.errors import StorageError
from shardbroker.jetstream.recovery import StateSink
from shardbroker.jetstream.stream import Stream
from shardbroker.jetstream.stream_config import StreamConfig
from shardbroker.jetstream.stream_log import StreamLog
from shardbroker.jetstream.stream_state import StreamState
from shardbroker.storage.disk import Disk
from shardbroker.storage.layout import CUTS, LOGS, log_name, segment_base_of
from shardbroker.storage.log_scan import LogScan
from shardbroker.storage.watermark import read_watermark
from shardbroker.workers.hosted import Hosted
from shardbroker.workers.log_reader import LogReader

#: Memory streams give memory back in pieces of this size.
MEMORY_SEGMENT_SIZE = 1 << 20


@dataclass(slots=True)
class StreamEntry:
    """A stream as the catalog tells of it (acceptor/jetstream.py): of any owner."""

    account: str
    name: str
    config: StreamConfig
    log_id: int
    row: int
    owner: int
    created: int
    seed: int
    reserved: int
    damaged: str = ""
    hosted: Hosted | None = field(default=None, repr=False)


@dataclass(slots=True)
class Opened:
    """What reading a log back brought, besides the stream."""

    hosted: Hosted
    notes: list[str]
    losses: list[tuple[int, int, str]]
    leftovers: list[int]  # bases of segments that are to be removed
    schedules: list[int]


def first_state(entry: StreamEntry) -> StreamState:
    """The empty state of a stream with its limits."""
    config = entry.config
    state = StreamState(entry.seed, max(config.first_seq, 1), config.storage == "memory")
    state.set_limits(
        config.max_msgs,
        config.max_bytes,
        config.max_msgs_per_subject,
        config.max_age,
        config.duplicate_window,
        config.subject_delete_marker_ttl > 0,
    )
    return state


def log_directory(store_path: str, log_id: int) -> str:
    return f"{store_path}/{LOGS}/{log_name(log_id)}"


def open_new(entry: StreamEntry, store_path: str, term: int, memory_fd: int, no_sync: bool) -> Hosted:
    """A stream without a frame."""
    log = StreamLog(entry.log_id, term, **_capacities(entry))
    stream = Stream(entry.config, first_state(entry), log, entry.row, reserved=entry.reserved)
    reader = LogReader(log_directory(store_path, entry.log_id), memory_fd)
    return Hosted(stream, reader, 0, memory_fd, no_sync)


def open_stored(
    entry: StreamEntry, store_path: str, term: int, now_ns: int, no_sync: bool, progress
) -> Opened:
    """A stream whose log is in the store. ``progress(bytes)`` is called every 8 MiB or so.

    Raises StorageError for a log that must not be read, OSError.
    """
    if os.path.lexists(f"{store_path}/{CUTS}/{log_name(entry.log_id)}"):
        raise StorageError("a cut of its end is not finished; the next start tries it again")
    directory = log_directory(store_path, entry.log_id)
    files = []
    for name in os.listdir(directory):
        base = segment_base_of(name)
        if base is not None:
            files.append((base, f"{directory}/{name}"))
    state = first_state(entry)
    sink = StateSink(state, now_ns, progress)
    scan = LogScan(entry.log_id, files, read_watermark(Disk(), directory))
    segments = scan.segments
    for index, segment in enumerate(segments):
        end = segments[index + 1].base if index + 1 < len(segments) else segment.base + segment.capacity
        sink.expect_segment(segment.base, segment.capacity, end)
    result = scan.run(sink)
    last = result.last_sequence
    # A mirror gives no sequences: what it has lost it gets again.
    if result.sequence_in_doubt and entry.config.mirror is None:
        last = max(last, entry.reserved)
    sink.finish(last, result.end_position)
    log = StreamLog(
        entry.log_id,
        term,
        index=result.last_index,
        position=result.end_position,
        previous_crc=result.last_crc,
        segment=result.segment_base or 0,
        capacity=result.segment_capacity,
        **_capacities(entry),
    )
    stream = Stream(entry.config, state, log, entry.row, reserved=entry.reserved)
    hosted = Hosted(stream, LogReader(directory), 0, -1, no_sync)
    hosted.notes = sink.notes
    hosted.consumer_notes = sink.consumers
    bases = (segment_base_of(path.rsplit("/", 1)[-1]) for path in result.leftover_paths)
    leftovers = [base for base in bases if base is not None]
    return Opened(hosted, result.notes, sink.losses, leftovers, sink.schedules)


def open_memory(entry: StreamEntry, term: int, memory_fd: int, start: int, now_ns: int) -> Opened:
    """A memory stream whose owner died: its frames are where they were, the first one at ``start``."""
    state = first_state(entry)
    sink = StateSink(state, now_ns)
    position, index, crc, segment = start, 0, 0, start
    last = state.messages.last
    while True:
        head = os.pread(memory_fd, 64, position)
        if len(head) < 64:
            break
        size = 64 + int.from_bytes(head[16:20], "little")
        if position + size > segment + MEMORY_SEGMENT_SIZE:
            segment = position
        sink.expect_segment(segment, max(MEMORY_SEGMENT_SIZE, size), position + size)
        taken = sink.take_frame(os.pread(memory_fd, size, position), position)
        if taken is None or (index and taken[1] != index + 1):
            break  # what was being written when the owner died
        size, index, crc, sequence, _term = taken
        last = max(last, sequence)
        position += size
    last = max(last, state.messages.last)
    sink.finish(last, position)
    log = StreamLog(
        entry.log_id, term, index=index, position=position, previous_crc=crc, segment=segment,
        capacity=MEMORY_SEGMENT_SIZE, **_capacities(entry),
    )  # fmt: skip
    stream = Stream(entry.config, state, log, entry.row, reserved=entry.reserved)
    hosted = Hosted(stream, LogReader("", memory_fd), 0, memory_fd, False)
    hosted.notes = sink.notes
    hosted.consumer_notes = sink.consumers
    return Opened(hosted, [], sink.losses, [], sink.schedules)


def _capacities(entry: StreamEntry) -> dict[str, int]:
    if entry.config.storage == "memory":
        return {"capacity_min": MEMORY_SEGMENT_SIZE, "capacity_max": MEMORY_SEGMENT_SIZE}
    return {}
