"""Cutting the end of a log off: behind a frame, durably, and as a whole or not at all.

What is behind the cut may be durable, and says so of itself (`durable_lag`, the watermark): a half of it gone
would pass for rot. So a *mark* comes first, `cuts/<log id>`, which says behind which frame and at which log
position the log ends from now on. Whoever opens the store and finds a mark finishes that cut before anybody
reads the log.

    mark, durable ─► watermark lowered, durable
                     segments from the cut on unlinked, with their indexes, and the index before them
                     zeros in the last segment that stays, from the cut to its end, durable
                     names durable
                  ─► mark unlinked, durable

Each step may be done again. Old bytes are overwritten and not only passed over: they have right checksums and
continue the chain of the log. Segments that go are unlinked, never kept for another use: as the next segment
of the same log they would be full of its own later frames.

Lost: a new segment at the cut whose head says that others end there. Nothing would be overwritten, but every
reader would have to know, and what was cut would come back when a later cut removes that segment. Lost too: a
copy of the last segment that is renamed over it, which writes what stays instead of what goes.

The journal must hold nothing of the log: a replay would write the cut frames again, over what follows them
now (streamwriter/write_loop.pyx sees to it).
"""

import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING

from shardbroker.errors import StorageError
from shardbroker.storage import layout, segment_head
from shardbroker.storage.checksum import checksum
from shardbroker.storage.disk import read_file, replace_file
from shardbroker.storage.frame_walk import walk_to
from shardbroker.storage.watermark import lower_watermark

if TYPE_CHECKING:
    from shardbroker.storage.store import Store

_MAGIC = 0x54434253
_FIELDS = struct.Struct("<IIQQ")
_CHECKED = struct.Struct("<II")
_SIZE = _CHECKED.size + _FIELDS.size


@dataclass(frozen=True, slots=True)
class FrameEnd:
    """Where a frame ends, as a log position, and what links the next one to it."""

    position: int
    crc: int  # its head_crc; 0: there is no frame before
    term: int


def end_of_frame(store: "Store", log_id: int, index: int) -> FrameEnd:
    """The end of frame ``index`` of a log; 0: its begin. Raises StorageError when the log has no such frame
    that can be read, OSError."""
    bases = store.segment_bases(log_id)
    for number in range(len(bases) - 1, -1, -1):
        base = bases[number]
        opened = store.open_segment(log_id, base)
        if opened is None:
            continue
        fd, head = opened
        try:
            if head is not None and head.first_index > index:
                if number == 0 and head.first_index == index + 1:
                    return FrameEnd(base, head.previous_crc, 0)
                continue
            # What lies behind the next segment's begin does not count.
            size = store.disk.size(fd)
            end = min(size, segment_head.SIZE + bases[number + 1] - base) if number + 1 < len(bases) else size
            found = walk_to(store.disk, fd, log_id, index, end)
        finally:
            store.disk.close(fd)
        if found is not None:
            return FrameEnd(base + found[0] - segment_head.SIZE, found[1], found[2])
        if head is not None:
            break
    if index == 0 and not bases:
        return FrameEnd(0, 0, 0)
    raise StorageError(f"log {log_id:08x} has no frame {index} that can be read")


def cut_log(store: "Store", log_id: int, index: int, position: int) -> None:
    """Let the log end behind frame ``index``, at ``position``. Durable when it returns.

    Raises OSError. Then the log is as before, or its mark is there and it must not be read or appended to
    before a cut at the same place or before it has succeeded.
    """
    replace_file(store.disk, store.cuts_path, layout.log_name(log_id), _encode(log_id, index, position))
    _finish(store, log_id, index, position)


def finish_cuts(store: "Store") -> None:
    """At start: finish what a death or a power failure has interrupted. Raises OSError.

    A cut that the disk does not let be finished stays in ``store.unfinished_cuts``.
    """
    disk = store.disk
    # Before anything: a mark that only the page cache has must not be lost half-way, and one that is gone
    # from the page cache only must not come back over what is appended now.
    disk.sync_directory(store.cuts_path)
    names = disk.list(store.cuts_path)
    for name in names:
        path = f"{store.cuts_path}/{name}"
        log_id = layout.log_id_of(name)
        if log_id is None or not disk.exists(store.log_path(log_id)):
            disk.unlink(path)  # a mark that was being made, or the log is removed
            continue
        try:
            mark = _decode(log_id, read_file(disk, path) or b"")
            if mark is None:
                store.warnings.append(f"log {log_id:08x}: the mark of a cut is damaged; it is read as it is")
                disk.unlink(path)
                continue
            store.unfinished_cuts[log_id] = mark[0]
            _finish(store, log_id, *mark)
        except OSError as error:
            store.unfinished_cuts.setdefault(log_id, 0)
            store.warnings.append(f"log {log_id:08x}: a cut cannot be finished: {error.strerror or error}")
        else:
            del store.unfinished_cuts[log_id]
            store.warnings.append(f"log {log_id:08x}: its cut behind frame {mark[0]} is finished")
    if names:
        disk.sync_directory(store.cuts_path)


def _finish(store: "Store", log_id: int, index: int, position: int) -> None:
    disk, directory = store.disk, store.log_path(log_id)
    lower_watermark(disk, directory, index)
    bases = store.segment_bases(log_id)
    kept = [base for base in bases if base < position]
    for base in reversed(bases):
        name = f"{directory}/{layout.index_name(base)}"
        if (base >= position or base == kept[-1]) and disk.exists(name):
            disk.unlink(name)
        if base >= position:
            disk.unlink(f"{directory}/{layout.segment_name(base)}")
    if kept:
        fd = disk.open(f"{directory}/{layout.segment_name(kept[-1])}")
        try:
            start = segment_head.SIZE + position - kept[-1]
            # Written whatever is read there: after a failed sync what is read need not be what the disk has.
            store.zero(fd, start, max(0, disk.size(fd) - start))
        finally:
            disk.close(fd)
    disk.sync_directory(directory)
    disk.unlink(f"{store.cuts_path}/{layout.log_name(log_id)}")
    disk.sync_directory(store.cuts_path)


def _encode(log_id: int, index: int, position: int) -> bytes:
    fields = _FIELDS.pack(log_id, 0, index, position)
    return _CHECKED.pack(_MAGIC, checksum(fields)) + fields


def _decode(log_id: int, data: bytes) -> tuple[int, int] | None:
    """(index, position) of a mark of that log; None when it is damaged."""
    if len(data) != _SIZE:
        return None
    magic, crc = _CHECKED.unpack_from(data)
    marked_log, _, index, position = _FIELDS.unpack_from(data, _CHECKED.size)
    if magic != _MAGIC or checksum(data[_CHECKED.size :]) != crc or marked_log != log_id:
        return None
    return index, position
