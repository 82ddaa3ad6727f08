"""Latency: open-loop publish/subscribe, and request/reply.

**Open loop.** The publisher has a timetable: every tick it owes the messages of that tick, whether or not the
earlier ones have arrived. The latency of a message runs from its place in the timetable to the moment the
subscriber's read returned. A server that stops for 10 ms so pays for all messages that were due meanwhile,
and a publisher that is itself late shows as latency too (its worst delay is reported: `late_us_max`). This is
how coordinated omission is kept out.

Messages of one size arrive in order, so counting bytes tells which messages a read has brought: neither side
puts a clock into the payload or parses.

**Request/reply.** A responder answers on the reply subject; the requester keeps a number in flight. With one
in flight it is a ping-pong of single messages; each send and answer are matched in order.
"""

import ctypes
import itertools
import time
from collections.abc import Sequence

from loadtests.compare import ratios, wire
from loadtests.compare.roles import Role, fork, run_roles
from loadtests.compare.timetable import Timetable
from loadtests.compare.traffic import Traffic, measure, subject
from loadtests.compare.wire import LoadError
from loadtests.servers import RunningServer

tick_s = 0.0005
stop_poll_s = 0.1
Log = list[tuple[int, float]]  # (messages so far, time in seconds), growing


# -- open loop


def saturation(server: RunningServer, seconds: float) -> dict[str, float]:
    """Messages a second of 128 bytes, one publisher to one subscriber: what 100 % means for `open_loop`."""
    return measure(server, Traffic(), seconds)


def open_loop(
    server: RunningServer, rate: float, seconds: float, beside: Sequence[Role] = ()
) -> dict[str, float]:
    """Publish `rate` messages a second for `seconds`; latencies in microseconds from the intended time.

    Roles `beside` disturb meanwhile; what they return is added.
    """
    traffic = Traffic()
    per_tick = max(1, round(rate * tick_s))
    tick_count = max(1, round(seconds / tick_s))
    sample = run_roles(
        server.pid,
        [
            (_subscribe_logged, (server.port, traffic, per_tick * tick_count)),
            (_publish_timetable, (server.port, traffic, per_tick, tick_count)),
            *beside,
        ],
    )
    subscriber, publisher, *others = sample.results
    intended = [((tick + 1) * per_tick, publisher["start"] + tick * tick_s) for tick in range(tick_count)]
    # The first tenth warms up connections and caches.
    skip = per_tick * tick_count // 10
    figures = percentiles_us(match_logs(intended, subscriber["log"], skip))
    figures["cpu_ns"] = sample.meter.used_ns / (per_tick * tick_count)
    figures["rate_per_s"] = per_tick / tick_s
    figures["late_us_max"] = publisher["late_s_max"] * 1e6
    for other in others:
        figures |= other
    return figures


def _publish_timetable(gate, port: int, traffic: Traffic, per_tick: int, tick_count: int) -> dict:
    connection = wire.connect(port, "publisher")
    burst = traffic.publish_ring() * per_tick
    timetable = Timetable(tick_s)
    gate()
    start = time.monotonic() + tick_s
    for _ in itertools.islice(timetable.places(start), tick_count):
        connection.sendall(burst)
    wire.flush(connection)
    return {"start": start, "late_s_max": timetable.late_s_max}


