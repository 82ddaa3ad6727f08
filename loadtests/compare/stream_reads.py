"""Direct gets: one message by its sequence, or the last one of a subject, 64 in flight.

The stream holds as many messages as subjects, so that "last of a subject" reads all over the stream.
"""

import random

from loadtests.compare import wire
from loadtests.compare.latency import match_logs
from loadtests.compare.roles import run_roles
from loadtests.compare.stream_api import StreamApi, open_publisher, stream_name, stream_subject
from loadtests.compare.stream_fill import fill
from loadtests.compare.stream_publish import figures_of, trial_growth, trial_s_min
from loadtests.compare.windowed import Answers, Ring, pump
from loadtests.compare.wire import LoadError
from loadtests.servers import RunningServer

in_flight = 64
ring_records = 20_000
trial_count = 2000
checked = 20  # answers that are compared as a whole
answer_mark, error_mark = b"Nats-Time-Stamp: ", b"NATS/1.0 4"


def measure_gets(
    server: RunningServer, messages: int, seconds: float, *, by_subject: bool
) -> dict[str, float]:
    """One sample: gets a second, latency, CPU a get."""
    payload = fill(server, messages, subject_count=messages)
    _check(server, messages, payload, by_subject)
    count = trial_count
    while True:
        figures = _pass(server, messages, count, by_subject)
        if figures["wall_s"] >= min(trial_s_min, seconds):
            break
        count *= trial_growth
    return _pass(server, messages, max(in_flight, int(figures["requests_per_s"] * seconds)), by_subject)


def get_request(place: int, by_subject: bool) -> tuple[bytes, bytes]:
    """Subject and payload that ask for message `place` (from 0); of the same length for all places."""
    name = stream_name().encode()
    if by_subject:
        return b"$JS.API.DIRECT.GET.%s.%s" % (name, stream_subject(0, place)), b""
    return b"$JS.API.DIRECT.GET.%s" % name, b'{"seq":%8d}' % (place + 1)


def get_answers() -> Answers:
    """Counts messages; a status instead of one ends the sample."""
    return Answers(answer_mark, error_mark)


def _check(server: RunningServer, messages: int, payload: bytes, by_subject: bool) -> None:
    with StreamApi(server) as api:
        for place in random.Random(2).choices(range(messages), k=checked):
            subject, request = get_request(place, by_subject)
            headers, body = api.raw_request(subject.decode(), request)
            if body != payload or b"Nats-Sequence: %d\r\n" % (place + 1) not in headers:
                raise LoadError(f"instead of message {place + 1}: {headers!r} {body[:100]!r}")


def _pass(server: RunningServer, messages: int, count: int, by_subject: bool) -> dict[str, float]:
    figures = figures_of(run_roles(server.pid, [(_get, (server.port, messages, count, by_subject))]), count)
    figures["requests_per_s"] = figures.pop("messages_per_s")
    return figures


def _get(gate, port: int, messages: int, count: int, by_subject: bool) -> dict:
    connection, inbox = open_publisher(port)
    places = random.Random(1).choices(range(messages), k=min(count, ring_records))
    records = [
        wire.publish_record(*get_request(place, by_subject), reply=inbox + b".%06d" % number)
        for number, place in enumerate(places)
    ]
    ring = Ring(b"".join(records), len(records[0]))
    gate()
    pumped = pump(connection, ring, count, in_flight, get_answers())
    return {"wall_s": pumped.end_s - pumped.start_s, "times": match_logs(pumped.sent, pumped.answered)}
