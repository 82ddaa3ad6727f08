"""Every offset and size in shared memory. Nothing else in the program knows a number of this kind.

Three kinds of region. All are created by the acceptor, unlinked at once and passed as descriptors, so
nothing of them stays in /dev/shm whatever dies.

**Board** (one): what all processes read.

    0         header: magic u64, layout version u32, worker count u32, hash seed u64, start time ns u64
    1024      stream-writer: sleeping u64 on a line of its own; heartbeat ns u64, pid u32 on the next
    4096      ticket line: next ticket u64, alone on its cache line
    8192      worker table: 64 rows of 1024 bytes (below)
    73728     slot table: 4096 x u16, written by the acceptor alone
    81920     interest versions: u64[8192]; 0-4095 literal subjects, 4096-8191 wildcard prefixes
    147456    pressure: per worker u64[1024] "publisher (cid & 1023) pauses until" (CLOCK_MONOTONIC ns)
    671744    interest filter: u64[2^20], bit w = worker w may have an entry under this hash
    9060352   end

A row of the worker table. Fields written by different processes, or read by others while hot, are on
lines of their own:

    +0     state u32, pid u32, generation u32          written by the acceptor
    +64    busy u64                                     written by the worker: odd while it may route
    +128   sleeping u64                                 written by the worker: odd while it may block
    +192   heartbeat ns u64                             written by the worker
    +256   statistics: u64[96], named in STATISTICS     written by the worker alone

**Ring** (one per worker and generation): broadcast, one producer, a cursor per consumer.

    0       head u64 (position of the next byte to be published), alone on its line
    64      want_space u64, written by the producer alone: the position every cursor must reach before it
            can go on; 0: it waits for nothing
    128     producer generation u32
    4096    cursors: 64 lines of 64 bytes {cursor u64, attached u32, wanted u32}. A consumer stores its
            generation in `wanted`; the producer then sets cursor = head and `attached` = that generation,
            and counts it from there on
    8192    data, ring_size bytes, mapped twice back to back

**Connection table** (one per worker): what /connz shows, so that no worker is interrupted to answer.

    0       header: row count u32, closed row count u32, next closed u64
    4096    rows of CONNECTION_ROW_SIZE bytes, then closed rows of the same shape

**Append lane** (one per worker, kept over the generations of its slot): owner -> stream-writer, one producer,
one consumer. A record stays in place until its owner has answered for it, so a successor can answer too.

    0       head u64: published by the owner            alone on its line, like the next two
    64      processed u64: the writer has stored (or refused) everything before it, and said so in the records
    128     released u64: the owner has answered everything before it; its memory may be used again
    8192    data, lane_size bytes, mapped twice back to back: records of append_lane.pxd

**Log table** (one): a row of 256 bytes for each log, by the row number its catalog entry has.

    +0      written by the stream-writer: log id u32, term u32, durable index u64, durable position u64,
            crc of the last durable frame u32, errno of the last failure u32, syncs u64, frames u64,
            bytes u64, stored index u64 (taken from the owner; after `durable` it is only in the page cache)
    +64     written by the owner, named in LOG_FIGURES: what LIST, INFO and /jsz show; and how far the log is
            committed, below which the stream-writer cuts nothing off

Checklist: change anything here -> raise LAYOUT_VERSION, and change shm/offsets.pxd in the same commit (a
test compares the two).
"""

from shardbroker import limits

MAGIC = 0x64726F626B726273  # b"sbrkbord" little-endian
LAYOUT_VERSION = 4
CACHE_LINE = 64
PAGE = 4096

