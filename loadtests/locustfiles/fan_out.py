"""Fan-out: every user publishes on a subject of its own to `--fan` subscriber connections of its own.

Two rows tell the time: "one copy" is each delivery, "last copy" the moment when all subscribers have it.

    locust -f loadtests/locustfiles/fan_out.py --headless -u 10 -r 10 -t 30s --fan 16
"""

import time
from functools import partial

from gevent.event import Event
from locust import task

from loadtests.nats_user import Message, NatsError, NatsUser, timeout_s_default


class FanOutUser(NatsUser):
    """One publisher connection, `--fan` subscriber connections; one message in flight."""

    def on_start(self) -> None:
        self.subject = f"{self.prefix}.fan_out.{self.name}"
        self.sequence = -1
        self.start = 0.0
        self.missing: set[int] = set()  # subscribers which have not seen the current message
        self.complete = Event()
        for index in range(self.environment.parsed_options.fan):
            subscriber = self.connect("subscriber")
            subscriber.subscribe(f"{self.prefix}.fan_out.{self.name}", partial(self.on_message, index))
            subscriber.flush()
        self.publisher = self.connect("publisher")

    @task
    def broadcast(self) -> None:
        self.sequence += 1
        self.expected_payload = self.payload(self.sequence)
        self.missing = set(range(self.environment.parsed_options.fan))
        self.complete.clear()
        self.start = time.perf_counter()
        self.publisher.publish(self.subject, self.expected_payload)
        problem = None
        if not self.complete.wait(timeout=timeout_s_default):
            problem = NatsError(f"lost: {len(self.missing)} subscribers got nothing in time")
        self.report("MSG", "last copy", self.start, self.payload_size, problem)

    def on_message(self, index: int, message: Message) -> None:
        problem = None
        if message.payload != self.expected_payload:
            problem = NatsError("other content, or a copy of an older message")
        elif index not in self.missing:
            problem = NatsError("delivered twice to one subscriber")
        self.report("MSG", "one copy", self.start, len(message.payload), problem)
        self.missing.discard(index)
        if not self.missing:
            self.complete.set()
