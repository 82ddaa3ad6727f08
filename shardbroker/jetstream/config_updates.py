"""What a stream's configuration may become: the rules of STREAM.UPDATE.

The request brings a whole configuration: what it leaves out takes its default again. It is completed like one
for a new stream, then compared with the one that there is. Some switches only go one way, some never move.

Source: spec page 03 (section 1, column "update"); compared with nats-server 2.15.1 by
tests/jetstream/test_config_against_nats_server.py.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from shardbroker.jetstream import api_errors
from shardbroker.jetstream.config_checks import (
    AccountView,
    check_discard_new_per_subject,
    check_resources,
    complete,
    invalid_config,
)
from shardbroker.jetstream.js_limits import JetStreamLimits
from shardbroker.jetstream.stream_config import StreamConfig


@dataclass(frozen=True, slots=True)
class ConsumerBounds:
    """Of an existing consumer, what a stream's consumer_limits bound. Nanoseconds, messages."""

    name: str
    inactive_threshold: int
    max_ack_pending: int


def check_update(
    name: str,
    config: StreamConfig,
    limits: JetStreamLimits,
    account: AccountView,
    *,
    pedantic: bool = False,
    consumers: Iterable[ConsumerBounds] = (),
) -> StreamConfig:
    """The new configuration of the stream ``name`` for a request to update it. Raises ApiError."""
    config = complete(config, limits, account, pedantic=pedantic)
    if name != config.name:
        raise api_errors.STREAM_MISMATCH.fresh()
    old = account.config_of(name)
    if old is None:
        raise api_errors.STREAM_NOT_FOUND.fresh()
    config.set_stored_metadata()
    # Once more, now with the metadata that is stored: it counts for the size.
    config = complete(config, limits, account, pedantic=pedantic)
    if config.num_replicas > 1:
        raise api_errors.STREAM_REPLICAS_NOT_SUPPORTED.fresh()
    _check_changes(old, config)
    if config.sealed:
        config.max_age = 0
        config.discard = "new"
        config.deny_delete = config.deny_purge = True
        config.allow_rollup_hdrs = False
    # Only what comes on top must still be free.
    more = max(0, max(config.max_bytes, 0) - max(old.max_bytes, 0))
    check_resources(config, more, limits, account, base_size=max(config.max_bytes - more, 0))
    _check_consumers(old, config, consumers)
    if account.has_overlap(config.subjects or (), name):
        raise api_errors.STREAM_SUBJECT_OVERLAP.fresh()
    return config


def _check_changes(old: StreamConfig, new: StreamConfig) -> None:
    if new.storage != old.storage:
        raise invalid_config("stream configuration update can not change storage type")
    if new.retention != old.retention and "workqueue" in (new.retention, old.retention):
        raise invalid_config("stream configuration update can not change retention policy to/from workqueue")
    if old.sealed and not new.sealed:
        raise invalid_config("stream configuration update can not unseal a sealed stream")
    if old.deny_delete and not new.deny_delete:
        raise invalid_config("stream configuration update can not cancel deny message deletes")
    if old.deny_purge and not new.deny_purge:
        raise invalid_config("stream configuration update can not cancel deny purge")
    # Without its mirror a stream becomes an ordinary one; another mirror would contradict what it holds.
    if new.mirror is not None and new.mirror != old.mirror:
        raise api_errors.STREAM_MIRROR_NOT_UPDATABLE.fresh()
    check_discard_new_per_subject(new)
    if old.allow_msg_ttl and not new.allow_msg_ttl:
        raise invalid_config("message TTL status can not be disabled")
    if new.allow_msg_counter != old.allow_msg_counter:
        raise invalid_config("stream configuration update can not change message counter setting")
    if old.allow_msg_schedules and not new.allow_msg_schedules:
        raise invalid_config("message schedules can not be disabled")
    if new.persist_mode != old.persist_mode:
        raise invalid_config("stream configuration update can not change persist mode")


def _check_consumers(old: StreamConfig, new: StreamConfig, consumers: Iterable[ConsumerBounds]) -> None:
    """Bounds may not be set below what a consumer has already."""
    threshold = new.consumer_limits.inactive_threshold
    pending = new.consumer_limits.max_ack_pending
    threshold_changes = threshold > 0 and threshold != old.consumer_limits.inactive_threshold
    pending_changes = pending > 0 and pending != old.consumer_limits.max_ack_pending
    if not threshold_changes and not pending_changes:
        return
    beyond = [
        one.name
        for one in consumers
        if 0 < threshold < one.inactive_threshold or 0 < pending < one.max_ack_pending
    ]
    if beyond:
        raise api_errors.STREAM_UPDATE(err=f"change to limits violates consumers: {', '.join(beyond)}")
