"""Whether a stream's configuration is possible, and what it is once defaults are filled in.

`complete` does the checks that creation and update share, in nats-server's order: a client that makes several
mistakes is told the same one. `check_create` is all of STREAM.CREATE but the files. What it must know about
the account comes as an `AccountView`; what the account may use as `JetStreamLimits`.

Every failure is an `ApiError`, most of them 10052 with a text. In *pedantic* mode a value that would silently
be changed is an error (10157) instead.

Source: spec page 03 (section 1); order and texts compared with nats-server 2.15.1 by
tests/jetstream/test_config_against_nats_server.py.
"""

from collections.abc import Sequence
from typing import Protocol

from shardbroker.jetstream import api_errors, config_metadata, js_limits
from shardbroker.jetstream.api_error import ApiError
from shardbroker.jetstream.durations import format_duration
from shardbroker.jetstream.js_limits import JetStreamLimits
from shardbroker.jetstream.source_checks import (
    check_filters_of_sources,
    check_mirror_and_sources,
    collide,
    is_subset,
    is_valid_name,
    is_valid_subject,
    quoted,
)
from shardbroker.jetstream.source_config import Placement
from shardbroker.jetstream.stream_config import StreamConfig
from shardbroker.jetstream.subject_trie import SubjectTrie
from shardbroker.subjects.transform import Transform, TransformError, validate_mapping

API_SPACES = ("$JS.>", "$JSC.>", "$NRG.>")
ALLOWED_API_SPACE = "$JS.EVENT.>"
SYSTEM_SPACE = "$SYS.>"
ALLOWED_SYSTEM_SPACE = "$SYS.ACCOUNT.>"


class AccountView(Protocol):
    """What the checks ask about the other streams of the account."""

    def config_of(self, name: str) -> StreamConfig | None:
        """The configuration of a stream as it was accepted; None if there is none."""

    def has_overlap(self, subjects: Sequence[str], except_name: str) -> bool:
        """Whether another stream than ``except_name`` has a subject that overlaps with one of these."""

    def stream_count(self, except_name: str) -> int:
        """How many streams there are, without ``except_name``."""

    def reserved_size(self, storage: str, except_name: str) -> int:
        """Bytes that max_bytes of other streams reserve in ``storage``, counted for each replica."""

    def server_reserved_size(self, storage: str) -> int:
        """Bytes that the streams of all accounts have reserved on this server."""


def invalid_config(text: str) -> ApiError:
    """Error 10052."""
    return api_errors.STREAM_INVALID_CONFIG(err=text)


def pedantic_error(text: str) -> ApiError:
    """Error 10157."""
    return api_errors.PEDANTIC(err=text)


def check_create(
    name: str, config: StreamConfig, limits: JetStreamLimits, account: AccountView, *, pedantic: bool = False
) -> StreamConfig:
    """The configuration of the stream to be made for a request to create ``name``.

    Where an equal stream exists the answer is *its* configuration, the very object that ``account`` has: then
    there is nothing to make. Raises ApiError. The request's ``config`` is left as it is.
    """
    config = config.copy()
    config.set_stored_metadata()
    if name != config.name:
        raise api_errors.STREAM_MISMATCH.fresh()
    if "/" in name or "\\" in name:
        raise api_errors.STREAM_NAME_CONTAINS_PATH_SEPARATORS.fresh()
    if config.sealed:
        raise invalid_config("stream configuration for create can not be sealed")
    if config.mirror_direct and config.mirror is None:
        raise invalid_config("stream has no mirror but does have mirror direct")
    if 0 < limits.max_streams <= account.stream_count(name):
        raise api_errors.MAXIMUM_STREAMS_LIMIT.fresh()
    check_resources(config, config.max_bytes, limits, account)
    config = complete(config, limits, account, pedantic=pedantic)
    if config.num_replicas > 1:
        raise api_errors.STREAM_REPLICAS_NOT_SUPPORTED.fresh()
    existing = account.config_of(name)
    if existing is not None:
        if is_same(config, existing):
            return existing
        raise api_errors.STREAM_NAME_EXIST.fresh()
    check_resources(config, config.max_bytes, limits, account)
    check_filters_of_sources(config)
    if account.has_overlap(config.subjects or (), name):
        raise api_errors.STREAM_SUBJECT_OVERLAP.fresh()
    return config


