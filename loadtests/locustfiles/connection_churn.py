"""Connection churn: users connect, subscribe, send themselves one message, and leave, again and again.

Rows: CONNECT (TCP, INFO, CONNECT, PONG), "first message" (SUB to its own first message), and "whole life".
Every connection ends at our side, so the ports of this machine are the limit: about 28,000 connections a
minute on Linux defaults, unless the kernel may reuse them (net.ipv4.tcp_tw_reuse, on for loopback).

    locust -f loadtests/locustfiles/connection_churn.py --headless -u 20 -r 20 -t 30s
"""

import time

import gevent
from gevent.event import AsyncResult
from locust import task

from loadtests.nats_user import NatsError, NatsUser, timeout_s_default


class ConnectionChurnUser(NatsUser):
    """One short-lived connection after the other."""

    def on_start(self) -> None:
        self.sequence = 0

    @task
    def live(self) -> None:
        self.sequence += 1
        subject = f"{self.prefix}.connection_churn.{self.name}.{self.sequence}"
        payload = self.payload(self.sequence)
        start = time.perf_counter()
        problem = None
        try:
            connection = self.connect("short")
            self.exchange(connection, subject, payload)
        except (OSError, NatsError) as error:
            problem = error
        for connection in self.connections:
            connection.close()
        self.connections.clear()
        self.report("LIFE", "whole life", start, len(payload), problem)

    def exchange(self, connection, subject: str, payload: bytes) -> None:
        arrived = AsyncResult()
        start = time.perf_counter()
        connection.subscribe(subject, arrived.set)
        connection.publish(subject, payload)
        problem = None
        try:
            if arrived.get(timeout=timeout_s_default).payload != payload:
                problem = NatsError("other content")
        except gevent.Timeout:
            problem = NatsError("lost: not delivered in time")
        self.report("MSG", "first message", start, len(payload), problem)