def _subscribe_logged(gate, port: int, traffic: Traffic, count: int) -> dict:
    connection = wire.connect(port, "subscriber")
    connection.sendall(traffic.subscribe_lines())
    wire.flush(connection)
    record_size = len(traffic.receive_ring())
    expected_size = count * record_size
    buffer = bytearray(wire.read_size)
    received, log = 0, []
    gate()
    while received < expected_size:
        size = connection.recv_into(buffer)
        if not size:
            raise LoadError(f"closed after {received} of {expected_size} bytes")
        # A PING of the server shifts the count by six bytes: far less than a record.
        received += size
        log.append((min(count, received // record_size), time.monotonic()))
    return {"log": log}


# -- request/reply


def request_reply(
    server: RunningServer, in_flight: int, seconds: float, in_bursts: bool = False
) -> dict[str, float]:
    """One requester, one responder, 16 bytes each way; rate a second and latency in microseconds.

    `in_bursts`: requests and answers are sent one by one, and the next `in_flight` requests only when all
    answers are there. This is how workers of a queue talk. It finds servers that hold back small writes while
    an earlier one is not acknowledged (Nagle's algorithm), for then the requester has nothing to send that
    could carry its acknowledgement, and delays it by 40 ms.
    """
    trial = _ask(server, in_flight, 400 if in_bursts else 2000, in_bursts)
    return _ask(server, in_flight, max(400, int(trial["requests_per_s"] * seconds)), in_bursts)


def _ask(server: RunningServer, in_flight: int, count: int, in_bursts: bool) -> dict[str, float]:
    stop = fork.RawValue(ctypes.c_int, 0)
    sample = run_roles(
        server.pid,
        [
            (_respond, (server.port, in_bursts, stop)),
            (_request, (server.port, in_flight, count, in_bursts, stop)),
        ],
    )
    responder, requester = sample.results
    if responder["answered"] != count:
        raise LoadError(f"{count} requests, {responder['answered']} reached the responder")
    figures = percentiles_us(match_logs(requester["sent"], requester["answered"]))
    figures["requests_per_s"] = count / requester["wall_s"]
    figures["cpu_ns"] = sample.meter.used_ns / count
    figures["server_cores"] = sample.meter.cores
    return figures


payload = b"0123456789abcdef"
service = subject(0)
inbox = b"_INBOX.load"


def _reply_subject(index: int) -> bytes:
    return b"%s.%08d" % (inbox, index % 10**8)


def _respond(gate, port: int, one_by_one: bool, stop) -> dict:
    connection = wire.connect(port, "responder")
    connection.sendall(b"SUB %s workers 1\r\n" % service)
    wire.flush(connection)
    connection.settimeout(stop_poll_s)
    request_size = len(wire.message_record(service, 1, payload, reply=_reply_subject(0)))
    reply_start = len(b"MSG %s 1 " % service)
    reply_end = reply_start + len(_reply_subject(0))
    head, tail = b"PUB ", b" %d\r\n%s\r\n" % (len(payload), payload)
    between = tail + head
    pending, answered = b"", 0
    gate()
    while not stop.value:
        try:
            data = connection.recv(262144)
        except TimeoutError:
            continue
        if not data:
            raise LoadError("the responder was disconnected")
        pending = (pending + data).replace(wire.ping, b"")
        whole = len(pending) // request_size
        if whole:
            ends = range(reply_end, whole * request_size, request_size)
            replies = [pending[end - reply_end + reply_start : end] for end in ends]
            if one_by_one:
                for reply in replies:
                    connection.sendall(head + reply + tail)
            else:
                connection.sendall(head + between.join(replies) + tail)
            pending = pending[whole * request_size :]
            answered += whole
    return {"answered": answered}


def _request(gate, port: int, in_flight: int, count: int, in_bursts: bool, stop) -> dict:
    connection = wire.connect(port, "requester")
    connection.sendall(b"SUB %s.* 1\r\n" % inbox)
    wire.flush(connection)
    ring_count = min(count, 20_000)
    records = [wire.publish_record(service, payload, reply=_reply_subject(i)) for i in range(ring_count)]
    ring = memoryview(b"".join(records))
    record_size = len(records[0])
    answer_size = len(wire.message_record(_reply_subject(0), 1, payload))
    buffer = bytearray(wire.read_size)
    sent_log: Log = []
    answered_log: Log = []
    sent = answered = received = 0
    gate()
    start = time.monotonic()
    while answered < count:
        room = min(in_flight - (sent - answered), count - sent)
        if in_bursts and answered < sent:
            room = 0
        while room > 0:
            position = sent % ring_count
            take = 1 if in_bursts else min(room, ring_count - position)
            sent += take
            room -= take
            sent_log.append((sent, time.monotonic()))
            connection.sendall(ring[position * record_size : (position + take) * record_size])
        size = connection.recv_into(buffer)
        if not size:
            raise LoadError(f"closed after {answered} of {count} answers")
        received += size
        answered = min(count, received // answer_size)
        answered_log.append((answered, time.monotonic()))
    wall_s = time.monotonic() - start
    surplus = received + len(wire.flush(connection)) - count * answer_size
    stop.value = 1
    if surplus < 6 or surplus % 6 or surplus > 60:
        raise LoadError(f"{surplus} bytes more than {count} answers and one PONG")
    return {"sent": sent_log, "answered": answered_log, "wall_s": wall_s}


# -- from logs to percentiles


def match_logs(sent: Log, arrived: Log, skip: int = 0) -> list[tuple[float, int]]:
    """Match the i-th arrival with the i-th send; return (seconds, count); leave out the first `skip`."""
    matched, done, index = [], 0, 0
    for total, when in arrived:
        while done < total and index < len(sent):
            upto = min(total, sent[index][0])
            if upto > skip:
                matched.append((when - sent[index][1], upto - max(done, skip)))
            done = upto
            if done >= sent[index][0]:
                index += 1
    return [(seconds, weight) for seconds, weight in matched if weight > 0]


def percentiles_us(matched: list[tuple[float, int]]) -> dict[str, float]:
    wanted = {"p50_us": 0.5, "p99_us": 0.99, "p999_us": 0.999, "max_us": 1.0}
    values = ratios.weighted_percentiles(matched, list(wanted.values()))
    return {name: value * 1e6 for name, value in zip(wanted, values, strict=True)}
