"""Main of the stream-writer process: the only one that writes in the store directory.

Steps: die with the parent, take the acceptor's WriterAttach, open and lock the store, measure a sync, list
the logs, say WriterReady, then turn the write loop until Stop or until the acceptor is gone. Frames never
pass through this file; it handles the acceptor's messages and what has to be done from time to time.

A writer that was killed has a successor within moments. It finds the lanes as they are, begins at their
`processed` positions and writes the same bytes again at the same places; that is all the recovery it needs.
"""

import contextlib
import os
import select
import signal
import time

from shardbroker.config.options import Options
from shardbroker.control import messages
from shardbroker.control.channel import Channel
from shardbroker.control.parent_death import die_with_parent
from shardbroker.errors import StartError
from shardbroker.log import Log
from shardbroker.shm import layout
from shardbroker.shm.mapping import Mapping
from shardbroker.shm.region import Region
from shardbroker.shm.ring import RingMap
from shardbroker.storage.disk import Disk
from shardbroker.storage.journal import Journal
from shardbroker.storage.store import Store
from shardbroker.streamwriter.faults import Faults
from shardbroker.streamwriter.write_loop import WriteLoop

#: The longest sleep: after it the heartbeat is stored and house is kept.
_SLEEP_MS_MAX = 500
#: While the lanes are busy the channel is looked at this often.
_POLL_S = 0.002
#: Seconds between looks at what is not urgent: removed files, the reserve.
_HOUSEKEEPING_S = 1.0
#: Files of removed logs unlinked in one go; unlinking 64 MiB takes milliseconds.
_SWEEP_FILES = 4
#: A log that did nothing this long gets its watermark; so many in one go, at about 20 us each.
_IDLE_NS = 1_000_000_000
_MARKS = 100
#: Nothing to write for so long: time for what can wait.
_IDLE_S = 2.0
_PROBES = 16


def main(channel_socket, options: Options) -> None:
    """Run the stream-writer until it is told to stop. The target of the forkserver."""
    die_with_parent(os.getppid())
    for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGUSR1", "SIGUSR2"):
        signal.signal(getattr(signal, name), signal.SIG_IGN)
    log = Log(path=options.log_file, debug=options.debug, logtime=options.logtime, utc=options.logtime_utc)
    channel = Channel(channel_socket)
    try:
        Writer(channel, options, Disk()).run()
    except EOFError:
        # The acceptor is gone: nobody is left to write for. What is in the lanes was not acknowledged.
        os._exit(0)
    except BaseException as error:
        log.error(f"the stream-writer ends for a fault of its own: {type(error).__name__}: {error}")
        raise


