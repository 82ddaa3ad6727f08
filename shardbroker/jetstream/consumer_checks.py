"""Whether a consumer's configuration is possible, and what it is once defaults are filled in.

`check_create` is all of CONSUMER.CREATE between finding the stream and making, or changing, the consumer. It
does the checks in nats-server's order: a client that makes several mistakes is told the same one. What it
must know about the stream's other consumers comes as a `ConsumerView`; what the account and the server allow
as `JetStreamLimits`.

In *pedantic* mode a value that would silently be changed is an error (10157) instead. Names that the server
chooses come in as an argument: nothing here is random.

Source: spec page 04 (section 1), table of page 05; order and texts compared with nats-server 2.15.1 by
tests/jetstream/test_consumers_against_nats_server.py.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

from shardbroker.decimals import signed
from shardbroker.jetstream import api_errors, config_metadata, js_limits
from shardbroker.jetstream.config_checks import invalid_config, pedantic_error
from shardbroker.jetstream.consumer_config import ConsumerConfig
from shardbroker.jetstream.consumer_updates import check_changes, in_utc, set_threshold
from shardbroker.jetstream.dead_letter_checks import check_dead_letter
from shardbroker.jetstream.durations import format_duration
from shardbroker.jetstream.js_limits import JetStreamLimits
from shardbroker.jetstream.source_checks import is_subset, is_valid_name, is_valid_subject, quoted
from shardbroker.jetstream.stream_config import StreamConfig
from shardbroker.jetstream.subject_trie import SubjectTrie

GROUP_NAME = re.compile(r"[a-zA-Z0-9/_=-]{1,16}", re.ASCII)
FILTERS_COMPARED_PAIRWISE_MAX = 16  # with more a trie is faster
_INT64_LIMIT = 1 << 63
_SAMPLE = re.compile(r"[+-]?[0-9]+", re.ASCII)
# Deliver policies with the words for each; what each needs and excludes is in `_check_start`.
_POLICY_TEXTS = {
    "all": "all",
    "last": "last",
    "last_per_subject": "last per subject",
    "new": "new",
    "by_start_sequence": "by start sequence",
    "by_start_time": "by start time",
}


class ConsumerView(Protocol):
    """What the checks ask about the other consumers of the stream: `ConsumerIndex` can tell."""

    def config_of(self, name: str) -> ConsumerConfig | None:
        """The configuration of a consumer as it was accepted; None if there is none."""

    def limited_count(self) -> int:
        """How many consumers count for the limits."""

    def is_wanted_by_others(self, filters: Iterable[str], except_name: str) -> bool:
        """Whether another consumer than ``except_name`` wants what one of ``filters`` matches."""


class InterestView(Protocol):
    """Who subscribes in the account."""

    def has_interest(self, subject: str) -> bool:
        """Whether somebody would receive a message on this subject."""


@dataclass(frozen=True, slots=True)
class CheckedConsumer:
    """A consumer to be made, or one to be changed if ``old`` is its configuration so far.

    ``is_same`` says that there is nothing to change.
    """

    name: str
    config: ConsumerConfig
    old: ConsumerConfig | None = None

    @property
    def is_same(self) -> bool:
        return self.old == self.config


def check_create(
    config: ConsumerConfig,
    stream: StreamConfig,
    limits: JetStreamLimits,
    consumers: ConsumerView,
    interest: InterestView,
    *,
    action: str = "",
    pedantic: bool = False,
    fresh_name: str = "",
    identity: str = "",
    expected_identity: str = "",
) -> CheckedConsumer:
    """The consumer for a request that `consumer_requests.read_create` has read. Raises ApiError.

    ``fresh_name`` is a name that no consumer has, for one that comes without. ``identity`` is the stream's,
    ``expected_identity`` the header Nats-Stream-Identity: servers that feed their own streams from this one
    send it. The request's ``config`` is left as it is.
    """
    config = config.copy()
    if config.direct and config.sourcing and config.name:
        _adopt_sourcing(config, stream, fresh_name)
    if (config.direct or config.sourcing) and expected_identity and expected_identity != identity:
        raise api_errors.CONSUMER_STREAM_IDENTITY_MISMATCH(msg=identity)
    existing = consumers.config_of(config.name) if config.name else None
    if existing is not None:
        config.pause_until = existing.pause_until
        if config.sourcing and config.durable_name:
            config.deliver_policy = existing.deliver_policy
            config.opt_start_seq = existing.opt_start_seq
            config.opt_start_time = existing.opt_start_time
    config.set_stored_metadata()
    set_defaults(config, stream, limits, pedantic=pedantic)
    check_config(config, stream, limits)
    name = config.durable_name or config.name
    existing = consumers.config_of(name) if name else None
    if existing is not None:
        return _check_existing(name, config, existing, stream, consumers, interest, action)
    if action == "update":
        raise api_errors.CONSUMER_DOES_NOT_EXIST.fresh()
    _check_count(config, stream, limits, consumers)
    if stream.retention == "workqueue" and not config.direct and not config.sourcing:
        _check_work_queue(name, config, consumers)
    if len(config.durable_name.encode()) > js_limits.name_size_max:
        raise api_errors.CONSUMER_NAME_TOO_LONG(max=js_limits.name_size_max)
    name = name or fresh_name
    if not is_valid_name(name):
        raise api_errors.CONSUMER_BAD_DURABLE_NAME.fresh()
    set_threshold(config, is_durable=config.is_durable)
    return CheckedConsumer(name, config)


def set_defaults(
    config: ConsumerConfig, stream: StreamConfig, limits: JetStreamLimits, *, pedantic: bool = False
) -> None:
    """Fill in what was left out. 10157 in pedantic mode where something given would be changed."""
    if pedantic and config.max_deliver < -1:
        raise pedantic_error("max_deliver must be set to -1")
    if config.max_deliver < 1:
        config.max_deliver = -1
    _lift(config, "max_waiting", 0, pedantic)
    _lift(config, "max_ack_pending", -1, pedantic)
    for field in (
        "max_batch", "max_expires", "max_bytes", "idle_heartbeat", "inactive_threshold", "priority_timeout",
    ):  # fmt: skip
        _lift(config, field, 0, pedantic)
    if config.is_pull:
        config.max_waiting = config.max_waiting or js_limits.max_waiting_default
    if config.ack_wait == 0 and config.ack_policy in ("explicit", "all"):
        config.ack_wait = js_limits.ack_wait_default
    if config.backoff:
        if pedantic and config.ack_wait != config.backoff[0]:
            raise pedantic_error("first backoff value has to equal batch AckWait")
        config.ack_wait = config.backoff[0]
    for field in ("max_ack_pending", "inactive_threshold"):
        if getattr(config, field) == 0:
            limit = getattr(stream.consumer_limits, field)
            if pedantic and limit > 0:
                raise pedantic_error(f"{field} must be set if it's configured in stream limits")
            setattr(config, field, limit)
    if config.max_ack_pending == 0 and config.ack_policy != "none":
        maxima = [limits.server_max_ack_pending, limits.max_ack_pending]
        config.max_ack_pending = min(
            js_limits.max_ack_pending_default, *(m for m in maxima if m > 0), 1 << 62
        )
    if config.is_pull and config.max_batch == 0 and limits.server_max_request_batch > 0:
        if pedantic:
            raise pedantic_error("max_request_batch must be set if it's JetStream limits are set")
        config.max_batch = limits.server_max_request_batch
    if config.priority_policy == "pinned_client" and config.priority_timeout == 0:
        config.priority_timeout = js_limits.priority_timeout_default
    if config.ack_policy == "flow_control" and not pedantic:
        config.flow_control = True
        config.idle_heartbeat = js_limits.flow_control_heartbeat


def check_config(config: ConsumerConfig, stream: StreamConfig, limits: JetStreamLimits) -> None:
    """What can be said about a complete configuration without looking at other consumers. Raises ApiError."""
    if config.name and not is_valid_name(config.name):
        raise invalid_config("consumer name can not contain '.', '*', '>', '\\', '/'")
    if config.durable_name and not is_valid_name(config.durable_name):
        raise invalid_config("consumer durable name can not contain '.', '*', '>', '\\', '/'")
    _check_replicas(config, stream)
    if any(wait < 0 for wait in config.backoff or ()):
        raise api_errors.CONSUMER_BACK_OFF_NEGATIVE.fresh()
    if config.ack_wait < 0:
        raise api_errors.CONSUMER_ACK_WAIT_NEGATIVE.fresh()
    if config.ack_policy == "flow_control":
        _check_flow_control_acks(config)
    if config.backoff and config.max_deliver != -1 and len(config.backoff) > config.max_deliver:
        raise api_errors.CONSUMER_MAX_DELIVER_BACKOFF.fresh()
    if len(config.description.encode()) > js_limits.description_size_max:
        raise api_errors.CONSUMER_DESCRIPTION_TOO_LONG(max=js_limits.description_size_max)
    if config.is_pull:
        _check_pull(config, stream, limits)
    else:
        _check_push(config, stream)
    _check_bounds(config, stream, limits)
    if config.direct:
        if config.is_pull:
            raise api_errors.CONSUMER_DIRECT_REQUIRES_PUSH.fresh()
        if config.is_durable:
            raise api_errors.CONSUMER_DIRECT_REQUIRES_EPHEMERAL.fresh()
    _check_filters(config)
    _check_start(config)
    if config.sample_freq:
        _check_sampling(config.sample_freq.removesuffix("%"))
    if config.flow_control and config.idle_heartbeat == 0:
        raise api_errors.CONSUMER_WITH_FLOW_CONTROL_NEEDS_HEARTBEATS.fresh()
    if config.durable_name and config.name and config.durable_name != config.name:
        raise api_errors.CONSUMER_CREATE_DURABLE_AND_NAME_MISMATCH.fresh()
    if config_metadata.is_too_large(config.metadata):
        raise api_errors.CONSUMER_METADATA_LENGTH(limit=f"{js_limits.metadata_size_max // 1024}KB")
    _check_priorities(config)
    check_dead_letter(config, stream)


def _adopt_sourcing(config: ConsumerConfig, stream: StreamConfig, fresh_name: str) -> None:
    """A consumer that feeds another stream. Where acknowledged messages go away it must last."""
    if stream.retention == "limits":
        config.name = f"{config.name}-{fresh_name}"
        return
    config.direct = False
    config.durable_name = config.name
    config.ack_policy = "flow_control"
    config.ack_wait = config.max_deliver = config.inactive_threshold = 0


def _check_existing(
    name: str,
    config: ConsumerConfig,
    existing: ConsumerConfig,
    stream: StreamConfig,
    consumers: ConsumerView,
    interest: InterestView,
    action: str,
) -> CheckedConsumer:
    if action == "create" and not _is_asked_again(config, existing):
        raise api_errors.CONSUMER_ALREADY_EXISTS.fresh()
    if stream.retention == "workqueue" and consumers.is_wanted_by_others(config.filters(), name):
        raise api_errors.CONSUMER_WQ_CONSUMER_NOT_UNIQUE.fresh()
    check_changes(existing, config, interest.has_interest)
    config.pause_until = in_utc(config.pause_until)
    if config.inactive_threshold != existing.inactive_threshold:
        set_threshold(config, is_durable=existing.is_durable)
    return CheckedConsumer(name, config, existing)


def _is_asked_again(config: ConsumerConfig, existing: ConsumerConfig) -> bool:
    """Whether creating again asks for what there is. The API level of the metadata does not count."""
    config.metadata = config_metadata.to_compare(config.metadata, existing.metadata)
    return config == existing


def _check_count(
    config: ConsumerConfig, stream: StreamConfig, limits: JetStreamLimits, consumers: ConsumerView
) -> None:
    """10026. The stream's limit counts, or the account's where that is lower or the only one."""
    if config.direct or config.sourcing:
        return
    count_max = stream.max_consumers
    if count_max <= 0 or 0 < limits.max_consumers < count_max:
        count_max = limits.max_consumers
    if count_max <= 0:
        count_max = limits.server_consumers_max
    if 0 < count_max <= consumers.limited_count():
        raise api_errors.MAXIMUM_CONSUMERS_LIMIT.fresh()


def _check_work_queue(name: str, config: ConsumerConfig, consumers: ConsumerView) -> None:
    """Each message goes to one consumer, and away when it is acknowledged."""
    if config.ack_policy not in ("explicit", "flow_control"):
        raise api_errors.CONSUMER_WQ_REQUIRES_EXPLICIT_ACK.fresh()
    if config.deliver_policy != "all":
        raise api_errors.CONSUMER_WQ_CONSUMER_NOT_DELIVER_ALL.fresh()
    if consumers.limited_count() == 0:
        return
    filters = config.filters()
    if not filters:
        raise api_errors.CONSUMER_WQ_MULTIPLE_UNFILTERED.fresh()
    if consumers.is_wanted_by_others(filters, name):
        raise api_errors.CONSUMER_WQ_CONSUMER_NOT_UNIQUE.fresh()


def _lift(config: ConsumerConfig, field: str, least: int, pedantic: bool) -> None:
    if getattr(config, field) < least:
        if pedantic:
            raise pedantic_error(f"{field} must be set to -1" if least else f"{field} must not be negative")
        setattr(config, field, least)


def _check_replicas(config: ConsumerConfig, stream: StreamConfig) -> None:
    if config.num_replicas > stream.num_replicas:
        raise api_errors.CONSUMER_REPLICAS_EXCEEDS_STREAM.fresh()
    if config.num_replicas < 0:
        raise api_errors.REPLICAS_COUNT_CANNOT_BE_NEGATIVE.fresh()
    if stream.retention != "limits" and config.num_replicas not in (0, stream.num_replicas):
        raise api_errors.CONSUMER_REPLICAS_SHOULD_MATCH_STREAM.fresh()


def _check_flow_control_acks(config: ConsumerConfig) -> None:
    if config.is_pull:
        raise api_errors.CONSUMER_ACK_FC_REQUIRES_PUSH.fresh()
    if not config.flow_control:
        raise api_errors.CONSUMER_ACK_FC_REQUIRES_FC.fresh()
    if config.idle_heartbeat != js_limits.flow_control_heartbeat:
        raise invalid_config("flow control ack policy heartbeat needs to be 1s")
    if config.max_ack_pending <= 0:
        raise api_errors.CONSUMER_ACK_FC_REQUIRES_MAX_ACK_PENDING.fresh()
    if config.ack_wait != 0 or config.backoff:
        raise api_errors.CONSUMER_ACK_FC_REQUIRES_NO_ACK_WAIT.fresh()
    if config.max_deliver > 0:
        raise api_errors.CONSUMER_ACK_FC_REQUIRES_NO_MAX_DELIVER.fresh()


def _check_push(config: ConsumerConfig, stream: StreamConfig) -> None:
    tokens = config.deliver_subject.split(".")
    if "*" in tokens or ">" in tokens:
        raise api_errors.CONSUMER_DELIVER_TO_WILDCARDS.fresh()
    if not is_valid_subject(config.deliver_subject):
        raise api_errors.CONSUMER_INVALID_DELIVER_SUBJECT.fresh()
    if any(is_subset(config.deliver_subject, subject) for subject in stream.subjects or ()):
        raise api_errors.CONSUMER_DELIVER_CYCLE.fresh()
    if config.max_waiting != 0:
        raise api_errors.CONSUMER_PUSH_MAX_WAITING.fresh()
    if config.max_ack_pending > 0 and config.ack_policy == "none":
        raise api_errors.CONSUMER_MAX_PENDING_ACK_POLICY_REQUIRED.fresh()
    if 0 < config.idle_heartbeat < js_limits.idle_heartbeat_min:
        raise api_errors.CONSUMER_SMALL_HEARTBEAT.fresh()


def _check_pull(config: ConsumerConfig, stream: StreamConfig, limits: JetStreamLimits) -> None:
    if config.ack_policy == "none" and stream.retention == "workqueue":
        raise api_errors.CONSUMER_PULL_REQUIRES_ACK.fresh()
    if config.rate_limit_bps > 0:
        raise api_errors.CONSUMER_PULL_WITH_RATE_LIMIT.fresh()
    if config.idle_heartbeat > 0:
        raise api_errors.CONSUMER_HB_REQUIRES_PUSH.fresh()
    if config.flow_control:
        raise api_errors.CONSUMER_FC_REQUIRES_PUSH.fresh()
    if 0 < config.max_expires < js_limits.max_expires_min:
        raise api_errors.CONSUMER_MAX_REQUEST_EXPIRES_TOO_SMALL.fresh()
    if 0 < limits.server_max_request_batch < config.max_batch:
        raise api_errors.CONSUMER_MAX_REQUEST_BATCH_EXCEEDED(limit=limits.server_max_request_batch)


def _check_bounds(config: ConsumerConfig, stream: StreamConfig, limits: JetStreamLimits) -> None:
    """What server, account and stream allow."""
    bounds = stream.consumer_limits
    for maximum in (limits.server_max_ack_pending, limits.max_ack_pending, bounds.max_ack_pending):
        if 0 < maximum < config.max_ack_pending:
            raise api_errors.CONSUMER_MAX_PENDING_ACK_EXCESS(limit=maximum)
    if 0 < bounds.inactive_threshold < config.inactive_threshold:
        limit = format_duration(bounds.inactive_threshold)
        raise api_errors.CONSUMER_INACTIVE_THRESHOLD_EXCESS(limit=limit)


def _check_filters(config: ConsumerConfig) -> None:
    if config.filter_subject and config.filter_subjects:
        raise api_errors.CONSUMER_DUPLICATE_FILTER_SUBJECTS.fresh()
    if config.filter_subject and not is_valid_subject(config.filter_subject):
        raise invalid_config("invalid subject")
    filters = config.filters()
    if "" in filters:
        raise api_errors.CONSUMER_EMPTY_FILTER.fresh()
    trie = SubjectTrie()
    if len(filters) > FILTERS_COMPARED_PAIRWISE_MAX:
        for index, subject in enumerate(filters):
            trie.add(subject, index)
    for index, subject in enumerate(filters):
        if not is_valid_subject(subject):
            raise invalid_config("invalid subject")
        # Only one that is part of another: two that merely have messages in common pass, as in nats-server.
        if _is_covered(subject, index, filters, trie):
            raise api_errors.CONSUMER_OVERLAPPING_SUBJECT_FILTERS.fresh()


def _is_covered(subject: str, index: int, filters: Sequence[str], trie: SubjectTrie) -> bool:
    if len(trie):
        return any(other != index for _, other in trie.covering(subject))
    return any(other != index and is_subset(subject, pattern) for other, pattern in enumerate(filters))


def _check_start(config: ConsumerConfig) -> None:
    """Where it starts: each policy needs its own field and excludes the others'."""
    policy = config.deliver_policy
    text = f"consumer delivery policy is deliver {_POLICY_TEXTS[policy]}, but optional"
    if policy == "by_start_time":
        if config.opt_start_time is None:
            raise api_errors.CONSUMER_INVALID_POLICY(err=f"{text} start time is not set")
        if config.opt_start_seq != 0:
            raise api_errors.CONSUMER_INVALID_POLICY(err=f"{text} start start sequence is also set")
        return
    if policy == "by_start_sequence":
        if config.opt_start_seq == 0:
            raise api_errors.CONSUMER_INVALID_POLICY(err=f"{text} start sequence is not set")
    elif config.opt_start_seq > 0:
        raise api_errors.CONSUMER_INVALID_POLICY(err=f"{text} start sequence is also set")
    if config.opt_start_time is not None:
        raise api_errors.CONSUMER_INVALID_POLICY(err=f"{text} start time is also set")
    if policy == "last_per_subject" and not config.filter_subject and not config.filter_subjects:
        raise api_errors.CONSUMER_INVALID_POLICY(err=f"{text} filter subject is not set")