def check_restore(
    name: str, config: StreamConfig, limits: JetStreamLimits, account: AccountView
) -> StreamConfig:
    """The configuration of the stream to be made from a snapshot. Raises ApiError."""
    config = config.copy()
    config.name = config.name or name
    if name != config.name:
        raise api_errors.STREAM_MISMATCH.fresh()
    if "/" in name or "\\" in name:
        raise api_errors.STREAM_NAME_CONTAINS_PATH_SEPARATORS.fresh()
    config = complete(config, limits, account)
    if 0 < limits.max_streams <= account.stream_count(name):
        raise api_errors.MAXIMUM_STREAMS_LIMIT.fresh()
    check_resources(config, config.max_bytes, limits, account)
    if account.config_of(name) is not None:
        raise api_errors.STREAM_NAME_EXIST_RESTORE_FAILED.fresh()
    return config


def is_same(config: StreamConfig, existing: StreamConfig) -> bool:
    """Whether creating again asks for what there is. The API level of the metadata does not count."""
    compared = config.copy()
    compared.metadata = config_metadata.to_compare(config.metadata, existing.metadata)
    return compared == existing


def check_resources(
    config: StreamConfig, added_size: int, limits: JetStreamLimits, account: AccountView, base_size: int = 0
) -> None:
    """Whether account and server have room for ``added_size`` bytes more; below 0 stands for one byte.

    ``base_size`` is what this stream already reserves. 10026, 10028 or 10047 if not.
    """
    if 0 < limits.max_consumers < config.max_consumers:
        raise api_errors.MAXIMUM_CONSUMERS_LIMIT.fresh()
    if config.storage == "memory":
        account_max, server_max = limits.max_memory, limits.server_memory_max
        error = api_errors.MEMORY_RESOURCES_EXCEEDED
    elif config.storage == "file":
        account_max, server_max = limits.max_storage, limits.server_storage_max
        error = api_errors.STORAGE_RESOURCES_EXCEEDED
    else:
        return
    added = 1 if added_size < 0 else added_size
    factor = max(config.num_replicas, 1)
    reserved = account.reserved_size(config.storage, config.name) + base_size * factor
    if account_max >= 0 and reserved + added * factor > account_max:
        raise error.fresh()
    if server_max >= 0 and account.server_reserved_size(config.storage) + added > server_max:
        raise error.fresh()


def complete(
    config: StreamConfig, limits: JetStreamLimits, account: AccountView, *, pedantic: bool = False
) -> StreamConfig:
    """A copy of ``config`` with every default filled in, or ApiError."""
    _check_texts(config)
    config = config.copy()
    _complete_numbers(config, pedantic)
    _complete_times(config, limits, pedantic)
    _check_modes(config, pedantic)
    check_mirror_and_sources(config, account, pedantic=pedantic)
    _complete_subjects(config)
    _check_sizes_allowed(config, limits)
    _check_transform_and_republish(config, pedantic)
    if config.placement is not None:
        if config.placement == Placement():
            config.placement = None
        elif config.placement.preferred:
            raise invalid_config("preferred server not permitted in placement")
    return config


def _check_texts(config: StreamConfig) -> None:
    if not is_valid_name(config.name):
        raise invalid_config("stream name is required and can not contain '.', '*', '>', '\\', '/'")
    if len(config.name.encode()) > js_limits.name_size_max:
        raise invalid_config(f"stream name is too long, maximum allowed is {js_limits.name_size_max}")
    if len(config.description.encode()) > js_limits.description_size_max:
        size_max = js_limits.description_size_max
        raise invalid_config(f"stream description is too long, maximum allowed is {size_max}")
    if config_metadata.is_too_large(config.metadata):
        size_max = js_limits.metadata_size_max
        raise invalid_config(f"stream metadata exceeds maximum size of {size_max} bytes")


