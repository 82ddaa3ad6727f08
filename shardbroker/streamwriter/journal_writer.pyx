"""The journal from the write loop's side (storage/journal.py says what it is for and how it lies on disk).

A batch is collected from the frames that wait in the logs, before these are written to their own files, and
is committed after: a log whose own write failed takes its frames out again (`entry_count`), or a replay would
bring back what its owner was told had failed.

When a file is full, the logs with frames in it are synced by a thread, without the GIL, while the other file
is filled. A log that cannot be synced gets its frames written anew from the journal; if that fails too, both
files are left as they are for the next start, and the journal is not used any more.
"""

import threading

from libc.errno cimport EIO, ENOMEM
from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.stdlib cimport free, malloc, realloc
from posix.uio cimport iovec

from shardbroker.storage.crc32c cimport crc32c
from shardbroker.storage.frame cimport SEGMENT_HEAD_SIZE
from shardbroker.streamwriter.file_calls cimport FileCalls
from shardbroker.streamwriter.log_file cimport LogFile

from shardbroker.storage import journal as journal_format

cdef enum:
    BATCH_MAGIC = 0x32424253
    ENTRY_FRAME = 1
    ENTRY_ERASE = 2
    JOURNAL_HEAD_SIZE = 64

assert sizeof(EntryHead) == journal_format.ENTRY.size


