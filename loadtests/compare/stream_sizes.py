"""What stored streams cost: memory, disk, and the time of the next start."""

import json
import time

from loadtests.compare import disk
from loadtests.compare.meter import process_tree, pss_size
from loadtests.compare.stream_api import StreamApi, create_streams
from loadtests.compare.stream_fill import fill
from loadtests.compare.wire import LoadError
from loadtests.servers import RunningServer

settle_s = 1.0
start_s_max = 300.0
look_interval_s = 0.02
small_payload_size = 16
subjects_a_stream = 100  # in the store of the start-up case


def start_up(server: RunningServer, streams: int, messages: int) -> dict[str, float]:
    """Seconds from the start of the process until STREAM.LIST tells all messages again."""
    fill(server, messages, stream_count=streams, subject_count=subjects_a_stream)
    with StreamApi(server) as api:
        api.check_messages(messages)
    size = disk.used_size(server.store.path)
    started = server.restart(start_s_max)
    reachable_s = time.monotonic() - started
    while True:
        try:
            with StreamApi(server) as api:
                api.check_messages(messages)
            break
        except (LoadError, OSError, json.JSONDecodeError):
            if time.monotonic() - started > start_s_max:
                raise
            time.sleep(look_interval_s)
    return {
        "start_s": time.monotonic() - started,
        "reachable_s": reachable_s,
        "store_megabytes": size / 1e6,
    }


def subject_memory(server: RunningServer, subjects: int) -> dict[str, float]:
    """Megabytes of the whole server with one stream of as many messages as subjects."""
    fill(server, subjects, subject_count=subjects, payload_size=small_payload_size)
    with StreamApi(server) as api:
        api.check_messages(subjects)
    time.sleep(settle_s)
    return {
        "megabytes": pss_size(process_tree(server.pid)) / 1e6,
        "store_megabytes": disk.used_size(server.store.path) / 1e6,
    }


def empty_streams(server: RunningServer, count: int) -> dict[str, float]:
    """Disk and memory that empty streams take, and how fast they are created."""
    wall_s = create_streams(server, count)
    time.sleep(settle_s)
    return {
        "store_megabytes": disk.used_size(server.store.path) / 1e6,
        "megabytes": pss_size(process_tree(server.pid)) / 1e6,
        "creates_per_s": count / wall_s,
    }
