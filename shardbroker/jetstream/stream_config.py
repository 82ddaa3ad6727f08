"""A stream's configuration: every field of nats-server 2.15, in the order of its answers.

A `StreamConfig` is made from a request (`read_config_request`) or from what was stored (`from_stored`), is
checked and completed by `config_checks.py` and `config_updates.py`, and is written by `to_json_dict`. As long
as it is not checked, 0 and "" stand for what the client left out. Lists that a client gave empty stay empty
lists and are not None: nats-server tells them apart when it compares two configurations.

Metadata: see `config_metadata.py`.

Source: spec pages 02 (section 4) and 03 (section 1), ADR-44 for levels.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields

from shardbroker.jetstream import config_metadata
from shardbroker.jetstream.source_config import (
    CONSUMER_LIMITS,
    PLACEMENT,
    REPUBLISH,
    STREAM_SOURCE,
    STREAM_SOURCES,
    SUBJECT_TRANSFORM_POINTER,
    Placement,
    RePublish,
    StreamConsumerLimits,
    StreamSource,
    SubjectTransformConfig,
)
from shardbroker.jetstream.strict_json import (
    BOOL,
    COMPRESSION,
    DURATION,
    INT,
    INT32,
    INT64,
    STRING,
    STRINGS,
    TEXTS_BY_NAME,
    UINT64,
    Enum,
    Struct,
    decode,
    decode_loosely,
    words,
)

_FIELDS = {
    "name": STRING,
    "description": STRING,
    "subjects": STRINGS,
    "retention": Enum(words(("limits", "interest", "workqueue"))),
    "max_consumers": INT,
    "max_msgs": INT64,
    "max_bytes": INT64,
    "max_age": DURATION,
    "max_msgs_per_subject": INT64,
    "max_msg_size": INT32,
    "discard": Enum(words(("old", "new")), any_case=True),
    "storage": Enum(words(("memory", "file"))),
    "num_replicas": INT,
    "no_ack": BOOL,
    "duplicate_window": DURATION,
    "placement": PLACEMENT,
    "mirror": STREAM_SOURCE,
    "sources": STREAM_SOURCES,
    "compression": COMPRESSION,
    "first_seq": UINT64,
    "subject_transform": SUBJECT_TRANSFORM_POINTER,
    "republish": REPUBLISH,
    "allow_direct": BOOL,
    "mirror_direct": BOOL,
    "discard_new_per_subject": BOOL,
    "sealed": BOOL,
    "deny_delete": BOOL,
    "deny_purge": BOOL,
    "allow_rollup_hdrs": BOOL,
    "consumer_limits": CONSUMER_LIMITS,
    "allow_msg_ttl": BOOL,
    "subject_delete_marker_ttl": DURATION,
    "allow_msg_counter": BOOL,
    "allow_atomic": BOOL,
    "allow_msg_schedules": BOOL,
    "persist_mode": Enum({"default": "default", "async": "async", "": "default"}),
    "allow_batched": BOOL,
    "metadata": TEXTS_BY_NAME,
}
STREAM_CONFIG = Struct("StreamConfig", _FIELDS)
STREAM_CONFIG_REQUEST = Struct("StreamConfigRequest", {**_FIELDS, "pedantic": BOOL})

# Left out of answers when empty, that is 0, "", False, None or without elements.
_LEFT_OUT_EMPTY = {
    "description", "subjects", "max_msg_size", "no_ack", "duplicate_window", "placement", "mirror", "sources",
    "first_seq", "subject_transform", "republish", "discard_new_per_subject", "subject_delete_marker_ttl",
    "allow_msg_counter", "allow_atomic", "allow_msg_schedules", "allow_batched", "metadata",
}  # fmt: skip


@dataclass(slots=True)
class StreamConfig:
    """One stream's configuration. Durations in nanoseconds, sizes in bytes, -1 for no limit."""

    name: str = ""
    description: str = ""
    subjects: list[str] | None = None
    retention: str = "limits"
    max_consumers: int = 0
    max_msgs: int = 0
    max_bytes: int = 0
    max_age: int = 0
    max_msgs_per_subject: int = 0
    max_msg_size: int = 0
    discard: str = "old"
    storage: str = ""
    num_replicas: int = 0
    no_ack: bool = False
    duplicate_window: int = 0
    placement: Placement | None = None
    mirror: StreamSource | None = None
    sources: list[StreamSource | None] | None = None
    compression: str = "none"
    first_seq: int = 0
    subject_transform: SubjectTransformConfig | None = None
    republish: RePublish | None = None
    allow_direct: bool = False
    mirror_direct: bool = False
    discard_new_per_subject: bool = False
    sealed: bool = False
    deny_delete: bool = False
    deny_purge: bool = False
    allow_rollup_hdrs: bool = False
    consumer_limits: StreamConsumerLimits = field(default_factory=StreamConsumerLimits)
    allow_msg_ttl: bool = False
    subject_delete_marker_ttl: int = 0
    allow_msg_counter: bool = False
    allow_atomic: bool = False
    allow_msg_schedules: bool = False
    persist_mode: str = "default"
    allow_batched: bool = False
    metadata: dict[str, str] | None = None

    @classmethod
    def from_fields(cls, given: Mapping[str, object]) -> "StreamConfig":
        """From what `STREAM_CONFIG` decodes: only the fields that were named."""
        values = dict(given)
        for key, kind in (
            ("placement", Placement),
            ("subject_transform", SubjectTransformConfig),
            ("republish", RePublish),
            ("consumer_limits", StreamConsumerLimits),
        ):
            if values.get(key) is not None:
                values[key] = kind(**values[key])
        if values.get("mirror") is not None:
            values["mirror"] = StreamSource.from_fields(values["mirror"])
        if values.get("sources") is not None:
            values["sources"] = [
                None if one is None else StreamSource.from_fields(one) for one in values["sources"]
            ]
        return cls(**values)

    @classmethod
    def from_stored(cls, text: bytes) -> "StreamConfig":
        """From the JSON of a configuration that was accepted before; fields of later versions are skipped.

        RequestJsonError if it is none.
        """
        return cls.from_fields(decode_loosely(text, STREAM_CONFIG))

    def to_json_dict(self, server_version: str | None = None) -> dict[str, object]:
        """As in an answer, or to be stored.

        With ``server_version`` the metadata says who answers: answers to CREATE, UPDATE and INFO do.
        """
        result: dict[str, object] = {}
        for name in _FIELDS:
            value = getattr(self, name)
            if name == "metadata":
                value = config_metadata.to_show(self.metadata, server_version)
            if name == "persist_mode":
                if value != "default":
                    result[name] = value
            elif value or name not in _LEFT_OUT_EMPTY:
                result[name] = _plain(value)
        return result

    def required_level(self) -> int:
        """The API level that a server must have to run this stream."""
        if self.allow_batched:
            return 4
        if self.allow_msg_counter or self.allow_atomic or self.allow_msg_schedules:
            return 2
        if self.persist_mode == "async":
            return 2
        return 1 if self.allow_msg_ttl or self.subject_delete_marker_ttl > 0 else 0

    def set_stored_metadata(self) -> None:
        """Write the required level into the metadata, and remove what only belongs into answers."""
        self.metadata = config_metadata.to_store(self.metadata, self.required_level())

    def copy(self) -> "StreamConfig":
        """A copy whose parts that checks change are copied too."""
        values = {one.name: getattr(self, one.name) for one in fields(self)}
        result = StreamConfig(**values)
        result.metadata = None if self.metadata is None else dict(self.metadata)
        if self.republish is not None:
            result.republish = RePublish(**_values_of(self.republish))
        return result


def read_config_request(body: bytes, *, strict: bool = True) -> tuple[StreamConfig, bool]:
    """The configuration in the body of STREAM.CREATE or UPDATE, and whether the client is pedantic.

    RequestJsonError for what is no such body.
    """
    given = decode(body, STREAM_CONFIG_REQUEST, strict=strict)
    pedantic = bool(given.pop("pedantic", False))
    return StreamConfig.from_fields(given), pedantic


def _values_of(part: object) -> dict[str, object]:
    return {one.name: getattr(part, one.name) for one in fields(part)}


def _plain(value: object) -> object:
    """Objects as dicts, also in lists; a source that is null stays null."""
    if hasattr(value, "to_json_dict"):
        return value.to_json_dict()
    if isinstance(value, list):
        return [one.to_json_dict() if hasattr(one, "to_json_dict") else one for one in value]
    return value
