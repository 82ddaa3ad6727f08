"""Scheduled messages: which may be published, and what they become when they fire (ADR-51).

A message with Nats-Schedule is stored on its own subject and is the schedule; publishing anything else on
that subject ends it. When it fires, a copy goes to the subject in Nats-Schedule-Target:

    headers    those of the schedule, without what concerns only storing it; or, with Nats-Schedule-Source,
               headers and payload of the newest message of that subject, if there is one
    added      Nats-Scheduler: the schedule's subject; Nats-Schedule-Next: when it fires again, or ``purge``
    on demand  Nats-TTL and Nats-Rollup from Nats-Schedule-TTL and Nats-Schedule-Rollup

A stream that stores a message with Nats-Schedule-Next of ``purge`` purges the subject in Nats-Scheduler. So a
schedule that fires once removes itself by the message it makes, and replicas need to be told nothing else.
Clients may send the two headers as well, to cancel a schedule.

Pure rules: the caller loads messages and stores results. Times are nanoseconds. Order and numbers of refusals
are nats-server 2.15.1's; source: spec page 03 section 10.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from shardbroker.jetstream import header_block
from shardbroker.jetstream.durations import parse_message_ttl
from shardbroker.jetstream.go_time import ZERO_TIME
from shardbroker.jetstream.schedules import ScheduleError, format_fire, load_zone, next_fire
from shardbroker.subjects.subject import collide, is_literal, is_valid

TTL_DISABLED = 10166
SCHEDULES_DISABLED = 10188
TARGET_INVALID = 10190
TTL_INVALID = 10191
ROLLUP_INVALID = 10192
SOURCE_INVALID = 10203
SCHEDULER_INVALID = 10212

LastBlockOf = Callable[[bytes], bytes | None]  # subject -> header block of its newest message, b"" for none
LastMessageOf = Callable[[bytes], tuple[bytes, bytes] | None]  # subject -> (header block, payload)


@dataclass(frozen=True, slots=True)
class StreamRules:
    """What the configuration of the stream says about schedules."""

    subjects: tuple[bytes, ...]
    allows_schedules: bool
    allows_ttl: bool


@dataclass(frozen=True, slots=True)
class CheckedPublish:
    """``err_code`` refuses the message. Else ``block`` is to be stored; ``fire_ns`` None: not a schedule."""

    err_code: int | None
    block: bytes = b""
    fire_ns: int | None = None


@dataclass(frozen=True, slots=True)
class FiredMessage:
    """What to store when a schedule fires. ``next_ns`` None: storing it purges the schedule's subject."""

    subject: bytes
    block: bytes
    payload: bytes
    next_ns: int | None


def check_publish(
    subject: bytes, block: bytes, rules: StreamRules, now_ns: int, last_block_of: LastBlockOf
) -> CheckedPublish:
    """The checks of all headers about schedules of a message from a client; not for sourced messages.

    ``subject`` is the one after the stream's transform. A schedule gets Nats-Rollup: it replaces the one that
    its subject had before.
    """
    if b"Nats-Schedule" not in block:
        return CheckedPublish(None, block)
    try:
        fire_ns = _fire_time(block, now_ns, now_ns)
    except ScheduleError as error:
        return CheckedPublish(error.err_code if rules.allows_schedules else SCHEDULES_DISABLED)
    if fire_ns is not None:
        err_code = _refuse_schedule(subject, block, rules)
        if err_code is not None:
            return CheckedPublish(err_code)
        if not header_block.get(block, header_block.ROLLUP):
            block = header_block.append(block, [(header_block.ROLLUP, header_block.ROLLUP_SUBJECT)])
    return CheckedPublish(_refuse_cancel(subject, block, rules, last_block_of), block, fire_ns)


def _refuse_schedule(subject: bytes, block: bytes, rules: StreamRules) -> int | None:
    if not rules.allows_schedules:
        return SCHEDULES_DISABLED
    ttl = header_block.get(block, header_block.SCHEDULE_TTL) or b""
    try:
        parse_message_ttl(ttl)
    except ValueError:
        return TTL_INVALID
    if (header_block.get(block, header_block.SCHEDULE_ROLLUP) or b"sub") != header_block.ROLLUP_SUBJECT:
        return ROLLUP_INVALID
    if ttl and not rules.allows_ttl:
        return TTL_DISABLED
    target = header_block.get(block, header_block.SCHEDULE_TARGET) or b""
    if not _is_publishable(target) or target == subject:
        return TARGET_INVALID
    source = header_block.get(block, header_block.SCHEDULE_SOURCE) or b""
    if source and (source in (target, subject) or not _is_publishable(source)):
        return SOURCE_INVALID
    if not _is_within(target, rules.subjects):
        return TARGET_INVALID
    if source and not _is_within(source, rules.subjects):
        return SOURCE_INVALID
    if (header_block.get(block, header_block.ROLLUP) or b"sub").lower() != header_block.ROLLUP_SUBJECT:
        return ROLLUP_INVALID
    return None


