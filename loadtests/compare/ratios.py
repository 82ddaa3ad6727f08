"""The arithmetic of the report: percentiles, and the ratio of two servers from interleaved pairs.

A pair is one sample of ours and one of the peer, taken one right after the other, so that what the machine
does meanwhile hits both. The ratio is taken within each pair first; the report then shows the median of these
ratios, with the smallest and the largest as spread. One disturbed pair so moves the spread, not the result.
"""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Ratio:
    """Ours divided by the peer's: median, smallest and largest over `count` pairs."""

    median: float
    smallest: float
    largest: float
    count: int

    def __str__(self) -> str:
        return f"{shorten(self.median)} ({shorten(self.smallest)}..{shorten(self.largest)})"


def ratio_of_pairs(ours: Sequence[float | None], peers: Sequence[float | None]) -> Ratio | None:
    """Ratio over the pairs in which both samples exist; None if there is no such pair."""
    quotients = [
        our / peer
        for our, peer in zip(ours, peers, strict=True)
        if our is not None and peer is not None and peer > 0
    ]
    if not quotients:
        return None
    return Ratio(statistics.median(quotients), min(quotients), max(quotients), len(quotients))


def median(values: Sequence[float | None]) -> float | None:
    """Median of the samples that exist."""
    present = [value for value in values if value is not None]
    return statistics.median(present) if present else None


def weighted_percentiles(pairs: Sequence[tuple[float, int]], shares: Sequence[float]) -> list[float]:
    """Values at the given shares (0..1, rising) of a distribution given as (value, how often)."""
    ordered = sorted(pairs)
    total = sum(weight for _, weight in ordered)
    assert total > 0
    found: list[float] = []
    passed = 0
    remaining = iter(ordered)
    value, weight = next(remaining)
    for share in shares:
        while passed + weight < share * total:
            passed += weight
            value, weight = next(remaining)
        found.append(value)
    return found


def shorten(value: float) -> str:
    """Three significant digits with k, M or G: 12_345_678 -> 12.3M."""
    for limit, suffix in ((1e9, "G"), (1e6, "M"), (1e4, "k")):
        if abs(value) >= limit:
            value /= 1e3 if suffix == "k" else limit
            return f"{value:.3g}{suffix}" if abs(value) < 999.5 else f"{value:.0f}{suffix}"
    return f"{value:.3g}" if abs(value) < 999.5 else f"{value:.0f}"
