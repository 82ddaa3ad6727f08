"""What others notice when streams have a bad moment: the disk stands still, reads are cold, an owner dies.

- **Stall.** The stream-writer gets SIGSTOP, which to all others is a disk that does not answer, while a
  window of publishes waits for it. Core traffic of another client goes by timetable meanwhile; its p99 is
  divided by that of the quiet server. Afterwards every publish must be acknowledged. nats-server has no such
  process: it is measured quiet only.
- **Cold reads.** The server is restarted, the page cache of its files dropped, and messages are fetched from
  all over the store by timetable.
- **Take-over.** The worker that owns the stream gets SIGKILL while one client publishes and waits for each
  answer; the time runs from the kill to the first answer to a message published after it.
"""

import contextlib
import os
import random
import signal
import socket
import time

from loadtests.compare import disk, wire
from loadtests.compare.latency import open_loop
from loadtests.compare.meter import process_tree
from loadtests.compare.stream_api import StreamApi, create_streams, open_publisher, page, stream_subject
from loadtests.compare.stream_fill import fill
from loadtests.compare.stream_publish import Publishing, window_default
from loadtests.compare.stream_reads import get_answers, get_request
from loadtests.compare.windowed import Answers, puback_bad, puback_good, pubacks
from loadtests.compare.wire import LoadError
from loadtests.servers import RunningServer, ServerError

core_rate = 5000.0  # messages a second of the client that must not notice
cold_gets_rate = 200.0
cold_payload_size = 1024
answer_s_max = 20.0
retry_s = 0.1  # without an answer a publish is repeated
published_after = 100  # more messages, which must all be there in the end
look_again_s = 0.005  # after a refusal, or when nobody lets us connect
payload = b"0123456789abcdef" * 8


def stall(server: RunningServer, stall_s: float) -> dict[str, float]:
    """p99 of core traffic while the stream-writer stands still, and its multiple of the quiet p99."""
    create_streams(server, 1)
    quiet = open_loop(server, core_rate, stall_s)
    writer = page(server, "jsz").get("writer", {}).get("pid")
    if writer is None:
        return {"quiet_p99_us": quiet["p99_us"]}
    _check_ours(server, writer)
    connection, inbox = open_publisher(server.port)
    with connection:
        os.kill(writer, signal.SIGSTOP)
        try:
            connection.sendall(bytes(Publishing().ring(window_default, inbox).data))
            stalled = open_loop(server, core_rate, stall_s)
        finally:
            os.kill(writer, signal.SIGCONT)
        start = time.monotonic()
        _await_answers(connection, pubacks(), 0, window_default)
    recovery_s = time.monotonic() - start
    with StreamApi(server) as api:
        api.check_messages(window_default)
    return _compared(quiet, stalled) | {"recovery_ms": recovery_s * 1e3}


def cold_reads(server: RunningServer, messages: int, seconds: float) -> dict[str, float]:
    """p99 of core traffic while another client reads what is not in memory."""
    fill(server, messages, payload_size=cold_payload_size)
    server.restart()
    with StreamApi(server) as api:
        api.check_messages(messages)
    quiet = open_loop(server, core_rate, seconds)
    disk.make_cold(server.store.path)
    read_before = read_size(server)
    role = (_get_by_timetable, (server.port, messages, cold_gets_rate, seconds))
    disturbed = open_loop(server, core_rate, seconds, beside=[role])
    return _compared(quiet, disturbed) | {
        "gets": disturbed["gets"],
        "read_megabytes": (read_size(server) - read_before) / 1e6,
    }


def read_size(server: RunningServer) -> int:
    """Bytes that all processes of the server had the disk read, and not the page cache."""
    total = 0
    for pid in process_tree(server.pid):
        with contextlib.suppress(OSError), open(f"/proc/{pid}/io") as lines:
            total += sum(int(line.split()[1]) for line in lines if line.startswith("read_bytes:"))
    return total


def _compared(quiet: dict[str, float], disturbed: dict[str, float]) -> dict[str, float]:
    return {
        "quiet_p99_us": quiet["p99_us"],
        "p99_us": disturbed["p99_us"],
        "p99_times_quiet": disturbed["p99_us"] / quiet["p99_us"],
        "late_us_max": disturbed["late_us_max"],
    }