def _refuse_cancel(
    subject: bytes, block: bytes, rules: StreamRules, last_block_of: LastBlockOf
) -> int | None:
    """Clients may use the two headers of fired messages only together, and only to purge a schedule."""
    following = header_block.get(block, header_block.SCHEDULE_NEXT)
    scheduler = header_block.get(block, header_block.SCHEDULER)
    if not following:
        return SCHEDULER_INVALID if scheduler else None
    if following != header_block.SCHEDULE_NEXT_PURGE:
        return SCHEDULER_INVALID
    if not scheduler or scheduler == subject or not _is_publishable(scheduler):
        return SCHEDULER_INVALID
    if not rules.allows_schedules:
        return SCHEDULES_DISABLED
    last_block = last_block_of(scheduler)
    if last_block is not None and not header_block.get(last_block, header_block.SCHEDULE):
        return SCHEDULER_INVALID
    return None


def stored_fire_time(block: bytes, stored_ns: int, now_ns: int) -> int | None:
    """When a stored message fires next, for one found after a restart; None if it is no schedule.

    It is ``stored_ns`` that counts, and then each time it fired: a repeating schedule does not drift.
    """
    try:
        return _fire_time(block, now_ns, stored_ns)
    except ScheduleError:
        return None


def purged_schedule(block: bytes) -> bytes | None:
    """The subject that must be purged once a message with these headers is stored; None for most messages."""
    if header_block.get(block, header_block.SCHEDULE_NEXT) != header_block.SCHEDULE_NEXT_PURGE:
        return None
    return header_block.get(block, header_block.SCHEDULER) or None


def fire(
    subject: bytes, block: bytes, payload: bytes, due_ns: int, now_ns: int, last_message_of: LastMessageOf
) -> FiredMessage | None:
    """What the schedule ``(subject, block, payload)``, which was due at ``due_ns``, makes now.

    None: the stored message is no valid schedule any more, and is to be forgotten as one.
    """
    pattern = header_block.get(block, header_block.SCHEDULE)
    target = header_block.get(block, header_block.SCHEDULE_TARGET)
    ttl = header_block.get(block, header_block.SCHEDULE_TTL) or b""
    if not pattern or not target:
        return None
    time_zone = _time_zone(block)
    try:
        parse_message_ttl(ttl)
        next_ns, repeats = next_fire(_text(pattern), time_zone, now_ns, due_ns)
    except ValueError:
        return None
    rollup = header_block.get(block, header_block.SCHEDULE_ROLLUP)
    added = [
        (header_block.SCHEDULER, subject),
        (
            header_block.SCHEDULE_NEXT,
            format_fire(next_ns, time_zone) if repeats else header_block.SCHEDULE_NEXT_PURGE,
        ),
    ]
    if ttl:
        added.append((header_block.MESSAGE_TTL, ttl))
    if rollup:
        added.append((header_block.ROLLUP, rollup))
    source = header_block.get(block, header_block.SCHEDULE_SOURCE)
    content = last_message_of(source) if source else None
    if content is not None:
        block, payload = content
    block = header_block.append(_without_storage_headers(block), added)
    return FiredMessage(target, block, payload, next_ns if repeats else None)


def _without_storage_headers(block: bytes) -> bytes:
    # Nats-Scheduler goes too: the content may be a fired message itself.
    block = header_block.remove_prefix(block, header_block.SCHEDULE)
    block = header_block.remove_prefix(block, header_block.EXPECTED_PREFIX)
    for name in (header_block.MSG_ID, header_block.MESSAGE_TTL, header_block.ROLLUP):
        block = header_block.remove(block, name)
    return block


def _fire_time(block: bytes, now_ns: int, base_ns: int) -> int | None:
    """When the schedule in the block fires, None without one. Raises `ScheduleError`.

    A time zone is checked even if there is no pattern.
    """
    pattern = header_block.get(block, header_block.SCHEDULE)
    time_zone = _time_zone(block)
    if not pattern:
        if time_zone is not None:
            load_zone(time_zone)
        return None
    fire_ns = next_fire(_text(pattern), time_zone, now_ns, base_ns)[0]
    return None if fire_ns == ZERO_TIME else fire_ns  # Go's zero time means no time


def _time_zone(block: bytes) -> str | None:
    value = header_block.get(block, header_block.SCHEDULE_TIME_ZONE)
    return None if value is None else _text(value)


def _text(value: bytes) -> str:
    return value.decode("utf-8", "replace")


def _is_publishable(subject: bytes) -> bool:
    """Whether messages can be stored on it: valid, and without wildcards."""
    return bool(is_valid(subject, len(subject)) and is_literal(subject, len(subject)))


def _is_within(subject: bytes, patterns: Iterable[bytes]) -> bool:
    return any(collide(pattern, len(pattern), subject, len(subject)) for pattern in patterns)