cdef class JournalWriter:
    """`journal` is recovered; `report(what, log_id, errno)` hears of failures."""

    def __cinit__(self, journal, FileCalls calls not None, report):
        self.journal = journal
        self.calls = calls
        self.report = report
        self.usable = True
        self.covered = {}
        self.current = 1  # the first round begins with the first file
        self.offset = journal.size
        self.round = journal.round

    def __dealloc__(self):
        free(self.entries)
        free(self.frames)

    # --- a batch -----------------------------------------------------------------------------------------

    cdef bint collect(self, LogFile log) noexcept:
        """Add what waits in the log to the open batch; False when there is no memory for it."""
        cdef int part
        cdef EntryHead entry
        cdef uint64_t position = log.base + log.part_start - SEGMENT_HEAD_SIZE
        entry.log_id = log.log_id
        entry.kind = ENTRY_FRAME
        entry.segment = log.base
        for part in range(log.part_count):
            entry.size = log.parts[part].iov_len
            entry.position = position
            entry.index = log.tail.index + 1 + part - log.part_count
            if not self.add(entry, <uint8_t *> log.parts[part].iov_base):
                return False
            position += entry.size
        return True

    cdef bint add(self, EntryHead entry, uint8_t *frame) noexcept:
        cdef int room = 2 * self.entry_room + 64
        cdef void *grown
        if self.entry_count == self.entry_room:
            grown = realloc(self.entries, room * sizeof(EntryHead))
            if grown == NULL:
                return False
            self.entries = <EntryHead *> grown
            grown = realloc(self.frames, room * sizeof(uint8_t *))
            if grown == NULL:
                return False
            self.frames = <uint8_t **> grown
            self.entry_room = room
        self.entries[self.entry_count] = entry
        self.frames[self.entry_count] = frame
        self.entry_count += 1
        return True

    cdef int commit(self) noexcept:
        """Write the batch and sync it; 0 or the errno. Whatever happens the batch is empty again."""
        cdef int error = self.write_batch() if self.entry_count else 0
        self.entry_count = 0
        return error

    cdef int write_batch(self) noexcept:
        cdef BatchHead head = BatchHead(BATCH_MAGIC, 0, self.round, self.number, sizeof(BatchHead))
        cdef uint32_t crc
        cdef iovec *parts = <iovec *> malloc((2 * self.entry_count + 2) * sizeof(iovec))
        cdef int count = 0, place, error
        cdef int fd = self.journal.fds[self.current]
        cdef uint64_t offset = self.offset
        cdef bytes file_head
        if parts == NULL:
            return ENOMEM
        if self.number == 0:  # the head of a new round goes out with its first batch
            file_head = journal_format.encode_head(self.round)
            parts[0].iov_base = <char *> file_head
            parts[0].iov_len = JOURNAL_HEAD_SIZE
            count = 1
            offset = 0
        parts[count].iov_base = &head
        parts[count].iov_len = sizeof(BatchHead)
        count += 1
        for place in range(self.entry_count):
            head.size += sizeof(EntryHead)
            if self.frames[place] != NULL:
                head.size += self.entries[place].size
        crc = crc32c(0, &head.round, sizeof(BatchHead) - 8)
        for place in range(self.entry_count):
            parts[count].iov_base = &self.entries[place]
            parts[count].iov_len = sizeof(EntryHead)
            crc = crc32c(crc, &self.entries[place], sizeof(EntryHead))
            count += 1
            if self.frames[place] != NULL:
                parts[count].iov_base = self.frames[place]
                parts[count].iov_len = self.entries[place].size
                crc = crc32c(crc, self.frames[place], self.entries[place].size)
                count += 1
        head.crc = crc
        error = self.calls.write(fd, parts, count, offset)
        free(parts)
        if error == 0:
            error = self.calls.sync(fd)
        if error:
            self.give_up(error)
            return error
        self.offset += head.size
        self.number += 1
        self.batches += 1
        return 0

    cdef bint make_room(self, uint64_t size) noexcept:
        """Before a batch of `size` bytes is collected: have room for it, perhaps by beginning the other file.

        False: there is none, the logs have to be synced themselves. A log that turns out not to be
        synced in the background fails here.
        """
        if not self.usable or size + JOURNAL_HEAD_SIZE > self.journal.size:
            return False
        if self.offset + size <= self.journal.size:
            return True
        try:
            self.journal.open()
            self.settle(True)
            if self.usable and self.covered:
                self.syncing = BackgroundSync(self.calls.disk, self.round, self.descriptors())
        except OSError as failure:
            self.report("journal", 0, failure.errno or EIO)
            return False
        if not self.usable:
            return False
        self.covered = {}
        self.current = 1 - self.current
        # Never a number that was used before: old batches behind the new head would count again.
        self.round = max(self.round, <uint64_t> self.journal.round) + 1
        self.offset = JOURNAL_HEAD_SIZE
        self.number = 0
        return True

    cdef void cover(self, LogFile log) noexcept:
        """The committed batch has frames of this log that its own file may lack."""
        log.journal_round = self.round
        self.covered[log.log_id] = log

    cdef bint holds(self, LogFile log) noexcept:
        """Whether a replay may find something of this log: a file with it was not begun anew since."""
        return log.journal_round != 0 and log.journal_round + 1 >= self.round

    def descriptors(self):
        """(log, copy of its descriptor) of the logs whose only safe copy is the file that is full now."""
        cdef LogFile log
        found = []
        for log in self.covered.values():
            if log.dirty and log.fd >= 0:  # else it was synced when its segment was changed
                found.append((log, self.calls.disk.duplicate(log.fd)))
        return found

    # --- the logs' own files -----------------------------------------------------------------------------

    def settle(self, bint wait):
        """Take the result of the background sync, once there is one or at once with `wait`."""
        cdef LogFile log
        if self.syncing is None or not self.syncing.finished(wait):
            return
        done, self.syncing = self.syncing, None
        for log, error in done.results:
            if error and not log.removed:
                self.restore(log, error)
            elif log.journal_round == done.round and not log.lazy:
                log.dirty = False

    def restore(self, LogFile log, int error):
        """The log's file could not be synced and may have lost what is in the journal: write it again."""
        self.report("log", log.log_id, error)
        log.failed_below = max(log.failed_below, log.base + 1)
        log.before = log.durable
        log.fail(error)
        log.dirty = log.lazy = False
        log.close_segment()
        replay = journal_format.Replay(self.journal.store)
        replay.run(iter(self.journal.entries_of(log.log_id)))
        if replay.failed:
            self.give_up(error)

    def give_up(self, int error):
        """Leave both files as they are for the next start."""
        self.usable = False
        self.report("journal", 0, error)

    def erase(self, LogFile log, uint64_t segment, uint64_t position, uint64_t size):
        """A replay must not bring back what was erased. Raises OSError."""
        cdef EntryHead entry = EntryHead(log.log_id, ENTRY_ERASE, size, segment, position, 0)
        cdef int error = EIO
        if not self.holds(log):
            return
        if self.make_room(sizeof(BatchHead) + sizeof(EntryHead)) and self.add(entry, NULL):
            error = self.commit()
            if error == 0:
                self.cover(log)
                return
        raise OSError(error, "the journal holds what is to be erased")

    def empty(self):
        """All logs are synced: nothing that it holds is to be replayed. Raises OSError."""
        if not self.usable:
            raise OSError(EIO, "the journal has failed and is kept as it is")
        if self.journal.fds:
            self.journal.round = max(self.journal.round, self.round)
            self.journal.empty()
            self.covered = {}
            self.round = self.journal.round
            self.offset = self.journal.size  # the next batch begins a file

    def close(self):
        """All logs are synced: nothing is to be replayed at the next start."""
        self.settle(True)
        if self.usable:
            self.empty()
        self.journal.close()


class BackgroundSync:
    """Syncs copies of descriptors in a thread. ``results``: (log, errno or 0) of each."""

    def __init__(self, disk, round_number, descriptors):
        self.round = round_number
        self.results = []
        self._disk = disk
        self._descriptors = descriptors
        self._thread = threading.Thread(target=self._run, name="background sync", daemon=True)
        self._thread.start()

    def finished(self, wait):
        """Whether all is done; waits for it with `wait`."""
        if wait:
            self._thread.join()
        return not self._thread.is_alive()

    def _run(self):
        for log, fd in self._descriptors:
            error = 0
            try:
                self._disk.fdatasync(fd)
            except OSError as failure:
                error = failure.errno or EIO
            self.results.append((log, error))
            self._disk.close(fd)