class Writer:
    """The parts of the process, and what it does with the acceptor's messages."""

    def __init__(self, channel: Channel, options: Options, disk: Disk):
        self._channel = channel
        self._sync_interval_s = options.sync_interval_s
        attach, fds = self._first_message()
        self._board = Mapping(fds[0], layout.BOARD_SIZE)
        log_table_size = os.fstat(fds[1]).st_size
        self._log_table = Mapping(fds[1], log_table_size)
        self._row_extents = list(Region(fds[1], log_table_size).data_extents(0, log_table_size))
        self._doorbell = fds[2]
        self._store = Store(disk, options.store_dir)
        self._faults = Faults(self._send, self._store.free_size)
        self._journal = Journal(self._store)
        self._loop = WriteLoop(
            self._store,
            self._journal,
            self._board.address,
            self._log_table.address,
            log_table_size,
            self._fault,
        )
        self._loop.bells.set_pid(os.getpid())
        self._worker_doorbells = {}
        for worker in range(attach.worker_count):
            lane, doorbell = fds[3 + 2 * worker : 5 + 2 * worker]
            self._loop.attach(worker, RingMap(lane, attach.lane_size), doorbell)
            self._worker_doorbells[worker] = doorbell
            os.close(lane)
        os.close(fds[0])
        os.close(fds[1])
        #: Dead workers whose lanes are stored, and whether these were whole; the term is still to be raised.
        self._fenced: dict[int, bool] = {}
        self._is_successor = attach.term > 0
        self._stopping = False
        self._told_faults: list[str] = []
        self._next_sync = self._next_look = 0.0
        self._cycles_seen = 0
        self._idle_since = 0.0

    def run(self) -> None:
        """Serve until Stop."""
        if not self._open():
            return
        poll = select.poll()
        poll.register(self._channel.fileno(), select.POLLIN)
        poll.register(self._doorbell, select.POLLIN)
        self._next_sync = time.monotonic() + self._sync_interval_s
        next_poll = 0.0
        while not self._stopping:
            busy = self._loop.cycle()
            now = time.monotonic()
            if now >= self._next_look:
                busy = self._keep_house(now) or busy
            if busy and now < next_poll:
                continue  # the lanes have more, and the channel can wait a little
            next_poll = now + _POLL_S
            timeout_ms = 0
            if not busy and self._loop.go_to_sleep():
                timeout_ms = _SLEEP_MS_MAX
            for fd, _ in poll.poll(timeout_ms):
                if fd == self._doorbell:
                    _clear(fd)
                else:
                    self._handle_all()
            self._loop.bells.wake()
        self._finish()

    def _open(self) -> bool:
        try:
            self._store.open()
            replayed = self._journal.recover()
            if self._is_successor:
                self._loop.settle_rows(self._row_extents)
            else:
                self._store.raise_term()
            # The acceptor has had these from the first writer; a successor should be quick.
            probe_us = 0 if self._is_successor else probe_sync(self._store)
            logs = [] if self._is_successor else self._store.list_logs()
        except StartError as error:
            self._send(messages.WriterFailed(str(error)))
            return False
        except OSError as error:
            self._send(messages.WriterFailed(f"the store {self._store.path} is not usable: {error}"))
            return False
        self._store.reserve.take()
        if replayed:
            self._send(messages.WriterReport("info", f"JetStream store: {replayed} frames from the journal"))
        for text in self._store.warnings + self._journal.warnings:
            self._send(messages.WriterReport("warn", f"JetStream store: {text}"))
        self._send(messages.WriterReady(self._store.term, probe_us, self._store.path, logs))
        return True

    def _keep_house(self, now: float) -> bool:
        """What must be done sometimes; True when there is more of it at once."""
        more = self._store.sweep(_SWEEP_FILES)
        self._next_look = now if more else now + _HOUSEKEEPING_S
        if now >= self._next_sync:
            self._loop.sync_unsynced()
            self._next_sync = now + self._sync_interval_s
        self._store.reserve.take()
        self._tell_fenced()
        self._loop.mark(_IDLE_NS, _MARKS)
        if self._loop.cycles != self._cycles_seen:
            self._cycles_seen, self._idle_since = self._loop.cycles, now
        elif now - self._idle_since >= _IDLE_S:
            more = self._loop.index_one() or more
        self._faults.look(now)
        self._tell_health()
        return more

    def _fault(self, what: str, number: int, error: int) -> None:
        self._faults.tell(what, number, error)
        self._tell_health()

    def _tell_health(self) -> None:
        faults = self._faults.current()
        if faults != self._told_faults:
            self._told_faults = faults
            self._send(messages.WriterHealth(faults))

    def _finish(self) -> None:
        while self._loop.cycle():
            pass
        self._loop.close()
        self._store.mark_clean()
        self._store.close()

    # --- messages ----------------------------------------------------------------------------------------

    def _first_message(self) -> tuple[messages.WriterAttach, list[int]]:
        while True:
            select.select([self._channel], [], [])
            received = self._channel.receive()
            if received is not None:
                assert isinstance(received[0], messages.WriterAttach)
                return received

    def _send(self, message: messages.Message) -> None:
        """Send now; the acceptor drains the channel at all times, so waiting is short."""
        while not self._channel.send(message):
            select.select([], [self._channel], [], 0.1)

    def _handle_all(self) -> None:
        while (received := self._channel.receive()) is not None:
            self._handle(*received)

    def _handle(self, message: messages.Message, fds: list[int]) -> None:
        match message:
            case messages.WriterPeer():
                previous = self._worker_doorbells.get(message.worker)
                self._worker_doorbells[message.worker] = fds[0]
                self._loop.bells.set_doorbell(message.worker, fds[0])
                if previous is not None:
                    os.close(previous)
            case messages.Fence():
                self._fence(message.worker)
            case messages.Stop():
                self._stopping = True

    def _fence(self, worker: int) -> None:
        """Store all that the dead worker published, then raise the term and say so."""
        self._fenced[worker] = self._fenced.get(worker, True) and self._loop.fence(worker)
        self._tell_fenced()

    def _tell_fenced(self) -> None:
        """Without a new term nobody may take over: if it cannot be raised now, it is tried again later."""
        for worker, whole in list(self._fenced.items()):
            try:
                term = self._store.reserve.use_for(self._store.raise_term)
            except OSError as error:
                self._fault("term", worker, error.errno or 0)
                return
            del self._fenced[worker]
            self._send(messages.Fenced(worker, term, int(whole)))


def probe_sync(store: Store) -> int:
    """Microseconds that a small write and its sync take here, the median of some. Raises OSError."""
    disk = store.disk
    path = f"{store.path}/probe"
    if disk.exists(path):
        disk.unlink(path)
    fd = disk.create(path)
    times = []
    try:
        for number in range(_PROBES):
            started = time.monotonic_ns()
            disk.pwrite(fd, bytes(4096), 4096 * number)
            disk.fdatasync(fd)
            times.append(time.monotonic_ns() - started)
    finally:
        disk.close(fd)
        disk.unlink(path)
    return sorted(times)[_PROBES // 2] // 1000


def _clear(doorbell: int) -> None:
    with contextlib.suppress(BlockingIOError):
        os.eventfd_read(doorbell)
