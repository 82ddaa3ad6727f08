"""Property: what must work on a full disk gets the reserve's room at once, and the room is held again then.

The disk here has no room as long as the reserve is there.
"""

import errno
import os

import pytest

from shardbroker.control.messages import Fenced
from shardbroker.storage.reserve import SIZE
from shardbroker.storage.store import Store
from shardbroker.streamwriter.process import Writer
from tests.streamwriter.disks import TestDisk


class FullDisk(TestDisk):
    """Refuses writes to files with `part` in their path while the reserve is held."""

    part = ""
    store: Store | None = None

    def pwritev(self, fd, buffers, offset):
        path = os.readlink(f"/proc/self/fd/{fd}")
        if self.part and self.part in path and os.path.exists(f"{self.store.path}/reserve"):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return super().pwritev(fd, buffers, offset)


@pytest.fixture
def store(tmp_path):
    disk = FullDisk()
    store = disk.store = Store(disk, str(tmp_path))
    store.open()
    store.raise_term()
    assert store.reserve.take()
    yield store
    store.close()


def test_a_dead_owner_is_fenced_on_a_full_disk(store):
    """Housekeeping takes the reserve back whenever it can: the retry must not come behind that."""
    sent, faults = [], []
    writer = Writer.__new__(Writer)
    writer._store, writer._fenced = store, {2: True}
    writer._send, writer._fault = sent.append, lambda *fault: faults.append(fault)
    store.disk.part = "/term."
    for _ in range(3):
        store.reserve.take()
        writer._tell_fenced()
    assert sent == [Fenced(2, 2, 1)]
    assert faults == []
    assert store.term == 2


def test_the_room_is_held_again_and_the_result_is_given(store):
    store.disk.part = "/term."
    assert store.reserve.use_for(store.raise_term) == 2
    assert store.reserve.taken
    assert os.path.getsize(f"{store.path}/reserve") == SIZE


def test_without_need_it_is_not_touched_and_other_errors_are_passed_on(store):
    inode = os.stat(f"{store.path}/reserve").st_ino
    assert store.reserve.use_for(store.raise_term) == 2
    store.disk.failures["write"] = (errno.EIO, "/term.")
    with pytest.raises(OSError, match="Input/output error"):
        store.reserve.use_for(store.raise_term)
    assert os.stat(f"{store.path}/reserve").st_ino == inode


def test_a_disk_without_any_room_is_an_error_and_what_there_is_is_held(store):
    store.disk.failures["write"] = (errno.ENOSPC, "/term.")
    with pytest.raises(OSError, match="No space left"):
        store.reserve.use_for(store.raise_term)
    assert store.reserve.taken
