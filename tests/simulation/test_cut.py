"""Properties of a stream whose log is cut off behind a frame, from its owner's side: what is applied stays,
what is kept takes effect and is acknowledged, what is cut is answered with an error, and its sequences and
message ids are given again.

A real stream, lane and write loop; the test decides when each of them moves.
"""

import errno
import os

import pytest

from shardbroker.errors import StorageError
from shardbroker.jetstream.owner_face import OwnerFace
from shardbroker.jetstream.stream import Stream
from shardbroker.jetstream.stream_log import StreamLog
from shardbroker.jetstream.stream_state import StreamState
from shardbroker.shm.ring import RingMap
from shardbroker.storage import layout
from shardbroker.storage.collecting_sink import CollectingSink
from shardbroker.storage.log_scan import LogScan
from tests.simulation.world import NOW_NS, config_of
from tests.streamwriter.disks import TestDisk
from tests.streamwriter.lane_feed import ERRNO, REFUSED, STORED, Bench

LOG = ROW = 7
ACK, DUPLICATE, TEXT = 1, 2, 3


class Owned:
    """One stream of one owner, and its writer."""

    def __init__(self, directory):
        self.bench = Bench(directory, TestDisk())
        self.bench.lane.add(2, LOG, b"{}", row=ROW)
        self.bench.run()
        self.bench.lane.release()
        self.doorbell = os.eventfd(0, os.EFD_NONBLOCK)
        log = StreamLog(LOG, 1)
        self.stream = Stream(config_of(LOG), StreamState(1, 1, False), log, ROW, reserved=0)
        self.face = self.new_face()
        self.face.add(self.stream)

    def new_face(self) -> OwnerFace:
        lane = self.bench.lane
        return OwnerFace(RingMap(lane.fd, lane.size), self.bench.board_mapping.address, self.doorbell)

    def close(self) -> None:
        os.close(self.doorbell)

    def publish(self, *names: bytes) -> None:
        """A message each, with its name as id, payload and reply subject, in a frame of its own."""
        for name in names:
            block = b"NATS/1.0\r\nNats-Msg-Id: %b\r\n\r\n" % name
            self.face.offer(ROW, b"S7.a", name, block, name, NOW_NS)
            self.face.append(ROW, NOW_NS)

    def write(self) -> None:
        """The writer does what is in the lane."""
        self.face.publish()
        while self.bench.loop.cycle():
            pass

    def hear(self) -> dict[bytes, tuple[int, int, int]]:
        """What the owner answers: reply -> (status, kind, sequence)."""
        answers = self.face.drain(1000)
        self.face.release()
        self.commit()
        return told(answers)

    def commit(self) -> None:
        self.bench.commit(ROW, self.stream.log.durable_index)

    def stored(self) -> dict[int, bytes]:
        """Sequence -> payload of what a scan finds; nothing is lost."""
        path = self.bench.store.log_path(LOG)
        bases = self.bench.store.segment_bases(LOG)
        sink = CollectingSink()
        found = [(base, f"{path}/{layout.segment_name(base)}") for base in bases]
        assert LogScan(LOG, found, make_durable=False).run(sink).lost == []
        return {record.sequence: record.payload for _, _, record, _ in sink.records}


def told(answers) -> dict[bytes, tuple[int, int, int]]:
    return {entry[1]: (status, entry[0], entry[2]) for status, entry in answers}


@pytest.fixture
def owned(tmp_path):
    owned = Owned(tmp_path)
    owned.publish(b"a", b"b")
    owned.write()
    assert owned.hear() == {b"a": (STORED, ACK, 1), b"b": (STORED, ACK, 2)}
    yield owned
    owned.close()


