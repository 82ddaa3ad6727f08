"""``shardbroker inspect STORE_DIR``: what is in a store, and whether it is whole, without a server.

    shardbroker inspect STORE_DIR [--log NAME] [--verify] [--json]

Reads only, so it may be run on a copy, on a damaged disk mounted read-only, or beside a running broker; then
the ends of logs are moving. ``--verify`` reads every byte of every segment; without it, sealed segments that
have an index are taken from there. Exit code: 0 whole, 1 damage was found, 2 the store cannot be read.
"""

import argparse
import fcntl
import json
import os
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass, field

from shardbroker.cli.progress import Progress
from shardbroker.cli.tables import print_table, visible
from shardbroker.storage import layout, metadata
from shardbroker.storage.collecting_sink import CountingSink
from shardbroker.storage.disk import Disk
from shardbroker.storage.log_scan import LogScan
from shardbroker.storage.watermark import read_watermark

#: Lost ranges and notes of one log in the table; --json has all.
_LINES_MAX = 20
#: Characters of a name in the table: none is cut, and what is no name does not fill the screen.
_NAME_MAX = 255


@dataclass
class LogReport:
    """One log. ``records`` are stored messages, also those deleted since; ``size`` is bytes of its files."""

    log_id: str
    account: str = ""
    stream: str = ""
    state: str = "good"  # or: lost (messages are gone), damaged (its metadata is), foreign (neither is there)
    reason: str = ""
    segments: int = 0
    size: int = 0
    records: int = 0
    first_sequence: int = 0
    last_sequence: int = 0
    cut_bytes: int = 0  # of a torn tail: what was being written when the power went; nobody was promised it
    lost: list[tuple[int, int, str]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def is_good(self) -> bool:
        return self.state == "good"


def inspect(arguments: list[str]) -> int:
    """Run the command; gives the exit code."""
    parser = argparse.ArgumentParser(
        prog="shardbroker inspect", description="Check a store without a server."
    )
    parser.add_argument("store_dir", help="the directory given to the broker with -sd")
    parser.add_argument("--log", metavar="NAME", help="only this stream, account/stream or log id")
    parser.add_argument("--verify", action="store_true", help="read every byte, use no index")
    parser.add_argument("--json", action="store_true", help="one JSON object instead of a table")
    options = parser.parse_args(arguments)
    path = store_path(options.store_dir)
    try:
        logs = log_directories(path)
    except OSError as error:
        print(f"shardbroker inspect: {path}: {error.strerror}; give the broker's -sd", file=sys.stderr)
        return 2
    if in_use(path):
        print("a broker is running on this store: the ends of its logs are moving", file=sys.stderr)
    bar = Progress(sum(size_of(directory) for _log_id, directory in logs) >> 20, "MiB read")
    finished = 0
    reports = []
    for log_id, directory in logs:
        report, files = open_log(log_id, directory)
        if options.log is None or options.log in names_of(report):
            if os.path.lexists(os.path.join(path, layout.CUTS, layout.log_name(log_id))):
                report.notes.append("not read: its end is being cut off, which the next start finishes")
                files = []
            before = finished
            scan_log(
                report, log_id, directory, files, options.verify,
                lambda done, before=before: bar.show(before + done >> 20),
            )  # fmt: skip
            reports.append(report)
        finished += size_of(directory)
    bar.clear()
    if options.log is not None and not reports:
        print(f"shardbroker inspect: there is no log {options.log}", file=sys.stderr)
        return 2
    tell = tell_json if options.json else tell_table
    tell(path, reports)
    return 0 if all(report.is_good for report in reports) else 1


def store_path(store_dir: str) -> str:
    """The directory with the logs: the one given to the broker, or the one it made in there."""
    inner = os.path.join(store_dir, layout.STORE_DIRECTORY)
    return inner if os.path.isdir(inner) else store_dir


def log_directories(path: str) -> list[tuple[int, str]]:
    """(log id, directory) of all logs. Raises OSError for what is no store."""
    logs = os.path.join(path, layout.LOGS)
    found = [(layout.log_id_of(name), os.path.join(logs, name)) for name in sorted(os.listdir(logs))]
    return [(log_id, directory) for log_id, directory in found if log_id is not None]


def in_use(path: str) -> bool:
    """Whether a broker has the lock of the store."""
    try:
        fd = os.open(os.path.join(path, layout.LOCK_FILE), os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return True
    finally:
        os.close(fd)
    return False


def size_of(directory: str) -> int:
    """Bytes of the segments in a log's directory."""
    size = 0
    try:
        with os.scandir(directory) as entries:
            for entry in entries:
                if layout.segment_base_of(entry.name) is not None:
                    size += entry.stat(follow_symlinks=False).st_size
    except OSError:
        pass
    return size


def open_log(log_id: int, directory: str) -> tuple[LogReport, list[tuple[int, str]]]:
    """What the metadata and the names of the files say, and the segments."""
    report = LogReport(layout.log_name(log_id))
    contents: list[bytes | None] = []
    for name in layout.CONFIG_SLOTS:
        try:
            with open(os.path.join(directory, name), "rb") as file:
                contents.append(file.read())
        except FileNotFoundError:
            contents.append(None)
        except OSError as error:
            contents.append(None)
            report.notes.append(f"{name}: {error.strerror}")
    slots = metadata.Slots(contents)
    report.notes += slots.damage
    try:
        body = json.loads(slots.body) if slots.body is not None else None
    except ValueError:
        body = None
    if isinstance(body, dict):
        report.account, report.stream = str(body.get("account", "")), str(body.get("name", ""))
    else:
        report.state, report.reason = "damaged", "its metadata cannot be read"
    files = []
    try:
        for name in sorted(os.listdir(directory)):
            base = layout.segment_base_of(name)
            if base is not None:
                files.append((base, os.path.join(directory, name)))
    except OSError as error:
        report.state, report.reason = "damaged", f"its directory cannot be read: {error.strerror}"
    report.segments, report.size = len(files), size_of(directory)
    return report, files


def names_of(report: LogReport) -> set[str]:
    """What --log may say to mean this one."""
    return {report.stream, f"{report.account}/{report.stream}", report.log_id} - {""}


def scan_log(
    report: LogReport,
    log_id: int,
    directory: str,
    files: list[tuple[int, str]],
    verify: bool,
    progress: Callable[[int], None],
) -> None:
    """Read the log, and put into the report what is in it. ``progress`` is called with the bytes read."""
    sink = CountingSink(progress)
    durable = read_watermark(Disk(), directory)
    result = LogScan(log_id, files, durable, use_indexes=not verify, make_durable=False).run(sink)
    report.records = sink.records
    report.first_sequence, report.last_sequence = sink.first_sequence, result.last_sequence
    report.cut_bytes = result.cut_bytes
    report.lost = list(sink.lost)
    report.notes += result.notes
    if report.lost and report.state == "good":
        report.state, report.reason = "lost", "messages that were acknowledged cannot be read"


def tell_json(path: str, reports: list[LogReport]) -> None:
    """Everything, for programs."""
    good = all(report.is_good for report in reports)
    print(json.dumps({"store": path, "good": good, "logs": [asdict(report) for report in reports]}, indent=2))


def tell_table(path: str, reports: list[LogReport]) -> None:
    """A line for each log, and below what is wrong."""
    heads = ("LOG", "ACCOUNT", "STREAM", "STATE", "SEGMENTS", "BYTES", "RECORDS", "FIRST", "LAST")
    rows = [
        (
            report.log_id, report.account, report.stream, report.state,
            str(report.segments), str(report.size), str(report.records),
            str(report.first_sequence), str(report.last_sequence),
        )
        for report in reports
    ]  # fmt: skip
    print_table(heads, rows, cell_max=_NAME_MAX)
    for report in reports:
        lines = [report.reason] if report.reason else []
        lines += [f"lost: {lost_text(*lost)}" for lost in report.lost]
        lines += [f"note: {note}" for note in report.notes]
        if report.cut_bytes:
            lines.append(f"note: {report.cut_bytes} bytes at the end were never acknowledged")
        for line in lines[:_LINES_MAX]:
            print(f"{report.log_id}: {visible(line)}")
        if len(lines) > _LINES_MAX:
            print(f"{report.log_id}: and {len(lines) - _LINES_MAX} more; --json has all")
    bad = sum(not report.is_good for report in reports)
    print(f"{len(reports)} logs, {bad} with damage" if bad else f"{len(reports)} logs, all good")


def lost_text(first: int, last: int, reason: str) -> str:
    """One loss in words."""
    if first == 0:
        return f"no messages ({reason})"
    if last == 0:
        return f"sequences from {first} on ({reason})"
    return f"sequence {first} ({reason})" if first == last else f"sequences {first} to {last} ({reason})"
