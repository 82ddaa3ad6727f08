"""What a scan of a log says: the same for a server that goes on from there and for a tool that reports.

A value without methods, so that it can be sent to another process, and what later deletes take away from it.
"""

from dataclasses import dataclass, field


@dataclass(slots=True)
class ScanResult:
    """What a log holds, and where it goes on. Positions are log positions, in bytes."""

    end_position: int  # the next frame belongs here
    last_index: int
    last_crc: int  # head_crc of the last frame, for the next one's previous_crc
    last_term: int
    last_sequence: int  # the highest ever seen, also in what is cut: none up to this may be given again
    sequence_in_doubt: bool  # a hole's sequences are unknown: go on at what was reserved
    segment_base: int | None  # of the segment with end_position; None: there is no segment
    segment_capacity: int
    cut_bytes: int  # of frames of this log from end_position on, which will be overwritten
    leftover_paths: list[str]  # segments behind the end: to be removed
    lost: list[tuple[int, int, str]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def without_deleted(lost: list[tuple[int, int, str]], first: int, last: int) -> list[tuple[int, int, str]]:
    """What is left of lost ranges when ``first`` to ``last`` were deleted later.

    MSG.DELETE overwrites messages on purpose: these are no loss. A range without a known end stays.
    """
    kept = []
    for start, end, reason in lost:
        if end < start or end < first or last < start:
            kept.append((start, end, reason))
            continue
        if start < first:
            kept.append((start, first - 1, reason))
        if last < end:
            kept.append((last + 1, end, reason))
    return kept
