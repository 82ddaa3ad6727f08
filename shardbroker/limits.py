"""Every maximum and default of the broker, by name, with its unit and its reason.

Numbers that nats-server has too are nats-server's (2.15.1), so that a drop-in behaves the same. Relations
between limits are asserted at import: a wrong edit fails before the first connection.
"""

# --- wire protocol (nats-server defaults) ---------------------------------------------------------------
control_line_size_max_default = 4096  # bytes of arguments; nats-server max_control_line
payload_size_max_default = 1 << 20  # bytes, headers included; nats-server max_payload
payload_size_max_limit = 64 << 20  # bytes; above this nats-server refuses to start as well
header_size_min = 12  # len(b"NATS/1.0\r\n\r\n")

# --- connections ----------------------------------------------------------------------------------------
connections_max_default = 65536  # nats-server max_connections
pending_size_max_default = 64 << 20  # bytes queued for one client; nats-server max_pending
write_deadline_s_default = 10.0  # nats-server write_deadline
ping_interval_s_default = 120.0  # nats-server ping_interval
pings_outstanding_max_default = 2  # nats-server ping_max
first_ping_delay_s = 2.0  # the first PING measures the round trip; nats-server firstPingInterval
auth_timeout_s_default = 2.0  # nats-server auth_timeout
closed_connections_kept_default = 10_000  # nats-server max_closed_clients
lame_duck_duration_s_default = 120.0
lame_duck_grace_period_s_default = 10.0

# One budget for all outboxes of all workers: nats-server has none and reached 1,956 MB with 100 subscribers
# that never read. The client with the largest outbox is closed when the sum passes it.
outbound_budget_size_default = 208 << 20  # bytes; with the rest of a worker's growth within 256 MB

# --- processes ------------------------------------------------------------------------------------------
descriptors_reserved = 32  # of each worker, for everything that is no client
workers_max = 64  # a destination mask is one 64-bit word
heartbeat_interval_s = 0.1
heartbeat_lost_s = 1.0  # heartbeat and cursors standing still this long: the worker is killed
# But not one that wants to run and gets no processor: less than this in all of its silence. A turn of a loop
# that goes on takes far less, so what has run longer without a sign is stuck.
starved_run_s = 0.1
starved_s_max = 10.0  # then it is killed all the same
restarts_immediate = 3  # further restarts of one worker wait, doubling from restart_delay_s
restart_delay_s = 0.2
restart_delay_s_max = 5.0

# --- shared memory --------------------------------------------------------------------------------------
# 1 MiB measured best at 1 KiB messages (it stays in the cache); larger messages travel in chunks.
ring_size_default = 1 << 20  # bytes of data, a power of two
ring_size_min = 64 << 10
# Beyond two payloads: what a message of the broker's own may have, such as a list in an answer of the API.
own_message_slack_size = 8 << 20  # bytes
slots_count = 4096
versions_count = 8192  # 4096 for literal subjects, 4096 for wildcard prefixes
filter_words_count = 1 << 20  # 8 MiB, touched sparsely
interest_partitions_count = 256

# --- JetStream ------------------------------------------------------------------------------------------
lane_size_min = 32 << 20  # bytes of an append lane: what may wait for one sync of a slow disk
lane_size_floor = 1 << 20  # bytes; less would stop publishing at each sync
lane_size_max = 1 << 31  # bytes; sizes of its records are 32-bit numbers
log_rows_max = 1 << 16  # streams of the broker, of all accounts; 16 MiB of address space
sync_interval_s_default = 120.0  # nats-server sync_interval
store_directory_default = "nats"  # below the directory for temporary files, as nats-server
memory_share = 0.75  # of the machine's memory that memory streams may use; nats-server the same
disk_share = 0.75  # of the free disk space that file streams may use; nats-server the same
store_watch_interval_s = 0.25  # how often the sum of all streams is compared with what they may hold
recovery_progress_s = 1.0  # a start that takes longer tells how far it is

# --- acceptor -------------------------------------------------------------------------------------------
interest_size_default = 256 << 20  # bytes of address space of a worker's interest directory; sparse
shared_memory_slack_size = 16 << 20  # bytes that must be free in /dev/shm beyond rings and filter
connection_rows_max = 1 << 18  # rows of a worker's connection table: 128 MiB of address space, sparse
listen_backlog = 4096  # connections; the kernel lowers it to net.core.somaxconn
accepts_per_turn_max = 64  # connections taken in one go before other events get their turn
sockets_queued_max = 256  # accepted and waiting for a worker's channel; beyond it accepting pauses
accept_pause_s_min = 0.05  # after EMFILE and the like; doubles up to the next
accept_pause_s_max = 1.0
worker_start_s_max = 20.0  # from fork to Ready; then the worker is killed and counts as crashed
worker_stop_s_max = 3.0  # from Stop to exit; then SIGKILL
worker_settled_s = 60.0  # a worker up this long has its restarts forgiven
query_wait_s_max = 1.0  # a monitoring page waits this long for the workers' answers
consumers_answered_max = 100  # consumers that a worker describes in one answer: about 3 ms of its time
consumers_shown_max = 20_000  # on one page of /jsz: about 20 MB of JSON in the acceptor's memory
consumers_wait_s_max = 10.0  # until then the answers for one page are collected, whatever is missing
lame_duck_step_s = 0.1  # clients are told to leave in portions this far apart
http_connections_max = 64  # open connections of the monitoring port
http_request_size_max = 64 << 10  # bytes of one request, headers and body
http_idle_s_max = 60.0  # a monitoring connection without a request this long is closed
http_pipelined_max = 32  # requests read ahead of their answers

assert payload_size_max_default <= payload_size_max_limit <= pending_size_max_default
assert ring_size_default >= ring_size_min
assert ring_size_min & (ring_size_min - 1) == 0 and ring_size_default & (ring_size_default - 1) == 0