# --- board ----------------------------------------------------------------------------------------------
BOARD_MAGIC = 0
BOARD_LAYOUT_VERSION = 8
BOARD_WORKER_COUNT = 12
BOARD_SEED = 16
BOARD_START_NS = 24
BOARD_WRITER_SLEEPING = 1024  # u64: odd while the stream-writer may block
BOARD_WRITER_HEARTBEAT = 1088  # u64 ns
BOARD_WRITER_PID = 1096  # u32
BOARD_WRITER_SYNCS = 1104  # u64, like the next two: what all stream-writers did so far
BOARD_WRITER_FRAMES = 1112
BOARD_WRITER_BYTES = 1120
BOARD_TICKET = 4096
BOARD_WORKERS = 8192
WORKER_ROW_SIZE = 1024
BOARD_SLOTS = BOARD_WORKERS + limits.workers_max * WORKER_ROW_SIZE
BOARD_VERSIONS = BOARD_SLOTS + 2 * limits.slots_count
BOARD_PRESSURE = BOARD_VERSIONS + 8 * limits.versions_count
PRESSURE_CELLS = 1024
BOARD_FILTER = BOARD_PRESSURE + 8 * PRESSURE_CELLS * limits.workers_max
BOARD_SIZE = BOARD_FILTER + 8 * limits.filter_words_count

# --- a row of the worker table --------------------------------------------------------------------------
WORKER_STATE = 0
WORKER_PID = 4
WORKER_GENERATION = 8
WORKER_BUSY = 64
WORKER_SLEEPING = 128
WORKER_HEARTBEAT = 192
WORKER_STATISTICS = 256
STATISTICS_COUNT = 96

STATE_EMPTY, STATE_STARTING, STATE_UP, STATE_DOWN = range(4)

#: (name, unit, meaning) of each u64 in a worker's statistics, in order. Gauges say so in the meaning.
STATISTICS = (
    ("in_msgs", "messages", "published to this worker by its clients"),
    ("in_bytes", "bytes", "payload bytes of in_msgs, headers included"),
    ("out_msgs", "messages", "delivered to this worker's clients"),
    ("out_bytes", "bytes", "payload bytes of out_msgs"),
    ("connections", "connections", "gauge: open connections"),
    ("connections_total", "connections", "taken over since start"),
    ("subscriptions", "subscriptions", "gauge: client subscriptions"),
    ("slow_consumers", "connections", "closed because they did not read"),
    ("stale_connections", "connections", "closed because they did not answer PING"),
    ("stalled_clients", "stalls", "times a publisher was paused for a subscriber"),
    ("outbound_size", "bytes", "gauge: bytes waiting in outboxes"),
    ("outbound_largest", "bytes", "gauge: the largest single outbox"),
    ("ring_messages_out", "messages", "written to the own ring"),
    ("ring_bytes_out", "bytes", "written to the own ring, frame headers included"),
    ("ring_messages_in", "messages", "taken from other rings for local clients"),
    ("ring_batches_out", "batches", "published (one ticket each)"),
    ("ring_full", "times", "the own ring was full and publishing paused"),
    ("ring_fill", "bytes", "gauge: own head minus the slowest cursor"),
    ("doorbells_rung", "doorbells", "written to other workers"),
    ("doorbells_heard", "doorbells", "read from the own eventfd"),
    ("route_hits", "lookups", "routes found in the cache"),
    ("route_misses", "lookups", "routes worked out anew"),
    ("no_responders", "replies", "503 replies"),
    ("drops", "messages", "dropped: no member left, overflow bound, no route"),
    ("redirects", "messages", "given to another worker because the chosen member was gone"),
    ("loop_turns", "turns", "of the event loop"),
    ("reads", "reads", "from client sockets"),
    ("writes", "writes", "to client sockets"),
    ("protocol_errors", "connections", "closed for a protocol error"),
    ("queue_unsub_waits", "times", "a queue member's UNSUB waited for other workers"),
    ("connections_moved", "connections", "handed to the home worker of their subject"),
    ("input_parked", "bytes", "gauge: input kept in connections' own buffers"),
    ("api_requests", "requests", "of the JetStream API, answered here"),
    ("api_errors", "requests", "of them, answered with an error"),
)

# --- ring -----------------------------------------------------------------------------------------------
RING_HEAD = 0
RING_WANT_SPACE = 64
RING_GENERATION = 128
RING_CURSORS = 4096
RING_CURSOR_STRIDE = 64
CURSOR_ATTACHED = 8
CURSOR_WANTED = 12
RING_DATA = 8192

# --- append lane ----------------------------------------------------------------------------------------
LANE_HEAD = 0
LANE_PROCESSED = 64
LANE_RELEASED = 128

