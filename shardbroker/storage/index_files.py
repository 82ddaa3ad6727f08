"""Index files beside their segments: found, read, and made from a segment.

An index is worth nothing without its segment and can always be made again, so nothing here is durable, and
whatever is wrong with one means that the segment is read.
"""

import os


def index_path(segment_path: str) -> str | None:
    """``x.seg`` -> ``x.idx``; None for other names."""
    stem, extension = os.path.splitext(segment_path)
    return stem + ".idx" if extension == ".seg" else None


def read_index(segment_path: str) -> bytes | None:
    """The bytes of the index of that segment; None when there is none that can be read."""
    path = index_path(segment_path)
    try:
        with open(path, "rb") as file:
            return file.read()
    except (OSError, TypeError):
        return None


def build_index(log_id: int, base: int, segment_path: str) -> bytes | None:
    """The index of a sealed segment, from the segment. None when only the segment itself can say what is in
    it: it is damaged, or an atomic batch goes over its border."""
    # Here, because a scan reads indexes.
    from shardbroker.storage.log_scan import LogScan
    from shardbroker.storage.segment_index import IndexWriter
    from shardbroker.storage.segment_list import read_head

    writer = IndexWriter(base)
    result = LogScan(log_id, [(base, segment_path)], use_indexes=False, make_durable=False).run(writer)
    head, _size = read_head(segment_path)
    damaged = result.notes or result.lost or result.cut_bytes
    if damaged or head is None or result.last_index < head.first_index:
        return None
    return writer.finish(
        log_id, base, result.end_position, head.first_index, result.last_index, result.last_sequence,
        head.previous_crc, result.last_crc, result.last_term,
    )  # fmt: skip
