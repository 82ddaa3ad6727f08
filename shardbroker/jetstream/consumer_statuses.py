"""Messages of a consumer that carry no message of the stream: header blocks with a status, byte for byte.

A pull request ends with one of them unless it got all it asked for; push consumers get heartbeats and flow
control requests. Each is a whole header block; the payload is empty. Those that end a request say how many
messages and bytes of it were left, where nats-server says so.

Source: spec page 04 (sections 6 and 7), bytes of page 18.
"""

from shardbroker.jetstream.durations import format_duration

FLOW_CONTROL = b"NATS/1.0 100 FlowControl Request\r\n\r\n"
NO_MESSAGES = b"NATS/1.0 404 No Messages\r\n\r\n"
REQUESTS_PENDING = b"NATS/1.0 408 Requests Pending\r\n\r\n"
EXCEEDED_MAX_WAITING = b"NATS/1.0 409 Exceeded MaxWaiting\r\n\r\n"
PUSH_BASED = b"NATS/1.0 409 Consumer is push based\r\n\r\n"
CONSUMER_DELETED = b"NATS/1.0 409 Consumer Deleted\r\n\r\n"
REQUIRED_API_LEVEL = b"NATS/1.0 412 Required Api Level\r\n\r\n"
PIN_ID_MISMATCH = b"NATS/1.0 423 Nats-Pin-Id mismatch\r\n\r\n"

# Statuses that say what was left of the request: for `with_rest`.
REQUEST_TIMEOUT = b"408 Request Timeout"
SIZE_EXCEEDS_MAX_BYTES = b"409 Message Size Exceeds MaxBytes"
BATCH_COMPLETED = b"409 Batch Completed"
SERVER_SHUTDOWN = b"409 Server Shutdown"
WRONG_PIN_ID = b"423 Nats-Wrong-Pin-Id"


def with_rest(status: bytes, messages: int, size: int) -> bytes:
    """The block that ends a pull request with ``messages`` and ``size`` bytes of it not delivered."""
    return b"NATS/1.0 %b\r\nNats-Pending-Messages: %d\r\nNats-Pending-Bytes: %d\r\n\r\n" % (
        status,
        messages,
        size,
    )


def bad_request(text: str) -> bytes:
    """400: the request cannot be understood, or does not fit the consumer."""
    return b"NATS/1.0 400 Bad Request - %b\r\n\r\n" % text.encode()


def exceeded_max_batch(limit: int) -> bytes:
    """409: more messages than the consumer allows in one request."""
    return b"NATS/1.0 409 Exceeded MaxRequestBatch of %d\r\n\r\n" % limit


def exceeded_max_expires(limit_ns: int) -> bytes:
    """409: a longer wait than the consumer allows."""
    return b"NATS/1.0 409 Exceeded MaxRequestExpires of %b\r\n\r\n" % format_duration(limit_ns).encode()


def exceeded_max_bytes(limit: int) -> bytes:
    """409: more bytes than the consumer allows in one request."""
    return b"NATS/1.0 409 Exceeded MaxRequestMaxBytes of %d\r\n\r\n" % limit


def idle_heartbeat(consumer_seq: int, stream_seq: int, stalled: bytes = b"") -> bytes:
    """Nothing was delivered for a while; the last that was had these sequences.

    ``stalled`` is the subject of a flow control request that was not answered.
    """
    block = b"NATS/1.0 100 Idle Heartbeat\r\nNats-Last-Consumer: %d\r\nNats-Last-Stream: %d\r\n" % (
        consumer_seq,
        stream_seq,
    )
    if stalled:
        block += b"Nats-Consumer-Stalled: %b\r\n" % stalled
    return block + b"\r\n"
