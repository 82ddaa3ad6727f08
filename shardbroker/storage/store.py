"""The store directory: opened and locked by one process, listed at start, changed file by file.

This file knows how names come and go so that a crash at any step leaves the state before or the state
after: whatever is new is made whole under a name that means "worthless after a crash", synced, renamed, and
the directory is synced. Frames are not its business: streamwriter/ writes them into descriptors from here.

Every call goes through a Disk (storage/disk.py). Nothing here is on the way of a message but the making of a
segment, and that is rare.
"""

import os
import re

from shardbroker.errors import StartError
from shardbroker.storage import layout, log_cut, metadata, segment_head
from shardbroker.storage.disk import Disk, read_all, read_file, replace_file, write_all
from shardbroker.storage.reserve import Reserve
from shardbroker.storage.segment_head import DamagedHead, SegmentHead

FORMAT = 1
#: Only segments of this capacity (bytes of frames) are kept for another use: written once, they sync in half
#: the time, and a reader of a smaller file gains nothing.
POOLED_CAPACITY = 64 << 20
#: Segments kept in the pool; more are unlinked. 256 MiB at most.
POOL_COUNT_MAX = 4
#: Added to what segments tell when both slots of the term are damaged: no broker was started that often.
TERM_LEAP = 1 << 20
_ZEROS_SIZE = 1 << 20
#: What nats-server has in the directory of an account: its streams, or those of a cluster's metadata.
_NATS_SERVER_MARKS = ("streams", "_js_")

_FORMAT_LINE = re.compile(rb"shardbroker JetStream store, format (\d+)\n")


