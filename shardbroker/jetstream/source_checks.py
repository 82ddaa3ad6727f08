"""Whether a stream's mirror and sources are possible: names, filters, transforms, prefixes, and no circles.

Part of `config_checks.complete`, apart because it is a subject of its own. Streams that a mirror or a source
names need not exist; those that do are looked at. Rules of subjects are those of `subjects/subject.py`, for
text instead of bytes, and for the empty text, which nats-server lets stand for everything in some places.

Source: spec page 03, sections 1 and 11.
"""

from collections import deque
from collections.abc import Sequence
from typing import TYPE_CHECKING

from shardbroker.jetstream import api_errors
from shardbroker.jetstream.source_config import StreamSource, SubjectTransformConfig
from shardbroker.jetstream.stream_config import StreamConfig
from shardbroker.jetstream.subject_trie import SubjectTrie
from shardbroker.protocol.go_json_syntax import quote
from shardbroker.subjects import subject as rules
from shardbroker.subjects.transform import Transform, TransformError, validate_mapping

if TYPE_CHECKING:
    from shardbroker.jetstream.config_checks import AccountView

API_PREFIX = "$JS.API"
VISITS_MAX = 10_000  # of streams in search of a circle, before each is visited only once more
_FORBIDDEN_IN_NAMES = frozenset(" \t\r\n\f.*>\\/")


def is_valid_name(name: str) -> bool:
    """Whether a stream or consumer may have this name, apart from its length."""
    return bool(name) and _FORBIDDEN_IN_NAMES.isdisjoint(name)


def quoted(text: str) -> str:
    """In double quotes, as nats-server's texts quote what a client wrote."""
    return quote(text.encode())


def is_valid_subject(subject: str) -> bool:
    """Whether ``subject`` may stand in a configuration, with or without wildcards."""
    data = subject.encode()
    return rules.is_valid(data, len(data))


def is_literal_subject(subject: str) -> bool:
    """Whether ``subject`` is valid and has no wildcards."""
    data = subject.encode()
    return rules.is_valid(data, len(data)) and rules.is_literal(data, len(data))


def collide(left: str, right: str) -> bool:
    """Whether some literal subject is matched by both."""
    if left == right or (left == "" and right == ">") or (left == ">" and right == ""):
        return True
    left_data, right_data = left.encode(), right.encode()
    return bool(rules.collide(left_data, len(left_data), right_data, len(right_data)))


def is_subset(subject: str, pattern: str) -> bool:
    """Whether ``pattern`` matches everything that ``subject`` matches."""
    if subject == "":
        return pattern == ">"
    data, pattern_data = subject.encode(), pattern.encode()
    return bool(rules.is_subset(data, len(data), pattern_data, len(pattern_data)))


def check_mirror_and_sources(config: StreamConfig, account: "AccountView", *, pedantic: bool) -> None:
    """All of it. May set ``config.mirror_direct`` from the mirrored stream. Raises ApiError."""
    external = []
    upstream_subjects: list[str] = []
    if config.mirror is not None:
        _check_mirror_alone(config)
        _check_mirror(config.mirror)
        if config.subject_delete_marker_ttl > 0:
            # Markers would take sequences that the mirrored stream gives to other messages.
            raise _invalid("subject delete markers forbidden on mirrors")
        _check_transforms_of_mirror(config.mirror.subject_transforms or [])
        if config.mirror.external is None:
            _check_mirrored_stream(config, account, upstream_subjects, pedantic)
        else:
            external.append(config.mirror.external)
    if config.sources and config.allow_msg_schedules:
        raise api_errors.SOURCE_WITH_MSG_SCHEDULES.fresh()
    identities: set[tuple[object, ...]] = set()
    consumers: set[tuple[object, ...]] = set()
    for source in config.sources or ():
        if source is None or not is_valid_name(source.name):
            raise api_errors.SOURCE_INVALID_STREAM_NAME.fresh()
        if source.identity() in identities:
            raise api_errors.SOURCE_DUPLICATE_DETECTED.fresh()
        identities.add(source.identity())
        _check_source(source, consumers)
        if source.external is None:
            upstream = account.config_of(source.name)
            if upstream is not None:
                upstream_subjects += upstream.subjects or ()
                if 0 < config.max_msg_size < upstream.max_msg_size:
                    raise api_errors.SOURCE_MAX_MESSAGE_SIZE_TOO_BIG.fresh()
        else:
            external.append(source.external)
    _check_prefixes([one.deliver for one in external], [one.api for one in external], upstream_subjects)
    _check_circles(config, account)


