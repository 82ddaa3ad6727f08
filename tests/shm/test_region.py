"""Segments have no name and no pages until written; what looks at them allocates none; no room is told."""

import errno
import os

import pytest

from shardbroker.errors import StartError
from shardbroker.shm import region
from shardbroker.shm.region import Region, require_space


def allocated(segment: Region) -> int:
    return os.fstat(segment.fd).st_blocks * 512


@pytest.fixture
def segment():
    segment = Region.create(1 << 20)
    yield segment
    segment.close()


def test_it_has_no_name_and_no_pages(segment: Region) -> None:
    assert os.fstat(segment.fd).st_nlink == 0
    assert os.fstat(segment.fd).st_size == 1 << 20
    assert os.fstat(segment.fd).st_mode & 0o777 == 0o600
    assert not os.get_inheritable(segment.fd)
    assert allocated(segment) == 0


def test_mappings_of_it_share_and_outlive_the_descriptor(segment: Region) -> None:
    first, second = segment.map(), segment.map()
    segment.close()
    first[5:8] = b"abc"
    assert second[5:8] == b"abc"


def test_extents_find_what_was_written_without_allocating(segment: Region) -> None:
    assert list(segment.data_extents(0, segment.size)) == []
    mapped = segment.map()
    mapped[40_000] = 1
    mapped[(1 << 20) - 1] = 1
    page = 40_000 // 4096 * 4096
    last = (1 << 20) - 4096
    assert list(segment.data_extents(0, segment.size)) == [(page, page + 4096), (last, 1 << 20)]
    assert list(segment.data_extents(page + 100, page + 200)) == [(page + 100, page + 200)]
    assert list(segment.data_extents(0, page)) == []
    assert allocated(segment) == 2 * 4096


def test_no_room_is_told_with_the_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    require_space(1)
    with pytest.raises(StartError, match="--shm-size"):
        require_space(1 << 60)
    monkeypatch.setattr(region, "SHARED_MEMORY_DIRECTORY", "/nowhere")
    with pytest.raises(StartError, match="/nowhere is needed"):
        require_space(1)


def test_reserved_memory_is_there_and_reads_as_zeros() -> None:
    segment = Region.create(1 << 20, reserve=True)
    assert allocated(segment) == 1 << 20
    assert segment.map()[:] == bytes(1 << 20)
    segment.close()


def test_memory_that_cannot_be_reserved_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    before = len(os.listdir("/proc/self/fd"))

    def full(*_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(StartError, match=r"No space left on device.*--shm-size=2m"):
        Region.create(1 << 20, reserve=True)
    assert len(os.listdir("/proc/self/fd")) == before
