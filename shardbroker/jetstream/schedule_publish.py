"""The schedules of one stream: found when they are stored, fired when they are due.

The rules are in scheduled_message.py. A schedule is the newest message of its subject and has Nats-Schedule.
It ends when something else is published there, and when it is deleted or purged: both are seen when it is
due, for then its subject has another last sequence. So nothing has to watch deletions.

A fired message is staged like any other. Until it is applied its schedule waits, and if it was not stored the
schedule fires again: a schedule fires at least once.
"""

from heapq import heappop, heappush

from shardbroker.jetstream import api_errors, header_block
from shardbroker.jetstream.api_error import ApiError
from shardbroker.jetstream.scheduled_message import (
    CheckedPublish,
    StreamRules,
    check_publish,
    fire,
    purged_schedule,
    stored_fire_time,
)

FIRED_AT_ONCE = 1000  # in one call; the rest follows in the next
RETRY_NS = 50_000_000  # to wait for what is in flight on a subject

_ERRORS = {
    error.err_code: error
    for error in (
        api_errors.MESSAGE_TTL_DISABLED,
        api_errors.MESSAGE_SCHEDULES_DISABLED,
        api_errors.MESSAGE_SCHEDULES_PATTERN_INVALID,
        api_errors.MESSAGE_SCHEDULES_TARGET_INVALID,
        api_errors.MESSAGE_SCHEDULES_TTL_INVALID,
        api_errors.MESSAGE_SCHEDULES_ROLLUP_INVALID,
        api_errors.MESSAGE_SCHEDULES_SOURCE_INVALID,
        api_errors.MESSAGE_SCHEDULES_SCHEDULER_INVALID,
        api_errors.MESSAGE_SCHEDULES_TIME_ZONE_INVALID,
    )
}


class _Schedule:
    """One schedule that waits."""

    __slots__ = ("due_ns", "fired_due_ns", "fired_sequence", "sequence")

    def __init__(self, sequence: int, due_ns: int) -> None:
        self.sequence = sequence
        self.due_ns = due_ns  # 0: it fired for the last time
        self.fired_sequence = 0  # of the message it made last
        self.fired_due_ns = 0  # when that was due


class SchedulePublish:
    """``read`` is the owner's, see special_publish."""

    def __init__(self) -> None:
        self.read = None
        self.now_ns = 0  # the latest time that was told
        self._rules = StreamRules((), False, False)
        self._schedules: dict[bytes, _Schedule] = {}
        self._dues: list[tuple[int, bytes]] = []  # a heap; entries may be out of date
        self._in_flight: dict[bytes, int] = {}  # sequences of schedules that are not applied yet

    def __len__(self) -> int:
        return len(self._schedules)

    def configure(self, config) -> None:
        """Take over a configuration."""
        subjects = tuple(subject.encode() for subject in config.subjects or ())
        self._rules = StreamRules(subjects, config.allow_msg_schedules, config.allow_msg_ttl)

    def check(self, stream, subject: bytes, block: bytes, now_ns: int) -> ApiError | CheckedPublish:
        """A client's message with headers of schedules."""
        checked = check_publish(
            subject, block, self._rules, now_ns, lambda other: self._last_block(stream, other)
        )
        if checked.err_code is None:
            return checked
        return _ERRORS[checked.err_code]

    def note(self, subject: bytes, sequence: int) -> None:
        """A schedule got this sequence, and is not applied yet."""
        self._in_flight[subject] = sequence

    def end(self, stream, block: bytes) -> None:
        """Purge the schedule that a message just staged ends, if it ends one."""
        subject = purged_schedule(block)
        if subject is not None:
            stream.purge_subject(subject)

    def stored(self, subject: bytes, block: bytes, sequence: int, time_ns: int) -> None:
        """A schedule is applied."""
        if self._in_flight.get(subject, 0) <= sequence:
            self._in_flight.pop(subject, None)
        due_ns = stored_fire_time(block, time_ns, max(time_ns, self.now_ns))
        if due_ns is None:
            self._schedules.pop(subject, None)
            return
        self._schedules[subject] = _Schedule(sequence, due_ns)
        heappush(self._dues, (due_ns, subject))

    def forget(self, stream) -> None:
        """What was in flight is lost: what fired meanwhile fires again."""
        self._in_flight.clear()
        applied = stream.state.messages.last
        for subject, schedule in self._schedules.items():
            if schedule.fired_sequence > applied:
                schedule.due_ns = schedule.fired_due_ns
                schedule.fired_sequence = 0
                heappush(self._dues, (schedule.due_ns, subject))

    def fire(self, stream, now_ns: int) -> int:
        """Fire what is due; when the next one is, 0 for never."""
        self.now_ns = max(self.now_ns, now_ns)
        left = FIRED_AT_ONCE
        while self._dues and self._dues[0][0] <= now_ns and left:
            due_ns, subject = heappop(self._dues)
            schedule = self._schedules.get(subject)
            if schedule is None or schedule.due_ns != due_ns:
                continue
            left -= 1
            self._fire_one(stream, subject, schedule, now_ns)
            if schedule.due_ns and self._schedules.get(subject) is schedule:
                heappush(self._dues, (schedule.due_ns, subject))
        return self._dues[0][0] if self._dues else 0

    def _fire_one(self, stream, subject: bytes, schedule: _Schedule, now_ns: int) -> None:
        """Stage the message of a schedule that is due, and set when it is due next."""
        applied = stream.state.messages.last
        last = stream.last_sequence_on(subject)
        if last != schedule.sequence:
            if last > applied:
                schedule.due_ns = now_ns + RETRY_NS  # whether the schedule has ended is not decided yet
            else:
                del self._schedules[subject]
            return
        message = self.read(schedule.sequence)
        fired = message and fire(
            subject, message[1], message[2], schedule.due_ns, now_ns, lambda name: self._last(stream, name)
        )
        if not fired:
            del self._schedules[subject]
            return
        result = stream.offer(fired.subject, fired.block, fired.payload, now_ns, False, True)
        if isinstance(result, ApiError):
            # Nobody can be told. One that fires once is tried again, like one of nats-server.
            schedule.due_ns = fired.next_ns or now_ns + 1_000_000_000
            return
        schedule.fired_sequence = result
        schedule.fired_due_ns = schedule.due_ns
        schedule.due_ns = fired.next_ns or 0

    def _last(self, stream, subject: bytes) -> tuple[bytes, bytes] | None:
        """(header block, payload) of the newest applied message of a subject."""
        for _, _, _, sequence in stream.state.subjects.matching(subject):
            message = self.read(sequence)
            return None if message is None else (message[1], message[2])
        return None

    def _last_block(self, stream, subject: bytes) -> bytes | None:
        """Header block of the newest message of a subject, committed or not; None without a message."""
        sequence = stream.last_sequence_on(subject)
        if sequence == 0:
            return None
        if sequence > stream.state.messages.last:
            # It cannot be read yet, and all that matters is whether it is a schedule.
            is_schedule = self._in_flight.get(subject) == sequence
            return header_block.append(None, [(header_block.SCHEDULE, b"in flight")] if is_schedule else [])
        message = self.read(sequence)
        return None if message is None else message[1]