def check_filters_of_sources(config: StreamConfig) -> None:
    """Filters that are no subjects. They are found when a stream is made, after all other checks."""
    if config.mirror is not None:
        _check_filter(config.mirror, "subject filter '{}' for the mirror invalid subject")
    for source in config.sources or ():
        _check_filter(source, "subject filter '{}' for the source: invalid subject")


def _invalid(text: str) -> api_errors.ApiError:
    return api_errors.STREAM_INVALID_CONFIG(err=text)


def _check_filter(source: StreamSource, text: str) -> None:
    filter_subject = source.filter_subject
    if not source.subject_transforms and filter_subject and not is_valid_subject(filter_subject):
        raise api_errors.STREAM_CREATE(err=text.format(filter_subject))
    for transform in source.subject_transforms or ():
        try:
            Transform(transform.src, transform.dest)
        except TransformError as error:
            kind = "mirror" if "mirror" in text else "source"
            route = f"from '{transform.src}' to '{transform.dest}'"
            raise api_errors.STREAM_CREATE(err=f"subject transform {route} for the {kind}: {error}") from None


def _check_mirror_alone(config: StreamConfig) -> None:
    """A mirror is a copy: nothing else may write into it."""
    for forbidden, error in (
        (config.first_seq > 0, api_errors.MIRROR_WITH_FIRST_SEQ),
        (config.subjects, api_errors.MIRROR_WITH_SUBJECTS),
        (config.sources, api_errors.MIRROR_WITH_SOURCES),
        (config.allow_msg_counter, api_errors.MIRROR_WITH_COUNTERS),
        (config.allow_atomic, api_errors.MIRROR_WITH_ATOMIC_PUBLISH),
        (config.allow_batched, api_errors.MIRROR_WITH_BATCH_PUBLISH),
        (config.allow_msg_schedules, api_errors.MIRROR_WITH_MSG_SCHEDULES),
    ):
        if forbidden:
            raise error.fresh()


def _check_mirror(mirror: StreamSource) -> None:
    if mirror.consumer is not None and not _is_possible_consumer(mirror):
        raise api_errors.MIRROR_DURABLE_CONSUMER_CFG_INVALID.fresh()
    if mirror.filter_subject and mirror.subject_transforms:
        raise api_errors.MIRROR_MULTIPLE_FILTERS_NOT_ALLOWED.fresh()


def _is_possible_consumer(source: StreamSource) -> bool:
    """A consumer that exists already decides itself what it delivers and where it starts."""
    return (
        is_valid_name(source.consumer.name)
        and is_literal_subject(source.consumer.deliver_subject)
        and source.opt_start_seq == 0
        and source.opt_start_time is None
        and source.filter_subject == ""
    )


def _check_transforms_of_mirror(transforms: Sequence[SubjectTransformConfig]) -> None:
    filters = _trie_of(transforms)
    for index, transform in enumerate(transforms):
        if transform.src and not is_valid_subject(transform.src):
            raise api_errors.MIRROR_INVALID_SUBJECT_FILTER(err=f"invalid subject {transform.src}")
        try:
            validate_mapping(transform.src, transform.dest)
        except TransformError as error:
            raise api_errors.MIRROR_INVALID_TRANSFORM_DESTINATION(err=str(error)) from None
        if any(other != index for _, other in filters.overlaps(transform.src)):
            raise api_errors.MIRROR_OVERLAPPING_SUBJECT_FILTERS.fresh()


def _trie_of(transforms: Sequence[SubjectTransformConfig]) -> SubjectTrie:
    """The transforms' sources with their indexes: comparing each with each would take too long for many."""
    trie = SubjectTrie()
    for index, transform in enumerate(transforms):
        trie.add(transform.src, index)
    return trie


