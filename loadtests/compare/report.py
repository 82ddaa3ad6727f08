"""Turns a results document into a table: one line for each figure of each case.

The document is plain JSON (see run.py), so that an old file can be shown again, and tests need no server.
"""

from dataclasses import dataclass
from typing import Any

from loadtests.compare.case import Goal
from loadtests.compare.ratios import Ratio, median, ratio_of_pairs, shorten

disturbed_cores = 0.15  # samples during which others used more are named under the table

failure_size_max = 300

ring_share_min = 0.99  # of a case that is meant to measure the way between workers

units = {
    "messages_per_s": "msg/s",
    "deliveries_per_s": "deliveries/s",
    "requests_per_s": "requests/s",
    "connects_per_s": "connects/s",
    "subscriptions_per_s": "SUB/s",
    "churn_per_s": "SUB+UNSUB/s",
    "cpu_ns": "server CPU ns each",
    "p50_us": "p50 us",
    "p99_us": "p99 us",
    "p999_us": "p99.9 us",
    "late_us_max": "generator late, max us",
    "ping_p99_us": "ping p99 us",
    "all_reached_ms": "all reached, ms",
    "bytes_per_connection": "B a connection",
    "bytes_per_subscription": "B a subscription",
    "base_megabytes": "MB of the empty server",
    "idle_cores_empty": "idle cores, empty",
    "idle_cores_crowd": "idle cores, crowd",
    "syncs_per_1000": "fdatasyncs for 1,000",
    "disk_percent": "% of the disk's synced rate",
    "p99_times_quiet": "p99 / quiet p99",
    "quiet_p99_us": "quiet p99 us",
    "recovery_ms": "all acknowledged after, ms",
    "read_megabytes": "MB read from disk",
    "take_over_ms": "without answers, ms",
    "start_s": "until all is there, s",
    "reachable_s": "until it answers, s",
    "store_megabytes": "MB on disk",
    "megabytes": "MB of memory",
    "creates_per_s": "creates/s",
    "group_ms": "until created, filter PREFIX.>, ms",
    "one_ms": "until created, filter *.KEY, ms",
    "every_ms": "until created, filter *.*, ms",
    "later_ms": "until created, PREFIX.> from the middle, ms",
}


@dataclass(frozen=True)
class Line:
    """One figure of one case: medians of both sides, ratio of pairs, goal."""

    case: str
    title: str
    figure: str
    ours: float | None
    peer: float | None
    ratio: Ratio | None
    goal: Goal
    failed_sides: frozenset[str] = frozenset()

    @property
    def reached(self) -> bool | None:
        """None: there is no goal."""
        if not self.goal.has_bound:
            return None
        return self.goal.reached(self.ratio.median if self.ratio else None, self.ours)

    def cells(self, *, first: bool) -> list[str]:
        verdict = {None: "", True: "reached", False: "NOT REACHED"}[self.reached]
        return [
            self.title if first else "",
            units.get(self.figure, self.figure),
            self._value("ours", self.ours),
            self._value("peer", self.peer),
            str(self.ratio) if self.ratio else "",
            str(self.goal),
            verdict,
        ]

    def _value(self, side: str, value: float | None) -> str:
        """What failed is told from what that server does not have."""
        if value is not None:
            return shorten(value)
        return "failed" if side in self.failed_sides else "-"


def lines_of(results: dict[str, Any]) -> list[Line]:
    """All lines of the table, in the order of the cases."""
    lines = []
    for case in results["cases"]:
        samples = case["samples"]
        failed = frozenset(side for side in samples if any("failure" in each for each in samples[side]))
        for goal in case["goals"]:
            figure = goal["figure"]
            ours = [sample.get(figure) for sample in samples["ours"]]
            peer = [sample.get(figure) for sample in samples["peer"]]
            ratio = ratio_of_pairs(ours, peer)
            sides = (median(ours), median(peer))
            lines.append(Line(case["name"], case["title"], figure, *sides, ratio, Goal(**goal), failed))
    return lines


def render(results: dict[str, Any]) -> str:
    """The whole report as Markdown that is also readable as plain text."""
    lines = lines_of(results)
    names = [results["servers"][side]["name"] for side in ("ours", "peer")]
    header = ["case", "figure", names[0], names[1], "ratio (min..max)", "goal", ""]
    rows, last = [], None
    for line in lines:
        rows.append(line.cells(first=line.case != last))
        last = line.case
    parts = [_heading(results), "", *_table(header, rows), "", _summary(lines), *_remarks(results)]
    return "\n".join(parts) + "\n"


def goals_reached(results: dict[str, Any]) -> bool:
    """True if every goal of the measured cases is reached."""
    return all(line.reached is not False for line in lines_of(results))


def _heading(results: dict[str, Any]) -> str:
    machine = results["machine"]
    servers = results["servers"]
    quick = ["- **quick: small stores, short samples; proves nothing**"] if results.get("quick") else []
    changed = f" with {results['changed_files']} changed files" if results["changed_files"] else ""
    return "\n".join(
        [
            f"# {servers['ours']['name']} against {servers['peer']['name']}, {results['date']}",
            "",
            f"- machine: {machine['cpu']}, {machine['cores']} cores, {machine['memory_gb']} GB, "
            f"{machine['system']} {machine['kernel']}, Python {machine['python']}; servers and load share it",
            f"- commit: {results['commit']}{changed}",
            f"- ours: {servers['ours']['version']}; peer: {servers['peer']['version']}",
            f"- {results['pairs']} interleaved pairs of {results['seconds']:g} s; ratio = ours / peer within "
            "a pair: median (smallest..largest)",
            f"- command: `{' '.join(results['command_line'])}`",
            *quick,
        ]
    )


def _table(header: list[str], rows: list[list[str]]) -> list[str]:
    widths = [max(len(row[column]) for row in [header, *rows]) for column in range(len(header))]
    lines = [header, ["-" * width for width in widths], *rows]
    padded = [[cell.ljust(width) for cell, width in zip(row, widths, strict=True)] for row in lines]
    return ["| " + " | ".join(row) + " |" for row in padded]


def _summary(lines: list[Line]) -> str:
    judged = [line for line in lines if line.reached is not None]
    return f"Goals reached: {sum(line.reached is True for line in judged)} of {len(judged)}."


def _remarks(results: dict[str, Any]) -> list[str]:
    """What a reader must know before believing the table: failed and disturbed samples, unproved claims."""
    remarks, disturbances = [], []
    for case in results["cases"]:
        for side, samples in case["samples"].items():
            name = results["servers"][side]["name"]
            for number, sample in enumerate(samples, 1):
                where = f"{case['name']}, pair {number}, {name}"
                if "failure" in sample:
                    # The words of a server that did not start may be long; the JSON has them all.
                    reason = " ".join(sample["failure"].split())[:failure_size_max]
                    remarks.append(f"- failed: {where}: {reason}")
                elif sample.get("foreign_cores", 0) > disturbed_cores:
                    disturbances.append((sample["foreign_cores"], where))
                if side == "ours" and sample.get("ring_share", 1.0) < ring_share_min:
                    share = sample["ring_share"]
                    remarks.append(f"- not across workers: {where}: {share:.0%} came through a ring")
    if disturbances:
        cores, where = max(disturbances)
        remarks.append(
            f"- disturbed: during {len(disturbances)} samples other processes used more than "
            f"{disturbed_cores:g} cores, at most {cores:g} ({where})"
        )
    return ["", "Remarks:", "", *remarks] if remarks else []
