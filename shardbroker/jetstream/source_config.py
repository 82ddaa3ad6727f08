"""The parts of a stream's configuration that are objects of their own: where messages come from and go to.

Each class knows its fields in the order of nats-server's answers and what is left out when it is empty.
Nothing is checked here: `source_checks.py` does that.
"""

from dataclasses import dataclass

from shardbroker.jetstream.strict_json import (
    BOOL,
    DURATION,
    INT,
    STRING,
    STRINGS,
    TIME,
    UINT64,
    Listed,
    Struct,
)

SUBJECT_TRANSFORM = Struct("SubjectTransformConfig", {"src": STRING, "dest": STRING})
SUBJECT_TRANSFORM_POINTER = Struct("SubjectTransformConfig", SUBJECT_TRANSFORM.fields, pointer=True)
REPUBLISH = Struct("RePublish", {"src": STRING, "dest": STRING, "headers_only": BOOL}, pointer=True)
PLACEMENT = Struct("Placement", {"cluster": STRING, "tags": STRINGS, "preferred": STRING}, pointer=True)
EXTERNAL = Struct("ExternalStream", {"api": STRING, "deliver": STRING}, pointer=True)
SOURCE_CONSUMER = Struct("StreamConsumerSource", {"name": STRING, "deliver_subject": STRING}, pointer=True)
CONSUMER_LIMITS = Struct("StreamConsumerLimits", {"inactive_threshold": DURATION, "max_ack_pending": INT})
STREAM_SOURCE = Struct(
    "StreamSource",
    {
        "name": STRING,
        "opt_start_seq": UINT64,
        "opt_start_time": TIME,
        "filter_subject": STRING,
        "subject_transforms": Listed(SUBJECT_TRANSFORM),
        "external": EXTERNAL,
        "consumer": SOURCE_CONSUMER,
    },
    pointer=True,
)
STREAM_SOURCES = Listed(STREAM_SOURCE, pointers=True)


@dataclass(slots=True)
class SubjectTransformConfig:
    """From which subjects to which: `subjects/transform.py` carries it out. "" is ``>``."""

    src: str = ""
    dest: str = ""

    def to_json_dict(self) -> dict[str, object]:
        """As in an answer."""
        return {"src": self.src, "dest": self.dest}


@dataclass(slots=True)
class RePublish:
    """Messages are published again after they were stored, ``headers_only`` without their payload."""

    src: str = ""
    dest: str = ""
    headers_only: bool = False

    def to_json_dict(self) -> dict[str, object]:
        """As in an answer."""
        result: dict[str, object] = {"src": self.src} if self.src else {}
        result["dest"] = self.dest
        if self.headers_only:
            result["headers_only"] = True
        return result


@dataclass(slots=True)
class Placement:
    """Wishes for where a stream's replicas live."""

    cluster: str = ""
    tags: list[str] | None = None
    preferred: str = ""

    def to_json_dict(self) -> dict[str, object]:
        """As in an answer."""
        values = {"cluster": self.cluster, "tags": self.tags, "preferred": self.preferred}
        return {key: value for key, value in values.items() if value}


@dataclass(slots=True)
class ExternalStream:
    """How to reach a stream of another account or domain: prefixes of its API and of what it delivers."""

    api: str = ""
    deliver: str = ""

    def to_json_dict(self) -> dict[str, object]:
        """As in an answer."""
        return {"api": self.api, "deliver": self.deliver}


@dataclass(slots=True)
class StreamConsumerSource:
    """A durable consumer that somebody has made for this source, and where it delivers."""

    name: str = ""
    deliver_subject: str = ""

    def to_json_dict(self) -> dict[str, object]:
        """As in an answer."""
        values = {"name": self.name, "deliver_subject": self.deliver_subject}
        return {key: value for key, value in values.items() if value}


@dataclass(slots=True)
class StreamSource:
    """A stream whose messages come into another one, as its mirror or as one of its sources.

    ``opt_start_time`` is RFC 3339 as Go writes it, in the offset that the client chose; None for none.
    """

    name: str = ""
    opt_start_seq: int = 0
    opt_start_time: str | None = None
    filter_subject: str = ""
    subject_transforms: list[SubjectTransformConfig] | None = None
    external: ExternalStream | None = None
    consumer: StreamConsumerSource | None = None

    @classmethod
    def from_fields(cls, decoded: dict[str, object]) -> "StreamSource":
        """From what `STREAM_SOURCE` decodes."""
        given = dict(decoded)
        if given.get("subject_transforms") is not None:
            given["subject_transforms"] = [
                SubjectTransformConfig(**one) for one in given["subject_transforms"]
            ]
        if given.get("external") is not None:
            given["external"] = ExternalStream(**given["external"])
        if given.get("consumer") is not None:
            given["consumer"] = StreamConsumerSource(**given["consumer"])
        return cls(**given)

    def identity(self) -> tuple[object, ...]:
        """What makes two sources of one stream the same: nats-server's index name, without its hashes."""
        transforms = self.subject_transforms or []
        if transforms:
            pairs = tuple((one.src or ">", one.dest or ">") for one in transforms)
        else:
            pairs = ((self.filter_subject or ">", ">"),)
        external = None if self.external is None else self.external.api
        return self.name, external, None if self.consumer is None else self.consumer.name, pairs

    def to_json_dict(self) -> dict[str, object]:
        """As in an answer."""
        result: dict[str, object] = {"name": self.name}
        if self.opt_start_seq:
            result["opt_start_seq"] = self.opt_start_seq
        if self.opt_start_time is not None:
            result["opt_start_time"] = self.opt_start_time
        if self.filter_subject:
            result["filter_subject"] = self.filter_subject
        if self.subject_transforms:
            result["subject_transforms"] = [one.to_json_dict() for one in self.subject_transforms]
        if self.external is not None:
            result["external"] = self.external.to_json_dict()
        if self.consumer is not None:
            result["consumer"] = self.consumer.to_json_dict()
        return result


@dataclass(slots=True)
class StreamConsumerLimits:
    """Defaults and upper bounds for the consumers of a stream; 0 for none. Nanoseconds, messages."""

    inactive_threshold: int = 0
    max_ack_pending: int = 0

    def to_json_dict(self) -> dict[str, object]:
        """As in an answer."""
        values = {"inactive_threshold": self.inactive_threshold, "max_ack_pending": self.max_ack_pending}
        return {key: value for key, value in values.items() if value}
