"""Whether a consumer's dead letter subject is possible.

It is a literal subject that a stream may have. It must not bring a message back to the consumer that has just
given it up: letters would go round for ever. That is looked at when the consumer is made or changed, and once
more for each letter, for the stream's subjects may have changed since.

Longer ways round (a stream that sources from the collecting stream, a second consumer that sends back) are
not followed: each of their rounds takes deliveries that fail.
"""

from shardbroker.jetstream import api_errors, config_metadata
from shardbroker.jetstream.api_error import ApiError
from shardbroker.jetstream.consumer_config import ConsumerConfig
from shardbroker.jetstream.source_checks import is_literal_subject, is_subset, quoted
from shardbroker.jetstream.stream_config import StreamConfig
from shardbroker.subjects.transform import Transform

#: Requests to the broker, not messages.
_RESERVED = ("$JS.", "$SYS.")


def check_dead_letter(config: ConsumerConfig, stream: StreamConfig) -> None:
    """Raises ApiError: 10012 with a text. Of a consumer without the metadata key everything is right."""
    subject = config.dead_letter_subject
    if not subject:
        return
    if not is_literal_subject(subject):
        raise _refused(f"{quoted(subject)} is not a subject without wildcards")
    if subject.startswith(_RESERVED):
        raise _refused(f"{quoted(subject)} is a subject of the server")
    if config.ack_policy == "none":
        raise _refused("with ack policy none no message is ever given up")
    if comes_back(config, stream):
        raise _refused(
            f"{quoted(subject)} would come back to this consumer; choose a subject that stream "
            f"{quoted(stream.name)} does not have, or that the filter of the consumer does not match"
        )


def comes_back(config: ConsumerConfig, stream: StreamConfig) -> bool:
    """Whether the consumer's own stream takes its dead letters, and they match its filter."""
    subject = config.dead_letter_subject
    if not any(is_subset(subject, pattern) for pattern in stream.subjects or ()):
        return False
    transform = stream.subject_transform
    if transform is not None:
        changed = Transform(transform.src, transform.dest).apply(subject.encode())
        if changed is not None:
            subject = changed.decode()
    filters = config.filters()
    return not filters or any(is_subset(subject, pattern) for pattern in filters)


def _refused(text: str) -> ApiError:
    return api_errors.CONSUMER_CREATE(err=f"metadata {config_metadata.DEAD_LETTER_KEY}: {text}")
