"""All streams of the broker by account: names, subjects, configurations, log ids. The one place that decides.

The catalog is a plain state machine: it opens no file and talks to nobody (acceptor/jetstream.py does). A
stream enters it *reserved*, when its name and subjects are granted to the worker that makes it, and becomes
*live* when its log is on disk; only then others hear of it. What is reserved already counts for overlaps and
limits, so two clients cannot get the same subject. Ids of logs are not used again.

A stream that is restored from a backup stays reserved until all of it is on disk; until then its log's
metadata say so. What dies before that leaves it *abandoned*: its owner's successor removes the log.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from shardbroker import limits
from shardbroker.jetstream import api_errors
from shardbroker.jetstream.config_checks import check_create, check_restore
from shardbroker.jetstream.config_updates import check_update
from shardbroker.jetstream.js_limits import JetStreamLimits
from shardbroker.jetstream.stored_stream import stored_stream
from shardbroker.jetstream.stream_config import StreamConfig
from shardbroker.jetstream.subject_trie import SubjectTrie

RESERVED, LIVE, DAMAGED, ABANDONED = "reserved", "live", "damaged", "abandoned"

#: Log ids of one term of the store: more are only taken when the stores' terms have not come that far.
_IDS_PER_TERM = 1 << 12


@dataclass(slots=True)
class Entry:
    """One stream. ``created`` is wall clock ns; ``seed`` keys its hashes; ``owner`` is a worker's index."""

    account: str
    name: str
    config: StreamConfig
    log_id: int
    row: int
    owner: int
    created: int
    seed: int
    state: str = RESERVED
    reason: str = ""  # of DAMAGED
    reserved: int = 0  # sequences up to here may have been given out
    memory_fd: int = -1  # of a memory stream
    pending_config: StreamConfig | None = None  # an update that is being written
    restoring: bool = False  # from a backup that is not in as a whole

    def stored(self) -> dict:
        """The body of the metadata slot; storage/metadata.py frames it."""
        body = stored_stream(self)
        if self.restoring:
            body["restoring"] = True
        return body


@dataclass(slots=True)
class AccountStreams:
    """The streams of one account: what config_checks.AccountView asks."""

    catalog: "Catalog"
    limits: JetStreamLimits = field(default_factory=JetStreamLimits)
    entries: dict[str, Entry] = field(default_factory=dict)
    subjects: SubjectTrie = field(default_factory=SubjectTrie)

    def config_of(self, name: str) -> StreamConfig | None:
        entry = self.entries.get(name)
        if entry is None or entry.state == ABANDONED or (entry.state == RESERVED and entry.restoring):
            return None
        return entry.config

    def has_overlap(self, subjects: Sequence[str], except_name: str) -> bool:
        return any(name != except_name for subject in subjects for _, name in self.subjects.overlaps(subject))

    def stream_count(self, except_name: str) -> int:
        return len(self.entries) - (except_name in self.entries)

    def reserved_size(self, storage: str, except_name: str) -> int:
        return sum(
            max(entry.config.max_bytes, 0)
            for entry in self.entries.values()
            if entry.config.storage == storage and entry.name != except_name
        )

    def server_reserved_size(self, storage: str) -> int:
        return sum(one.reserved_size(storage, "") for one in self.catalog.accounts.values())


