"""All options of a running broker, as one frozen dataclass that is handed to every process.

Names are nats-server's configuration keys with the unit last where there is one. Flags, and later the
configuration file, end here; nothing below the command line reads flags or files.
"""

from dataclasses import dataclass

from shardbroker import limits


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What the operator asked for; ``None`` and 0 mean what the comment says."""

    host: str = "0.0.0.0"
    port: int = 4222  # -1: any free port
    server_name: str = ""  # "": the server id
    client_advertise: str = ""
    http_host: str = ""  # "": as host
    http_port: int = 0  # 0: no monitoring; -1: any free port
    workers: int = 0  # 0: from the number of cores

    max_payload: int = limits.payload_size_max_default
    max_control_line: int = limits.control_line_size_max_default
    max_connections: int = limits.connections_max_default
    max_subscriptions: int = 0  # 0: no limit
    max_sub_tokens: int = 0  # 0: no limit
    max_pending: int = limits.pending_size_max_default
    max_closed_clients: int = limits.closed_connections_kept_default
    outbound_budget: int = limits.outbound_budget_size_default
    ring_size: int = limits.ring_size_default
    write_deadline_s: float = limits.write_deadline_s_default
    ping_interval_s: float = limits.ping_interval_s_default
    ping_max: int = limits.pings_outstanding_max_default
    auth_timeout_s: float = limits.auth_timeout_s_default
    lame_duck_duration_s: float = limits.lame_duck_duration_s_default
    lame_duck_grace_period_s: float = limits.lame_duck_grace_period_s_default
    no_header_support: bool = False
    no_fast_producer_stall: bool = False

    jetstream: bool = False
    store_dir: str = ""  # as limits.store_directory_default says; filled in at start
    sync_commit: bool = True  # PubAck after fdatasync; False: from the page cache, synced by interval
    sync_interval_s: float = limits.sync_interval_s_default
    max_memory_store: int = -1  # bytes of all memory streams; -1: from the machine's memory
    max_file_store: int = -1  # bytes of all file streams; -1: from the free disk space
    lane_size: int = 0  # bytes of an append lane, a power of two; 0: from max_payload

    debug: bool = False
    trace: bool = False
    logtime: bool = True
    logtime_utc: bool = False
    log_file: str = ""  # "": stderr
    pid_file: str = ""
    ports_file_dir: str = ""
