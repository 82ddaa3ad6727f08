"""Where everything lies in the store directory. Nothing else knows a file name.

    <store_dir>/jetstream/          0700, and all below
        STORE                       format and identity of the store, one line of text each
        LOCK                        locked by the stream-writer while it lives; text: its pid
        term.a  term.b              slots (storage/metadata.py): the store-wide term
        clean                       there after an end at which everything was synced
        reserve                     room kept back for the day the disk is full
        logs/
            <log id, 8 hex>/        one log
                config.a  config.b  slots: what the log is for
                watermark           an index that was durable for sure (storage/watermark.py)
            <base, 16 hex>.seg  a segment: frames from log position `base` on
                <base, 16 hex>.idx  the sealed index of that segment; may be missing
                <base>.seg.new      a segment that is being made; worthless after a crash
            <log id>.new/           a log that is being made; worthless after a crash
            <log id>.dead/          a log that is being removed
        cuts/<log id>               the mark of a cut that is not finished (storage/log_cut.py)
        pool/<log id>-<base>        large dead segments, for use by another log
        journal/a  journal/b        frames of many logs, synced once for all of them

Names of streams and accounts never become names of files: they stand inside the config slots.
"""

import re

STORE_DIRECTORY = "jetstream"
STORE_FILE = "STORE"
LOCK_FILE = "LOCK"
CLEAN_FILE = "clean"
RESERVE_FILE = "reserve"
TERM_SLOTS = ("term.a", "term.b")
CONFIG_SLOTS = ("config.a", "config.b")
LOGS = "logs"
CUTS = "cuts"
POOL = "pool"
JOURNAL = "journal"
JOURNAL_FILES = ("a", "b")
NEW = ".new"
DEAD = ".dead"

_LOG = re.compile(r"[0-9a-f]{8}")
_SEGMENT = re.compile(r"([0-9a-f]{16})\.seg")


def log_name(log_id: int) -> str:
    """Name of a log's directory."""
    return f"{log_id:08x}"


def log_id_of(name: str) -> int | None:
    """The log with a directory of that name; None for other names."""
    return int(name, 16) if _LOG.fullmatch(name) else None


def segment_name(base: int) -> str:
    return f"{base:016x}.seg"


def index_name(base: int) -> str:
    return f"{base:016x}.idx"


def segment_base_of(name: str) -> int | None:
    """The base position of a segment file of that name; None for other names."""
    found = _SEGMENT.fullmatch(name)
    return int(found[1], 16) if found else None


def pooled_name(log_id: int, base: int) -> str:
    """Unique, for a log has one segment at a base and log ids are not used again."""
    return f"{log_id:08x}-{base:016x}"
