"""Property: what fails is told at its begin, now and then while it goes on, and a full disk at its end."""

import errno

from shardbroker.control.messages import LaneBroken, WriterReport
from shardbroker.streamwriter.faults import FAULTS_SHOWN, MATTERS_MAX, REPEAT_S, ROOM_SIZE, Faults


class Ears:
    def __init__(self):
        self.sent = []
        self.free = 0
        self.faults = Faults(self.sent.append, lambda: self.free)
        self.faults.look(0.0)

    def lines(self) -> list[str]:
        lines, self.sent[:] = [message.text for message in self.sent], []
        return lines


def test_a_matter_that_goes_on_is_told_at_once_and_then_with_a_count():
    ears = Ears()
    for _ in range(1000):
        ears.faults.tell("log", 7, errno.EIO)
    assert ears.lines() == ["JetStream store: log 00000007 could not be written: Input/output error"]
    ears.faults.look(REPEAT_S - 1)
    assert ears.lines() == []
    ears.faults.look(REPEAT_S + 1)
    assert ears.lines() == [
        "JetStream store: log 00000007 could not be written: Input/output error, 999 times more"
    ]
    ears.faults.look(3 * REPEAT_S)
    ears.faults.look(5 * REPEAT_S)
    assert ears.lines() == []
    ears.faults.tell("log", 7, errno.EIO)  # it was over, so this begins anew
    assert len(ears.lines()) == 1


def test_a_full_disk_is_told_once_whatever_the_logs_and_when_it_ends():
    ears = Ears()
    ears.free = 100
    for log_id in range(50):
        ears.faults.tell("log", log_id, errno.ENOSPC)
    ears.faults.look(1.0)
    assert ears.lines() == ["JetStream store: the disk is full, publishes are refused"]
    ears.free = 101 + ROOM_SIZE
    ears.faults.look(2.0)
    ears.faults.look(3.0)
    assert ears.lines() == ["JetStream store: the disk has room again"]
    ears.faults.tell("log", 1, errno.EDQUOT)
    assert len(ears.lines()) == 1


def test_a_disk_that_filled_up_further_has_room_when_less_is_free_than_at_first():
    ears = Ears()
    for ears.free in (60 << 20, 1000, 30 << 20):  # a large segment failed, then a small one, then a large one
        ears.faults.tell("log", 1, errno.ENOSPC)
    ears.lines()
    ears.free = 1001 + ROOM_SIZE
    ears.faults.look(1.0)
    assert ears.lines() == ["JetStream store: the disk has room again"]


def test_what_is_wrong_now_can_be_asked():
    ears = Ears()
    assert ears.faults.current() == []
    ears.faults.tell("record", 3, 0)  # a worker's fault, not the disk's
    ears.faults.tell("cut", 3, 0)
    assert ears.faults.current() == []
    ears.free = 100
    ears.faults.tell("log", 7, errno.ENOSPC)
    ears.faults.tell("log", 8, errno.EIO)
    full = "the disk is full, publishes are refused"
    broken = "log 00000008 could not be written: Input/output error"
    assert ears.faults.current() == [full, broken]
    ears.faults.look(1.0)
    assert ears.faults.current() == [full, broken]
    ears.free = 101 + ROOM_SIZE
    ears.faults.look(REPEAT_S + 1)
    assert ears.faults.current() == []
    for log_id in range(3 * FAULTS_SHOWN):
        ears.faults.tell("log", log_id, errno.EIO)
    assert len(ears.faults.current()) == FAULTS_SHOWN


def test_each_matter_has_its_words_and_memory_is_bounded():
    ears = Ears()
    ears.faults.tell("record", 3, 0)
    ears.faults.tell("journal", 0, errno.EIO)
    ears.faults.tell("term", 2, errno.EIO)
    ears.faults.tell("cut", 7, 0)
    assert ears.lines() == [
        "JetStream store: worker 3 sent a record that fails its checks",
        "JetStream store: the journal failed and is not used any more: Input/output error",
        "JetStream store: the term could not be raised after the end of worker 2: Input/output error",
        "JetStream store: log 00000007 was to be cut where it must not be: refused",
    ]
    ears.faults.tell("lane", 5, 0)
    assert ears.sent.pop() == LaneBroken(5)
    for log_id in range(3 * MATTERS_MAX):
        ears.faults.tell("log", log_id, errno.EIO)
    assert len(ears.faults._counts) <= MATTERS_MAX
    assert all(isinstance(message, WriterReport) and message.level == "error" for message in ears.sent)
