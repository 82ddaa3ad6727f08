"""What goes wrong at the disk, told in the broker's log: at once, then not again for a while, and at the end.

A disk that is full fails every frame; one line for each would be a second fault. So each matter (a log with
an errno, a worker's bad records) is told when it begins and, while it goes on, every REPEAT_S with a count.
"""

import errno
import os
from collections.abc import Callable

from shardbroker.control.messages import LaneBroken, Message, WriterReport

#: Seconds between lines about the same matter.
REPEAT_S = 10.0
#: Matters remembered; with more the oldest is told again too early, no worse.
MATTERS_MAX = 256
#: Of them told to whoever watches: a list of all logs helps nobody.
FAULTS_SHOWN = 20
#: Bytes that must have become free since the disk was full, so that it counts as not full.
ROOM_SIZE = 1 << 20
#: Matters that an owner has caused, not the disk.
_OF_OWNERS = ("record", "cut")
_FULL = (errno.ENOSPC, errno.EDQUOT)


class Faults:
    """``send`` takes the messages for the acceptor, ``free_size`` gives the free bytes of the disk.

    ``tell`` is called by the write loop.
    """

    def __init__(self, send: Callable[[Message], None], free_size: Callable[[], int]):
        self._send = send
        self._free_size = free_size
        self._free_when_full = 0
        self._counts: dict[tuple[str, int, int], int] = {}  # since the last line
        self._is_full = False
        self._next_line = 0.0

    def tell(self, what: str, number: int, error: int) -> None:
        """``what`` failed with errno ``error``: "log" (``number``: its id), "journal", or of the worker
        ``number`` its "lane", a "record" in it, or the "term" after its end. "cut": of the log ``number``
        an owner wanted more cut off than may be."""
        if what == "lane":
            self._send(LaneBroken(number))
            return
        if error in _FULL:
            # The first to fail may have wanted a large segment: what counts is the least that was too little.
            free = self._free_size()
            self._free_when_full = min(self._free_when_full, free) if self._is_full else free
            if not self._is_full:
                self._is_full = True
                self._send(WriterReport("error", "JetStream store: the disk is full, publishes are refused"))
            return
        matter = (what, number, error)
        if matter not in self._counts:
            if len(self._counts) >= MATTERS_MAX:
                self._counts.pop(next(iter(self._counts)))
            self._counts[matter] = 0
            self._send(WriterReport("error", f"JetStream store: {_words(*matter)}"))
        else:
            self._counts[matter] += 1

    def current(self) -> list[str]:
        """What is wrong at the disk now, in words; what a worker did wrong is not meant."""
        full = ["the disk is full, publishes are refused"] if self._is_full else []
        of_disk = [matter for matter in self._counts if matter[0] not in _OF_OWNERS]
        return full + [_words(*matter) for matter in of_disk[:FAULTS_SHOWN]]

    def look(self, now: float) -> None:
        """From time to time: whether the disk has room again, and what went on failing."""
        if self._is_full and self._free_size() > self._free_when_full + ROOM_SIZE:
            self._is_full = False
            self._send(WriterReport("info", "JetStream store: the disk has room again"))
        if now < self._next_line:
            return
        self._next_line = now + REPEAT_S
        for matter, count in list(self._counts.items()):
            if count:
                self._counts[matter] = 0
                self._send(WriterReport("error", f"JetStream store: {_words(*matter)}, {count} times more"))
            else:
                del self._counts[matter]


def _words(what: str, number: int, error: int) -> str:
    if what == "log":
        return f"log {number:08x} could not be written: {os.strerror(error)}"
    if what == "journal":
        return f"the journal failed and is not used any more: {os.strerror(error)}"
    if what == "term":
        return f"the term could not be raised after the end of worker {number}: {os.strerror(error)}"
    if what == "cut":
        return f"log {number:08x} was to be cut where it must not be: refused"
    return f"worker {number} sent a record that fails its checks"
