"""What ``-h`` and ``-v`` print."""

from shardbroker import limits
from shardbroker.version import NATS_VERSION, __version__

#: The first line is nats-server's, for scripts that compare versions; the second says who we are.
VERSION = f"nats-server: v{NATS_VERSION}\nshardbroker: v{__version__}"

_BUDGET = f"{limits.outbound_budget_size_default >> 20}mb"

USAGE = f"""
Usage: shardbroker [options]
       shardbroker inspect STORE_DIR    What is in a store, and whether it is whole
       shardbroker consumer --help      Why does a consumer not deliver?
       shardbroker dlq --help           Dead letters: show them, send them once more

Server Options:
    -a, --addr, --net <host>         Address to listen on (default: 0.0.0.0, which takes IPv6 too)
    -p, --port <port>                Port for clients (default: 4222, -1: any free port)
    -n, --name, --server_name <name> Name of the server (default: its id)
    -P, --pid <file>                 Write the process id to this file
    -m, --http_port <port>           Port for monitoring over HTTP (default: none, -1: any free port)
        --workers <count>            Worker processes (default: one for each core)
        --client_advertise <address> host[:port] told to clients in place of the own
        --ports_file_dir <dir>       Write a JSON file with the ports in use into this directory
    -sl,--signal <signal>[=<pid>]    Send a signal to a running broker: ldm, stop, quit, term, reopen, reload;
                                     <pid> is a process id, a pid file, or the beginning of ids with a *

Logging Options:
    -l, --log <file>                 Write the log to this file (default: stderr)
    -T, --logtime                    Time in each log line (default: true)
        --logtime_utc                That time in UTC (default: false)
    -D, --debug                      Debug lines
    -V, --trace                      Trace the protocol
    -DV                              Debug and trace

JetStream Options:
    -js,--jetstream                  Streams on (default: off)
    -sd,--store_dir <dir>            Where they are stored (default: nats below the directory for temporary
                                     files); everything lies in jetstream/ in there
        --sync <mode>                commit: acknowledge when it is on disk (default); interval: when the
                                     kernel has it
        --sync_interval <duration>   How often the disk is synced with --sync interval (default: 2m)
        --max_memory_store <size>    For all memory streams (default: 75% of the memory)
        --max_file_store <size>      For all file streams (default: 75% of the free disk space)

Limits (sizes take kb, mb, gb; durations 500ms, 10s, 2m):
        --max_payload <size>              Largest message, headers included (default: 1mb)
        --max_control_line <size>         Longest protocol line (default: 4kb)
        --max_connections <count>         Open connections (default: 65536, -1: no limit)
        --max_subscriptions <count>       Subscriptions of one connection (default: no limit)
        --max_sub_tokens <count>          Tokens of a subscription's subject (default: no limit)
        --max_pending <size>              Output waiting for one client (default: 64mb)
        --outbound_budget <size>          Output waiting for all clients together (default: {_BUDGET})
        --write_deadline <duration>       For one write to a client (default: 10s)
        --ping_interval <duration>        Between PINGs to a silent client (default: 2m)
        --ping_max <count>                Unanswered PINGs before it is closed (default: 2)
        --max_closed_clients <count>      Closed connections shown in monitoring (default: 10000)
        --ring_size <size>                Ring between workers, a power of two (default: 1mb)
        --lame_duck_duration <duration>   Until all clients are gone (default: 2m)
        --lame_duck_grace_period <duration>  Before the first is closed (default: 10s)
        --no_header_support               Refuse message headers
        --no_fast_producer_stall          Drop for slow consumers at once, never slow a publisher down

Common Options:
    -h, --help                       This text
    -v, --version                    Version
"""
