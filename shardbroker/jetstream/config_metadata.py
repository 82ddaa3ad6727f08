"""The keys of its own that a server keeps in the metadata of streams and consumers.

`_nats.req.level`, the API level that is needed, is stored with the configuration. `_nats.ver` and
`_nats.level` say who answers: they are added to answers and removed from requests.

Source: spec page 02 (section 4), ADR-44.
"""

from collections.abc import Mapping

from shardbroker.jetstream import js_limits

REQUIRED_LEVEL_KEY = "_nats.req.level"
SERVER_VERSION_KEY = "_nats.ver"
SERVER_LEVEL_KEY = "_nats.level"
#: Of shardbroker alone: what it makes of a wish to compress.
COMPRESSION_KEY = "_shardbroker.compression"
#: Of shardbroker alone, in answers: dead letters of a consumer that are not stored yet.
DEAD_LETTERS_WAITING_KEY = "_shardbroker.dead_letters_waiting"
#: Of shardbroker alone, in requests: the subject where messages go that a consumer gives up.
DEAD_LETTER_KEY = "shardbroker.dead_letter"

Metadata = Mapping[str, str] | None


def to_store(metadata: Metadata, required_level: int) -> dict[str, str]:
    """With the required level, and without what only belongs into answers."""
    stored = _without_answer_keys(metadata)
    stored[REQUIRED_LEVEL_KEY] = str(required_level)
    return stored


def to_show(metadata: Metadata, server_version: str | None) -> dict[str, str]:
    """Sorted by key; with ``server_version`` it says who answers."""
    shown = dict(metadata or {})
    if server_version is not None:
        shown[SERVER_VERSION_KEY] = server_version
        shown[SERVER_LEVEL_KEY] = str(js_limits.api_level)
    return dict(sorted(shown.items()))


def to_compare(metadata: Metadata, existing: Metadata) -> dict[str, str] | None:
    """What is the same as ``existing`` if the client's own keys are: the required level does not count."""
    compared = _without_answer_keys(metadata)
    compared.pop(REQUIRED_LEVEL_KEY, None)
    if existing is not None and REQUIRED_LEVEL_KEY in existing:
        compared[REQUIRED_LEVEL_KEY] = existing[REQUIRED_LEVEL_KEY]
    return compared or None


def is_too_large(metadata: Metadata) -> bool:
    """Whether keys and values together are more than a configuration may have."""
    size = sum(len(key.encode()) + len(value.encode()) for key, value in (metadata or {}).items())
    return size > js_limits.metadata_size_max


def _without_answer_keys(metadata: Metadata) -> dict[str, str]:
    answer_keys = (SERVER_VERSION_KEY, SERVER_LEVEL_KEY, COMPRESSION_KEY, DEAD_LETTERS_WAITING_KEY)
    return {key: value for key, value in (metadata or {}).items() if key not in answer_keys}
