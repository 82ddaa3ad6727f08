"""Takes the dead letters of this worker's consumers to where they are collected (jetstream/dead_letters.py).

    a message dies ─► noted in the log, on disk ─► published, with a reply ─► PubAck ─► finished, noted
                                                      ▲               │                └─► +TERM answered
                                                      └ 1 s ... 30 s ◄┘ error, nobody there, no answer

A letter waits as a pending entry of its consumer, so what is not collected is there again after any death. It
may then go out twice, with the same Nats-Msg-Id, so that the collecting stream keeps one. It goes out only
after the disk has the note of its death: else a power failure would give it another time, and another id.

After a failure one letter is tried at a time, each after a longer wait; what was tried goes behind the
others. So a letter that the collecting stream refuses (it is too large, maybe) holds up the others for a
second at most. A stream that was missing is noticed when it comes.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import orjson

from shardbroker.errors import ColdRead, StorageError
from shardbroker.jetstream import consumer_types
from shardbroker.jetstream.dead_entries import DeadEntry, is_dead, next_dead, set_back
from shardbroker.jetstream.dead_letter_checks import comes_back
from shardbroker.jetstream.dead_letters import Origin, letter_block
from shardbroker.workers.hosted import SERVICE_CALL
from shardbroker.workers.random_names import new_event_id

if TYPE_CHECKING:
    from shardbroker.workers.jetstream import JetStream

#: Letters of one consumer that are on their way at the same time.
_WINDOW = 32
#: Bytes of all letters on their way: some milliseconds of a disk's work.
_IN_FLIGHT_SIZE_MAX = 4 << 20
_ANSWER_WAIT_NS = 5_000_000_000
_BACK_OFF_MIN_NS, _BACK_OFF_MAX_NS = 1_000_000_000, 30_000_000_000
#: Between lines in the log, and advisories, about the same consumer.
_TELL_NS = 60_000_000_000
#: How often it is looked for a stream that was missing, and for clients that wait for a letter which is none
#: any more.
_LOOK_NS = 500_000_000


@dataclass(slots=True)
class _Sent:
    """A letter on its way."""

    letterbox: "_Letterbox"
    sequence: int
    size: int
    deadline_ns: int


class DeadLetters:
    """Of all consumers of one worker."""

    def __init__(self, js: "JetStream"):
        self.js = js
        self.in_flight_size = 0
        self._letterboxes: dict = {}  # by HostedConsumer
        self._sent: dict[int, _Sent] = {}
        self._next_number = 1
        self._inboxes: dict[int, bytes] = {}  # by account
        self._is_ticking = False

    def look(self, one) -> None:
        """Something of this consumer has died, or its configuration has changed."""
        letterbox = self._letterboxes.get(one)
        if letterbox is None:
            letterbox = self._letterboxes[one] = _Letterbox(self, one)
        if not self._is_ticking:
            self._is_ticking = True
            self.js.host.ticking.append(self.tick)
        letterbox.note()

    def tick(self, now_ns: int) -> None:
        """Every 50 ms. ``now_ns``: wall clock."""
        if not self._letterboxes:
            return
        for number in [number for number, sent in self._sent.items() if sent.deadline_ns <= now_ns]:
            sent = self._forget(number)
            sent.letterbox.failed(
                now_ns, "no answer came within 5 s (is it a stream, and does it acknowledge?)"
            )
        for one, letterbox in list(self._letterboxes.items()):
            if one.is_gone or letterbox.is_done():
                del self._letterboxes[one]
            else:
                letterbox.tick(now_ns)

    def lost(self, one, sequence: int) -> None:
        """A message was deleted that was a dead letter and not collected yet."""
        letterbox = self._letterboxes.get(one)
        if letterbox is not None:
            letterbox.lost(sequence)

    # --- publishing -------------------------------------------------------------------------------------

    def publish(
        self, letterbox: "_Letterbox", sequence: int, block: bytes, payload: bytes, now_ns: int
    ) -> bool:
        """Send a letter; its answer comes to the letterbox. False: nobody is there to take it."""
        host, account = self.js.host, letterbox.one.hosted.account
        number = self._next_number
        self._next_number += 1
        reply = b"%b%d" % (self._inbox(account), number)
        size = len(block) + len(payload)
        self._sent[number] = _Sent(letterbox, sequence, size, now_ns + _ANSWER_WAIT_NS)
        self.in_flight_size += size
        letterbox.sent.add(sequence)
        if host.send(account, letterbox.subject.encode(), payload, block, reply):
            return True
        self._forget(number)
        return False

    def has_room(self) -> bool:
        """Whether another letter may be on its way."""
        return self.in_flight_size < _IN_FLIGHT_SIZE_MAX

    def _inbox(self, account: int) -> bytes:
        """Where answers come in: not those to the worker's predecessor, whose numbers are the same."""
        inbox = self._inboxes.get(account)
        if inbox is None:
            inbox = self._inboxes[account] = b"$JS.DL.%b." % new_event_id().encode()
            target = self.js.host.new_call_target(account, self._answered)
            self.js.host.subscribe(None, SERVICE_CALL, inbox + b"*", account, target)
        return inbox

    def _forget(self, number: int) -> _Sent:
        sent = self._sent.pop(number)
        self.in_flight_size -= sent.size
        sent.letterbox.sent.discard(sent.sequence)
        return sent

    def _answered(
        self, _account: int, subject: bytes, _reply: bytes, _block: bytes, payload: bytes, _cid: int
    ) -> None:
        """A PubAck, or what somebody takes for one."""
        number = int(subject.rpartition(b".")[2]) if subject.rpartition(b".")[2].isdigit() else 0
        if number not in self._sent:
            return
        sent = self._forget(number)
        if sent.letterbox.one.is_gone:
            return
        problem = _problem_of(payload)
        if problem:
            sent.letterbox.failed(self.js.host.wall_ns(), problem)
        else:
            sent.letterbox.collected(sent.sequence)