def _check_mirrored_stream(
    config: StreamConfig, account: "AccountView", upstream_subjects: list[str], pedantic: bool
) -> None:
    """A stream of this account; it need not exist."""
    if not is_valid_name(config.mirror.name):
        raise api_errors.MIRROR_INVALID_STREAM_NAME.fresh()
    upstream = account.config_of(config.mirror.name)
    if upstream is None:
        return
    upstream_subjects += upstream.subjects or ()
    if 0 < config.max_msg_size < upstream.max_msg_size:
        raise api_errors.MIRROR_MAX_MESSAGE_SIZE_TOO_BIG.fresh()
    if pedantic and config.mirror_direct != upstream.allow_direct:
        raise api_errors.PEDANTIC(err="origin stream has direct get set, mirror has it disabled")
    config.mirror_direct = upstream.allow_direct


def _check_source(source: StreamSource, consumers: set[tuple[object, ...]]) -> None:
    transforms = source.subject_transforms or []
    if source.filter_subject and transforms:
        raise api_errors.SOURCE_MULTIPLE_FILTERS_NOT_ALLOWED.fresh()
    for transform in transforms:
        if transform.src and not is_valid_subject(transform.src):
            raise api_errors.SOURCE_INVALID_SUBJECT_FILTER(err=f"invalid subject {transform.src}")
        try:
            validate_mapping(transform.src, transform.dest)
        except TransformError as error:
            raise api_errors.SOURCE_INVALID_TRANSFORM_DESTINATION(err=str(error)) from None
    filters = _trie_of(transforms)
    for index, transform in enumerate(transforms):
        # Two empty ones, which both stand for everything, pass in nats-server.
        covering = (one for one in filters.covering(transform.src) if one[0] != "")
        if any(other != index for _, other in covering):
            raise api_errors.SOURCE_OVERLAPPING_SUBJECT_FILTERS.fresh()
    if source.consumer is not None:
        if not _is_possible_consumer(source):
            raise api_errors.SOURCE_DURABLE_CONSUMER_CFG_INVALID.fresh()
        external = None if source.external is None else source.external.api
        key = (source.name, external, source.consumer.name)
        if key in consumers:
            raise api_errors.SOURCE_DURABLE_CONSUMER_DUPLICATE_DETECTED.fresh()
        consumers.add(key)


def _check_prefixes(deliver: Sequence[str], api: Sequence[str], upstream_subjects: Sequence[str]) -> None:
    for prefix in filter(None, deliver):
        if not is_literal_subject(prefix):
            raise api_errors.STREAM_INVALID_EXTERNAL_DELIVERY_SUBJ(prefix=prefix)
        for subject in upstream_subjects:
            if collide(subject, f"{prefix}.{subject}"):
                raise api_errors.STREAM_EXTERNAL_DEL_PREFIX_OVERLAPS(prefix=prefix, subject=subject)
    for prefix in filter(None, api):
        if not is_literal_subject(prefix):
            raise _invalid(
                f"stream external api prefix {quoted(prefix)} must be a valid subject without wildcards"
            )
        if collide(prefix, API_PREFIX):
            raise api_errors.STREAM_EXTERNAL_API_OVERLAP(prefix=prefix, subject=API_PREFIX)


def _check_circles(config: StreamConfig, account: "AccountView") -> None:
    """Follow sources and mirrors upstream: nobody may meet again a stream whose messages he brings.

    A source with a filter closes a circle only if the filter can match what the stream captures itself.
    Streams that are reached in several ways are visited several times, as by nats-server, which takes some of
    these shapes for circles. After many visits each stream is followed only once more: the number of ways may
    double with each stream.
    """
    to_visit = deque([config])
    visited: set[str] = set()
    visits = 0
    while to_visit:
        stream = to_visit.popleft()
        visits += 1
        if visits > VISITS_MAX and stream.name in visited:
            continue
        visited.add(stream.name)
        for source in stream.sources or ():
            if source.external is not None:
                continue
            if source.name in visited:
                filter_subject = source.filter_subject
                if not filter_subject or any(collide(one, filter_subject) for one in stream.subjects or ()):
                    raise _invalid("detected cycle")
            elif (upstream := account.config_of(source.name)) is not None:
                to_visit.append(upstream)
        mirror = stream.mirror
        if mirror is not None and mirror.external is None:
            if mirror.name in visited:
                raise _invalid("detected cycle")
            if (upstream := account.config_of(mirror.name)) is not None:
                to_visit.append(upstream)
