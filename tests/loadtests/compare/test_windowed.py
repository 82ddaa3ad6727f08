"""The window must be full as long as there is something to send, and answers counted exactly."""

import socket
import threading

import pytest

from loadtests.compare import windowed
from loadtests.compare.stream_batches import FastAnswers, atomic_batch, fast_batch
from loadtests.compare.stream_publish import LapDigits, Publishing
from loadtests.compare.windowed import Occurrences, Ring, pubacks, pump
from loadtests.compare.wire import LoadError

record = b"PUB a r 2\r\nxy\r\n"
answer = b'MSG r 1 27\r\n{"stream":"LOAD","seq":1}\r\n'


@pytest.mark.parametrize("step", [1, 2, 3, 5, 6, 7, 11, 1000])
def test_marks_are_counted_over_the_borders_of_reads(step):
    stream = b'"seq":1 "seq" :"seq":"seq":22' * 9
    count = Occurrences(b'"seq":')
    assert sum(count(stream[start : start + step]) for start in range(0, len(stream), step)) == 27


def test_an_error_answer_ends_the_sample_even_when_cut():
    answers = pubacks()
    assert answers(answer + b'MSG r 1 9\r\n{"err') == 1
    with pytest.raises(LoadError, match="an error answer"):
        answers(b'or":{}}')


class Server:
    """Answers as soon as `hold` records wait, or all of them are here; remembers how many waited at most.

    It never answers earlier, so a sender that does not fill its window ends in silence, on any machine.
    """

    def __init__(self, count: int, hold: int = 1, extra: int = 0):
        self.near, self._far = socket.socketpair()
        self.arrived = 0
        self.most_waiting = 0
        self._count = count
        self._hold = hold
        self._extra = extra
        self._thread = threading.Thread(target=self._serve, daemon=True)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self.near.close()
        self._thread.join()
        self._far.close()

    def _serve(self):
        size = answered = 0
        while data := self._far.recv(65536):
            size += len(data)
            self.arrived = size // len(record)
            new = self.arrived - answered
            self.most_waiting = max(self.most_waiting, new)
            if new >= self._hold or self.arrived == self._count:
                answered = self.arrived
                self._far.sendall(answer * (new + self._extra))


def test_all_is_sent_once_and_never_more_than_the_window():
    # The window is refilled by an eighth, so up to nine of its eighty places may stay free.
    with Server(1000, hold=71) as server:
        pumped = pump(server.near, Ring(record * 30, len(record)), 1000, 80, pubacks())
    assert server.arrived == pumped.answered[-1][0] == pumped.sent[-1][0] == 1000
    assert 71 <= server.most_waiting <= 80


def test_the_window_is_filled_while_answers_are_out():
    """No answer to the first records must not keep the sender from sending the rest of the window."""
    with Server(100, hold=100) as server:
        pump(server.near, Ring(record * 10, len(record)), 100, 100, pubacks())
    assert server.most_waiting == 100


def test_a_sender_that_leaves_its_window_empty_would_be_noticed(monkeypatch):
    monkeypatch.setattr(windowed, "silence_s_max", 0.05)
    with Server(1000, hold=81) as server, pytest.raises(LoadError, match="silence after 0 of 1000"):
        pump(server.near, Ring(record * 30, len(record)), 1000, 80, pubacks())


def test_too_many_answers_and_a_closed_connection_are_errors():
    with Server(1, extra=1) as server, pytest.raises(LoadError, match="2 answers to 1 records"):
        pump(server.near, Ring(record, len(record)), 1, 1, pubacks())
    near, far = socket.socketpair()
    far.shutdown(socket.SHUT_WR)
    with near, far, pytest.raises(LoadError, match="closed after 0 of 10"):
        pump(near, Ring(record, len(record)), 10, 1, pubacks())


def test_each_lap_has_its_own_message_ids():
    ring = Publishing(message_ids=True, payload_size=1).ring(3, b"_INBOX.x")
    assert isinstance(ring.next_lap, LapDigits)
    seen = set()
    for lap in range(12):
        if lap:
            ring.next_lap(ring.data, lap)
        ids = [part.split(b"\r\n")[0] for part in bytes(ring.data).split(b"Nats-Msg-Id: ")[1:]]
        assert all(each.endswith(b"~%05d" % lap) for each in ids)
        seen |= set(ids)
    assert len(seen) == 3 * 12


def test_a_lap_has_each_subject_equally_often():
    ring = Publishing(subject_count=10, payload_size=1).ring(25, b"_INBOX.x")
    assert len(ring.data) == 30 * ring.record_size
    assert bytes(ring.data).count(b"load.00000.0000007 ") == 3


def test_records_of_atomic_batches_have_one_size_and_one_commit():
    first, second = atomic_batch(b"_INBOX.x", 0), atomic_batch(b"_INBOX.x", 41)
    assert len(first) == len(second)
    assert first.count(b"Nats-Batch-Id: x-000000\r\n") == first.count(b"HPUB ") == 500
    assert first.count(b"Nats-Batch-Commit: 1\r\n") == 1
    assert b"Nats-Batch-Sequence: 500\r\nNats-Batch-Commit: 1\r\n\r\n" in first


def test_a_fast_batch_starts_and_commits():
    ring = fast_batch(b"_INBOX.x", 3)
    lines = bytes(ring.data).split(b"\r\n")[::2]
    assert [line.split()[2].split(b".")[-3:-1] for line in lines[:3]] == [
        [b"00000001", b"0"],
        [b"00000002", b"1"],
        [b"00000003", b"2"],
    ]


@pytest.mark.parametrize("step", [1, 7, 1000])
def test_fast_answers_tell_what_is_stored_and_the_last_only_by_the_commit(step):
    flows = b'{"type":"ack","seq":0,"msgs":5}{"type":"ack","seq":5,"msgs":5}{"type":"ack","seq":12,"msgs":5}'
    answers = FastAnswers(12)
    assert sum(answers(flows[start : start + step]) for start in range(0, len(flows), step)) == 11
    assert answers(b'{"stream":"LOAD00000","seq":12,"batch":"fast","count":12}') == 1
    with pytest.raises(LoadError):
        FastAnswers(12)(b'{"type":"gap","last_seq":2,"seq":5}')
