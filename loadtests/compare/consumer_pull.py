"""Pull consumers: fetch a number of messages, acknowledge each, fetch the next, as `Fetch` of clients does.

A worker asks for a batch, acknowledges what each read brought with one write, and asks for the next batch
when this one is complete: never two requests at once. Workers have connections of their own and share one
durable consumer. The clock runs from the first request until the last acknowledgement is confirmed.
"""

import time
from functools import partial

from loadtests.compare import wire
from loadtests.compare.consuming import (
    Figures,
    check_consumer,
    consumer_name,
    create_consumer,
    delete_consumer,
    measure_consuming,
    rates_of,
    second_ns,
    shape,
    stream,
)
from loadtests.compare.deliveries import Deliveries, Reader, check_deliveries, confirm
from loadtests.compare.roles import fork, run_roles
from loadtests.compare.stream_api import StreamApi, open_publisher
from loadtests.compare.wire import LoadError
from loadtests.servers import RunningServer

expires_s = 120  # longer than a sample: no request ends without its messages
idle_poll_s = 0.02  # a worker without messages looks this often whether the others have got all
max_ack_pending_least = 1000  # the default of both servers


def measure_pull(server: RunningServer, batch: int, workers: int, seconds: float) -> Figures:
    """One sample: messages a second that were fetched and acknowledged, and CPU of the server for each."""
    return measure_consuming(server, seconds, partial(_pass, server, batch, workers))


def _pass(server: RunningServer, batch: int, workers: int, run: int, messages: int) -> Figures:
    name = consumer_name(run)
    with StreamApi(server) as api:
        pending_max = max(max_ack_pending_least, 2 * batch * workers)
        create_consumer(
            api, stream, name, durable_name=name, ack_policy="explicit", max_ack_pending=pending_max
        )
        taken = fork.RawArray("q", workers)
        roles = [
            (fetch, (server.port, name, batch, taken, index, messages, run == 0)) for index in range(workers)
        ]
        sample = run_roles(server.pid, roles)
        check_consumer(api, stream, name, messages)
        delete_consumer(api, stream, name)
    if run == 0:
        received = [result["kept"] for result in sample.results]
        check_deliveries(received, range(1, messages + 1), shape.payload)
    return rates_of(sample, messages)


def next_request(name: str, inbox: bytes, batch: int) -> bytes:
    """Asks for `batch` messages on `inbox`."""
    subject = f"$JS.API.CONSUMER.MSG.NEXT.{stream}.{name}".encode()
    body = b'{"batch":%d,"expires":%d}' % (batch, expires_s * second_ns)
    return wire.publish_record(subject, body, reply=inbox + b".next")


def fetch(gate, port: int, name: str, batch: int, taken, index: int, total: int, keep: bool) -> dict:
    """A role: one worker. `taken` tells what each worker has got so far; all end at `total` together."""
    connection, inbox = open_publisher(port)
    request = next_request(name, inbox, batch)
    deliveries = Deliveries(stream, name, acknowledges=True)
    connection.settimeout(idle_poll_s)
    missing = batch
    gate()
    reader = Reader(connection, keep=keep)
    start = end = time.monotonic()
    connection.sendall(request)
    while True:
        data = reader()
        answer = deliveries(data)
        new = deliveries.count - taken[index]
        taken[index] = deliveries.count
        missing -= new
        if missing < 0:
            raise LoadError(f"{-missing} deliveries more than asked for")
        done = sum(taken)
        if missing == 0 and done < total:
            answer += request
            missing = batch
        if answer:
            connection.sendall(answer)
            end = time.monotonic()
        if done >= total:
            break
        reader.progress(new, done, total)
    kept = reader.kept()
    if new:
        # This worker got the last message: the time ends when its acknowledgement was taken.
        confirm(connection, inbox, deliveries.last_ack)
        end = time.monotonic()
    return {"start": start, "end": end, "kept": kept}