@pytest.mark.parametrize("written", [False, True], ids=["in the lane", "durable"])
def test_what_is_behind_the_cut_fails_and_what_is_before_it_counts(owned, written):
    owned.publish(b"c", b"d", b"e", b"f")
    if written:
        owned.write()
        assert sorted(owned.stored()) == [1, 2, 3, 4, 5, 6]
    owned.face.offer(ROW, b"S7.a", b"staged", b"", b"staged", NOW_NS)
    assert told(owned.face.truncate_suffix(ROW, 4)) == {b"staged": (ERRNO, ACK, 7)}
    # Until it is done nothing new is accepted, and nothing leaves for the lane.
    owned.face.offer(ROW, b"S7.a", b"meanwhile", b"", b"meanwhile", NOW_NS)
    assert owned.face.append(ROW, NOW_NS) == []
    owned.write()
    answers = owned.hear()
    assert answers.pop(b"meanwhile") == (ERRNO, TEXT, 0)
    assert answers == {
        b"c": (STORED, ACK, 3),
        b"d": (STORED, ACK, 4),
        b"e": (ERRNO, ACK, 5),
        b"f": (ERRNO, ACK, 6),
    }
    state = owned.stream.state
    assert (len(state.messages), owned.stream.last_sequence, state.applied_index) == (4, 4, 4)
    assert (owned.stream.log.index, owned.stream.failed, owned.stream.cutting) == (4, False, False)
    # The same ids are no duplicates now, those that stayed still are.
    owned.publish(b"e", b"d", b"g")
    owned.write()
    assert owned.hear() == {b"e": (STORED, ACK, 5), b"d": (STORED, DUPLICATE, 4), b"g": (STORED, ACK, 6)}
    assert owned.stored() == {1: b"a", 2: b"b", 3: b"c", 4: b"d", 5: b"e", 6: b"g"}


def test_what_is_committed_or_not_there_is_refused_with_words(owned):
    owned.publish(b"c")
    with pytest.raises(StorageError, match="committed up to frame 2 and is not cut behind frame 1"):
        owned.face.truncate_suffix(ROW, 1)
    with pytest.raises(StorageError, match="ends with frame 3 and cannot be cut behind frame 4"):
        owned.face.truncate_suffix(ROW, 4)
    owned.face.truncate_suffix(ROW, 2)
    with pytest.raises(StorageError, match="is being cut already"):
        owned.face.truncate_suffix(ROW, 2)
    owned.write()
    assert owned.hear() == {b"c": (ERRNO, ACK, 3)}


def test_a_cut_at_the_end_takes_nothing_away(owned):
    owned.publish(b"c")
    owned.face.truncate_suffix(ROW, 3)
    owned.write()
    assert owned.hear() == {b"c": (STORED, ACK, 3)}
    owned.publish(b"d")
    owned.write()
    assert owned.hear() == {b"d": (STORED, ACK, 4)}


def test_a_frame_before_the_cut_that_fails_takes_the_rest_with_it(owned):
    owned.publish(b"c", b"d", b"e")
    owned.bench.disk.failures["write"] = (errno.EIO, ".seg")
    owned.face.truncate_suffix(ROW, 4)
    owned.write()
    owned.bench.disk.failures.clear()
    answers = owned.hear()
    assert {status for status, _, _ in answers.values()} <= {ERRNO + errno.EIO, REFUSED, ERRNO}
    assert sorted(answers) == [b"c", b"d", b"e"]
    assert (owned.stream.cutting, owned.stream.failed, owned.stream.last_sequence) == (False, False, 2)
    owned.publish(b"c")
    owned.write()
    assert owned.hear() == {b"c": (STORED, ACK, 3)}
    assert owned.stored() == {1: b"a", 2: b"b", 3: b"c"}


def test_a_cut_that_fails_leaves_the_stream_closed_until_it_succeeds(owned):
    owned.publish(b"c", b"d")
    owned.write()
    owned.bench.disk.failures["sync"] = (errno.EIO, ".seg")
    owned.face.truncate_suffix(ROW, 3)
    owned.write()
    owned.bench.disk.failures.clear()
    assert owned.hear() == {b"c": (STORED, ACK, 3), b"d": (ERRNO, ACK, 4)}
    assert owned.stream.cutting
    owned.face.offer(ROW, b"S7.a", b"e", b"", b"e", NOW_NS)
    assert told(owned.face.append(ROW, NOW_NS)) == {b"e": (ERRNO, TEXT, 0)}
    owned.commit()
    owned.face.truncate_suffix(ROW, 3)
    owned.write()
    owned.hear()
    owned.publish(b"f")
    owned.write()
    assert owned.hear() == {b"f": (STORED, ACK, 4)}
    assert owned.stored() == {1: b"a", 2: b"b", 3: b"c", 4: b"f"}


def test_the_successor_of_an_owner_does_not_acknowledge_what_was_cut(owned):
    """The owner died after the writer had stored the frames and had cut them off again."""
    owned.publish(b"c", b"d", b"e")
    owned.face.truncate_suffix(ROW, 3)
    owned.write()
    successor = owned.new_face()
    assert told(successor.answer_predecessor()) == {
        b"c": (STORED, ACK, 3),
        b"d": (ERRNO, ACK, 4),
        b"e": (ERRNO, ACK, 5),
    }
    assert owned.stored() == {1: b"a", 2: b"b", 3: b"c"}