class Store:
    """The store in ``store_dir``. Nothing is touched before ``open``."""

    def __init__(self, disk: Disk, store_dir: str, *, pooled_capacity: int = POOLED_CAPACITY):
        self.disk = disk
        self.path = f"{os.path.abspath(store_dir)}/{layout.STORE_DIRECTORY}"
        self.logs_path = f"{self.path}/{layout.LOGS}"
        self.cuts_path = f"{self.path}/{layout.CUTS}"
        self.pool_path = f"{self.path}/{layout.POOL}"
        self.journal_path = f"{self.path}/{layout.JOURNAL}"
        self.term = 0
        #: What was strange at ``open``, in words for the log.
        self.warnings: list[str] = []
        self.reserve = Reserve(disk, f"{self.path}/{layout.RESERVE_FILE}")
        self._pooled_capacity = pooled_capacity
        self._pool: list[str] = []
        self._lock = -1
        self._was_clean = False
        #: Directories of logs whose names are durable since this process looks after them.
        self._synced: set[str] = set()
        #: Log id -> index of logs whose end should be cut off behind that frame, and could not be.
        self.unfinished_cuts: dict[int, int] = {}
        #: Directories of removed logs, still to be unlinked.
        self._dead: list[str] = []
        self._generations: dict[str, tuple[int, int]] = {}  # directory -> generation and place of its slot

    # --- start -------------------------------------------------------------------------------------------

    def open(self) -> None:
        """Make the store or take the one that is there. Raises StartError, with what to do about it."""
        try:
            self._open()
        except StartError:
            self.close()
            raise
        except OSError as error:
            self.close()
            raise StartError(
                f"cannot open the store {self.path} ({error.strerror or error}): "
                "check its owner and mode, or give another --store_dir"
            ) from error

    def _open(self) -> None:
        os.makedirs(os.path.dirname(self.path), mode=0o700, exist_ok=True)
        self._refuse_foreign()
        self._directory(self.path)
        self._take_lock()
        self._check_format()
        for path in (self.logs_path, self.cuts_path, self.pool_path, self.journal_path):
            self._directory(path)
        self.disk.sync_directory(self.path)
        # A process that was killed may have left names that only the page cache has: from here on they count.
        self.disk.sync_directory(self.logs_path)
        marker = f"{self.path}/{layout.CLEAN_FILE}"
        self._was_clean = self.disk.exists(marker)
        if self._was_clean:
            # Not synced: after a power failure everything that is found is on the disk anyway.
            self.disk.unlink(marker)
        self._pool = [f"{self.pool_path}/{name}" for name in self.disk.list(self.pool_path)]
        self._read_term()
        self._drop_unfinished()
        log_cut.finish_cuts(self)

    def _refuse_foreign(self) -> None:
        """nats-server uses the same directory, one below it for each account: two servers in one store would
        each take the other's files for damage."""
        for name in self.disk.list(self.path) if self.disk.exists(self.path) else ():
            if any(self.disk.exists(f"{self.path}/{name}/{mark}") for mark in _NATS_SERVER_MARKS):
                raise StartError(
                    f"{self.path} is a store of nats-server (it has {name}/): give another --store_dir, and "
                    "bring streams over with `nats stream backup` from there and `nats stream restore` here"
                )

    def _directory(self, path: str) -> None:
        if not self.disk.exists(path):
            self.disk.make_directory(path)
            self.disk.sync_directory(os.path.dirname(path))

    def _take_lock(self) -> None:
        path = f"{self.path}/{layout.LOCK_FILE}"
        fd = self.disk.open(path) if self.disk.exists(path) else self.disk.create(path)
        if not self.disk.lock(fd):
            owner = read_all(self.disk, fd).decode("ascii", "replace").strip() or "unknown"
            self.disk.close(fd)
            raise StartError(
                f"the store {self.path} is in use by the process with pid {owner}: "
                "stop that broker, or give another --store_dir"
            )
        self._lock = fd
        self.disk.truncate(fd, 0)
        write_all(self.disk, fd, b"%d\n" % os.getpid(), 0)

    def _check_format(self) -> None:
        text = read_file(self.disk, f"{self.path}/{layout.STORE_FILE}")
        found = _FORMAT_LINE.match(text) if text is not None else None
        if found is not None:
            if int(found[1]) != FORMAT:
                raise StartError(
                    f"the store {self.path} has format {int(found[1])}, this program knows {FORMAT}: "
                    "start the program that wrote it, or give another --store_dir"
                )
            return
        if text is not None:
            self.warnings.append(f"{layout.STORE_FILE} was unreadable and is written anew")
        identity = os.urandom(16).hex()
        lines = f"shardbroker JetStream store, format {FORMAT}\nuuid {identity}\n"
        replace_file(self.disk, self.path, layout.STORE_FILE, lines.encode())

    def _drop_unfinished(self) -> None:
        """Logs that were being made when the power went, and those being removed."""
        for name in self.disk.list(self.logs_path):
            if name.endswith((layout.NEW, layout.DEAD)):
                self._dead.append(f"{self.logs_path}/{name}")

    def mark_clean(self) -> None:
        """Everything is synced and nothing follows: the next start need not sync what it finds."""
        marker = f"{self.path}/{layout.CLEAN_FILE}"
        if not self.disk.exists(marker):
            self.disk.close(self.disk.create(marker))

    def close(self) -> None:
        """Give the lock back."""
        if self._lock >= 0:
            self.disk.close(self._lock)
            self._lock = -1

    # --- term --------------------------------------------------------------------------------------------

    def _read_term(self) -> None:
        slots = self._slots(self.path, layout.TERM_SLOTS)
        self.term = slots.generation
        if slots.damage:
            self.warnings.append(f"the term: {', '.join(slots.damage)}")
        if slots.newest < 0 and slots.damage:
            highest = self._highest_term_of_segments()
            # Without a segment there was no frame that bears a term: the first raise was cut short.
            self.term = highest + TERM_LEAP if highest else 0

    def _highest_term_of_segments(self) -> int:
        highest = 0
        for name in self.disk.list(self.logs_path):
            if layout.log_id_of(name) is not None:
                for base in self.segment_bases(layout.log_id_of(name)):
                    path = f"{self.logs_path}/{name}/{layout.segment_name(base)}"
                    highest = max(highest, self._term_of_segment(path))
        return highest

    def _term_of_segment(self, path: str) -> int:
        """The term in the head of a segment file; 0 when it cannot be read."""
        try:
            fd = self.disk.open_to_read(path)
            try:
                return segment_head.decode(read_all(self.disk, fd, 0, segment_head.SIZE)).term
            finally:
                self.disk.close(fd)
        except (DamagedHead, OSError) as error:
            self.warnings.append(f"{path}: {error}")
            return 0

    def raise_term(self) -> int:
        """The next term, durable. Raises OSError."""
        self._write_slot(self.path, layout.TERM_SLOTS, b"{}", generation=self.term + 1)
        self.term += 1
        return self.term

    # --- slots -------------------------------------------------------------------------------------------

    def _slots(self, directory: str, names: tuple[str, str]) -> metadata.Slots:
        contents: list[bytes | None] = []
        damage = []
        for name in names:
            try:
                contents.append(read_file(self.disk, f"{directory}/{name}"))
            except OSError as error:
                contents.append(None)
                damage.append(f"{name} cannot be read: {error.strerror}")
        slots = metadata.Slots(contents)
        slots.damage += damage
        return slots

    def _write_slot(self, directory: str, names: tuple[str, str], body: bytes, generation: int = 0) -> None:
        """Overwrite the older slot, durably."""
        known = self._generations.get(directory)
        if known is None:
            slots = self._slots(directory, names)
            known = (slots.generation, slots.next_slot)
        generation = generation or known[0] + 1
        path = f"{directory}/{names[known[1]]}"
        is_new = not self.disk.exists(path)
        # Until this is durable nobody may believe in what was known before.
        self._generations.pop(directory, None)
        fd = self.disk.create(path) if is_new else self.disk.open(path)
        try:
            write_all(self.disk, fd, metadata.encode(generation, body), 0)
            self.disk.fdatasync(fd)
        finally:
            self.disk.close(fd)
        if is_new or generation <= 2:  # a try that failed may have left the name unsynced
            self.disk.sync_directory(directory)
        self._generations[directory] = (generation, 1 - known[1])

    # --- logs --------------------------------------------------------------------------------------------

    def log_path(self, log_id: int) -> str:
        return f"{self.logs_path}/{layout.log_name(log_id)}"

    def create_log(self, log_id: int, body: bytes) -> None:
        """Make a log with its first metadata, durably; one that is there gets it too. Raises OSError."""
        path = self.log_path(log_id)
        if self.disk.exists(path):
            self.write_metadata(log_id, body)
            return
        making = path + layout.NEW
        if making in self._dead:
            self._dead.remove(making)
        if self.disk.exists(making):
            self._remove_tree(making)
        self.disk.make_directory(making)
        self._write_slot(making, layout.CONFIG_SLOTS, body)
        self._generations.pop(making)
        self.disk.rename(making, path)
        self.disk.sync_directory(self.logs_path)

    def cut_log(self, log_id: int, index: int, position: int) -> None:
        """Let the log end behind frame ``index``, at log position ``position``: see storage/log_cut.py."""
        log_cut.cut_log(self, log_id, index, position)
        self.unfinished_cuts.pop(log_id, None)

    def write_metadata(self, log_id: int, body: bytes) -> None:
        """Durable when it returns. Raises OSError."""
        self._write_slot(self.log_path(log_id), layout.CONFIG_SLOTS, body)

    def remove_log(self, log_id: int) -> None:
        """Take the log away durably; its room is given back by ``sweep``. Raises OSError."""
        path = self.log_path(log_id)
        self._generations.pop(path, None)
        self._synced.discard(path)
        dead = path + layout.DEAD
        if self.disk.exists(path):
            if dead in self._dead:  # a crash came between its end and its sweep, and the log was made again
                self._remove_tree(dead)
                self._dead.remove(dead)
            self.disk.rename(path, dead)
            self._dead.append(dead)
        self.disk.sync_directory(self.logs_path)

    def sweep(self, files: int) -> bool:
        """Unlink at most ``files`` files of removed logs; True when there is more to do."""
        while self._dead and files > 0:
            path = self._dead[0]
            try:
                names = self.disk.list(path)
                for name in names[:files]:
                    self.disk.unlink(f"{path}/{name}")
                if len(names) < files:
                    self.disk.remove_directory(path)
                    self._dead.pop(0)
                files -= len(names) + 1
            except OSError:
                # Damaged or strange: leave it, it is only room. The next start tries again.
                self._dead.pop(0)
        return bool(self._dead)

    def _remove_tree(self, path: str) -> None:
        for name in self.disk.list(path):
            self.disk.unlink(f"{path}/{name}")
        self.disk.remove_directory(path)

    def list_logs(self) -> list[dict]:
        """All logs with their metadata, as the catalog wants them. What is damaged says so.

        No segment is opened: a log is read by its owner, and there may be thousands.
        """
        listing = []
        for name in self.disk.list(self.logs_path):
            log_id = layout.log_id_of(name)
            if log_id is not None:
                try:
                    listing.append(self._describe(log_id))
                except OSError as error:
                    reason = f"the directory of the log cannot be read: {error.strerror}"
                    listing.append({"log_id": log_id, "metadata": None, "damaged": reason})
        return listing

    def _describe(self, log_id: int) -> dict:
        path = self.log_path(log_id)
        if not self._was_clean:
            self._sync_found(path)
        slots = self._slots(path, layout.CONFIG_SLOTS)
        damage = []
        text = None
        if slots.body is None:
            damage.append("no metadata: " + (", ".join(slots.damage) or "both slots are missing"))
        else:
            try:
                text = slots.body.decode()
            except UnicodeDecodeError:
                damage.append("the metadata is no text")
            if slots.damage:
                self.warnings.append(f"log {log_id:08x}: {', '.join(slots.damage)}; the other slot is used")
        if log_id in self.unfinished_cuts:
            damage.append(f"its cut behind frame {self.unfinished_cuts[log_id]} could not be finished")
        for name in self.disk.list(path):
            if name.endswith(layout.NEW):
                self.disk.unlink(f"{path}/{name}")
        return {"log_id": log_id, "metadata": text, "damaged": "; ".join(damage) or None}

    def _sync_found(self, path: str) -> None:
        """Make durable what is going to be believed of a log: its names and its metadata."""
        for name in layout.CONFIG_SLOTS:
            if self.disk.exists(f"{path}/{name}"):
                fd = self.disk.open(f"{path}/{name}")
                try:
                    self.disk.fdatasync(fd)
                finally:
                    self.disk.close(fd)
        self.disk.sync_directory(path)
        self._synced.add(path)

    # --- segments ----------------------------------------------------------------------------------------

    def segment_bases(self, log_id: int) -> list[int]:
        """Base positions of the log's segment files, rising."""
        bases = map(layout.segment_base_of, self.disk.list(self.log_path(log_id)))
        return sorted(base for base in bases if base is not None)

    def open_segment(self, log_id: int, base: int) -> tuple[int, SegmentHead | None] | None:
        """Descriptor and head (None: damaged) of a segment that is there; None when there is none."""
        directory = self.log_path(log_id)
        try:
            fd = self.disk.open(f"{directory}/{layout.segment_name(base)}")
        except FileNotFoundError:
            return None
        try:
            if directory not in self._synced:  # a predecessor may have been killed before it did
                self.disk.sync_directory(directory)
                self._synced.add(directory)
            head = segment_head.decode(read_all(self.disk, fd, 0, segment_head.SIZE))
        except DamagedHead:
            return fd, None
        except BaseException:
            self.disk.close(fd)
            raise
        return fd, head if (head.log_id, head.base) == (log_id, base) else None

    def create_segment(self, head: SegmentHead, *, sparse: bool = False) -> int:
        """A descriptor of a new durable segment file with room for its capacity. Raises OSError.

        ``sparse``: take no room yet, for a frame that must get through on a full disk.
        """
        path = f"{self.log_path(head.log_id)}/{layout.segment_name(head.base)}"
        making = path + layout.NEW
        if self.disk.exists(making):
            self.disk.unlink(making)
        fd = self._recycled(head, making) if head.capacity == self._pooled_capacity else -1
        if fd < 0:
            fd = self.disk.create(making)
        try:
            if self.disk.size(fd) == 0:
                size = segment_head.SIZE + head.capacity
                if sparse:
                    self.disk.truncate(fd, size)
                else:
                    self.disk.fallocate(fd, 0, size)
            write_all(self.disk, fd, head.encode(), 0)
            self.disk.fsync(fd)
            self.disk.rename(making, path)
            self.disk.sync_directory(self.log_path(head.log_id))
        except BaseException:
            self.disk.close(fd)
            if self.disk.exists(making):
                self.disk.unlink(making)
            raise
        return fd

    def _recycled(self, head: SegmentHead, making: str) -> int:
        """A file of the pool under the name ``making``; -1 when there is none."""
        size = segment_head.SIZE + head.capacity
        while self._pool:
            pooled = self._pool.pop()
            try:
                fd = self.disk.open(pooled)
                if self.disk.size(fd) == size:
                    self.disk.rename(pooled, making)
                    return fd
                self.disk.close(fd)
                self.disk.unlink(pooled)
            except OSError:
                continue
        return -1

    def release_segment(self, log_id: int, base: int) -> None:
        """The segment is dead: keep a large file for another use, unlink others; its index goes too.

        One that is not there is no error. Raises OSError.
        """
        directory = self.log_path(log_id)
        path = f"{directory}/{layout.segment_name(base)}"
        index = f"{directory}/{layout.index_name(base)}"
        if self.disk.exists(index):
            self.disk.unlink(index)
        if not self.disk.exists(path):
            return
        fd = self.disk.open_to_read(path)
        size = self.disk.size(fd)
        self.disk.close(fd)
        if size == segment_head.SIZE + self._pooled_capacity and len(self._pool) < POOL_COUNT_MAX:
            pooled = f"{self.pool_path}/{layout.pooled_name(log_id, base)}"
            self.disk.rename(path, pooled)
            self.disk.sync_directory(self.pool_path)
            self.disk.sync_directory(directory)
            self._pool.append(pooled)
        else:
            self.disk.unlink(path)
            self.disk.sync_directory(directory)

    def zero(self, fd: int, offset: int, size: int) -> None:
        """Zeros over a range of a file, durably. Raises OSError."""
        zeros = bytes(min(size, _ZEROS_SIZE))
        while size > 0:
            part = memoryview(zeros)[: min(size, _ZEROS_SIZE)]
            write_all(self.disk, fd, part, offset)
            offset += len(part)
            size -= len(part)
        self.disk.fdatasync(fd)

    def write_index(self, log_id: int, base: int, body: bytes) -> None:
        """Keep the sealed index of a segment. Not synced: it can be made again, and checks itself."""
        directory = self.log_path(log_id)
        making = f"{directory}/{layout.index_name(base)}{layout.NEW}"
        if self.disk.exists(making):
            self.disk.unlink(making)
        fd = self.disk.create(making)
        try:
            write_all(self.disk, fd, body, 0)
        finally:
            self.disk.close(fd)
        self.disk.rename(making, f"{directory}/{layout.index_name(base)}")

    def free_size(self) -> int:
        """Free bytes of the disk; 0 when it does not say."""
        try:
            return self.disk.free_size(self.path)
        except OSError:
            return 0
