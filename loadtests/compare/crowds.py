"""Many connections and many subscriptions: what they cost while talking, listening, waiting, coming.

Crowds are opened in batches of non-waiting handshakes by two processes, from several loopback addresses (so
that ports do not run out), and are closed with RST (so that no port stays in TIME_WAIT). The limit of open
files of this process and of the server must allow them: `ulimit -n` of 20,000 is enough for all cases.
"""

import ctypes
import resource
import select
import socket
import time

from loadtests.compare import ratios, wire
from loadtests.compare.meter import CpuMeter, process_tree, pss_size
from loadtests.compare.roles import fork, run_roles
from loadtests.compare.timetable import ping_all
from loadtests.compare.wire import LoadError
from loadtests.servers import RunningServer

opener_count = 2  # processes that hold the crowd
open_batch = 64  # handshakes a process has under way
small_payload = b"0123456789abcdef"
silence_s_max = 20.0
settle_s = 0.5  # after opening a crowd, before memory or CPU is read


def chatter(server: RunningServer, count: int, rate_each: float, seconds: float) -> dict[str, float]:
    """`count` connections publish `rate_each` small messages a second to one subscriber: CPU a message."""
    total = int(count * rate_each * seconds)
    crowd = [_share_of(count, index) for index in range(opener_count)]
    message_size = len(wire.message_record(b"chat.00000000", wire.subscription_id_first, small_payload))
    sent_total = sum(total * size // count for size in crowd)
    heard = fork.Event()
    roles = [(_chat_listener, (server.port, sent_total * message_size, heard))]
    roles += [
        (_chatter, (server.port, index, size, total * size // count, rate_each * size, heard))
        for index, size in enumerate(crowd)
    ]
    sample = run_roles(server.pid, roles)
    return {
        "cpu_ns": sample.meter.used_ns / sent_total,
        "messages_per_s": sent_total / (sample.meter.wall_ns / 1e9),
        "server_cores": sample.meter.cores,
        "late_us_max": max(result["late_s_max"] for result in sample.results[1:]) * 1e6,
    }


def _chat_listener(gate, port: int, expected_size: int, heard) -> dict:
    connection = wire.connect(port, "listener")
    connection.sendall(b"SUB chat.> %d\r\n" % wire.subscription_id_first)
    wire.flush(connection)
    buffer = bytearray(wire.read_size)
    received = 0
    gate()
    while received < expected_size:
        size = connection.recv_into(buffer)
        if not size:
            raise LoadError("the listener was disconnected")
        received += size
    surplus = received + len(wire.flush(connection)) - expected_size
    if surplus % 6 or surplus > 60:
        raise LoadError(f"{surplus} bytes more than the chatter")
    heard.set()
    return {}


def _chatter(gate, port: int, index: int, count: int, messages: int, rate: float, heard) -> dict:
    crowd = open_crowd(port, count, index)
    records = [
        wire.publish_record(b"chat.%08d" % (index * 1_000_000 + number), small_payload)
        for number in range(count)
    ]
    late_s_max = 0.0
    gate()
    start = time.monotonic()
    for number in range(messages):
        due = start + number / rate
        # Sleeping for each message would cost more than sending it: run ahead by at most a millisecond.
        early_s = due - time.monotonic()
        if early_s > 0.001:
            time.sleep(early_s)
        late_s_max = max(late_s_max, -early_s)
        crowd[number % count].sendall(records[number % count])
    # RST throws away what the server has not read yet: close only when all has been heard.
    heard.wait(silence_s_max)
    for connection in crowd:
        wire.abort(connection)
    return {"late_s_max": late_s_max}


def broadcast(server: RunningServer, count: int, messages: int) -> dict[str, float]:
    """`count` connections hear every message; the next is sent when all have it. CPU a delivery."""
    seen = fork.Semaphore(0)
    roles = [(_broadcaster, (server.port, messages, seen))]
    roles += [
        (_audience, (server.port, index, _share_of(count, index), messages, seen))
        for index in range(opener_count)
    ]
    sample = run_roles(server.pid, roles, timeout_s=180)
    return {
        "cpu_ns": sample.meter.used_ns / (messages * count),
        "all_reached_ms": sample.results[0]["median_s"] * 1e3,
        "deliveries_per_s": messages * count / (sample.meter.wall_ns / 1e9),
        "server_cores": sample.meter.cores,
    }


broadcast_subject = b"bench.all"
broadcast_payload = small_payload * 8


def _broadcaster(gate, port: int, messages: int, seen) -> dict:
    connection = wire.connect(port, "broadcaster")
    record = wire.publish_record(broadcast_subject, broadcast_payload)
    gate()
    times = []
    for _ in range(messages):
        start = time.monotonic()
        connection.sendall(record)
        for _ in range(opener_count):
            if not seen.acquire(timeout=silence_s_max):
                raise LoadError("a broadcast did not reach everybody")
        times.append(time.monotonic() - start)
    return {"median_s": ratios.median(times)}


def _audience(gate, port: int, index: int, count: int, messages: int, seen) -> dict:
    record = wire.message_record(broadcast_subject, 1, broadcast_payload)
    crowd = open_crowd(port, count, index, b"SUB %s 1\r\n" % broadcast_subject)
    by_descriptor = {connection.fileno(): connection for connection in crowd}
    poll = select.epoll()
    for descriptor in by_descriptor:
        poll.register(descriptor, select.EPOLLIN)
    gate()
    missing, arrived = count, 0
    while arrived < messages:
        events = poll.poll(silence_s_max)
        if not events:
            raise LoadError(f"broadcast {arrived}: {missing} of {count} did not get it")
        for descriptor, _ in events:
            data = by_descriptor[descriptor].recv(65536)
            if data == record or data.replace(wire.ping, b"") == record:
                missing -= 1
            elif data.replace(wire.ping, b""):
                raise LoadError(f"instead of the broadcast: {data[:100]!r}")
        if missing == 0:
            missing, arrived = count, arrived + 1
            seen.release()
    for connection in crowd:
        wire.abort(connection)
    return {}


def idle_memory(server: RunningServer, count: int) -> dict[str, float]:
    """Bytes of server memory an idle connection costs, and CPU of a server with an idle crowd."""
    time.sleep(settle_s)
    base_size = pss_size(process_tree(server.pid))
    meter = CpuMeter(server.pid)
    meter.start()
    time.sleep(1.0)
    meter.stop()
    crowd = open_crowd(server.port, count, 0)
    time.sleep(settle_s)
    full_size = pss_size(process_tree(server.pid))
    idle_meter = CpuMeter(server.pid)
    time.sleep(2.0)  # past the first PINGs, which are work and not idleness
    idle_meter.start()
    time.sleep(2.0)
    idle_meter.stop()
    for connection in crowd:
        wire.abort(connection)
    return {
        "bytes_per_connection": (full_size - base_size) / count,
        "base_megabytes": base_size / 1e6,
        "idle_cores_empty": meter.cores,
        "idle_cores_crowd": idle_meter.cores,
    }


def subscription_memory(server: RunningServer, count: int) -> dict[str, float]:
    """Bytes of server memory, all workers together, a literal subscription costs; subscriptions a second."""
    connection = wire.connect(server.port, "subscriber")
    time.sleep(settle_s)
    base_size = pss_size(process_tree(server.pid))
    start = time.monotonic()
    for first in range(0, count, 10_000):
        lines = [b"SUB bench.s.%07d %d\r\n" % (n, 1 + n) for n in range(first, min(count, first + 10_000))]
        connection.sendall(b"".join(lines))
        wire.flush(connection)
    wall_s = time.monotonic() - start
    time.sleep(settle_s)
    full_size = pss_size(process_tree(server.pid))
    connection.close()
    return {
        "bytes_per_subscription": (full_size - base_size) / count,
        "subscriptions_per_s": count / wall_s,
    }


def storm(server: RunningServer, count: int) -> dict[str, float]:
    """`count` connections come as fast as two processes can open them; another one pings every 5 ms."""
    ended = fork.Value(ctypes.c_int, 0)
    roles = [(_storm_pinger, (server.port, ended))]
    roles += [(_storm, (server.port, index, _share_of(count, index), ended)) for index in range(opener_count)]
    sample = run_roles(server.pid, roles, timeout_s=180)
    storms = sample.results[1:]
    wall_s = max(r["end"] for r in storms) - min(r["start"] for r in storms)
    ping = sample.results[0]
    return {
        "connects_per_s": count / wall_s,
        "ping_p50_us": ping["p50_s"] * 1e6,
        "ping_p99_us": ping["p99_s"] * 1e6,
        "ping_max_us": ping["max_s"] * 1e6,
        "cpu_ns": sample.meter.used_ns / count,
    }


ping_interval_s = 0.005


def _storm_pinger(gate, port: int, ended) -> dict:
    """Open loop: the time of a ping runs from its place in the timetable."""
    connection = wire.connect(port, "pinger")
    gate()
    times = ping_all([connection], ping_interval_s, lambda: ended.value < opener_count)
    p50, p99, largest = ratios.weighted_percentiles(times, [0.5, 0.99, 1.0])
    return {"p50_s": p50, "p99_s": p99, "max_s": largest}


def _storm(gate, port: int, index: int, count: int, ended) -> dict:
    _raise_file_limit()
    gate()
    start = time.monotonic()
    crowd = open_crowd(port, count, index, verify=False)
    end = time.monotonic()
    with ended.get_lock():
        ended.value += 1
    while ended.value < opener_count:  # Closing would disturb the other's opening.
        time.sleep(0.005)
    for connection in crowd:
        wire.abort(connection)
    return {"start": start, "end": end}


def churn(gate, port: int, rate: float, finished) -> dict:
    """A role beside other traffic: subscribes and unsubscribes `rate` times a second, 10 ms at a time."""
    connection = wire.connect(port, "churner")
    batch = max(1, int(rate * 0.01))
    made = 0
    gate()
    start = time.monotonic()
    while not finished():
        subscribe = [b"SUB churn.%08d %d\r\n" % (made + n, 1 + made + n) for n in range(batch)]
        remove = [b"UNSUB %d\r\n" % (1 + made + n) for n in range(batch)]
        connection.sendall(b"".join(subscribe))
        connection.sendall(b"".join(remove))
        made += batch
        early_s = start + made / rate - time.monotonic()
        if early_s > 0:
            time.sleep(early_s)
    wall_s = time.monotonic() - start
    wire.flush(connection)
    return {"churn_per_s": made / wall_s}


# -- opening many


def open_crowd(
    port: int, count: int, index: int, extra: bytes = b"", *, verify: bool = True
) -> list[socket.socket]:
    """`count` ready connections. `extra` is sent after CONNECT; `index` chooses the source address."""
    _raise_file_limit()
    hello = wire.connect_line("crowd") + extra + wire.ping
    crowd: list[socket.socket] = []
    while len(crowd) < count:
        batch = []
        for number in range(min(open_batch, count - len(crowd))):
            # 4,000 connections an address stay far below the number of ports.
            source = f"127.0.{1 + index}.{1 + (len(crowd) + number) // 4000}"
            connection = wire.open_socket(port, source)
            connection.sendall(hello)
            batch.append(connection)
        for connection in batch:
            wire.read_until(connection, wire.pong)
        crowd += batch
    if verify:
        # Eats the second INFO of nats-server 2.15, and with it all that could still be under way.
        for connection in crowd:
            wire.flush(connection)
    return crowd


def _raise_file_limit() -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def _share_of(count: int, index: int) -> int:
    return count // opener_count + (index < count % opener_count)
