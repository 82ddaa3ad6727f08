"""One cycle of the stream-writer: what the lanes hold by now, one sync a log, then the word to the owners.

A cycle takes the records of all lanes in order, at most CYCLE_BYTES_MAX of each, so that no lane waits for
another's flood. Frames are collected a log at a time and written from where they lie in the lane, without a
copy. Then each log that somebody waits for is synced once, whatever number of frames it got: that is the
group commit. Only then the records get their status, the log table its rows, and the lanes their `processed`
position, in this order, so that an owner that sees the position sees all of it.

A truncation is a cycle of its own for its lane: when it is carried out everything before it has its word, and
nothing behind it was looked at. Else the successor of a writer that dies in the middle would meet the frames
that were cut once more, and could not tell them from those that have their index now.

Records in a lane are another process's memory. The head of each is copied before it is looked at, and its
size is the one by which the lane's cursor moved.
"""

from functools import partial

from libc.errno cimport EIO, ENOMEM
from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.stdlib cimport free, realloc

from shardbroker.shm.append_lane cimport (
    LANE_CREATE,
    LANE_ERASE,
    LANE_FRAME,
    LANE_INDEX,
    LANE_END_TOLD,
    LANE_METADATA,
    LANE_NO_SYNC,
    LANE_RECORD_SIZE,
    LANE_RELEASE,
    LANE_REMOVE,
    LANE_SYNC,
    LANE_TRUNCATE,
    STATUS_ERRNO,
    STATUS_FAULTY,
    STATUS_REFUSED,
    STATUS_STORED,
    STATUS_WAITING,
    LaneConsumer,
    LaneRecord,
    lane_body,
)
from shardbroker.shm.atomics cimport load_acquire_u64, monotonic_ns, store_release_u64
from shardbroker.shm.offsets cimport LANE_RELEASED, WORKERS_MAX
from shardbroker.shm.ring cimport RingMap
from shardbroker.storage.frame cimport FRAME_HEAD_SIZE, SEGMENT_HEAD_SIZE, FrameHead
from shardbroker.streamwriter.bells cimport Bells
from shardbroker.streamwriter.file_calls cimport FileCalls
from shardbroker.streamwriter.frame_check cimport frame_is_sound
from shardbroker.streamwriter.journal_writer cimport BatchHead, EntryHead, JournalWriter
from shardbroker.streamwriter.log_file cimport LogFile
from shardbroker.streamwriter.log_table cimport NO_ROW, LogTable

from shardbroker.errors import StorageError
from shardbroker.storage.layout import segment_name
from shardbroker.storage.metadata import BODY_SIZE_MAX
from shardbroker.storage.watermark import write_watermark

cdef enum:
    #: Bytes of one lane in one cycle: more would make the first wait for the last.
    CYCLE_BYTES_MAX = 8 << 20
    #: Logs synced one by one in a cycle. Eight take 0.7-1.4 ms where one write to the journal takes 0.2.
    DIRECT_SYNCS_MAX = 8

#: Segments that wait for their index; older ones go without.
SEALED_MAX = 64
#: Open segments. The descriptors of clean logs are closed beyond it.
OPEN_FILES_MAX = 4096


