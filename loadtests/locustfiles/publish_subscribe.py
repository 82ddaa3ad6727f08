"""Publish and subscribe: every user sends bursts to itself, over a second connection.

A message counts when it has arrived whole and in order; its time runs from just before its own send. Lost,
doubled, reordered and altered messages are failures.

    locust -f loadtests/locustfiles/publish_subscribe.py --headless -u 50 -r 50 -t 30s --processes 2
"""

import time

from gevent.event import Event
from locust import task

from loadtests.nats_user import Message, NatsError, NatsUser, timeout_s_default


class PublishSubscribeUser(NatsUser):
    """One publisher connection and one subscriber connection."""

    def on_start(self) -> None:
        self.subject = f"{self.prefix}.publish_subscribe.{self.name}"
        self.sequence = 0  # of the next message to send
        self.expected = 0  # of the next message to arrive
        self.starts: dict[int, float] = {}
        self.arrived = Event()
        self.subscriber = self.connect("subscriber")
        self.subscriber.subscribe(self.subject, self.on_message)
        self.subscriber.flush()
        self.publisher = self.connect("publisher")

    @task
    def burst(self) -> None:
        count = self.environment.parsed_options.burst
        first = self.sequence
        self.sequence += count
        self.arrived.clear()
        try:
            for sequence in range(first, first + count):
                self.starts[sequence] = time.perf_counter()
                self.publisher.publish(self.subject, self.payload(sequence))
        except NatsError as error:
            self.report("PUB", "publish", self.starts[first], exception=error)
            raise
        if not self.arrived.wait(timeout=timeout_s_default):
            self.report_lost()

    def on_message(self, message: Message) -> None:
        sequence = self.expected
        start = self.starts.pop(sequence, None)
        if start is None:
            start, problem = time.perf_counter(), NatsError("a message that was not sent, or a second copy")
        elif message.payload != self.payload(sequence):
            problem = NatsError(f"message {sequence}: other content or order")
        else:
            problem = None
        self.report("MSG", "publish to subscribe", start, len(message.payload), problem)
        self.expected = sequence + 1
        if not self.starts:
            self.arrived.set()

    def report_lost(self) -> None:
        for sequence, start in sorted(self.starts.items()):
            lost = NatsError("lost: not delivered in time")
            self.report("MSG", "publish to subscribe", start, exception=lost)
            self.expected = sequence + 1
        self.starts.clear()