class Catalog:
    """``owner_of(account, name)`` says which worker owns a stream of that name."""

    def __init__(self, account_limits: JetStreamLimits, owner_of):
        self.accounts: dict[str, AccountStreams] = {}
        self.by_log: dict[int, Entry] = {}
        self._limits = account_limits
        self._owner_of = owner_of
        self._next_log_id = 1
        self._free_rows: list[int] = []
        self._next_row = 0

    def account(self, name: str) -> AccountStreams:
        streams = self.accounts.get(name)
        if streams is None:
            streams = self.accounts[name] = AccountStreams(self, self._limits)
        return streams

    def entries(self) -> Iterator[Entry]:
        """All that others may know of."""
        return (entry for entry in self.by_log.values() if entry.state in (LIVE, DAMAGED))

    def abandoned(self, owner: int) -> list[Entry]:
        """Halves of streams, which this worker is to remove."""
        return [entry for entry in self.by_log.values() if entry.state == ABANDONED and entry.owner == owner]

    def begin_term(self, term: int) -> None:
        """The store has this term from now on."""
        self._next_log_id = max(self._next_log_id, term * _IDS_PER_TERM % (1 << 31))

    def load(self, log_id: int, stored: dict | None, damaged: str | None) -> Entry:
        """A log found in the store."""
        self._next_log_id = max(self._next_log_id, log_id + 1)
        if stored is None:
            name = f"damaged-{log_id:08x}"
            entry = Entry(
                "$G", name, StreamConfig(name=name, storage="file"), log_id, self._take_row(),
                self._owner_of("$G", name), 0, 0, DAMAGED, damaged or "unreadable",
            )  # fmt: skip
        else:
            import orjson

            config = StreamConfig.from_stored(orjson.dumps(stored["config"]))
            entry = Entry(
                stored["account"], stored["name"], config, log_id, self._take_row(),
                self._owner_of(stored["account"], stored["name"]), stored["created"], stored["seed"],
                ABANDONED if stored.get("restoring") else LIVE, reserved=stored["reserved"],
            )  # fmt: skip
        self._enter(entry)
        return entry

    def create(
        self,
        account: str,
        name: str,
        config: StreamConfig,
        pedantic: bool,
        *,
        now_ns: int,
        seed: int,
        restore: bool = False,
    ) -> tuple[Entry, bool]:
        """Grant a new stream: (entry, True), or an equal one: (entry, False). Raises ApiError.

        The equal one may be RESERVED still: somebody else asked for the same a moment ago.
        """
        streams = self.account(account)
        entry = streams.entries.get(name)
        if entry is not None and entry.state == DAMAGED:
            raise api_errors.STREAM_OFFLINE_REASON(err=entry.reason)
        if entry is not None and (
            entry.state == ABANDONED or (entry.state == RESERVED and (restore or entry.restoring))
        ):
            taken = api_errors.STREAM_NAME_EXIST
            raise (api_errors.STREAM_NAME_EXIST_RESTORE_FAILED if restore else taken).fresh()
        if restore:
            checked = check_restore(name, config, streams.limits, streams)
            if streams.has_overlap(checked.subjects or (), name):
                raise api_errors.STREAM_SUBJECT_OVERLAP.fresh()
        else:
            checked = check_create(name, config, streams.limits, streams, pedantic=pedantic)
        if entry is not None and checked is entry.config:
            return entry, False
        if len(self.by_log) >= limits.log_rows_max:
            raise api_errors.MAXIMUM_STREAMS_LIMIT.fresh()
        entry = Entry(
            account, name, checked, self._next_log_id, self._take_row(), self._owner_of(account, name),
            now_ns, seed, restoring=restore,
        )  # fmt: skip
        self._next_log_id += 1
        self._enter(entry)
        return entry, True

    def update(self, account: str, name: str, config: StreamConfig, pedantic: bool, consumers=()) -> Entry:
        """Grant a new configuration, which waits in ``pending_config``. Raises ApiError."""
        streams = self.account(account)
        entry = streams.entries.get(name)
        if entry is not None and entry.state == DAMAGED:
            raise api_errors.STREAM_OFFLINE_REASON(err=entry.reason)
        if entry is not None and entry.state == RESERVED:
            raise api_errors.STREAM_NOT_FOUND.fresh()
        checked = check_update(name, config, streams.limits, streams, pedantic=pedantic, consumers=consumers)
        assert entry is not None
        if entry.pending_config is not None:
            raise api_errors.STREAM_UPDATE(err="another update of this stream is being written")
        entry.pending_config = checked
        for subject in checked.subjects or ():
            if subject not in (entry.config.subjects or ()):
                streams.subjects.add(subject, name)
        return entry

    def finish_create(self, log_id: int) -> Entry | None:
        """The log is on disk, with all that is to be restored."""
        entry = self.by_log.get(log_id)
        if entry is not None:
            entry.state = LIVE
            entry.restoring = False
        return entry

    def finish_update(self, log_id: int, ok: bool) -> Entry | None:
        """The new configuration is on disk, or could not be written."""
        entry = self.by_log.get(log_id)
        if entry is None or entry.pending_config is None:
            return entry
        kept, dropped = (entry.pending_config, entry.config) if ok else (entry.config, entry.pending_config)
        streams = self.account(entry.account)
        for subject in dropped.subjects or ():
            if subject not in (kept.subjects or ()):
                streams.subjects.remove(subject, entry.name)
        entry.config = kept
        entry.pending_config = None
        return entry

    def remove(self, log_id: int) -> Entry | None:
        """The stream is gone, or was never made."""
        entry = self.by_log.pop(log_id, None)
        if entry is None:
            return None
        streams = self.account(entry.account)
        del streams.entries[entry.name]
        current, pending = entry.config, entry.pending_config or entry.config
        for subject in {*(current.subjects or ()), *(pending.subjects or ())}:
            streams.subjects.remove(subject, entry.name)
        self._free_rows.append(entry.row)
        return entry

    def _enter(self, entry: Entry) -> None:
        streams = self.account(entry.account)
        streams.entries[entry.name] = entry
        self.by_log[entry.log_id] = entry
        for subject in entry.config.subjects or ():
            streams.subjects.add(subject, entry.name)

    def _take_row(self) -> int:
        if self._free_rows:
            return self._free_rows.pop(0)
        self._next_row += 1
        return self._next_row - 1