def _complete_numbers(config: StreamConfig, pedantic: bool) -> None:
    config.storage = config.storage or "file"
    config.num_replicas = config.num_replicas or 1
    if config.num_replicas > js_limits.replicas_max:
        raise invalid_config(f"maximum replicas is {js_limits.replicas_max}")
    if config.num_replicas < 0:
        raise api_errors.REPLICAS_COUNT_CANNOT_BE_NEGATIVE.fresh()
    for field in ("max_msgs", "max_msgs_per_subject", "max_bytes", "max_msg_size", "max_consumers"):
        value = getattr(config, field)
        if value == 0 or value < -1:
            if pedantic and value < -1:
                raise pedantic_error(f"{field} must be set to -1")
            setattr(config, field, -1)


def _complete_times(config: StreamConfig, limits: JetStreamLimits, pedantic: bool) -> None:
    if config.max_age < 0:
        raise invalid_config("max age can not be negative")
    if 0 < config.max_age < js_limits.duration_min:
        raise invalid_config("max age needs to be >= 100ms")
    window_max = limits.duplicate_window_max
    if config.duplicate_window == 0 and config.mirror is None and not config.sources:
        window = js_limits.duplicate_window_default
        if 0 < window_max < window:
            if pedantic:
                raise pedantic_error("duplicate window limits are higher than current limits")
            window = window_max
        if 0 < config.max_age < window:
            if pedantic:
                raise pedantic_error("duplicate window cannot be bigger than max age")
            window = config.max_age
        config.duplicate_window = window
    if config.duplicate_window < 0:
        raise invalid_config("duplicates window can not be negative")
    if 0 < config.max_age < config.duplicate_window:
        raise invalid_config("duplicates window can not be larger then max age")
    if 0 < window_max < config.duplicate_window:
        text = format_duration(window_max)
        raise invalid_config(f"duplicates window can not be larger then server limit of {text}")
    if 0 < config.duplicate_window < js_limits.duration_min:
        raise invalid_config("duplicates window needs to be >= 100ms")


def check_discard_new_per_subject(config: StreamConfig) -> None:
    """The switch needs the policy it refines, and the limit it is about."""
    if not config.discard_new_per_subject:
        return
    if config.discard != "new":
        raise invalid_config("discard new per subject requires discard new policy to be set")
    if config.max_msgs_per_subject <= 0:
        raise invalid_config("discard new per subject requires max msgs per subject > 0")


def _check_modes(config: StreamConfig, pedantic: bool) -> None:
    """Switches that exclude or imply each other."""
    if config.deny_purge and config.allow_rollup_hdrs:
        raise invalid_config("roll-ups require the purge permission")
    if config.allow_msg_counter:
        _check_counter(config)
    check_discard_new_per_subject(config)
    if config.subject_delete_marker_ttl < 0:
        raise invalid_config("subject delete marker TTL must not be negative")
    if config.subject_delete_marker_ttl > 0:
        if config.subject_delete_marker_ttl < js_limits.delete_marker_ttl_min:
            raise invalid_config("subject delete marker TTL must be at least 1 second")
        if not config.allow_msg_ttl:
            if pedantic:
                raise invalid_config("subject delete marker cannot be set if message TTLs are disabled")
            config.allow_msg_ttl = True
        _imply_rollup(config, pedantic, "subject delete marker cannot be set if roll-ups are disabled")
    if config.allow_msg_schedules:
        if config.discard == "new":
            raise invalid_config("message scheduling cannot use discard new")
        _imply_rollup(config, pedantic, "message scheduling cannot be set if roll-ups are disabled")
    if config.persist_mode == "async":
        if config.storage != "file":
            raise invalid_config("async persist mode is only supported on file storage")
        if config.num_replicas > 1:
            raise invalid_config("async persist mode is not supported on replicated streams")
        if config.allow_atomic:
            raise invalid_config("async persist mode is not supported with atomic batch publish")


def _check_counter(config: StreamConfig) -> None:
    if config.discard == "new":
        raise invalid_config("counter stream cannot use discard new")
    if config.allow_msg_ttl:
        raise invalid_config("counter stream cannot use message TTLs")
    if config.allow_msg_schedules:
        raise invalid_config("counter stream cannot use message schedules")
    if config.retention != "limits":
        raise invalid_config("counter stream can only use limits retention")


