"""What a consumer's configuration may become, once the consumer exists.

A request to create a consumer that is there already is a request to change it: the whole configuration comes
again, is completed like that of a new one, and compared. Where it starts, how it acknowledges and how it
delivers stay as they were. What the server writes into a configuration itself is written here too.

Source: spec page 04 (section 1, column "updatable"); compared with nats-server 2.15.1 by
tests/jetstream/test_consumers_against_nats_server.py.
"""

from collections.abc import Callable

from shardbroker.jetstream import api_errors, js_limits
from shardbroker.jetstream.api_error import ApiError
from shardbroker.jetstream.consumer_config import ConsumerConfig
from shardbroker.jetstream.go_time import format_time, parse_time

# Fields that stay, with the words for each, in nats-server's order; opt_start_time comes after the third.
_STAYING_FIRST = (
    ("deliver_policy", "deliver policy"),
    ("mem_storage", "storage type"),
    ("direct", "direct"),
    ("sourcing", "sourcing"),
    ("opt_start_seq", "start sequence"),
)
_STAYING_THEN = (
    ("ack_policy", "ack policy"),
    ("replay_policy", "replay policy"),
    ("idle_heartbeat", "heart beats"),
    ("flow_control", "flow control"),
)


def check_changes(old: ConsumerConfig, new: ConsumerConfig, has_interest: Callable[[str], bool]) -> None:
    """Whether ``old`` may become ``new``. Raises ApiError: 10012 with a text, or 10013.

    ``has_interest`` says whether somebody subscribes to a subject: a consumer that delivers to somebody may
    not be taken away from him.
    """
    for name, text in _STAYING_FIRST:
        if getattr(old, name) != getattr(new, name):
            raise _not_updatable(text)
    if _instant(old.opt_start_time) != _instant(new.opt_start_time):
        raise _not_updatable("start time")
    for name, text in _STAYING_THEN:
        if getattr(old, name) != getattr(new, name):
            raise _not_updatable(text)
    if old.deliver_subject != new.deliver_subject:
        if old.is_pull:
            raise api_errors.CONSUMER_CREATE(err="can not update pull consumer to push based")
        if new.is_pull:
            raise api_errors.CONSUMER_CREATE(err="can not update push consumer to pull based")
        if has_interest(old.deliver_subject):
            raise api_errors.CONSUMER_NAME_EXIST.fresh()
    if old.max_waiting != new.max_waiting:
        raise _not_updatable("max waiting")


def set_threshold(config: ConsumerConfig, *, is_durable: bool) -> None:
    """Ephemeral consumers always have one; it shows in answers, but is no part of what a client asked for.

    ``is_durable`` says what the consumer was so far: one that becomes durable keeps its threshold once more.
    """
    if not is_durable and config.inactive_threshold <= 0:
        config.inactive_threshold = js_limits.inactive_threshold_default


def set_pause(config: ConsumerConfig, pause_until: int | None) -> None:
    """PAUSE: until then (nanoseconds since 1970); None to resume. The required level changes with it."""
    config.pause_until = None if pause_until is None else format_time(pause_until)
    config.set_stored_metadata()


def in_utc(time: str | None) -> str | None:
    """The same time in UTC."""
    return None if time is None else format_time(parse_time(time))


def _not_updatable(text: str) -> ApiError:
    return api_errors.CONSUMER_CREATE(err=f"{text} can not be updated")


def _instant(time: str | None) -> int | None:
    return None if time is None else parse_time(time)
