"""A consumer's configuration: every field of nats-server 2.15, in the order of its answers.

A `ConsumerConfig` is made from a request (`consumer_requests.read_create`) or from what was stored
(`from_stored`), is checked and completed by `consumer_checks.py` and `consumer_updates.py`, and is written by
`to_json_dict`. As long as it is not checked, 0 and "" stand for what the client left out. Lists that a client
gave empty stay empty lists and are not None: nats-server tells them apart when it compares configurations.

An ephemeral consumer of the oldest kind has a name that its server has chosen and that is not part of its
configuration: who keeps consumers keeps the name beside it.

Metadata: see `config_metadata.py`.

Source: spec pages 02 (sections 4 and 5) and 04 (section 1), ADR-44 for levels.
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields

from shardbroker.decimals import signed
from shardbroker.jetstream import config_metadata
from shardbroker.jetstream.go_time import ZERO_TIME_TEXT
from shardbroker.jetstream.strict_json import (
    BOOL,
    DURATION,
    INT,
    STRING,
    STRINGS,
    TEXTS_BY_NAME,
    TIME,
    UINT64,
    Enum,
    Listed,
    RequestJsonError,
    Struct,
    decode_loosely,
    words,
)


class _Word(Enum):
    """An `Enum` with another complaint than the usual one."""

    def __init__(self, values: Mapping[str, str], what: str) -> None:
        super().__init__(values)
        self._what = what

    def read(self, node: object, place: object, old: object) -> object:
        try:
            return super().read(node, place, old)
        except RequestJsonError:
            written = place.text[node.start : node.end].decode("utf-8", "replace")
            raise RequestJsonError(f"unknown {self._what}: {written}") from None


# "undefined" is how nats-server writes a policy that it does not know; it reads it as the default.
_DELIVER_POLICIES = {
    **words(("all", "last", "new", "by_start_sequence", "by_start_time", "last_per_subject")),
    "undefined": "all",
}

_FIELDS = {
    "durable_name": STRING,
    "name": STRING,
    "description": STRING,
    "deliver_policy": Enum(_DELIVER_POLICIES),
    "opt_start_seq": UINT64,
    "opt_start_time": TIME,
    "ack_policy": Enum(words(("none", "all", "explicit", "flow_control"))),
    "ack_wait": DURATION,
    "max_deliver": INT,
    "backoff": Listed(DURATION),
    "filter_subject": STRING,
    "filter_subjects": STRINGS,
    "replay_policy": Enum(words(("instant", "original"))),
    "rate_limit_bps": UINT64,
    "sample_freq": STRING,
    "max_waiting": INT,
    "max_ack_pending": INT,
    "flow_control": BOOL,
    "headers_only": BOOL,
    "max_batch": INT,
    "max_expires": DURATION,
    "max_bytes": INT,
    "deliver_subject": STRING,
    "deliver_group": STRING,
    "idle_heartbeat": DURATION,
    "inactive_threshold": DURATION,
    "num_replicas": INT,
    "mem_storage": BOOL,
    "direct": BOOL,
    "sourcing": BOOL,
    "metadata": TEXTS_BY_NAME,
    "pause_until": TIME,
    "priority_groups": STRINGS,
    "priority_policy": _Word(words(("none", "overflow", "pinned_client", "prioritized")), "priority policy"),
    "priority_timeout": DURATION,
}
CONSUMER_CONFIG = Struct("ConsumerConfig", _FIELDS)
CREATE_CONSUMER_REQUEST = Struct(
    "CreateConsumerRequest",
    {
        "stream_name": STRING,
        "config": CONSUMER_CONFIG,
        "action": _Word(words(("", "create", "update")), "consumer action"),
        "pedantic": BOOL,
    },
)

_ALWAYS_SHOWN = {"deliver_policy", "ack_policy", "replay_policy", "num_replicas"}


@dataclass(slots=True)
class ConsumerConfig:
    """One consumer's configuration. Durations in nanoseconds, sizes in bytes, the rate in bits per second.

    ``opt_start_time`` and ``pause_until`` are RFC 3339 as Go writes it; None for none.
    """

    durable_name: str = ""
    name: str = ""
    description: str = ""
    deliver_policy: str = "all"
    opt_start_seq: int = 0
    opt_start_time: str | None = None
    ack_policy: str = "none"
    ack_wait: int = 0
    max_deliver: int = 0
    backoff: list[int] | None = None
    filter_subject: str = ""
    filter_subjects: list[str] | None = None
    replay_policy: str = "instant"
    rate_limit_bps: int = 0
    sample_freq: str = ""
    max_waiting: int = 0
    max_ack_pending: int = 0
    flow_control: bool = False
    headers_only: bool = False
    max_batch: int = 0
    max_expires: int = 0
    max_bytes: int = 0
    deliver_subject: str = ""
    deliver_group: str = ""
    idle_heartbeat: int = 0
    inactive_threshold: int = 0
    num_replicas: int = 0
    mem_storage: bool = False
    direct: bool = False
    sourcing: bool = False
    metadata: dict[str, str] | None = None
    pause_until: str | None = None
    priority_groups: list[str] | None = None
    priority_policy: str = "none"
    priority_timeout: int = 0

    @classmethod
    def from_fields(cls, given: Mapping[str, object]) -> "ConsumerConfig":
        """From what `CONSUMER_CONFIG` decodes: only the fields that were named."""
        return cls(**given)

    @classmethod
    def from_stored(cls, text: bytes) -> "ConsumerConfig":
        """From the JSON of a configuration that was accepted before; fields of later versions are skipped.

        RequestJsonError if it is none.
        """
        return cls.from_fields(decode_loosely(text, CONSUMER_CONFIG))

    @property
    def is_pull(self) -> bool:
        """Whether messages are only sent to those who ask for them."""
        return not self.deliver_subject

    @property
    def is_durable(self) -> bool:
        """Whether it outlives the interest in it, unless it has an inactive_threshold of its own."""
        return bool(self.durable_name)

    @property
    def dead_letter_subject(self) -> str:
        """Where messages go that nobody could work on; "" for nowhere."""
        return (self.metadata or {}).get(config_metadata.DEAD_LETTER_KEY, "")

    def filters(self) -> list[str]:
        """The subjects it wants, whichever field they were given in; without any it wants all."""
        filters = list(self.filter_subjects or ())
        if self.filter_subject:
            filters.append(self.filter_subject)
        return filters

    def replicas(self, stream_replicas: int, retention: str) -> int:
        """On how many servers it lives; 0 in the configuration stands for what the stream has."""
        if 0 < self.num_replicas <= stream_replicas:
            return self.num_replicas
        if self.num_replicas == 0 and not self.is_durable and retention == "limits":
            return 1
        return stream_replicas

    def sample_percent(self) -> int:
        """Of how many acks in a hundred a metric is published, once the configuration is checked."""
        return signed(self.sample_freq.removesuffix("%"), 0, 2**63 - 1) or 0

    def to_json_dict(self, server_version: str | None = None) -> dict[str, object]:
        """As in an answer, or to be stored.

        With ``server_version`` the metadata says who answers: answers to CREATE, INFO and RESET do.
        """
        result: dict[str, object] = {}
        for name in _FIELDS:
            value = getattr(self, name)
            if name == "metadata":
                value = config_metadata.to_show(self.metadata, server_version)
            if name == "priority_policy":
                if value != "none":
                    result[name] = value
            elif value or name in _ALWAYS_SHOWN:
                result[name] = value
        return result

    def required_level(self) -> int:
        """The API level that a server must have to run this consumer."""
        if self.ack_policy == "flow_control":
            return 4
        if self.priority_policy != "none" or self.priority_timeout != 0 or self.priority_groups:
            return 1
        return 1 if self.pause_until not in (None, ZERO_TIME_TEXT) else 0

    def set_stored_metadata(self) -> None:
        """Write the required level into the metadata, and remove what only belongs into answers."""
        self.metadata = config_metadata.to_store(self.metadata, self.required_level())

    def copy(self) -> "ConsumerConfig":
        """A copy whose lists and metadata are copied too."""
        values = {one.name: getattr(self, one.name) for one in fields(self)}
        for name in ("backoff", "filter_subjects", "priority_groups"):
            if values[name] is not None:
                values[name] = list(values[name])
        if self.metadata is not None:
            values["metadata"] = dict(self.metadata)
        return ConsumerConfig(**values)