def _imply_rollup(config: StreamConfig, pedantic: bool, text: str) -> None:
    """Markers and schedules replace what is stored, which takes roll-ups, which take purges."""
    if config.allow_rollup_hdrs:
        return
    if pedantic:
        raise invalid_config(text)
    config.allow_rollup_hdrs = True
    config.deny_purge = False


def _complete_subjects(config: StreamConfig) -> None:
    """The stream's own name is its subject if nothing else brings messages in."""
    if not config.subjects:
        if config.mirror is None and not config.sources:
            config.subjects = [config.name]
        return
    subjects = config.subjects
    trie = SubjectTrie()
    for index, subject in enumerate(subjects):
        # What is no subject is told below, when its turn comes. One before it may be told first that it
        # overlaps with it, as nats-server sees it: a `>` hides whatever follows.
        trie.add(subject if ".>." not in subject else subject.split(".>.", 1)[0] + ".>", index)
    for index, subject in enumerate(subjects):
        if not is_valid_subject(subject):
            raise invalid_config("invalid subject")
        if subject == ">":
            if not config.no_ack:
                raise invalid_config("capturing all subjects requires no-ack to be true")
            if config.num_replicas != 1:
                raise invalid_config("capturing all subjects requires replicas of 1")
        if not config.no_ack:
            _check_reserved_spaces(subject)
        # Those before this one were found not to overlap with any, so these are later ones.
        if others := [other for _, other in trie.overlaps(subject) if other > index]:
            raise invalid_config(f"subject {quoted(subject)} overlaps with {quoted(subjects[min(others)])}")


def _check_reserved_spaces(subject: str) -> None:
    """A stream that acknowledges would answer requests that are not meant for it."""
    first = subject.split(".", 1)[0]
    if not first.startswith("$") and first not in ("*", ">"):
        return
    for space in API_SPACES:
        if collide(subject, space) and not is_subset(subject, ALLOWED_API_SPACE):
            raise invalid_config("subjects that overlap with jetstream api require no-ack to be true")
    if collide(subject, SYSTEM_SPACE) and not is_subset(subject, ALLOWED_SYSTEM_SPACE):
        raise invalid_config("subjects that overlap with system api require no-ack to be true")


def _check_sizes_allowed(config: StreamConfig, limits: JetStreamLimits) -> None:
    if limits.max_bytes_required and config.max_bytes <= 0:
        raise api_errors.STREAM_MAX_BYTES_REQUIRED.fresh()
    in_memory = config.storage == "memory"
    size_max = limits.memory_max_stream_bytes if in_memory else limits.storage_max_stream_bytes
    if 0 < size_max < config.max_bytes:
        raise api_errors.STREAM_MAX_STREAM_BYTES_EXCEEDED.fresh()


def _check_transform_and_republish(config: StreamConfig, pedantic: bool) -> None:
    transform = config.subject_transform
    if transform is not None:
        if transform.src and not is_valid_subject(transform.src):
            raise api_errors.STREAM_TRANSFORM_INVALID_SOURCE(err=f"invalid subject {transform.src}")
        try:
            validate_mapping(transform.src, transform.dest)
        except TransformError as error:
            raise api_errors.STREAM_TRANSFORM_INVALID_DESTINATION(err=str(error)) from None
    republish = config.republish
    if republish is None:
        return
    if not republish.src:
        if pedantic:
            raise pedantic_error("republish source can not be empty")
        republish.src = ">"
    everything = republish.src == republish.dest == ">"
    if everything and transform is not None and [transform.src] == config.subjects:
        # Everything comes out under other subjects, so that it cannot come back in.
        if pedantic:
            raise pedantic_error("implicit republish based on subject transform")
        republish.src = republish.dest = transform.dest
    if any(collide(republish.dest, subject) for subject in config.subjects or ()):
        raise invalid_config("stream configuration for republish destination forms a cycle")
    try:
        Transform(republish.src, republish.dest)
    except TransformError:
        route = f"from '{republish.src}' to '{republish.dest}'"
        raise invalid_config(f"stream configuration for republish with transform {route} not valid") from None