def _get_by_timetable(gate, port: int, messages: int, rate: float, seconds: float) -> dict:
    connection, inbox = open_publisher(port)
    count = max(1, int(rate * seconds))
    places = random.Random(3).choices(range(messages), k=count)
    records = [
        wire.publish_record(*get_request(place, by_subject=False), reply=inbox + b".%06d" % number)
        for number, place in enumerate(places)
    ]
    answers, answered = get_answers(), 0
    connection.setblocking(False)
    gate()
    start = time.monotonic()
    for number, record in enumerate(records):
        early_s = start + number / rate - time.monotonic()
        if early_s > 0:
            time.sleep(early_s)
        connection.sendall(record)
        with contextlib.suppress(BlockingIOError):
            answered += answers(connection.recv(wire.read_size))
    connection.settimeout(answer_s_max)
    _await_answers(connection, answers, answered, count)
    return {"gets": count}


def _await_answers(connection: socket.socket, answers: Answers, answered: int, count: int) -> None:
    while answered < count:
        data = connection.recv(wire.read_size)
        if not data:
            raise LoadError(f"closed after {answered} of {count} answers")
        answered += answers(data)


# -- take-over


def take_over(server: RunningServer, subjects: int) -> dict[str, float]:
    """Milliseconds without acknowledged publishes after the owner of the stream was killed."""
    fill(server, subjects, subject_count=subjects, payload_size=16)
    owner = _owner(server)
    if owner is None:
        return {}
    _check_ours(server, owner)
    publisher = _Persistent(server.port)
    with contextlib.closing(publisher):
        publisher.publish()
        os.kill(owner, signal.SIGKILL)
        start = time.monotonic()
        publisher.publish()
        gap_s = time.monotonic() - start
        for _ in range(published_after):
            publisher.publish()
    stored = _messages(server)
    least = subjects + publisher.acknowledged
    if not least <= stored <= least + publisher.repeated:
        raise LoadError(f"{least} acknowledged, {publisher.repeated} repeated, {stored} in the stream")
    return {"take_over_ms": gap_s * 1e3}


def _owner(server: RunningServer) -> int | None:
    """Process id of the worker that owns the only stream; None for a server without workers."""
    details = page(server, "jsz?streams=1").get("account_details") or [{}]
    for stream in details[0].get("stream_detail", []):
        if "log" in stream:
            return page(server, "shardz")["shards"][stream["log"]["worker"]]["pid"]
    return None


def _messages(server: RunningServer) -> int:
    with StreamApi(server) as api:
        return api.messages()


def _check_ours(server: RunningServer, pid: int) -> None:
    """Signals go to processes of the server under test only, whatever its pages say."""
    if pid not in process_tree(server.pid)[1:]:
        raise ServerError(f"{server.spec.name} says {pid}, which is no process of it")


class _Persistent:
    """Publishes until it is acknowledged, with a new connection if need be, as client libraries do."""

    def __init__(self, port: int):
        self.acknowledged = 0
        self.repeated = 0
        self._port = port
        self._connection: socket.socket | None = None
        self._asked = 0

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def publish(self) -> None:
        deadline = time.monotonic() + answer_s_max
        first = True
        while time.monotonic() < deadline:
            self.repeated += not first
            first = False
            try:
                if self._connection is None:
                    self._connection, self._inbox = open_publisher(self._port)
                if self._attempt(self._connection):
                    self.acknowledged += 1
                    return
            except (OSError, LoadError):
                self.close()
                time.sleep(look_again_s)
        raise LoadError(f"no acknowledgement within {answer_s_max:g} s")

    def _attempt(self, connection: socket.socket) -> bool:
        """False: refused or not answered, which is to be tried again."""
        self._asked += 1
        reply = self._inbox + b".%08d" % self._asked
        connection.settimeout(retry_s)
        connection.sendall(wire.publish_record(stream_subject(), payload, reply=reply))
        try:
            answer = _answer_to(connection, reply)
        except TimeoutError:
            return False
        if puback_bad in answer or puback_good not in answer:
            time.sleep(look_again_s)
            return False
        return True


def _answer_to(connection: socket.socket, reply: bytes) -> bytes:
    """What came on that reply subject; answers to earlier attempts are passed over."""
    data = b""
    while True:
        answer = data.partition(reply)[2]
        if answer.count(b"\r\n") >= 2:
            return answer
        more = connection.recv(65536)
        if not more:
            raise LoadError("closed")
        data += more