# --- log table ------------------------------------------------------------------------------------------
LOG_ROW_SIZE = 256
LOG_ID = 0
LOG_TERM = 4
LOG_DURABLE_INDEX = 8
LOG_DURABLE_POSITION = 16
LOG_LAST_CRC = 24
LOG_ERROR = 28
LOG_SYNCS = 32
LOG_FRAMES = 40
LOG_BYTES = 48
LOG_STORED_INDEX = 56
LOG_FIGURES_START = 64

#: u64 each, in order, from LOG_FIGURES_START. Times are wall clock ns.
LOG_FIGURES = (
    "messages",
    "bytes",
    "first_sequence",
    "last_sequence",
    "first_time_ns",
    "last_time_ns",
    "subjects",
    "deleted",
    "consumers",
    "applied_index",
    "log_bytes",
    "lost",
    "log_start",
    "committed_index",
)
LOG_COMMITTED_INDEX = LOG_FIGURES_START + 8 * LOG_FIGURES.index("committed_index")

# --- connection table -----------------------------------------------------------------------------------
CONNECTIONS_ROW_COUNT = 0
CONNECTIONS_CLOSED_COUNT = 4
CONNECTIONS_NEXT_CLOSED = 8
CONNECTIONS_ROWS = 4096
CONNECTION_ROW_SIZE = 512

#: (name, offset, struct format) of a connection row. Strings are NUL-padded UTF-8.
CONNECTION_FIELDS = (
    ("state", 0, "I"),  # 0 free, 1 open, 2 closed; stored last when a row is filled
    ("port", 4, "H"),
    ("reason", 6, "H"),  # index into CLOSE_REASONS
    ("cid", 8, "Q"),
    ("start_ns", 16, "Q"),  # wall clock
    ("stop_ns", 24, "Q"),
    ("last_activity_ns", 32, "Q"),
    ("rtt_ns", 40, "Q"),
    ("in_msgs", 48, "Q"),
    ("in_bytes", 56, "Q"),
    ("out_msgs", 64, "Q"),
    ("out_bytes", 72, "Q"),
    ("pending_bytes", 80, "Q"),
    ("subscriptions", 88, "I"),
    ("stalls", 92, "I"),
    ("connected", 96, "I"),  # 1 once CONNECT was accepted
    ("account", 100, "I"),
    ("ip", 104, "48s"),
    ("lang", 152, "32s"),
    ("version", 184, "32s"),
    ("name", 216, "256s"),
)

#: Close reasons, in nats-server's words (/connz?state=closed).
CLOSE_REASONS = (
    "",
    "Client Closed",
    "Authentication Timeout",
    "Authentication Failure",
    "TLS Handshake Failure",
    "Slow Consumer (Pending Bytes)",
    "Slow Consumer (Write Deadline)",
    "Write Error",
    "Read Error",
    "Parse Error",
    "Stale Connection",
    "Protocol Violation",
    "Bad Client Protocol Version",
    "Incorrect Port",
    "Maximum Connections Exceeded",
    "Maximum Account Connections Exceeded",
    "Maximum Message Payload Exceeded",
    "Maximum Control Line Exceeded",
    "Maximum Subscriptions Exceeded",
    "Server Shutdown",
    "Authentication Expired",
    "Missing Account",
    "Credentials Revoked",
    "Internal Client",
    "Message Header Violation",
    "No Responders Requires Headers",
    "Kicked",
    "Minimum Version Required",
)


def worker_row(worker_index: int) -> int:
    """Offset of a worker's row on the board."""
    return BOARD_WORKERS + worker_index * WORKER_ROW_SIZE


def connection_table_size(rows: int, closed_rows: int) -> int:
    """Bytes of a connection table with this many rows (sparse: untouched rows cost nothing)."""
    return CONNECTIONS_ROWS + (rows + closed_rows) * CONNECTION_ROW_SIZE


assert len(STATISTICS) <= STATISTICS_COUNT
assert WORKER_STATISTICS + 8 * STATISTICS_COUNT <= WORKER_ROW_SIZE
assert BOARD_VERSIONS % CACHE_LINE == 0 and BOARD_PRESSURE % CACHE_LINE == 0
assert BOARD_FILTER % PAGE == 0
assert LOG_FIGURES_START + 8 * len(LOG_FIGURES) <= LOG_ROW_SIZE
