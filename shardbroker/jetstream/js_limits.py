"""Maxima and defaults of JetStream, by name, with unit and reason; and those of one account as a value.

Numbers are nats-server's (2.15.1): clients and tools page, clamp and compare with them.
"""

from dataclasses import dataclass

api_level = 5  # what this server speaks; the header Nats-Required-Api-Level is compared with it

# --- answers --------------------------------------------------------------------------------------------
names_page_size = 1024  # names in one answer of STREAM.NAMES and CONSUMER.NAMES
list_page_size = 256  # infos in one answer of STREAM.LIST and CONSUMER.LIST
subjects_page_size = 100_000  # subjects with counts in one STREAM.INFO

# --- configurations of streams --------------------------------------------------------------------------
name_size_max = 255  # bytes of a stream's or consumer's name: it is the name of a directory too
description_size_max = 4 * 1024  # bytes
metadata_size_max = 128 * 1024  # bytes of all keys and values together
replicas_max = 5
duplicate_window_default = 120 * 1_000_000_000  # nanoseconds
duration_min = 100 * 1_000_000  # nanoseconds; the least max_age and duplicate_window, to spare timers
delete_marker_ttl_min = 1_000_000_000  # nanoseconds; TTLs have a resolution of one second

# --- configurations of consumers ------------------------------------------------------------------------
ack_wait_default = 30 * 1_000_000_000  # nanoseconds until a message that is not acknowledged comes again
max_ack_pending_default = 1000  # messages on their way, where acknowledgements are expected
max_waiting_default = 512  # pull requests that wait at the same time
idle_heartbeat_min = 100 * 1_000_000  # nanoseconds
max_expires_min = 1_000_000  # nanoseconds; less would refuse every request
inactive_threshold_default = 5 * 1_000_000_000  # nanoseconds without interest that an ephemeral survives
priority_timeout_default = 120 * 1_000_000_000  # nanoseconds for a pinned client to ask again
flow_control_heartbeat = 1_000_000_000  # nanoseconds, where flow control acknowledges
consumers_default_max = 1000  # of one stream, if neither the stream nor the account has a limit

# --- snapshots ------------------------------------------------------------------------------------------
snapshot_chunk_size_default = 128 * 1024  # bytes
snapshot_chunk_size_min = 1024
snapshot_chunk_size_max = 1024 * 1024
snapshot_window_size_default = 8 * 1024 * 1024  # bytes in flight
snapshot_window_size_min = 1024
snapshot_window_size_max = 32 * 1024 * 1024

UNLIMITED = -1
INT64_MAX = (1 << 63) - 1


@dataclass(slots=True)
class JetStreamLimits:
    """What an account may use, and what its server has. Sizes in bytes; -1 stands for unlimited.

    The first eight are those that clients see in the answer to INFO.
    """

    max_memory: int = UNLIMITED
    max_storage: int = UNLIMITED
    max_streams: int = UNLIMITED
    max_consumers: int = UNLIMITED
    max_ack_pending: int = UNLIMITED
    memory_max_stream_bytes: int = UNLIMITED  # of one stream
    storage_max_stream_bytes: int = UNLIMITED
    max_bytes_required: bool = False
    duplicate_window_max: int = UNLIMITED  # nanoseconds; nats-server limits.duplicate_window
    server_memory_max: int = UNLIMITED  # nats-server max_mem, for all accounts together
    server_storage_max: int = UNLIMITED  # nats-server max_file
    server_max_ack_pending: int = UNLIMITED  # of one consumer; nats-server limits.max_ack_pending
    server_max_request_batch: int = UNLIMITED  # of one pull; nats-server limits.max_request_batch
    server_consumers_max: int = consumers_default_max  # of one stream that has no limit; below 1 for none

    def as_dict(self) -> dict[str, object]:
        """The value of ``limits`` in the answer to INFO."""
        return {
            "max_memory": self.max_memory,
            "max_storage": self.max_storage,
            "max_streams": self.max_streams,
            "max_consumers": self.max_consumers,
            "max_ack_pending": self.max_ack_pending,
            "memory_max_stream_bytes": self.memory_max_stream_bytes,
            "storage_max_stream_bytes": self.storage_max_stream_bytes,
            "max_bytes_required": self.max_bytes_required,
        }