cdef class WriteLoop:
    """`board` and `log_table` are addresses of mapped memory; `on_fault(what, log_id, errno)` is told of
    failures, `log_id` 0 when it is none's."""

    def __cinit__(
        self, store, journal, uint64_t board, uint64_t log_table, uint64_t log_table_size, on_fault
    ):
        self.store = store
        self.calls = FileCalls(store.disk)
        self.on_fault = on_fault
        self.journal = JournalWriter(journal, self.calls, on_fault)
        self.logs = {}
        self.touched = []
        self.truncating = []
        self.unsynced = {}
        self.unmarked = {}
        self.sealed = []
        self.lanes = [None] * WORKERS_MAX
        self.table = LogTable(log_table, log_table_size)
        self.bells = Bells(board)

    def __dealloc__(self):
        free(self.entries)

    def attach(self, int worker, RingMap lane not None, int doorbell):
        """Read this worker's lane from where its last reader ended."""
        cdef LaneConsumer consumer = LaneConsumer(lane)
        self.lanes[worker] = consumer
        self.resent[worker] = load_acquire_u64(consumer.head_cell)
        self.bells.set_doorbell(worker, doorbell)

    # --- the cycle ---------------------------------------------------------------------------------------

    def cycle(self):
        """Do what the lanes hold; True when there was something, so that it is worth to look again."""
        cdef int worker
        cdef bint found = False
        cdef LaneConsumer lane
        self.bells.beat()
        self.wants_cycle_sync = self.sync_all = False
        for worker in range(WORKERS_MAX):
            if self.lanes[worker] is not None and self.gather(worker):
                found = True
        if not found and not self.truncating:
            return False
        self.cycles += 1
        if found:
            self.write_and_sync()
            self.answer()
            for worker in range(WORKERS_MAX):
                lane = self.lanes[worker]
                if lane is not None and lane.cursor != lane.processed:
                    lane.finish()
                    self.bells.ring(worker)
        if self.truncating:
            self.truncate_logs()
        self.tell_figures()
        return True

    cdef bint gather(self, int worker) noexcept:
        cdef LaneConsumer lane = self.lanes[worker]
        cdef LaneRecord *record
        cdef uint64_t position, taken = 0
        if not lane.pending():
            return False
        while taken < CYCLE_BYTES_MAX:
            position = lane.cursor
            record = lane.next()
            if record == NULL:
                break
            # Its owner may have changed the size since it was checked.
            if lane.cursor - position > lane.size or lane.cursor - position < LANE_RECORD_SIZE:
                lane.broken = True
                break
            if record.kind == LANE_TRUNCATE:
                lane.cursor = position
                if taken == 0:
                    self.truncating.append(worker)
                break
            taken += lane.cursor - position
            self.take(worker, record, lane.cursor - position, position)
        if lane.broken:
            self.report("lane", worker, 0)
        return taken > 0

    cdef void take(self, int worker, LaneRecord *place, uint64_t size, uint64_t position) noexcept:
        """One record; it gets its status now, or at the end of the cycle."""
        cdef LaneRecord record = place[0]
        cdef uint32_t status
        cdef uint64_t body = (<uint64_t> record.body_size + 7) & ~(<uint64_t> 7)
        if LANE_RECORD_SIZE + body + record.trailer_size > size:
            status = STATUS_FAULTY
        elif record.log_id == 0 and record.kind != LANE_SYNC:
            status = STATUS_FAULTY
        elif record.kind == LANE_FRAME:
            status = self.take_frame(worker, place, &record, position)
        elif record.kind == LANE_SYNC:
            status = self.take_sync(place, &record)
        else:
            status = self.operate(&record, lane_body(place))
        if status == STATUS_FAULTY:
            self.report("record", worker, 0)
        if status != STATUS_WAITING:
            place.status = status

    cdef uint32_t take_frame(
        self, int worker, LaneRecord *place, const LaneRecord *record, uint64_t position
    ) noexcept:
        cdef uint8_t *frame = lane_body(place)
        cdef FrameHead head
        cdef LogFile log
        cdef uint32_t status
        if record.body_size < FRAME_HEAD_SIZE or record.row >= self.table.row_count:
            return STATUS_FAULTY
        head = (<FrameHead *> frame)[0]
        if not frame_is_sound(record, &head, frame + FRAME_HEAD_SIZE):
            return STATUS_FAULTY
        log = self.touch_of(record.log_id, record.row)
        if (
            position < self.resent[worker]
            and record.status == STATUS_STORED
            and log.durable.known
            and head.index <= log.durable.index
        ):
            return STATUS_STORED  # a predecessor said so and died before it could move the lane's position
        status = log.take(record, &head, frame)
        if status != STATUS_WAITING:
            if status == STATUS_REFUSED and log.tail.known:
                # Its owner may count on frames that a failed sync has taken back: say where it ends.
                place.flags |= LANE_END_TOLD
                place.count = log.tail.index
                place.position = log.tail.position
                place.segment = log.tail.crc
            return status
        self.frames += 1
        if not record.flags & LANE_NO_SYNC:
            log.wants_sync = self.wants_cycle_sync = True
        if not self.wait_for(place, head.index, log.place):
            log.fail(ENOMEM)
            return STATUS_ERRNO + ENOMEM
        return STATUS_WAITING

    cdef uint32_t take_sync(self, LaneRecord *place, const LaneRecord *record) noexcept:
        cdef LogFile log
        cdef int waits_for = -1
        self.wants_cycle_sync = True
        if record.log_id:
            log = self.touch_of(record.log_id, record.row)
            log.wants_sync = True
            waits_for = log.place
        else:
            self.sync_all = True
        return STATUS_WAITING if self.wait_for(place, record.index, waits_for) else STATUS_ERRNO + ENOMEM

    cdef bint wait_for(self, LaneRecord *record, uint64_t index, int log) noexcept:
        cdef Entry *grown
        if self.entry_count == self.entry_room:
            grown = <Entry *> realloc(self.entries, (2 * self.entry_room + 64) * sizeof(Entry))
            if grown == NULL:
                return False
            self.entries = grown
            self.entry_room = 2 * self.entry_room + 64
        self.entries[self.entry_count] = Entry(record, index, log)
        self.entry_count += 1
        return True

    cdef void write_and_sync(self) noexcept:
        """Write what was taken, then make durable each log that somebody waits for."""
        cdef LogFile log
        cdef int waiting = 0
        if self.sync_all:
            for log in self.unsynced.values():
                if log.lazy and not log.touched:
                    self.add_touched(log)
            for log in self.touched:
                log.wants_sync = True
        if self.wants_cycle_sync:
            for log in self.touched:
                waiting += log.wants_sync
        if waiting > DIRECT_SYNCS_MAX:
            self.write_with_journal()
        for log in self.touched:
            log.flush()
        if waiting:
            for log in self.touched:
                if log.wants_sync and not log.error:
                    log.sync()

    cdef void write_with_journal(self) noexcept:
        """Write all logs, and what they wrote once more into the journal, whose sync counts for all of them.

        A log for which that is not enough still wants its own sync afterwards.
        """
        cdef LogFile log
        cdef int mark
        cdef bint was_lazy
        cdef uint64_t size = sizeof(BatchHead)
        for log in self.touched:
            size += log.part_count * sizeof(EntryHead) + (log.part_bytes if log.part_count else 0)
        if not self.journal.make_room(size):
            return
        journaled = []
        for log in self.touched:
            mark = self.journal.entry_count
            was_lazy = log.lazy
            if log.error or not self.journal.collect(log) or log.flush():
                self.journal.entry_count = mark
            elif not was_lazy:
                journaled.append(log)
        if self.journal.commit() == 0:
            for log in journaled:
                self.journal.cover(log)
                log.lazy = log.wants_sync = False
                log.durable = log.before = log.tail

    cdef void answer(self) noexcept:
        """Status of every record that waited, and the rows of the log table."""
        cdef LogFile log
        cdef Entry *entry
        cdef int place, first_error = 0
        cdef uint64_t now_ns
        for log in self.touched:
            if log.error:
                if log.sync_failed and log.journal_round:
                    self.journal.restore(log, log.error)
                first_error = first_error or log.error
                self.report("log", log.log_id, log.error)
        for place in range(self.entry_count):
            entry = &self.entries[place]
            if entry.log < 0:
                entry.record.status = STATUS_ERRNO + first_error if first_error else STATUS_STORED
                continue
            log = self.touched[entry.log]
            if log.error and (entry.index == 0 or entry.index > log.tail.index):
                entry.record.status = STATUS_ERRNO + log.error
            elif log.tail.known and entry.index > log.tail.index:
                entry.record.status = STATUS_REFUSED  # a sync behind a frame that was not stored
            else:
                entry.record.status = STATUS_STORED
        self.entry_count = 0
        now_ns = monotonic_ns()
        for log in self.touched:
            self.table.store(log)
            self.new_frames += log.new_frames
            self.new_bytes += log.new_bytes
            log.touched_ns = now_ns
            if log.durable.index > log.marked and not log.removed:
                self.unmarked[log.log_id] = log
            if log.dirty:
                self.unsynced[log.log_id] = log
            else:
                self.unsynced.pop(log.log_id, None)
            log.touched = False
            if log.fd < 0 and not (log.tail.known or log.failed_below or log.half_cut):
                self.logs.pop(log.log_id, None)  # it took nothing: not worth remembering
        self.touched.clear()

    def sync_unsynced(self, bint all_files=False):
        """Sync everything that was stored without; to be called every sync interval.

        `all_files`: also what only the journal keeps, so that there is nothing to replay; at the end.
        """
        cdef LogFile log
        self.journal.settle(all_files)
        for log in list(self.unsynced.values()):
            if log.lazy or all_files or not log.dirty:
                self.add_touched(log)
                log.sync()
        self.answer()
        self.tell_figures()

    cdef void tell_figures(self) noexcept:
        """Put on the board what was done since the last time."""
        self.bells.count(self.calls.new_syncs(), self.new_frames, self.new_bytes)
        self.new_frames = self.new_bytes = 0

    def index_one(self):
        """Write the index of a segment that was left since, if there is one without; True when there was.

        It takes tens of milliseconds, so it is for times when nobody waits. Without it reading the log back
        is slower, nothing else.
        """
        if not self.sealed:
            return False
        from shardbroker.storage.index_files import build_index  # slow to load, and seldom needed

        log_id, base = self.sealed.pop(0)
        if len(self.sealed) > SEALED_MAX:
            del self.sealed[:-SEALED_MAX]
        try:
            content = build_index(
                log_id, base, f"{self.store.log_path(log_id)}/{segment_name(base)}"
            )
            if content is not None:
                self.store.write_index(log_id, base, content)
        except OSError:
            pass  # the segment is gone again, or there is no room: nobody needs the index
        return True

    def mark(self, uint64_t idle_ns, int limit):
        """Put down how far logs are that did nothing for `idle_ns`, at most `limit` of them."""
        cdef LogFile log
        cdef uint64_t now_ns = monotonic_ns()
        for log in list(self.unmarked.values()):
            if limit == 0:
                return
            if now_ns - log.touched_ns >= idle_ns:
                del self.unmarked[log.log_id]
                limit -= 1
                if not log.removed:
                    try:
                        write_watermark(self.store.disk, self.store.log_path(log.log_id), log.durable.index)
                        log.marked = log.durable.index
                    except OSError:
                        continue  # only rot of the log's end is harder to tell without it

    def close(self):
        """Everything is synced afterwards, and the journal empty."""
        self.sync_unsynced(True)
        self.mark(0, len(self.unmarked))
        self.journal.close()

    # --- logs --------------------------------------------------------------------------------------------

    cdef LogFile log_of(self, uint32_t log_id):
        cdef LogFile log = self.logs.get(log_id)
        if log is None:
            if len(self.logs) % 256 == 255:
                self.close_some()
            log = self.logs[log_id] = LogFile(log_id, self.store, self.calls, self.sealed)
        return log

    cdef LogFile touch(self, uint32_t log_id):
        """The log's state, in this cycle."""
        cdef LogFile log = self.log_of(log_id)
        if not log.touched:
            self.add_touched(log)
        return log

    cdef LogFile touch_of(self, uint32_t log_id, uint32_t row):
        """The same of a log whose row of the log table is told."""
        cdef LogFile log = self.touch(log_id)
        if log.row != row and row < self.table.row_count:
            log.row = row
            if not log.tail.known:
                self.table.adopt(log)
        return log

    cdef void add_touched(self, LogFile log) noexcept:
        log.begin_cycle()
        log.place = len(self.touched)
        self.touched.append(log)

    def settle_rows(self, extents):
        """After a predecessor's death: make durable what it had stored without syncing.

        `extents`: (start, end) of the parts of the log table that were ever written.
        """
        self.table.settle(self.sync_newest, extents)

    def sync_newest(self, uint32_t log_id):
        try:
            # Segments before the newest were synced when it was made.
            bases = self.store.segment_bases(log_id)
            if bases:
                fd = self.store.open_segment(log_id, max(bases))[0]
                try:
                    self.store.disk.fdatasync(fd)
                finally:
                    self.store.disk.close(fd)
        except OSError as failure:
            self.report("log", log_id, failure.errno)
            return False
        return True

    def close_some(self):
        """Keep the number of open segments bounded: close those of logs that have nothing to sync."""
        cdef LogFile log
        opened = [log for log in self.logs.values() if log.fd >= 0]
        if len(opened) < OPEN_FILES_MAX:
            return
        for log in opened[: len(opened) - OPEN_FILES_MAX // 2]:
            if not log.touched and not log.dirty:
                log.close_segment()

    # --- everything that is no frame ---------------------------------------------------------------------

    cdef uint32_t operate(self, const LaneRecord *record, uint8_t *body) noexcept:
        cdef LogFile log
        cdef int error
        if record.body_size > BODY_SIZE_MAX and record.kind != LANE_INDEX:
            return STATUS_FAULTY
        try:
            content = body[: record.body_size]
            if record.kind == LANE_CREATE:
                self.store.reserve.use_for(partial(self.store.create_log, record.log_id, content))
            elif record.kind == LANE_METADATA:
                self.store.reserve.use_for(partial(self.store.write_metadata, record.log_id, content))
            elif record.kind == LANE_REMOVE:
                self.remove(record)
            elif record.kind == LANE_INDEX:
                self.store.write_index(record.log_id, record.segment, content)
            elif record.kind == LANE_RELEASE or record.kind == LANE_ERASE:
                # The frames that say so are durable first.
                log = self.touch(record.log_id)
                error = log.sync()
                if error:
                    return STATUS_ERRNO + error
                if record.kind == LANE_ERASE:
                    return self.erase(record)
                if log.base == record.segment:
                    log.close_segment()
                self.store.release_segment(record.log_id, record.segment)
            else:
                return STATUS_FAULTY
        except OSError as failure:
            self.report("log", record.log_id, failure.errno or EIO)
            return STATUS_ERRNO + (failure.errno or EIO)
        except ValueError:
            return STATUS_FAULTY
        return STATUS_STORED

    cdef object remove(self, const LaneRecord *record):
        cdef LogFile log = self.touch(record.log_id)
        log.flush()
        log.close_segment()
        log.dirty = False
        self.store.remove_log(record.log_id)
        log.removed = True
        del self.logs[record.log_id]
        self.table.clear(log.row if log.row != NO_ROW else record.row, record.log_id)

    cdef uint32_t erase(self, const LaneRecord *record) except? 0:
        """Zeros over a range of a segment, durably. One that was released needs none."""
        cdef uint64_t offset = record.position - record.segment
        opened = self.store.open_segment(record.log_id, record.segment)
        if opened is None:
            return STATUS_STORED
        fd, head = opened
        try:
            if head is not None:
                capacity = head.capacity
            else:
                capacity = max(0, self.store.disk.size(fd) - SEGMENT_HEAD_SIZE)
            if record.position < record.segment or offset > capacity or record.count > capacity - offset:
                return STATUS_FAULTY
            self.store.zero(fd, SEGMENT_HEAD_SIZE + offset, record.count)
            self.journal.erase(self.touch(record.log_id), record.segment, record.position, record.count)
        finally:
            self.store.disk.close(fd)
        return STATUS_STORED

    # --- cutting the end of a log off --------------------------------------------------------------------

    cdef void truncate_logs(self) noexcept:
        """Carry out what lanes begin with; nothing else is on its way meanwhile."""
        cdef LaneConsumer lane
        cdef LaneRecord *place
        cdef LaneRecord record
        cdef int worker
        for worker in self.truncating:
            lane = self.lanes[worker]
            place = lane.next()
            if place == NULL:
                self.report("lane", worker, 0)
                continue
            record = place[0]
            if record.kind != LANE_TRUNCATE or record.log_id == 0 or record.row >= self.table.row_count:
                place.status = STATUS_FAULTY
                self.report("record", worker, 0)
            else:
                place.status = self.truncate(&record)
            self.answer()
            lane.finish()
            self.bells.ring(worker)
        self.truncating.clear()

    cdef uint32_t truncate(self, const LaneRecord *record) noexcept:
        try:
            self.truncate_suffix(record.log_id, record.row, record.index, record.term)
        except StorageError:
            self.report("cut", record.log_id, 0)
            return STATUS_REFUSED
        except OSError as failure:
            self.report("log", record.log_id, failure.errno or EIO)
            return STATUS_ERRNO + (failure.errno or EIO)
        return STATUS_STORED

    def truncate_suffix(self, uint32_t log_id, uint32_t row, uint64_t index, uint32_t term):
        """End a log behind frame `index`, durably; the next frame is the one behind it. Between cycles only.

        `row` is the log's in the log table, where its owner says what is committed; `term` is the owner's.
        Raises StorageError for a cut that may not be, then nothing was done; OSError when the disk fails:
        then the log takes no frame until a cut there, or before it, has succeeded.
        """
        cdef LogFile log = self.touch_of(log_id, row)
        cdef LogFile other
        log.check_truncate(index, self.table.committed(row), term)
        if self.journal.holds(log):
            # A replay would write what is cut over what comes now: so no log may need one.
            self.journal.settle(True)
            for other in list(self.unsynced.values()):
                if not other.touched:
                    self.add_touched(other)
                if other.sync():
                    raise OSError(other.error, f"log {other.log_id:08x} cannot be synced")
            self.journal.empty()
        log.truncate(index, term)
        self.sealed[:] = [
            (sealed_id, base) for sealed_id, base in self.sealed if sealed_id != log_id or base < log.base
        ]

    def report(self, what, number, error):
        self.on_fault(what, number, error)

    # --- fence and sleep ---------------------------------------------------------------------------------

    def fence(self, int worker):
        """Take everything a dead worker published, durably. True: its lane was whole; False: it held
        garbage, from which on it was given up."""
        cdef LaneConsumer lane = self.lanes[worker]
        cdef bint whole
        while lane.pending():
            self.cycle()
        self.sync_unsynced()
        whole = not lane.broken
        if not whole:
            lane.cursor = load_acquire_u64(lane.head_cell)
            lane.broken = False
            lane.finish()
            # The owner is dead, so nobody else writes this: a successor must not walk through garbage.
            store_release_u64(<uint64_t *> (lane.ring.base + LANE_RELEASED), lane.cursor)
        self.resent[worker] = 0
        return whole

    def has_news(self):
        """Whether any lane holds a record."""
        cdef int worker
        cdef LaneConsumer lane
        for worker in range(WORKERS_MAX):
            lane = self.lanes[worker]
            if lane is not None and lane.pending():
                return True
        return False

    def go_to_sleep(self):
        """Announce that the writer may block; True when it may, for nothing came meanwhile."""
        self.bells.announce_sleep()
        if self.has_news():
            self.bells.wake()
            return False
        return True