class _Letterbox:
    """Of one consumer, while it has dead letters."""

    def __init__(self, desk: DeadLetters, one):
        self.one = one
        self.sent: set[int] = set()  # on their way
        self._desk = desk
        self._js = desk.js
        self._stream_name = one.hosted.stream.config.name
        account = one.hosted.details.account
        self._origin = Origin(account, self._stream_name, one.name, one.consumer.created_ns)
        self._window = _WINDOW
        self._tried_subject = self.subject
        self._back_off_ns = 0
        self._due_ns = 0
        self._noted_ns = 0  # whoever has died until then: his note is on disk
        self._is_noting = False
        self._notes_again = False
        self._finds_nobody = False  # the last letter went to nobody
        self._is_stuck = False  # a failure was told, and no success since
        self._tell_ns = 0
        self._look_ns = 0
        self._lost = 0

    @property
    def subject(self) -> str:
        return self.one.consumer.config.dead_letter_subject

    def is_done(self) -> bool:
        """Whether it may be forgotten."""
        return not self.one.consumer.num_dead and not self.sent and not self.one.dead_replies

    # --- when it may go ---------------------------------------------------------------------------------

    def note(self) -> None:
        """Send what has died so far, once that is on disk; a new subject is tried at once."""
        if self._is_noting:
            self._notes_again = True
            return
        self._is_noting, self._notes_again = True, False
        if self._tried_subject != self.subject:
            self._tried_subject = self.subject
            self._back_off_ns = self._due_ns = 0
        until_ns = self.one.consumer.last_died_ns

        def noted(errno: int) -> None:
            self._is_noting = False
            if errno:
                self._notes_again = True  # of the disk it is told elsewhere: tick() tries again
                return
            self._noted_ns = max(self._noted_ns, until_ns)
            if self._notes_again:
                self.note()
            self._send(self._js.host.wall_ns())

        self._js.host.when_applied(self.one.hosted, noted)

    def tick(self, now_ns: int) -> None:
        """Every 50 ms."""
        if self._notes_again and not self._is_noting:
            self.note()
        if now_ns >= self._look_ns:
            self._look_ns = now_ns + _LOOK_NS
            if self._finds_nobody and self._js.host.has_interest(
                self.one.hosted.account, self.subject.encode()
            ):
                self._due_ns = 0
            for sequence in [n for n in self.one.dead_replies if not is_dead(self.one.consumer, n)]:
                self._js.consumers.end_dead(self.one, sequence)
        self._send(now_ns)

    # --- sending ----------------------------------------------------------------------------------------

    def _send(self, now_ns: int) -> None:
        """As many as may be on their way."""
        while (
            now_ns >= self._due_ns
            and len(self.sent) < self._window
            and self._desk.has_room()
            and not self.one.is_gone
            and not self.one.hosted.stream.closing
        ):
            entry = next_dead(self.one.consumer, self._noted_ns)
            if entry is None or entry.sequence in self.sent or not self._send_one(entry, now_ns):
                return

    def _send_one(self, entry: DeadEntry, now_ns: int) -> bool:
        """False: not now."""
        one = self.one
        try:
            message = self._read(entry.sequence)
        except ColdRead:
            return False  # it is on its way from the disk: at the next tick
        except StorageError as error:
            self._js.log.error(f"JetStream: {self._name()}: a dead letter is lost: {error}")
            message = None
        if message is None:
            self._js.consumers.end_dead(one, entry.sequence)
            return True
        set_back(one.consumer, entry.sequence)
        if comes_back(one.consumer.config, one.hosted.stream.config):
            self.failed(now_ns, "the consumer's own stream has that subject by now, it would come back")
            return False
        subject, block, payload, _time_ns = message
        block = letter_block(block, entry, self._origin, subject)
        if not self._desk.publish(self, entry.sequence, block, payload, now_ns):
            self.failed(now_ns, "no stream has that subject")
            self._finds_nobody = True
            return False
        return True

    def _read(self, sequence: int):
        """(subject, block, payload, time) or None. Raises ColdRead, StorageError."""
        reader = self.one.hosted.reader
        reader.patient = False
        try:
            return self._js.host.message(self.one.hosted, sequence)
        finally:
            reader.patient = True

    # --- what comes of it -------------------------------------------------------------------------------

    def collected(self, sequence: int) -> None:
        """It is stored where it belongs."""
        self._js.consumers.end_dead(self.one, sequence)
        self._back_off_ns = self._due_ns = 0
        self._window = min(self._window * 2, _WINDOW)
        if self._is_stuck:
            self._is_stuck = False
            self._js.log.info(f"JetStream: {self._name()}: dead letters are stored on '{self.subject}' again")
        self._send(self._js.host.wall_ns())

    def failed(self, now_ns: int, problem: str) -> None:
        """It is not: later."""
        if self.one.is_gone or now_ns < self._due_ns:
            return  # others of the same window have failed already
        self._window = 1
        self._finds_nobody = False
        self._back_off_ns = min(max(2 * self._back_off_ns, _BACK_OFF_MIN_NS), _BACK_OFF_MAX_NS)
        self._due_ns = now_ns + self._back_off_ns
        if self._is_stuck and now_ns < self._tell_ns:
            return
        self._is_stuck = True
        self._tell_ns = now_ns + _TELL_NS
        waiting = self.one.consumer.num_dead
        self._js.log.error(
            f"JetStream: {self._name()}: a dead letter is not stored on '{self.subject}': {problem}; "
            f"{waiting} stay in stream {self._stream_name} and are tried again"
        )
        event = consumer_types.dead_letter_failed(
            self._stream_name, self.one.name, self.subject, problem, waiting
        )
        self._js.advise(event.subject, event.type, event.fields, self.one.hosted.account)

    def lost(self, sequence: int) -> None:
        """Its message was deleted before."""
        self._lost += 1
        now_ns = self._js.host.wall_ns()
        if self._lost == 1 or now_ns >= self._tell_ns:
            self._tell_ns = now_ns + _TELL_NS
            self._js.log.warn(
                f"JetStream: {self._name()}: message {sequence} was deleted before it was stored on "
                f"'{self.subject}' ({self._lost} dead letters so far)"
            )

    def _name(self) -> str:
        return f"consumer {self._stream_name} > {self.one.name}"


def _problem_of(payload: bytes) -> str:
    """Why an answer is not the PubAck of a message that is stored; "" if it is."""
    try:
        answer = orjson.loads(payload)
        if "error" in answer:
            return f"{answer['error']['description']} ({answer['error']['err_code']})"
        if answer["stream"] and answer["seq"]:
            return ""
    except (orjson.JSONDecodeError, KeyError, TypeError):
        pass
    return "what answers there is no stream"
