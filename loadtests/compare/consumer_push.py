"""Push consumers: ordered ones (flow control, heartbeats), and such that want each message acknowledged.

Each consumer has a connection and a process of its own and gets all messages. The clock runs from the request
that creates the consumer, with which the deliveries begin, to the last delivery at the last consumer, or
until the last acknowledgement is confirmed.
"""

import json
import socket
import time
from functools import partial
from typing import Any

from loadtests.compare import wire
from loadtests.compare.consuming import (
    Figures,
    check_consumer,
    consumer_name,
    delete_consumer,
    measure_consuming,
    rates_of,
    second_ns,
    shape,
    stream,
)
from loadtests.compare.deliveries import Deliveries, Reader, check_deliveries, confirm, receive_all
from loadtests.compare.roles import run_roles
from loadtests.compare.stream_api import StreamApi
from loadtests.compare.windowed import puback_bad
from loadtests.compare.wire import LoadError
from loadtests.servers import RunningServer

inactive_s = 60  # longer than the connection of a consumer is gone before it is looked at
#: What client libraries ask for when an ordered consumer is wanted.
ordered: dict[str, Any] = {
    "ack_policy": "none",
    "flow_control": True,
    "idle_heartbeat": 5 * second_ns,
    "mem_storage": True,
    "num_replicas": 1,
    "max_deliver": 1,
    "inactive_threshold": inactive_s * second_ns,
}


def explicit(max_ack_pending: int) -> dict[str, Any]:
    """The configuration of a consumer that wants each message acknowledged."""
    return {
        "ack_policy": "explicit",
        "max_ack_pending": max_ack_pending,
        "inactive_threshold": inactive_s * second_ns,
    }


def measure_push(server: RunningServer, config: dict[str, Any], consumers: int, seconds: float) -> Figures:
    """One sample: deliveries a second to all consumers together, and CPU of the server for each."""
    return measure_consuming(server, seconds, partial(_pass, server, config, consumers))


def _pass(server: RunningServer, config: dict[str, Any], consumers: int, run: int, messages: int) -> Figures:
    names = [consumer_name(run * consumers + index) for index in range(consumers)]
    roles = [(_consume, (server.port, name, config, messages, run == 0)) for name in names]
    sample = run_roles(server.pid, roles)
    with StreamApi(server) as api:
        for name, result in zip(names, sample.results, strict=True):
            check_consumer(api, stream, name, messages)
            delete_consumer(api, stream, name)
            if run == 0:
                check_deliveries([result["kept"]], range(1, messages + 1), shape.payload)
    return rates_of(sample, messages, consumers)


def subscribe_deliveries(port: int, name: str, stream_name: str, config: dict[str, Any]) -> tuple[
    socket.socket, bytes, bytes
]:  # fmt: skip
    """A connection that hears deliveries and what comes below an inbox; that inbox; the CREATE to send."""
    connection = wire.connect(port, "push-consumer")
    inbox = b"_INBOX.%s" % name.encode()
    connection.sendall(b"SUB deliver.%s 1\r\nSUB %s.> 2\r\n" % (name.encode(), inbox))
    wire.flush(connection)
    wanted = {"deliver_policy": "all", "replay_policy": "instant", **config}
    body = {
        "stream_name": stream_name,
        "config": {"name": name, "deliver_subject": f"deliver.{name}"} | wanted,
    }
    subject = f"$JS.API.CONSUMER.CREATE.{stream_name}.{name}".encode()
    return (
        connection,
        inbox,
        wire.publish_record(subject, json.dumps(body).encode(), reply=inbox + b".create"),
    )


def await_created(connection: socket.socket, create: bytes) -> None:
    """Create a consumer that has nothing to deliver yet, and wait for the answer."""
    connection.sendall(create)
    answer = wire.read_until(connection, b"}\r\n")
    if puback_bad in answer:
        raise LoadError(f"not created: {answer[:300]!r}")


def _consume(gate, port: int, name: str, config: dict[str, Any], total: int, keep: bool) -> dict:
    connection, inbox, create = subscribe_deliveries(port, name, stream, config)
    acknowledges = config["ack_policy"] != "none"
    deliveries = Deliveries(stream, name, acknowledges=acknowledges)
    gate()
    reader = Reader(connection, keep=keep)
    start = time.monotonic()
    connection.sendall(create)
    end = receive_all(connection, deliveries, reader, total)
    kept = reader.kept()
    if acknowledges:
        confirm(connection, inbox, deliveries.last_ack)
        end = time.monotonic()
    return {"start": start, "end": end, "kept": kept, "flow_controls": deliveries.flow_controls}