def _check_sampling(percent: str) -> None:
    if not _SAMPLE.fullmatch(percent):
        text = f"strconv.Atoi: parsing {quoted(percent)}: invalid syntax"
        raise api_errors.CONSUMER_INVALID_SAMPLING(err=text)
    value = signed(percent, -_INT64_LIMIT, _INT64_LIMIT - 1)
    if value is None:
        text = f"strconv.Atoi: parsing {quoted(percent)}: value out of range"
        raise api_errors.CONSUMER_INVALID_SAMPLING(err=text)
    if value < 0:
        raise api_errors.CONSUMER_INVALID_SAMPLING(err="<nil>")


def _check_priorities(config: ConsumerConfig) -> None:
    groups = config.priority_groups or ()
    if config.priority_policy == "none":
        if groups:
            raise api_errors.CONSUMER_PRIORITY_GROUP_WITH_POLICY_NONE.fresh()
        if config.priority_timeout > 0:
            raise api_errors.CONSUMER_PINNED_TTL_WITHOUT_PRIORITY_POLICY_NONE.fresh()
        return
    if not config.is_pull:
        raise api_errors.CONSUMER_PUSH_WITH_PRIORITY_GROUP.fresh()
    if not groups:
        raise api_errors.CONSUMER_PRIORITY_POLICY_WITHOUT_GROUP.fresh()
    for group in groups:
        if not group:
            raise api_errors.CONSUMER_EMPTY_GROUP_NAME.fresh()
        if not GROUP_NAME.fullmatch(group):
            raise api_errors.CONSUMER_INVALID_GROUP_NAME.fresh()
